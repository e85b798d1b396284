/* Bands around rows, columns and channels. */
static void pad(const uint8_t *in, uint8_t *out, const Window *window, int32_t front, uint8_t fill)
{
    const Window s = *window;
    int32_t y, x, channel;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            for (channel = 0; channel < s.out_channels; ++channel) {
                const int32_t from_y = y - s.top, from_x = x - s.left, from = channel - front;
                const int inside = from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width && from >= 0 &&
                                   from < s.in_channels;
                *out++ = inside ? in[(from_y * s.in_width + from_x) * s.in_channels + from] : fill;
            }
        }
    }
}
