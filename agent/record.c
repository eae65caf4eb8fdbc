/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "agent/agent.h"
#include "format/ring.h"

static __thread uint64_t commit_head __attribute__((tls_model("initial-exec")));

static void counter_add(_Atomic uint64_t *counter) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Definitions (stacks, modules, names) are not counted as emitted: when one is lost, it is written again with
 * the next record that needs it. */
static bool kind_is_definition(enum record_kind kind) {
    return kind == RECORD_STACK || kind == RECORD_MODULE || kind == RECORD_NAME;
}

void *agent_record_reserve(struct thread_slot *slot, enum record_kind kind, uint32_t bytes) {
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
    struct record_header *header =
        ring_reserve(&slot->ring, slot_ring_bytes(slot), agent_thread.ring_bytes, words * 8, &commit_head);
    if (!header) {
        if (counted)
            counter_add(&slot->lost[LOSS_RING_FULL]);
        return NULL;
    }
    *header = (struct record_header){.kind = (uint8_t)kind, .words = (uint16_t)words};
    return header;
}

void agent_record_lost(struct thread_slot *slot, enum loss_reason reason) {
    counter_add(&slot->emitted);
    counter_add(&slot->lost[reason]);
}

void agent_record_commit(struct thread_slot *slot) {
    ring_commit(&slot->ring, commit_head);
}

void agent_record_wait(struct thread_slot *slot, const struct record_wait *wait) {
    struct record_wait *record = agent_record_reserve(slot, RECORD_WAIT, sizeof(*record));
    if (!record)
        return;
    struct record_header header = record->header;
    header.flags = wait->header.flags;
    header.value = wait->header.value;
    *record = *wait;
    record->header = header;
    agent_record_commit(slot);
}

void agent_record_release(struct thread_slot *slot, uint64_t key, uint64_t time, uint64_t since,
                          uint64_t stack, uint32_t flags, uint32_t waiters) {
    struct record_release *record = agent_record_reserve(slot, RECORD_RELEASE, sizeof(*record));
    if (!record)
        return;
    record->header.flags = (uint8_t)flags;
    record->header.value = waiters;
    record->key = key;
    record->time = time;
    record->since = since;
    record->stack = stack;
    agent_record_commit(slot);
}

void agent_record_lock_init(struct thread_slot *slot, uint64_t key, uint64_t stack, uint32_t initial) {
    struct record_lock_init *record = agent_record_reserve(slot, RECORD_LOCK_INIT, sizeof(*record));
    if (!record)
        return;
    record->header.value = initial;
    record->key = key;
    record->time = agent_ticks();
    record->stack = stack;
    agent_record_commit(slot);
}
