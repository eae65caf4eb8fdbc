/* SPDX-License-Identifier: MIT */
/* A spin lock behind which one thread burns while the other holds. */
#include <errno.h>
#include <pthread.h>

#include "truth.h"

#define ROUNDS 30

static pthread_spinlock_t spin_lock;
static struct truth_lock *truth;
static struct truth_turns turns;

/* The holder must not count as holding before the waiter burns, which nobody can see from outside:
 * 3 ms are far beyond the time from its announcement to its first try. */
TRUTH_FUNCTION static void hold_spinning(uint32_t turn) {
    TRUTH_TAKE(truth, pthread_spin_lock(&spin_lock));
    truth_turn_open_spinning(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, pthread_spin_unlock(&spin_lock));
}

TRUTH_FUNCTION static void burn(void) {
    TRUTH_OK(TRUTH_WAIT(truth, pthread_spin_lock(&spin_lock)));
}

static void *waiter_run(void *argument) {
    (void)argument;
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&turns, turn, 0);
        for (int i = 0; i < 3; i++) {
            if (pthread_spin_trylock(&spin_lock) != EBUSY)
                truth_fail("a held spin lock was taken");
        }
        burn();
        TRUTH_OK(pthread_spin_unlock(&spin_lock));
        TRUTH_OK(pthread_spin_trylock(&spin_lock));
        TRUTH_OK(pthread_spin_unlock(&spin_lock));
        truth_count(truth, 1);
        truth_turn_done(&turns);
    }
    return NULL;
}

int main(void) {
    TRUTH_OK(pthread_spin_init(&spin_lock, PTHREAD_PROCESS_PRIVATE));
    truth = truth_lock_add("spin_lock", "spin", TRUTH_BY_HOLDER);
    pthread_t waiter = truth_start(waiter_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_spinning(turn);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(waiter);
    TRUTH_OK(pthread_spin_destroy(&spin_lock));
    truth_print();
    return 0;
}
