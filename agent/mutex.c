/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <linux/futex.h>

#include "agent/shared_lock.h"
#include "agent/take.h"
#include "agent/word.h"

/* Who owns it, for free: glibc stores the owner's tid in every kind of mutex but those with lock
 * elision (sysdeps/nptl/bits/struct_mutex.h, __owner; static initialisers have fixed the layout). */
static inline uint32_t mutex_owner(const pthread_mutex_t *mutex) {
    return (uint32_t)mutex->__data.__owner;
}

/* nptl/pthreadP.h: bits of __kind, and the owner of a robust mutex that was lost. */
#define MUTEX_PROCESS_SHARED 0x80
#define MUTEX_PRIORITY_INHERIT 0x20
#define MUTEX_ROBUST 0x10
#define MUTEX_CEILING_MASK 0xfff80000U /* of the word of one with a ceiling */
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
 * would cost more than the lock. One that is taken nevertheless is a deadlock, and is to be seen as a wait.
 */
static inline bool mutex_is_private(const pthread_mutex_t *mutex) {
    return __libc_single_threaded && mutex->__data.__lock == 0 &&
           !(mutex->__data.__kind & MUTEX_PROCESS_SHARED);
}

/* Before it is taken, whatever the call. */
static inline void mutex_note(const pthread_mutex_t *mutex) {
    if (AGENT_UNLIKELY(mutex->__data.__kind & MUTEX_PROCESS_SHARED)) {
        struct thread_slot *slot = agent_slot();
        if (slot)
            shared_lock_tell(slot, lock_key(mutex, lock_hash(mutex), LOCK_CLASS_MUTEX));
    }
}

/* Whether somebody sleeps for a mutex that is held, in whatever process (sysdeps/nptl/lowlevellock.h; the
 * word of a robust one or one that hands on its priority is its owner's tid and FUTEX_WAITERS). */
static bool mutex_has_sleepers(const pthread_mutex_t *mutex) {
    uint32_t word = (uint32_t)mutex->__data.__lock;
    if (mutex->__data.__kind & (MUTEX_ROBUST | MUTEX_PRIORITY_INHERIT))
        return word & FUTEX_WAITERS;
    return (word & ~MUTEX_CEILING_MASK) > 1;
}

/* Looks whether a known mutex that is taken comes free at once. */
static bool mutex_take_soon(pthread_mutex_t *mutex, struct thread_slot *slot) {
    bool had = false;
    for (uint32_t i = 0; i < LOCK_BRIEF_TRIES && !had; i++) {
        _mm_pause();
        had = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED) == 0 &&
              word_mutex_take(mutex, slot->tid); /* [WORD-LOCK] */
    }
    lock_brief_over(had);
    return had;
}

/* Everything but a plain mutex that is free. */
static AGENT_SLOW int mutex_take(pthread_mutex_t *mutex, struct thread_slot *slot, uint64_t site) {
    uint32_t hash = lock_hash(mutex);
    mutex_note(mutex);
    uint64_t begin = agent_ticks();
    if (word_mutex_known(mutex) && !__libc_single_threaded && lock_brief_due() &&
        mutex_take_soon(mutex, slot))
        return lock_acquired_brief(slot, mutex, LOCK_CLASS_MUTEX, hash, site, begin);
    int result = mutex_is_private(mutex) ? agent_real.pthread_mutex_lock(mutex) : mutex_try(mutex);
    if (result == EBUSY) {
        struct lock_wait wait;
        lock_wait_begin_at(&wait, slot, mutex, LOCK_CLASS_MUTEX, hash, site, mutex_owner(mutex), 0, begin);
        result = agent_real.pthread_mutex_lock(mutex);
        lock_wait_result(&wait, slot, result, 0);
        return result;
    }
    if (take_had(result))
        lock_acquired(slot, mutex, LOCK_CLASS_MUTEX, hash, site);
    return result;
}

static AGENT_COLD int mutex_take_first(pthread_mutex_t *mutex, uint64_t site) {
    struct thread_slot *slot = agent_slot_prepare();
    if (!slot)
        return lock_acquired_nested(mutex, LOCK_CLASS_MUTEX, site, agent_real.pthread_mutex_lock(mutex));
    return mutex_take(mutex, slot, site);
}

