/* SPDX-License-Identifier: MIT */
#include "agent/unwind.h"

#include <stdatomic.h>
#include <sys/uio.h>

#include "agent/resolve.h"
#include "agent/syscall.h"
#include "agent/unwind_full.h"
#include "agent/unwind_row.h"
#include "agent/unwind_step.h"
#include "format/stack_hash.h"

_Atomic uint64_t unwind_row_cache[UNWIND_CACHE_ENTRIES];
_Atomic uint32_t unwind_generation;

/* [UNWIND-KERNEL] relaxed: agent/confine.c orders it. */
static _Atomic bool kernel_avoid;

void unwind_kernel_avoid(bool avoid) {
    atomic_store_explicit(&kernel_avoid, avoid, memory_order_relaxed); /* [UNWIND-KERNEL] */
}

static int (*object_find)(void *, struct unwind_object *);

bool unwind_prepare(void) {
    if (!object_find)
        object_find = (int (*)(void *, struct unwind_object *))agent_symbol_find("_dl_find_object");
    return object_find != NULL;
}

bool unwind_object_find(uint64_t address, struct unwind_object *ret_object) {
    return object_find && object_find((void *)(uintptr_t)address, ret_object) == 0;
}

void unwind_flush(void) {
    for (size_t i = 0; i < UNWIND_CACHE_ENTRIES; i++)
        if (atomic_load_explicit(&unwind_row_cache[i], memory_order_relaxed)) /* untouched pages stay so */
            atomic_store_explicit(&unwind_row_cache[i], 0, memory_order_relaxed); /* [ROW-CACHE] */
    atomic_fetch_add_explicit(&unwind_generation, 1, memory_order_release);       /* [UNWIND-GENERATION] */
}

static uint64_t row_pack(uint64_t pc, const struct cfi_row *row) {
    return (pc >> UNWIND_CACHE_BITS) << UNWIND_TAG_SHIFT | (uint64_t)(row->bp & 0x3ff) << 19 |
           (uint64_t)(row->cfa & 0xffff) << 3 | row->kind;
}

/* [ROW-CACHE] throughout; threads that race lose an entry at worst. */
__attribute__((noinline)) uint64_t unwind_row_miss(uint64_t pc) {
    _Atomic uint64_t *place = &unwind_row_cache[unwind_row_index(pc)];
    _Atomic uint64_t *neighbour = &unwind_row_cache[unwind_row_index(pc) ^ 1];
    uint64_t tag = pc >> UNWIND_CACHE_BITS << UNWIND_TAG_SHIFT;
    uint64_t displaced = atomic_load_explicit(neighbour, memory_order_relaxed);
    if (displaced >> UNWIND_TAG_SHIFT == (tag | UNWIND_DISPLACED) >> UNWIND_TAG_SHIFT)
        return displaced;

    struct unwind_object object;
    struct cfi_row row = {.kind = CFI_ROW_FRAME};
    if (!unwind_object_find(pc, &object))
        return row_pack(pc, &row); /* not cached: other code may be loaded there later */
    unwind_row_compute(&object, pc, &row);
    uint64_t packed = row_pack(pc, &row), old = atomic_load_explicit(place, memory_order_relaxed);
    if (pc >> 47) /* the tag has no room for it, nor has an address of 4-level paging */
        return packed;
    if (old != 0 && !(old & UNWIND_DISPLACED))
        atomic_store_explicit(neighbour, old | UNWIND_DISPLACED, memory_order_relaxed);
    atomic_store_explicit(place, packed, memory_order_relaxed);
    return packed;
}

/* A stack we know nothing of (a coroutine's, an alternate signal stack): ask the kernel, which answers
 * EFAULT where a load would kill the target. */
bool unwind_word_read_indirect(uint64_t address, uint64_t *ret_word) {
    if (atomic_load_explicit(&kernel_avoid, memory_order_relaxed)) /* [UNWIND-KERNEL] */
        return false;
    struct iovec local = {ret_word, 8}, remote = {(void *)(uintptr_t)address, 8};
    long pid = AGENT_SYSCALL_0(SYS_getpid);
    return AGENT_SYSCALL_6(SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0) == 8;
}

