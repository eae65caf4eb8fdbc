/* SPDX-License-Identifier: MIT */
/* Mutexes of every type: planned waits behind three holders in known proportions. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "truth.h"

#define HOLD_US 4000

static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t crowd_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t timed_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t tried_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive_lock, checking_lock, inheriting_lock;

struct scene;
typedef int take(struct scene *scene);

struct scene {
    pthread_mutex_t *mutex;
    struct truth_lock *truth;
    struct truth_turns turns;
    uint32_t rounds, waiters;
    bool twice; /* the first of two waits is in vain */
    take *wait;
    struct truth_gate index;
};

static void let_wait(struct scene *scene, uint32_t turn) {
    truth_turn_open(&scene->turns, turn, scene->waiters);
    if (scene->twice)
        truth_turn_open_again(&scene->turns, turn);
}

TRUTH_FUNCTION static void hold_often(struct scene *scene, uint32_t turn) {
    TRUTH_TAKE(scene->truth, pthread_mutex_lock(scene->mutex));
    let_wait(scene, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(scene->truth, pthread_mutex_unlock(scene->mutex));
}

TRUTH_FUNCTION static void hold_sometimes(struct scene *scene, uint32_t turn) {
    TRUTH_TAKE(scene->truth, pthread_mutex_lock(scene->mutex));
    let_wait(scene, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(scene->truth, pthread_mutex_unlock(scene->mutex));
}

TRUTH_FUNCTION static void hold_rarely(struct scene *scene, uint32_t turn) {
    TRUTH_TAKE(scene->truth, pthread_mutex_lock(scene->mutex));
    let_wait(scene, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(scene->truth, pthread_mutex_unlock(scene->mutex));
}

TRUTH_FUNCTION static int wait_plainly(struct scene *scene) {
    return TRUTH_WAIT(scene->truth, pthread_mutex_lock(scene->mutex));
}

/* One that gives up in time, then one that gets it. */
TRUTH_FUNCTION static int wait_timed(struct scene *scene) {
    struct timespec until = truth_deadline(CLOCK_REALTIME, 1000);
    int error = TRUTH_WAIT(scene->truth, pthread_mutex_timedlock(scene->mutex, &until));
    if (error != ETIMEDOUT)
        truth_fail("a timed lock did not time out");
    truth_turn_come_again(&scene->turns);
    until = truth_deadline(CLOCK_REALTIME, 10000000);
    return TRUTH_WAIT(scene->truth, pthread_mutex_timedlock(scene->mutex, &until));
}

TRUTH_FUNCTION static int wait_clocked(struct scene *scene) {
    struct timespec until = truth_deadline(CLOCK_MONOTONIC, 1000);
    int error = TRUTH_WAIT(scene->truth, pthread_mutex_clocklock(scene->mutex, CLOCK_MONOTONIC, &until));
    if (error != ETIMEDOUT)
        truth_fail("a clock lock did not time out");
    truth_turn_come_again(&scene->turns);
    until = truth_deadline(CLOCK_MONOTONIC, 10000000);
    return TRUTH_WAIT(scene->truth, pthread_mutex_clocklock(scene->mutex, CLOCK_MONOTONIC, &until));
}

/* Waits, then enters twice more: the re-entries are acquisitions too. */
TRUTH_FUNCTION static int wait_recursively(struct scene *scene) {
    int error = TRUTH_WAIT(scene->truth, pthread_mutex_lock(scene->mutex));
    TRUTH_OK(pthread_mutex_lock(scene->mutex));
    TRUTH_OK(pthread_mutex_trylock(scene->mutex));
    truth_count(scene->truth, 2);
    TRUTH_OK(pthread_mutex_unlock(scene->mutex));
    TRUTH_OK(pthread_mutex_unlock(scene->mutex));
    return error;
}

/* Errors that only an error-checking mutex gives must come through. */
TRUTH_FUNCTION static int wait_checking(struct scene *scene) {
    if (pthread_mutex_unlock(scene->mutex) != EPERM)
        truth_fail("unlocking another's error-checking mutex was allowed");
    int error = TRUTH_WAIT(scene->truth, pthread_mutex_lock(scene->mutex));
    if (pthread_mutex_lock(scene->mutex) != EDEADLK || pthread_mutex_trylock(scene->mutex) != EBUSY)
        truth_fail("an error-checking mutex was taken twice");
    return error;
}

/* Fails to take it, many times, without waiting; then waits. */
TRUTH_FUNCTION static int wait_after_trying(struct scene *scene) {
    for (int i = 0; i < 10; i++) {
        if (pthread_mutex_trylock(scene->mutex) != EBUSY)
            truth_fail("a held mutex was taken");
    }
    int error = TRUTH_WAIT(scene->truth, pthread_mutex_lock(scene->mutex));
    TRUTH_OK(pthread_mutex_unlock(scene->mutex));
    for (int i = 0; i < 5; i++) {
        TRUTH_OK(pthread_mutex_trylock(scene->mutex));
        TRUTH_OK(pthread_mutex_unlock(scene->mutex));
    }
    TRUTH_OK(pthread_mutex_trylock(scene->mutex));
    truth_count(scene->truth, 6);
    return error;
}

static void *waiter_run(void *argument) {
    struct scene *scene = argument;
    uint32_t index = __atomic_fetch_add(&scene->index.value, 1, __ATOMIC_RELAXED);
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        truth_turn_come(&scene->turns, turn, index);
        TRUTH_OK(scene->wait(scene));
        TRUTH_OK(pthread_mutex_unlock(scene->mutex));
        truth_turn_done(&scene->turns);
    }
    return NULL;
}

static void *holder_run(void *argument) {
    struct scene *scene = argument;
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        if (turn % 20 == 7)
            hold_rarely(scene, turn);
        else if (turn % 5 == 3)
            hold_sometimes(scene, turn);
        else
            hold_often(scene, turn);
        truth_turn_close(&scene->turns, turn, scene->waiters);
    }
    return NULL;
}

static void play(const char *name, pthread_mutex_t *mutex, take *wait, uint32_t rounds, uint32_t waiters) {
    struct scene scene = {.mutex = mutex,
                          .rounds = rounds,
                          .waiters = waiters,
                          .wait = wait,
                          .twice = wait == wait_timed || wait == wait_clocked};
    scene.truth = truth_lock_add(name, "mutex", TRUTH_BY_HOLDER);
    if (waiters > 1)
        truth_crowd(scene.truth);
    pthread_t threads[1 + TRUTH_WAITERS_MAX];
    for (uint32_t i = 0; i <= waiters; i++) {
        TRUTH_OK(pthread_create(&threads[i], NULL, i == 0 ? holder_run : waiter_run, &scene));
        truth_thread();
    }
    for (uint32_t i = 0; i <= waiters; i++)
        truth_join(threads[i]);
}

int main(void) {
    pthread_mutexattr_t attributes;
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE));
    TRUTH_OK(pthread_mutex_init(&recursive_lock, &attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
    TRUTH_OK(pthread_mutex_init(&checking_lock, &attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL));
    TRUTH_OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
    TRUTH_OK(pthread_mutex_init(&inheriting_lock, &attributes));

    play("ledger_lock", &ledger_lock, wait_plainly, 100, 1);
    play("crowd_lock", &crowd_lock, wait_plainly, 20, 4);
    play("timed_lock", &timed_lock, wait_timed, 20, 1);
    play("clock_lock", &clock_lock, wait_clocked, 20, 1);
    play("tried_lock", &tried_lock, wait_after_trying, 20, 1);
    play("recursive_lock", &recursive_lock, wait_recursively, 20, 1);
    play("checking_lock", &checking_lock, wait_checking, 20, 1);
    play("inheriting_lock", &inheriting_lock, wait_plainly, 20, 1);
    truth_print();
    return 0;
}
