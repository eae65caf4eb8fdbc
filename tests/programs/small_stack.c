/* SPDX-License-Identifier: MIT */
/* Threads with the smallest stack there may be: they start, wait, and end. */
#include <limits.h>
#include <pthread.h>

#include "truth.h"

#define ROUNDS 10

static pthread_mutex_t small_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static struct truth_turns turns;

TRUTH_FUNCTION static void hold_small(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&small_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(2000);
    TRUTH_GIVE(truth, pthread_mutex_unlock(&small_lock));
}

static void *small_run(void *argument) {
    uint32_t turn = (uint32_t)(uintptr_t)argument;
    truth_turn_come(&turns, turn, 0);
    TRUTH_OK(TRUTH_WAIT(truth, pthread_mutex_lock(&small_lock)));
    TRUTH_OK(pthread_mutex_unlock(&small_lock));
    truth_turn_done(&turns);
    return NULL;
}

int main(void) {
    truth = truth_lock_add("small_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_attr_t attributes;
    TRUTH_OK(pthread_attr_init(&attributes));
    TRUTH_OK(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN));
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        pthread_t small;
        TRUTH_OK(pthread_create(&small, &attributes, small_run, (void *)(uintptr_t)turn));
        truth_thread();
        hold_small(turn);
        truth_turn_close(&turns, turn, 1);
        truth_join(small);
    }
    truth_print();
    return 0;
}
