/* SPDX-License-Identifier: MIT */
/* A thread that is not the first replaces the process, while others wait for locks and hold them. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 4

static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t image_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_gate inside;
static int tids[THREADS];
static char *const *arguments;

static void take(int times) {
    for (int i = 0; i < times; i++) {
        TRUTH_OK(pthread_mutex_lock(&image_lock));
        TRUTH_OK(pthread_mutex_unlock(&image_lock));
    }
}

static void *left_run(void *argument) {
    tids[(uintptr_t)argument] = truth_tid();
    truth_gate_add(&inside, 1);
    TRUTH_OK(pthread_mutex_lock(&left_lock));
    return NULL;
}

static void *exec_run(void *argument) {
    (void)argument;
    take(20);
    for (int i = 0; i < THREADS; i++)
        truth_await_asleep(tids[i]);
    execl("/proc/self/exe", arguments[0], "second", (char *)NULL);
    truth_fail("exec failed");
}

int main(int argc, char **argv) {
    arguments = argv;
    if (argc == 1) {
        pthread_t thread;
        TRUTH_OK(pthread_mutex_lock(&left_lock));
        for (uintptr_t i = 0; i < THREADS; i++)
            TRUTH_OK(pthread_create(&thread, NULL, left_run, (void *)i));
        truth_gate_await(&inside, THREADS);
        TRUTH_OK(pthread_create(&thread, NULL, exec_run, NULL));
        TRUTH_OK(pthread_join(thread, NULL));
        truth_fail("the thread that was to exec is gone");
    }
    take(30);
    truth_count(truth_lock_add("image_lock", "mutex", TRUTH_NO_TIME), 50);
    truth_count(truth_lock_add("left_lock", "mutex", TRUTH_NO_TIME), 1);
    for (int i = 0; i < THREADS + 2; i++)
        truth_thread();
    truth_extra("\"processes\":2");
    truth_print();
    return 0;
}
