/* SPDX-License-Identifier: MIT */
/*
 * The verified memo.
 *
 * A frame is entered in a state: pc, sp, rbp. What the walk does from there depends on that state, on the
 * rows (fixed between two flushes) and on the words it reads: the return address below the caller's sp and,
 * where a row says so, the saved rbp. So if a state is entered that the memo holds, and all words that were
 * read from there to the root are what they were, the walk goes on as it did. Nothing is guessed: longjmp,
 * exceptions and frames that came and went change words or states, or change nothing that matters.
 *
 *   1. From the root towards the leaf the words are compared; where one differs, or where the frame is no
 * longer on the stack, the frames that can be trusted end.
 *   2. From the leaf towards the root the stack is unwound as ever, until a state is met that is trusted.
 *   3. The new frames are put on top of it and the sums of the hash continued.
 *
 * rbp counts only where a frame towards the root uses it (STATE_NEEDS_BP): code without frame pointers keeps
 * data in it that differs each time. What took more than a return address and an rbp at a fixed distance (a
 * realigned frame, a signal frame) is stepped again instead of being compared (STEP_AGAIN); so is a root
 * where it was a word that ended the walk.
 *
 * The frames of own code at the leaf are kept like all others but are not in the sums: the way into the agent
 * differs from hook to hook, and a stack is the same stack by whichever hook it is taken.
 *
 * Left to the plain walk: a stack that is not the thread's (a coroutine's, an alternate one), one that leaves
 * it or is deeper than the memo, and what needs unwind_full.h. Four stacks in a row of which the memo knew
 * less than half make it pause for a while: then there is nothing to be won by it.
 */
#include <stdatomic.h>
#include <string.h>

#include "agent/unwind.h"
#include "agent/unwind_step.h"
#include "format/stack_hash.h"

enum frame_flag {
    STATE_IS_RETURN = 1,
    STATE_NEEDS_BP = 2,
    STEP_USES_BP = 4,  /* the step to the caller starts from rbp */
    STEP_SAVES_BP = 8, /* it loads the caller's rbp */
    FRAME_IS_OWN = 16,
    FRAME_ENDS = 32, /* the row alone says that nobody called: there is no word to compare */
};
/* bp_place: where the step that led to this frame loaded its bp. While a stack is being taken, where the step
 * from this frame loads the caller's. */
enum { BP_UNREAD = 0, STEP_AGAIN = INT16_MIN };

#define MISSES_MAX 4U
#define PAUSE_TAKES 60U

static uint64_t frame_sp(const struct unwind_memo *memo, const struct unwind_memo_frame *frame) {
    return memo->low + (uint64_t)frame->sp * 8;
}

static struct unwind_state frame_state(const struct unwind_memo *memo,
                                       const struct unwind_memo_frame *frame) {
    return (struct unwind_state){frame->pc, frame_sp(memo, frame), frame->bp, frame->flags & STATE_IS_RETURN};
}

/* Whether the state leads to the frame, as far as anything comes of it. */
static bool state_is_frame(const struct unwind_memo *memo, const struct unwind_state *state,
                           const struct unwind_memo_frame *frame) {
    return state->sp == frame_sp(memo, frame) && state->pc == frame->pc &&
           state->is_return == (frame->flags & STATE_IS_RETURN) &&
           (!(frame->flags & STATE_NEEDS_BP) || state->bp == frame->bp);
}

static __attribute__((noinline)) bool frame_step_again(const struct unwind_memo *memo,
                                                       const struct unwind_stack *stack, uint64_t leaf_sp,
                                                       const struct unwind_memo_frame *frame) {
    struct unwind_state state = frame_state(memo, frame);
    struct unwind_bounds bounds = unwind_bounds_at(stack, leaf_sp);
    enum unwind_stepped stepped = unwind_step(&state, &bounds, stack, unwind_state_row(&state));
    if (frame == memo->frames)
        return stepped == (memo->complete ? UNWIND_COMPLETE : UNWIND_STUCK);
    return stepped == UNWIND_ON && state_is_frame(memo, &state, frame - 1);
}

