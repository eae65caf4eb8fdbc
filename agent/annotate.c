/* SPDX-License-Identifier: MIT */
/*
 * What programs tell through include/waitscope.h. Names go by their hash: the text is written to the
 * ring of the first thread that uses it.
 *
 * [NAMES-SEEN] A hash is put into names_seen (release) after the text's record was published; a thread
 * that finds it there (acquire) may name it without a text of its own, for the collector looks for texts
 * one sweep further than for what names them (collector/drain.c). Two names that share a place take it
 * from each other and are written again: the collector knows them.
 */
#include "agent/annotate.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/filter.h"
#include "include/waitscope.h"

#define NAMES_SEEN_BITS 9
#define ADDRESS_END (1ULL << LOCK_KEY_ADDRESS_BITS)

_Static_assert(WAITSCOPE_NAME_BYTES_MAX == NAME_BYTES_MAX, "as the header says");

static _Atomic uint64_t names_seen[1U << NAMES_SEEN_BITS];

/* The regions that a thread is in: how many, and at the end of its slot's private pages, which a thread
 * without regions does not touch, the first WAITSCOPE_REGIONS_MAX of them. */
static __thread uint32_t region_depth __attribute__((tls_model("initial-exec")));

struct region {
    uint64_t text;
    uint64_t begin; /* ticks; 0: its name could not be written, it is to be counted as lost */
};

#define REGIONS_OFFSET (SLOT_COUNTS_OFFSET - WAITSCOPE_REGIONS_MAX * sizeof(struct region))
_Static_assert(SLOT_PRIVATE_OFFSET + sizeof(struct agent_private) <= REGIONS_OFFSET &&
                   SLOT_COUNTS_OFFSET > SLOT_PRIVATE_OFFSET,
               "private pages have room for both");

static struct region *regions_of(struct thread_slot *slot) {
    return (struct region *)((char *)slot + REGIONS_OFFSET);
}

void annotate_forked(void) {
    region_depth = 0;
    for (size_t i = 0; i < sizeof(names_seen) / sizeof(names_seen[0]); i++)
        atomic_store_explicit(&names_seen[i], 0, memory_order_relaxed);
}

/* --- names ----------------------------------------------------------------------------------------- */

/* As much of a name as is kept, no UTF-8 character in part. */
static size_t name_bytes(const char *name) {
    size_t bytes = strnlen(name, NAME_BYTES_MAX + 1);
    if (bytes <= NAME_BYTES_MAX)
        return bytes;
    for (bytes = NAME_BYTES_MAX; bytes > NAME_BYTES_MAX - 4 && ((unsigned char)name[bytes] & 0xc0) == 0x80;)
        bytes--;
    return bytes;
}

