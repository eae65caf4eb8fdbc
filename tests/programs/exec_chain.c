/* SPDX-License-Identifier: MIT */
/* Replaces itself three times; each image takes its own lock. The last one prints for all. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "truth.h"

#define STAGES 4

static pthread_mutex_t stage_lock = PTHREAD_MUTEX_INITIALIZER;

static void *stage_run(void *argument) {
    for (int i = 0; i < 250; i++) {
        TRUTH_OK(pthread_mutex_lock(&stage_lock));
        TRUTH_OK(pthread_mutex_unlock(&stage_lock));
    }
    return argument;
}

int main(int argc, char **argv) {
    int stage = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t thread;
    TRUTH_OK(pthread_create(&thread, NULL, stage_run, NULL));
    TRUTH_OK(pthread_join(thread, NULL));
    for (int i = 0; i < stage; i++)
        stage_run(NULL);
    if (stage < STAGES) {
        char next[16];
        snprintf(next, sizeof next, "%d", stage + 1);
        execl("/proc/self/exe", argv[0], next, (char *)NULL);
        truth_fail("exec failed");
    }
    struct truth_lock *truth = truth_lock_add("stage_lock", "mutex", TRUTH_NO_TIME);
    for (int i = 1; i <= STAGES; i++) {
        truth_count(truth, 250U * (unsigned)(i + 1));
        truth_thread(); /* of each image: its main, counted but for the first, and one more */
        if (i > 1)
            truth_thread();
    }
    truth_extra("\"processes\":4");
    truth_print();
    return 0;
}
