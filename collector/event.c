/* SPDX-License-Identifier: MIT */
/* What each kind of ring record means: one table, a row a kind. Records here are private copies. */
#include <errno.h>
#include <string.h>

#include "collector/recording.h"

struct event_rule {
    const char *name;
    uint16_t words_minimum;
    uint8_t pass; /* enum event_pass */
    bool emitted; /* counts in thread_slot.emitted */
    /* Checks what the minimum does not: sizes inside, keys. NULL: nothing. */
    bool (*plausible)(const void *record);
    /* Returns 0 or a negative errno: the record is not stored. NULL: nothing to do. */
    int (*apply)(struct recording *recording, const struct backlog_entry *entry, const void *record);
};

static uint32_t thread_of_tid(const struct image *image, uint32_t tid) {
    return tid ? table_get(&image->threads, tid) : 0;
}

static bool wait_plausible(const void *data) {
    const struct record_wait *record = data;
    return intern_key_is_lock(record->key) && (record->mutex == 0 || intern_key_is_lock(record->mutex));
}

/* The leaf of a stack as the address of a use, for a lock that is first seen there. */
static uint64_t stack_leaf_pc(const struct recording *recording, uint32_t stack) {
    if (!stack || recording->catalogue.stacks[stack].count == 0)
        return 0;
    uint32_t leaf = recording->catalogue.stack_locations[recording->catalogue.stacks[stack].first];
    return leaf ? recording->catalogue.locations[leaf].pc : 0;
}

static int wait_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_wait *record = data;
    struct image *image = entry->image;
    uint64_t begin = image_time(recording, image, record->begin, &entry->view->guard);
    uint64_t end = image_time(recording, image, record->end, &entry->view->guard);
    uint32_t stack = intern_stack(image, record->stack);
    struct trace_wait row = {
        .begin = begin < end ? begin : end,
        .duration = begin < end ? end - begin : 0,
        .lock = intern_lock(recording, image, record->key, stack_leaf_pc(recording, stack)),
        .mode = lock_key_class(record->key),
        .flags = record->header.flags,
        .stack = stack,
        .owner_site = intern_location(recording, image, record->owner_site, false),
        .mutex = record->mutex ? intern_lock(recording, image, record->mutex, 0) : 0,
    };
    if (!row.lock)
        return -ENOMEM;
    row.owner = shared_lock_owner(recording, image, (uint32_t)row.lock, record->header.value);
    return trace_writer_row(recording->writer, TRACE_WAIT, entry->view->thread, &row);
}

static bool release_plausible(const void *data) {
    const struct record_release *record = data;
    return intern_key_is_lock(record->key);
}

static int release_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_release *record = data;
    struct image *image = entry->image;
    uint64_t time = image_time(recording, image, record->time, &entry->view->guard);
    uint64_t since = record->since ? image_time(recording, image, record->since, &entry->view->guard) : time;
    uint32_t stack = intern_stack(image, record->stack);
    struct trace_release row = {
        .time = time,
        .held = since < time ? time - since : 0,
        .lock = intern_lock(recording, image, record->key, stack_leaf_pc(recording, stack)),
        .mode = lock_key_class(record->key),
        .flags = record->header.flags,
        .stack = stack,
        .waiters = record->header.value,
    };
    if (!row.lock)
        return -ENOMEM;
    return trace_writer_row(recording->writer, TRACE_RELEASE, entry->view->thread, &row);
}

static bool count_plausible(const void *data) {
    const struct record_count *record = data;
    return intern_key_is_lock(record->count.key);
}

static int count_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_count *record = data;
    struct lock_count count = {0};
    size_t bytes = (size_t)record->header.words * 8 - sizeof(record->header);
    memcpy(&count, &record->count, bytes < sizeof(count) ? bytes : sizeof(count));
    int error = 0;
    thread_count_store(recording, entry->image, entry->view, &count, &error);
    return error;
}

static bool lock_init_plausible(const void *data) {
    const struct record_lock_init *record = data;
    return intern_key_is_lock(record->key);
}

static int lock_init_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_lock_init *record = data;
    uint64_t created = image_time(recording, entry->image, record->time, NULL);
    return intern_lock_init(recording, entry->image, record, created) ? 0 : -ENOMEM;
}

static bool lock_shared_plausible(const void *data) {
    const struct record_lock_shared *record = data;
    return lock_key_class(record->key) == LOCK_CLASS_MUTEX;
}

static int lock_shared_apply(struct recording *recording, const struct backlog_entry *entry,
                             const void *data) {
    shared_lock_told(recording, entry->image, data);
    return 0;
}

static bool stack_plausible(const void *data) {
    const struct record_stack *record = data;
    return record->header.value <= STACK_FRAMES_MAX && record->header.words == 2 + record->header.value;
}

static int stack_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    intern_stack_define(recording, entry->image, data);
    return 0;
}

static bool module_plausible(const void *data) {
    const struct record_module *record = data;
    size_t room = (size_t)record->header.words * 8 - sizeof(*record);
    return record->header.value <= room && record->header.value <= MODULE_PATH_MAX &&
           record->start < record->end;
}

static int module_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    intern_module(recording, entry->image, data);
    return 0;
}

static bool name_plausible(const void *data) {
    const struct record_name *record = data;
    size_t room = (size_t)record->header.words * 8 - sizeof(*record);
    return record->hash != 0 && record->header.value > 0 && record->header.value <= room &&
           record->header.value <= NAME_BYTES_MAX;
}

static int name_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    naming_text_define(recording, entry->image, data);
    return 0;
}

static bool lock_name_plausible(const void *data) {
    const struct record_lock_name *record = data;
    return lock_key_class(record->key) == LOCK_CLASS_NONE && lock_key_address(record->key) != 0;
}

