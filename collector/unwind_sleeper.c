/* SPDX-License-Identifier: MIT */
/* As bpf/unwind.bpf.h, which has the reasons; sources as there. */
#include "collector/unwind_sleeper.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "collector/unwind_pool.h"
#include "format/stack_hash.h"

#define PAGE_BYTES 4096U
#define FRAME_BYTES_MAX (1U << 20) /* between rsp and rbp */

struct walk {
    struct unwind_tables_view view;
    pid_t pid;
    uint64_t pc, sp, bp;
    bool is_return; /* pc is a return address: its call is at pc - 1 */
    bool leaf;      /* no frame was left yet */
    bool cloning;   /* the leaf is behind clone()'s system call */
    bool in_call;   /* the leaf is behind any */
    struct unwind_stack_taken *stack;
    uint64_t base, bytes; /* of the stack that was read */
    uint8_t window[PAGE_BYTES];
};

/* --- rows ---------------------------------------------------------------------------------------------- */

static uint32_t row_full(const struct unwind_pool *rows, uint32_t unit) {
    uint32_t row;
    memcpy(&row, unwind_pool_at(rows, unit), sizeof(row));
    return row;
}

/* The last row of the page that begins at or before offset; the first begins at 0. */
static uint32_t row_of_page(const struct walk *walk, const struct unwind_range *range, uint64_t entry,
                            uint32_t offset) {
    const struct unwind_pool *rows = walk->view.rows;
    uint64_t count = (entry & ~UNWIND_PAGE_FULL) >> UNWIND_PAGE_COUNT_SHIFT;
    uint32_t first = (uint32_t)entry, at = 0;
    if (count == 0)
        return (uint32_t)entry;
    if (entry & UNWIND_PAGE_FULL) {
        while (at + 1 < count && row_full(rows, first + 2 * (at + 1)) >> UNWIND_ROW_OFFSET_SHIFT <= offset)
            at++;
        return row_full(rows, first + 2 * at);
    }
    const uint16_t *units = unwind_pool_at(rows, first);
    while (at + 1 < count && (uint32_t)units[at + 1] >> UNWIND_CODE_BITS <= offset)
        at++;
    return row_full(rows, range->codes + 2 * (units[at] & (UNWIND_CODES_MAX - 1U)));
}

static uint32_t row_find(const struct walk *walk, uint64_t pc) {
    const struct unwind_table *table = walk->view.table;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct unwind_range *range = &table->ranges[i];
        if (pc < range->low || pc >= range->high)
            continue;
        uint64_t distance = pc - range->low;
        const uint64_t *entry =
            unwind_pool_at(walk->view.pages, range->page + (uint32_t)(distance >> UNWIND_PAGE_BITS));
        return row_of_page(walk, range, *entry, (uint32_t)(distance & ((1U << UNWIND_PAGE_BITS) - 1)));
    }
    return unwind_row_special(UNWIND_SPECIAL_UNMAPPED);
}

/* --- the stack ----------------------------------------------------------------------------------------- */

static bool word_read(struct walk *walk, uint64_t address, uint64_t *ret_word) {
    if (address & 7)
        return false;
    if (address < walk->base || address - walk->base >= walk->bytes) {
        uint64_t bytes = PAGE_BYTES - (address & (PAGE_BYTES - 1));
        struct iovec ours = {.iov_base = walk->window, .iov_len = bytes};
        struct iovec theirs = {.iov_len = bytes};
        memcpy(&theirs.iov_base, &address, sizeof(address));
        walk->base = address;
        walk->bytes = process_vm_readv(walk->pid, &ours, 1, &theirs, 1, 0) == (ssize_t)bytes ? bytes : 0;
        if (walk->bytes == 0)
            return false;
    }
    memcpy(ret_word, walk->window + (address - walk->base), sizeof(*ret_word));
    return true;
}

/* --- steps: an enum unwind_end, -1 to go on ---------------------------------------------------------------
 */

/* The return address lies below the frame's end, cfa. */
static int frame_leave(struct walk *walk, uint64_t cfa, uint64_t bp) {
    if (cfa <= walk->sp)
        return UNWIND_END_CFA;
    if (!word_read(walk, cfa - 8, &walk->pc))
        return UNWIND_END_READ;
    walk->sp = cfa;
    walk->bp = bp;
    return -1;
}

static int step_memory(struct walk *walk, uint32_t value, int64_t bp_place) {
    int64_t offset =
        (int64_t)((uint64_t)value << (64 - UNWIND_ROW_MEMORY_BITS)) >> (64 - UNWIND_ROW_MEMORY_BITS);
    uint64_t cfa, bp = walk->bp;
    if (value & UNWIND_ROW_REALIGNED) {
        if (!word_read(walk, walk->bp + (uint64_t)(offset * 8), &cfa) || !word_read(walk, walk->bp, &bp))
            return UNWIND_END_READ;
        return frame_leave(walk, cfa, bp);
    }
    if (!word_read(walk, walk->sp + (uint64_t)(offset * 8), &cfa))
        return UNWIND_END_READ;
    cfa += 8;
    if (bp_place && !word_read(walk, cfa + (uint64_t)bp_place, &bp))
        return UNWIND_END_READ;
    return frame_leave(walk, cfa, bp);
}

