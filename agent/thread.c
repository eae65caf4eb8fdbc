/* SPDX-License-Identifier: MIT */
/*
 * Threads: how each gets its slot, and the hooks around creation, end, join and naming.
 *
 * A created thread begins in a routine of ours that sets up its slot. It takes no pthread key and no
 * destructor: a target may count on all of PTHREAD_KEYS_MAX. A cleanup handler sees the thread end by
 * return, pthread_exit and cancellation alike.
 */
#include "agent/thread.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "agent/annotate.h"
#include "agent/cleanup.h"
#include "agent/confine.h"
#include "agent/lock.h"
#include "agent/syscall.h"

__thread struct agent_thread agent_thread __attribute__((tls_model("initial-exec")));

uint32_t agent_tid(void) {
    return (uint32_t)AGENT_SYSCALL_0(SYS_gettid);
}

/* --- the directory -------------------------------------------------------------------------------- */

#define DIRECTORY_BITS 14
#define DIRECTORY_MASK ((1U << DIRECTORY_BITS) - 1)

/* Hints, one thread a place, the latest wins. [DIRECTORY] release and acquire: who finds a slot sees
 * its tid. Slots are never unmapped while the process lives. */
#define DIRECTORY_ALIGNED __attribute__((aligned(4096))) /* pages of their own, see directory_empty() */
static DIRECTORY_ALIGNED _Atomic(struct thread_slot *) directory_tids[DIRECTORY_MASK + 1];
static DIRECTORY_ALIGNED _Atomic(struct thread_slot *) directory_pthreads[DIRECTORY_MASK + 1];

static uint32_t pthread_place(uint64_t pthread) {
    return (uint32_t)((pthread * 0x9E3779B97F4A7C15ULL) >> (64 - DIRECTORY_BITS));
}

void agent_directory_add(struct thread_slot *slot, uint32_t tid, uint64_t pthread) {
    agent_private(slot)->pthread = pthread;
    atomic_store_explicit(&directory_tids[tid & DIRECTORY_MASK], slot,
                          memory_order_release); /* [DIRECTORY] */
    atomic_store_explicit(&directory_pthreads[pthread_place(pthread)], slot, memory_order_release);
}

/* A pthread_t is used again as soon as its thread is joined. */
static bool slot_is_live(struct thread_slot *slot) {
    return atomic_load_explicit(&slot->state, memory_order_acquire) == SLOT_LIVE; /* [SLOT-STATE] */
}

struct thread_slot *agent_directory_tid(uint32_t tid) {
    struct thread_slot *slot =
        atomic_load_explicit(&directory_tids[tid & DIRECTORY_MASK], memory_order_acquire); /* [DIRECTORY] */
    return slot && slot->tid == tid && slot_is_live(slot) ? slot : NULL;
}

struct thread_slot *agent_directory_pthread(uint64_t pthread) {
    struct thread_slot *slot = atomic_load_explicit(&directory_pthreads[pthread_place(pthread)],
                                                    memory_order_acquire); /* [DIRECTORY] */
    return slot && agent_private(slot)->pthread == pthread && slot_is_live(slot) ? slot : NULL;
}

/* One call instead of a page fault for each page that is looked at. Refused for locked memory. */
static void directory_empty(_Atomic(struct thread_slot *) directory[DIRECTORY_MASK + 1]) {
    if (AGENT_SYSCALL_3(SYS_madvise, directory, (DIRECTORY_MASK + 1) * sizeof(*directory), MADV_DONTNEED) ==
        0)
        return;
    for (uint32_t i = 0; i <= DIRECTORY_MASK; i++)
        if (atomic_load_explicit(&directory[i], memory_order_relaxed))
            atomic_store_explicit(&directory[i], NULL, memory_order_relaxed);
}

void agent_directory_clear(void) {
    directory_empty(directory_tids);
    directory_empty(directory_pthreads);
}

/* --- a thread's slot ------------------------------------------------------------------------------- */

#define COST_TICKS_MAX 30000U /* about 10 microseconds: beyond, the thread was not running all the time */
#define COST_PERIOD 64U       /* one slow path in so many is timed, on average and at random */

void agent_busy_timing_begin(void) {
    agent_thread.random = agent_thread.random * 1664525U + 1013904223U;
    agent_thread.cost_countdown = (uint32_t)(((uint64_t)agent_thread.random * (2 * COST_PERIOD - 1)) >> 32);
    agent_thread.busy_since = agent_ticks();
}

