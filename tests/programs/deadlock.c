/* SPDX-License-Identifier: MIT */
/* Two threads that take two locks in opposite order and never end. Prints a line when stuck. */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "truth.h"

static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t right_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_gate both;
static int tids[2];

TRUTH_FUNCTION static void left_then_right(void) {
    tids[0] = truth_tid();
    TRUTH_OK(pthread_mutex_lock(&left_lock));
    truth_gate_add(&both, 1);
    truth_gate_await(&both, 2);
    TRUTH_OK(pthread_mutex_lock(&right_lock));
    TRUTH_STAY();
}

TRUTH_FUNCTION static void right_then_left(void) {
    tids[1] = truth_tid();
    TRUTH_OK(pthread_mutex_lock(&right_lock));
    truth_gate_add(&both, 1);
    truth_gate_await(&both, 2);
    TRUTH_OK(pthread_mutex_lock(&left_lock));
    TRUTH_STAY();
}

static void *left_run(void *argument) {
    left_then_right();
    return argument;
}

static void *right_run(void *argument) {
    right_then_left();
    return argument;
}

int main(void) {
    pthread_t left = truth_start(left_run, NULL), right = truth_start(right_run, NULL);
    truth_gate_await(&both, 2);
    /* 2: somebody sleeps for it, or is about to. Until then they may sleep at the gate. */
    while (__atomic_load_n(&left_lock.__data.__lock, __ATOMIC_RELAXED) != 2 ||
           __atomic_load_n(&right_lock.__data.__lock, __ATOMIC_RELAXED) != 2)
        sched_yield();
    truth_await_asleep(tids[0]);
    truth_await_asleep(tids[1]);
    if (write(STDOUT_FILENO, "stuck\n", 6) != 6)
        return 1;
    truth_join(left);
    truth_join(right);
    return 0;
}
