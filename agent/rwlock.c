/* SPDX-License-Identifier: MIT */
#include "agent/take.h"
#include "agent/word.h"

/* The writer's tid, 0 while readers have it (glibc's __cur_writer, sysdeps/nptl/bits/struct_rwlock.h). */
static inline uint32_t rwlock_writer(const pthread_rwlock_t *lock) {
    return (uint32_t)lock->__data.__cur_writer;
}

/* Of the two ways to hold it, the one this thread has noted last. */
static enum lock_class rwlock_class_held(struct thread_slot *slot, const pthread_rwlock_t *lock) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    for (uint32_t i = depth < SLOT_HELD ? depth : SLOT_HELD; i-- > 0;) {
        uint64_t key = atomic_load_explicit(&slot->held[i].key, memory_order_relaxed);
        if (lock_key_address(key) == (uint64_t)(uintptr_t)lock)
            return (enum lock_class)lock_key_class(key);
    }
    return LOCK_CLASS_RWLOCK_WRITE;
}

static AGENT_SLOW int rwlock_read_take(pthread_rwlock_t *lock, struct thread_slot *slot, uint64_t site) {
    uint32_t hash = lock_hash(lock);
    int result = agent_real.pthread_rwlock_tryrdlock(lock);
    if (result == EBUSY) {
        struct lock_wait wait;
        lock_wait_begin(&wait, slot, lock, LOCK_CLASS_RWLOCK_READ, hash, site, rwlock_writer(lock), 0);
        result = agent_real.pthread_rwlock_rdlock(lock);
        lock_wait_result(&wait, slot, result, 0);
    } else if (result == 0) {
        lock_acquired(slot, lock, LOCK_CLASS_RWLOCK_READ, hash, site);
    }
    return result;
}

static AGENT_COLD int rwlock_read_take_first(pthread_rwlock_t *lock, uint64_t site) {
    struct thread_slot *slot = agent_slot_prepare();
    if (!slot)
        return lock_acquired_nested(lock, LOCK_CLASS_RWLOCK_READ, site,
                                    agent_real.pthread_rwlock_rdlock(lock));
    return rwlock_read_take(lock, slot, site);
}

AGENT_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot))
        return rwlock_read_take_first(lock, HOOK_SITE());
    if (AGENT_UNLIKELY(!word_rwlock_read_take(lock)))
        return rwlock_read_take(lock, slot, HOOK_SITE());
    return lock_acquired(slot, lock, LOCK_CLASS_RWLOCK_READ, lock_hash(lock), HOOK_SITE());
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

static int rwlock_give_object(void *lock) {
    return agent_real.pthread_rwlock_unlock(lock);
}

/* Whatever is not the uncontended end of a read. */
static AGENT_SLOW int rwlock_give(pthread_rwlock_t *lock, struct thread_slot *slot) {
    uint64_t base = lock_base(lock, rwlock_class_held(slot, lock));
    return lock_release_around(slot, base, lock_hash(lock), lock, rwlock_give_object);
}

static AGENT_COLD int rwlock_give_first(pthread_rwlock_t *lock) {
    agent_slot_prepare();
    return agent_real.pthread_rwlock_unlock(lock);
}

AGENT_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot))
        return rwlock_give_first(lock);
    /* A reader that is not the last taken, or that a writer waits for, is a case for the slow half. */
    uint64_t base = lock_base(lock, LOCK_CLASS_RWLOCK_READ);
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed) - 1;
    if (AGENT_UNLIKELY(depth >= SLOT_HELD ||
                       atomic_load_explicit(&slot->held[depth].key, memory_order_relaxed) != base ||
                       !word_rwlock_read_give(lock)))
        return rwlock_give(lock, slot);
    atomic_store_explicit(&slot->held_depth, depth, memory_order_relaxed);
    uint32_t hash = lock_hash(lock);
    return AGENT_UNLIKELY(lock_waiters(hash)) ? lock_release_tell(slot, base, hash, 0) : 0;
}

AGENT_EXPORT int pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attr) {
    HOOK_INIT(lock, LOCK_CLASS_RWLOCK_WRITE, 0, agent_real.pthread_rwlock_init(lock, attr));
}
