/* A first layer in whole numbers, whose float32 sums are exact: $doc. */
static void $name(const $type *in, $extra_parameter uint8_t *codes, int16_t *numbers, int16_t *patch, const Window *window,
                  const int16_t *weights, const int32_t *bias, const float *unit, const After *after)
{
    const Window s = *window;
    const int32_t each = s.in_channels / s.groups;
    int32_t y, x, group, row, column, channel;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            const int32_t place = (y * s.out_width + x) * s.out_channels;
            int16_t *next = patch;
            for (group = 0; group < s.groups; ++group) {
                for (row = 0; row < s.kernel_height; ++row) {
                    const int32_t from_y = y * s.stride_height - s.top + row * s.dilation_height;
                    for (column = 0; column < s.kernel_width; ++column) {
                        const int32_t from_x = x * s.stride_width - s.left + column * s.dilation_width;
                        const int inside = from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width;
                        for (channel = group * each; channel < (group + 1) * each; ++channel) {
                            *next++ = inside ? $read : 0;
                        }
                    }
                }
            }
            whole_sums(patch, window, weights, bias, unit, after, codes ? codes + place : 0, numbers ? numbers + place : 0);
        }
    }
}
