/* SPDX-License-Identifier: MIT */
/*
 * One frame up, by its row: what the plain walk (unwind.c) and the memo (unwind_memo.c) share. Inline, since
 * a frame is a few nanoseconds.
 */
#ifndef WAITSCOPE_AGENT_UNWIND_STEP_H
#define WAITSCOPE_AGENT_UNWIND_STEP_H

#include <stdatomic.h>

#include "agent/unwind.h"
#include "agent/unwind_row.h"
#include "agent/visibility.h"

/*
 * The row cache: one word an entry, so that a racing reader sees a whole entry or another whole one.
 * The index and the tag together are the pc: index = (pc ^ pc >> bits) & mask, tag = pc >> bits.
 *   bits 0..2 kind, 3..18 cfa, 19..28 bp, 29..62 tag, 63 displaced
 * An entry whose place another pc wants moves to the neighbour, index ^ 1, marked as displaced.
 * [ROW-CACHE] relaxed on both sides: an entry carries all of its data itself.
 */
#define UNWIND_CACHE_BITS 13
#define UNWIND_CACHE_ENTRIES (1U << UNWIND_CACHE_BITS)
#define UNWIND_TAG_SHIFT 29
#define UNWIND_DISPLACED (1ULL << 63)

extern AGENT_HIDDEN _Atomic uint64_t unwind_row_cache[UNWIND_CACHE_ENTRIES];
/* Raised after rows were forgotten. [UNWIND-GENERATION] release there, acquire in unwind_memo_take(): whoever
 * sees the new generation finds none of the old rows. */
extern AGENT_HIDDEN _Atomic uint32_t unwind_generation;

uint64_t unwind_row_miss(uint64_t pc);

static inline uint64_t unwind_row_index(uint64_t pc) {
    return (pc ^ pc >> UNWIND_CACHE_BITS) & (UNWIND_CACHE_ENTRIES - 1);
}

static inline uint64_t unwind_row_find(uint64_t pc) {
    _Atomic uint64_t *place = &unwind_row_cache[(pc ^ pc >> UNWIND_CACHE_BITS) & (UNWIND_CACHE_ENTRIES - 1)];
    uint64_t packed = atomic_load_explicit(place, memory_order_relaxed); /* [ROW-CACHE] */
    if (__builtin_expect(packed >> UNWIND_TAG_SHIFT == pc >> UNWIND_CACHE_BITS && packed, 1))
        return packed;
    return unwind_row_miss(pc);
}

static inline int64_t unwind_row_cfa(uint64_t row) {
    return (int64_t)(int16_t)(row >> 3) * 8;
}
static inline int64_t unwind_row_bp(uint64_t row) {
    return ((int64_t)(row << 35) >> 54) * 8;
}

/* Which words a walk may read: those in [low, high) directly; else the kernel is asked. */
struct unwind_bounds {
    uint64_t low, high;
    bool direct;
};

static inline struct unwind_bounds unwind_bounds_at(const struct unwind_stack *stack, uint64_t sp) {
    return (struct unwind_bounds){
        .low = sp, .high = stack->high, .direct = sp >= stack->low && sp < stack->high};
}

/* Where a signal interrupted code: what that has taken off its stack still lies in the red zone (System V ABI
 * AMD64 3.2.2), and between the pops at a function's end rows name words there. */
#define UNWIND_RED_ZONE_BYTES 128U
static inline struct unwind_bounds unwind_bounds_interrupted(const struct unwind_stack *stack, uint64_t sp) {
    struct unwind_bounds bounds = unwind_bounds_at(stack, sp);
    if (bounds.direct)
        bounds.low = sp - stack->low > UNWIND_RED_ZONE_BYTES ? sp - UNWIND_RED_ZONE_BYTES : stack->low;
    return bounds;
}

bool unwind_word_read_indirect(uint64_t address, uint64_t *ret_word);

static inline bool unwind_word_read(const struct unwind_bounds *bounds, uint64_t address,
                                    uint64_t *ret_word) {
    if (address & 7)
        return false;
    if (__builtin_expect(bounds->direct, 1)) {
        if (address < bounds->low || address > bounds->high - 8)
            return false;
        *ret_word = *(const uint64_t *)(uintptr_t)address;
        return true;
    }
    return unwind_word_read_indirect(address, ret_word);
}

/* All that a row needs of a frame. */
struct unwind_state {
    uint64_t pc, sp, bp;
    bool is_return; /* pc is a return address: its call is at pc - 1 */
};

static inline uint64_t unwind_state_row(const struct unwind_state *state) {
    return unwind_row_find(state->is_return ? state->pc - 1 : state->pc);
}

enum unwind_stepped {
    UNWIND_ON,       /* the state is the caller's now */
    UNWIND_COMPLETE, /* it was the thread's first frame */
    UNWIND_STUCK,    /* there is no telling who called */
    UNWIND_BEYOND,   /* a row cannot say, unwind_full.h may */
};

/* CFI_ROW_RSP and CFI_ROW_RBP, nearly all there is, on a stack that may be read directly. Which of the two it
 * is and whether rbp was saved is different from frame to frame and not to be foretold, so neither is a
 * branch. */
static inline enum unwind_stepped unwind_step_plain(struct unwind_state *state,
                                                    const struct unwind_bounds *bounds, uint64_t row) {
    uint64_t by_bp = -(row & 1), saved = unwind_row_bp(row) ? UINT64_MAX : 0;
    uint64_t cfa = (state->bp & by_bp) + (state->sp & ~by_bp) + (uint64_t)unwind_row_cfa(row);
    uint64_t place = cfa + (((uint64_t)unwind_row_bp(row) & saved) | (-(uint64_t)8 & ~saved));
    if (__builtin_expect(cfa <= state->sp || cfa > bounds->high || (cfa & 7), 0))
        return UNWIND_STUCK;
    if (__builtin_expect(place < bounds->low || place > bounds->high - 8, 0))
        return UNWIND_STUCK;
    state->pc = *(const uint64_t *)(uintptr_t)(cfa - 8);
    state->bp = (*(const uint64_t *)(uintptr_t)place & saved) | (state->bp & ~saved);
    if (__builtin_expect(state->pc == 0, 0)) /* a thread's first frame without an undefined return address */
        return UNWIND_COMPLETE;
    state->sp = cfa;
    state->is_return = true;
    return UNWIND_ON;
}

/* Every other kind, and stacks read through the kernel. */
enum unwind_stepped unwind_step_other(struct unwind_state *state, struct unwind_bounds *bounds,
                                      const struct unwind_stack *stack, uint64_t row);

/* The state and, at a signal frame, the bounds are the caller's afterwards; undefined unless UNWIND_ON. */
static inline enum unwind_stepped unwind_step(struct unwind_state *state, struct unwind_bounds *bounds,
                                              const struct unwind_stack *stack, uint64_t row) {
    if (__builtin_expect((row & 7) <= CFI_ROW_RBP && bounds->direct, 1))
        return unwind_step_plain(state, bounds, row);
    /* Copies, so that the state itself can stay in registers. */
    struct unwind_state caller = *state;
    struct unwind_bounds caller_bounds = *bounds;
    enum unwind_stepped stepped = unwind_step_other(&caller, &caller_bounds, stack, row);
    *state = caller;
    *bounds = caller_bounds;
    return stepped;
}

#endif
