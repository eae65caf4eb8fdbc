/* SPDX-License-Identifier: MIT */
#include "agent/take.h"

AGENT_EXPORT int pthread_barrier_wait(pthread_barrier_t *barrier) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return agent_real.pthread_barrier_wait(barrier);
    struct lock_wait wait;
    lock_wait_begin(&wait, slot, barrier, LOCK_CLASS_BARRIER, lock_hash(barrier), HOOK_SITE(), 0, 0);
    int result = agent_real.pthread_barrier_wait(barrier);
    /* The one that is told so is the last to arrive (nptl/pthread_barrier_wait.c): it waited for nobody and
     * let the others go. */
    if (result == PTHREAD_BARRIER_SERIAL_THREAD) {
        struct record_wait record = *wait.record;
        lock_wait_drop(&wait, slot);
        agent_busy_enter();
        lock_use_add(count_obtain(slot, wait.base, wait.hash, wait.site));
        agent_record_release(slot, record.key, record.begin, 0, record.stack, RELEASE_BROADCAST,
                             lock_waiters(wait.hash));
        agent_busy_leave();
    } else {
        lock_wait_end(&wait, slot, lock_wait_flags(result));
    }
    return result;
}

AGENT_EXPORT int pthread_barrier_init(pthread_barrier_t *barrier, const pthread_barrierattr_t *attr,
                                      unsigned count) {
    HOOK_INIT(barrier, LOCK_CLASS_BARRIER, count, agent_real.pthread_barrier_init(barrier, attr, count));
}
