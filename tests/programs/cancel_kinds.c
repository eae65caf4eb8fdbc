/* SPDX-License-Identifier: MIT */
/* Cancellation of every kind in every wait that is a point of it: deferred and asynchronous, while it sleeps
 * and pending from before, also where nothing would have to be waited for. In the clean-up the mutex of a
 * condition is held, by this thread: it is an error-checking one. A clean-up may call pthread_exit. What is
 * no point of cancellation stays none. Afterwards other threads do as before. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "truth.h"

enum wait_kind { COND_WAIT, COND_TIMED, COND_CLOCK, SEM_WAIT, SEM_TIMED, SEM_CLOCK, SLEEP, WAIT_KINDS };
enum { ASYNC = 1, PENDING = 2, FREE = 4, EXITING = 8, WAYS = 16 };

static pthread_mutex_t checked_lock;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t empty, full;
#define FULL 1000
static int left; /* in the full semaphore after each cancellation, added up: sem_wait takes nothing */
static struct truth_lock *truth;

struct victim {
    enum wait_kind kind;
    int way;
    int cleaned;
    int tid;
    struct truth_gate come, cancelled;
};

static void clean(void *argument) {
    struct victim *victim = argument;
    victim->cleaned++;
    if (victim->kind > COND_CLOCK)
        return;
    if (pthread_mutex_lock(&checked_lock) != EDEADLK)
        truth_fail("a clean-up does not hold the mutex");
    TRUTH_OK(pthread_mutex_unlock(&checked_lock));
    if (pthread_mutex_unlock(&checked_lock) != EPERM)
        truth_fail("the mutex was held twice");
}

/* glibc runs a handler that calls pthread_exit once more. */
static void clean_and_exit(void *argument) {
    struct victim *victim = argument;
    if (victim->cleaned)
        return;
    clean(argument);
    if (victim->way & EXITING)
        pthread_exit((void *)5);
}

static void wait_as(enum wait_kind kind, sem_t *semaphore) {
    struct timespec late = truth_deadline(CLOCK_REALTIME, 60000000);
    struct timespec late_monotonic = truth_deadline(CLOCK_MONOTONIC, 60000000);
    switch (kind) {
    case COND_WAIT:
        pthread_cond_wait(&never, &checked_lock);
        break;
    case COND_TIMED:
        pthread_cond_timedwait(&never, &checked_lock, &late);
        break;
    case COND_CLOCK:
        pthread_cond_clockwait(&never, &checked_lock, CLOCK_MONOTONIC, &late_monotonic);
        break;
    case SEM_WAIT:
        sem_wait(semaphore);
        break;
    case SEM_TIMED:
        sem_timedwait(semaphore, &late);
        break;
    case SEM_CLOCK:
        sem_clockwait(semaphore, CLOCK_MONOTONIC, &late_monotonic);
        break;
    default:
        usleep(60000000);
        break;
    }
}

static void *victim_run(void *argument) {
    struct victim *victim = argument;
    if (victim->way & PENDING)
        TRUTH_OK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL));
    victim->tid = truth_tid();
    if (victim->kind <= COND_CLOCK)
        TRUTH_OK(pthread_mutex_lock(&checked_lock));
    pthread_cleanup_push(clean_and_exit, victim);
    truth_gate_add(&victim->come, 1);
    if (victim->way & PENDING) {
        truth_gate_await(&victim->cancelled, 1);
        TRUTH_OK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL));
    }
    if (victim->way & ASYNC)
        TRUTH_OK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL));
    for (;;)
        wait_as(victim->kind, victim->way & FREE ? &full : &empty);
    pthread_cleanup_pop(0);
    return NULL;
}

static int condition_waits, semaphore_waits; /* that were begun and cancelled */

/* One that is pending from before comes before the wait begins, but in sem_clockwait, which does not look. */
static bool semaphore_wait_begins(enum wait_kind kind, int way) {
    if (way & PENDING)
        return kind == SEM_CLOCK && !(way & (FREE | ASYNC));
    return kind > COND_CLOCK && kind != SLEEP;
}

