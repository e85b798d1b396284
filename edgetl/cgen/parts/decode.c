/* Logits from codes, in ONNX's order. */
static void decode(const uint8_t *in, float *logits, int32_t places, int32_t channels, int32_t zero, float scale)
{
    int32_t channel, place;
    for (channel = 0; channel < channels; ++channel) {
        for (place = 0; place < places; ++place) {
            *logits++ = (float)(in[place * channels + channel] - zero) * scale;
        }
    }
}
