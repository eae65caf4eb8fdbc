/* SPDX-License-Identifier: MIT */
/* Waits for a lock inside functions that no unwinder gets past, each for another reason: one without call
 * frame information, that keeps a number in rbp; one whose caller is found by a register that does not
 * survive a call; one whose caller lies far beyond the stack, by its own account. And first inside an
 * ordinary one. Prints how often each was waited in. */
#include <pthread.h>
#include <stdio.h>

#include "truth.h"

void call_without_information(void (*function)(void));
void call_without_rule(void (*function)(void));
void call_beyond(void (*function)(void));

__asm__(".text\n"
        ".globl call_without_information\n.type call_without_information, @function\n"
        "call_without_information:\n"
        "push %rbp\nmov $1, %ebp\ncall *%rdi\npop %rbp\nret\n"
        ".size call_without_information, .-call_without_information\n"
        ".globl call_without_rule\n.type call_without_rule, @function\n"
        "call_without_rule:\n.cfi_startproc\n"
        "sub $8, %rsp\n.cfi_def_cfa %r11, 16\ncall *%rdi\nadd $8, %rsp\nret\n"
        ".cfi_endproc\n.size call_without_rule, .-call_without_rule\n"
        ".globl call_beyond\n.type call_beyond, @function\n"
        "call_beyond:\n.cfi_startproc\n"
        "sub $8, %rsp\n.cfi_def_cfa_offset 262128\ncall *%rdi\nadd $8, %rsp\nret\n"
        ".cfi_endproc\n.size call_beyond, .-call_beyond\n");

static pthread_mutex_t alley_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static struct truth_turns turns;

TRUTH_FUNCTION static void wait_here(void) {
    TRUTH_OK(TRUTH_WAIT(truth, pthread_mutex_lock(&alley_lock)));
    TRUTH_OK(pthread_mutex_unlock(&alley_lock));
}

static void call_plainly(void (*function)(void)) {
    function();
    TRUTH_STAY();
}

enum way { PLAINLY, WITHOUT_INFORMATION, WITHOUT_RULE, BEYOND, WAYS_COUNT };
static void (*const WAYS[WAYS_COUNT])(void (*)(void)) = {call_plainly, call_without_information,
                                                         call_without_rule, call_beyond};
/* All different, so that none can be taken for another. First as many whole stacks as it takes to be taken
 * another way than a thread's first ones. */
static const int ROUNDS_OF[WAYS_COUNT] = {20, 5, 6, 7};

static void *waiter_run(void *argument) {
    uint32_t turn = 0;
    for (enum way way = 0; way < WAYS_COUNT; way++) {
        for (int round = 0; round < ROUNDS_OF[way]; round++) {
            truth_turn_come(&turns, ++turn, 0);
            WAYS[way](wait_here);
            truth_turn_done(&turns);
        }
    }
    return argument;
}

TRUTH_FUNCTION static void hold(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&alley_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(1000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&alley_lock));
}

int main(void) {
    truth = truth_lock_add("alley_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_attr_t attributes;
    pthread_t waiter;
    uint32_t turn = 0;
    TRUTH_OK(pthread_attr_init(&attributes));
    TRUTH_OK(pthread_attr_setstacksize(&attributes, 65536)); /* less than call_beyond speaks of */
    TRUTH_OK(pthread_create(&waiter, &attributes, waiter_run, NULL));
    truth_thread();
    for (enum way way = 0; way < WAYS_COUNT; way++) {
        for (int round = 0; round < ROUNDS_OF[way]; round++) {
            hold(++turn);
            truth_turn_close(&turns, turn, 1);
        }
    }
    truth_join(waiter);
    static char ends[96];
    snprintf(ends, sizeof(ends), "\"stacks\":{\"no_information\":%d,\"no_rule\":%d,\"unreadable\":%d}",
             ROUNDS_OF[WITHOUT_INFORMATION], ROUNDS_OF[WITHOUT_RULE], ROUNDS_OF[BEYOND]);
    truth_extra(ends);
    truth_print();
    return 0;
}
