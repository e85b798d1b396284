/* Checks classifier.c against the golden vectors of its bundle: logits bit for bit, class and decision. For a computer, not for the device:
     cc -std=c99 -O2 -o ../../../program check.c classifier.c && ../../../program check ../..
   Exit code 0: all agree; 1: one does not; 2: a file is missing or has another size. */
#include "classifier.h"

#include <stdio.h>
#include <string.h>

#define PIXELS (CLASSIFIER_HEIGHT * CLASSIFIER_WIDTH * CLASSIFIER_CHANNELS)

#define NOT_COMPARED -2 /* rounding decides */

static uint8_t image[PIXELS];
static float expected[CLASSIFIER_CLASSES], logits[CLASSIFIER_CLASSES], probabilities[CLASSIFIER_CLASSES];
static const int decisions[] = {${decisions}NOT_COMPARED}; /* of each golden vector: a class, -1 for unknown */

/* Equal probabilities are unknown where they are below the threshold. */
static int equals_are_unknown(void)
{
    int i;
    for (i = 0; i < CLASSIFIER_CLASSES; ++i) {
        probabilities[i] = 1.0f / CLASSIFIER_CLASSES;
    }
    return classifier_answer(probabilities) == -1 || CLASSIFIER_THRESHOLD <= 1.0f / CLASSIFIER_CLASSES;
}

static int decides(int number)
{
    classifier_probabilities(expected, probabilities);
    return number >= (int)(sizeof decisions / sizeof *decisions) || decisions[number] == NOT_COMPARED ||
           classifier_answer(probabilities) == decisions[number];
}

/* The numbers of a .npy file: 6 bytes of magic, 2 of the version, the length of the header (2 bytes, or 4 from version 2), the header. */
static int read_npy(const char *bundle, int number, const char *step, void *values, size_t bytes)
{
    char path[4096];
    unsigned char start[12];
    size_t length, wide;
    FILE *file;
    snprintf(path, sizeof path, "%s/golden/%02d.%s.npy", bundle, number, step);
    file = fopen(path, "rb");
    if (!file) {
        return 0;
    }
    wide = fread(start, 1, 12, file) == 12 && start[6] > 1 ? 4 : 2;
    length = wide == 4 ? start[8] + 256u * start[9] + 65536u * start[10] : start[8] + 256u * start[9];
    if (fseek(file, (long)(8 + wide + length), SEEK_SET) != 0 || fread(values, 1, bytes, file) != bytes || fgetc(file) != EOF) {
        fprintf(stderr, "expected %lu bytes of numbers in %s, found another size\n", (unsigned long)bytes, path);
        fclose(file);
        return -1;
    }
    fclose(file);
    return 1;
}

int main(int count, char **words)
{
    const char *bundle = count > 1 ? words[count - 1] : "../..";
    int number, first = 0, wrong = 0, class_too = 0, undecided = -1;
    for (number = 0;; ++number) {
        const int found = read_npy(bundle, number, "resized", image, sizeof image);
        const int answered = found > 0 ? read_npy(bundle, number, "output", expected, sizeof expected) : 0;
        if (found < 0 || answered < 0 || (found > 0 && !answered) || (!found && !number)) {
            fprintf(stderr, "expected golden vectors in %s/golden, found none for %02d\n", bundle, number);
            return 2;
        }
        if (!found) {
            break;
        }
        undecided = undecided < 0 && !decides(number) ? number : undecided;
        classifier_run(image, logits);
        if (memcmp(logits, expected, sizeof logits) != 0) {
            first = wrong++ ? first : number;
            class_too = class_too || classifier_class(logits) != classifier_class(expected);
        }
    }
    if (!wrong && undecided < 0 && !equals_are_unknown()) {
        printf("decision: equal probabilities are answered\n");
        return 1;
    }
    if (wrong) {
        printf("%02d: logits diverge%s; of %d golden vectors %d agree\n", first, class_too ? ", the class of some, too" : "", number,
               number - wrong);
    } else if (undecided >= 0) {
        printf("%02d: decision: the golden logits decide otherwise here\n", undecided);
    } else {
        printf("%d golden vectors: the logits' bits are those of model.onnx\n", number);
    }
    return wrong != 0 || undecided >= 0;
}
