/* SPDX-License-Identifier: MIT */
/*
 * Takes a thread's stack, gives it a hash for a name, and defines it in the thread's ring the first
 * time. A definition that finds no room is not marked as seen, so the next use defines it again.
 */
#include <elf.h>
#include <link.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/unwind.h"
#include "agent/unwind_row.h"
#include "agent/unwind_step.h"

/* Leading frames of our own that may have to be dropped: the capture, a helper or two, the hook. */
#define OWN_FRAMES_MAX 6

static uint64_t hash_mix(uint64_t hash, uint64_t value) {
    hash ^= value;
    hash *= 0x9E3779B97F4A7C15ULL;
    return hash ^ hash >> 29;
}

/* --- modules --------------------------------------------------------------------------------------- */

#define MODULES_MAX 1024U

/* Objects by their place in this table, hashed by start address; private pages hold a bit for each that
 * says whether the thread's ring has its definition. An entry that is taken over by another object
 * raises module_epoch, which clears those bits. [MODULE-TABLE] relaxed: a race defines a module twice. */
static _Atomic uint64_t module_starts[MODULES_MAX];
static _Atomic uint32_t module_epoch;
static __thread uint32_t module_epoch_seen __attribute__((tls_model("initial-exec")));

void agent_modules_changed(void) {
    atomic_fetch_add_explicit(&module_epoch, 1, memory_order_relaxed); /* [MODULE-TABLE] */
}

/* The GNU build id, from the object's own headers in memory. Returns its size, 0 if it has none. */
static uint32_t build_id_read(const struct unwind_object *object, uint64_t bias, uint8_t *ret_id) {
    const ElfW(Ehdr) *elf = object->start;
    uint64_t size = (uint64_t)((char *)object->end - (char *)object->start);
    if (size < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_phoff + (uint64_t)elf->e_phnum * sizeof(ElfW(Phdr)) > 4096)
        return 0;
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)((const char *)elf + elf->e_phoff);
    for (unsigned i = 0; i < elf->e_phnum; i++, segment++) {
        if (segment->p_type != PT_NOTE)
            continue;
        uint64_t at = bias + segment->p_vaddr, end = at + segment->p_memsz;
        if (at < (uint64_t)(uintptr_t)object->start || end > (uint64_t)(uintptr_t)object->end)
            continue;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)(uintptr_t)at;
            uint64_t name = at + sizeof(*note), content = name + ((note->n_namesz + 3U) & ~3U);
            if (content + note->n_descsz > end)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                memcmp((const void *)(uintptr_t)name, "GNU", 4) == 0 &&
                note->n_descsz <= BUILD_ID_BYTES_MAX) {
                memcpy(ret_id, (const void *)(uintptr_t)content, note->n_descsz);
                return note->n_descsz;
            }
            at = content + ((note->n_descsz + 3U) & ~3U);
        }
    }
    return 0;
}

static bool module_define(struct thread_slot *slot, const struct unwind_object *object) {
    const struct link_map *map = object->map;
    const char *path = map && map->l_name ? map->l_name : "";
    uint32_t length = (uint32_t)strnlen(path, MODULE_PATH_MAX);
    struct record_module *record =
        agent_record_reserve(slot, RECORD_MODULE, (uint32_t)sizeof(*record) + length);
    if (!record)
        return false;
    record->header.value = length;
    record->start = (uint64_t)(uintptr_t)object->start;
    record->end = (uint64_t)(uintptr_t)object->end;
    record->bias = map ? map->l_addr : 0;
    memset(record->build_id, 0, sizeof(record->build_id));
    record->build_id_size = build_id_read(object, record->bias, record->build_id);
    memset(record->path, 0, (length + 7) & ~7U);
    memcpy(record->path, path, length);
    agent_record_commit(slot);
    return true;
}

void agent_module_note(struct thread_slot *slot, uintptr_t address) {
    struct unwind_object object;
    if (!unwind_object_find(address, &object))
        return;
    uint64_t start = (uint64_t)(uintptr_t)object.start;
    uint32_t place = (uint32_t)(hash_mix(1, start) >> 40) & (MODULES_MAX - 1);
    if (atomic_load_explicit(&module_starts[place], memory_order_relaxed) != start) { /* [MODULE-TABLE] */
        atomic_store_explicit(&module_starts[place], start, memory_order_relaxed);
        agent_modules_changed();
    }
    uint64_t *seen = agent_private(slot)->modules_seen;
    uint32_t epoch = atomic_load_explicit(&module_epoch, memory_order_relaxed); /* [MODULE-TABLE] */
    if (module_epoch_seen != epoch) {
        memset(seen, 0, sizeof(agent_private(slot)->modules_seen));
        module_epoch_seen = epoch;
    }
    uint64_t bit = 1ULL << (place % 64);
    if (!(seen[place / 64] & bit) && module_define(slot, &object))
        seen[place / 64] |= bit;
}

