/* SPDX-License-Identifier: MIT */
/*
 * Semaphores have no owner. For one that is used as a lock the thread that took it last is the likely
 * holder: a small table remembers it.
 *
 * sem_wait and sem_timedwait are points of cancellation even where they need not wait: glibc looks for a
 * request to cancel and tries (nptl/sem_wait.c, since 2.21), and so do the hooks; sem_clockwait looks only
 * when it waits. Only a wait goes through the real function.
 */
#include <pthread.h>

#include "agent/cleanup.h"
#include "agent/take.h"

#define TAKERS 256U

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
};

static AGENT_SLOW void semaphore_wait_begin(struct semaphore_wait *wait, struct thread_slot *slot,
                                            const sem_t *semaphore, uint64_t site) {
    const struct taker *taker = taker_of(semaphore);
    uint32_t tid = 0;
    uint64_t owner_site = 0;
    if (atomic_load_explicit(&taker->address, memory_order_relaxed) == (uint64_t)(uintptr_t)semaphore) {
        tid = atomic_load_explicit(&taker->tid, memory_order_relaxed); /* [TAKER] */
        owner_site = atomic_load_explicit(&taker->site, memory_order_relaxed);
    }
    if (tid == slot->tid) { /* it cannot be what this thread waits for */
        tid = 0;
        owner_site = 0;
    }
    wait->semaphore = semaphore;
    lock_wait_begin(&wait->wait, slot, semaphore, LOCK_CLASS_SEMAPHORE, lock_hash(semaphore), site, tid,
                    owner_site);
}

static AGENT_SLOW void semaphore_wait_end(struct semaphore_wait *wait, int result, uint32_t flags) {
    struct thread_slot *slot = agent_thread.slot;
    lock_wait_end(&wait->wait, slot, flags | lock_wait_flags(result));
    if (result == 0)
        taker_note(wait->semaphore, slot, wait->wait.site);
}

static void semaphore_wait_cancelled(void *wait) {
    lock_wait_cancelled(&((struct semaphore_wait *)wait)->wait);
}

static inline void semaphore_taken(const sem_t *semaphore, struct thread_slot *slot, uint64_t site) {
    uint32_t hash = lock_hash(semaphore);
    uint64_t base = lock_base(semaphore, LOCK_CLASS_SEMAPHORE);
    struct lock_count *count = count_place(LOCK_CLASS_SEMAPHORE, hash);
    if (AGENT_UNLIKELY(!count_is_good(count, base)))
        count = count_obtain(slot, base, hash, site);
    lock_use_add(count);
    taker_note(semaphore, slot, site);
}

/* Takes it if that needs no wait. errno is the target's, and is left as it was. */
static inline bool semaphore_take(sem_t *semaphore) {
    int saved = errno;
    if (AGENT_LIKELY(agent_real.sem_trywait(semaphore) == 0))
        return true;
    errno = saved;
    return false;
}

/* The real functions say -1 and errno. */
#define HOOK_SEMAPHORE_WAIT(semaphore, call, flags)                                                          \
    do {                                                                                                     \
        struct thread_slot *slot_ = agent_slot();                                                            \
        struct semaphore_wait wait_;                                                                         \
        int result_;                                                                                         \
        if (AGENT_UNLIKELY(!slot_))                                                                          \
            return call;                                                                                     \
        if (AGENT_LIKELY(semaphore_take(semaphore))) {                                                       \
            semaphore_taken(semaphore, slot_, HOOK_SITE());                                                  \
            return 0;                                                                                        \
        }                                                                                                    \
        semaphore_wait_begin(&wait_, slot_, semaphore, HOOK_SITE());                                         \
        AGENT_CLEANUP_PUSH(semaphore_wait_cancelled, &wait_);                                                \
        result_ = call;                                                                                      \
        AGENT_CLEANUP_POP();                                                                                 \
        semaphore_wait_end(&wait_, result_ == 0 ? 0 : errno, flags);                                         \
        return result_;                                                                                      \
    } while (0)

AGENT_EXPORT int sem_wait(sem_t *semaphore) {
    pthread_testcancel();
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_wait(semaphore), 0);
}

AGENT_EXPORT int sem_timedwait(sem_t *semaphore, const struct timespec *limit) {
    if (!take_limit_valid(limit))
        return agent_real.sem_timedwait(semaphore, limit);
    pthread_testcancel();
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_timedwait(semaphore, limit), WAIT_TIMED);
}

AGENT_EXPORT int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *limit) {
    if (!take_clock_valid(clock) || !take_limit_valid(limit))
        return agent_real.sem_clockwait(semaphore, clock, limit);
    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_clockwait(semaphore, clock, limit), WAIT_TIMED);
}

AGENT_EXPORT int sem_trywait(sem_t *semaphore) {
    struct thread_slot *slot = agent_slot();
    int result = agent_real.sem_trywait(semaphore);
    if (slot && result == 0)
        semaphore_taken(semaphore, slot, HOOK_SITE());
    return result;
}

AGENT_EXPORT int sem_post(sem_t *semaphore) {
    HOOK_WAKE(semaphore, LOCK_CLASS_SEMAPHORE, 0, agent_real.sem_post(semaphore));
}

AGENT_EXPORT int sem_init(sem_t *semaphore, int shared, unsigned value) {
    HOOK_INIT(semaphore, LOCK_CLASS_SEMAPHORE, value, agent_real.sem_init(semaphore, shared, value));
}
