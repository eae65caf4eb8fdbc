/* SPDX-License-Identifier: MIT */
/*
 * What a lock is called: the name in the trace, else the function that made it, else the one that
 * took it first, else its address.
 */
#include <errno.h>
#include <string.h>

#include "model/internal.h"

static const char *const CLASS_NAMES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_NONE] = "lock",           [LOCK_CLASS_MUTEX] = "mutex",
    [LOCK_CLASS_RWLOCK_READ] = "rwlock",  [LOCK_CLASS_RWLOCK_WRITE] = "rwlock",
    [LOCK_CLASS_CONDITION] = "condition", [LOCK_CLASS_BARRIER] = "barrier",
    [LOCK_CLASS_SPIN] = "spin lock",      [LOCK_CLASS_SEMAPHORE] = "semaphore",
    [LOCK_CLASS_JOIN] = "join",           [LOCK_CLASS_SLEEP] = "sleep",
    [LOCK_CLASS_POLL] = "poll",           [LOCK_CLASS_FUTEX] = "futex",
};

const char *model_class_name(unsigned cls) {
    return CLASS_NAMES[cls < LOCK_CLASS_COUNT ? cls : LOCK_CLASS_NONE];
}

enum lock_class model_lock_rules(const struct model_lock *lock) {
    return lock->cls == LOCK_CLASS_FUTEX && !lock->event ? LOCK_CLASS_MUTEX : lock->cls;
}

static void label_place(struct model_lock *lock, const struct model_frame *site) {
    if (lock->file || !site)
        return;
    lock->file = site->file;
    lock->line = site->file ? site->line : 0;
}

/* "mutex from pool_open". Many locks are made in one place, so the last label made stays there. */
static const char *label_by_site(struct model *model, enum lock_class cls, char how,
                                 const struct model_frame *site) {
    struct frame_entry *entry = (struct frame_entry *)site;
    if (!entry->label || entry->label_cls != cls || entry->label_how != how) {
        entry->label = intern_format(model, "%s %s %s", model_class_name(cls), how == 'f' ? "from" : "in",
                                     site->function);
        entry->label_cls = (uint8_t)cls;
        entry->label_how = (uint8_t)how;
    }
    return entry->label;
}

static int label_one(struct model *model, uint32_t index) {
    struct model_lock *lock = &model->locks[index];
    const struct lock_extra *extra = &model->lock_extras[index];
    const char *cls = model_class_name(lock->cls);
    const struct model_frame *made =
        extra->init_stack == MODEL_NONE ? NULL : stack_site(&model->stacks[extra->init_stack]);
    const struct model_frame *taken =
        extra->first_site == MODEL_NONE ? NULL : stack_site(&model->stacks[extra->first_site]);

    lock->file = extra->given_file && extra->given_file[0] ? extra->given_file : NULL;
    lock->line = lock->file ? extra->given_line : 0;
    /* A name made from a site may be only a function's: it needs words around it. */
    bool by_site = extra->given_source >= TRACE_NAME_INIT_SITE;
    bool in_words =
        extra->given_name && (strstr(extra->given_name, " from ") || strstr(extra->given_name, " in "));
    if (extra->given_name && (!by_site || in_words))
        lock->name = extra->given_name;
    else if (extra->given_name)
        lock->name =
            intern_format(model, "%s %s %s", cls, extra->given_source == TRACE_NAME_INIT_SITE ? "from" : "in",
                          extra->given_name);
    else if (made)
        lock->name = label_by_site(model, lock->cls, 'f', made);
    else if (lock->cls == LOCK_CLASS_SLEEP || lock->cls == LOCK_CLASS_POLL)
        lock->name = cls;
    else if (taken)
        lock->name = label_by_site(model, lock->cls, 'i', taken);
    else if (lock->address != 0)
        lock->name = intern_format(model, "%s 0x%llx", cls, (unsigned long long)lock->address);
    else
        lock->name = intern_format(model, "unknown %s", cls);
    if (lock->cls != LOCK_CLASS_SLEEP && lock->cls != LOCK_CLASS_POLL)
        label_place(lock, extra->given_name ? NULL : made ? made : taken);
    return lock->name ? 0 : -ENOMEM;
}

int lock_labels_find(struct model *model) {
    for (uint32_t i = 0; i < model->lock_count; i++) {
        int rc = label_one(model, i);
        if (rc < 0)
            return rc;
    }
    return 0;
}