void agent_busy_timing_end(void) {
    struct thread_slot *slot = agent_thread.slot;
    uint64_t ticks = agent_ticks() - agent_thread.busy_since;
    if (slot && ticks < COST_TICKS_MAX) {
        slot->cost_ticks += ticks;
        slot->cost_samples++;
        slot->cost_slow_paths += COST_PERIOD;
    }
    agent_thread.busy_since = 0;
}

/* glibc stores the owner's tid in a mutex, and has it without asking the kernel. */
static uint32_t tid_unasked(void) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    agent_real.pthread_mutex_lock(&mutex);
    uint32_t tid = (uint32_t)mutex.__data.__owner;
    agent_real.pthread_mutex_unlock(&mutex);
    return tid;
}

/* glibc puts a thread's control block, which pthread_self() points to, at the top of its stack. */
static void stack_bounds_set(uint64_t stack_bytes, bool main_thread) {
    extern void *__libc_stack_end __attribute__((weak));
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    uint64_t high = (uint64_t)pthread_self();
    if (main_thread) {
        struct rlimit limit = {8 << 20, 0};
        AGENT_SYSCALL_4(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit);
        stack_bytes = limit.rlim_cur > 256ULL << 20 ? 256ULL << 20 : limit.rlim_cur;
        high = &__libc_stack_end ? (uint64_t)(uintptr_t)__libc_stack_end : 0;
    }
    if (high > here && high - here < stack_bytes) {
        agent_thread.stack_high = high;
        agent_thread.stack_low = high - stack_bytes;
    }
}

/* The thread is busy all the while: a signal handler that locks must not make it a second slot. */
static void thread_begin(struct thread_slot *slot, uint64_t stack_bytes) {
    bool kernel = agent_kernel_enter();
    uint32_t tid = kernel ? agent_tid() : tid_unasked();
    agent_thread.busy = true;
    AGENT_SIGNAL_FENCE();
    agent_thread.ring_bytes = slot->ring_bytes;
    slot->counts_mask = SLOT_COUNTS_SMALL - 1;
    agent_thread.counts = slot_counts_small(slot);
    agent_thread.counts_mask = SLOT_COUNTS_SMALL - 1;
    agent_thread.counts_evicted = 0;
    agent_thread.random = tid * 2654435761U;
    agent_thread.cost_countdown = (agent_thread.random >> 16) % COST_PERIOD;
    stack_bounds_set(stack_bytes, kernel && stack_bytes == 0 && AGENT_SYSCALL_0(SYS_getpid) == (long)tid);
    if (kernel) {
        AGENT_SYSCALL_2(SYS_prctl, PR_GET_NAME, slot->name);
        agent_kernel_leave();
    }
    agent_slot_publish(slot, tid);
    agent_directory_add(slot, tid, (uint64_t)pthread_self());
    agent_thread.slot = slot;
    agent_busy_leave();
}

AGENT_COLD struct thread_slot *agent_slot_prepare(void) {
    agent_resolve();
    if (agent_thread.busy || agent_thread.refused) /* busy: a signal handler that interrupted the agent */
        return NULL;
    agent_start();
    uint32_t state = atomic_load_explicit(&agent_state, memory_order_acquire); /* [AGENT-STATE] */
    if (state != AGENT_ON) {
        agent_thread.refused = state == AGENT_OFF;
        return NULL;
    }
    agent_thread.busy = true;
    AGENT_SIGNAL_FENCE();
    struct thread_slot *slot = agent_thread.slot;
    if (slot) { /* a signal handler came in between and got one */
        agent_busy_leave();
        return slot;
    }
    slot = agent_slot_take();
    if (slot) {
        thread_begin(slot, 0);
    } else {
        agent_thread.refused = true;
        agent_lost_count(LOSS_NO_SLOT);
        agent_thread.busy = false;
    }
    return slot;
}

static void cpu_time_note(struct thread_slot *slot) {
    struct timespec cpu;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) == 0)
        slot->cpu_ns = (uint64_t)cpu.tv_sec * 1000000000ULL + (uint64_t)cpu.tv_nsec;
}

void agent_thread_end(struct thread_slot *slot) {
    if (slot->end_ticks != 0)
        return;
    agent_busy_enter();
    lock_pending_flush(slot);
    annotate_regions_end(slot);
    if (agent_kernel_enter()) {
        AGENT_SYSCALL_2(SYS_prctl, PR_GET_NAME, slot->name);
        cpu_time_note(slot);
        agent_kernel_leave();
    }
    slot->end_ticks = agent_ticks();
    agent_busy_leave();
    atomic_store_explicit(&slot->state, SLOT_ENDING, memory_order_release); /* [SLOT-STATE] */
}