/* How many frames from the root the words still bear out. */
static uint32_t frames_verify(const struct unwind_memo *memo, const struct unwind_stack *stack,
                              uint64_t leaf_sp) {
    const char *low = (const char *)(uintptr_t)memo->low;
    const struct unwind_memo_frame *frame = memo->frames, *end = frame + memo->count;
    uint64_t leaf_words = (leaf_sp - memo->low) / 8;

    if (frame == end || frame->sp < leaf_words ||
        (!(frame->flags & FRAME_ENDS) && !frame_step_again(memo, stack, leaf_sp, frame)))
        return 0;
    for (; frame + 1 < end && frame[1].sp >= leaf_words; frame++) {
        const uint64_t *top = (const uint64_t *)(low + (uint64_t)frame->sp * 8);
        if (__builtin_expect(frame->bp_place != BP_UNREAD, 0)) {
            if (frame->bp_place == STEP_AGAIN) {
                if (!frame_step_again(memo, stack, leaf_sp, frame + 1))
                    break;
                continue;
            }
            if (top[frame->bp_place] != frame->bp)
                break;
        }
        if (top[-1] != frame->pc)
            break;
    }
    return (uint32_t)(frame - memo->frames) + 1;
}

/* Word by word, as they were written a moment ago: a wider load would have to wait for the stores to be over.
 */
static void frames_swap(struct unwind_memo_frame *left, struct unwind_memo_frame *right) {
    struct unwind_memo_frame other = {.pc = left->pc, .bp = left->bp};
    uint64_t left_rest, right_rest;
    memcpy(&left_rest, &left->sp, sizeof(left_rest));
    memcpy(&right_rest, &right->sp, sizeof(right_rest));
    left->pc = right->pc;
    left->bp = right->bp;
    memcpy(&left->sp, &right_rest, sizeof(right_rest));
    right->pc = other.pc;
    right->bp = other.bp;
    memcpy(&right->sp, &left_rest, sizeof(left_rest));
}

/* Turns frames [begin, begin + count), which are leaf first, and lets them follow on the first kept ones. */
static void frames_append(struct unwind_memo *memo, uint32_t kept, uint32_t begin, uint32_t count) {
    struct unwind_memo_frame *frames = memo->frames;
    for (uint32_t low = begin, high = begin + count; low + 1 < high;)
        frames_swap(&frames[low++], &frames[--high]);
    if (kept != begin)
        memmove(&frames[kept], &frames[begin], count * sizeof(frames[0]));

    /* Whether a frame needs rbp follows no pattern, so it is reckoned without a branch. */
    uint64_t sum = kept ? frames[kept - 1].sum : 0;
    unsigned needs = kept ? frames[kept - 1].flags / STATE_NEEDS_BP & 1 : 0;
    for (uint32_t i = kept; i < kept + count; i++) {
        struct unwind_memo_frame *frame = &frames[i];
        unsigned flags = frame->flags, compared = needs | (frame->bp_place == STEP_AGAIN);
        if (i > 0)
            frames[i - 1].bp_place = (int16_t)(frame->bp_place & -(int)compared);
        needs = (flags / STEP_USES_BP | (needs & ~(flags / STEP_SAVES_BP))) & 1;
        frame->flags = (uint8_t)(flags | needs * STATE_NEEDS_BP);
        if (!(flags & FRAME_IS_OWN))
            sum = stack_hash_add(sum, frame->pc);
        frame->sum = sum;
    }
    memo->count = (uint16_t)(kept + count);
}

/* What is noted of how the row steps from a frame: flags, and where it loads the caller's rbp. */
static unsigned step_flags(uint64_t row, int16_t *ret_place) {
    int64_t place = unwind_row_bp(row) / 8;
    if (__builtin_expect((row & 7) <= CFI_ROW_RBP, 1)) {
        *ret_place = (int16_t)place;
        return (unsigned)(row & 1) * STEP_USES_BP + (place != 0) * STEP_SAVES_BP;
    }
    switch (row & 7) {
    case CFI_ROW_FRAME:
        *ret_place = -2;
        return STEP_USES_BP | STEP_SAVES_BP;
    case CFI_ROW_DEREFERENCE:
        *ret_place = STEP_AGAIN;
        return STEP_USES_BP | STEP_SAVES_BP;
    case CFI_ROW_SIGNAL:
        *ret_place = STEP_AGAIN;
        return STEP_SAVES_BP;
    default: /* the PLT and the outermost frame */
        *ret_place = BP_UNREAD;
        return 0;
    }
}

