/* Logits: whole sums, scaled once. */
static void linear(const uint8_t *in, float *logits, int32_t inputs, int32_t outputs, const int8_t *weights, const int32_t *bias,
                   const float *scale)
{
    int32_t output, input;
    for (output = 0; output < outputs; ++output) {
        const int8_t *weight = weights + output * inputs;
        uint32_t total = (uint32_t)bias[output];
        for (input = 0; input < inputs; ++input) {
            total += (uint32_t)(in[input] * weight[input]);
        }
        logits[output] = (float)(int32_t)total * scale[output];
    }
}
