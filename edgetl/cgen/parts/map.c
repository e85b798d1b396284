/* One code for another. */
static void map(const uint8_t *in, uint8_t *out, int32_t size, const uint8_t *codes)
{
    int32_t place;
    for (place = 0; place < size; ++place) {
        out[place] = codes[in[place]];
    }
}
