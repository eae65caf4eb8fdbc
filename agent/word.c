/* SPDX-License-Identifier: MIT */
#include "agent/word.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "agent/agent.h"
#include "agent/resolve.h"
#include "agent/syscall.h"

int word_mutex_kind = WORD_MUTEX_UNKNOWN;
unsigned word_readers_limit;
bool word_spin_known;

void word_mutex_wake(pthread_mutex_t *mutex) {
    AGENT_SYSCALL_3(SYS_futex, &mutex->__data.__lock, FUTEX_WAKE_PRIVATE, 1);
}

static bool mutex_is(const pthread_mutex_t *mutex, int lock, int owner, unsigned users) {
    return (mutex->__data.__kind & ~WORD_MUTEX_NO_ELISION) == 0 && mutex->__data.__lock == lock &&
           mutex->__data.__owner == owner && mutex->__data.__nusers == users;
}

static const struct timespec LONG_PAST = {1, 0};

/* kind: as it stands in __kind. */
static bool mutex_verify(int kind) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int tid = (int)agent_tid();
    mutex.__data.__kind = kind;

    /* What the real functions make of it. */
    if (agent_real.pthread_mutex_lock(&mutex) != 0 || !mutex_is(&mutex, 1, tid, 1))
        return false;
    if (agent_real.pthread_mutex_unlock(&mutex) != 0 || !mutex_is(&mutex, 0, 0, 0))
        return false;
    if (agent_real.pthread_mutex_trylock(&mutex) != 0 || !mutex_is(&mutex, 1, tid, 1))
        return false;
    /* Who waits says so in the word, and it stays there. */
    if (agent_real.pthread_mutex_timedlock(&mutex, &LONG_PAST) != ETIMEDOUT || !mutex_is(&mutex, 2, tid, 1))
        return false;
    if (agent_real.pthread_mutex_unlock(&mutex) != 0 || !mutex_is(&mutex, 0, 0, 0))
        return false;
    /* What they make of ours. */
    if (!word_mutex_take(&mutex, (uint32_t)tid) || !mutex_is(&mutex, 1, tid, 1) ||
        word_mutex_take(&mutex, (uint32_t)tid) || agent_real.pthread_mutex_trylock(&mutex) != EBUSY)
        return false;
    if (agent_real.pthread_mutex_unlock(&mutex) != 0 || !mutex_is(&mutex, 0, 0, 0))
        return false;
    if (agent_real.pthread_mutex_lock(&mutex) != 0)
        return false;
    word_mutex_give(&mutex);
    return mutex_is(&mutex, 0, 0, 0);
}

static bool rwlock_verify(void) {
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    const unsigned *readers = &lock.__data.__readers;

    if (agent_real.pthread_rwlock_rdlock(&lock) != 0 || *readers != WORD_READER)
        return false;
    if (!word_rwlock_read_take(&lock) || *readers != 2 * WORD_READER)
        return false;
    if (agent_real.pthread_rwlock_trywrlock(&lock) != EBUSY)
        return false;
    if (agent_real.pthread_rwlock_unlock(&lock) != 0 || *readers != WORD_READER)
        return false;
    if (!word_rwlock_read_give(&lock) || *readers != 0 || word_rwlock_read_give(&lock))
        return false;
    /* A writer shows in the low bits as long as it has the lock. */
    if (agent_real.pthread_rwlock_wrlock(&lock) != 0 || !(*readers & WORD_WRITER_MASK))
        return false;
    if (word_rwlock_read_take(&lock) || word_rwlock_read_give(&lock))
        return false;
    /* And leaves the write phase behind, which only a real reader may end. */
    return agent_real.pthread_rwlock_unlock(&lock) == 0 && *readers < WORD_READER;
}

static bool spin_verify(void) {
    pthread_spinlock_t lock = 5;

    if (agent_real.pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE) != 0 || lock != 1)
        return false;
    if (agent_real.pthread_spin_lock(&lock) != 0 || lock != 0 || word_spin_take(&lock))
        return false;
    word_spin_give(&lock);
    if (agent_real.pthread_spin_trylock(&lock) != 0 || lock != 0)
        return false;
    if (agent_real.pthread_spin_unlock(&lock) != 0 || lock != 1)
        return false;
    if (!word_spin_take(&lock) || agent_real.pthread_spin_trylock(&lock) != EBUSY)
        return false;
    return agent_real.pthread_spin_unlock(&lock) == 0 && lock == 1;
}

/* The real function may be another preloaded library's, which is to see every call. */
#define IS_GLIBCS(name)                                                                                      \
    agent_function_is_beside(#name, (const void *)(uintptr_t)agent_real.name, "__pthread_register_cancel")

static bool mutex_is_glibcs(void) {
    return IS_GLIBCS(pthread_mutex_lock) && IS_GLIBCS(pthread_mutex_trylock) &&
           IS_GLIBCS(pthread_mutex_unlock) && IS_GLIBCS(pthread_mutex_timedlock);
}

static bool rwlock_is_glibcs(void) {
    return IS_GLIBCS(pthread_rwlock_rdlock) && IS_GLIBCS(pthread_rwlock_trywrlock) &&
           IS_GLIBCS(pthread_rwlock_wrlock) && IS_GLIBCS(pthread_rwlock_unlock);
}

static bool spin_is_glibcs(void) {
    return IS_GLIBCS(pthread_spin_init) && IS_GLIBCS(pthread_spin_lock) && IS_GLIBCS(pthread_spin_trylock) &&
           IS_GLIBCS(pthread_spin_unlock);
}

void word_verify(void) {
    if (mutex_is_glibcs() && mutex_verify(0) && mutex_verify(WORD_MUTEX_NO_ELISION))
        word_mutex_kind = 0;
    word_spin_known = spin_is_glibcs() && spin_verify();
    word_readers_limit = WORD_READERS_MAX; /* for the check's own operations */
    if (!rwlock_is_glibcs() || !rwlock_verify())
        word_readers_limit = 0;
}
