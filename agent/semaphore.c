/* SPDX-License-Identifier: MIT */
/*
 * Semaphores have no owner. For one that is used as a lock the thread that took it last is the likely
 * holder: a small table remembers it.
 *
 * sem_wait is a cancellation point even where it need not wait, so the real call is always made. Whether
 * it waited is known from the value before (then the wait is announced) or from the time it took.
 */
#include "agent/cleanup.h"
#include "agent/take.h"

#define TAKERS 256U
#define UNANNOUNCED_WAIT_TICKS 2000U /* about a microsecond; below, it did not sleep */

/* [TAKER] relaxed: each field is a hint, and a torn pair is told by the address. */
static struct taker {
    _Atomic uint64_t address, site;
    _Atomic uint32_t tid;
} takers[TAKERS];

static struct taker *taker_of(const sem_t *semaphore) {
    return &takers[lock_hash(semaphore) >> 24];
}

static void taker_note(const sem_t *semaphore, struct thread_slot *slot, uint64_t site) {
    struct taker *taker = taker_of(semaphore);
    atomic_store_explicit(&taker->address, (uint64_t)(uintptr_t)semaphore,
                          memory_order_relaxed); /* [TAKER] */
    atomic_store_explicit(&taker->site, site, memory_order_relaxed);
    atomic_store_explicit(&taker->tid, slot->tid, memory_order_relaxed);
}

struct semaphore_wait {
    struct lock_wait wait;
    const sem_t *semaphore;
    uint64_t begin;
    bool announced;
};

static void announce(struct semaphore_wait *wait, struct thread_slot *slot) {
    const struct taker *taker = taker_of(wait->semaphore);
    uint32_t tid = 0;
    uint64_t site = 0;
    if (atomic_load_explicit(&taker->address, memory_order_relaxed) == (uint64_t)(uintptr_t)wait->semaphore) {
        tid = atomic_load_explicit(&taker->tid, memory_order_relaxed); /* [TAKER] */
        site = atomic_load_explicit(&taker->site, memory_order_relaxed);
    }
    if (tid == slot->tid) { /* it cannot be what this thread waits for */
        tid = 0;
        site = 0;
    }
    lock_wait_begin(&wait->wait, slot, wait->semaphore, LOCK_CLASS_SEMAPHORE, lock_hash(wait->semaphore),
                    wait->wait.site, tid, site);
    wait->announced = true;
}

static AGENT_SLOW bool semaphore_wait_begin(struct semaphore_wait *wait, sem_t *semaphore, uint64_t site) {
    struct thread_slot *slot = agent_slot();
    int value = 0;
    if (!slot)
        return false;
    wait->semaphore = semaphore;
    wait->announced = false;
    wait->wait.site = site;
    sem_getvalue(semaphore, &value);
    if (value <= 0)
        announce(wait, slot);
    else
        wait->begin = agent_ticks();
    return true;
}

static AGENT_SLOW void semaphore_wait_end(struct semaphore_wait *wait, int result, uint32_t flags) {
    struct thread_slot *slot = agent_thread.slot;
    if (!wait->announced && agent_ticks() - wait->begin > UNANNOUNCED_WAIT_TICKS) {
        announce(wait, slot); /* another thread was quicker: it did wait */
        wait->wait.record->begin = wait->begin;
    }
    if (wait->announced) {
        lock_wait_end(&wait->wait, slot, flags | lock_wait_flags(result));
    } else if (result == 0) {
        uint32_t hash = lock_hash(wait->semaphore);
        uint64_t base = lock_base(wait->semaphore, LOCK_CLASS_SEMAPHORE);
        lock_use_add(count_obtain(slot, base, hash, wait->wait.site));
    }
    if (result == 0)
        taker_note(wait->semaphore, slot, wait->wait.site);
}

static void semaphore_wait_cancelled(void *argument) {
    struct semaphore_wait *wait = argument;
    if (wait->announced)
        lock_wait_cancelled(&wait->wait);
}

/* The real functions say -1 and errno; errno is the target's and is left as they set it. */
#define HOOK_SEMAPHORE_WAIT(semaphore, call, flags)                                                          \
    do {                                                                                                     \
        struct semaphore_wait wait_;                                                                         \
        int result_;                                                                                         \
        if (!semaphore_wait_begin(&wait_, semaphore, HOOK_SITE()))                                           \
            return call;                                                                                     \
        AGENT_CLEANUP_PUSH(semaphore_wait_cancelled, &wait_);                                                \
        result_ = call;                                                                                      \
        AGENT_CLEANUP_POP();                                                                                 \
        semaphore_wait_end(&wait_, result_ == 0 ? 0 : errno, flags);                                         \
        return result_;                                                                                      \
    } while (0)

AGENT_EXPORT int sem_wait(sem_t *semaphore) {
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_wait(semaphore), 0);
}

AGENT_EXPORT int sem_timedwait(sem_t *semaphore, const struct timespec *limit) {
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_timedwait(semaphore, limit), WAIT_TIMED);
}

AGENT_EXPORT int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *limit) {
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_clockwait(semaphore, clock, limit), WAIT_TIMED);
}

AGENT_EXPORT int sem_trywait(sem_t *semaphore) {
    struct thread_slot *slot = agent_slot();
    int result = agent_real.sem_trywait(semaphore);
    if (slot && result == 0) {
        uint32_t hash = lock_hash(semaphore);
        uint64_t base = lock_base(semaphore, LOCK_CLASS_SEMAPHORE);
        lock_use_add(count_obtain(slot, base, hash, HOOK_SITE()));
        taker_note(semaphore, slot, HOOK_SITE());
    }
    return result;
}

AGENT_EXPORT int sem_post(sem_t *semaphore) {
    HOOK_WAKE(semaphore, LOCK_CLASS_SEMAPHORE, 0, agent_real.sem_post(semaphore));
}

AGENT_EXPORT int sem_init(sem_t *semaphore, int shared, unsigned value) {
    HOOK_INIT(semaphore, LOCK_CLASS_SEMAPHORE, value, agent_real.sem_init(semaphore, shared, value));
}
