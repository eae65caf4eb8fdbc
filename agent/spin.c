/* SPDX-License-Identifier: MIT */
#include "agent/take.h"
#include "agent/word.h"

/* Where nothing is known of the word, or the lock is taken. */
static AGENT_SLOW int spin_take(pthread_spinlock_t *lock, uint64_t site) {
    struct thread_slot *slot = agent_slot();
    const void *object = HOOK_OBJECT(lock);
    if (!slot)
        return lock_acquired_nested(object, LOCK_CLASS_SPIN, site, agent_real.pthread_spin_lock(lock));
    uint32_t hash = lock_hash(object);
    if (agent_real.pthread_spin_trylock(lock) == 0)
        return lock_acquired(slot, object, LOCK_CLASS_SPIN, hash, site);
    struct lock_wait wait;
    lock_wait_begin(&wait, slot, object, LOCK_CLASS_SPIN, hash, site, 0, 0);
    agent_real.pthread_spin_lock(lock);
    lock_wait_acquired(&wait, slot, 0);
    return 0;
}

AGENT_EXPORT int pthread_spin_lock(pthread_spinlock_t *lock) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot || !word_spin_known || !word_spin_take(lock)))
        return spin_take(lock, HOOK_SITE());
    return lock_acquired(slot, HOOK_OBJECT(lock), LOCK_CLASS_SPIN, lock_hash(HOOK_OBJECT(lock)), HOOK_SITE());
}

AGENT_EXPORT int pthread_spin_trylock(pthread_spinlock_t *lock) {
    HOOK_TRY(HOOK_OBJECT(lock), LOCK_CLASS_SPIN, agent_real.pthread_spin_trylock(lock));
}

/* Who waits spins on the word and writes to the filter: it is asked once the lock is given. A waiter that
 * came takes itself off at its own release, so that it is still there. */
static AGENT_SLOW int spin_give(pthread_spinlock_t *lock) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return agent_real.pthread_spin_unlock(lock);
    struct lock_release release = {.base = lock_base(HOOK_OBJECT(lock), LOCK_CLASS_SPIN),
                                   .hash = lock_hash(HOOK_OBJECT(lock)),
                                   .before = lock_waiters(lock_hash(HOOK_OBJECT(lock)))};
    lock_release_begin(slot, &release);
    if (word_spin_known)
        word_spin_give(lock);
    else
        agent_real.pthread_spin_unlock(lock);
    return lock_release_end(slot, &release, 0);
}

AGENT_EXPORT int pthread_spin_unlock(pthread_spinlock_t *lock) {
    struct thread_slot *slot = agent_thread.fast;
    uint64_t base = lock_base(HOOK_OBJECT(lock), LOCK_CLASS_SPIN);
    if (AGENT_UNLIKELY(!slot || !word_spin_known || !lock_release_is_plain(slot, base)))
        return spin_give(lock);
    uint32_t hash = lock_hash(HOOK_OBJECT(lock)), waiters = lock_waiters(hash);
    word_spin_give(lock);
    lock_release_drop(slot);
    return AGENT_UNLIKELY(waiters) ? lock_release_tell(slot, base, hash, 0) : 0;
}

AGENT_EXPORT int pthread_spin_init(pthread_spinlock_t *lock, int shared) {
    HOOK_INIT(HOOK_OBJECT(lock), LOCK_CLASS_SPIN, 0, agent_real.pthread_spin_init(lock, shared));
}
