/* The mean of each channel: a whole sum, scaled once. */
static void global_average(const uint8_t *in, uint8_t *out, int32_t places, int32_t channels, int32_t in_zero, float scale, int32_t out_zero)
{
    int32_t channel, place;
    for (channel = 0; channel < channels; ++channel) {
        int32_t sum_of_codes = -in_zero * places;
        for (place = 0; place < places; ++place) {
            sum_of_codes += in[place * channels + channel];
        }
        out[channel] = (uint8_t)limited(round_even((float)sum_of_codes * scale) + out_zero, 0, 255);
    }
}
