/* SPDX-License-Identifier: MIT */
/*
 * <threads.h>. glibc's mtx_* and cnd_* do not go through pthread_*, but a mtx_t is a pthread_mutex_t
 * inside (nptl/mtx_lock.c), so owner and identity are the same.
 */
#include "agent/condition.h"

static inline uint32_t mtx_owner(const mtx_t *mutex) {
    return (uint32_t)((const pthread_mutex_t *)mutex)->__data.__owner;
}

/* thrd_* results as errno values. */
static inline int mtx_result(int result) {
    return result == thrd_success ? 0 : result == thrd_timedout ? ETIMEDOUT : EINVAL;
}

static inline uint32_t cnd_flags(int result) {
    return lock_wait_flags(mtx_result(result));
}

static inline uint32_t cnd_flags_timed(int result) {
    return cnd_flags(result) | WAIT_TIMED;
}

static int mtx_take(mtx_t *mutex, const struct timespec *limit, uint64_t site) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return lock_acquired_nested(mutex, LOCK_CLASS_MUTEX, site,
                                    limit ? agent_real.mtx_timedlock(mutex, limit)
                                          : agent_real.mtx_lock(mutex));
    uint32_t hash = lock_hash(mutex);
    int result = agent_real.mtx_trylock(mutex);
    if (result != thrd_busy) {
        if (result == thrd_success)
            lock_acquired(slot, mutex, LOCK_CLASS_MUTEX, hash, site);
        return result;
    }
    struct lock_wait wait;
    lock_wait_begin(&wait, slot, mutex, LOCK_CLASS_MUTEX, hash, site, mtx_owner(mutex), 0);
    result = limit ? agent_real.mtx_timedlock(mutex, limit) : agent_real.mtx_lock(mutex);
    lock_wait_result(&wait, slot, mtx_result(result), limit ? WAIT_TIMED : 0);
    return result;
}

AGENT_EXPORT int mtx_lock(mtx_t *mutex) {
    return mtx_take(mutex, NULL, HOOK_SITE());
}

AGENT_EXPORT int mtx_timedlock(mtx_t *mutex, const struct timespec *limit) {
    return mtx_take(mutex, limit, HOOK_SITE());
}

AGENT_EXPORT int mtx_trylock(mtx_t *mutex) {
    struct thread_slot *slot = agent_slot();
    int result = agent_real.mtx_trylock(mutex);
    if (slot && result == thrd_success) {
        uint32_t hash = lock_hash(mutex);
        lock_acquired(slot, mutex, LOCK_CLASS_MUTEX, hash, HOOK_SITE());
    }
    return result;
}

AGENT_EXPORT int mtx_unlock(mtx_t *mutex) {
    HOOK_RELEASE(mutex, LOCK_CLASS_MUTEX, agent_real.mtx_unlock);
}

AGENT_EXPORT int mtx_init(mtx_t *mutex, int type) {
    HOOK_INIT(mutex, LOCK_CLASS_MUTEX, 0, agent_real.mtx_init(mutex, type));
}

AGENT_EXPORT int cnd_wait(cnd_t *condition, mtx_t *mutex) {
    HOOK_CONDITION_WAIT(condition, mutex, agent_real.cnd_wait(condition, mutex), cnd_flags);
}

AGENT_EXPORT int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *limit) {
    HOOK_CONDITION_WAIT(condition, mutex, agent_real.cnd_timedwait(condition, mutex, limit), cnd_flags_timed);
}

AGENT_EXPORT int cnd_signal(cnd_t *condition) {
    HOOK_WAKE(condition, LOCK_CLASS_CONDITION, 0, agent_real.cnd_signal(condition));
}

AGENT_EXPORT int cnd_broadcast(cnd_t *condition) {
    HOOK_WAKE(condition, LOCK_CLASS_CONDITION, RELEASE_BROADCAST, agent_real.cnd_broadcast(condition));
}

AGENT_EXPORT int cnd_init(cnd_t *condition) {
    HOOK_INIT(condition, LOCK_CLASS_CONDITION, 0, agent_real.cnd_init(condition));
}
