/* SPDX-License-Identifier: MIT */
/* Workers that wait for work nearly all the time, beside a mutex that two threads really contend for:
 * the mutex is the answer, though its waits are a tiny part of all waiting. */
#include <pthread.h>

#include "truth.h"

#define WORKERS 4
#define ROUNDS 20

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_ready = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static int jobs, ending;
static struct truth_lock *ledger;
static struct truth_turns turns;

static void *pool_worker_run(void *argument) {
    for (;;) {
        pthread_mutex_lock(&queue_lock);
        while (jobs == 0 && !ending)
            pthread_cond_wait(&queue_ready, &queue_lock);
        if (jobs == 0) {
            pthread_mutex_unlock(&queue_lock);
            return argument;
        }
        jobs--;
        pthread_mutex_unlock(&queue_lock);
        truth_sleep_us(200);
    }
}

TRUTH_FUNCTION static void hold_ledger(uint32_t turn) {
    TRUTH_TAKE(ledger, pthread_mutex_lock(&ledger_lock));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(ledger, pthread_mutex_unlock(&ledger_lock));
}

TRUTH_FUNCTION static void read_ledger(void) {
    TRUTH_OK(TRUTH_WAIT(ledger, pthread_mutex_lock(&ledger_lock)));
    TRUTH_OK(pthread_mutex_unlock(&ledger_lock));
}

static void *reader_run(void *argument) {
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        truth_turn_come(&turns, turn, 0);
        read_ledger();
        truth_turn_done(&turns);
    }
    return argument;
}

int main(void) {
    ledger = truth_lock_add("ledger_lock", "mutex", TRUTH_BY_HOLDER);
    pthread_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        workers[i] = truth_start(pool_worker_run, NULL);
    pthread_t reader = truth_start(reader_run, NULL);
    for (uint32_t turn = 1; turn <= ROUNDS; turn++) {
        if (turn % 5 == 0) {
            pthread_mutex_lock(&queue_lock);
            jobs++;
            pthread_cond_signal(&queue_ready);
            pthread_mutex_unlock(&queue_lock);
        }
        hold_ledger(turn);
        truth_turn_close(&turns, turn, 1);
        truth_sleep_us(20000);
    }
    truth_join(reader);
    pthread_mutex_lock(&queue_lock);
    ending = 1;
    pthread_cond_broadcast(&queue_ready);
    pthread_mutex_unlock(&queue_lock);
    for (int i = 0; i < WORKERS; i++)
        truth_join(workers[i]);
    truth_extra("\"idle_routine\":\"pool_worker_run\"");
    truth_print();
    return 0;
}
