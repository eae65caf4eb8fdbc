/* SPDX-License-Identifier: MIT */
/* A barrier that one thread always reaches last. */
#include <pthread.h>
#include <stdbool.h>

#include "truth.h"

#define PHASES 50
#define EARLY 3

static pthread_barrier_t phase_barrier;
static struct truth_lock *truth;
static struct truth_turns turns;

static int passed(int result) {
    return result == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : result;
}

TRUTH_FUNCTION static void arrive_last(uint32_t phase) {
    truth_turn_open(&turns, phase, EARLY);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, passed(pthread_barrier_wait(&phase_barrier)));
    truth_count(truth, 1);
}

TRUTH_FUNCTION static void arrive_early(void) {
    TRUTH_OK(TRUTH_WAIT(truth, passed(pthread_barrier_wait(&phase_barrier))));
}

static void *early_run(void *argument) {
    for (uint32_t phase = 1; phase <= PHASES; phase++) {
        truth_turn_come(&turns, phase, (uint32_t)(uintptr_t)argument);
        arrive_early();
        truth_turn_done(&turns);
    }
    return NULL;
}

int main(void) {
    TRUTH_OK(pthread_barrier_init(&phase_barrier, NULL, EARLY + 1));
    truth = truth_lock_add("phase_barrier", "barrier", TRUTH_BY_RELEASER);
    pthread_t threads[EARLY];
    for (uintptr_t i = 0; i < EARLY; i++)
        threads[i] = truth_start(early_run, (void *)i);
    for (uint32_t phase = 1; phase <= PHASES; phase++) {
        arrive_last(phase);
        truth_turn_close(&turns, phase, EARLY);
    }
    for (int i = 0; i < EARLY; i++)
        truth_join(threads[i]);
    TRUTH_OK(pthread_barrier_destroy(&phase_barrier));
    truth_print();
    return 0;
}