/* ucontext_t as the kernel pushes it at rsp on x86-64: sigcontext begins at 40 (rbp 120, rsp 160, rip 168).
 */
enum { UNWIND_SIGNAL_RBP = 120, UNWIND_SIGNAL_RSP = 160, UNWIND_SIGNAL_RIP = 168 };

enum unwind_stepped unwind_step_other(struct unwind_state *state, struct unwind_bounds *bounds,
                                      const struct unwind_stack *stack, uint64_t row) {
    int64_t bp_offset = unwind_row_bp(row);
    uint64_t cfa;

    switch (row & 7) {
    case CFI_ROW_RSP:
        cfa = state->sp + (uint64_t)unwind_row_cfa(row);
        break;
    case CFI_ROW_RBP:
        cfa = state->bp + (uint64_t)unwind_row_cfa(row);
        break;
    case CFI_ROW_DEREFERENCE:
        if (!unwind_word_read(bounds, state->bp + (uint64_t)unwind_row_cfa(row), &cfa) ||
            !unwind_word_read(bounds, state->bp, &state->bp))
            return UNWIND_STUCK;
        break;
    case CFI_ROW_PLT:
        cfa = state->sp + 8 + ((state->pc & 15) >= 11 ? 8 : 0);
        break;
    case CFI_ROW_FRAME:
        cfa = state->bp + 16;
        if (state->bp < state->sp || !unwind_word_read(bounds, state->bp + 8, &state->pc) ||
            !unwind_word_read(bounds, state->bp, &state->bp) || state->pc == 0)
            return UNWIND_STUCK;
        state->sp = cfa;
        state->is_return = true;
        return UNWIND_ON;
    case CFI_ROW_SIGNAL: {
        uint64_t frame = state->sp;
        if (!unwind_word_read(bounds, frame + UNWIND_SIGNAL_RIP, &state->pc) ||
            !unwind_word_read(bounds, frame + UNWIND_SIGNAL_RBP, &state->bp) ||
            !unwind_word_read(bounds, frame + UNWIND_SIGNAL_RSP, &state->sp))
            return UNWIND_STUCK;
        state->is_return = false;
        /* The interrupted code may run on another stack than the handler. */
        *bounds = unwind_bounds_interrupted(stack, state->sp);
        return UNWIND_ON;
    }
    case CFI_ROW_END:
        return UNWIND_COMPLETE;
    default:
        return UNWIND_BEYOND;
    }

    if (cfa <= state->sp || !unwind_word_read(bounds, cfa - 8, &state->pc))
        return UNWIND_STUCK;
    if (bp_offset != 0 && !unwind_word_read(bounds, cfa + (uint64_t)bp_offset, &state->bp))
        return UNWIND_STUCK;
    if (state->pc == 0)
        return UNWIND_COMPLETE;
    state->sp = cfa;
    state->is_return = true;
    return UNWIND_ON;
}

size_t unwind_walk(const struct unwind_registers *registers, const struct unwind_stack *stack,
                   uint64_t *ret_frames, size_t frames_max, bool *ret_complete) {
    struct unwind_state state = {registers->pc, registers->sp, registers->bp, false};
    struct unwind_bounds bounds = unwind_bounds_at(stack, state.sp);
    size_t count = 0;

    *ret_complete = false;
    if (!bounds.direct && frames_max > UNWIND_INDIRECT_FRAMES_MAX)
        frames_max = UNWIND_INDIRECT_FRAMES_MAX;
    while (count < frames_max) {
        ret_frames[count++] = state.pc;
        enum unwind_stepped stepped = unwind_step(&state, &bounds, stack, unwind_state_row(&state));
        if (__builtin_expect(stepped == UNWIND_ON, 1))
            continue;
        *ret_complete = stepped == UNWIND_COMPLETE;
        if (stepped == UNWIND_BEYOND) {
            size_t full = unwind_full_walk(registers, stack, ret_frames, frames_max, ret_complete);
            count = full ? full : count;
        }
        break;
    }
    return count;
}

uint64_t unwind_frames_hash(const uint64_t *frames, size_t count) {
    uint64_t sum = 0;
    for (size_t i = count; i-- > 0;)
        sum = stack_hash_add(sum, frames[i]);
    return stack_hash_finish(sum);
}
