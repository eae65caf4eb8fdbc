/* SPDX-License-Identifier: MIT */
/* What test_uprobe_bpf.c looks at: functions with a known first instruction, called as often as it is told.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bpf/uprobe_probe.h"

typedef unsigned long function(unsigned long value);

/* The program exports none of them: only .symtab has their names. */
function probed_push, probed_push_r12, probed_nop, probed_endbr64, probed_lea;
#define FUNCTION(name, first)                                                                                \
    __asm__(".pushsection .text\n.p2align 4\n.globl " name "\n.type " name ", @function\n" name ":\n"        \
            ".cfi_startproc\n" first "\nlea 3(%rdi), %rax\nret\n.cfi_endproc\n.size " name ", .-" name       \
            "\n.popsection")
FUNCTION("probed_push", "push %rbx\npop %rbx");
FUNCTION("probed_push_r12", "push %r12\npop %r12");
FUNCTION("probed_nop", "nop");
FUNCTION("probed_endbr64", "endbr64");
FUNCTION("probed_lea", "");

static function *functions[UPROBE_TARGET_FUNCTIONS] = {
    [UPROBE_TARGET_PUSH] = probed_push, [UPROBE_TARGET_PUSH_R12] = probed_push_r12,
    [UPROBE_TARGET_NOP] = probed_nop,   [UPROBE_TARGET_ENDBR64] = probed_endbr64,
    [UPROBE_TARGET_LEA] = probed_lea,
};
static volatile unsigned long value;

static void *calls_make(void *argument) {
    const struct uprobe_target_order *order = argument;
    unsigned long sum = 0;
    for (unsigned long i = 0; i < order->times; i++)
        sum += functions[order->function](i);
    value = sum;
    return NULL;
}

static void order_follow(struct uprobe_target_order *order) {
    pthread_t threads[UPROBE_TARGET_THREAD_COUNT];
    int status = -1;
    switch (order->who) {
    case UPROBE_TARGET_ITSELF:
        calls_make(order);
        return;
    case UPROBE_TARGET_THREADS:
        for (unsigned i = 0; i < UPROBE_TARGET_THREAD_COUNT; i++)
            if (pthread_create(&threads[i], NULL, calls_make, order) != 0)
                _exit(3);
        for (unsigned i = 0; i < UPROBE_TARGET_THREAD_COUNT; i++)
            pthread_join(threads[i], NULL);
        return;
    default: {
        pid_t child = fork();
        if (child == 0) {
            calls_make(order);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            _exit(3);
    }
    }
}

int main(void) {
    struct uprobe_target_order order;
    struct uprobe_target_answer answer = {0};
    void *library = dlopen(UPROBE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return 3;
    functions[UPROBE_TARGET_VERSION_1] = (function *)dlvsym(library, "probed_versioned", "LIBRARY_1");
    functions[UPROBE_TARGET_VERSION_2] = (function *)dlsym(library, "probed_versioned");
    for (unsigned i = 0; i < UPROBE_TARGET_FUNCTIONS; i++)
        answer.addresses[i] = (unsigned long)functions[i];
    while (read(STDIN_FILENO, &order, sizeof(order)) == sizeof(order)) {
        order_follow(&order);
        answer.done++;
        if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
            return 3;
    }
    return 0;
}