static void frame_write(struct unwind_memo_frame *frame, const struct unwind_memo *memo,
                        const struct unwind_state *state, unsigned flags, int16_t place) {
    uint64_t rest =
        ((state->sp - memo->low) / 8 & UINT32_MAX) | (uint64_t)(uint16_t)place << 32 | (uint64_t)flags << 48;
    frame->pc = state->pc;
    frame->bp = state->bp;
    memcpy(&frame->sp, &rest, sizeof(rest)); /* sp, bp_place, flags: one store, see frames_swap() */
}
_Static_assert(offsetof(struct unwind_memo_frame, bp_place) == offsetof(struct unwind_memo_frame, sp) + 4 &&
                   offsetof(struct unwind_memo_frame, flags) == offsetof(struct unwind_memo_frame, sp) + 6,
               "written as one little-endian word");

uint64_t unwind_memo_take(struct unwind_memo *memo, const struct unwind_registers *registers,
                          const struct unwind_stack *stack) {
    struct unwind_state state = {registers->pc, registers->sp, registers->bp, false};
    struct unwind_bounds bounds = unwind_bounds_at(stack, state.sp);
    uint32_t generation =
        atomic_load_explicit(&unwind_generation, memory_order_acquire); /* [UNWIND-GENERATION] */

    if (memo->pause) {
        memo->pause--;
        return 0;
    }
    if (!bounds.direct || (stack->high - stack->low) / 8 > UINT32_MAX || stack->low % 8 || state.sp % 8)
        return 0;
    if (__builtin_expect(memo->generation != generation || memo->low != stack->low, 0)) {
        memo->generation = generation;
        memo->low = stack->low;
        memo->count = 0;
    }

    uint32_t kept = frames_verify(memo, stack, state.sp);
    const uint32_t begin = kept;
    uint32_t count = 0;
    memo->count = (uint16_t)kept;
    for (;;) {
        while (kept && frame_sp(memo, &memo->frames[kept - 1]) < state.sp)
            kept--;
        if (kept && state_is_frame(memo, &state, &memo->frames[kept - 1]))
            break;
        if (begin + count == UNWIND_MEMO_FRAMES)
            return 0;
        struct unwind_memo_frame *frame = &memo->frames[begin + count++];
        uint64_t row = unwind_state_row(&state);
        int16_t place;
        unsigned flags = step_flags(row, &place) | (state.is_return ? STATE_IS_RETURN : 0) |
                         (state.pc - stack->own_start < stack->own_bytes ? FRAME_IS_OWN : 0);
        frame_write(frame, memo, &state, flags, place);

        uint64_t sp = state.sp;
        enum unwind_stepped stepped = unwind_step(&state, &bounds, stack, row);
        if (stepped == UNWIND_ON && state.sp > sp && state.sp % 8 == 0 && bounds.direct) {
            if (__builtin_expect(state.sp + (uint64_t)(place * 8LL) < sp, 0))
                frame->bp_place = STEP_AGAIN; /* below the frame: for the bounds of the day to allow */
            continue;
        }
        if (stepped == UNWIND_ON || stepped == UNWIND_BEYOND)
            return 0;
        memo->complete = stepped == UNWIND_COMPLETE;
        frame->flags |= (row & 7) == CFI_ROW_END ? FRAME_ENDS : STEP_USES_BP;
        kept = 0;
        break;
    }
    if (kept < count) {
        if (++memo->misses >= MISSES_MAX) {
            memo->misses = MISSES_MAX - 1;
            memo->pause = PAUSE_TAKES;
        }
    } else {
        memo->misses = 0;
    }
    if (count || kept != begin)
        frames_append(memo, kept, begin, count);
    const struct unwind_memo_frame *leaf = &memo->frames[memo->count - 1];
    return leaf->sum ? stack_hash_finish(leaf->sum) : 0;
}

size_t unwind_memo_frames(const struct unwind_memo *memo, uint64_t ret_frames[UNWIND_MEMO_FRAMES],
                          bool *ret_complete) {
    size_t count = 0;
    for (uint32_t i = memo->count; i-- > 0;)
        if (!(memo->frames[i].flags & FRAME_IS_OWN))
            ret_frames[count++] = memo->frames[i].pc;
    *ret_complete = memo->complete;
    return count;
}
