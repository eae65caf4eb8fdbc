/* SPDX-License-Identifier: MIT */
/*
 * What the hooks of all primitives share: keys with generations, per-lock counts, the stack of held
 * locks, and the announcement of waiters.
 *
 * The lock filter is a table of words hashed by address:
 *   bits  0..10  counts initialisations: the generation in a key
 *   bits 11..31  threads that wait for a lock of that hash
 *   bits 32..63  counts waits ever begun
 *   [FILTER-WAITERS]  A waiter adds itself (relaxed) before it blocks. A releaser that does not see
 *                     it yet writes no release record: the wait began at the very moment of the
 *                     release and is answered by the next one. No ordering is needed; the counter is
 *                     a hint, and only ever costs or saves a record.
 *   [FILTER-GENERATION]  Raised (relaxed) by initialisation; a program that uses a lock has ordered
 *                     itself after the lock's initialisation.
 */
#ifndef WAITSCOPE_AGENT_LOCK_H
#define WAITSCOPE_AGENT_LOCK_H

#include <errno.h>

#include "agent/agent.h"

#define LOCK_FILTER_BITS 12
#define LOCK_FILTER_GENERATION ((1ULL << LOCK_KEY_GENERATION_BITS) - 1)
#define LOCK_FILTER_WAITER (1ULL << LOCK_KEY_GENERATION_BITS)
#define LOCK_FILTER_WAITERS_BITS 21
#define LOCK_FILTER_BEGUN (1ULL << 32)

extern _Atomic uint64_t lock_filter[1U << LOCK_FILTER_BITS];

static inline uint32_t lock_hash(const void *lock) {
    return (uint32_t)(((uint64_t)(uintptr_t)lock * 0x9E3779B97F4A7C15ULL) >> 32);
}
static inline _Atomic uint64_t *lock_filter_word(uint32_t hash) {
    return &lock_filter[hash >> (32 - LOCK_FILTER_BITS)];
}
static inline uint64_t lock_filter_load(uint32_t hash) {
    return atomic_load_explicit(lock_filter_word(hash),
                                memory_order_relaxed); /* [FILTER-GENERATION, -WAITERS] */
}
static inline uint64_t lock_key_of(const void *lock, uint64_t word, enum lock_class cls) {
    return (uint64_t)(uintptr_t)lock | (word & LOCK_FILTER_GENERATION) << LOCK_KEY_ADDRESS_BITS |
           (uint64_t)cls << LOCK_KEY_CLASS_SHIFT;
}
static inline uint64_t lock_key(const void *lock, uint32_t hash, enum lock_class cls) {
    return lock_key_of(lock, lock_filter_load(hash), cls);
}
static inline uint32_t lock_waiters_of(uint64_t word) {
    return (uint32_t)(word >> LOCK_KEY_GENERATION_BITS) & ((1U << LOCK_FILTER_WAITERS_BITS) - 1);
}
static inline uint32_t lock_waiters(uint32_t hash) {
    return lock_waiters_of(lock_filter_load(hash)); /* [FILTER-WAITERS] */
}
static inline void lock_waiter_add(uint32_t hash) {
    atomic_fetch_add_explicit(lock_filter_word(hash), LOCK_FILTER_WAITER + LOCK_FILTER_BEGUN,
                              memory_order_relaxed);
}
static inline void lock_waiter_remove(uint32_t hash) {
    atomic_fetch_sub_explicit(lock_filter_word(hash), LOCK_FILTER_WAITER, memory_order_relaxed);
}
/* A new generation of whatever lock lies there; returns its key. */
uint64_t lock_generation_raise(const void *lock, enum lock_class cls);
/* In a forked child: the waiters of the parent's threads are not here. */
void lock_filter_forked(void);

/* --- counts ------------------------------------------------------------------------------------- */

AGENT_COLD struct lock_count *lock_count_replace(struct thread_slot *slot, struct lock_count *place,
                                                 uint64_t key, uint64_t site);

