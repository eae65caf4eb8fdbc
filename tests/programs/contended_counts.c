/* SPDX-License-Identifier: MIT */
/* Eight threads fight for one lock as fast as they can, for nothing: more events than anybody can take
 * down. Waits may be lost, and told of; the count of acquisitions is exact all the same. */
#include <pthread.h>

#include "truth.h"

#define THREADS 8
#define PAIRS 50000

static pthread_mutex_t common_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *truth;
static uint64_t value;

static void *fight_run(void *argument) {
    for (int i = 0; i < PAIRS; i++) {
        TRUTH_OK(pthread_mutex_lock(&common_lock));
        value++;
        TRUTH_OK(pthread_mutex_unlock(&common_lock));
    }
    truth_count(truth, PAIRS);
    return argument;
}

int main(void) {
    truth = truth_lock_add("common_lock", "mutex", TRUTH_NO_TIME);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = truth_start(fight_run, NULL);
    for (int i = 0; i < THREADS; i++)
        truth_join(threads[i]);
    if (value != (uint64_t)THREADS * PAIRS)
        truth_fail("the lock did not exclude");
    truth_print();
    return 0;
}
