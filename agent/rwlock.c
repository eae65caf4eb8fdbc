/* SPDX-License-Identifier: MIT */
#include "agent/take.h"

/* The writer's tid, 0 while readers have it (glibc's __cur_writer, sysdeps/nptl/bits/struct_rwlock.h). */
static inline uint32_t rwlock_writer(const pthread_rwlock_t *lock) {
    return (uint32_t)lock->__data.__cur_writer;
}

/* Of the two ways to hold it, the one this thread has noted last. */
static inline uint64_t rwlock_key_held(struct thread_slot *slot, const pthread_rwlock_t *lock,
                                       uint32_t hash) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    for (uint32_t i = depth < SLOT_HELD ? depth : SLOT_HELD; i-- > 0;) {
        uint64_t key = atomic_load_explicit(&slot->held[i].key, memory_order_relaxed);
        if (lock_key_address(key) == (uint64_t)(uintptr_t)lock)
            return key;
    }
    return lock_key(lock, hash, LOCK_CLASS_RWLOCK_WRITE);
}

AGENT_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_READ, EBUSY, agent_real.pthread_rwlock_tryrdlock(lock),
              agent_real.pthread_rwlock_rdlock(lock), rwlock_writer(lock), 0);
}

AGENT_EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t *lock) {
    HOOK_TRY(lock, LOCK_CLASS_RWLOCK_READ, agent_real.pthread_rwlock_tryrdlock(lock));
}

/* glibc refuses a malformed limit even where the lock is free (pthread_rwlock_common.c). */
AGENT_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *lock, const struct timespec *limit) {
    if (!take_limit_valid(limit)) {
        agent_slot();
        return agent_real.pthread_rwlock_timedrdlock(lock, limit);
    }
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_READ, EBUSY, agent_real.pthread_rwlock_tryrdlock(lock),
              agent_real.pthread_rwlock_timedrdlock(lock, limit), rwlock_writer(lock), WAIT_TIMED);
}

AGENT_EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t clock,
                                            const struct timespec *limit) {
    if (!take_clock_valid(clock) || !take_limit_valid(limit)) {
        agent_slot();
        return agent_real.pthread_rwlock_clockrdlock(lock, clock, limit);
    }
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_READ, EBUSY, agent_real.pthread_rwlock_tryrdlock(lock),
              agent_real.pthread_rwlock_clockrdlock(lock, clock, limit), rwlock_writer(lock), WAIT_TIMED);
}

AGENT_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_WRITE, EBUSY, agent_real.pthread_rwlock_trywrlock(lock),
              agent_real.pthread_rwlock_wrlock(lock), rwlock_writer(lock), 0);
}

AGENT_EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t *lock) {
    HOOK_TRY(lock, LOCK_CLASS_RWLOCK_WRITE, agent_real.pthread_rwlock_trywrlock(lock));
}

AGENT_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *lock, const struct timespec *limit) {
    if (!take_limit_valid(limit)) {
        agent_slot();
        return agent_real.pthread_rwlock_timedwrlock(lock, limit);
    }
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_WRITE, EBUSY, agent_real.pthread_rwlock_trywrlock(lock),
              agent_real.pthread_rwlock_timedwrlock(lock, limit), rwlock_writer(lock), WAIT_TIMED);
}

AGENT_EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t clock,
                                            const struct timespec *limit) {
    if (!take_clock_valid(clock) || !take_limit_valid(limit)) {
        agent_slot();
        return agent_real.pthread_rwlock_clockwrlock(lock, clock, limit);
    }
    HOOK_TAKE(lock, LOCK_CLASS_RWLOCK_WRITE, EBUSY, agent_real.pthread_rwlock_trywrlock(lock),
              agent_real.pthread_rwlock_clockwrlock(lock, clock, limit), rwlock_writer(lock), WAIT_TIMED);
}

AGENT_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock) {
    HOOK_RELEASE(lock, rwlock_key_held(slot_, lock, hash_), agent_real.pthread_rwlock_unlock);
}

AGENT_EXPORT int pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attr) {
    HOOK_INIT(lock, LOCK_CLASS_RWLOCK_WRITE, 0, agent_real.pthread_rwlock_init(lock, attr));
}
