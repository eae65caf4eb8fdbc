/* SPDX-License-Identifier: MIT */
#include "format/ring.h"

#include <string.h>

size_t ring_read(struct ring_state *ring, const char *ring_memory, uint32_t ring_bytes, uint64_t tail,
                 void *out, size_t out_bytes, bool *ret_corrupt) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire); /* [RING-PUBLISH] */
    uint64_t published = head - tail;

    if (published > ring_bytes || published % 8 != 0) {
        *ret_corrupt = true;
        return 0;
    }
    *ret_corrupt = false;

    size_t bytes = published < out_bytes ? (size_t)published : out_bytes;
    uint32_t offset = (uint32_t)tail & (ring_bytes - 1);
    size_t first = bytes < ring_bytes - offset ? bytes : ring_bytes - offset;
    memcpy(out, ring_memory + offset, first);
    memcpy((char *)out + first, ring_memory, bytes - first);
    return bytes;
}

uint64_t ring_skip(struct ring_state *ring) {
    return atomic_load_explicit(&ring->head, memory_order_acquire) & ~7ULL; /* [RING-PUBLISH] */
}
