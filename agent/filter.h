/* SPDX-License-Identifier: MIT */
/*
 * What all threads know of locks without asking each other: a table of words hashed by address.
 *   bits  0..10  counts initialisations: the generation in a key
 *   bits 11..30  threads that wait for a lock of that hash
 *   bit  31      a thread keeps counts of a lock of that hash, made since the last initialisation
 *   bits 32..63  counts waits ever begun
 *   [FILTER-WAITERS]  A waiter adds itself (relaxed) before it blocks. A releaser that does not see
 *                     it yet writes no release record: the wait began at the very moment of the
 *                     release and is answered by the next one. No ordering is needed; the counter is
 *                     a hint, and only ever costs or saves a record.
 *   [FILTER-GENERATION]  Raised (release) by initialisation. Where bit 31 was set, counts of the former
 *                     lock may be kept under this address, and filter_epoch is raised after it (release).
 *                     An entry of counts is good as long as its epoch is the current one, read (acquire)
 *                     before the word: whoever sees the new epoch sees the new generation. A thread sets
 *                     bit 31 by the operation that reads the generation for a new entry, so either the
 *                     initialisation sees the bit or the entry has the new generation.
 */
#ifndef WAITSCOPE_AGENT_FILTER_H
#define WAITSCOPE_AGENT_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/visibility.h"
#include "format/record.h"

#define FILTER_BITS 12
#define FILTER_GENERATION ((1ULL << LOCK_KEY_GENERATION_BITS) - 1)
#define FILTER_WAITER (1ULL << LOCK_KEY_GENERATION_BITS)
#define FILTER_WAITERS_BITS 20
#define FILTER_COUNTED (1ULL << 31)
#define FILTER_BEGUN (1ULL << 32)

extern _Atomic uint64_t filter_words[1U << FILTER_BITS] AGENT_HIDDEN;
extern _Atomic uint32_t filter_epoch AGENT_HIDDEN;

static inline uint32_t lock_hash(const void *lock) {
    return (uint32_t)(((uint64_t)(uintptr_t)lock * 0x9E3779B97F4A7C15ULL) >> 32);
}
/* A key of generation 0: what a lock is told by as long as nobody asks which of those that lay there. */
static inline uint64_t lock_base(const void *lock, enum lock_class cls) {
    return (uint64_t)(uintptr_t)lock | (uint64_t)cls << LOCK_KEY_CLASS_SHIFT;
}

static inline _Atomic uint64_t *filter_word(uint32_t hash) {
    return &filter_words[hash >> (32 - FILTER_BITS)];
}
static inline uint64_t filter_load(uint32_t hash) {
    return atomic_load_explicit(filter_word(hash), memory_order_relaxed); /* [FILTER-WAITERS] */
}
static inline uint32_t filter_epoch_load(void) {
    return atomic_load_explicit(&filter_epoch, memory_order_acquire); /* [FILTER-GENERATION] */
}
/* The word for a new entry of counts, which is announced by the same operation. */
static inline uint64_t filter_count(uint32_t hash) {
    return atomic_fetch_or_explicit(filter_word(hash), FILTER_COUNTED,
                                    memory_order_acq_rel); /* [FILTER-GENERATION] */
}
static inline uint64_t filter_key(uint64_t base, uint64_t word) {
    return base | (word & FILTER_GENERATION) << LOCK_KEY_ADDRESS_BITS;
}
static inline uint32_t filter_waiters(uint64_t word) {
    return (uint32_t)(word >> LOCK_KEY_GENERATION_BITS) & ((1U << FILTER_WAITERS_BITS) - 1);
}
static inline uint32_t filter_begun(uint64_t word) {
    return (uint32_t)(word >> 32);
}
/* Returns the word with this waiter in it. */
static inline uint64_t filter_waiter_add(uint32_t hash) {
    uint64_t one = FILTER_WAITER + FILTER_BEGUN;
    return atomic_fetch_add_explicit(filter_word(hash), one, memory_order_relaxed) +
           one; /* [FILTER-WAITERS] */
}
static inline void filter_waiter_remove(uint32_t hash) {
    atomic_fetch_sub_explicit(filter_word(hash), FILTER_WAITER, memory_order_relaxed); /* [FILTER-WAITERS] */
}

/* The key that a lock has now. */
static inline uint64_t lock_key(const void *lock, uint32_t hash, enum lock_class cls) {
    return filter_key(lock_base(lock, cls), filter_load(hash));
}
static inline uint32_t lock_waiters(uint32_t hash) {
    return filter_waiters(filter_load(hash));
}

/* A new generation of whatever lock lies there; returns its key. Any thread. */
uint64_t filter_generation_raise(const void *lock, enum lock_class cls);
/* In a forked child: the waiters of the parent's threads are not here. */
void filter_forked(void);

#endif
