/* SPDX-License-Identifier: MIT */
/* All events by time, for timelines: a copy, sorted when somebody asks for the first time. */
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

struct by_time {
    struct model_wait *waits;
    struct model_release *releases;
    /* See group_by_u32(). */
    uint32_t *lock_wait_first, *lock_waits;
    uint32_t *thread_wait_first, *thread_waits;
    uint32_t *lock_release_first, *lock_releases;
};

void by_time_free(struct by_time *by_time) {
    if (!by_time)
        return;
    void *const pieces[] = {by_time->waits,         by_time->releases,         by_time->lock_waits,
                            by_time->lock_releases, by_time->lock_wait_first,  by_time->lock_release_first,
                            by_time->thread_waits,  by_time->thread_wait_first};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        free(pieces[i]);
    free(by_time);
}

static void *copy_of(const void *items, size_t bytes) {
    void *copy = malloc(bytes + 1);
    return copy && bytes ? memcpy(copy, items, bytes) : copy;
}

static struct by_time *by_time_new(const struct model *model) {
    struct by_time *made = calloc(1, sizeof(*made));
    if (!made)
        return NULL;
    made->waits = copy_of(model->waits, model->wait_count * sizeof(*model->waits));
    made->releases = copy_of(model->releases, model->release_count * sizeof(*model->releases));
    int rc = made->waits && made->releases ? 0 : -1;
    if (rc == 0)
        rc = sort_by_u64(made->waits, model->wait_count, sizeof(*made->waits),
                         offsetof(struct model_wait, begin));
    if (rc == 0)
        rc = events_sort_releases(made->releases, model->release_count);
    if (rc == 0)
        rc = group_by_u32(made->waits, model->wait_count, sizeof(*made->waits),
                          offsetof(struct model_wait, lock), model->lock_count, &made->lock_wait_first,
                          &made->lock_waits);
    if (rc == 0)
        rc = group_by_u32(made->waits, model->wait_count, sizeof(*made->waits),
                          offsetof(struct model_wait, thread), model->thread_count, &made->thread_wait_first,
                          &made->thread_waits);
    if (rc == 0)
        rc = group_by_u32(made->releases, model->release_count, sizeof(*made->releases),
                          offsetof(struct model_release, lock), model->lock_count, &made->lock_release_first,
                          &made->lock_releases);
    if (rc == 0)
        return made;
    by_time_free(made);
    return NULL;
}

/* NULL when out of memory. What the model says is the same before and after. */
static const struct by_time *by_time_get(const struct model *model) {
    if (!model->by_time)
        ((struct model *)model)->by_time = by_time_new(model);
    return model->by_time;
}

const struct model_wait *model_waits(const struct model *model, uint32_t *ret_count) {
    const struct by_time *by_time = by_time_get(model);
    *ret_count = by_time ? model->wait_count : 0;
    return by_time ? by_time->waits : NULL;
}

const struct model_release *model_releases(const struct model *model, uint32_t *ret_count) {
    const struct by_time *by_time = by_time_get(model);
    *ret_count = by_time ? model->release_count : 0;
    return by_time ? by_time->releases : NULL;
}

static const uint32_t *group_members(const uint32_t *first, const uint32_t *members, uint32_t group,
                                     uint32_t *ret_count) {
    *ret_count = first[group + 1] - first[group];
    return members + first[group];
}

const uint32_t *model_lock_waits(const struct model *model, uint32_t lock, uint32_t *ret_count) {
    const struct by_time *by_time = lock < model->lock_count ? by_time_get(model) : NULL;
    *ret_count = 0;
    return by_time ? group_members(by_time->lock_wait_first, by_time->lock_waits, lock, ret_count) : NULL;
}

const uint32_t *model_lock_releases(const struct model *model, uint32_t lock, uint32_t *ret_count) {
    const struct by_time *by_time = lock < model->lock_count ? by_time_get(model) : NULL;
    *ret_count = 0;
    return by_time ? group_members(by_time->lock_release_first, by_time->lock_releases, lock, ret_count)
                   : NULL;
}

const uint32_t *model_thread_waits(const struct model *model, uint32_t thread, uint32_t *ret_count) {
    const struct by_time *by_time = thread < model->thread_count ? by_time_get(model) : NULL;
    *ret_count = 0;
    return by_time ? group_members(by_time->thread_wait_first, by_time->thread_waits, thread, ret_count)
                   : NULL;
}