/* Where a lock is counted. The two ways to take a rwlock are counted side by side: the class takes part. */
/* A table of sets of four: a lock whose place is taken may lie in the other three of its set. */
static inline struct lock_count *lock_count_place(struct thread_slot *slot, uint64_t key, uint32_t hash) {
    return &slot_counts(slot)[(hash ^ (uint32_t)(key >> LOCK_KEY_CLASS_SHIFT)) & slot->counts_mask];
}

static inline struct lock_count *lock_count_find(struct thread_slot *slot, uint64_t key, uint32_t hash,
                                                 uint64_t site) {
    struct lock_count *count = lock_count_place(slot, key, hash);
    if (AGENT_UNLIKELY(count->key != key))
        return lock_count_replace(slot, count, key, site);
    return count;
}

/* --- held locks --------------------------------------------------------------------------------- */

#define LOCK_PENDING_NONE 0U
/* A thread's first holds of a lock are all timed, so that rarely taken locks have exact holds. */
#define LOCK_HOLDS_ALL_TIMED 16U

/* Beyond held_depth, since and pending of an entry are 0: a fast acquisition need not store them.
 *
 * Notes a lock as held; NULL: too deep to be kept. The place is reserved before it is filled: a signal
 * handler that locks in between uses the next. */
static inline struct held_lock *lock_held_push(struct thread_slot *slot, uint64_t key, uint64_t site) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    atomic_store_explicit(&slot->held_depth, depth + 1, memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    if (AGENT_UNLIKELY(depth >= SLOT_HELD))
        return NULL;
    struct held_lock *held = &slot->held[depth];
    atomic_store_explicit(&held->site, site, memory_order_relaxed);
    atomic_store_explicit(&held->key, key, memory_order_release); /* [HELD-READ]: site before key */
    return held;
}

/*
 * Which holds are timed: a thread's first LOCK_HOLDS_ALL_TIMED of a lock, then one in hold_period by a
 * multiplicative hash of the count: spread evenly, in step with nothing the program does, and with no state
 * to be kept.
 */
static inline bool lock_hold_is_timed(uint64_t number) {
    return number < LOCK_HOLDS_ALL_TIMED || (uint32_t)number * 0x9E3779B1U < agent_hold_threshold;
}

/* Everything that the fast half below does not do: a lock that is not in the table yet, a hold to be timed,
 * a held-stack that is full. Returns 0. */
AGENT_SLOW int lock_acquired_slow(struct thread_slot *slot, uint64_t key, uint32_t hash, uint64_t site);
/* The same, and says where it is noted as held (NULL: nowhere). */
struct held_lock *lock_acquired_held(struct thread_slot *slot, uint64_t key, uint32_t hash, uint64_t site);

/* Counts an acquisition and notes the lock as held. Returns 0, so that a hook can end with it: nothing
 * is live across the call of the slow half. */
static inline int lock_acquired(struct thread_slot *slot, uint64_t key, uint32_t hash, uint64_t site) {
    struct lock_count *count = lock_count_place(slot, key, hash);
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    uint64_t number = count->acquisitions;
    if (AGENT_UNLIKELY(count->key != key || lock_hold_is_timed(number) || depth >= SLOT_HELD))
        return lock_acquired_slow(slot, key, hash, site);
    count->acquisitions = number + 1;
    lock_held_push(slot, key, site);
    return 0;
}

/* In a signal handler that interrupted the agent's own bookkeeping: an acquisition is remembered and
 * counted once the interrupted thread leaves it. result: of the call that took the lock. Returns it. */
AGENT_SLOW int lock_acquired_nested(const void *lock, enum lock_class cls, uint64_t site, int result);

/* What a release found out before the real call, to be recorded after it. */
struct lock_release {
    uint64_t key, site;
    uint64_t since; /* ticks, 0: not timed */
    uint64_t time;  /* ticks before the real call, 0: to be read after it */
    uint32_t waiters;
    uint32_t begun; /* waits ever begun for locks of this hash */
    uint32_t place; /* of the wait in agent_private.pending, plus one; 0: none */
    uint32_t hash;
    bool contended; /* the acquisition had waited */
};

