/* SPDX-License-Identifier: MIT */
#include "agent/unwind.h"

#include <stdatomic.h>
#include <sys/uio.h>

#include "agent/resolve.h"
#include "agent/syscall.h"
#include "agent/unwind_row.h"

/*
 * The row cache: one word an entry, so that a racing reader sees a whole entry or another whole one.
 * The index and the tag together are the pc: index = (pc ^ pc >> 12) & mask, tag = pc >> 12.
 *   bits 0..2 kind, 3..18 cfa, 19..28 bp, 29..63 tag
 * [ROW-CACHE] relaxed on both sides: an entry carries all of its data itself.
 */
#define CACHE_BITS 12
#define CACHE_ENTRIES (1U << CACHE_BITS)
#define TAG_SHIFT 29

static _Atomic uint64_t row_cache[CACHE_ENTRIES];

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
    for (size_t i = 0; i < CACHE_ENTRIES; i++)
        atomic_store_explicit(&row_cache[i], 0, memory_order_relaxed); /* [ROW-CACHE] */
}

static uint64_t row_pack(uint64_t pc, const struct unwind_row *row) {
    return (pc >> CACHE_BITS) << TAG_SHIFT | (uint64_t)(row->bp & 0x3ff) << 19 |
           (uint64_t)(row->cfa & 0xffff) << 3 | row->kind;
}

static __attribute__((noinline)) uint64_t row_miss(uint64_t pc, _Atomic uint64_t *place) {
    struct unwind_object object;
    struct unwind_row row = {.kind = UNWIND_FRAME};
    if (!unwind_object_find(pc, &object))
        return row_pack(pc, &row); /* not cached: other code may be loaded there later */
    unwind_row_compute(&object, pc, &row);
    uint64_t packed = row_pack(pc, &row);
    atomic_store_explicit(place, packed, memory_order_relaxed); /* [ROW-CACHE] */
    return packed;
}

static inline uint64_t row_find(uint64_t pc) {
    _Atomic uint64_t *place = &row_cache[(pc ^ pc >> CACHE_BITS) & (CACHE_ENTRIES - 1)];
    uint64_t packed = atomic_load_explicit(place, memory_order_relaxed); /* [ROW-CACHE] */
    if (__builtin_expect(packed >> TAG_SHIFT == pc >> CACHE_BITS && packed, 1))
        return packed;
    return row_miss(pc, place);
}

struct walk {
    uint64_t low, high; /* words in [low, high) may be read directly */
    bool direct;
};

static bool word_read(const struct walk *walk, uint64_t address, uint64_t *ret_word) {
    if (address & 7)
        return false;
    if (__builtin_expect(walk->direct, 1)) {
        if (address < walk->low || address > walk->high - 8)
            return false;
        *ret_word = *(const uint64_t *)(uintptr_t)address;
        return true;
    }
    if (atomic_load_explicit(&kernel_avoid, memory_order_relaxed)) /* [UNWIND-KERNEL] */
        return false;
    /* A stack we know nothing of (a coroutine's, an alternate signal stack): ask the kernel, which
     * answers EFAULT where a load would kill the target. */
    struct iovec local = {ret_word, 8}, remote = {(void *)(uintptr_t)address, 8};
    long pid = AGENT_SYSCALL_0(SYS_getpid);
    return AGENT_SYSCALL_6(SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0) == 8;
}

/* ucontext_t as the kernel pushes it at rsp on x86-64: sigcontext begins at 40 (rbp 120, rsp 160, rip 168).
 */
enum { SIGNAL_RBP = 120, SIGNAL_RSP = 160, SIGNAL_RIP = 168 };

#define INDIRECT_FRAMES_MAX 40 /* of a stack read through the kernel: a microsecond a word */

size_t unwind_walk(const struct unwind_registers *registers, const struct unwind_stack *stack,
                   uint64_t *ret_frames, size_t frames_max, bool *ret_complete) {
    uint64_t pc = registers->pc, sp = registers->sp, bp = registers->bp;
    struct walk walk = {.low = sp, .high = stack->high, .direct = sp >= stack->low && sp < stack->high};
    size_t count = 0;
    bool is_return = false; /* pc is a return address: its call is at pc - 1 */

    *ret_complete = false;
    if (!walk.direct && frames_max > INDIRECT_FRAMES_MAX)
        frames_max = INDIRECT_FRAMES_MAX;
    while (count < frames_max) {
        ret_frames[count++] = pc;
        uint64_t row = row_find(is_return ? pc - 1 : pc);
        int64_t cfa_offset = (int64_t)(int16_t)(row >> 3) * 8;
        int64_t bp_offset = ((int64_t)(row << 35) >> 54) * 8;
        uint64_t cfa;
        is_return = true;

        switch (row & 7) {
        case UNWIND_RSP:
            cfa = sp + (uint64_t)cfa_offset;
            break;
        case UNWIND_RBP:
            cfa = bp + (uint64_t)cfa_offset;
            break;
        case UNWIND_DEREFERENCE:
            if (!word_read(&walk, bp + (uint64_t)cfa_offset, &cfa) || !word_read(&walk, bp, &bp))
                return count;
            break;
        case UNWIND_PLT:
            cfa = sp + 8 + ((pc & 15) >= 11 ? 8 : 0);
            break;
        case UNWIND_FRAME:
            if (bp < sp || !word_read(&walk, bp + 8, &pc))
                return count;
            cfa = bp + 16;
            if (!word_read(&walk, bp, &bp) || pc == 0)
                return count;
            sp = cfa;
            continue;
        case UNWIND_SIGNAL: {
            uint64_t frame = sp;
            if (!word_read(&walk, frame + SIGNAL_RIP, &pc) || !word_read(&walk, frame + SIGNAL_RBP, &bp) ||
                !word_read(&walk, frame + SIGNAL_RSP, &sp))
                return count;
            is_return = false;
            /* The interrupted code may run on another stack than the handler. */
            walk.low = sp;
            walk.high = stack->high;
            walk.direct = sp >= stack->low && sp < stack->high;
            continue;
        }
        case UNWIND_END:
            *ret_complete = true;
            return count;
        default:
            return count;
        }

        if (cfa <= sp || !word_read(&walk, cfa - 8, &pc))
            return count;
        if (bp_offset != 0 && !word_read(&walk, cfa + (uint64_t)bp_offset, &bp))
            return count;
        if (pc == 0) { /* a thread's first frame without an undefined return address */
            *ret_complete = true;
            return count;
        }
        sp = cfa;
    }
    return count;
}
