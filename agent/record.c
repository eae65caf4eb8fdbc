/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "agent/agent.h"
#include "format/ring.h"

static void counter_add(_Atomic uint64_t *counter) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Definitions (stacks, modules, names, shared locks) are not counted as emitted: when one is lost, it is
 * written again with the next record that needs it. */
static bool kind_is_definition(enum record_kind kind) {
    return kind == RECORD_STACK || kind == RECORD_MODULE || kind == RECORD_NAME || kind == RECORD_LOCK_SHARED;
}

/* Inlined where the kind and the size are known. *ret_head: for ring_commit(). */
static inline __attribute__((always_inline)) void *
record_reserve(struct thread_slot *slot, enum record_kind kind, uint32_t bytes, uint64_t *ret_head) {
    if (AGENT_UNLIKELY(!agent_recording()) && kind != RECORD_COUNT)
        return NULL;
    bool counted = !kind_is_definition(kind);
    if (counted)
        counter_add(&slot->emitted);
    uint32_t words = (bytes + 7) / 8;
    if (words > RECORD_WORDS_MAX) {
        counter_add(&slot->lost[LOSS_TOO_LONG]);
        return NULL;
    }
    void *place =
        ring_reserve(&slot->ring, slot_ring_bytes(slot), agent_thread.ring_bytes, words * 8, ret_head);
    if (AGENT_UNLIKELY(!place) && counted)
        counter_add(&slot->lost[LOSS_RING_FULL]);
    return place;
}

static struct record_header header_of(enum record_kind kind, uint32_t bytes, uint32_t flags, uint32_t value) {
    return (struct record_header){(uint8_t)kind, (uint8_t)flags, (uint16_t)((bytes + 7) / 8), value};
}

static __thread uint64_t commit_head __attribute__((tls_model("initial-exec")));

void *agent_record_reserve(struct thread_slot *slot, enum record_kind kind, uint32_t bytes) {
    struct record_header *header = record_reserve(slot, kind, bytes, &commit_head);
    if (header)
        *header = header_of(kind, bytes, 0, 0);
    return header;
}

void agent_record_lost(struct thread_slot *slot, enum loss_reason reason) {
    counter_add(&slot->emitted);
    counter_add(&slot->lost[reason]);
}

void agent_record_commit(struct thread_slot *slot) {
    ring_commit(&slot->ring, commit_head);
}

/* Word by word: the parts of a wait are stored one by one just before, and a load that spans two such stores
 * has to wait until both have reached the cache. */
static inline uint64_t word_apart(uint64_t word) {
    __asm__("" : "+r"(word));
    return word;
}

void agent_record_wait(struct thread_slot *slot, const struct record_wait *wait) {
    uint64_t head;
    struct record_wait *record = record_reserve(slot, RECORD_WAIT, sizeof(*record), &head);
    if (!record)
        return;
    record->header = header_of(RECORD_WAIT, sizeof(*record), wait->header.flags, wait->header.value);
    record->key = word_apart(wait->key);
    record->begin = word_apart(wait->begin);
    record->end = word_apart(wait->end);
    record->stack = word_apart(wait->stack);
    record->owner_site = word_apart(wait->owner_site);
    record->mutex = word_apart(wait->mutex);
    ring_commit(&slot->ring, head);
}

void agent_record_release(struct thread_slot *slot, uint64_t key, uint64_t time, uint64_t since,
                          uint64_t stack, uint32_t flags, uint32_t waiters) {
    uint64_t head;
    struct record_release *record = record_reserve(slot, RECORD_RELEASE, sizeof(*record), &head);
    if (!record)
        return;
    *record = (struct record_release){
        .header = header_of(RECORD_RELEASE, sizeof(*record), flags, waiters),
        .key = key,
        .time = time,
        .since = since,
        .stack = stack,
    };
    ring_commit(&slot->ring, head);
}

void agent_record_lock_init(struct thread_slot *slot, uint64_t key, uint64_t stack, uint32_t initial) {
    uint64_t head;
    struct record_lock_init *record = record_reserve(slot, RECORD_LOCK_INIT, sizeof(*record), &head);
    if (!record)
        return;
    *record = (struct record_lock_init){
        .header = header_of(RECORD_LOCK_INIT, sizeof(*record), 0, initial),
        .key = key,
        .time = agent_ticks(),
        .stack = stack,
    };
    ring_commit(&slot->ring, head);
}
