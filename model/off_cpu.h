/* SPDX-License-Identifier: MIT */
/*
 * What the scheduler told: stretches that threads were on no CPU, and samples of what they ran. There may be
 * tens of millions, but few different ones: what a stretch has in common with others is its origin, and sums
 * are kept there, so that questions about stacks and wakers need no look at the stretches.
 */
#ifndef WAITSCOPE_MODEL_OFF_CPU_H
#define WAITSCOPE_MODEL_OFF_CPU_H

#include "model/events.h"
#include "model/model.h"
#include "model/store.h"

struct thread_span;

/* Who ran: a thread's index, or a name's with this bit, or MODEL_NONE for nobody. */
#define OFF_RAN_NAME 0x80000000U

struct off_stretch {
    uint64_t begin, duration;
    uint64_t delay; /* of duration, the end of it: ready to run */
    uint32_t origin;
    uint32_t ran;
};

struct off_origin {
    uint32_t thread;
    uint32_t stack, waker_stack; /* of the trace until off_cpu_settle(), then indexes; MODEL_NONE */
    uint32_t waker;              /* index, MODEL_NONE */
    uint16_t syscall;            /* number + 1; 0: in none, or in one with no known number */
    uint8_t cause;               /* enum trace_off_cause */
    uint8_t flags;               /* TRACE_OFF_* */
    uint8_t kind;                /* enum model_off_kind, of the part that is blocked; not of the key */
    uint64_t count, ns, delay;
    uint64_t idle;                   /* of ns - delay: in state MODEL_IDLE */
    uint64_t outside, outside_count; /* of ns - delay: in no wait of the agent's */
};

/* Samples of one thread with the same stacks. */
struct off_sample {
    uint32_t thread, stack, kernel_stack; /* as in off_origin */
    uint64_t ns, count;
};

struct off_cpu {
    struct event_list read; /* until off_cpu_settle() */
    /* By thread: thread t has those from [t] up to before [t + 1], by begin, none inside another, all within
     * its life and the part of it that its schedule tells of. */
    struct off_stretch *stretches;
    uint32_t *thread_first;
    uint32_t count, allotted; /* allotted: items of stretches */
    struct off_origin *origins;
    uint32_t origin_count, origin_room;
    struct hash_set origin_set;
    struct off_sample *samples;
    uint32_t sample_count, sample_room;
    struct hash_set sample_set;
    const char **names; /* of who ran, but belongs to no process here */
    uint32_t name_count, name_room;
    bool known; /* some thread has a schedule */
    /* Where known: the agent's waits, by thread, as thread_spans_find() gives them. */
    struct thread_span *spans;
    uint32_t *span_first;
    uint32_t span_count, span_room;
    /* What model_schedule points to. */
    struct model_schedule *schedules;
    struct model_off_call *calls;
    struct model_ran *ran;
    struct model_waker *wakers;
};

/* Of one thread, as the trace has it. */
struct off_known {
    uint64_t begin, end; /* both 0: nothing is known */
    uint64_t stretches, lost, lost_ns;
};

/* The index of the origin that has the key's members up to flags, made if there is none. Returns 0, -ENOMEM.
 */
int off_origin_get(struct model *model, const struct off_origin *key, uint32_t *ret_index);
/* The same of samples: thread and stacks are the key. */
int off_sample_get(struct model *model, const struct off_sample *key, uint32_t *ret_index);

/* Puts stretches in order and leaves out what cannot be; such are counted in info.bad_rows. Returns 0,
 * -ENOMEM. */
int off_cpu_settle(struct model *model);
/* Takes the stack of the agent's wait, which is exact in any code, for stretches of a thread that begin in
 * one and have none of their own, or one that was cut. spans are the thread's. Returns 0, -ENOMEM. */
int off_cpu_join(struct model *model, uint32_t thread, const struct thread_span *spans, uint32_t count);
void off_cpu_free(struct off_cpu *off_cpu);

/* Whether somebody or something ended these stretches. */
static inline bool off_origin_was_woken(const struct off_origin *origin) {
    return origin->count > 0 && origin->cause != TRACE_OFF_PREEMPTED && !(origin->flags & TRACE_OFF_OPEN);
}
/* Who that was (schedule.c), with the sums of the origin. */
struct model_waker off_origin_waker(const struct model *model, const struct off_origin *origin);

#endif
