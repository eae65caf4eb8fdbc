/* SPDX-License-Identifier: MIT */
/* What the functions say in every case that is not the ordinary one: locks of every kind taken twice, given
 * by who does not hold them, tried, waited for until a limit that is past, malformed, or of a clock that is
 * none, and whose owner has died. One line a case; a program that is watched prints the same. errno is set
 * before each call and printed after it. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <threads.h>

#include "truth.h"

#define ERRNO_BEFORE 77

/* Prints a result of the pthread kind, or of the kind -1 and errno. */
#define SAY(call)                                                                                            \
    do {                                                                                                     \
        errno = ERRNO_BEFORE;                                                                                \
        int said = (call);                                                                                   \
        int error = errno;                                                                                   \
        printf("%s: %d errno %d\n", #call, said, error);                                                     \
    } while (0)

static const struct timespec PAST = {1, 0};
static const struct timespec BEFORE_TIME = {-5, 0};
static const struct timespec BELOW = {1, -1};
static const struct timespec ABOVE = {1, 1000000000};

/* Runs part on a thread of its own. */
static void aside(void *(*part)(void *), void *argument) {
    pthread_t thread;
    fflush(stdout);
    TRUTH_OK(pthread_create(&thread, NULL, part, argument));
    TRUTH_OK(pthread_join(thread, NULL));
}

static void mutex_limits(pthread_mutex_t *mutex) {
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    for (int i = 0; i < 4; i++) {
        printf("limit %d\n", i);
        SAY(pthread_mutex_timedlock(mutex, limits[i]));
        SAY(pthread_mutex_unlock(mutex));
        SAY(pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, limits[i]));
        SAY(pthread_mutex_unlock(mutex));
    }
    SAY(pthread_mutex_clocklock(mutex, CLOCK_PROCESS_CPUTIME_ID, &PAST));
    SAY(pthread_mutex_clocklock(mutex, 12345, &PAST));
}

static void *mutex_from_aside(void *argument) {
    pthread_mutex_t *mutex = argument;
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    SAY(pthread_mutex_trylock(mutex));
    for (int i = 0; i < 4; i++) {
        SAY(pthread_mutex_timedlock(mutex, limits[i]));
        SAY(pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, limits[i]));
        SAY(pthread_mutex_clocklock(mutex, CLOCK_REALTIME, limits[i]));
    }
    SAY(pthread_mutex_clocklock(mutex, CLOCK_PROCESS_CPUTIME_ID, &PAST));
    return NULL;
}

static void *unlock_from_aside(void *argument) {
    SAY(pthread_mutex_unlock(argument));
    return NULL;
}

/* twice: taking it again is no deadlock. checked: who may unlock it is checked. */
static void mutex_kind(const char *name, pthread_mutexattr_t *attributes, int twice, int checked) {
    pthread_mutex_t mutex;
    printf("-- mutex %s\n", name);
    SAY(pthread_mutex_init(&mutex, attributes));
    SAY(pthread_mutex_trylock(&mutex));
    SAY(pthread_mutex_trylock(&mutex));
    if (twice) {
        SAY(pthread_mutex_lock(&mutex));
        SAY(pthread_mutex_timedlock(&mutex, &PAST));
        SAY(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &PAST));
    }
    aside(mutex_from_aside, &mutex);
    if (checked)
        aside(unlock_from_aside, &mutex);
    for (int i = 0; i < (checked ? 6 : 1); i++)
        SAY(pthread_mutex_unlock(&mutex));
    mutex_limits(&mutex);
    SAY(pthread_mutex_destroy(&mutex));
}

