/* SPDX-License-Identifier: MIT */
/* Signals, whose handler takes a lock, rain on threads from the moment they exist: before their start
 * routine, in the middle of whatever is done for them there, and to their end. Each is one thread. */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "truth.h"

#define THREADS 500
#define AHEAD 3

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t born_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_lock *born_truth;
static int newest, ending;
static uint64_t handled;

static void rain(int number) {
    (void)number;
    if (pthread_mutex_trylock(&handler_lock) == 0) {
        __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&handler_lock);
    }
}

/* Thread ids are given out in order: the next ones are those after the newest. */
static void *cloud_run(void *argument) {
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        int tid = __atomic_load_n(&newest, __ATOMIC_RELAXED);
        for (int i = 0; i <= AHEAD; i++)
            syscall(SYS_tgkill, getpid(), tid + i, SIGUSR1);
    }
    return argument;
}

static void *born_run(void *argument) {
    __atomic_store_n(&newest, truth_tid(), __ATOMIC_RELAXED);
    for (int i = 0; i < 5; i++) {
        TRUTH_OK(pthread_mutex_lock(&born_lock));
        TRUTH_OK(pthread_mutex_unlock(&born_lock));
    }
    truth_count(born_truth, 5);
    return argument;
}

int main(void) {
    struct truth_lock *handler_truth = truth_lock_add("handler_lock", "mutex", TRUTH_NO_TIME);
    born_truth = truth_lock_add("born_lock", "mutex", TRUTH_NO_TIME);
    struct sigaction action = {.sa_handler = rain, .sa_flags = SA_RESTART};
    TRUTH_OK(truth_errno(sigaction(SIGUSR1, &action, NULL)));
    newest = truth_tid();
    pthread_t cloud = truth_start(cloud_run, NULL);
    for (int i = 0; i < THREADS; i++)
        truth_join(truth_start(born_run, NULL));
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    truth_join(cloud);
    truth_count(handler_truth, handled);
    truth_print();
    return 0;
}
