/* SPDX-License-Identifier: MIT */
/*
 * The user stack of the current thread, exactly, without frame pointers: by rows made of call frame
 * information (unwind_table.h).
 *
 *     struct unwind_stack_taken *stack = unwind_take(tgid);
 *     if (stack) {
 *         ... stack->frames, stack->hash, stack->end ...
 *         unwind_give(stack);
 *     }
 *
 * A program may be interrupted by another on the same CPU (a sample in an interrupt, a switch in a tracepoint
 * that can be preempted), so there are a few buffers a CPU, and whoever takes one gives it back.
 *
 * What makes it fast: the stack is read in pieces as long as to the end of the page, never over it, since a
 * copy that faults costs a microsecond or two; the rows of the pcs seen last are kept for each CPU.
 * What makes it cheap to verify: all state is in map memory, of which the verifier tracks nothing, and a step
 * is a global function, which it looks at once and by itself. Indexes are masked behind a barrier, or the
 * compiler would drop a mask that it can prove superfluous and the verifier cannot.
 *
 * Needs Linux 5.15 (bpf_task_pt_regs). A file that includes this is loaded after unwind_tables_bind().
 * Sources: System V ABI AMD64 3.4.2 (stack), 3.7 (registers); arch/x86/include/asm/sigframe.h.
 */
#ifndef WAITSCOPE_BPF_UNWIND_BPF_H
#define WAITSCOPE_BPF_UNWIND_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/unwind_table.h"
#include "format/stack_hash.h"

struct unwind_pages_chunk {
    __u64 entries[1U << UNWIND_CHUNK_PAGES_BITS];
};
struct unwind_rows_chunk {
    __u16 units[1U << UNWIND_CHUNK_ROWS_BITS];
};
struct unwind_tables_chunk {
    struct unwind_table tables[1U << UNWIND_CHUNK_TABLES_BITS];
};

