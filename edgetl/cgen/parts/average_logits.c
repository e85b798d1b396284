/* Logits that are means of channels: whole sums, divided once and scaled once. */
static void average_logits(const uint8_t *in, float *logits, int32_t places, int32_t channels, int32_t in_zero, float scale)
{
    int32_t channel, place;
    for (channel = 0; channel < channels; ++channel) {
        int32_t sum_of_codes = -in_zero * places;
        for (place = 0; place < places; ++place) {
            sum_of_codes += in[place * channels + channel];
        }
        logits[channel] = (float)sum_of_codes / (float)places * scale;
    }
}
