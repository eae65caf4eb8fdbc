/* SPDX-License-Identifier: MIT */
/*
 * A byte ring between one thread of a target (the writer) and the collector (the reader), in shared
 * memory. Records are whole 8-byte words and never split by the end of the ring: RECORD_PAD fills
 * what is left before it. The writer never waits: a full ring refuses the record.
 *
 *   operation                       with itself      with the others
 *   ring_reserve, ring_commit       one writer       may run beside all reader operations
 *   ring_read, ring_release         one reader       may run beside all writer operations
 *
 * The writer's thread may be interrupted by its own signal handlers; the caller sees to it that a
 * handler does not write (the agent's busy guard).
 *
 * Orderings
 *   [RING-PUBLISH]  ring_commit stores head with release after the record's bytes; ring_read loads
 *                   head with acquire: what lies below head is complete. A writer killed before the
 *                   store has written nothing.
 *   [RING-CONSUME]  ring_release stores tail with release after it has copied the bytes out;
 *                   ring_reserve loads tail with acquire: no byte is overwritten that is still to be
 *                   read.
 *
 * Each side distrusts the other's counter: a tail beyond head or too far behind reads as "full", a
 * head that is behind, ahead by more than the ring or misaligned reads as "corrupt".
 */
#ifndef WAITSCOPE_FORMAT_RING_H
#define WAITSCOPE_FORMAT_RING_H

#include <stdbool.h>
#include <stddef.h>

#include "format/slab.h"

/*
 * Room for one record of bytes (a multiple of 8, at most RECORD_WORDS_MAX words), or NULL if the ring is
 * full. ring_bytes is a power of two. *ret_head is to be given to ring_commit. Writer only.
 */
static inline void *ring_reserve(struct ring_state *ring, char *ring_memory, uint32_t ring_bytes,
                                 uint32_t bytes, uint64_t *ret_head) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed); /* own store */
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire); /* [RING-CONSUME] */
    uint32_t offset = (uint32_t)head & (ring_bytes - 1);
    uint32_t to_end = ring_bytes - offset;
    uint32_t pad = bytes > to_end ? to_end : 0;

    if (head - tail > ring_bytes || head - tail + pad + bytes > ring_bytes)
        return NULL;
    if (pad) {
        struct record_header *header = (struct record_header *)(ring_memory + offset);
        *header = (struct record_header){.kind = RECORD_PAD, .words = (uint16_t)(pad / 8)};
        offset = 0;
    }
    *ret_head = head + pad + bytes;
    return ring_memory + offset;
}

static inline void ring_commit(struct ring_state *ring, uint64_t head) {
    atomic_store_explicit(&ring->head, head, memory_order_release); /* [RING-PUBLISH] */
}

/*
 * Copies what is published from position tail on into out, at most out_bytes (a multiple of 8), and
 * returns how many bytes. The last record may be cut off: parse whole records only, then release
 * what was parsed. The copy is private: check it, not the ring. tail is the reader's own counter.
 * *ret_corrupt is set if head cannot be true; then 0 is returned and ring_skip() goes on from there.
 * Reader only.
 */
size_t ring_read(struct ring_state *ring, const char *ring_memory, uint32_t ring_bytes, uint64_t tail,
                 void *out, size_t out_bytes, bool *ret_corrupt);

/* Gives the bytes up to tail back to the writer. Reader only. */
static inline void ring_release(struct ring_state *ring, uint64_t tail) {
    atomic_store_explicit(&ring->tail, tail, memory_order_release); /* [RING-CONSUME] */
}

/* The position after everything published, aligned down to a word: where a reader that found
 * corruption goes on. Reader only. */
uint64_t ring_skip(struct ring_state *ring);

#endif
