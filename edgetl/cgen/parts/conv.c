/* What lies under the window, the channels of each group together; zero stands for what lies outside. */
static const uint8_t *codes_under(const uint8_t *in, uint8_t *patch, const Window *s, int32_t y, int32_t x, uint8_t zero)
{
    const int32_t each = s->in_channels / s->groups;
    int32_t group, row, column, channel;
    uint8_t *next = patch;
    if (!patch) {
        return in + ((int32_t)(y * s->stride_height) * s->in_width + x * s->stride_width) * s->in_channels;
    }
    for (group = 0; group < s->groups; ++group) {
        for (row = 0; row < s->kernel_height; ++row) {
            const int32_t from_y = y * s->stride_height - s->top + row * s->dilation_height;
            for (column = 0; column < s->kernel_width; ++column) {
                const int32_t from_x = x * s->stride_width - s->left + column * s->dilation_width;
                if (from_y >= 0 && from_y < s->in_height && from_x >= 0 && from_x < s->in_width) {
                    const uint8_t *from = in + (from_y * s->in_width + from_x) * s->in_channels + group * each;
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

static void conv(const uint8_t *in, uint8_t *out, uint8_t *patch, const Window *s, const int8_t *weights, const int32_t *bias,
                 const float *scale, uint8_t in_zero, uint8_t out_zero)
{
    const int32_t outputs = s->out_channels / s->groups;
    const int32_t taps = s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
    int32_t y, x, channel, tap;
    for (y = 0; y < s->out_height; ++y) {
        for (x = 0; x < s->out_width; ++x) {
            const uint8_t *under = codes_under(in, patch, s, y, x, in_zero);
            for (channel = 0; channel < s->out_channels; ++channel) {
                const uint8_t *code = under + channel / outputs * taps;
                const int8_t *weight = weights + channel * taps;
                int32_t sum = bias[channel];
                for (tap = 0; tap < taps; ++tap) {
                    sum += code[tap] * weight[tap];
                }
                *out++ = (uint8_t)limited(round_even((float)sum * scale[channel]) + out_zero, 0, 255);
            }
        }
    }
}
