/* The whole number nearest to value, halves to the even one, from its bits: no addition in float that a compiler could fuse.
   Beyond 2^23 any number that large. */
static int32_t round_even(float value)
{
    union {
        float number;
        uint32_t bits;
    } as;
    uint32_t exponent, significand, shift, rest, half, whole;
    as.number = value;
    exponent = (as.bits >> 23) & 255u;
    significand = (as.bits & 0x7FFFFFu) | 0x800000u;
    if (exponent < 126u) {
        return 0;
    }
    if (exponent >= 150u) {
        whole = 0x800000u;
    } else {
        shift = 150u - exponent;
        whole = significand >> shift;
        rest = significand & ((1u << shift) - 1u);
        half = 1u << (shift - 1u);
        if (rest > half || (rest == half && (whole & 1u))) {
            ++whole;
        }
    }
    return as.bits >> 31 ? -(int32_t)whole : (int32_t)whole;
}

static int32_t limited(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}
