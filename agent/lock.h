/* SPDX-License-Identifier: MIT */
/*
 * What the hooks of all primitives share: acquisitions, releases and waits. Counts are in count.h, what
 * threads know of each other's locks in filter.h.
 *
 * While a lock is held nothing is done that can be done before or after: an acquisition that had to wait
 * reads the clock once and makes a few stores, a release that others wait for is stamped after the real
 * call if its beginning was stamped, and every record is written after it.
 */
#ifndef WAITSCOPE_AGENT_LOCK_H
#define WAITSCOPE_AGENT_LOCK_H

#include <errno.h>

#include "agent/agent.h"
#include "agent/count.h"
#include "agent/filter.h"

/* --- held locks --------------------------------------------------------------------------------- */

static inline struct held_lock *lock_held_fill(struct thread_slot *slot, uint32_t place, uint64_t key,
                                               uint64_t site) {
    struct held_lock *held = &slot->held[place];
    atomic_store_explicit(&held->site, site, memory_order_relaxed);
    atomic_store_explicit(&held->key, key, memory_order_release); /* [HELD-READ]: site before key */
    return held;
}

/* Notes a lock as held; NULL: too deep to be kept. The place is reserved before it is filled: a signal
 * handler that locks in between uses the next. flags: 0 or HELD_DUE, then due is to be set at once. */
static inline struct held_lock *lock_held_push(struct thread_slot *slot, uint64_t base, uint64_t site,
                                               uint64_t flags) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    atomic_store_explicit(&slot->held_depth, depth + 1, memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    if (AGENT_UNLIKELY(depth >= SLOT_HELD))
        return NULL;
    return lock_held_fill(slot, depth, base | flags, site);
}

/* Everything that the fast half below does not do: a lock that is not in its place of the table, a hold to be
 * timed, a held-stack that is full. Returns 0. */
AGENT_SLOW int lock_acquired_slow(struct thread_slot *slot, uint64_t base, uint32_t hash, uint64_t site);

/* One instruction: a signal handler that counts for the same lock loses nothing and loses us nothing. */
static inline void lock_use_add(struct lock_count *count) {
    __asm__("incq %0" : "+m"(count->uses));
}

/* Counts an acquisition and notes the lock as held. Returns 0, so that a hook can end with it: nothing
 * is live across the call of the slow half. */
static inline int lock_acquired(struct thread_slot *slot, const void *lock, enum lock_class cls,
                                uint32_t hash, uint64_t site) {
    uint64_t base = lock_base(lock, cls);
    struct lock_count *count = count_place(cls, hash);
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    if (AGENT_UNLIKELY(!count_is_good(count, base) || count_hold_is_timed(count) || depth >= SLOT_HELD))
        return lock_acquired_slow(slot, base, hash, site);
    lock_use_add(count);
    atomic_store_explicit(&slot->held_depth, depth + 1, memory_order_relaxed);
    AGENT_SIGNAL_FENCE();
    lock_held_fill(slot, depth, base, site);
    return 0;
}

/* In a signal handler that interrupted the agent's own bookkeeping: an acquisition is remembered and
 * counted once the interrupted thread leaves it. result: of the call that took the lock. Returns it. */
AGENT_SLOW int lock_acquired_nested(const void *lock, enum lock_class cls, uint64_t site, int result);

/*
 * Brief waits. A lock that is found taken is most often free again before a thread could go to sleep for it.
 * So where a look at the lock's word costs nothing, a waiter looks a few times first: LOCK_BRIEF_TRIES
 * pauses, some 0.1 us. A wait that ends so is counted, its time too, and its hold is timed as after any wait,
 * but no record is written: that would take many times as long as the wait. Where looking does not help it is
 * done ever more rarely.
 */
#define LOCK_BRIEF_TRIES 8U
#define LOCK_BRIEF_BACKOFF_MAX 63U

static inline bool lock_brief_due(void) {
    if (agent_thread.brief_skip == 0)
        return true;
    agent_thread.brief_skip--;
    return false;
}
static inline void lock_brief_over(bool had) {
    if (had)
        agent_thread.brief_backoff = 0;
    else if (agent_thread.brief_backoff < LOCK_BRIEF_BACKOFF_MAX)
        agent_thread.brief_backoff = (uint8_t)(2 * agent_thread.brief_backoff + 1);
    agent_thread.brief_skip = agent_thread.brief_backoff;
}
/* The lock is had after a brief wait since begin; ticks. */
AGENT_SLOW int lock_acquired_brief(struct thread_slot *slot, const void *lock, enum lock_class cls,
                                   uint32_t hash, uint64_t site, uint64_t begin);

/* --- releases ----------------------------------------------------------------------------------- */

/*
 * Before the real call the lock is taken off the held-stack, and little else is done: the clock is read after
 * it, and the model bounds a release by the next holder's acquisition. Whether others wait has to be asked
 * before, for the thread that is woken may come, release and be gone before this one is on again. Where the
 * lock's own word tells, the filter is left alone until after: waiters write to it.
 */

/* Whether the lock was the last taken and its release is to do nothing but lock_release_drop(). */
static inline bool lock_release_is_plain(struct thread_slot *slot, uint64_t base) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed) - 1;
    return AGENT_LIKELY(depth < SLOT_HELD &&
                        atomic_load_explicit(&slot->held[depth].key, memory_order_relaxed) == base);
}

