/* SPDX-License-Identifier: MIT */
/* Waits ended by cancellation and by pthread_exit out of a signal handler, for a condition, a semaphore and a
 * thread; the thread's clean-up runs and locks, the condition's mutex is had again, and later waits are
 * right. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

#include "truth.h"

#define ROUNDS 15

static sem_t empty_slots;
static pthread_mutex_t cancel_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never_comes = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t after_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t cleanup_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *mutex_truth, *cleanup_truth, *after;
static struct truth_turns turns;
static int cleaned;

struct victim {
    struct truth_gate come;
    int tid;
    int how; /* 0: a plain wait, 1: a timed one */
    pthread_t joined;
};

static void count_cleanup(void *argument) {
    (void)argument;
    TRUTH_OK(pthread_mutex_lock(&cleanup_lock));
    cleaned++;
    TRUTH_OK(pthread_mutex_unlock(&cleanup_lock));
    truth_count(cleanup_truth, 1);
}

static void unlock_cleanup(void *lock) {
    TRUTH_OK(pthread_mutex_unlock(lock));
    count_cleanup(NULL);
}

static void *condition_run(void *argument) {
    struct victim *victim = argument;
    TRUTH_OK(pthread_mutex_lock(&cancel_lock));
    pthread_cleanup_push(unlock_cleanup, &cancel_lock);
    victim->tid = truth_tid();
    truth_gate_add(&victim->come, 1);
    while (victim->how >= 0) {
        if (victim->how == 0) {
            pthread_cond_wait(&never_comes, &cancel_lock);
        } else {
            struct timespec late = truth_deadline(CLOCK_REALTIME, 20000000);
            pthread_cond_timedwait(&never_comes, &cancel_lock, &late);
        }
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *semaphore_run(void *argument) {
    struct victim *victim = argument;
    pthread_cleanup_push(count_cleanup, NULL);
    victim->tid = truth_tid();
    truth_gate_add(&victim->come, 1);
    while (victim->how >= 0) {
        if (victim->how == 0) {
            sem_wait(&empty_slots);
        } else {
            struct timespec late = truth_deadline(CLOCK_REALTIME, 20000000);
            sem_timedwait(&empty_slots, &late);
        }
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *join_run(void *argument) {
    struct victim *victim = argument;
    pthread_cleanup_push(count_cleanup, NULL);
    victim->tid = truth_tid();
    truth_gate_add(&victim->come, 1);
    pthread_join(victim->joined, NULL);
    pthread_cleanup_pop(1);
    return NULL;
}

static void exit_handler(int number) {
    (void)number;
    pthread_exit((void *)11);
}

static void end_one(void *(*routine)(void *), int how, int by_signal) {
    struct victim victim = {.how = how};
    int before = cleaned;
    pthread_t thread = truth_start(routine, &victim);
    truth_gate_await(&victim.come, 1);
    truth_await_asleep(victim.tid);
    if (by_signal)
        TRUTH_OK(pthread_kill(thread, SIGUSR1));
    else
        TRUTH_OK(pthread_cancel(thread));
    void *value = NULL;
    TRUTH_OK(pthread_join(thread, &value));
    if (value != (by_signal ? (void *)11 : PTHREAD_CANCELED))
        truth_fail("a thread ended otherwise than it should");
    if (cleaned != before + 1)
        truth_fail("a clean-up handler did not run once");
    if (routine == condition_run) {
        truth_count(mutex_truth, 1);
        truth_reacquired(mutex_truth, 1);
        /* It must be free. */
        TRUTH_OK(pthread_mutex_trylock(&cancel_lock));
        TRUTH_OK(pthread_mutex_unlock(&cancel_lock));
        truth_count(mutex_truth, 1);
    }
}

static void *sleeper_run(void *argument) {
    truth_gate_await(argument, 1);
    return NULL;
}

/* The joined thread must stay joinable when its joiner is ended. */
static void end_joiner(int by_signal) {
    static struct truth_gate end;
    struct victim victim = {0};
    end.value = 0;
    victim.joined = truth_start(sleeper_run, &end);
    pthread_t joiner = truth_start(join_run, &victim);
    truth_gate_await(&victim.come, 1);
    truth_await_asleep(victim.tid);
    if (by_signal)
        TRUTH_OK(pthread_kill(joiner, SIGUSR1));
    else
        TRUTH_OK(pthread_cancel(joiner));
    void *value = NULL;
    TRUTH_OK(pthread_join(joiner, &value));
    if (value != (by_signal ? (void *)11 : PTHREAD_CANCELED))
        truth_fail("a joiner ended otherwise than it should");
    truth_gate_add(&end, 1);
    truth_join(victim.joined);
}

TRUTH_FUNCTION static void hold_after(uint32_t turn) {
    TRUTH_TAKE(after, pthread_mutex_lock(&after_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(2000);
    TRUTH_GIVE(after, pthread_mutex_unlock(&after_lock));
}

static void *after_run(void *argument) {
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&turns, turn, 0);
        TRUTH_OK(TRUTH_WAIT(after, pthread_mutex_lock(&after_lock)));
        TRUTH_OK(pthread_mutex_unlock(&after_lock));
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    TRUTH_OK(truth_errno(sem_init(&empty_slots, 0, 0)));
    struct sigaction action = {.sa_handler = exit_handler};
    TRUTH_OK(truth_errno(sigaction(SIGUSR1, &action, NULL)));
    mutex_truth = truth_lock_add("cancel_lock", "mutex", TRUTH_NO_TIME);
    cleanup_truth = truth_lock_add("cleanup_lock", "mutex", TRUTH_NO_TIME);
    after = truth_lock_add("after_lock", "mutex", TRUTH_BY_HOLDER);
    for (int i = 0; i < ROUNDS; i++) {
        for (int by_signal = 0; by_signal < 2; by_signal++) {
            end_one(condition_run, i % 2, by_signal);
            end_one(semaphore_run, i % 2, by_signal);
            end_joiner(by_signal);
        }
    }
    pthread_t waiter = truth_start(after_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        hold_after(turn);
        truth_turn_close(&turns, turn, 1);
    }
    truth_join(waiter);
    static char waits[64];
    snprintf(waits, sizeof(waits), "\"never_comes\":%d,\"empty_slots\":%d", 2 * ROUNDS, 2 * ROUNDS);
    truth_extra(waits);
    truth_print();
    return 0;
}
