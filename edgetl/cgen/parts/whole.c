/* What follows the exact sum of a first layer: each operator rounds once, as in float32. */
typedef struct {
    float low, high, times, scale;
    int32_t zero, least, most;
} After;

static int32_t finished(int32_t sum, float unit, const After *after)
{
    float value = (float)sum * unit;
    if (value < after->low) {
        value = after->low;
    }
    if (value > after->high) {
        value = after->high;
    }
    value = value * after->times;
    value = value / after->scale;
    return limited(round_even(value) + after->zero, after->least, after->most);
}

static void whole_sums(const int16_t *under, const Window *window, const int16_t *weights, const int32_t *bias, const float *unit,
                       const After *after, uint8_t *codes, int16_t *numbers)
{
    const Window s = *window;
    const int32_t outputs = s.out_channels / s.groups;
    const int32_t taps = s.kernel_height * s.kernel_width * (s.in_channels / s.groups);
    int32_t channel, tap;
    for (channel = 0; channel < s.out_channels; ++channel) {
        const int16_t *number = under + channel / outputs * taps;
        const int16_t *weight = weights + channel * taps;
        int32_t sum = bias[channel];
        for (tap = 0; tap < taps; ++tap) {
            sum += (int32_t)number[tap] * weight[tap];
        }
        sum = finished(sum, unit[channel], after);
        if (codes) {
            codes[channel] = (uint8_t)sum;
        } else {
            numbers[channel] = (int16_t)sum;
        }
    }
}
