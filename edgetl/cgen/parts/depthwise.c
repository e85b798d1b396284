/* A Conv whose outputs read one channel each; weights are ordered row, column, channel. */
static void depthwise(const uint8_t *in, uint8_t *out, const Window *window, const int8_t *weights, const int32_t *bias, const float *scale,
                      int32_t in_zero, int32_t out_zero)
{
    const Window s = *window;
    int32_t y, x, channel, row, column;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            for (channel = 0; channel < s.out_channels; ++channel) {
                uint32_t sum = (uint32_t)bias[channel];
                for (row = 0; row < s.kernel_height; ++row) {
                    const int32_t from_y = y * s.stride_height - s.top + row * s.dilation_height;
                    for (column = 0; column < s.kernel_width; ++column) {
                        const int32_t from_x = x * s.stride_width - s.left + column * s.dilation_width;
                        const int32_t weight = weights[(row * s.kernel_width + column) * s.in_channels + channel];
                        if (from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width) {
                            sum += (uint32_t)(in[(from_y * s.in_width + from_x) * s.in_channels + channel] * weight);
                        } else {
                            sum += (uint32_t)(in_zero * weight);
                        }
                    }
                }
                *out++ = (uint8_t)limited(round_even((float)(int32_t)sum * scale[channel]) + out_zero, 0, 255);
            }
        }
    }
}
