/* SPDX-License-Identifier: MIT */
/*
 * The agent's inside: what every hook uses. Nothing here allocates, locks, prints or aborts, and
 * nothing is visible to the target.
 *
 * How a hook runs
 *   1. agent_slot() gives this thread's slot if the agent is on and the thread is not inside the
 *      agent already; else agent_slot_prepare() gets one, or NULL: then the hook only forwards.
 *   2. The fast path (nobody has to wait) counts and notes the lock as held: no clock, no record.
 *   3. A slow path is bracketed by agent_busy_enter()/agent_busy_leave(), so that a signal handler
 *      that locks forwards without touching half-written state. The thread is not busy while it
 *      is blocked in the real function.
 *   4. Records of a wait for a lock are written when the lock is released, never while it is held.
 */
#ifndef WAITSCOPE_AGENT_AGENT_H
#define WAITSCOPE_AGENT_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>
#include <time.h>
#include <x86intrin.h>

#include "agent/hook_table.h"
#include "agent/unwind.h"
#include "agent/visibility.h"
#include "format/hello.h"
#include "format/record.h"
#include "format/slab.h"

/* Another C library has none of these, and the agent must be loadable there (resolve.c). */
#pragma weak __libc_single_threaded
#pragma weak __pthread_register_cancel
#pragma weak __pthread_unregister_cancel

/* Orders this thread's stores against its own signal handlers. */
#define AGENT_SIGNAL_FENCE() atomic_signal_fence(memory_order_seq_cst)

/* --- the thread ---------------------------------------------------------------------------------- */

/* Initial-exec TLS is taken from the stack of threads at PTHREAD_STACK_MIN: keep it small. */
struct agent_thread {
    struct thread_slot *fast;  /* the slot, or NULL while busy, off, or not yet prepared */
    struct thread_slot *slot;  /* the slot, or NULL if there is none */
    struct lock_count *counts; /* the table in use, see count.h */
    uint32_t counts_mask;
    uint32_t counts_evicted; /* until the large table is taken into use */
    uint32_t ring_bytes;
    uint32_t random;
    bool busy;
    _Atomic uint8_t
        nested_count; /* entries of agent_private.nested; handlers and the thread they interrupt */
    bool refused;     /* no slot could be had; do not try again */
    uint8_t brief_skip, brief_backoff; /* see lock_brief_due() */
    uint32_t cost_countdown;
    uint64_t told_base;              /* the lock whose release this thread told of last */
    uint32_t told_begun;             /* waits begun for it by then */
    uint16_t told_quiet;             /* further releases to be quiet about */
    uint16_t told_period;            /* and how many they were at first */
    uint64_t busy_since;             /* ticks, when this slow path is timed */
    uintptr_t stack_low, stack_high; /* readable stack; both 0: unknown */
};
_Static_assert(sizeof(struct agent_thread) <= 160, "initial-exec TLS is dear");

extern __thread struct agent_thread agent_thread AGENT_HIDDEN __attribute__((tls_model("initial-exec")));

/* What a slot's private pages hold. Only the slot's thread uses it. */
#define AGENT_SEEN_STACKS 128U
#define AGENT_NESTED_MAX 16U
#define AGENT_PENDING_MAX 8U
struct agent_private {
    uint64_t pthread; /* pthread_self() */
    union {
        void *(*posix)(void *);
        thrd_start_t c11;
    } routine; /* what a created thread is to run */
    void *argument;
    uint64_t stack_bytes;
    uint32_t stacks_taken;     /* until the memo is taken into use */
    uint64_t modules_seen[16]; /* a bit for each place of the module table, see stack.c */
    /* Waits under way or to be written at the release of what they waited for. key 0: a free place. */
    struct record_wait pending[AGENT_PENDING_MAX];
    uint64_t pending_sites[AGENT_PENDING_MAX];
    uint64_t pending_words[AGENT_PENDING_MAX]; /* of the filter, once the wait was announced */
    uint64_t seen[AGENT_SEEN_STACKS];          /* stacks this thread has defined in its ring */
    /* Last, for what is rarely used may lie in a second page; the memo, for only threads that often wait
     * have one. */
    struct {
        uint64_t base, site;
        uint32_t hash;
    } nested[AGENT_NESTED_MAX]; /* acquisitions by signal handlers that interrupted the agent */
    struct unwind_memo memo;
};
_Static_assert(SLOT_PRIVATE_OFFSET + offsetof(struct agent_private, nested) <= SLOT_FIRST_BYTES,
               "what every thread uses is in the slot's first page");
_Static_assert(sizeof(struct agent_private) <= SLOT_COUNTS_OFFSET - SLOT_PRIVATE_OFFSET &&
                   AGENT_PENDING_MAX <= HELD_PENDING_MAX,
               "private pages");

static inline struct agent_private *agent_private(struct thread_slot *slot) {
    return (struct agent_private *)((char *)slot + SLOT_PRIVATE_OFFSET);
}

AGENT_COLD struct thread_slot *agent_slot_prepare(void);

