/* SPDX-License-Identifier: MIT */
/*
 * The bodies that the hooks of all locks share. "busy" is what the try variant returns when the lock is
 * not to be had; nothing else may lead to the blocking call: a robust mutex whose trylock says EOWNERDEAD
 * has been taken.
 */
#ifndef WAITSCOPE_AGENT_TAKE_H
#define WAITSCOPE_AGENT_TAKE_H

#include "agent/lock.h"

#define HOOK_SITE() ((uint64_t)(uintptr_t)__builtin_return_address(0))

/* A spin lock is volatile: its address is all that is used. */
#define HOOK_OBJECT(lock) ((const void *)(uintptr_t)(lock))

static inline bool take_had(int result) {
    return result == 0 || result == EOWNERDEAD;
}

/* A call that blocks until it has the lock, gives up or fails. owner: expression for the owner's tid. */
#define HOOK_TAKE(lock, cls, busy, try_call, block_call, owner, wait_flags)                                  \
    do {                                                                                                     \
        struct thread_slot *slot_ = agent_slot();                                                            \
        if (AGENT_UNLIKELY(!slot_))                                                                          \
            return lock_acquired_nested(lock, cls, HOOK_SITE(), block_call);                                 \
        uint32_t hash_ = lock_hash(lock);                                                                    \
        int result_ = try_call;                                                                              \
        if (AGENT_LIKELY(result_ == 0))                                                                      \
            return lock_acquired(slot_, lock, cls, hash_, HOOK_SITE());                                      \
        if (result_ != (busy)) {                                                                             \
            if (take_had(result_))                                                                           \
                lock_acquired(slot_, lock, cls, hash_, HOOK_SITE());                                         \
            return result_;                                                                                  \
        }                                                                                                    \
        struct lock_wait wait_;                                                                              \
        lock_wait_begin(&wait_, slot_, lock, cls, hash_, HOOK_SITE(), (uint32_t)(owner), 0);                 \
        result_ = block_call;                                                                                \
        lock_wait_result(&wait_, slot_, result_ == (busy) ? EBUSY : result_, wait_flags);                    \
        return result_;                                                                                      \
    } while (0)

/* A call that never blocks. */
#define HOOK_TRY(lock, cls, try_call)                                                                        \
    do {                                                                                                     \
        struct thread_slot *slot_ = agent_slot();                                                            \
        int result_ = try_call;                                                                              \
        if (AGENT_UNLIKELY(!slot_))                                                                          \
            return lock_acquired_nested(lock, cls, HOOK_SITE(), result_);                                    \
        if (take_had(result_)) {                                                                             \
            uint32_t hash_ = lock_hash(lock);                                                                \
            lock_acquired(slot_, lock, cls, hash_, HOOK_SITE());                                             \
        }                                                                                                    \
        return result_;                                                                                      \
    } while (0)

/* real: the function that releases it; all of them take one pointer (or what passes as one) and return int.
 */
#define HOOK_RELEASE(lock, cls, real)                                                                        \
    do {                                                                                                     \
        struct thread_slot *slot_ = agent_slot();                                                            \
        if (AGENT_UNLIKELY(!slot_))                                                                          \
            return real(lock);                                                                               \
        uint32_t hash_ = lock_hash(HOOK_OBJECT(lock));                                                       \
        uint64_t base_ = lock_base(HOOK_OBJECT(lock), cls);                                                  \
        if (AGENT_UNLIKELY(!lock_release_is_plain(slot_, base_)))                                            \
            return lock_release_around(slot_, base_, hash_, (void *)(uintptr_t)(lock),                       \
                                       (int (*)(void *))real);                                               \
        uint32_t waiters_ = lock_waiters(hash_);                                                             \
        int result_ = real(lock);                                                                            \
        lock_release_drop(slot_);                                                                            \
        return AGENT_UNLIKELY(waiters_) ? lock_release_tell(slot_, base_, hash_, result_) : result_;         \
    } while (0)

/* A call that wakes or lets on who waits for object, and holds nothing itself. The time is taken
 * before: the woken thread may be on before the call returns. */
#define HOOK_WAKE(object, cls, flags, call)                                                                  \
    do {                                                                                                     \
        struct thread_slot *slot_ = agent_slot();                                                            \
        uint32_t hash_ = lock_hash(object);                                                                  \
        uint32_t waiters_ = slot_ ? lock_waiters(hash_) : 0;                                                 \
        if (AGENT_LIKELY(!waiters_))                                                                         \
            return call;                                                                                     \
        uint64_t key_ = lock_key(object, hash_, cls), time_ = agent_ticks();                                 \
        int result_ = call;                                                                                  \
        agent_busy_enter();                                                                                  \
        agent_record_release(slot_, key_, time_, 0, agent_stack(slot_), flags, waiters_);                    \
        agent_busy_leave();                                                                                  \
        return result_;                                                                                      \
    } while (0)

#define HOOK_INIT(object, cls, initial, call)                                                                \
    do {                                                                                                     \
        agent_slot();                                                                                        \
        int result_ = call;                                                                                  \
        if (result_ == 0)                                                                                    \
            lock_init_record(object, cls, initial);                                                          \
        return result_;                                                                                      \
    } while (0)

/* The clocks that glibc's *clock* variants take (EINVAL otherwise, before they look at the lock). */
static inline bool take_clock_valid(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
}

static inline bool take_limit_valid(const struct timespec *limit) {
    return limit->tv_nsec >= 0 && limit->tv_nsec < 1000000000;
}

#endif