/* An array of chunks, each a map of one element. */
#define UNWIND_CHUNKS(name, chunk)                                                                           \
    struct name##_inner {                                                                                    \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                                    \
        __uint(max_entries, 1);                                                                              \
        __uint(map_flags, BPF_F_MMAPABLE);                                                                   \
        __uint(key_size, 4);                                                                                 \
        __uint(value_size, sizeof(struct chunk));                                                            \
    };                                                                                                       \
    struct {                                                                                                 \
        __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                            \
        __uint(max_entries, UNWIND_CHUNKS_MAX);                                                              \
        __type(key, __u32);                                                                                  \
        __array(values, struct name##_inner);                                                                \
    } name SEC(".maps");

UNWIND_CHUNKS(unwind_pages, unwind_pages_chunk)
UNWIND_CHUNKS(unwind_rows, unwind_rows_chunk)
UNWIND_CHUNKS(unwind_tables, unwind_tables_chunk)

/* tgid to the number of its table; several processes may share one. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, UNWIND_PROCESSES_MAX);
    __type(key, __u32);
    __type(value, __u32);
} unwind_processes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, UNWIND_LEVELS);
    __type(key, __u32);
    __type(value, struct unwind_walk);
} unwind_walks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct unwind_cache);
} unwind_cache SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct unwind_counters);
} unwind_counters SEC(".maps");

#define UNWIND_MASK(value, mask)                                                                             \
    ({                                                                                                       \
        __u64 masked_ = (value);                                                                             \
        asm volatile("" : "+r"(masked_));                                                                    \
        masked_ &(mask);                                                                                     \
    })
#define UNWIND_SIGNED(value, bits) ((__s64)((__u64)(value) << (64 - (bits))) >> (64 - (bits)))

static __always_inline void *unwind_chunk(void *chunks, __u32 index) {
    __u32 zero = 0;
    void *inner = bpf_map_lookup_elem(chunks, &index);
    return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

static __always_inline void unwind_count(enum unwind_end end) {
    __u32 zero = 0;
    struct unwind_counters *counters = bpf_map_lookup_elem(&unwind_counters, &zero);
    if (counters && end < UNWIND_ENDS)
        __sync_fetch_and_add(&counters->ends[end], 1);
}

/* --- rows ---------------------------------------------------------------------------------------------- */

static __always_inline const struct unwind_rows_chunk *unwind_rows_find(__u64 unit) {
    return unwind_chunk(&unwind_rows, unit >> UNWIND_CHUNK_ROWS_BITS);
}
static __always_inline __u64 unwind_row_short(const struct unwind_rows_chunk *rows, __u64 unit) {
    return rows->units[UNWIND_MASK(unit, (1U << UNWIND_CHUNK_ROWS_BITS) - 1)];
}
static __always_inline __u64 unwind_row_full(const struct unwind_rows_chunk *rows, __u64 unit) {
    return *(const __u32 *)&rows->units[UNWIND_MASK(unit, (1U << UNWIND_CHUNK_ROWS_BITS) - 2)];
}

/* The last row that begins at or before offset; a page's first row begins at 0. Without a branch in the body
 * the verifier sees one path. */
static __always_inline __u64 unwind_rows_search(const struct unwind_rows_chunk *rows, __u64 first,
                                                __u64 count, __u64 offset, bool full) {
    __s64 beyond = (__s64)((offset + 1) << (full ? UNWIND_ROW_OFFSET_SHIFT : UNWIND_CODE_BITS));
    __u64 at = 0;
    for (int i = 0; i < UNWIND_PAGE_BITS + 1 && count > 1; i++) {
        __u64 half = count >> 1;
        __u64 row =
            full ? unwind_row_full(rows, first + 2 * (at + half)) : unwind_row_short(rows, first + at + half);
        at += half & (__u64)(((__s64)row - beyond) >> 63);
        count -= half;
    }
    return full ? unwind_row_full(rows, first + 2 * at) : unwind_row_short(rows, first + at);
}

/* The row for an address of code by its page's index and its offset in the page. */
static __always_inline __u32 unwind_row_search(__u64 page, __u64 offset, __u32 codes) {
    const struct unwind_pages_chunk *pages = unwind_chunk(&unwind_pages, page >> UNWIND_CHUNK_PAGES_BITS);
    if (!pages)
        return unwind_row_special(UNWIND_SPECIAL_BROKEN);
    __u64 entry = pages->entries[UNWIND_MASK(page, (1U << UNWIND_CHUNK_PAGES_BITS) - 1)];
    __u64 count = (entry & ~UNWIND_PAGE_FULL) >> UNWIND_PAGE_COUNT_SHIFT, first = (__u32)entry;
    if (!count)
        return (__u32)entry;

    const struct unwind_rows_chunk *rows = unwind_rows_find(first);
    if (!rows)
        return unwind_row_special(UNWIND_SPECIAL_BROKEN);
    if (entry & UNWIND_PAGE_FULL)
        return unwind_rows_search(rows, first, count, offset, true);
    __u64 code = unwind_rows_search(rows, first, count, offset, false) & (UNWIND_CODES_MAX - 1);
    rows = unwind_rows_find(codes);
    return rows ? unwind_row_full(rows, codes + 2 * code) : unwind_row_special(UNWIND_SPECIAL_BROKEN);
}

/* The row for walk's pc; what was found goes into the cache. Not inline, to be verified once. */
__noinline __u32 unwind_row_miss(struct unwind_walk *walk, struct unwind_cache *cache, __u64 pc) {
    if (!walk || !cache)
        return unwind_row_special(UNWIND_SPECIAL_BROKEN);
    __u32 row = unwind_row_special(UNWIND_SPECIAL_UNMAPPED);
    walk->stack.misses++;
    if (pc < walk->low || pc >= walk->high) {
        const struct unwind_tables_chunk *chunk =
            unwind_chunk(&unwind_tables, walk->table >> UNWIND_CHUNK_TABLES_BITS);
        if (!chunk)
            return unwind_row_special(UNWIND_SPECIAL_BROKEN);
        const struct unwind_table *table =
            &chunk->tables[UNWIND_MASK(walk->table, (1U << UNWIND_CHUNK_TABLES_BITS) - 1)];
        __u64 at = 0, count = table->count;
        for (int i = 0; i < UNWIND_RANGES_BITS && count > 1; i++) {
            __u64 half = count >> 1;
            const struct unwind_range *middle = &table->ranges[UNWIND_MASK(at + half, UNWIND_RANGES_MAX - 1)];
            at += half & (__u64)(((__s64)middle->low - (__s64)pc - 1) >> 63);
            count -= half;
        }
        const struct unwind_range *range = &table->ranges[UNWIND_MASK(at, UNWIND_RANGES_MAX - 1)];
        if (count && pc >= range->low && pc < range->high) {
            walk->low = range->low;
            walk->high = range->high;
            walk->page = range->page;
            walk->codes = range->codes;
        } else {
            walk->low = walk->high = 0;
        }
    }
    if (walk->high) {
        __u64 distance = pc - walk->low;
        row = unwind_row_search(walk->page + (distance >> UNWIND_PAGE_BITS),
                                distance & ((1U << UNWIND_PAGE_BITS) - 1), walk->codes);
    }
    if (walk->cached) {
        struct unwind_cache_entry *entry =
            &cache->entries[(pc ^ pc >> UNWIND_CACHE_BITS) & ((1U << UNWIND_CACHE_BITS) - 1)];
        entry->pc = pc;
        entry->generation = walk->generation;
        entry->row = row;
    }
    return row;
}

static __always_inline __u32 unwind_row_find(struct unwind_walk *walk, struct unwind_cache *cache, __u64 pc) {
    const struct unwind_cache_entry *entry =
        &cache->entries[(pc ^ pc >> UNWIND_CACHE_BITS) & ((1U << UNWIND_CACHE_BITS) - 1)];
    if (entry->pc == pc && entry->generation == walk->generation && walk->cached)
        return entry->row;
    return unwind_row_miss(walk, cache, pc);
}

/* --- the stack ----------------------------------------------------------------------------------------- */

#define UNWIND_WINDOW_NONE (~0ULL)

/* Reads from address, a multiple of 8, to the end of its page. Returns address' offset in the window. */
__noinline __u64 unwind_window_move(struct unwind_walk *walk, __u64 address) {
    if (!walk)
        return UNWIND_WINDOW_NONE;
    __u64 bytes = 4096 - (address & 4095);
    walk->window_base = address;
    walk->window_bytes = 0;
    walk->stack.windows++;
    if ((address & 7) || bpf_probe_read_user(walk->window, bytes, (void *)address))
        return UNWIND_WINDOW_NONE;
    walk->window_bytes = bytes;
    return 0;
}

static __always_inline bool unwind_word(struct unwind_walk *walk, __u64 address, __u64 *ret_word) {
    __u64 offset = address - walk->window_base;
    if ((offset & 7) || offset >= walk->window_bytes) {
        offset = unwind_window_move(walk, address);
        if (offset == UNWIND_WINDOW_NONE)
            return false;
    }
    *ret_word = walk->window[UNWIND_MASK(offset >> 3, UNWIND_WINDOW_WORDS - 1)];
    return true;
}

/* --- steps --------------------------------------------------------------------------------------------- */

/* Offsets into struct rt_sigframe behind the return address (arch/x86/include/asm/sigframe.h,
 * include/uapi/asm/sigcontext.h). */
enum { UNWIND_SIGNAL_BP = 120, UNWIND_SIGNAL_SP = 160, UNWIND_SIGNAL_PC = 168 };

static __always_inline int unwind_step_memory(struct unwind_walk *walk, __u64 value, __s64 bp_place) {
    __s64 offset = UNWIND_SIGNED(value, UNWIND_ROW_MEMORY_BITS) * 8;
    __u64 cfa, bp = walk->bp;
    if (value & UNWIND_ROW_REALIGNED) {
        if (!unwind_word(walk, walk->bp + offset, &cfa) || !unwind_word(walk, walk->bp, &bp))
            return UNWIND_END_READ;
    } else {
        if (!unwind_word(walk, walk->sp + offset, &cfa))
            return UNWIND_END_READ;
        cfa += 8;
        if (bp_place && !unwind_word(walk, cfa + bp_place, &bp))
            return UNWIND_END_READ;
    }
    if (cfa <= walk->sp)
        return UNWIND_END_CFA;
    if (!unwind_word(walk, cfa - 8, &walk->pc))
        return UNWIND_END_READ;
    walk->sp = cfa;
    walk->bp = bp;
    return -1;
}

static __always_inline int unwind_step_signal(struct unwind_walk *walk) {
    __u64 sp = walk->sp;
    if (!unwind_word(walk, sp + UNWIND_SIGNAL_BP, &walk->bp) ||
        !unwind_word(walk, sp + UNWIND_SIGNAL_PC, &walk->pc) ||
        !unwind_word(walk, sp + UNWIND_SIGNAL_SP, &walk->sp))
        return UNWIND_END_READ;
    walk->is_return = 0;
    walk->stack.flags |= UNWIND_STACK_SIGNAL;
    return -1;
}

/*
 * How far the frame is built where a JIT's code was interrupted, by the code itself: 0 it is built, 1 the
 * return address is at rsp, 2 rbp was pushed and not yet loaded. push rbp is 55; mov rbp, rsp is 48 89 e5;
 * ret is c3 or c2.
 */
static __always_inline int unwind_leaf_frame(__u64 pc) {
    __u8 code[8]; /* from a byte before pc on */
    if (bpf_probe_read_user(code, sizeof(code), (void *)(pc - 1)))
        return 0;
    if (code[1] == 0x55 && code[2] == 0x48 && code[3] == 0x89 && code[4] == 0xe5)
        return 1;
    if (code[0] == 0x55 && code[1] == 0x48 && code[2] == 0x89 && code[3] == 0xe5)
        return 2;
    return code[1] == 0xc3 || code[1] == 0xc2;
}

/* A frame's memory between rsp and rbp; more than this is no frame. */
#define UNWIND_FRAME_MAX (1U << 20)

/* Not inline: few frames need it. */
__noinline int unwind_step_frame_pointer(struct unwind_walk *walk) {
    if (!walk)
        return UNWIND_END_BROKEN;
    __u64 bp = walk->bp, sp = walk->sp;
    int leaf = walk->leaf ? unwind_leaf_frame(walk->pc) : 0;
    walk->stack.flags |= UNWIND_STACK_FRAME_POINTER;
    if (leaf) {
        if (leaf == 2 && !unwind_word(walk, sp, &walk->bp))
            return UNWIND_END_READ;
        sp += leaf == 2 ? 8 : 0;
        if (!unwind_word(walk, sp, &walk->pc))
            return UNWIND_END_READ;
        walk->sp = sp + 8;
        return -1;
    }
    if (bp < sp || bp - sp > UNWIND_FRAME_MAX || (bp & 7))
        return UNWIND_END_FRAME_POINTER;
    if (!unwind_word(walk, bp + 8, &walk->pc) || !unwind_word(walk, bp, &walk->bp))
        return UNWIND_END_READ;
    walk->sp = bp + 16;
    return -1;
}

static __always_inline int unwind_step_special(struct unwind_walk *walk, __u64 special) {
    __u64 cfa;
    switch (special) {
    case UNWIND_SPECIAL_END:
        return UNWIND_END_START;
    case UNWIND_SPECIAL_PLT:
        cfa = walk->sp + 8 + ((walk->pc & 15) >= 11 ? 8 : 0);
        if (!unwind_word(walk, cfa - 8, &walk->pc))
            return UNWIND_END_READ;
        walk->sp = cfa;
        return -1;
    case UNWIND_SPECIAL_SIGNAL:
        return unwind_step_signal(walk);
    case UNWIND_SPECIAL_UNSUPPORTED:
        return UNWIND_END_UNSUPPORTED;
    case UNWIND_SPECIAL_BROKEN:
        return UNWIND_END_BROKEN;
    }
    /* libc ends what it says of clone() before the system call, since it would not hold for the child. */
    if (special == UNWIND_SPECIAL_NONE && walk->leaf && walk->cloning) {
        if (!unwind_word(walk, walk->sp, &walk->pc))
            return UNWIND_END_READ;
        walk->sp += 8;
        return -1;
    }
    /* Code without rows is a JIT's, or V8's builtins in their file, and has frame pointers; or it is what the
     * compiler puts into every library to call its destructors (crtstuff.c), which has one and nothing else
     * in its frame. */
    if ((walk->table_flags & UNWIND_TABLE_JIT) || (special == UNWIND_SPECIAL_NONE && walk->bp == walk->sp))
        return unwind_step_frame_pointer(walk);
    return special == UNWIND_SPECIAL_NONE ? UNWIND_END_NO_ROWS : UNWIND_END_UNMAPPED;
}

/* Writes the frame down and goes to its caller. Returns an enum unwind_end, -1 to go on. */
__noinline int unwind_step(struct unwind_walk *walk, struct unwind_cache *cache) {
    if (!walk || !cache)
        return UNWIND_END_BROKEN;
    __u64 pc = walk->pc, count = walk->stack.count;
    if (count >= UNWIND_FRAMES_MAX)
        return UNWIND_END_CUT;
    walk->stack.frames[UNWIND_MASK(count, UNWIND_FRAMES_MAX - 1)] = pc;
    walk->stack.count = count + 1;
    walk->stack.hash += stack_hash_mix(pc) * walk->factor;
    walk->factor *= STACK_HASH_FACTOR;

    __u64 row = unwind_row_find(walk, cache, pc - walk->is_return);
    __u64 type = row >> UNWIND_ROW_TYPE_SHIFT & 3;
    __u64 value = row >> UNWIND_ROW_VALUE_SHIFT & UNWIND_ROW_VALUE_MAX;
    __s64 bp_place = UNWIND_SIGNED(row, UNWIND_ROW_BP_BITS) * 8;
    walk->is_return = 1;
    if (type <= UNWIND_ROW_RBP) {
        __u64 cfa = (type == UNWIND_ROW_RSP ? walk->sp : walk->bp) + value * 8;
        if (cfa <= walk->sp)
            return UNWIND_END_CFA;
        if (!unwind_word(walk, cfa - 8, &pc))
            return UNWIND_END_READ;
        if (bp_place && !unwind_word(walk, cfa + bp_place, &walk->bp))
            return UNWIND_END_READ;
        walk->pc = pc;
        walk->sp = cfa;
    } else {
        int end = type == UNWIND_ROW_MEMORY ? unwind_step_memory(walk, value, bp_place)
                                            : unwind_step_special(walk, value);
        if (end >= 0)
            return end;
    }
    walk->leaf = 0;
    return walk->pc ? -1 : UNWIND_END_START;
}

/* --- what programs call -------------------------------------------------------------------------------- */

static __always_inline struct unwind_walk *unwind_walk_take(void) {
    for (__u32 level = 0; level < UNWIND_LEVELS; level++) {
        __u32 key = level;
        struct unwind_walk *walk = bpf_map_lookup_elem(&unwind_walks, &key);
        if (!walk)
            return NULL;
        /* [UNWIND-BUSY] an exchange, since an interrupt may come between a look and a store. */
        if (!__sync_lock_test_and_set(&walk->busy, 1)) {
            walk->cached = level == 0;
            return walk;
        }
    }
    return NULL;
}

/* Whether the registers are those of clone (56) or clone3 (435), arch/x86/entry/syscalls/syscall_64.tbl. With
 * rax 0 it is a thread that the kernel has just made and that has not run yet: wherever that is, it is its
 * start. */
static __always_inline bool unwind_in_clone(const struct pt_regs *registers) {
    return registers->orig_ax == 56 || registers->orig_ax == 435;
}

/* Whether the task is in execve(): its registers are the old program's and its memory may be the new one's.
 */
static __always_inline bool unwind_in_exec(const struct task_struct *task) {
    return bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve);
}

