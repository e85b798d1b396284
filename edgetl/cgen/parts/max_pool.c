/* The largest $what of each window. */
static void $name(const $type *in, $type *out, const Window *window)
{
    const Window s = *window;
    int32_t y, x, channel, row, column;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            for (channel = 0; channel < s.out_channels; ++channel) {
                $type largest = $least;
                for (row = 0; row < s.kernel_height; ++row) {
                    const int32_t from_y = y * s.stride_height - s.top + row * s.dilation_height;
                    for (column = 0; column < s.kernel_width; ++column) {
                        const int32_t from_x = x * s.stride_width - s.left + column * s.dilation_width;
                        if (from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width) {
                            const $type value = in[(from_y * s.in_width + from_x) * s.in_channels + channel];
                            largest = value > largest ? value : largest;
                        }
                    }
                }
                *out++ = largest;
            }
        }
    }
}
