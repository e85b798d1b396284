/* Logits of many images: reads pixels from images.bin, writes floats to logits.bin. On a board without a system it also says
   how many bytes of stack one call took: it fills the stack below with a pattern and looks how far that was overwritten. */
#include "classifier.h"

#include <stdio.h>

static uint8_t image[CLASSIFIER_HEIGHT * CLASSIFIER_WIDTH * CLASSIFIER_CHANNELS];
static float logits[CLASSIFIER_CLASSES];

#ifdef BARE
#define PAINTED 4096u
#define PATTERN 0xA5u

static __attribute__((noinline)) unsigned stack_bytes(void)
{
    volatile uint8_t *const top = (volatile uint8_t *)__builtin_frame_address(0) - 64;
    unsigned each;
    for (each = 1; each <= PAINTED; ++each) {
        top[-(int)each] = PATTERN;
    }
    classifier_run(image, logits);
    for (each = PAINTED; each > 0 && top[-(int)each] == PATTERN; --each) {
    }
    return each + 64;
}
#endif

int main(void)
{
    FILE *const images = fopen("images.bin", "rb"), *const answers = fopen("logits.bin", "wb");
    unsigned count = 0;
    if (!images || !answers) {
        return 2;
    }
    while (fread(image, 1, sizeof image, images) == sizeof image) {
        classifier_run(image, logits);
        if (fwrite(logits, 1, sizeof logits, answers) != sizeof logits) {
            return 2;
        }
        ++count;
    }
    fclose(images);
    fclose(answers);
#ifdef BARE
    printf("stack %u\n", stack_bytes());
#endif
    printf("images %u\n", count);
    return 0;
}
