/* SPDX-License-Identifier: MIT */
#include <limits.h>

#include "agent/take.h"

/* Who owns it, for free: glibc stores the owner's tid in every kind of mutex but those with lock
 * elision (sysdeps/nptl/bits/struct_mutex.h, __owner; static initialisers have fixed the layout). */
static inline uint32_t mutex_owner(const pthread_mutex_t *mutex) {
    return (uint32_t)mutex->__data.__owner;
}

/* nptl/pthreadP.h: bits of __kind, and the owner of a robust mutex that was lost. */
#define MUTEX_PROCESS_SHARED 0x80
#define MUTEX_ROBUST 0x10
#define MUTEX_OWNER_NOT_RECOVERABLE (INT_MAX - 1)

/* glibc's trylock leaves the lock word of a lost mutex taken (nptl/pthread_mutex_trylock.c unlocks it only
 * if the word was its own before): such a mutex goes to the real call at once. */
static inline int mutex_try(pthread_mutex_t *mutex) {
    if (AGENT_UNLIKELY(mutex->__data.__kind & MUTEX_ROBUST) &&
        mutex->__data.__owner == MUTEX_OWNER_NOT_RECOVERABLE)
        return EBUSY;
    return agent_real.pthread_mutex_trylock(mutex);
}

/* Where nobody can hold it but this thread, glibc skips the atomic operations, and a trylock first
 * would cost more than the lock. */
static inline bool mutex_is_private(const pthread_mutex_t *mutex) {
    return __libc_single_threaded && !(mutex->__data.__kind & MUTEX_PROCESS_SHARED);
}

static AGENT_SLOW int mutex_wait(pthread_mutex_t *mutex, struct thread_slot *slot, uint64_t site) {
    struct lock_wait wait;
    lock_wait_begin(&wait, slot, mutex, LOCK_CLASS_MUTEX, lock_hash(mutex), site, mutex_owner(mutex), 0);
    int result = agent_real.pthread_mutex_lock(mutex);
    lock_wait_result(&wait, slot, result, 0);
    return result;
}

AGENT_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {
    struct thread_slot *slot = agent_slot();
    if (AGENT_UNLIKELY(!slot))
        return lock_acquired_nested(mutex, LOCK_CLASS_MUTEX, HOOK_SITE(),
                                    agent_real.pthread_mutex_lock(mutex));
    int result = mutex_is_private(mutex) ? agent_real.pthread_mutex_lock(mutex) : mutex_try(mutex);
    uint32_t hash = lock_hash(mutex);
    if (AGENT_LIKELY(result == 0))
        return lock_acquired(slot, lock_key(mutex, hash, LOCK_CLASS_MUTEX), hash, HOOK_SITE());
    if (result == EBUSY)
        return mutex_wait(mutex, slot, HOOK_SITE());
    if (result == EOWNERDEAD)
        lock_acquired(slot, lock_key(mutex, hash, LOCK_CLASS_MUTEX), hash, HOOK_SITE());
    return result;
}

AGENT_EXPORT int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    HOOK_TRY(mutex, LOCK_CLASS_MUTEX, agent_real.pthread_mutex_trylock(mutex));
}

AGENT_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *limit) {
    HOOK_TAKE(mutex, LOCK_CLASS_MUTEX, EBUSY, mutex_try(mutex),
              agent_real.pthread_mutex_timedlock(mutex, limit), mutex_owner(mutex), WAIT_TIMED);
}

AGENT_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                         const struct timespec *limit) {
    if (!take_clock_valid(clock)) {
        agent_slot();
        return agent_real.pthread_mutex_clocklock(mutex, clock, limit);
    }
    HOOK_TAKE(mutex, LOCK_CLASS_MUTEX, EBUSY, mutex_try(mutex),
              agent_real.pthread_mutex_clocklock(mutex, clock, limit), mutex_owner(mutex), WAIT_TIMED);
}

AGENT_EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    HOOK_RELEASE(mutex, lock_key(mutex, hash_, LOCK_CLASS_MUTEX), agent_real.pthread_mutex_unlock);
}

AGENT_EXPORT int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr) {
    HOOK_INIT(mutex, LOCK_CLASS_MUTEX, 0, agent_real.pthread_mutex_init(mutex, attr));
}