static void mutexes(void) {
    static const struct {
        const char *name;
        int type, twice, checked;
    } TYPES[] = {
        {"normal", PTHREAD_MUTEX_NORMAL, 0, 0},
        {"recursive", PTHREAD_MUTEX_RECURSIVE, 1, 1},
        {"error-checking", PTHREAD_MUTEX_ERRORCHECK, 1, 1},
        {"adaptive", PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0},
    };
    for (int robust = 0; robust < 2; robust++) {
        for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_PROTECT; protocol++) {
            for (int shared = 0; shared < 2; shared++) {
                for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++) {
                    pthread_mutexattr_t attributes;
                    TRUTH_OK(pthread_mutexattr_init(&attributes));
                    TRUTH_OK(pthread_mutexattr_settype(&attributes, TYPES[i].type));
                    TRUTH_OK(pthread_mutexattr_setprotocol(&attributes, protocol));
                    TRUTH_OK(pthread_mutexattr_setpshared(&attributes, shared));
                    TRUTH_OK(pthread_mutexattr_setrobust(&attributes, robust));
                    if (robust && protocol == PTHREAD_PRIO_PROTECT)
                        continue; /* pthread_mutex_init says ENOTSUP; nothing to be tried */
                    printf("robust %d protocol %d shared %d\n", robust, protocol, shared);
                    int checked = TYPES[i].checked || robust;
                    mutex_kind(TYPES[i].name, &attributes, TYPES[i].twice, checked);
                }
            }
        }
    }
    /* A ceiling below the priorities that there are. */
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    int ceiling = 0;
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_PROTECT));
    TRUTH_OK(pthread_mutexattr_setprioceiling(&attributes, 1));
    SAY(pthread_mutex_init(&mutex, &attributes));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_trylock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_setprioceiling(&mutex, 2, &ceiling));
    SAY(pthread_mutex_timedlock(&mutex, &PAST));
    SAY(pthread_mutex_unlock(&mutex));
}

/* --- owners that die ------------------------------------------------------------------------------- */

static void *die_holding(void *argument) {
    TRUTH_OK(pthread_mutex_lock(argument));
    return NULL;
}

static void dead_owner(int protocol) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    struct timespec late = truth_deadline(CLOCK_REALTIME, 60000000);
    struct timespec late_monotonic = truth_deadline(CLOCK_MONOTONIC, 60000000);
    printf("-- owner dead, protocol %d\n", protocol);
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_setprotocol(&attributes, protocol));
    TRUTH_OK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    TRUTH_OK(pthread_mutex_init(&mutex, &attributes));
    for (int how = 0; how < 5; how++) {
        printf("how %d\n", how);
        aside(die_holding, &mutex);
        if (how == 0)
            SAY(pthread_mutex_lock(&mutex));
        else if (how == 1)
            SAY(pthread_mutex_trylock(&mutex));
        else if (how == 2)
            SAY(pthread_mutex_timedlock(&mutex, &late));
        else if (how == 3)
            SAY(pthread_mutex_clocklock(&mutex, protocol ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                                        protocol ? &late : &late_monotonic));
        else
            SAY(pthread_mutex_timedlock(&mutex, &PAST));
        SAY(pthread_mutex_consistent(&mutex));
        SAY(pthread_cond_timedwait(&never, &mutex, &PAST));
        SAY(pthread_mutex_unlock(&mutex));
        SAY(pthread_mutex_lock(&mutex));
        SAY(pthread_mutex_unlock(&mutex));
    }
    aside(die_holding, &mutex);
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_cond_timedwait(&never, &mutex, &PAST)); /* releases it without making it consistent: lost */
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_timedlock(&mutex, &late));
    SAY(pthread_mutex_clocklock(&mutex, CLOCK_REALTIME, &late));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_trylock(&mutex)); /* last: glibc's leaves a lost mutex taken for ever */
}

/* --- the others ------------------------------------------------------------------------------------ */

static void *rwlock_from_aside(void *argument) {
    pthread_rwlock_t *lock = argument;
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    SAY(pthread_rwlock_tryrdlock(lock));
    SAY(pthread_rwlock_trywrlock(lock));
    for (int i = 0; i < 4; i++) {
        SAY(pthread_rwlock_timedrdlock(lock, limits[i]));
        SAY(pthread_rwlock_timedwrlock(lock, limits[i]));
        SAY(pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, limits[i]));
        SAY(pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, limits[i]));
    }
    SAY(pthread_rwlock_clockrdlock(lock, 12345, &PAST));
    SAY(pthread_rwlock_clockwrlock(lock, 12345, &PAST));
    return NULL;
}

