/* SPDX-License-Identifier: MIT */
/*
 * Names that programs give (include/waitscope.h), for each image.
 *
 * Naming a lock raises the generation of its address, so that every use of it is known to lie before or
 * after; which class of lock lies there is known only from its uses. So namings are kept in a chain for
 * each address, newest first, and a lock is matched with the naming that was in force at a use of it:
 *
 *   the lock has no name yet              the naming is of this lock: it was named after its first use
 *   the lock was initialised since        the naming was of a lock before it
 *   it has another name, or is gone       another lock lies there since the naming
 *
 * A naming may be known before the lock, or the lock before the naming: both ways lead to the same.
 */
#include <errno.h>

#include "collector/recording.h"

#define NAMES_MAX (1U << 20) /* of one image: a hostile target gets no more memory out of us */
#define NAME_BYTES_TOTAL (256ULL << 20)

void naming_text_define(struct recording *recording, struct image *image, const struct record_name *record) {
    if (table_get(&image->names, record->hash) || image->names.live >= NAMES_MAX ||
        recording->name_bytes + record->header.value > NAME_BYTES_TOTAL)
        return;
    uint64_t name = trace_writer_string(recording->writer, record->text, record->header.value);
    if (name == 0 || name > UINT32_MAX || table_set(&image->names, record->hash, (uint32_t)name) != 0)
        return;
    recording->name_bytes += record->header.value;
}

int naming_text(const struct image *image, uint64_t hash, uint32_t *ret_name) {
    uint32_t name = hash ? table_get(&image->names, hash) : 0;
    if (hash && !name)
        return -ENOENT;
    *ret_name = name;
    return 0;
}

static uint32_t naming_name(const struct recording *recording, uint32_t naming) {
    return naming ? recording->catalogue.namings[naming].name : 0;
}

/* Whether a naming was before the lock's own beginning. */
static bool naming_is_before(const struct recording *recording, uint32_t naming,
                             const struct catalogue_lock *lock) {
    uint32_t since = intern_generations_since(lock->key, recording->catalogue.namings[naming].key);
    return !lock->inferred && since > 0 && since < INTERN_GENERATIONS / 2;
}

void naming_tell(struct recording *recording, uint32_t lock) {
    uint32_t name = naming_name(recording, recording->catalogue.locks[lock].naming);
    struct trace_lock_name row = {.lock = lock, .name = name, .source = TRACE_NAME_ANNOTATION};
    if (name)
        trace_writer_row(recording->writer, TRACE_LOCK_NAME, 0, &row);
}

/* Whether the lock was said to be gone before this naming of its address. */
static bool lock_was_gone(const struct recording *recording, const struct catalogue_lock *lock,
                          uint32_t naming) {
    const struct catalogue_naming *namings = recording->catalogue.namings;
    uint32_t id = namings[naming].older;
    for (uint32_t step = 0; id && id != lock->naming && step < INTERN_CHAIN_STEPS; step++) {
        if (naming_is_before(recording, id, lock))
            return false;
        if (namings[id].name == 0)
            return true;
        id = namings[id].older;
    }
    return false;
}

bool naming_fits(struct recording *recording, uint32_t id, uint32_t naming) {
    struct catalogue_lock *lock = &recording->catalogue.locks[id];
    if (!naming || lock->naming == naming || naming_is_before(recording, naming, lock))
        return true;
    uint32_t has = naming_name(recording, lock->naming), name = naming_name(recording, naming);
    if (name == 0 || (has && has != name) || lock_was_gone(recording, lock, naming))
        return false;
    lock->naming = naming;
    if (!has)
        naming_tell(recording, id);
    return true;
}

/* What is already known to lie there is named, whether it is used again or not. */
static void locks_match(struct recording *recording, const struct image *image, uint32_t naming) {
    uint64_t key = recording->catalogue.namings[naming].key;
    for (unsigned cls = LOCK_CLASS_MUTEX; cls < LOCK_CLASS_JOIN; cls++) {
        uint32_t id = table_get(&image->locks, lock_key_make(lock_key_address(key), 0, (enum lock_class)cls));
        if (id)
            naming_fits(recording, id, naming);
    }
}

int naming_add(struct recording *recording, struct image *image, uint64_t key, uint32_t name) {
    uint64_t place = intern_key_place(key);
    struct catalogue_naming naming = {.key = key, .name = name, .older = table_get(&image->namings, place)};
    uint32_t id = catalogue_naming_add(&recording->catalogue, &naming);
    if (!id || table_set(&image->namings, place, id) != 0)
        return -ENOMEM;
    locks_match(recording, image, id);
    return 0;
}

/* The newest naming of what a key's address is to, 0 none. */
static uint32_t naming_newest(const struct image *image, uint64_t key) {
    unsigned cls = lock_key_class(key);
    if (image->namings.live == 0 || cls < LOCK_CLASS_MUTEX || cls >= LOCK_CLASS_JOIN)
        return 0;
    return table_get(&image->namings, lock_key_make(lock_key_address(key), 0, LOCK_CLASS_NONE));
}

uint32_t naming_oldest(const struct recording *recording, const struct image *image, uint64_t key) {
    uint32_t id = naming_newest(image, key);
    for (uint32_t step = 0; id && step < INTERN_CHAIN_STEPS; step++) {
        if (recording->catalogue.namings[id].older == 0)
            return recording->catalogue.namings[id].name ? id : 0;
        id = recording->catalogue.namings[id].older;
    }
    return 0;
}

uint32_t naming_find(const struct recording *recording, const struct image *image, uint64_t key) {
    uint32_t id = naming_newest(image, key), lasted = INTERN_GENERATIONS / 2;
    for (uint32_t step = 0; id && step < INTERN_CHAIN_STEPS; step++) {
        const struct catalogue_naming *naming = &recording->catalogue.namings[id];
        if (intern_generations_since(key, naming->key) < lasted)
            return id;
        id = naming->older;
        if (id)
            lasted = intern_generations_since(naming->key, recording->catalogue.namings[id].key);
    }
    return 0;
}
