/* A Cortex-M with FPU: stack, vector table, and newlib's own start, which speaks to the emulator by semihosting. */
#include <stdint.h>

extern uint32_t stack_top;
extern void _start(void);
void reset(void);
void fault(void);

void fault(void)
{
    for (;;) {
    }
}

__attribute__((naked)) void reset(void)
{
#ifdef __ARM_FP
    __asm__ volatile("ldr r0, =0xE000ED88\n ldr r1, [r0]\n orr r1, r1, #0xF00000\n str r1, [r0]\n dsb\n isb\n");
#endif
    __asm__ volatile("b _start\n");
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {&stack_top, (void *)reset, (void *)fault, (void *)fault,
                                                                            (void *)fault, (void *)fault, (void *)fault};
