/* SPDX-License-Identifier: MIT */
/* Semaphores: waits that a known function ends with a post; every variant. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "truth.h"

#define DELAY_US 3000
#define LONG_US 10000000
#define ROUNDS 30

enum wait_kind { WAIT_PLAIN, WAIT_TIMED, WAIT_CLOCK };

static sem_t slots, timed_slots, clock_slots, free_slots;

struct scene {
    sem_t *semaphore;
    struct truth_lock *truth;
    struct truth_turns turns;
    enum wait_kind kind;
};

TRUTH_FUNCTION static void post_slowly(struct scene *scene, uint32_t turn) {
    truth_turn_open(&scene->turns, turn, 1);
    if (scene->kind != WAIT_PLAIN)
        truth_turn_open_again(&scene->turns, turn);
    truth_sleep_us(DELAY_US);
    TRUTH_GIVE(scene->truth, truth_errno(sem_post(scene->semaphore)));
}

static void expect_timeout(struct scene *scene, int error) {
    if (error != ETIMEDOUT)
        truth_fail("a timed wait did not time out");
    truth_turn_come_again(&scene->turns);
}

TRUTH_FUNCTION static void await_post(struct scene *scene) {
    sem_t *semaphore = scene->semaphore;
    struct timespec soon, late;
    switch (scene->kind) {
    case WAIT_PLAIN:
        if (truth_errno(sem_trywait(semaphore)) != EAGAIN)
            truth_fail("an empty semaphore was taken");
        TRUTH_OK(TRUTH_WAIT(scene->truth, truth_errno(sem_wait(semaphore))));
        break;
    case WAIT_TIMED:
        soon = truth_deadline(CLOCK_REALTIME, 1000);
        late = truth_deadline(CLOCK_REALTIME, LONG_US);
        expect_timeout(scene, TRUTH_WAIT(scene->truth, truth_errno(sem_timedwait(semaphore, &soon))));
        TRUTH_OK(TRUTH_WAIT(scene->truth, truth_errno(sem_timedwait(semaphore, &late))));
        break;
    case WAIT_CLOCK:
        soon = truth_deadline(CLOCK_MONOTONIC, 1000);
        late = truth_deadline(CLOCK_MONOTONIC, LONG_US);
        expect_timeout(
            scene, TRUTH_WAIT(scene->truth, truth_errno(sem_clockwait(semaphore, CLOCK_MONOTONIC, &soon))));
        TRUTH_OK(TRUTH_WAIT(scene->truth, truth_errno(sem_clockwait(semaphore, CLOCK_MONOTONIC, &late))));
        break;
    }
}

static void *waiter_run(void *argument) {
    struct scene *scene = argument;
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&scene->turns, turn, 0);
        await_post(scene);
        truth_turn_done(&scene->turns);
    }
    return NULL;
}

static void play(const char *name, sem_t *semaphore, enum wait_kind kind) {
    TRUTH_OK(truth_errno(sem_init(semaphore, 0, 0)));
    struct scene scene = {.semaphore = semaphore, .kind = kind};
    scene.truth = truth_lock_add(name, "semaphore", TRUTH_BY_RELEASER);
    pthread_t waiter = truth_start(waiter_run, &scene);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        post_slowly(&scene, turn);
        truth_turn_close(&scene.turns, turn, 1);
    }
    truth_join(waiter);
    TRUTH_OK(truth_errno(sem_destroy(semaphore)));
}

/* Never empty: nobody waits, everything is counted, values come out right. */
static void take_freely(void) {
    struct truth_lock *truth = truth_lock_add("free_slots", "semaphore", TRUTH_NO_TIME);
    TRUTH_OK(truth_errno(sem_init(&free_slots, 0, 3)));
    for (int i = 0; i < 1000; i++) {
        TRUTH_OK(truth_errno(sem_wait(&free_slots)));
        TRUTH_OK(truth_errno(sem_trywait(&free_slots)));
        TRUTH_OK(truth_errno(sem_post(&free_slots)));
        TRUTH_OK(truth_errno(sem_post(&free_slots)));
    }
    truth_count(truth, 2000);
    int value = 0;
    TRUTH_OK(truth_errno(sem_getvalue(&free_slots, &value)));
    if (value != 3)
        truth_fail("a semaphore's value is wrong");
    TRUTH_OK(truth_errno(sem_destroy(&free_slots)));
}

int main(void) {
    play("slots", &slots, WAIT_PLAIN);
    play("timed_slots", &timed_slots, WAIT_TIMED);
    play("clock_slots", &clock_slots, WAIT_CLOCK);
    take_freely();
    truth_print();
    return 0;
}
