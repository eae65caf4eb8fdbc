/* SPDX-License-Identifier: MIT */
/* Read-write locks: readers in the way of a writer, a writer in the way of readers; every variant. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "truth.h"

#define HOLD_US 4000
#define LONG_US 10000000
#define SHORT_US 1000

static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t timed_table_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t clock_table_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t tried_table_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t shared_table_lock = PTHREAD_RWLOCK_INITIALIZER;

struct scene;
typedef void wait_way(struct scene *scene, uint32_t turn);

struct scene {
    pthread_rwlock_t *lock;
    struct truth_lock *truth;
    struct truth_turns turns;
    struct truth_gate index;
    uint32_t rounds, waiters;
    bool twice; /* the first of two waits is in vain */
    wait_way *wait;
};

static void let_wait(struct scene *scene, uint32_t turn) {
    truth_turn_open(&scene->turns, turn, scene->waiters);
    if (scene->twice)
        truth_turn_open_again(&scene->turns, turn);
}

TRUTH_FUNCTION static void read_slowly(struct scene *scene, uint32_t turn) {
    TRUTH_TAKE(scene->truth, pthread_rwlock_rdlock(scene->lock));
    let_wait(scene, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(scene->truth, pthread_rwlock_unlock(scene->lock));
}

TRUTH_FUNCTION static void write_slowly(struct scene *scene, uint32_t turn) {
    TRUTH_TAKE(scene->truth, pthread_rwlock_wrlock(scene->lock));
    let_wait(scene, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(scene->truth, pthread_rwlock_unlock(scene->lock));
}

/* Odd turns are held by a reader, so that only a writer waits. */
static int turn_is_read(uint32_t turn) {
    return turn % 2 == 1;
}

TRUTH_FUNCTION static void wait_plainly(struct scene *scene, uint32_t turn) {
    if (turn_is_read(turn) || turn % 4 == 0)
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_wrlock(scene->lock)));
    else
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_rdlock(scene->lock)));
}

static void expect_timeout(struct scene *scene, int error) {
    if (error != ETIMEDOUT)
        truth_fail("a timed lock did not time out");
    truth_turn_come_again(&scene->turns);
}

TRUTH_FUNCTION static void wait_timed(struct scene *scene, uint32_t turn) {
    pthread_rwlock_t *lock = scene->lock;
    struct timespec soon = truth_deadline(CLOCK_REALTIME, SHORT_US);
    struct timespec late = truth_deadline(CLOCK_REALTIME, LONG_US);
    if (turn_is_read(turn)) {
        expect_timeout(scene, TRUTH_WAIT(scene->truth, pthread_rwlock_timedwrlock(lock, &soon)));
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_timedwrlock(lock, &late)));
    } else {
        expect_timeout(scene, TRUTH_WAIT(scene->truth, pthread_rwlock_timedrdlock(lock, &soon)));
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_timedrdlock(lock, &late)));
    }
}

TRUTH_FUNCTION static void wait_clocked(struct scene *scene, uint32_t turn) {
    pthread_rwlock_t *lock = scene->lock;
    struct timespec soon = truth_deadline(CLOCK_MONOTONIC, SHORT_US);
    struct timespec late = truth_deadline(CLOCK_MONOTONIC, LONG_US);
    if (turn_is_read(turn)) {
        expect_timeout(scene,
                       TRUTH_WAIT(scene->truth, pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, &soon)));
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, &late)));
    } else {
        expect_timeout(scene,
                       TRUTH_WAIT(scene->truth, pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, &soon)));
        TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, &late)));
    }
}

TRUTH_FUNCTION static void wait_after_trying(struct scene *scene, uint32_t turn) {
    for (int i = 0; i < 5; i++) {
        if (pthread_rwlock_trywrlock(scene->lock) != EBUSY)
            truth_fail("a held lock was taken for writing");
    }
    if (turn_is_read(turn)) {
        TRUTH_OK(pthread_rwlock_tryrdlock(scene->lock));
        TRUTH_OK(pthread_rwlock_unlock(scene->lock));
        truth_count(scene->truth, 1);
    } else if (pthread_rwlock_tryrdlock(scene->lock) != EBUSY) {
        truth_fail("a lock held for writing was taken for reading");
    }
    TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_rwlock_wrlock(scene->lock)));
}

static void *waiter_run(void *argument) {
    struct scene *scene = argument;
    uint32_t index = __atomic_fetch_add(&scene->index.value, 1, __ATOMIC_RELAXED);
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        truth_turn_come(&scene->turns, turn, index);
        scene->wait(scene, turn);
        TRUTH_OK(pthread_rwlock_unlock(scene->lock));
        truth_turn_done(&scene->turns);
    }
    return NULL;
}

static void *holder_run(void *argument) {
    struct scene *scene = argument;
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        if (turn_is_read(turn))
            read_slowly(scene, turn);
        else
            write_slowly(scene, turn);
        truth_turn_close(&scene->turns, turn, scene->waiters);
    }
    return NULL;
}

static void play(const char *name, pthread_rwlock_t *lock, wait_way *wait, uint32_t rounds,
                 uint32_t waiters) {
    struct scene scene = {.lock = lock,
                          .rounds = rounds,
                          .waiters = waiters,
                          .wait = wait,
                          .twice = wait == wait_timed || wait == wait_clocked};
    scene.truth = truth_lock_add(name, "rwlock", TRUTH_BY_READERS);
    pthread_t threads[1 + TRUTH_WAITERS_MAX];
    for (uint32_t i = 0; i <= waiters; i++)
        threads[i] = truth_start(i == 0 ? holder_run : waiter_run, &scene);
    for (uint32_t i = 0; i <= waiters; i++)
        truth_join(threads[i]);
}

/* Two readers at once, uncontended: both count. */
static void *reader_run(void *argument) {
    for (int i = 0; i < 1000; i++) {
        TRUTH_OK(pthread_rwlock_rdlock(&shared_table_lock));
        TRUTH_OK(pthread_rwlock_unlock(&shared_table_lock));
    }
    truth_count(argument, 1000);
    return NULL;
}

int main(void) {
    play("table_lock", &table_lock, wait_plainly, 60, 1);
    play("timed_table_lock", &timed_table_lock, wait_timed, 20, 1);
    play("clock_table_lock", &clock_table_lock, wait_clocked, 20, 1);
    play("tried_table_lock", &tried_table_lock, wait_after_trying, 20, 1);
    struct truth_lock *shared = truth_lock_add("shared_table_lock", "rwlock", TRUTH_NO_TIME);
    pthread_t readers[4];
    for (int i = 0; i < 4; i++)
        readers[i] = truth_start(reader_run, shared);
    for (int i = 0; i < 4; i++)
        truth_join(readers[i]);
    truth_print();
    return 0;
}
