/* SPDX-License-Identifier: MIT */
/* A mutex of every kind that is not the plain one but those with a ceiling (to take one is a privilege: see
 * verdicts.c), taken and given, taken again where its kind allows that,
 * tried in vain, and waited for by another thread while its holder sleeps: for all of them the counts, the
 * waits and the holders are as exact as for a plain one. */
#include <errno.h>
#include <pthread.h>

#include "truth.h"

#define ROUNDS 12
#define UNCONTENDED 50

struct kind {
    const char *name;
    pthread_mutex_t *mutex;
    int type, protocol, shared;
    struct truth_lock *truth;
};

static pthread_mutex_t recursive_lock, checking_lock, adaptive_lock, inheriting_lock, process_lock;
static struct kind kinds[] = {
    {.name = "recursive_lock", .mutex = &recursive_lock, .type = PTHREAD_MUTEX_RECURSIVE},
    {.name = "checking_lock", .mutex = &checking_lock, .type = PTHREAD_MUTEX_ERRORCHECK},
    {.name = "adaptive_lock", .mutex = &adaptive_lock, .type = PTHREAD_MUTEX_ADAPTIVE_NP},
    {.name = "inheriting_lock", .mutex = &inheriting_lock, .protocol = PTHREAD_PRIO_INHERIT},
    {.name = "process_lock", .mutex = &process_lock, .shared = PTHREAD_PROCESS_SHARED},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct truth_turns turns;

static void kind_open(struct kind *kind) {
    pthread_mutexattr_t attributes;
    TRUTH_OK(pthread_mutexattr_init(&attributes));
    TRUTH_OK(pthread_mutexattr_settype(&attributes, kind->type));
    TRUTH_OK(pthread_mutexattr_setprotocol(&attributes, kind->protocol));
    TRUTH_OK(pthread_mutexattr_setpshared(&attributes, kind->shared));
    TRUTH_OK(pthread_mutex_init(kind->mutex, &attributes));
    kind->truth = truth_lock_add(kind->name, "mutex", TRUTH_BY_HOLDER);
}

static void take(struct kind *kind) {
    TRUTH_OK(pthread_mutex_lock(kind->mutex));
    truth_count(kind->truth, 1);
}

/* By the thread that has it: again, or refused. */
static void take_again(struct kind *kind) {
    int again = kind->type == PTHREAD_MUTEX_RECURSIVE;
    if (pthread_mutex_trylock(kind->mutex) != (again ? 0 : EBUSY) &&
        kind->type != PTHREAD_MUTEX_ERRORCHECK) /* EDEADLK or EBUSY */
        truth_fail("a mutex that this thread has was taken by mistake");
    if (kind->type == PTHREAD_MUTEX_ERRORCHECK && pthread_mutex_lock(kind->mutex) != EDEADLK)
        truth_fail("a deadlock was not told of");
    if (!again)
        return;
    truth_count(kind->truth, 1);
    take(kind);
    TRUTH_OK(pthread_mutex_unlock(kind->mutex));
    TRUTH_OK(pthread_mutex_unlock(kind->mutex));
}

TRUTH_FUNCTION static void hold(struct kind *kind, uint32_t turn) {
    TRUTH_TAKE(kind->truth, pthread_mutex_lock(kind->mutex));
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(2000);
    TRUTH_GIVE(kind->truth, pthread_mutex_unlock(kind->mutex));
}

static void *waiter_run(void *argument) {
    uint32_t turn = 0;
    for (size_t i = 0; i < KINDS; i++) {
        for (int round = 0; round < ROUNDS; round++) {
            truth_turn_come(&turns, ++turn, 0);
            TRUTH_OK(TRUTH_WAIT(kinds[i].truth, pthread_mutex_lock(kinds[i].mutex)));
            TRUTH_OK(pthread_mutex_unlock(kinds[i].mutex));
            truth_turn_done(&turns);
        }
    }
    return argument;
}

int main(void) {
    for (size_t i = 0; i < KINDS; i++)
        kind_open(&kinds[i]);
    for (size_t i = 0; i < KINDS; i++) {
        for (int n = 0; n < UNCONTENDED; n++) {
            take(&kinds[i]);
            take_again(&kinds[i]);
            TRUTH_OK(pthread_mutex_unlock(kinds[i].mutex));
        }
    }
    pthread_t waiter = truth_start(waiter_run, NULL);
    uint32_t turn = 0;
    for (size_t i = 0; i < KINDS; i++) {
        for (int round = 0; round < ROUNDS; round++) {
            hold(&kinds[i], ++turn);
            truth_turn_close(&turns, turn, 1);
        }
    }
    truth_join(waiter);
    truth_print();
    return 0;
}