/* Takes the last taken lock off the held-stack. After the real call: a waiter that looked what this thread
 * holds has the line, and the store would hold up the operation that gives the lock. */
static inline void lock_release_drop(struct thread_slot *slot) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed);
    atomic_store_explicit(&slot->held_depth, depth - 1, memory_order_relaxed);
}

/*
 * The lock was released and others wait: tells of it. Returns result.
 *
 * While a waiter is on its way from the kernel, the thread that released the lock may take and release it
 * many times more, and each release would name the same holder for the same wait. A thread that has told
 * of a release of this lock is quiet about the next ones until another wait begins, or for RELEASES_QUIET,
 * and then for ever more, so that the last one told of is at most half as old as the first.
 */
#define RELEASES_QUIET 15U
#define RELEASES_QUIET_MAX 1023U
AGENT_SLOW int lock_release_tell(struct thread_slot *slot, uint64_t base, uint32_t hash, int result);
/* The same for a release that wakes one who sleeps, which is told of always. time: ticks, read before. */
AGENT_SLOW int lock_release_tell_at(struct thread_slot *slot, uint64_t base, uint32_t hash, int result,
                                    uint64_t time);

/* A release under way. */
struct lock_release {
    uint64_t base, site;
    uint64_t due;  /* of the hold (struct held_lock), 0: nothing is to be done for it */
    uint64_t time; /* ticks; 0: nobody was woken, and the clock is read when it is needed */
    uint32_t hash;
    uint32_t before;      /* waiters that the filter knew of before the real call */
    bool is_top;          /* still on the held-stack, and the last taken */
    bool slept;           /* by the lock's word: somebody sleeps, or slept when this thread took it */
    bool slept_elsewhere; /* likewise, and it may be in another process */
};

/* Finds the lock deeper in the held-stack and closes the gap. */
AGENT_SLOW void lock_release_find(struct thread_slot *slot, struct lock_release *release);

/* Before the real call: finds the lock on the held-stack. base and hash are set. */
static inline void lock_release_begin(struct thread_slot *slot, struct lock_release *release) {
    uint32_t depth = atomic_load_explicit(&slot->held_depth, memory_order_relaxed) - 1;
    if (AGENT_LIKELY(depth < SLOT_HELD)) {
        struct held_lock *held = &slot->held[depth];
        uint64_t key = atomic_load_explicit(&held->key, memory_order_relaxed);
        if (AGENT_LIKELY((key & ~HELD_DUE) == release->base)) {
            release->site = atomic_load_explicit(&held->site, memory_order_relaxed);
            release->due = key & HELD_DUE ? held->due : 0;
            release->is_top = true;
            return;
        }
    }
    lock_release_find(slot, release);
}

/* After it: tells and counts what there is to tell. Returns result. */
AGENT_SLOW int lock_release_end(struct thread_slot *slot, struct lock_release *release, int result);

/* Both, around the real call, where only the filter knows who waits. */
AGENT_SLOW int lock_release_around(struct thread_slot *slot, uint64_t base, uint32_t hash, void *lock,
                                   int (*real)(void *lock));

/* The lock is about to be released by a call that sleeps before it returns. */
void lock_release_before(struct thread_slot *slot, uint64_t base, uint32_t hash);

/* Where the thread took this lock, 0 if it does not hold it as far as can be seen. Other threads. */
uint64_t lock_held_site(struct thread_slot *owner, const void *lock);

/* --- waits -------------------------------------------------------------------------------------- */

/* A wait under way. Lives on the waiter's stack; its record lies in the slot's private pages where there is a
 * place, so that it need not be copied while the lock is held. */
struct lock_wait {
    struct record_wait *record; /* &own, or agent_private.pending[place - 1] */
    struct record_wait own;
    uint64_t base, site;
    uint32_t hash;
    uint32_t place; /* 0: none */
};

/*
 * Before the thread blocks: takes the time and the stack, says who owns it, announces the waiter.
 * owner_tid 0: unknown. Not busy before and after.
 */
void lock_wait_begin(struct lock_wait *wait, struct thread_slot *slot, const void *lock, enum lock_class cls,
                     uint32_t hash, uint64_t site, uint32_t owner_tid, uint64_t owner_site);
/* The same for a wait that began earlier; ticks. */
void lock_wait_begin_at(struct lock_wait *wait, struct thread_slot *slot, const void *lock,
                        enum lock_class cls, uint32_t hash, uint64_t site, uint32_t owner_tid,
                        uint64_t owner_site, uint64_t begin);

/* The wait is over and the lock is had; counted and written at the release. */
void lock_wait_acquired(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags);
/* Ends a wait for a lock by the real function's result (0 or an errno value), either way. */
void lock_wait_result(struct lock_wait *wait, struct thread_slot *slot, int result, uint32_t flags);
/* There was no wait after all: nothing is recorded. */
void lock_wait_drop(struct lock_wait *wait, struct thread_slot *slot);
/* The wait is over and nothing is held by it (barrier, semaphore, failure): written now. */
void lock_wait_end(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags);
/* The wait on a condition is over and mutex (a key of generation 0) is held again: written at its release. */
void lock_wait_end_held(struct lock_wait *wait, struct thread_slot *slot, uint32_t flags, uint64_t mutex);
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