static int step_signal(struct walk *walk) {
    enum { SIGNAL_BP = 120, SIGNAL_SP = 160, SIGNAL_PC = 168 };
    uint64_t sp = walk->sp;
    if (!word_read(walk, sp + SIGNAL_BP, &walk->bp) || !word_read(walk, sp + SIGNAL_PC, &walk->pc) ||
        !word_read(walk, sp + SIGNAL_SP, &walk->sp))
        return UNWIND_END_READ;
    walk->is_return = false;
    walk->stack->flags |= UNWIND_STACK_SIGNAL;
    return -1;
}

static int step_frame_pointer(struct walk *walk) {
    uint64_t bp = walk->bp;
    walk->stack->flags |= UNWIND_STACK_FRAME_POINTER;
    if (bp < walk->sp || bp - walk->sp > FRAME_BYTES_MAX || (walk->leaf && !walk->in_call))
        return UNWIND_END_FRAME_POINTER;
    if (!word_read(walk, bp + 8, &walk->pc) || !word_read(walk, bp, &walk->bp))
        return UNWIND_END_READ;
    walk->sp = bp + 16;
    return -1;
}

static int step_special(struct walk *walk, uint32_t special) {
    switch (special) {
    case UNWIND_SPECIAL_END:
        return UNWIND_END_START;
    case UNWIND_SPECIAL_PLT:
        return frame_leave(walk, walk->sp + 8 + ((walk->pc & 15) >= 11 ? 8 : 0), walk->bp);
    case UNWIND_SPECIAL_SIGNAL:
        return step_signal(walk);
    case UNWIND_SPECIAL_UNSUPPORTED:
        return UNWIND_END_UNSUPPORTED;
    }
    if (special == UNWIND_SPECIAL_NONE && walk->leaf && walk->cloning)
        return frame_leave(walk, walk->sp + 8, walk->bp);
    if ((walk->view.table->flags & UNWIND_TABLE_JIT) ||
        (special == UNWIND_SPECIAL_NONE && walk->bp == walk->sp))
        return step_frame_pointer(walk);
    return special == UNWIND_SPECIAL_NONE ? UNWIND_END_NO_ROWS : UNWIND_END_UNMAPPED;
}

static int step(struct walk *walk) {
    uint32_t row = row_find(walk, walk->pc - walk->is_return);
    uint32_t type = row >> UNWIND_ROW_TYPE_SHIFT & 3;
    uint32_t value = row >> UNWIND_ROW_VALUE_SHIFT & UNWIND_ROW_VALUE_MAX;
    int64_t bp_place =
        ((int64_t)((uint64_t)row << (64 - UNWIND_ROW_BP_BITS)) >> (64 - UNWIND_ROW_BP_BITS)) * 8;
    int end;
    walk->is_return = true;
    if (type == UNWIND_ROW_MEMORY) {
        end = step_memory(walk, value, bp_place);
    } else if (type == UNWIND_ROW_SPECIAL) {
        end = step_special(walk, value);
    } else {
        uint64_t cfa = (type == UNWIND_ROW_RSP ? walk->sp : walk->bp) + (uint64_t)value * 8, bp = walk->bp;
        end = cfa > walk->sp && bp_place && !word_read(walk, cfa + (uint64_t)bp_place, &bp)
                  ? UNWIND_END_READ
                  : frame_leave(walk, cfa, bp);
    }
    walk->leaf = false;
    return end >= 0 || walk->pc ? end : UNWIND_END_START;
}

bool unwind_sleeper_take(const struct unwind_tables *tables, pid_t pid,
                         const struct registers_record *registers, struct unwind_stack_taken *ret_stack) {
    bool in_clone = registers->syscall == SYS_clone || registers->syscall == SYS_clone3;
    struct walk walk = {
        .pid = pid,
        .pc = registers->pc,
        .sp = registers->sp,
        .bp = registers->bp,
        .leaf = true,
        .cloning = in_clone && registers->result != 0,
        .in_call = registers->syscall >= 0,
        .stack = ret_stack,
    };
    if (!registers->is_64_bit || !unwind_tables_view(tables, pid, &walk.view))
        return false;
    *ret_stack = (struct unwind_stack_taken){.end = UNWIND_END_CUT};
    uint64_t factor = 1;
    int end = -1;
    while (end < 0 && ret_stack->count < UNWIND_FRAMES_MAX) {
        ret_stack->frames[ret_stack->count++] = walk.pc;
        ret_stack->hash += stack_hash_mix(walk.pc) * factor;
        factor *= STACK_HASH_FACTOR;
        end = step(&walk);
    }
    if (end >= 0)
        ret_stack->end = (uint8_t)end;
    ret_stack->hash = stack_hash_finish(ret_stack->hash);
    return true;
}
