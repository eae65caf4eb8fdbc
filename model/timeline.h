/* SPDX-License-Identifier: MIT */
/*
 * A thread's life, instant by instant, from two witnesses: the agent knows what it waits for, the scheduler
 * whether it has a CPU. An instant is, the first that fits:
 *
 *   RUNNABLE   in the delay of a stretch off a CPU: it could go on, also where the agent's wait is not over
 *   the wait's in a wait of the agent's: lock wait, blocked, idle. On a CPU or off it: a spin lock is waited
 * for on a CPU, and so is any for a moment before and after BLOCKED    off a CPU, for what is in the kernel
 * (enum model_off_kind); IDLE in sleep and poll RUNNING    within what the scheduler tells of UNKNOWN    else
 *
 * What was lost on the way is not here: it looks like running.
 */
#ifndef WAITSCOPE_MODEL_TIMELINE_H
#define WAITSCOPE_MODEL_TIMELINE_H

#include "model/internal.h"

struct timeline {
    const struct thread_span *spans;
    const struct off_stretch *stretches;
    const struct off_origin *origins;
    uint32_t span_count, stretch_count;
    uint64_t begin, end;             /* of the life */
    uint64_t known_begin, known_end; /* what the scheduler tells of; equal: nothing */
};

struct timeline_piece {
    uint64_t begin, end; /* never empty */
    enum model_state state;
    const struct thread_span *span;    /* the wait of the agent's that it lies in; NULL */
    const struct off_stretch *stretch; /* the same off the CPU; NULL */
};

struct timeline_cursor {
    const struct timeline *line;
    uint64_t at;
    uint32_t span, stretch; /* the first that is not over at `at` */
};

/* spans are the thread's; borrowed, as all else from the model. */
struct timeline timeline_of(const struct model *model, uint32_t thread, const struct thread_span *spans,
                            uint32_t span_count);
/* From time on, or from the life's begin if that is later. */
struct timeline_cursor timeline_seek(const struct timeline *line, uint64_t time);
/* False at the end of the life. Pieces follow one another without a gap. */
bool timeline_next(struct timeline_cursor *cursor, struct timeline_piece *ret_piece);

/* What blocked time of a kind counts as. */
static inline enum model_state off_kind_state(unsigned kind) {
    return kind == MODEL_OFF_SLEEP || kind == MODEL_OFF_POLL ? MODEL_IDLE : MODEL_BLOCKED;
}

#endif
