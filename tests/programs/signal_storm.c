/* SPDX-License-Identifier: MIT */
/* Two threads wait for each other all the time, so that much of what they do is the agent's own; signals rain
 * on both, and the handler does what leaves a record as well: it posts a semaphore that somebody waits for,
 * and takes a lock that another thread holds most of the time. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "truth.h"

#define TURNS 6000

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t often_held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static sem_t drops;
static struct truth_lock *turn_truth, *drop_truth;
static int turn, ending;
static uint64_t posted;

static void rain(int number) {
    (void)number;
    __atomic_fetch_add(&posted, 1, __ATOMIC_RELAXED);
    sem_post(&drops);
    if (pthread_mutex_trylock(&often_held) == 0)
        pthread_mutex_unlock(&often_held);
}

static void *player_run(void *argument) {
    int side = argument != NULL;
    for (int i = 0; i < TURNS; i++) {
        TRUTH_OK(pthread_mutex_lock(&turn_lock));
        while (turn != side)
            TRUTH_OK(pthread_cond_wait(&turn_changed, &turn_lock));
        turn = !side;
        TRUTH_OK(pthread_cond_signal(&turn_changed));
        TRUTH_OK(pthread_mutex_unlock(&turn_lock));
    }
    truth_count(turn_truth, TURNS);
    return NULL;
}

static void *gauge_run(void *argument) {
    for (uint64_t taken = 0;; taken++) {
        if (__atomic_load_n(&ending, __ATOMIC_ACQUIRE) && taken == __atomic_load_n(&posted, __ATOMIC_RELAXED))
            break;
        TRUTH_OK(truth_errno(sem_wait(&drops)));
    }
    return argument;
}

int main(void) {
    TRUTH_OK(truth_errno(sem_init(&drops, 0, 0)));
    turn_truth = truth_lock_add("turn_lock", "mutex", TRUTH_NO_TIME);
    drop_truth = truth_lock_add("drops", "semaphore", TRUTH_NO_TIME);
    struct sigaction action = {.sa_handler = rain, .sa_flags = SA_RESTART};
    TRUTH_OK(truth_errno(sigaction(SIGUSR1, &action, NULL)));
    pthread_t gauge = truth_start(gauge_run, NULL);
    pthread_t players[2] = {truth_start(player_run, NULL), truth_start(player_run, &turn)};
    /* Until both are through; a thread that has ended but is not joined may be signalled. */
    int through[2] = {0, 0};
    while (!through[0] || !through[1]) {
        for (int i = 0; i < 2; i++) {
            if (through[i])
                continue;
            pthread_kill(players[i], SIGUSR1);
            through[i] = pthread_tryjoin_np(players[i], NULL) == 0;
        }
        TRUTH_OK(pthread_mutex_lock(&often_held));
        truth_sleep_us(30);
        TRUTH_OK(pthread_mutex_unlock(&often_held));
    }
    __atomic_store_n(&ending, 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&posted, 1, __ATOMIC_RELAXED); /* wakes the gauge for the last time */
    TRUTH_OK(truth_errno(sem_post(&drops)));
    truth_join(gauge);
    truth_count(drop_truth, posted);
    truth_print();
    return 0;
}