static void rwlocks(void) {
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    for (int kind = PTHREAD_RWLOCK_PREFER_READER_NP; kind <= PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
         kind++) {
        pthread_rwlockattr_t attributes;
        pthread_rwlock_t lock;
        printf("-- rwlock %d\n", kind);
        TRUTH_OK(pthread_rwlockattr_init(&attributes));
        TRUTH_OK(pthread_rwlockattr_setkind_np(&attributes, kind));
        TRUTH_OK(pthread_rwlock_init(&lock, &attributes));
        SAY(pthread_rwlock_wrlock(&lock));
        SAY(pthread_rwlock_wrlock(&lock));
        SAY(pthread_rwlock_rdlock(&lock));
        SAY(pthread_rwlock_timedwrlock(&lock, &PAST));
        SAY(pthread_rwlock_timedrdlock(&lock, &PAST));
        aside(rwlock_from_aside, &lock);
        SAY(pthread_rwlock_unlock(&lock));
        SAY(pthread_rwlock_rdlock(&lock));
        SAY(pthread_rwlock_tryrdlock(&lock));
        SAY(pthread_rwlock_trywrlock(&lock));
        for (int i = 0; i < 4; i++) {
            SAY(pthread_rwlock_timedrdlock(&lock, limits[i]));
            SAY(pthread_rwlock_clockrdlock(&lock, CLOCK_REALTIME, limits[i]));
        }
        for (int i = 0; i < 6; i++)
            SAY(pthread_rwlock_unlock(&lock));
        SAY(pthread_rwlock_trywrlock(&lock));
        SAY(pthread_rwlock_unlock(&lock));
        SAY(pthread_rwlock_destroy(&lock));
    }
}

struct sleeper {
    sem_t semaphore;
    int tid;
};

static void *post_when_asleep(void *argument) {
    struct sleeper *sleeper = argument;
    truth_await_asleep(sleeper->tid);
    TRUTH_OK(truth_errno(sem_post(&sleeper->semaphore)));
    return NULL;
}

static void semaphore_slept_for(void) {
    struct sleeper sleeper = {.tid = truth_tid()};
    pthread_t thread;
    TRUTH_OK(truth_errno(sem_init(&sleeper.semaphore, 0, 0)));
    TRUTH_OK(pthread_create(&thread, NULL, post_when_asleep, &sleeper));
    SAY(sem_wait(&sleeper.semaphore));
    TRUTH_OK(pthread_join(thread, NULL));
}

static void semaphores(void) {
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    sem_t semaphore;
    printf("-- semaphore\n");
    SAY(sem_init(&semaphore, 0, (unsigned)SEM_VALUE_MAX + 1));
    SAY(sem_init(&semaphore, 0, 1));
    for (int value = 1; value >= 0; value--) {
        for (int i = 0; i < 4; i++) {
            SAY(sem_timedwait(&semaphore, limits[i]));
            if (value)
                SAY(sem_post(&semaphore));
            SAY(sem_clockwait(&semaphore, CLOCK_MONOTONIC, limits[i]));
            if (value)
                SAY(sem_post(&semaphore));
        }
        SAY(sem_clockwait(&semaphore, 12345, &PAST));
        while (sem_trywait(&semaphore) == 0)
            ;
        SAY(sem_trywait(&semaphore));
    }
    semaphore_slept_for();
    SAY(sem_destroy(&semaphore));
    SAY(sem_init(&semaphore, 0, SEM_VALUE_MAX));
    SAY(sem_post(&semaphore));
    SAY(sem_wait(&semaphore));
    SAY(sem_destroy(&semaphore));
}