/* exit() was called, by whatever thread: what this one still has to say. Its slot stays LIVE, exit
 * handlers may go on locking. */
__attribute__((destructor)) static void agent_unload(void) {
    struct thread_slot *slot = agent_thread.fast;
    if (!slot)
        return;
    agent_busy_enter();
    lock_pending_flush(slot);
    annotate_regions_end(slot);
    if (agent_kernel_enter()) {
        cpu_time_note(slot);
        agent_kernel_leave();
    }
    agent_busy_leave();
}

/* --- creation -------------------------------------------------------------------------------------- */

static void routine_end(void *slot) {
    agent_thread_end(slot);
}

struct routine_start {
    struct thread_slot *slot;
    void *function, *argument;
};

/* The new thread takes over the slot that its creator prepared. */
static struct routine_start routine_enter(struct thread_slot *slot) {
    struct agent_private *private = agent_private(slot);
    struct routine_start start = {slot, *(void **)&private->routine, private->argument};
    agent_thread.busy = true;
    AGENT_SIGNAL_FENCE();
    if (!agent_thread.slot) {
        agent_thread.slot = slot; /* from here on a handler's acquisitions have a place to wait in */
        thread_begin(slot, private->stack_bytes);
        return start;
    }
    /* A signal handler came first and gave the thread a slot: that one it keeps. */
    start.slot = agent_thread.slot;
    start.slot->start_routine = slot->start_routine;
    start.slot->creator_tid = slot->creator_tid;
    start.slot->creator_stack = slot->creator_stack;
    stack_bounds_set(private->stack_bytes, false);
    agent_slot_abandon(slot);
    agent_busy_leave();
    return start;
}

static void *routine_posix(void *argument) {
    struct routine_start start = routine_enter(argument);
    void *value;
    AGENT_CLEANUP_PUSH(routine_end, start.slot);
    value = ((void *(*)(void *))start.function)(start.argument);
    AGENT_CLEANUP_POP();
    routine_end(start.slot);
    return value;
}

static int routine_c11(void *argument) {
    struct routine_start start = routine_enter(argument);
    int value;
    AGENT_CLEANUP_PUSH(routine_end, start.slot);
    value = ((int (*)(void *))start.function)(start.argument);
    AGENT_CLEANUP_POP();
    routine_end(start.slot);
    return value;
}

static uint64_t stack_bytes_of(const pthread_attr_t *attr) {
    size_t bytes = 0;
    pthread_attr_t defaults;
    if (!attr) {
        if (pthread_attr_init(&defaults) != 0)
            return 0;
        pthread_attr_getstacksize(&defaults, &bytes);
        pthread_attr_destroy(&defaults);
        return bytes;
    }
    pthread_attr_getstacksize(attr, &bytes);
    return bytes;
}

/* A slot for a thread that slot's thread is about to create, NULL if there is none: then the thread itself
 * asks again, and counts as lost where there is none still. */
static struct thread_slot *child_prepare(struct thread_slot *slot, void *routine, void *argument,
                                         uint64_t stack_bytes) {
    agent_busy_enter();
    struct thread_slot *child = agent_slot_take();
    if (child) {
        struct agent_private *private = agent_private(child);
        *(void **)&private->routine = routine;
        private->argument = argument;
        private->stack_bytes = stack_bytes;
        child->start_routine = (uint64_t)(uintptr_t)routine;
        child->creator_tid = slot->tid;
        child->creator_stack = agent_stack(slot);
        agent_module_note(slot, (uintptr_t)routine);
    } /* else the thread tries for itself, and counts the loss if there is none for it then either */
    agent_busy_leave();
    return child;
}

AGENT_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*routine)(void *),
                                void *argument) {
    struct thread_slot *slot = agent_slot();
    struct thread_slot *child =
        slot ? child_prepare(slot, (void *)(uintptr_t)routine, argument, stack_bytes_of(attr)) : NULL;
    if (!child)
        return agent_real.pthread_create(thread, attr, routine, argument);
    int ret = agent_real.pthread_create(thread, attr, routine_posix, child);
    if (ret != 0)
        agent_slot_abandon(child);
    return ret;
}

