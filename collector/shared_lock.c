/* SPDX-License-Identifier: MIT */
/*
 * Mutexes that several processes share, each at an address of its own. What they have in common is the place
 * in shared memory, which each process tells before it takes one for the first time (agent/shared_lock.c).
 * The second one that tells of a place is given the first one's lock from then on.
 *
 * A process that could not tell, because it is confined or has no /proc, has a lock of its own.
 */
#include "collector/recording.h"

static uint64_t hash_add(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;
    return hash ^ hash >> 29;
}

static uint64_t place_of(const struct record_lock_shared *record) {
    return hash_add(hash_add(hash_add(1, record->device), record->inode), record->offset);
}

void shared_lock_told(struct recording *recording, struct image *image,
                      const struct record_lock_shared *record) {
    uint64_t place = place_of(record), key = record->key;
    struct catalogue_lock *locks = recording->catalogue.locks;
    uint32_t known = table_get(&recording->shared_locks, place);
    uint32_t own = table_get(&image->locks, intern_key_place(key));
    bool made_here = own && !locks[own].inferred;
    if (known && locks[known].process != image->process && !made_here) {
        if (table_set(&image->locks, intern_key_place(key), known) == 0)
            locks[known].elsewhere = 1;
        return;
    }
    /* The first process to tell, or one that has initialised it anew. */
    own = intern_lock(recording, image, key, 0);
    if (own)
        table_set(&recording->shared_locks, place, own);
}

uint32_t shared_lock_owner(const struct recording *recording, const struct image *image, uint32_t lock,
                           uint32_t tid) {
    uint32_t thread = tid ? table_get(&image->threads, tid) : 0;
    if (thread || !tid || !recording->catalogue.locks[lock].elsewhere)
        return thread;
    /* Pid namespaces have tids of their own: only where both see what we see it is the same thread. */
    for (uint32_t i = 0; i < recording->image_count && !thread && image->pid == image->real_pid; i++) {
        const struct image *other = recording->images[i];
        if (other->pid == other->real_pid)
            thread = table_get(&other->threads, tid);
    }
    return thread;
}
