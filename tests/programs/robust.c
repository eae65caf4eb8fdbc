/* SPDX-License-Identifier: MIT */
/* Robust mutexes: an owner that dies holding; EOWNERDEAD has the lock; ENOTRECOVERABLE does not. */
#include <errno.h>
#include <pthread.h>

#include "truth.h"

#define ROUNDS 20

static pthread_mutex_t robust_lock, lost_lock, tried_robust_lock;
static struct truth_lock *truth, *lost, *tried;
static struct truth_turns turns;

static void *dying_run(void *argument) {
    TRUTH_OK(pthread_mutex_lock(argument));
    return NULL;
}

/* Ends while the other waits: the kernel passes the lock on. */
TRUTH_FUNCTION static void die_slowly(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_mutex_lock(&robust_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(2000);
}

static void *slowly_dying_run(void *argument) {
    die_slowly((uint32_t)(uintptr_t)argument);
    return NULL;
}

TRUTH_FUNCTION static void inherit(void) {
    if (TRUTH_WAIT(truth, pthread_mutex_lock(&robust_lock)) != EOWNERDEAD)
        truth_fail("a dead owner was not told of");
    TRUTH_OK(pthread_mutex_consistent(&robust_lock));
    TRUTH_OK(pthread_mutex_unlock(&robust_lock));
}

static void *heir_run(void *argument) {
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&turns, turn, 0);
        inherit();
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    pthread_mutexattr_t attributes;
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    TRUTH_OK(pthread_mutex_init(&robust_lock, &attributes));
    TRUTH_OK(pthread_mutex_init(&lost_lock, &attributes));
    TRUTH_OK(pthread_mutex_init(&tried_robust_lock, &attributes));
    truth = truth_lock_add("robust_lock", "mutex", TRUTH_BY_HOLDER);
    lost = truth_lock_add("lost_lock", "mutex", TRUTH_NO_TIME);
    tried = truth_lock_add("tried_robust_lock", "mutex", TRUTH_NO_TIME);

    pthread_t heir = truth_start(heir_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        pthread_t dying = truth_start(slowly_dying_run, (void *)(uintptr_t)turn);
        truth_join(dying);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(heir);

    truth_join(truth_start(dying_run, &lost_lock));
    if (pthread_mutex_lock(&lost_lock) != EOWNERDEAD)
        truth_fail("a dead owner was not told of");
    TRUTH_OK(pthread_mutex_unlock(&lost_lock)); /* without pthread_mutex_consistent: it is lost */
    truth_count(lost, 2);
    if (pthread_mutex_lock(&lost_lock) != ENOTRECOVERABLE ||
        pthread_mutex_trylock(&lost_lock) != ENOTRECOVERABLE)
        truth_fail("a lost mutex was taken");

    truth_join(truth_start(dying_run, &tried_robust_lock));
    if (pthread_mutex_trylock(&tried_robust_lock) != EOWNERDEAD)
        truth_fail("a dead owner was not told of");
    TRUTH_OK(pthread_mutex_consistent(&tried_robust_lock));
    TRUTH_OK(pthread_mutex_unlock(&tried_robust_lock));
    TRUTH_OK(pthread_mutex_lock(&tried_robust_lock));
    TRUTH_OK(pthread_mutex_unlock(&tried_robust_lock));
    truth_count(tried, 3);
    truth_print();
    return 0;
}
