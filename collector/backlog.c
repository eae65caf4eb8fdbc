/* SPDX-License-Identifier: MIT */
#include "collector/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_BYTES (512U << 10)
#define SPARE_BLOCKS 16U /* kept: giving memory back and faulting it in again costs as much as copying */
#define FIRST_BLOCKS 6U  /* faulted in before anything is recorded, and kept for good */
#define LOOK_NS 100000000ULL

struct backlog_block {
    struct backlog_block *next;
    uint32_t used;
    _Alignas(16) char bytes[];
};

#define BLOCK_MAPPED (sizeof(struct backlog_block) + BLOCK_BYTES)

struct backlog {
    struct backlog_block *first, *last;
    struct backlog_block *spare;
    uint32_t spare_count;
    uint32_t spare_least; /* since the last look: that many were not needed */
    uint64_t next_look_ns;
    uint64_t used;
};

static struct backlog_block *block_new(void) {
    /* Mapped each by itself: what is given back goes back to the system. It comes zeroed. */
    void *mapped = mmap(NULL, BLOCK_MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void block_free(struct backlog_block *block) {
    munmap(block, BLOCK_MAPPED);
}

int backlog_new(struct backlog **ret_backlog) {
    struct backlog *backlog = calloc(1, sizeof(*backlog));
    if (!backlog)
        return -ENOMEM;
    backlog->first = backlog->last = block_new();
    if (!backlog->first) {
        free(backlog);
        return -ENOMEM;
    }
    for (; backlog->spare_count < FIRST_BLOCKS; backlog->spare_count++) {
        struct backlog_block *block = block_new();
        if (!block)
            break;
        memset(block->bytes, 0, BLOCK_BYTES);
        block->next = backlog->spare;
        backlog->spare = block;
    }
    *ret_backlog = backlog;
    return 0;
}

static void blocks_free(struct backlog_block *block) {
    while (block) {
        struct backlog_block *next = block->next;
        block_free(block);
        block = next;
    }
}

void backlog_free(struct backlog *backlog) {
    if (!backlog)
        return;
    blocks_free(backlog->first);
    blocks_free(backlog->spare);
    free(backlog);
}

struct backlog_cursor backlog_begin(const struct backlog *backlog) {
    return (struct backlog_cursor){backlog->first, 0};
}

uint64_t backlog_entry_bytes(const struct backlog_entry *entry) {
    return sizeof(*entry) + entry->bytes;
}

uint64_t backlog_used(const struct backlog *backlog) {
    return backlog->used;
}

struct backlog_entry *backlog_reserve(struct backlog *backlog, uint32_t bytes) {
    uint32_t wanted = (uint32_t)sizeof(struct backlog_entry) + bytes;
    if (bytes > BACKLOG_CHUNK_BYTES || backlog->used + wanted > BACKLOG_BYTES)
        return NULL;
    if (wanted > BLOCK_BYTES - backlog->last->used) {
        struct backlog_block *block = backlog->spare;
        if (block) {
            backlog->spare = block->next;
            if (--backlog->spare_count < backlog->spare_least)
                backlog->spare_least = backlog->spare_count;
            block->next = NULL;
            block->used = 0;
        } else {
            block = block_new();
        }
        if (!block)
            return NULL;
        backlog->last->next = block;
        backlog->last = block;
    }
    return (struct backlog_entry *)(void *)(backlog->last->bytes + backlog->last->used);
}

void backlog_commit(struct backlog *backlog, struct backlog_entry *entry) {
    backlog->last->used += (uint32_t)backlog_entry_bytes(entry);
    backlog->used += backlog_entry_bytes(entry);
}

struct backlog_entry *backlog_at(struct backlog_cursor *cursor) {
    while (cursor->offset == cursor->block->used) {
        if (!cursor->block->next)
            return NULL;
        cursor->block = cursor->block->next;
        cursor->offset = 0;
    }
    return (struct backlog_entry *)(void *)(cursor->block->bytes + cursor->offset);
}

void backlog_step(struct backlog_cursor *cursor, const struct backlog_entry *entry) {
    cursor->offset += (uint32_t)backlog_entry_bytes(entry);
}

void backlog_release(struct backlog *backlog, struct backlog_cursor *cursor,
                     const struct backlog_entry *entry) {
    backlog->used -= backlog_entry_bytes(entry);
    backlog_step(cursor, entry);
    /* All other cursors are behind this entry, hence in its block or a later one. */
    while (backlog->first != cursor->block) {
        struct backlog_block *block = backlog->first;
        backlog->first = block->next;
        if (backlog->spare_count == SPARE_BLOCKS) {
            block_free(block);
            continue;
        }
        block->next = backlog->spare;
        backlog->spare = block;
        backlog->spare_count++;
    }
}

void backlog_tick(struct backlog *backlog, uint64_t now_ns) {
    if (now_ns < backlog->next_look_ns)
        return;
    backlog->next_look_ns = now_ns + LOOK_NS;
    if (backlog->spare_least > 0 && backlog->spare_count > FIRST_BLOCKS) {
        struct backlog_block *block = backlog->spare;
        backlog->spare = block->next;
        backlog->spare_count--;
        block_free(block);
    }
    backlog->spare_least = backlog->spare_count;
}
