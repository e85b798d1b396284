/* Answers onnxruntime's `cpuid` as a CPU with AVX2 and nothing later would; see without_vnni.py.
 *
 * That script writes copies of onnxruntime's libraries into the folder $WITHOUT_VNNI, in which each `cpuid` is replaced by `ud2`, which is
 * as long. Who opens one of those libraries gets its copy. The signal of an illegal instruction comes here: the real `cpuid` is
 * asked, what came after AVX2 is struck out (Intel SDM, volume 2, CPUID, leaf 7), and the program goes on behind the instruction.
 * Kernels then are those of a Haswell, at this machine's speed.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))
/* Leaf 7, EBX: AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL. */
#define AVX512 (BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31))

static int (*set_action)(int, const struct sigaction *, struct sigaction *);

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    (void)info;
    if (at[0] != 0x0f || at[1] != 0x0b) { /* not ours: end as without us */
        struct sigaction usual = {.sa_handler = SIG_DFL};
        set_action(signal_number, &usual, 0);
        return;
    }
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7) { /* ECX, EDX and part 1 hold VNNI, AMX, AVX-VNNI and their like: a Haswell has zeros there */
        a = part ? 0 : a;
        b = part ? 0 : b & ~AVX512;
        c = d = 0;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

/* Nobody else takes this signal: Python's faulthandler, which pytest turns on, would. */
int sigaction(int signal_number, const struct sigaction *wanted, struct sigaction *before) {
    if (!set_action) *(void **)&set_action = dlsym(RTLD_NEXT, "sigaction");
    return set_action(signal_number, signal_number == SIGILL ? 0 : wanted, before);
}

void *dlopen(const char *name, int mode) {
    static void *(*open_library)(const char *, int);
    const char *folder = getenv("WITHOUT_VNNI"), *base = name ? strrchr(name, '/') : 0;
    char copy[PATH_MAX];
    if (!open_library) *(void **)&open_library = dlsym(RTLD_NEXT, "dlopen");
    if (folder && base && snprintf(copy, sizeof copy, "%s%s", folder, base) < (int)sizeof copy && access(copy, R_OK) == 0) name = copy;
    return open_library(name, mode);
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction ours = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    *(void **)&set_action = dlsym(RTLD_NEXT, "sigaction");
    set_action(SIGILL, &ours, 0);
}