static int lock_name_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_lock_name *record = data;
    uint32_t name = 0;
    int error = naming_text(entry->image, record->text, &name);
    return error == 0 ? naming_add(recording, entry->image, record->key, name) : error;
}

static int region_apply(struct recording *recording, const struct backlog_entry *entry, const void *data) {
    const struct record_region *record = data;
    uint64_t begin = image_time(recording, entry->image, record->begin, &entry->view->guard);
    uint64_t end = image_time(recording, entry->image, record->end, &entry->view->guard);
    uint32_t name = 0;
    int error = naming_text(entry->image, record->text, &name);
    if (error != 0)
        return error;
    struct trace_region row = {
        .begin = begin < end ? begin : end,
        .duration = begin < end ? end - begin : 0,
        .name = name,
        .depth = record->header.value,
        .flags = record->header.flags,
    };
    return trace_writer_row(recording->writer, TRACE_REGION, entry->view->thread, &row);
}

static int thread_name_apply(struct recording *recording, const struct backlog_entry *entry,
                             const void *data) {
    const struct record_thread_name *record = data;
    uint32_t thread = thread_of_tid(entry->image, record->tid), name = 0;
    if (record->header.flags & THREAD_NAME_GIVEN) {
        int error = naming_text(entry->image, record->text, &name);
        return error == 0 ? thread_name_given(recording, entry->view->thread, recording->now, name) : error;
    }
    if (thread == entry->view->thread)
        memcpy(entry->view->name, record->name, sizeof(entry->view->name));
    if (thread)
        thread_name(recording, entry->image, thread, recording->now, record->name);
    return 0;
}

#define WORDS(type) ((uint16_t)(sizeof(type) / 8))

static const struct event_rule EVENT_RULES[RECORD_KIND_LIMIT] = {
    [RECORD_PAD] = {"pad", 1, EVENT_EVENTS, false, NULL, NULL},
    [RECORD_WAIT] = {"wait", WORDS(struct record_wait), EVENT_EVENTS, true, wait_plausible, wait_apply},
    [RECORD_RELEASE] = {"release", WORDS(struct record_release), EVENT_EVENTS, true, release_plausible,
                        release_apply},
    [RECORD_COUNT] = {"count", 1 + LOCK_COUNT_SHORT_BYTES / 8, EVENT_EVENTS, true, count_plausible,
                      count_apply},
    [RECORD_LOCK_INIT] = {"lock init", WORDS(struct record_lock_init), EVENT_DEFINITIONS, true,
                          lock_init_plausible, lock_init_apply},
    [RECORD_LOCK_SHARED] = {"lock shared", WORDS(struct record_lock_shared), EVENT_DEFINITIONS, false,
                            lock_shared_plausible, lock_shared_apply},
    [RECORD_STACK] = {"stack", WORDS(struct record_stack), EVENT_DEFINITIONS, false, stack_plausible,
                      stack_apply},
    [RECORD_MODULE] = {"module", WORDS(struct record_module), EVENT_MODULES, false, module_plausible,
                       module_apply},
    [RECORD_THREAD_NAME] = {"thread name", WORDS(struct record_thread_name), EVENT_EVENTS, true, NULL,
                            thread_name_apply},
    [RECORD_NAME] = {"name", WORDS(struct record_name), EVENT_MODULES, false, name_plausible, name_apply},
    [RECORD_LOCK_NAME] = {"lock name", WORDS(struct record_lock_name), EVENT_DEFINITIONS, true,
                          lock_name_plausible, lock_name_apply},
    [RECORD_REGION] = {"region", WORDS(struct record_region), EVENT_EVENTS, true, NULL, region_apply},
};

/* The rule for a record that is whole within bytes; NULL if it is not plausible. *ret_cut: it is not
 * whole, but may be once more has been read. */
static const struct event_rule *record_rule(const char *at, size_t bytes, bool *ret_cut) {
    struct record_header header;
    memcpy(&header, at, sizeof(header));
    *ret_cut = false;
    if (header.kind >= RECORD_KIND_LIMIT || header.words == 0 || header.words > RECORD_WORDS_MAX)
        return NULL;
    const struct event_rule *rule = &EVENT_RULES[header.kind];
    if (!rule->name || header.words < rule->words_minimum)
        return NULL;
    if ((size_t)header.words * 8 > bytes) {
        *ret_cut = true;
        return NULL;
    }
    return !rule->plausible || rule->plausible(at) ? rule : NULL;
}

bool event_check(struct backlog_entry *entry, size_t bytes) {
    bool cut = false;
    entry->bytes = 0;
    entry->passes = 0;
    while (entry->bytes < bytes) {
        const char *at = entry->records + entry->bytes;
        const struct event_rule *rule = record_rule(at, bytes - entry->bytes, &cut);
        if (!rule)
            return cut;
        entry->passes |= (uint16_t)(1U << rule->pass);
        entry->bytes += (uint32_t)((const struct record_header *)at)->words * 8;
    }
    return true;
}

void event_apply(struct recording *recording, const struct backlog_entry *entry, enum event_pass pass) {
    struct slot_view *view = entry->view;
    for (size_t at = 0; at < entry->bytes;) {
        const struct record_header *header = (const struct record_header *)(entry->records + at);
        const struct event_rule *rule = &EVENT_RULES[header->kind];
        at += (size_t)header->words * 8;
        if (rule->pass != pass)
            continue;
        int error = rule->apply ? rule->apply(recording, entry, header) : 0;
        if (!rule->emitted)
            continue;
        if (error == 0)
            view->stored++;
        else
            view->unstored++;
    }
}
