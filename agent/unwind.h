/* SPDX-License-Identifier: MIT */
/*
 * Exact unwinding by call frame information, made for the inside of somebody else's process:
 * no allocation, no lock, no signal mask, no write outside our own cache, and reads only inside the
 * thread's stack above the stack pointer.
 *
 * A pc is resolved once to a row (how to get CFA, return address and rbp) by the object's
 * .eh_frame_hdr and FDE, and kept in a cache for the whole process; after that a frame costs a look
 * into the cache and two loads. Code that has no FDE (JIT code, V8's builtins) is stepped over by its
 * frame pointer under the same bounds.
 *
 * Sources: System V ABI AMD64 section 3.7 (registers), LSB 5 "Exception Frames" (.eh_frame,
 * .eh_frame_hdr), DWARF 5 section 6.4 (call frame instructions).
 */
#ifndef WAITSCOPE_AGENT_UNWIND_H
#define WAITSCOPE_AGENT_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unwind_registers {
    uint64_t pc, sp, bp;
};

struct unwind_stack {
    uint64_t low, high; /* readable stack: [sp, high) if low <= sp < high; else reads go through the kernel */
    uint64_t own_start, own_bytes; /* code whose frames unwind_memo_take() leaves out */
};

#define UNWIND_INDIRECT_FRAMES_MAX 40 /* of a stack read through the kernel: a microsecond a word */

static inline bool unwind_is_direct(const struct unwind_registers *registers,
                                    const struct unwind_stack *stack) {
    return registers->sp >= stack->low && registers->sp < stack->high;
}

/* Fills frames with return addresses, the first being registers->pc itself, outermost last. *ret_complete
 * says whether the thread's start was reached. Any thread, also in a signal handler. */
size_t unwind_walk(const struct unwind_registers *registers, const struct unwind_stack *stack,
                   uint64_t *ret_frames, size_t frames_max, bool *ret_complete);

/* Forgets all rows and what memos hold: code was unmapped. Any thread. */
void unwind_flush(void);

/* From now on (or no longer) stacks that only the kernel could read safely end at once. */
void unwind_kernel_avoid(bool avoid);

/* --- the memo ---------------------------------------------------------------------------------------- */

/*
 * A thread's last stack, kept in order to see fast that the next one is the same or differs at its leaf only.
 * unwind_memo.c says how. Zeroed memory is an empty memo. Frames lie root first, so a memo of a shallow stack
 * touches little of it. Only its thread uses it, one take at a time.
 */
#define UNWIND_MEMO_FRAMES 123U

struct unwind_memo_frame {
    uint64_t pc, bp;
    uint64_t sum;     /* stack_hash_add() over the frames from the root to this one */
    uint32_t sp;      /* in words above unwind_memo.low */
    int16_t bp_place; /* where bp was loaded from, in words from sp; see unwind_memo.c */
    uint8_t flags;
    uint8_t reserved;
};

struct unwind_memo {
    uint64_t low;        /* unwind_stack.low that sp counts from */
    uint32_t generation; /* of unwind_flush() */
    uint16_t count;
    bool complete;
    uint8_t misses, pause;
    uint8_t reserved[15];
    struct unwind_memo_frame frames[UNWIND_MEMO_FRAMES];
};
_Static_assert(sizeof(struct unwind_memo) <= 4096, "an idle thread touches one page of it");

/* The hash that unwind_frames_hash() gives for what unwind_walk() would see, frames of own code left out; 0
 * where the memo is of no use: take the plain walk. */
uint64_t unwind_memo_take(struct unwind_memo *memo, const struct unwind_registers *registers,
                          const struct unwind_stack *stack);

/* The stack of the take before, which did not return 0, leaf first. Returns the count; *ret_complete as of
 * unwind_walk(). */
size_t unwind_memo_frames(const struct unwind_memo *memo, uint64_t ret_frames[UNWIND_MEMO_FRAMES],
                          bool *ret_complete);

/* As of format/stack_hash.h. */
uint64_t unwind_frames_hash(const uint64_t *frames, size_t count);

/* --- objects ----------------------------------------------------------------------------------------- */

/* Finds ld.so's _dl_find_object (glibc 2.35). Without it there are frame pointers only. Returns
 * whether it is there. */
bool unwind_prepare(void);

/* The loaded object that address lies in. glibc's struct dl_find_object (dlfcn.h), our own copy so that
 * no versioned symbol is needed. */
struct unwind_object {
    uint64_t flags;
    void *start, *end; /* mapped range */
    void *map;         /* struct link_map */
    void *eh_frame_hdr;
    uint64_t reserved[7];
};
bool unwind_object_find(uint64_t address, struct unwind_object *ret_object);

#define UNWIND_REGISTERS_HERE(registers)                                                                     \
    __asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"                                    \
                     : "=r"((registers)->pc), "=r"((registers)->sp), "=r"((registers)->bp))

#endif
