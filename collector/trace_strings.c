/* SPDX-License-Identifier: MIT */
#include "collector/trace_strings.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct string_entry {
    uint64_t hash;
    size_t offset, size; /* in bytes */
};

struct trace_strings {
    uint64_t seed;
    struct string_entry *entries; /* the string of id is at id - 1 */
    size_t count, capacity;
    size_t *slots; /* open addressing: id, 0 for none; a power of two of them, at most half used */
    size_t slot_count;
    char *bytes;
    size_t bytes_used, bytes_capacity;
};

/* Names come from the target, which shall not be able to choose colliding ones: hence the seed. */
static uint64_t string_hash(uint64_t seed, const char *bytes, size_t size) {
    uint64_t hash = seed ^ size;
    while (size > 0) {
        uint64_t word = 0;
        size_t part = size < sizeof(word) ? size : sizeof(word);
        memcpy(&word, bytes, part);
        unsigned __int128 product = (unsigned __int128)(hash ^ word) * 0x9e3779b97f4a7c15ULL;
        hash = ((uint64_t)product ^ (uint64_t)(product >> 64)) + seed;
        bytes += part;
        size -= part;
    }
    return hash ^ hash >> 32;
}

int trace_strings_new(struct trace_strings **ret_strings) {
    struct trace_strings *strings = calloc(1, sizeof(*strings));
    if (!strings)
        return -ENOMEM;
    if (getrandom(&strings->seed, sizeof(strings->seed), GRND_NONBLOCK) != sizeof(strings->seed))
        strings->seed = (uint64_t)clock() ^ (uint64_t)(uintptr_t)strings;
    *ret_strings = strings;
    return 0;
}

void trace_strings_free(struct trace_strings *strings) {
    if (!strings)
        return;
    free(strings->entries);
    free(strings->slots);
    free(strings->bytes);
    free(strings);
}

/* The slot that has the string or where it would go. */
static size_t slot_find(const struct trace_strings *strings, uint64_t hash, const char *bytes, size_t size) {
    size_t slot = hash & (strings->slot_count - 1);
    for (; strings->slots[slot] != 0; slot = (slot + 1) & (strings->slot_count - 1)) {
        const struct string_entry *entry = &strings->entries[strings->slots[slot] - 1];
        if (entry->hash == hash && entry->size == size &&
            memcmp(strings->bytes + entry->offset, bytes, size) == 0)
            break;
    }
    return slot;
}

static int slots_grow(struct trace_strings *strings) {
    size_t slot_count = strings->slot_count ? strings->slot_count * 2 : 256;
    size_t *slots = calloc(slot_count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < strings->count; i++) {
        size_t slot = strings->entries[i].hash & (slot_count - 1);
        while (slots[slot] != 0)
            slot = (slot + 1) & (slot_count - 1);
        slots[slot] = i + 1;
    }
    free(strings->slots);
    strings->slots = slots;
    strings->slot_count = slot_count;
    return 0;
}

static int strings_reserve(struct trace_strings *strings, size_t size) {
    if (strings->count == strings->capacity) {
        size_t capacity = strings->capacity ? strings->capacity * 2 : 128;
        struct string_entry *entries = realloc(strings->entries, capacity * sizeof(*entries));
        if (!entries)
            return -ENOMEM;
        strings->entries = entries;
        strings->capacity = capacity;
    }
    if (size > strings->bytes_capacity - strings->bytes_used) {
        size_t capacity = (strings->bytes_used + size) * 2;
        char *bytes = realloc(strings->bytes, capacity);
        if (!bytes)
            return -ENOMEM;
        strings->bytes = bytes;
        strings->bytes_capacity = capacity;
    }
    if (strings->count >= strings->slot_count / 2)
        return slots_grow(strings);
    return 0;
}

int trace_strings_intern(struct trace_strings *strings, const char *bytes, size_t size, uint64_t *ret_id) {
    uint64_t hash = string_hash(strings->seed, bytes, size);
    if (strings->slot_count > 0) {
        size_t id = strings->slots[slot_find(strings, hash, bytes, size)];
        if (id != 0) {
            *ret_id = id;
            return 0;
        }
    }
    int error = strings_reserve(strings, size);
    if (error < 0)
        return error;
    size_t slot = slot_find(strings, hash, bytes, size);
    strings->entries[strings->count] = (struct string_entry){hash, strings->bytes_used, size};
    if (size > 0)
        memcpy(strings->bytes + strings->bytes_used, bytes, size);
    strings->bytes_used += size;
    strings->count++;
    strings->slots[slot] = strings->count;
    *ret_id = strings->count;
    return 1;
}

void trace_strings_undo(struct trace_strings *strings) {
    const struct string_entry *entry = &strings->entries[strings->count - 1];
    /* The last one in has nothing behind it in its probe chain: emptying its slot breaks none. */
    size_t slot = entry->hash & (strings->slot_count - 1);
    while (strings->slots[slot] != strings->count)
        slot = (slot + 1) & (strings->slot_count - 1);
    strings->slots[slot] = 0;
    strings->bytes_used -= entry->size;
    strings->count--;
}
