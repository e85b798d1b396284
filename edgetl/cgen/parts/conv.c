/* What lies under the window, the channels of each group together; zero stands for what lies outside. */
static const uint8_t *codes_under(const uint8_t *in, uint8_t *patch, const Window *window, int32_t y, int32_t x, uint8_t zero)
{
    const Window s = *window;
    const int32_t each = s.in_channels / s.groups;
    int32_t group, row, column, channel;
    uint8_t *next = patch;
    if (!patch) {
        return in + ((int32_t)(y * s.stride_height) * s.in_width + x * s.stride_width) * s.in_channels;
    }
    for (group = 0; group < s.groups; ++group) {
        for (row = 0; row < s.kernel_height; ++row) {
            const int32_t from_y = y * s.stride_height - s.top + row * s.dilation_height;
            for (column = 0; column < s.kernel_width; ++column) {
                const int32_t from_x = x * s.stride_width - s.left + column * s.dilation_width;
                if (from_y >= 0 && from_y < s.in_height && from_x >= 0 && from_x < s.in_width) {
                    const uint8_t *from = in + (from_y * s.in_width + from_x) * s.in_channels + group * each;
                    for (channel = 0; channel < each; ++channel) {
                        *next++ = from[channel];
                    }
                } else {
                    for (channel = 0; channel < each; ++channel) {
                        *next++ = zero;
                    }
                }
            }
        }
    }
    return patch;
}

/* Sums of four outputs, so that each code is read once for all of them. Sums are modulo 2^32, as onnxruntime's are. */
static void four_sums(const uint8_t *codes, const int8_t *weights, int32_t taps, uint32_t *sums)
{
    const int8_t *second = weights + taps, *third = second + taps, *fourth = third + taps;
    uint32_t first_sum = sums[0], second_sum = sums[1], third_sum = sums[2], fourth_sum = sums[3];
    int32_t tap;
    for (tap = 0; tap < taps; ++tap) {
        const int32_t code = codes[tap];
        first_sum += (uint32_t)(code * weights[tap]);
        second_sum += (uint32_t)(code * second[tap]);
        third_sum += (uint32_t)(code * third[tap]);
        fourth_sum += (uint32_t)(code * fourth[tap]);
    }
    sums[0] = first_sum;
    sums[1] = second_sum;
    sums[2] = third_sum;
    sums[3] = fourth_sum;
}

static void conv(const uint8_t *in, uint8_t *out, uint8_t *patch, const Window *window, const int8_t *weights, const int32_t *bias,
                 const float *scale, uint8_t in_zero, uint8_t out_zero)
{
    const Window s = *window;
    const int32_t outputs = s.out_channels / s.groups;
    const int32_t taps = s.kernel_height * s.kernel_width * (s.in_channels / s.groups);
    uint32_t sums[4];
    int32_t y, x, channel, tap, each, together;
    for (y = 0; y < s.out_height; ++y) {
        for (x = 0; x < s.out_width; ++x) {
            const uint8_t *under = codes_under(in, patch, window, y, x, in_zero);
            for (channel = 0; channel < s.out_channels; channel += together) {
                const uint8_t *codes = under + channel / outputs * taps;
                const int8_t *weight = weights + channel * taps;
                together = outputs - channel % outputs < 4 ? 1 : 4;
                for (each = 0; each < together; ++each) {
                    sums[each] = (uint32_t)bias[channel + each];
                }
                if (together == 4) {
                    four_sums(codes, weight, taps, sums);
                } else {
                    for (tap = 0; tap < taps; ++tap) {
                        sums[0] += (uint32_t)(codes[tap] * weight[tap]);
                    }
                }
                for (each = 0; each < together; ++each) {
                    *out++ = (uint8_t)limited(round_even((float)(int32_t)sums[each] * scale[channel + each]) + out_zero, 0, 255);
                }
            }
        }
    }
}