/* --- stacks ---------------------------------------------------------------------------------------- */

static bool stack_define(struct thread_slot *slot, uint64_t hash, const uint64_t *frames, uint32_t count,
                         uint32_t flags) {
    for (uint32_t i = 0; i < count; i++)
        agent_module_note(slot, frames[i] - 1);
    struct record_stack *record =
        agent_record_reserve(slot, RECORD_STACK, (uint32_t)sizeof(*record) + count * 8);
    if (!record)
        return false;
    record->header.flags = (uint8_t)flags;
    record->header.value = count;
    record->hash = hash;
    memcpy(record->frames, frames, (size_t)count * 8);
    agent_record_commit(slot);
    return true;
}

/* A thread that has taken fewer stacks than this takes them without the memo: it lies in a page of its own,
 * and most threads of a large pool wait for work and for little else. */
#define MEMO_AFTER 16U

static uint64_t stack_name(struct thread_slot *slot, uint64_t hash, const uint64_t *frames, uint32_t count,
                           uint32_t flags) {
    uint64_t *seen = &agent_private(slot)->seen[hash >> 57];
    if (*seen != hash && stack_define(slot, hash, frames, count, flags))
        *seen = hash;
    return hash;
}

/* Why a walk got no further than the frame that this address returns to. Where the frame was interrupted by a
 * signal it is no return address, and at a function's first instruction the row is that of the code before.
 */
static uint32_t stack_end_flags(uint64_t outermost) {
    switch (unwind_row_find(outermost - 1) & 7) {
    case CFI_ROW_FRAME:
        return STACK_INCOMPLETE | STACK_NO_INFORMATION;
    case CFI_ROW_FULL:
        return STACK_INCOMPLETE | STACK_NO_RULE;
    default:
        return STACK_INCOMPLETE;
    }
}

/* The stack that the memo has just taken is a new one to the ring. */
static AGENT_SLOW uint64_t stack_from_memo(struct thread_slot *slot, uint64_t hash) {
    uint64_t frames[UNWIND_MEMO_FRAMES];
    bool complete;
    size_t count = unwind_memo_frames(&agent_private(slot)->memo, frames, &complete);
    uint32_t flags = complete || count == 0 ? 0 : stack_end_flags(frames[count - 1]);
    return stack_name(slot, hash, frames, (uint32_t)count, flags);
}

static AGENT_SLOW uint64_t stack_from_walk(struct thread_slot *slot, const struct unwind_registers *registers,
                                           const struct unwind_stack *stack) {
    uint64_t frames[STACK_FRAMES_MAX + OWN_FRAMES_MAX];
    bool complete;
    size_t count = unwind_walk(registers, stack, frames, STACK_FRAMES_MAX + OWN_FRAMES_MAX, &complete);

    uint32_t kept = 0, flags = 0;
    for (size_t i = 0; i < count && kept < STACK_FRAMES_MAX; i++)
        if (frames[i] - stack->own_start >= stack->own_bytes)
            frames[kept++] = frames[i];
    if (kept == 0)
        return 0;
    size_t count_most = unwind_is_direct(registers, stack) ? STACK_FRAMES_MAX : UNWIND_INDIRECT_FRAMES_MAX;
    if (!complete)
        flags = count >= count_most ? STACK_TRUNCATED : stack_end_flags(frames[count - 1]);
    return stack_name(slot, unwind_frames_hash(frames, kept), frames, kept, flags);
}

/* Not inlined: its frame is the first of those dropped. */
AGENT_SLOW uint64_t agent_stack(struct thread_slot *slot) {
    struct unwind_registers registers;
    /* Where this library's code lies; frames in it are not the target's. */
    extern const char code_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
    extern const char code_end[] __asm__("_etext") __attribute__((visibility("hidden")));
    struct unwind_stack stack = {
        .low = agent_thread.stack_low,
        .high = agent_thread.stack_high,
        .own_start = (uint64_t)(uintptr_t)code_start,
        .own_bytes = (uint64_t)(uintptr_t)code_end - (uint64_t)(uintptr_t)code_start,
    };

    if (!agent_recording())
        return 0;
    UNWIND_REGISTERS_HERE(&registers);
    struct agent_private *own = agent_private(slot);
    uint64_t hash = 0;
    if (own->stacks_taken == MEMO_AFTER)
        hash = unwind_memo_take(&own->memo, &registers, &stack);
    else
        own->stacks_taken++;
    if (hash == 0)
        hash = stack_from_walk(slot, &registers, &stack);
    else if (own->seen[hash >> 57] != hash)
        hash = stack_from_memo(slot, hash);
    /* Not a tail call: unwinding goes through this frame. */
    __asm__ volatile("" : "+r"(hash));
    return hash;
}
