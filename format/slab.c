/* SPDX-License-Identifier: MIT */
#include "format/slab.h"

#include <errno.h>

int slab_geometry_check(const struct slab_header *header, uint64_t descriptor_bytes) {
    if (header->magic != SLAB_MAGIC || header->version != SLAB_VERSION)
        return -EINVAL;
    if (header->slot_count == 0 || header->slot_count > SLAB_SLOTS_MAX)
        return -EINVAL;
    if (header->ring_bytes < RING_BYTES_MIN || header->ring_bytes > RING_BYTES_MAX ||
        (header->ring_bytes & (header->ring_bytes - 1)) != 0)
        return -EINVAL;
    if (header->slot_bytes != SLOT_RING_OFFSET + header->ring_bytes)
        return -EINVAL;
    if (header->exe_size > sizeof(header->exe) || header->command_size > sizeof(header->command))
        return -EINVAL;
    if (header->clock_kind > CLOCK_KIND_TSC)
        return -EINVAL;
    uint64_t bytes = SLAB_HEADER_BYTES + (uint64_t)header->slot_count * header->slot_bytes;
    if (bytes != descriptor_bytes || bytes != header->slab_bytes)
        return -EINVAL;
    return 0;
}