static void end_one(enum wait_kind kind, int way) {
    struct victim victim = {.kind = kind, .way = way};
    TRUTH_OK(truth_errno(sem_init(&full, 0, FULL)));
    pthread_t thread = truth_start(victim_run, &victim);
    void *value = NULL;
    truth_gate_await(&victim.come, 1);
    if (!(way & PENDING))
        truth_await_asleep(victim.tid);
    TRUTH_OK(pthread_cancel(thread));
    truth_gate_add(&victim.cancelled, 1);
    TRUTH_OK(pthread_join(thread, &value));
    if (value != (way & EXITING ? (void *)5 : PTHREAD_CANCELED))
        truth_fail("a thread ended otherwise than it should");
    if (victim.cleaned != 1)
        truth_fail("a clean-up handler did not run once");
    condition_waits += kind <= COND_CLOCK;
    semaphore_waits += semaphore_wait_begins(kind, way);
    if (kind <= COND_CLOCK) {
        truth_count(truth, 1);
        truth_reacquired(truth, 1);
    }
    /* Free, and nobody else's. */
    TRUTH_OK(pthread_mutex_trylock(&checked_lock));
    TRUTH_OK(pthread_mutex_unlock(&checked_lock));
    truth_count(truth, 1);
    int full_left = 0;
    TRUTH_OK(truth_errno(sem_getvalue(&full, &full_left)));
    left += full_left;
}

/* A mutex, a rwlock, a spin lock and a barrier are waited for to the end. */
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t plain_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;

struct steadfast {
    int tid, done;
    struct truth_gate come;
};

static void *steadfast_run(void *argument) {
    struct steadfast *self = argument;
    self->tid = truth_tid();
    truth_gate_add(&self->come, 1);
    TRUTH_OK(pthread_mutex_lock(&plain_lock));
    TRUTH_OK(pthread_mutex_unlock(&plain_lock));
    TRUTH_OK(pthread_rwlock_wrlock(&rwlock));
    TRUTH_OK(pthread_rwlock_unlock(&rwlock));
    pthread_barrier_wait(&barrier);
    self->done = 1;
    pthread_testcancel();
    return NULL;
}

static void stay(void) {
    struct steadfast self = {0};
    void *value = NULL;
    TRUTH_OK(pthread_barrier_init(&barrier, NULL, 2));
    TRUTH_OK(pthread_mutex_lock(&plain_lock));
    TRUTH_OK(pthread_rwlock_rdlock(&rwlock));
    pthread_t thread = truth_start(steadfast_run, &self);
    truth_gate_await(&self.come, 1);
    truth_await_asleep(self.tid);
    TRUTH_OK(pthread_cancel(thread));
    TRUTH_OK(pthread_mutex_unlock(&plain_lock));
    TRUTH_OK(pthread_rwlock_unlock(&rwlock));
    pthread_barrier_wait(&barrier);
    TRUTH_OK(pthread_join(thread, &value));
    if (value != PTHREAD_CANCELED || !self.done)
        truth_fail("a wait that is no point of cancellation was cancelled");
}

int main(void) {
    pthread_mutexattr_t attributes;
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
    TRUTH_OK(pthread_mutex_init(&checked_lock, &attributes));
    TRUTH_OK(truth_errno(sem_init(&empty, 0, 0)));
    truth = truth_lock_add("checked_lock", "mutex", TRUTH_NO_TIME);
    for (enum wait_kind kind = 0; kind < WAIT_KINDS; kind++) {
        for (int way = 0; way < WAYS; way++) {
            if ((way & FREE) && (!(way & PENDING) || kind < SEM_WAIT || kind == SLEEP))
                continue; /* nothing to wait for: only a pending one can come */
            if ((way & ASYNC) && kind <= COND_CLOCK && (way & PENDING))
                continue; /* comes before the wait, where the mutex is held all the more */
            end_one(kind, way);
        }
    }
    stay();
    static char member[96];
    snprintf(member, sizeof member, "\"left\":%d,\"never\":%d,\"empty\":%d", left, condition_waits,
             semaphore_waits);
    truth_extra(member);
    truth_print();
    return 0;
}
