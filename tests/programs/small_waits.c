/* SPDX-License-Identifier: MIT */
/* Threads with the smallest stack there may be wait for everything that can be waited for, and create threads
 * themselves. */
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>

#include "truth.h"

#define ROUNDS 8
#define KINDS 7

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t ready_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t table = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t meeting;
static sem_t slots;
static mtx_t plain;
static int is_ready;
static pthread_attr_t small;
static struct truth_turns turns;
static struct truth_lock *truths[KINDS];

static void *nothing_run(void *argument) {
    return argument;
}

TRUTH_FUNCTION static int wait_small(int kind) {
    struct timespec late = truth_deadline(CLOCK_REALTIME, 60000000);
    int result = 0;
    switch (kind) {
    case 0:
        result = TRUTH_WAIT(truths[0], pthread_mutex_lock(&mutex));
        TRUTH_OK(pthread_mutex_unlock(&mutex));
        break;
    case 1:
        result = TRUTH_WAIT(truths[1], pthread_rwlock_rdlock(&table));
        TRUTH_OK(pthread_rwlock_unlock(&table));
        break;
    case 2:
        result = TRUTH_WAIT(truths[2], pthread_rwlock_timedwrlock(&table, &late));
        TRUTH_OK(pthread_rwlock_unlock(&table));
        break;
    case 3:
        TRUTH_OK(pthread_mutex_lock(&ready_lock));
        while (!is_ready)
            result = TRUTH_WAIT(truths[3], pthread_cond_timedwait(&ready, &ready_lock, &late));
        is_ready = 0;
        TRUTH_OK(pthread_mutex_unlock(&ready_lock));
        break;
    case 4:
        result = TRUTH_WAIT(truths[4], truth_errno(sem_wait(&slots)));
        break;
    case 5:
        result = TRUTH_WAIT(truths[5], pthread_barrier_wait(&meeting));
        break;
    default:
        result = TRUTH_WAIT(truths[6], mtx_lock(&plain) == thrd_success ? 0 : 1);
        mtx_unlock(&plain);
        break;
    }
    return result;
}

static void *small_run(void *argument) {
    uint32_t turn = (uint32_t)(uintptr_t)argument;
    truth_turn_come(&turns, turn, 0);
    TRUTH_OK(wait_small((int)(turn - 1) % KINDS));
    pthread_t thread;
    TRUTH_OK(pthread_create(&thread, &small, nothing_run, NULL));
    truth_thread();
    TRUTH_OK(pthread_join(thread, NULL));
    truth_turn_done(&turns);
    return NULL;
}

TRUTH_FUNCTION static void hold_small(int kind, uint32_t turn) {
    if (kind == 0)
        TRUTH_TAKE(truths[0], pthread_mutex_lock(&mutex));
    else if (kind == 1 || kind == 2)
        TRUTH_TAKE(truths[kind], pthread_rwlock_wrlock(&table));
    else if (kind == 6)
        TRUTH_TAKE(truths[6], mtx_lock(&plain) == thrd_success ? 0 : 1);
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(2000);
    if (kind == 0)
        TRUTH_GIVE(truths[0], pthread_mutex_unlock(&mutex));
    else if (kind == 1 || kind == 2)
        TRUTH_GIVE(truths[kind], pthread_rwlock_unlock(&table));
    else if (kind == 3) {
        TRUTH_OK(pthread_mutex_lock(&ready_lock));
        is_ready = 1;
        TRUTH_GIVE(truths[3], pthread_cond_signal(&ready));
        TRUTH_OK(pthread_mutex_unlock(&ready_lock));
    } else if (kind == 4)
        TRUTH_GIVE(truths[4], truth_errno(sem_post(&slots)));
    else if (kind == 5) {
        truth_count(truths[5], 1);
        TRUTH_GIVE(truths[5], pthread_barrier_wait(&meeting) == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : 1);
    } else
        TRUTH_GIVE(truths[6], mtx_unlock(&plain) == thrd_success ? 0 : 1);
}

int main(void) {
    static const char *const NAMES[KINDS][2] = {
        {"mutex", "mutex"},     {"table", "rwlock"},    {"table", "rwlock"}, {"ready", "condition"},
        {"slots", "semaphore"}, {"meeting", "barrier"}, {"plain", "mutex"},
    };
    for (int i = 0; i < KINDS; i++)
        truths[i] = i == 2 ? truths[1]
                           : truth_lock_add(NAMES[i][0], NAMES[i][1],
                                            i >= 3 && i <= 5 ? TRUTH_BY_RELEASER : TRUTH_BY_HOLDER);
    TRUTH_OK(pthread_barrier_init(&meeting, NULL, 2));
    TRUTH_OK(truth_errno(sem_init(&slots, 0, 0)));
    if (mtx_init(&plain, mtx_plain) != thrd_success)
        truth_fail("no mutex");
    TRUTH_OK(pthread_attr_init(&small));
    TRUTH_OK(pthread_attr_setstacksize(&small, (size_t)PTHREAD_STACK_MIN));
    for (uint32_t turn = 1; turn <= ROUNDS * KINDS; turn++) {
        pthread_t thread;
        TRUTH_OK(pthread_create(&thread, &small, small_run, (void *)(uintptr_t)turn));
        truth_thread();
        hold_small((int)(turn - 1) % KINDS, turn);
        truth_turn_close(&turns, turn, 1);
        truth_join(thread);
    }
    truth_print();
    return 0;
}