static void conditions(void) {
    const struct timespec *limits[] = {&PAST, &BEFORE_TIME, &BELOW, &ABOVE};
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    printf("-- condition\n");
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
    TRUTH_OK(pthread_mutex_init(&mutex, &attributes));
    for (int held = 0; held < 2; held++) {
        printf("held %d\n", held);
        for (int i = 0; i < 4; i++) {
            SAY(pthread_cond_timedwait(&condition, &mutex, limits[i]));
            SAY(pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, limits[i]));
        }
        SAY(pthread_cond_clockwait(&condition, &mutex, 12345, &PAST));
        if (!held) {
            SAY(pthread_cond_wait(&condition, &mutex));
            SAY(pthread_mutex_lock(&mutex));
        }
    }
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_cond_signal(&condition));
    SAY(pthread_cond_broadcast(&condition));
    SAY(pthread_cond_destroy(&condition));
    SAY(pthread_mutex_destroy(&mutex));
}

static void *c11_from_aside(void *argument) {
    SAY(mtx_trylock(argument));
    SAY(mtx_timedlock(argument, &PAST));
    SAY(mtx_timedlock(argument, &BELOW));
    SAY(mtx_timedlock(argument, &ABOVE));
    return NULL;
}

static void c11(void) {
    static const int KINDS[] = {mtx_plain, mtx_timed, mtx_plain | mtx_recursive, mtx_timed | mtx_recursive};
    for (int i = 0; i < 4; i++) {
        mtx_t mutex;
        cnd_t condition;
        printf("-- mtx %d\n", KINDS[i]);
        SAY(mtx_init(&mutex, KINDS[i]));
        SAY(cnd_init(&condition));
        SAY(mtx_lock(&mutex));
        SAY(mtx_trylock(&mutex));
        if (KINDS[i] & mtx_recursive)
            SAY(mtx_unlock(&mutex));
        aside(c11_from_aside, &mutex);
        SAY(cnd_timedwait(&condition, &mutex, &PAST));
        SAY(cnd_timedwait(&condition, &mutex, &ABOVE));
        SAY(mtx_unlock(&mutex));
        SAY(mtx_timedlock(&mutex, &BELOW));
        SAY(mtx_unlock(&mutex));
        cnd_destroy(&condition);
        mtx_destroy(&mutex);
    }
}

static void *wait_at_barrier(void *argument) {
    int said = pthread_barrier_wait(argument);
    if (said != 0 && said != PTHREAD_BARRIER_SERIAL_THREAD)
        truth_fail("a barrier failed");
    return NULL;
}

static void rest(void) {
    pthread_barrier_t barrier;
    pthread_spinlock_t spin;
    pthread_t self = pthread_self(), thread;
    printf("-- others\n");
    SAY(pthread_barrier_init(&barrier, NULL, 0));
    SAY(pthread_barrier_init(&barrier, NULL, 1));
    SAY(pthread_barrier_wait(&barrier));
    SAY(pthread_barrier_destroy(&barrier));
    SAY(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
    SAY(pthread_spin_lock(&spin));
    SAY(pthread_spin_trylock(&spin));
    SAY(pthread_spin_unlock(&spin));
    SAY(pthread_join(self, NULL));
    TRUTH_OK(pthread_barrier_init(&barrier, NULL, 2));
    TRUTH_OK(pthread_create(&thread, NULL, wait_at_barrier, &barrier));
    SAY(pthread_tryjoin_np(thread, NULL));
    SAY(pthread_timedjoin_np(thread, NULL, &PAST));
    SAY(pthread_setname_np(thread, "a name that is far too long for it"));
    wait_at_barrier(&barrier);
    SAY(pthread_join(thread, NULL));
    SAY(nanosleep(&ABOVE, NULL));
    SAY(clock_nanosleep(12345, 0, &PAST, NULL));
}

int main(void) {
    mutexes();
    dead_owner(PTHREAD_PRIO_NONE);
    dead_owner(PTHREAD_PRIO_INHERIT);
    rwlocks();
    semaphores();
    conditions();
    c11();
    rest();
    return 0;
}
