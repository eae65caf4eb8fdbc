/* SPDX-License-Identifier: MIT */
/* Conditions: signal, broadcast, the timed and clock waits, and a ping-pong. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "truth.h"

#define DELAY_US 3000
#define LONG_US 10000000

static pthread_mutex_t work_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t all_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t timed_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t clock_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t never_ready = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;

static struct truth_lock *mutex_truth, *turn_truth, *changed_truth;

enum wait_kind { WAIT_PLAIN, WAIT_TIMED, WAIT_CLOCK };

struct scene {
    pthread_cond_t *condition;
    struct truth_lock *truth;
    struct truth_turns turns;
    struct truth_gate index;
    uint32_t rounds, waiters, ready;
    bool all;
    enum wait_kind kind;
};

TRUTH_FUNCTION static void announce_work(struct scene *scene, uint32_t turn) {
    truth_turn_open(&scene->turns, turn, scene->waiters);
    truth_sleep_us(DELAY_US);
    TRUTH_OK(pthread_mutex_lock(&work_lock));
    scene->ready = turn;
    truth_count(mutex_truth, 1);
    TRUTH_OK(pthread_mutex_unlock(&work_lock));
    if (scene->all)
        TRUTH_GIVE(scene->truth, pthread_cond_broadcast(scene->condition));
    else
        TRUTH_GIVE(scene->truth, pthread_cond_signal(scene->condition));
}

TRUTH_FUNCTION static void await_work(struct scene *scene, uint32_t turn) {
    TRUTH_OK(pthread_mutex_lock(&work_lock));
    truth_count(mutex_truth, 1);
    while (scene->ready < turn) {
        struct timespec until;
        switch (scene->kind) {
        case WAIT_PLAIN:
            TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_cond_wait(scene->condition, &work_lock)));
            break;
        case WAIT_TIMED:
            until = truth_deadline(CLOCK_REALTIME, LONG_US);
            TRUTH_OK(TRUTH_WAIT(scene->truth, pthread_cond_timedwait(scene->condition, &work_lock, &until)));
            break;
        case WAIT_CLOCK:
            until = truth_deadline(CLOCK_MONOTONIC, LONG_US);
            TRUTH_OK(TRUTH_WAIT(
                scene->truth, pthread_cond_clockwait(scene->condition, &work_lock, CLOCK_MONOTONIC, &until)));
            break;
        }
        truth_reacquired(mutex_truth, 1);
    }
    TRUTH_OK(pthread_mutex_unlock(&work_lock));
}

static void *waiter_run(void *argument) {
    struct scene *scene = argument;
    uint32_t index = __atomic_fetch_add(&scene->index.value, 1, __ATOMIC_RELAXED);
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        truth_turn_come(&scene->turns, turn, index);
        await_work(scene, turn);
        truth_turn_done(&scene->turns);
    }
    return NULL;
}

static void *signaller_run(void *argument) {
    struct scene *scene = argument;
    for (uint32_t turn = 1; turn <= scene->rounds; turn++) {
        announce_work(scene, turn);
        truth_turn_close(&scene->turns, turn, scene->waiters);
    }
    return NULL;
}

static void play(const char *name, struct scene *scene) {
    scene->truth = truth_lock_add(name, "condition", TRUTH_BY_RELEASER);
    pthread_t threads[1 + TRUTH_WAITERS_MAX];
    for (uint32_t i = 0; i <= scene->waiters; i++)
        threads[i] = truth_start(i == 0 ? signaller_run : waiter_run, scene);
    for (uint32_t i = 0; i <= scene->waiters; i++)
        truth_join(threads[i]);
}

/* Waits that nobody ends. */
TRUTH_FUNCTION static void give_up(struct truth_lock *truth) {
    for (int i = 0; i < 10; i++) {
        TRUTH_OK(pthread_mutex_lock(&work_lock));
        truth_count(mutex_truth, 1);
        struct timespec until = truth_deadline(CLOCK_REALTIME, DELAY_US);
        int error = TRUTH_WAIT(truth, pthread_cond_timedwait(&never_ready, &work_lock, &until));
        if (error != ETIMEDOUT)
            truth_fail("a timed wait did not time out");
        until = truth_deadline(CLOCK_MONOTONIC, DELAY_US);
        error = TRUTH_WAIT(truth, pthread_cond_clockwait(&never_ready, &work_lock, CLOCK_MONOTONIC, &until));
        if (error != ETIMEDOUT)
            truth_fail("a clock wait did not time out");
        truth_reacquired(mutex_truth, 2);
        TRUTH_OK(pthread_mutex_unlock(&work_lock));
    }
}

static uint32_t turn_now;

static void *pong_run(void *argument) {
    uint32_t mine = argument != NULL;
    for (int i = 0; i < 2000; i++) {
        TRUTH_OK(pthread_mutex_lock(&turn_lock));
        truth_count(turn_truth, 1);
        while (turn_now % 2 != mine) {
            TRUTH_OK(pthread_cond_wait(&turn_changed, &turn_lock));
            truth_count(changed_truth, 1);
            truth_reacquired(turn_truth, 1);
        }
        turn_now++;
        TRUTH_OK(pthread_cond_signal(&turn_changed));
        TRUTH_OK(pthread_mutex_unlock(&turn_lock));
    }
    return NULL;
}

int main(void) {
    mutex_truth = truth_lock_add("work_lock", "mutex", TRUTH_NO_TIME);
    play("work_ready",
         &(struct scene){.condition = &work_ready, .rounds = 60, .waiters = 1, .kind = WAIT_PLAIN});
    play("all_ready", &(struct scene){.condition = &all_ready, .rounds = 20, .waiters = 3, .all = true});
    play("timed_ready",
         &(struct scene){.condition = &timed_ready, .rounds = 20, .waiters = 1, .kind = WAIT_TIMED});
    play("clock_ready",
         &(struct scene){.condition = &clock_ready, .rounds = 20, .waiters = 1, .kind = WAIT_CLOCK});
    give_up(truth_lock_add("never_ready", "condition", TRUTH_BY_RELEASER));

    turn_truth = truth_lock_add("turn_lock", "mutex", TRUTH_NO_TIME);
    changed_truth = truth_lock_add("turn_changed", "condition", TRUTH_NO_TIME);
    pthread_t ping = truth_start(pong_run, NULL), pong = truth_start(pong_run, &turn_now);
    truth_join(ping);
    truth_join(pong);
    truth_print();
    return 0;
}