/*
 * Takes the lock off the held-stack if there is nothing to record about its release; else returns false
 * and changes nothing.
 *
 * While a waiter is on its way from the kernel, the thread that released the lock may take and release it
 * many times more, and each release would name the same holder for the same wait. A thread that has told
 * of a release of this lock is quiet about the next ones until another wait begins, or for RELEASES_QUIET.
 */
#define RELEASES_QUIET 15U

static inline bool lock_release_quiet(struct thread_slot *slot, uint64_t key, uint32_t hash) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    if (AGENT_UNLIKELY(depth - 1 >= SLOT_HELD))
        return false;
    struct held_lock *held = &slot->held[depth - 1];
    uint64_t word = lock_filter_load(hash);
    if (AGENT_UNLIKELY(atomic_load_explicit(&held->key, memory_order_relaxed) != key ||
                       (held->since | held->pending) != 0))
        return false;
    if (AGENT_UNLIKELY(lock_waiters_of(word) != 0)) {
        if (agent_thread.told_key != key || agent_thread.told_begun != (uint32_t)(word >> 32) ||
            agent_thread.told_quiet == 0)
            return false;
        agent_thread.told_quiet--;
    }
    atomic_store_explicit(&held->key, 0, memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
    return true;
}

/* Takes the lock off the held-stack before it is released. Returns true if there is something to record
 * after the release: then *ret_release is filled, else it is untouched. */
bool lock_release_begin(struct thread_slot *slot, uint64_t key, uint32_t hash,
                        struct lock_release *ret_release);
/* After the real release. */
AGENT_SLOW void lock_release_record(struct thread_slot *slot, const struct lock_release *release);
/* Both, around the real call. */
AGENT_SLOW int lock_release_around(struct thread_slot *slot, uint64_t key, uint32_t hash, void *lock,
                                   int (*real)(void *lock));

/* Where the thread took this lock, 0 if it does not hold it as far as can be seen. Other threads. */
uint64_t lock_held_site(struct thread_slot *owner, const void *lock);

/* --- waits -------------------------------------------------------------------------------------- */

/* A wait under way. Lives on the waiter's stack. */
struct lock_wait {
    struct record_wait record;
    uint32_t hash;
    uint64_t site;
};

/*
 * Before the thread blocks: takes the time and the stack, says who owns it, announces the waiter.
 * owner_tid 0: unknown. Not busy before and after.
 */
void lock_wait_begin(struct lock_wait *wait, struct thread_slot *slot, const void *lock, enum lock_class cls,
                     uint32_t hash, uint64_t site, uint32_t owner_tid, uint64_t owner_site);

/* The wait is over and the lock is had: two stores and a clock; written at the release. */
void lock_wait_acquired(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags);
/* Ends a wait for a lock by the real function's result (0 or an errno value), either way. */
void lock_wait_result(struct lock_wait *wait, struct thread_slot *slot, int result, uint32_t flags);
/* There was no wait after all: nothing is recorded. */
void lock_wait_drop(struct lock_wait *wait, struct thread_slot *slot);
/* The wait is over and nothing is held by it (barrier, condition, semaphore, failure): written now. */
void lock_wait_end(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags);
/* Likewise, but written at the release of lock (held by this thread), for conditions. */
void lock_wait_end_later(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags, const void *lock);
/* On cancellation or pthread_exit in the wait; argument: the struct lock_wait. */
void lock_wait_cancelled(void *wait);

/* Writes the waits that are still to be recorded at a release: the thread ends. Busy only. */
void lock_pending_flush(struct thread_slot *slot);

/* Flags of a wait by the real function's result (an errno value). */
static inline uint32_t lock_wait_flags(int result) {
    return result == 0            ? 0
           : result == ETIMEDOUT  ? WAIT_TIMED_OUT
           : result == EOWNERDEAD ? WAIT_OWNER_DEAD
                                  : WAIT_FAILED;
}

/* Initialisation: another lock lies there from now on. Destruction needs no record. */
AGENT_SLOW void lock_init_record(const void *lock, enum lock_class cls, uint32_t initial);

#endif