AGENT_EXPORT int thrd_create(thrd_t *thread, thrd_start_t routine, void *argument) {
    struct thread_slot *slot = agent_slot();
    struct thread_slot *child =
        slot ? child_prepare(slot, (void *)(uintptr_t)routine, argument, stack_bytes_of(NULL)) : NULL;
    if (!child)
        return agent_real.thrd_create(thread, routine, argument);
    int ret = agent_real.thrd_create(thread, routine_c11, child);
    if (ret != thrd_success)
        agent_slot_abandon(child);
    return ret;
}

/* A thread that did not begin in our routine (main above all) has no cleanup handler of ours. */
AGENT_EXPORT void pthread_exit(void *value) {
    struct thread_slot *slot = agent_slot();
    if (slot && slot->start_routine == 0)
        agent_thread_end(slot);
    agent_real.pthread_exit(value);
    __builtin_unreachable();
}

AGENT_EXPORT void thrd_exit(int value) {
    struct thread_slot *slot = agent_slot();
    if (slot && slot->start_routine == 0)
        agent_thread_end(slot);
    agent_real.thrd_exit(value);
    __builtin_unreachable();
}

/* --- join ------------------------------------------------------------------------------------------ */

/* Runs call, a join of thread, as a wait that ends when the thread does. */
#define JOIN_RECORDED(thread, call)                                                                          \
    do {                                                                                                     \
        struct lock_wait wait_;                                                                              \
        int result_;                                                                                         \
        if (!join_begin(&wait_, (uint64_t)(thread), (uint64_t)(uintptr_t)__builtin_return_address(0)))       \
            return call;                                                                                     \
        AGENT_CLEANUP_PUSH(lock_wait_cancelled, &wait_);                                                     \
        result_ = call;                                                                                      \
        AGENT_CLEANUP_POP();                                                                                 \
        lock_wait_end(&wait_, agent_thread.slot, lock_wait_flags(result_));                                  \
        return result_;                                                                                      \
    } while (0)

static AGENT_SLOW bool join_begin(struct lock_wait *wait, uint64_t thread, uint64_t site) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return false;
    const void *object = (const void *)(uintptr_t)thread;
    struct thread_slot *joined = agent_directory_pthread(thread);
    lock_wait_begin(wait, slot, object, LOCK_CLASS_JOIN, lock_hash(object), site, joined ? joined->tid : 0,
                    0);
    return true;
}

AGENT_EXPORT int pthread_join(pthread_t thread, void **value) {
    JOIN_RECORDED(thread, agent_real.pthread_join(thread, value));
}

AGENT_EXPORT int pthread_timedjoin_np(pthread_t thread, void **value, const struct timespec *limit) {
    JOIN_RECORDED(thread, agent_real.pthread_timedjoin_np(thread, value, limit));
}

AGENT_EXPORT int pthread_clockjoin_np(pthread_t thread, void **value, clockid_t clock,
                                      const struct timespec *limit) {
    JOIN_RECORDED(thread, agent_real.pthread_clockjoin_np(thread, value, clock, limit));
}

AGENT_EXPORT int thrd_join(thrd_t thread, int *value) {
    JOIN_RECORDED(thread, agent_real.thrd_join(thread, value));
}

AGENT_EXPORT int pthread_tryjoin_np(pthread_t thread, void **value) {
    agent_slot();
    return agent_real.pthread_tryjoin_np(thread, value);
}

/* --- names ----------------------------------------------------------------------------------------- */

static void name_record(struct thread_slot *slot, pthread_t thread, const char *name) {
    struct thread_slot *named =
        pthread_equal(thread, pthread_self()) ? slot : agent_directory_pthread((uint64_t)thread);
    if (!named)
        return;
    agent_busy_enter();
    struct record_thread_name *record = agent_record_reserve(slot, RECORD_THREAD_NAME, sizeof(*record));
    if (record) {
        record->tid = named->tid;
        record->reserved = 0;
        memset(record->name, 0, sizeof(record->name));
        memcpy(record->name, name, strnlen(name, THREAD_NAME_BYTES - 1));
        agent_record_commit(slot);
    }
    agent_busy_leave();
}

AGENT_EXPORT int pthread_setname_np(pthread_t thread, const char *name) {
    struct thread_slot *slot = agent_slot();
    int ret = agent_real.pthread_setname_np(thread, name);
    if (slot && ret == 0)
        name_record(slot, thread, name);
    return ret;
}
