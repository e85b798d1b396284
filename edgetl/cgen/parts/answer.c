int classifier_class(const float *logits)
{
    int each, best = 0;
    for (each = 1; each < CLASSIFIER_CLASSES; ++each) {
        if (logits[each] > logits[best]) {
            best = each;
        }
    }
    return best;
}

/* e to the power of x, for x from -87 to 0: 2^n times a polynomial of the rest, within 2 in the last place of a float. */
static float exponential(float x)
{
    float rest, power = 1.0f;
    int32_t halvings;
    if (x < -87.0f) {
        return 0.0f;
    }
    halvings = (int32_t)(x * -1.44269504f + 0.5f);
    rest = x + (float)halvings * 0.693145752f + (float)halvings * 1.42860677e-6f;
    rest = 1.0f + rest * (1.0f + rest * (0.5f + rest * (1.66666672e-1f + rest * (4.16666679e-2f + rest * (8.33333377e-3f + rest * 1.38888892e-3f)))));
    for (; halvings > 0; --halvings) {
        power *= 0.5f;
    }
    return rest * power;
}

void classifier_probabilities(const float *logits, float *probabilities)
{
    const float largest = logits[classifier_class(logits)];
    float total = 0.0f;
    int each;
    for (each = 0; each < CLASSIFIER_CLASSES; ++each) {
        probabilities[each] = exponential((logits[each] - largest) / CLASSIFIER_TEMPERATURE);
        total += probabilities[each];
    }
    for (each = 0; each < CLASSIFIER_CLASSES; ++each) {
        probabilities[each] /= total;
    }
}

int classifier_answer(const float *probabilities)
{
    const int best = classifier_class(probabilities);
    return probabilities[best] >= CLASSIFIER_THRESHOLD ? best : -1;
}
