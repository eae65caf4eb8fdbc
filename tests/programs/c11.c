/* SPDX-License-Identifier: MIT */
/* The C11 twins: mtx, cnd, thrd. */
#include <threads.h>

#include "truth.h"

#define ROUNDS 30
#define HOLD_US 3000

static mtx_t plain_mtx, timed_mtx, recursive_mtx;
static cnd_t mtx_changed;
static struct truth_lock *plain, *timed, *recursive, *changed;
static struct truth_turns plain_turns, timed_turns, changed_turns;
static uint32_t changes;

static int to_error(int result) {
    return result == thrd_success ? 0 : result + 1000;
}

TRUTH_FUNCTION static void hold_plain(uint32_t turn) {
    TRUTH_TAKE(plain, to_error(mtx_lock(&plain_mtx)));
    truth_turn_open(&plain_turns, turn, 1);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(plain, to_error(mtx_unlock(&plain_mtx)));
}

TRUTH_FUNCTION static void hold_timed(uint32_t turn) {
    TRUTH_TAKE(timed, to_error(mtx_lock(&timed_mtx)));
    truth_turn_open(&timed_turns, turn, 1);
    truth_turn_open_again(&timed_turns, turn);
    truth_sleep_us(HOLD_US);
    TRUTH_GIVE(timed, to_error(mtx_unlock(&timed_mtx)));
}

TRUTH_FUNCTION static void change(uint32_t turn) {
    truth_turn_open(&changed_turns, turn, 1);
    truth_sleep_us(HOLD_US);
    TRUTH_OK(to_error(mtx_lock(&plain_mtx)));
    changes = turn;
    truth_count(plain, 1);
    TRUTH_OK(to_error(mtx_unlock(&plain_mtx)));
    int (*wake)(cnd_t *) = turn % 2 == 0 ? cnd_signal : cnd_broadcast;
    TRUTH_GIVE(changed, to_error(wake(&mtx_changed)));
}

TRUTH_FUNCTION static void wait_plain(void) {
    TRUTH_OK(TRUTH_WAIT(plain, to_error(mtx_lock(&plain_mtx))));
    TRUTH_OK(to_error(mtx_unlock(&plain_mtx)));
}

TRUTH_FUNCTION static void wait_timed(void) {
    struct timespec soon = truth_deadline(CLOCK_REALTIME, 1000);
    struct timespec late = truth_deadline(CLOCK_REALTIME, 10000000);
    if (mtx_trylock(&timed_mtx) != thrd_busy)
        truth_fail("a held mutex was taken");
    if (TRUTH_WAIT(timed, to_error(mtx_timedlock(&timed_mtx, &soon))) != thrd_timedout + 1000)
        truth_fail("a timed lock did not time out");
    truth_turn_come_again(&timed_turns);
    TRUTH_OK(TRUTH_WAIT(timed, to_error(mtx_timedlock(&timed_mtx, &late))));
    TRUTH_OK(to_error(mtx_unlock(&timed_mtx)));
}

TRUTH_FUNCTION static void wait_change(uint32_t turn) {
    TRUTH_OK(to_error(mtx_lock(&plain_mtx)));
    truth_count(plain, 1);
    while (changes < turn) {
        struct timespec late = truth_deadline(CLOCK_REALTIME, 10000000);
        if (turn % 3 == 0)
            TRUTH_OK(TRUTH_WAIT(changed, to_error(cnd_timedwait(&mtx_changed, &plain_mtx, &late))));
        else
            TRUTH_OK(TRUTH_WAIT(changed, to_error(cnd_wait(&mtx_changed, &plain_mtx))));
        truth_reacquired(plain, 1);
    }
    TRUTH_OK(to_error(mtx_unlock(&plain_mtx)));
}

static int waiter_run(void *argument) {
    (void)argument;
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&plain_turns, turn, 0);
        wait_plain();
        truth_turn_done(&plain_turns);
    }
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&timed_turns, turn, 0);
        wait_timed();
        truth_turn_done(&timed_turns);
    }
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&changed_turns, turn, 0);
        wait_change(turn);
        truth_turn_done(&changed_turns);
    }
    thrd_exit(42);
}

int main(void) {
    TRUTH_OK(to_error(mtx_init(&plain_mtx, mtx_plain)));
    TRUTH_OK(to_error(mtx_init(&timed_mtx, mtx_timed)));
    TRUTH_OK(to_error(mtx_init(&recursive_mtx, mtx_plain | mtx_recursive)));
    TRUTH_OK(to_error(cnd_init(&mtx_changed)));
    plain = truth_lock_add("plain_mtx", "mutex", TRUTH_BY_HOLDER);
    timed = truth_lock_add("timed_mtx", "mutex", TRUTH_BY_HOLDER);
    recursive = truth_lock_add("recursive_mtx", "mutex", TRUTH_NO_TIME);
    changed = truth_lock_add("mtx_changed", "condition", TRUTH_BY_RELEASER);
    thrd_t waiter;
    TRUTH_OK(to_error(thrd_create(&waiter, waiter_run, NULL)));
    truth_thread();
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_plain(turn);
        truth_turn_close(&plain_turns, turn, 1);
    }
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_timed(turn);
        truth_turn_close(&timed_turns, turn, 1);
    }
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        change(turn);
        truth_turn_close(&changed_turns, turn, 1);
    }
    int result = 0;
    TRUTH_OK(to_error(thrd_join(waiter, &result)));
    if (result != 42)
        truth_fail("a thread's result is wrong");

    for (int i = 0; i < 100; i++) {
        TRUTH_OK(to_error(mtx_lock(&recursive_mtx)));
        TRUTH_OK(to_error(mtx_trylock(&recursive_mtx)));
        TRUTH_OK(to_error(mtx_unlock(&recursive_mtx)));
        TRUTH_OK(to_error(mtx_unlock(&recursive_mtx)));
    }
    truth_count(recursive, 200);
    cnd_destroy(&mtx_changed);
    mtx_destroy(&recursive_mtx);
    mtx_destroy(&timed_mtx);
    mtx_destroy(&plain_mtx);
    truth_print();
    return 0;
}