static inline struct thread_slot *agent_slot(void) {
    struct thread_slot *slot = agent_thread.fast;
    if (AGENT_UNLIKELY(!slot))
        return agent_slot_prepare();
    return slot;
}

void agent_busy_timing_begin(void);
void agent_busy_timing_end(void);

static inline void agent_busy_enter(void) {
    agent_thread.busy = true;
    agent_thread.fast = NULL;
    AGENT_SIGNAL_FENCE();
    if (AGENT_UNLIKELY(agent_thread.cost_countdown-- == 0))
        agent_busy_timing_begin();
}

void agent_nested_apply(void);

static inline void agent_busy_leave(void) {
    if (AGENT_UNLIKELY(agent_thread.busy_since != 0))
        agent_busy_timing_end();
    AGENT_SIGNAL_FENCE();
    agent_thread.fast = agent_thread.slot;
    agent_thread.busy = false;
    AGENT_SIGNAL_FENCE();
    if (AGENT_UNLIKELY(atomic_load_explicit(&agent_thread.nested_count, memory_order_relaxed) != 0))
        agent_nested_apply();
}

/* --- the process --------------------------------------------------------------------------------- */

enum agent_state { AGENT_NONE, AGENT_STARTING, AGENT_ON, AGENT_OFF };
extern _Atomic uint32_t agent_state; /* [AGENT-STATE] ON is stored with release after all set-up */
extern uint32_t agent_clock_kind AGENT_HIDDEN;
extern uint32_t agent_hold_period AGENT_HIDDEN;

/* Connects and makes the first slab. Any thread; one does it, the others go on unrecorded. */
void agent_start(void);

/* A slot for a thread, LIVE or TAKEN as asked; NULL counts a loss. From slab.c. */
struct thread_slot *agent_slot_take(void);
void agent_slot_publish(struct thread_slot *slot, uint32_t tid);
void agent_slot_abandon(struct thread_slot *slot); /* a TAKEN slot that no thread will use */
/* First slab: makes and announces it. Returns 0 or a negative errno. */
int agent_slab_first(uint64_t start_ticks, uint64_t start_ns, uint32_t flags);
void agent_slab_setup_cost(uint64_t ns);
/* Makes one slab more than is needed now, if it can: later the kernel may be out of reach. Busy only. */
void agent_slab_spare(void);
void agent_slabs_forget(void);                                    /* in a forked child */
extern const _Atomic uint32_t *agent_recording_flag AGENT_HIDDEN; /* the first slab's, or that of none */
static inline bool agent_recording(void) {
    return atomic_load_explicit(agent_recording_flag, memory_order_relaxed) != 0; /* [RECORDING] */
}
void agent_lost_count(enum loss_reason reason);

/* Announces a slab by its descriptor. connect.c. Returns 0 or a negative errno. */
int agent_hello_send(int slab_fd, const struct image_id *image, uint32_t slab_index);
/* Tells the collector why there will be no slab. */
void agent_hello_refuse(enum hello_refusal refusal, int error);
/* Where the collector listens; starts one if there is none. Returns 0 or a negative errno. */
int agent_connect_find(char *const *environment, uint32_t *flags);

static inline uint64_t agent_ticks(void) {
    if (AGENT_LIKELY(agent_clock_kind == CLOCK_KIND_TSC))
        return __rdtsc();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

uint32_t agent_tid(void);

/* --- records ------------------------------------------------------------------------------------- */

/* Space for a record in this thread's ring, header filled in; NULL: counted as lost. Busy only. */
void *agent_record_reserve(struct thread_slot *slot, enum record_kind kind, uint32_t bytes);
void agent_record_commit(struct thread_slot *slot);

/* Counts a record that could not even be tried. */
void agent_record_lost(struct thread_slot *slot, enum loss_reason reason);

void agent_record_wait(struct thread_slot *slot, const struct record_wait *wait);
void agent_record_release(struct thread_slot *slot, uint64_t key, uint64_t time, uint64_t since,
                          uint64_t stack, uint32_t flags, uint32_t waiters);
void agent_record_lock_init(struct thread_slot *slot, uint64_t key, uint64_t stack, uint32_t initial);

/* The caller's stack, defined in this thread's ring: its hash, 0 if it could not be had. Frames of
 * the agent itself are left out. Busy only. */
uint64_t agent_stack(struct thread_slot *slot);
/* Defines the module that address lies in, if it is a new one. Busy only. */
void agent_module_note(struct thread_slot *slot, uintptr_t address);
/* Code was unmapped or mapped: modules are defined anew. Any thread. */
void agent_modules_changed(void);

/* --- which thread ---------------------------------------------------------------------------------- */

/* The live slot of a thread of this process, or NULL. Racy: a hint. */
struct thread_slot *agent_directory_tid(uint32_t tid);
struct thread_slot *agent_directory_pthread(uint64_t pthread);
void agent_directory_add(struct thread_slot *slot, uint32_t tid, uint64_t pthread);
void agent_directory_clear(void);

#endif
