#include "classifier.h"

#include <float.h>

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "expected float to be IEEE 754 single precision: logits would have other bits"
#endif
#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "expected float arithmetic in single precision (on x86 without SSE: -msse2 -mfpmath=sse): logits would have other bits"
#endif
#ifdef __FAST_MATH__
#error "expected no -ffast-math: logits would have other bits"
#endif

const char *const classifier_labels[CLASSIFIER_CLASSES] = {
    $labels,
};

static int16_t arena[CLASSIFIER_ARENA_BYTES / 2];

$functions
$tables
void classifier_run(const uint8_t *image, float *logits)
{
    uint8_t *const bytes = (uint8_t *)arena;
$calls
}
