/* A classifier in C99. It needs no library, no heap and no file system.

   The logits are bit for bit those that onnxruntime gives for the same pixels with model.onnx, on a CPU on which no int8 sum
   saturates: any CPU, for a model of target "portable".
   That holds where float is IEEE 754 single precision with round to nearest, which classifier.c checks as far as C can.

   Not reentrant: all calls share one arena. */
#ifndef CLASSIFIER_H
#define CLASSIFIER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLASSIFIER_HEIGHT $height
#define CLASSIFIER_WIDTH $width
#define CLASSIFIER_CHANNELS $channels /* $order */
#define CLASSIFIER_CLASSES $classes
#define CLASSIFIER_ARENA_BYTES $arena_bytes /* RAM for activations */
#define CLASSIFIER_TABLE_BYTES $table_bytes /* flash for weights and other constants */
#define CLASSIFIER_TEMPERATURE $temperature /* logits are divided by it before they become probabilities */
#define CLASSIFIER_THRESHOLD $threshold /* of the probability below which the answer is unknown */

extern const char *const classifier_labels[CLASSIFIER_CLASSES]; /* UTF-8 */

/* CLASSIFIER_CLASSES logits of an image: CLASSIFIER_HEIGHT * CLASSIFIER_WIDTH * CLASSIFIER_CHANNELS pixel values from 0 to 255, row by
   row, the channels of each pixel next to each other. */
void classifier_run(const uint8_t *image, float *logits);

/* The class with the largest logit: the first of equal ones. */
int classifier_class(const float *logits);

/* CLASSIFIER_CLASSES probabilities: softmax of logits over the temperature, within 1e-6. */
void classifier_probabilities(const float *logits, float *probabilities);

/* The class with the largest probability; -1, which means unknown, where that is below the threshold. */
int classifier_answer(const float *probabilities);

#ifdef __cplusplus
}
#endif

#endif
