/* SPDX-License-Identifier: MIT */
/*
 * The locks that lay at one address, newest first, for each image.
 *
 * A key's generation is a counter that many addresses share: it says "an initialisation may
 * have happened since", not "this lock's n-th life". So a key means the newest lock known at its
 * address whose generation is not after the key's. Initialisations are known here before any record
 * that could depend on them (drain.c), so a lock that was only inferred from its use has been there
 * since before: it also answers for older generations.
 *
 * A program that makes locks faster than their uses are dealt with has many newer ones before each that
 * is looked for. So every STRIDE locks of a chain, one also knows the one a stride older.
 */
#include <errno.h>

#include "collector/recording.h"

#define STRIDE 16U

_Static_assert(STRIDE <= 1U << CATALOGUE_POSITION_BITS, "a lock knows how many come before the next stride");

static bool lock_answers_for_all(const struct catalogue_lock *lock) {
    return lock->inferred || lock->elsewhere;
}

/* Lets the newest lock know the one a stride older, if it is certain that the counter has not wrapped since
 * then and that nothing between them answers for what is older. Without memory there is no stride. */
static void stride_make(struct image *image, const struct catalogue_lock *locks, uint32_t newest) {
    uint32_t id = newest, passed = 0;
    for (uint32_t i = 0; i < STRIDE; i++) {
        uint32_t older = locks[id].older;
        if (lock_answers_for_all(&locks[id]) || !older)
            return;
        passed += intern_generations_since(locks[id].key, locks[older].key);
        id = older;
    }
    if (passed < INTERN_GENERATIONS / 2 && !lock_answers_for_all(&locks[id]))
        (void)table_set(&image->lock_strides, newest, id);
}

int lock_chain_add(struct recording *recording, struct image *image, uint32_t id, bool initialised) {
    struct catalogue_lock *locks = recording->catalogue.locks;
    uint64_t key = locks[id].key, place = intern_key_place(key);
    uint32_t newest = table_get(&image->locks, place), newer = 0, next = newest;
    for (uint32_t step = 0; next && !initialised && step < INTERN_CHAIN_STEPS && !locks[next].inferred;
         step++) {
        uint32_t since = intern_generations_since(locks[next].key, key);
        if (since == 0 || since >= INTERN_GENERATIONS / 2)
            break;
        newer = next;
        next = locks[next].older;
    }
    locks[id].older = next;
    if (newer) {
        /* No stride may lead past it. */
        for (uint32_t passed = newest; passed != next; passed = locks[passed].older)
            (void)table_set(&image->lock_strides, passed, 0);
        locks[newer].older = id;
        locks[id].position = 1;
        return 0;
    }
    locks[id].position = next ? (locks[next].position + 1U) % STRIDE : 1;
    if (locks[id].position == 0)
        stride_make(image, locks, id);
    return table_set(&image->locks, place, id);
}

uint32_t lock_chain_find(const struct recording *recording, const struct image *image, uint64_t key) {
    const struct catalogue_lock *locks = recording->catalogue.locks;
    uint32_t id = table_get(&image->locks, intern_key_place(key));
    /* The counter wraps: half of it is taken as "after" for the newest lock. */
    if (!id || lock_answers_for_all(&locks[id]) ||
        intern_generations_since(key, locks[id].key) < INTERN_GENERATIONS / 2)
        return id;
    for (uint32_t step = 0; step < INTERN_CHAIN_STEPS; step++) {
        const struct catalogue_lock *lock = &locks[id];
        uint32_t stride = lock->position == 0 ? table_get(&image->lock_strides, id) : 0;
        if (stride && intern_generations_since(lock->key, key) >
                          intern_generations_since(lock->key, locks[stride].key)) {
            id = stride;
            continue;
        }
        /* An older one lasted until the next was initialised. */
        const struct catalogue_lock *older = &locks[lock->older];
        if (!lock->older || lock_answers_for_all(older) ||
            intern_generations_since(key, older->key) < intern_generations_since(lock->key, older->key))
            return lock->older;
        id = lock->older;
    }
    return 0;
}
