/* SPDX-License-Identifier: MIT */
/* Forty locks held at once, more than an agent keeps in view: counts stay exact all the same. */
#include <pthread.h>
#include <stdio.h>

#include "truth.h"

#define DEPTH 40
#define ROUNDS 500

static pthread_mutex_t nest[DEPTH];

static void *nest_run(void *argument) {
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < DEPTH; i++)
            TRUTH_OK(pthread_mutex_lock(&nest[i]));
        /* In the order of taking: neither a stack nor a queue for every other round. */
        for (int i = 0; i < DEPTH; i++)
            TRUTH_OK(pthread_mutex_unlock(&nest[round % 2 == 0 ? i : DEPTH - 1 - i]));
    }
    return argument;
}

int main(void) {
    static char names[DEPTH][16];
    struct truth_lock *truths[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        snprintf(names[i], sizeof names[i], "nest[%d]", i);
        TRUTH_OK(pthread_mutex_init(&nest[i], NULL));
        truths[i] = truth_lock_add(names[i], "mutex", TRUTH_NO_TIME);
    }
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = truth_start(nest_run, NULL);
    for (int i = 0; i < 2; i++)
        truth_join(threads[i]);
    for (int i = 0; i < DEPTH; i++)
        truth_count(truths[i], 2 * ROUNDS);
    truth_print();
    return 0;
}
