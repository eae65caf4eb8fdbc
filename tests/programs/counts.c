/* SPDX-License-Identifier: MIT */
/* Exact counts at full speed: eight threads, a million pairs each on a lock of their own. */
#include <pthread.h>

#include "truth.h"

#define THREADS 8
#define OWN_PAIRS 1000000

static struct {
    pthread_mutex_t lock;
    char pad[64];
} own[THREADS];
static struct truth_lock *own_truths[THREADS];

static void *count_run(void *argument) {
    uintptr_t index = (uintptr_t)argument;
    for (int i = 0; i < OWN_PAIRS; i++) {
        pthread_mutex_lock(&own[index].lock);
        pthread_mutex_unlock(&own[index].lock);
    }
    truth_count(own_truths[index], OWN_PAIRS);
    return NULL;
}

int main(void) {
    static const char *const names[THREADS] = {"own[0].lock", "own[1].lock", "own[2].lock", "own[3].lock",
                                               "own[4].lock", "own[5].lock", "own[6].lock", "own[7].lock"};
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        own_truths[i] = truth_lock_add(names[i], "mutex", TRUTH_NO_TIME);
        threads[i] = truth_start(count_run, (void *)i);
    }
    for (int i = 0; i < THREADS; i++)
        truth_join(threads[i]);
    truth_print();
    return 0;
}
