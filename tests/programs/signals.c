/* SPDX-License-Identifier: MIT */
/* A signal handler that takes locks of its own and posts a semaphore, a thousand times a second, on top
 * of threads that take, wait for and signal other ones all the time. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/time.h>

#include "truth.h"

#define THREADS 3
#define RUN_US 400000

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t normal_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t normal_changed = PTHREAD_COND_INITIALIZER;
static sem_t ticks;
static struct truth_lock *handler_truth, *normal_truth, *ticks_truth;
static uint64_t handler_taken, ticks_posted;
static int ending;

static void tick(int number) {
    (void)number;
    /* Trying only: it may have interrupted itself on another thread. */
    if (pthread_mutex_trylock(&handler_lock) == 0) {
        __atomic_fetch_add(&handler_taken, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&handler_lock);
    }
    __atomic_fetch_add(&ticks_posted, 1, __ATOMIC_RELAXED);
    sem_post(&ticks);
}

static void *normal_run(void *argument) {
    uint64_t taken = 0;
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        TRUTH_OK(pthread_mutex_lock(&normal_lock));
        if (taken % 64 == 0)
            TRUTH_OK(pthread_cond_signal(&normal_changed));
        TRUTH_OK(pthread_mutex_unlock(&normal_lock));
        taken++;
    }
    truth_count(normal_truth, taken);
    return argument;
}

int main(void) {
    TRUTH_OK(truth_errno(sem_init(&ticks, 0, 0)));
    handler_truth = truth_lock_add("handler_lock", "mutex", TRUTH_NO_TIME);
    normal_truth = truth_lock_add("normal_lock", "mutex", TRUTH_NO_TIME);
    ticks_truth = truth_lock_add("ticks", "semaphore", TRUTH_NO_TIME);
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    TRUTH_OK(truth_errno(sigaction(SIGALRM, &action, NULL)));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = truth_start(normal_run, NULL);
    struct itimerval every = {{0, 1000}, {0, 1000}};
    TRUTH_OK(truth_errno(setitimer(ITIMER_REAL, &every, NULL)));
    uint64_t until = truth_now() + RUN_US * 1000U;
    while (truth_now() < until) {
        struct timespec late = truth_deadline(CLOCK_REALTIME, 5000000);
        if (sem_timedwait(&ticks, &late) == 0)
            truth_count(ticks_truth, 1);
    }
    every = (struct itimerval){0};
    TRUTH_OK(truth_errno(setitimer(ITIMER_REAL, &every, NULL)));
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        truth_join(threads[i]);
    truth_count(handler_truth, handler_taken);
    truth_print();
    return 0;
}
