/* SPDX-License-Identifier: MIT */
/* Two thousand threads that live for a moment. */
#include <pthread.h>

#include "truth.h"

#define THREADS 2000
#define BATCH 50

static pthread_mutex_t storm_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;

static void *drop_run(void *argument) {
    (void)argument;
    for (int i = 0; i < 10; i++) {
        TRUTH_OK(pthread_mutex_lock(&storm_lock));
        TRUTH_OK(pthread_mutex_unlock(&storm_lock));
    }
    truth_count(truth, 10);
    return NULL;
}

int main(void) {
    truth = truth_lock_add("storm_lock", "mutex", TRUTH_NO_TIME);
    for (int started = 0; started < THREADS; started += BATCH) {
        pthread_t threads[BATCH];
        for (int i = 0; i < BATCH; i++)
            threads[i] = truth_start(drop_run, NULL);
        for (int i = 0; i < BATCH; i++)
            truth_join(threads[i]);
    }
    truth_print();
    return 0;
}
