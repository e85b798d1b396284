/* Codes of sums, in whole numbers; at least 2^shift wherever a code is not 0. */
static void sum(const uint8_t *first, const uint8_t *second, uint8_t *out, int32_t size, int32_t times_first, int32_t times_second,
                int32_t offset, int32_t shift)
{
    int32_t place;
    for (place = 0; place < size; ++place) {
        const int32_t added = first[place] * times_first + second[place] * times_second + offset;
        out[place] = (uint8_t)limited(added < 0 ? 0 : added >> shift, 0, 255);
    }
}
