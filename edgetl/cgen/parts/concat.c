/* Channels of one tensor, as some of the channels of another. */
static void concat(const uint8_t *in, uint8_t *out, int32_t places, int32_t channels, int32_t out_channels)
{
    int32_t place, channel;
    for (place = 0; place < places; ++place) {
        for (channel = 0; channel < channels; ++channel) {
            out[place * out_channels + channel] = in[place * channels + channel];
        }
    }
}