/* Nothing but tail calls leads out of the two functions that matter: they need no frame. */
AGENT_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot))
        return mutex_take_first(mutex, HOOK_SITE());
    if (AGENT_UNLIKELY(!word_mutex_known(mutex) || !word_mutex_take(mutex, slot->tid)))
        return mutex_take(mutex, slot, HOOK_SITE());
    return lock_acquired(slot, mutex, LOCK_CLASS_MUTEX, lock_hash(mutex), HOOK_SITE());
}

AGENT_EXPORT int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    mutex_note(mutex);
    HOOK_TRY(mutex, LOCK_CLASS_MUTEX, agent_real.pthread_mutex_trylock(mutex));
}

AGENT_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *limit) {
    mutex_note(mutex);
    HOOK_TAKE(mutex, LOCK_CLASS_MUTEX, EBUSY, mutex_try(mutex),
              agent_real.pthread_mutex_timedlock(mutex, limit), mutex_owner(mutex), WAIT_TIMED);
}

AGENT_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                         const struct timespec *limit) {
    if (!take_clock_valid(clock)) {
        agent_slot();
        return agent_real.pthread_mutex_clocklock(mutex, clock, limit);
    }
    mutex_note(mutex);
    HOOK_TAKE(mutex, LOCK_CLASS_MUTEX, EBUSY, mutex_try(mutex),
              agent_real.pthread_mutex_clocklock(mutex, clock, limit), mutex_owner(mutex), WAIT_TIMED);
}

static int mutex_give_object(void *mutex) {
    return agent_real.pthread_mutex_unlock(mutex);
}

static AGENT_SLOW int mutex_give_awaited(pthread_mutex_t *mutex, struct thread_slot *slot) {
    uint64_t time = agent_ticks(); /* who is woken may be on before this thread is */
    word_mutex_wake(mutex);
    lock_release_drop(slot);
    return lock_release_tell_at(slot, lock_base(mutex, LOCK_CLASS_MUTEX), lock_hash(mutex), 0, time);
}

/* Another kind of mutex, or a hold of which more is to be told. Who waits for a known mutex is told by its
 * word; for one that is shared, it tells of those whom nothing else here knows. */
static AGENT_SLOW int mutex_give_slow(pthread_mutex_t *mutex, struct thread_slot *slot) {
    struct lock_release release = {.base = lock_base(mutex, LOCK_CLASS_MUTEX), .hash = lock_hash(mutex)};
    if (AGENT_UNLIKELY(!word_mutex_known(mutex))) {
        if (!(mutex->__data.__kind & MUTEX_PROCESS_SHARED) || !mutex_has_sleepers(mutex))
            return lock_release_around(slot, release.base, release.hash, mutex, mutex_give_object);
        agent_thread.told_base = 0; /* waits begin elsewhere that are not seen here: this is news */
        release.slept_elsewhere = true;
        release.before = lock_waiters(release.hash);
        lock_release_begin(slot, &release);
        return lock_release_end(slot, &release, agent_real.pthread_mutex_unlock(mutex));
    }
    lock_release_begin(slot, &release);
    if (word_mutex_give(mutex)) {
        release.slept = true;
        release.time = agent_ticks(); /* who is woken may be on before this thread is */
        word_mutex_wake(mutex);
    }
    return lock_release_end(slot, &release, 0);
}

static AGENT_COLD int mutex_give_first(pthread_mutex_t *mutex) {
    agent_slot_prepare();
    return agent_real.pthread_mutex_unlock(mutex);
}

AGENT_EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot))
        return mutex_give_first(mutex);
    uint64_t base = lock_base(mutex, LOCK_CLASS_MUTEX);
    if (AGENT_UNLIKELY(!word_mutex_known(mutex) || !lock_release_is_plain(slot, base)))
        return mutex_give_slow(mutex, slot);
    if (AGENT_UNLIKELY(word_mutex_give(mutex)))
        return mutex_give_awaited(mutex, slot);
    lock_release_drop(slot);
    uint32_t hash = lock_hash(mutex);
    return AGENT_UNLIKELY(lock_waiters(hash)) ? lock_release_tell(slot, base, hash, 0) : 0;
}

AGENT_EXPORT int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr) {
    agent_slot();
    int result = agent_real.pthread_mutex_init(mutex, attr);
    if (result == 0) {
        lock_init_record(mutex, LOCK_CLASS_MUTEX, 0);
        mutex_note(mutex); /* who makes it tells first: others only use it */
    }
    return result;
}
