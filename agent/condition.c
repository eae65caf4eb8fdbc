/* SPDX-License-Identifier: MIT */
#include "agent/condition.h"

AGENT_SLOW bool condition_wait_begin(struct condition_wait *wait, const void *condition, const void *mutex,
                                     uint64_t site) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return false;
    uint32_t mutex_hash = lock_hash(mutex);
    wait->mutex = lock_base(mutex, LOCK_CLASS_MUTEX);
    lock_wait_begin(&wait->wait, slot, condition, LOCK_CLASS_CONDITION, lock_hash(condition), site, 0, 0);
    wait->wait.record->mutex = filter_key(wait->mutex, filter_load(mutex_hash));

    lock_release_before(slot, wait->mutex, mutex_hash);
    return true;
}

AGENT_SLOW void condition_wait_end(struct condition_wait *wait, uint32_t flags) {
    struct thread_slot *slot = agent_thread.slot;
    if (flags & WAIT_FAILED) { /* the mutex was never released */
        lock_held_push(slot, wait->mutex, wait->wait.site, 0);
        lock_wait_end(&wait->wait, slot, flags);
        return;
    }
    lock_wait_end_held(&wait->wait, slot, flags, wait->mutex);
}

void condition_wait_cancelled(void *argument) {
    struct condition_wait *wait = argument;
    struct thread_slot *slot = agent_thread.slot;
    if (!slot)
        return;
    lock_held_push(slot, wait->mutex, wait->wait.site, 0);
    lock_wait_end(&wait->wait, slot, WAIT_CANCELLED);
}

static inline uint32_t flags_timed(int result) {
    return lock_wait_flags(result) | WAIT_TIMED;
}

AGENT_EXPORT int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    HOOK_CONDITION_WAIT(condition, mutex, agent_real.pthread_cond_wait(condition, mutex), lock_wait_flags);
}

AGENT_EXPORT int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                        const struct timespec *limit) {
    HOOK_CONDITION_WAIT(condition, mutex, agent_real.pthread_cond_timedwait(condition, mutex, limit),
                        flags_timed);
}

AGENT_EXPORT int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                                        const struct timespec *limit) {
    HOOK_CONDITION_WAIT(condition, mutex, agent_real.pthread_cond_clockwait(condition, mutex, clock, limit),
                        flags_timed);
}

AGENT_EXPORT int pthread_cond_signal(pthread_cond_t *condition) {
    HOOK_WAKE(condition, LOCK_CLASS_CONDITION, 0, agent_real.pthread_cond_signal(condition));
}

AGENT_EXPORT int pthread_cond_broadcast(pthread_cond_t *condition) {
    HOOK_WAKE(condition, LOCK_CLASS_CONDITION, RELEASE_BROADCAST,
              agent_real.pthread_cond_broadcast(condition));
}

AGENT_EXPORT int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attr) {
    HOOK_INIT(condition, LOCK_CLASS_CONDITION, 0, agent_real.pthread_cond_init(condition, attr));
}