/*
 * The current thread's user stack. NULL: the process tgid (as the collector calls it) has no table, or no
 * stack could be taken, which is counted. Give back what you get. In sched_switch the current thread is still
 * the one that is switched from.
 */
static __always_inline struct unwind_stack_taken *unwind_take(__u32 tgid) {
    __u32 zero = 0;
    __u32 *number = bpf_map_lookup_elem(&unwind_processes, &tgid);
    if (!number)
        return NULL;
    __u32 slot = *number;
    struct task_struct *task = bpf_get_current_task_btf();
    if ((task->flags & KERNEL_TASK_KTHREAD) || !task->mm) {
        unwind_count(UNWIND_END_NO_USER);
        return NULL;
    }
    const struct pt_regs *registers = (const struct pt_regs *)bpf_task_pt_regs(task);
    if (registers->cs != KERNEL_USER_CS) {
        unwind_count(UNWIND_END_NOT_64_BIT);
        return NULL;
    }
    struct unwind_cache *cache = bpf_map_lookup_elem(&unwind_cache, &zero);
    const struct unwind_tables_chunk *chunk = unwind_chunk(&unwind_tables, slot >> UNWIND_CHUNK_TABLES_BITS);
    struct unwind_walk *walk = unwind_walk_take();
    if (!walk) {
        unwind_count(UNWIND_END_BUSY);
        return NULL;
    }
    if (!cache || !chunk) {
        walk->busy = 0;
        unwind_count(UNWIND_END_BROKEN);
        return NULL;
    }
    const struct unwind_table *table =
        &chunk->tables[UNWIND_MASK(slot, (1U << UNWIND_CHUNK_TABLES_BITS) - 1)];
    walk->table = slot;
    walk->generation = table->generation;
    walk->table_flags = table->flags;
    walk->low = walk->high = 0;
    walk->pc = registers->ip;
    walk->sp = registers->sp;
    walk->bp = registers->bp;
    walk->is_return = 0;
    walk->leaf = 1;
    walk->cloning = unwind_in_clone(registers) && registers->ax != 0;
    walk->factor = 1;
    walk->stack.hash = 0;
    walk->stack.count = 0;
    walk->stack.flags = 0;
    walk->stack.misses = walk->stack.windows = 0;
    /* What a leaf keeps in the red zone is below rsp. */
    unwind_window_move(walk, (walk->sp - 128) & ~7ULL);

    int end = UNWIND_END_CUT;
    for (int i = 0; i < (int)UNWIND_FRAMES_MAX + 1; i++) {
        end = unwind_step(walk, cache);
        if (end >= 0)
            break;
    }
    if (walk->stack.count == 1 && end != UNWIND_END_START && unwind_in_clone(registers) && registers->ax == 0)
        end = UNWIND_END_START;
    if (end != UNWIND_END_START && unwind_in_exec(task))
        end = UNWIND_END_EXEC;
    walk->stack.end = end;
    walk->stack.hash = stack_hash_finish(walk->stack.hash);
    unwind_count(end);
    return &walk->stack;
}

static __always_inline void unwind_give(struct unwind_stack_taken *stack) {
    struct unwind_walk *walk = (void *)stack - offsetof(struct unwind_walk, stack);
    /* [UNWIND-BUSY] */
    walk->busy = 0;
}

#endif
