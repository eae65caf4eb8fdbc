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
};

/* Fills frames with return addresses, the first being registers->pc itself, outermost last. *ret_complete
 * says whether the thread's start was reached. Any thread, also in a signal handler. */
size_t unwind_walk(const struct unwind_registers *registers, const struct unwind_stack *stack,
                   uint64_t *ret_frames, size_t frames_max, bool *ret_complete);

/* Forgets all rows: code was unmapped. Any thread. */
void unwind_flush(void);

/* From now on (or no longer) stacks that only the kernel could read safely end at once. */
void unwind_kernel_avoid(bool avoid);

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
