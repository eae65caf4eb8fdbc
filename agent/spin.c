/* SPDX-License-Identifier: MIT */
#include "agent/take.h"

AGENT_EXPORT int pthread_spin_lock(pthread_spinlock_t *lock) {
    HOOK_TAKE(HOOK_OBJECT(lock), LOCK_CLASS_SPIN, EBUSY, agent_real.pthread_spin_trylock(lock),
              agent_real.pthread_spin_lock(lock), 0, 0);
}

AGENT_EXPORT int pthread_spin_trylock(pthread_spinlock_t *lock) {
    HOOK_TRY(HOOK_OBJECT(lock), LOCK_CLASS_SPIN, agent_real.pthread_spin_trylock(lock));
}

AGENT_EXPORT int pthread_spin_unlock(pthread_spinlock_t *lock) {
    HOOK_RELEASE(lock, LOCK_CLASS_SPIN, agent_real.pthread_spin_unlock);
}

AGENT_EXPORT int pthread_spin_init(pthread_spinlock_t *lock, int shared) {
    HOOK_INIT(HOOK_OBJECT(lock), LOCK_CLASS_SPIN, 0, agent_real.pthread_spin_init(lock, shared));
}
