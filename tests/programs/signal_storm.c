/* SPDX-License-Identifier: MIT */
/* Two threads wait for each other all the time, and one waits in vain, over and over, so that much of what
 * they do is the agent's own; signals rain on all three. The handler takes a lock that only it takes, on this
 * thread: as often as it ran. And it does what leaves a record as well: it posts a semaphore that somebody
 * waits for, and tries a lock that another thread holds most of the time. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#include "truth.h"

#define TURNS 6000
#define WAITS_IN_VAIN 40000

static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t often_held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static sem_t drops, never;
static struct truth_lock *turn_truth, *drop_truth, *rain_truth[3];
static int turn, ending;
static pthread_mutex_t player_rain_lock[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t vain_rain_lock = PTHREAD_MUTEX_INITIALIZER;
static __thread pthread_mutex_t *rain_lock; /* of the thread that it rains on */
static __thread uint64_t rained;
static uint64_t posted;

static void rain(int number) {
    (void)number;
    if (rain_lock) {
        pthread_mutex_lock(rain_lock);
        rained++;
        pthread_mutex_unlock(rain_lock);
    }
    __atomic_fetch_add(&posted, 1, __ATOMIC_RELAXED);
    sem_post(&drops);
    if (pthread_mutex_trylock(&often_held) == 0)
        pthread_mutex_unlock(&often_held);
}

static void rain_begin(pthread_mutex_t *lock) {
    rained = 0;
    atomic_signal_fence(memory_order_seq_cst);
    rain_lock = lock;
}

/* Signals that come later find no lock. */
static void rain_end(struct truth_lock *lock) {
    rain_lock = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    truth_count(lock, rained);
}

/* Nothing but waits that end at once: for a semaphore that is never posted, until a time that is past. */
static void *vain_run(void *argument) {
    const struct timespec past = {1, 0};
    rain_begin(&vain_rain_lock);
    for (int i = 0; i < WAITS_IN_VAIN; i++)
        if (sem_timedwait(&never, &past) == 0)
            truth_fail("a semaphore came from nowhere");
    rain_end(rain_truth[2]);
    return argument;
}

static void *player_run(void *argument) {
    int side = argument != NULL;
    rain_begin(&player_rain_lock[side]);
    for (int i = 0; i < TURNS; i++) {
        TRUTH_OK(pthread_mutex_lock(&turn_lock));
        while (turn != side)
            TRUTH_OK(pthread_cond_wait(&turn_changed, &turn_lock));
        turn = !side;
        TRUTH_OK(pthread_cond_signal(&turn_changed));
        TRUTH_OK(pthread_mutex_unlock(&turn_lock));
    }
    truth_count(turn_truth, TURNS);
    rain_end(rain_truth[side]);
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
    TRUTH_OK(truth_errno(sem_init(&drops, 0, 0)) | truth_errno(sem_init(&never, 0, 0)));
    turn_truth = truth_lock_add("turn_lock", "mutex", TRUTH_NO_TIME);
    rain_truth[0] = truth_lock_add("player_rain_lock[0]", "mutex", TRUTH_NO_TIME);
    rain_truth[1] = truth_lock_add("player_rain_lock[1]", "mutex", TRUTH_NO_TIME);
    rain_truth[2] = truth_lock_add("vain_rain_lock", "mutex", TRUTH_NO_TIME);
    drop_truth = truth_lock_add("drops", "semaphore", TRUTH_NO_TIME);
    struct sigaction action = {.sa_handler = rain, .sa_flags = SA_RESTART};
    TRUTH_OK(truth_errno(sigaction(SIGUSR1, &action, NULL)));
    pthread_t gauge = truth_start(gauge_run, NULL);
    pthread_t wet[3] = {truth_start(player_run, NULL), truth_start(player_run, &turn),
                        truth_start(vain_run, NULL)};
    /* Until all are through; a thread that has ended but is not joined may be signalled. */
    int through[3] = {0, 0, 0};
    while (!through[0] || !through[1] || !through[2]) {
        for (int i = 0; i < 3; i++) {
            if (through[i])
                continue;
            pthread_kill(wet[i], SIGUSR1);
            through[i] = pthread_tryjoin_np(wet[i], NULL) == 0;
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
