/* Codes of the image's levels, between bands of fill; with squares 2 x 2 places become channels. */
static void load(const uint8_t *image, uint8_t *out, const Window *window, const uint8_t *codes, const uint8_t *fill, int32_t squares)
{
    const Window s = *window;
    int32_t y, x, channel;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            for (channel = 0; channel < s.out_channels; ++channel) {
                const int32_t from = squares ? channel / 4 : channel;
                const int32_t from_y = (squares ? 2 * y + channel / 2 % 2 : y) - s.top;
                const int32_t from_x = (squares ? 2 * x + channel % 2 : x) - s.left;
                if (from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width) {
                    *out++ = codes[256 * from + image[(from_y * s.in_width + from_x) * s.in_channels + from]];
                } else {
                    *out++ = fill[from];
                }
            }
        }
    }
}
