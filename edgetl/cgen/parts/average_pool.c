/* The mean of each window, in float32, row by row; counted says by how many it is divided, 0 by those that lie inside. */
static void average_pool(const uint8_t *in, uint8_t *out, const Window *window, const float *values, int32_t counted, float scale, float zero)
{
    const Window s = *window;
    int32_t y, x, channel, row, column;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            for (channel = 0; channel < s.out_channels; ++channel) {
                int32_t inside = 0;
                float mean = 0.0f;
                for (row = 0; row < s.kernel_height; ++row) {
                    const int32_t from_y = y * s.stride_height - s.top + row * s.dilation_height;
                    for (column = 0; column < s.kernel_width; ++column) {
                        const int32_t from_x = x * s.stride_width - s.left + column * s.dilation_width;
                        if (from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width) {
                            mean = mean + values[in[(from_y * s.in_width + from_x) * s.in_channels + channel]];
                            ++inside;
                        }
                    }
                }
                mean = mean / (float)(counted ? counted : inside);
                mean = mean / scale + zero;
                *out++ = (uint8_t)limited(round_even(mean), 0, 255);
            }
        }
    }
}