static uint64_t name_hash(const char *name, size_t bytes) {
    uint64_t hash = bytes * 0x9E3779B97F4A7C15ULL, word;
    for (; bytes >= 8; bytes -= 8, name += 8) {
        memcpy(&word, name, 8);
        hash = (hash ^ word) * 0xd6e8feb86659fd93ULL;
        hash ^= hash >> 32;
    }
    for (word = 0; bytes > 0; bytes--)
        word = word << 8 | (unsigned char)name[bytes - 1];
    hash = (hash ^ word) * 0xd6e8feb86659fd93ULL;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

/* Writes a name unless the collector has it. *ret_text: its hash, 0 for no name. False: there was no room.
 * Busy only. */
static bool name_define(struct thread_slot *slot, const char *name, uint64_t *ret_text) {
    *ret_text = 0;
    if (!name || !name[0])
        return true;
    size_t bytes = name_bytes(name);
    uint64_t hash = *ret_text = name_hash(name, bytes);
    _Atomic uint64_t *seen = &names_seen[hash >> (64 - NAMES_SEEN_BITS)];
    if (AGENT_LIKELY(atomic_load_explicit(seen, memory_order_acquire) == hash)) /* [NAMES-SEEN] */
        return true;
    struct record_name *record = agent_record_reserve(slot, RECORD_NAME, (uint32_t)(sizeof(*record) + bytes));
    if (!record)
        return false;
    record->header.value = (uint32_t)bytes;
    record->hash = hash;
    memcpy(record->text, name, bytes);
    agent_record_commit(slot);
    atomic_store_explicit(seen, hash, memory_order_release); /* [NAMES-SEEN] */
    return true;
}

/* A record that needs a name which could not be written is lost with it. */
static void name_lost(struct thread_slot *slot) {
    if (agent_recording())
        agent_record_lost(slot, LOSS_RING_FULL);
}

AGENT_EXPORT void waitscope_agent_name_lock(const volatile void *lock, const char *name) {
    struct thread_slot *slot = agent_slot();
    const void *object = (const void *)(uintptr_t)lock;
    uint64_t text;
    if (!slot || !object || (uint64_t)(uintptr_t)object >= ADDRESS_END)
        return;
    agent_busy_enter();
    agent_module_note(slot, (uintptr_t)object);
    struct record_lock_name *record = NULL;
    if (name_define(slot, name, &text))
        record = agent_record_reserve(slot, RECORD_LOCK_NAME, sizeof(*record));
    else
        name_lost(slot);
    if (record) {
        record->key = filter_generation_raise(object, LOCK_CLASS_NONE);
        record->text = text;
        agent_record_commit(slot);
    }
    agent_busy_leave();
}

AGENT_EXPORT void waitscope_agent_name_thread(const char *name) {
    struct thread_slot *slot = agent_slot();
    uint64_t text;
    if (!slot || !name || !name[0])
        return;
    agent_busy_enter();
    struct record_thread_name *record = NULL;
    if (name_define(slot, name, &text))
        record = agent_record_reserve(slot, RECORD_THREAD_NAME, sizeof(*record));
    else
        name_lost(slot);
    if (record) {
        record->header.flags = THREAD_NAME_GIVEN;
        record->tid = slot->tid;
        record->reserved = 0;
        memset(record->name, 0, sizeof(record->name));
        record->text = text;
        agent_record_commit(slot);
    }
    agent_busy_leave();
}

/* --- regions --------------------------------------------------------------------------------------- */

AGENT_EXPORT void waitscope_agent_region_begin(const char *name) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return;
    agent_busy_enter();
    if (region_depth < WAITSCOPE_REGIONS_MAX) {
        struct region *region = &regions_of(slot)[region_depth];
        bool named = name_define(slot, name, &region->text);
        region->begin = named ? agent_ticks() : 0;
    }
    region_depth++;
    agent_busy_leave();
}

/* The innermost region is over. Busy only. */
static void region_end(struct thread_slot *slot, uint64_t end, uint32_t flags) {
    uint32_t depth = --region_depth;
    if (depth >= WAITSCOPE_REGIONS_MAX) {
        if (agent_recording())
            agent_record_lost(slot, LOSS_HELD_DEEP);
        return;
    }
    const struct region *region = &regions_of(slot)[depth];
    if (region->begin == 0) {
        name_lost(slot);
        return;
    }
    struct record_region *record = agent_record_reserve(slot, RECORD_REGION, sizeof(*record));
    if (!record)
        return;
    record->header.flags = (uint8_t)flags;
    record->header.value = depth;
    record->text = region->text;
    record->begin = region->begin;
    record->end = end;
    agent_record_commit(slot);
}

AGENT_EXPORT void waitscope_agent_region_end(void) {
    struct thread_slot *slot = agent_slot();
    if (!slot || region_depth == 0)
        return;
    uint64_t end = agent_ticks();
    agent_busy_enter();
    region_end(slot, end, 0);
    agent_busy_leave();
}

void annotate_regions_end(struct thread_slot *slot) {
    while (region_depth > 0)
        region_end(slot, agent_ticks(), REGION_OPEN);
}
