/* SPDX-License-Identifier: MIT */
/* Numbers of each lock, the order of locks, and the sites of their waiters and holders. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

static int compare_locks(const void *left, const void *right, void *context) {
    const struct model *model = context;
    uint32_t a, b;
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    const struct model_lock *x = &model->locks[a], *y = &model->locks[b];
    const uint64_t keys[][2] = {
        {x->wait_total - x->wait_idle, y->wait_total - y->wait_idle},
        {x->wait_total, y->wait_total},
        {x->contended, y->contended},
        {x->acquisitions, y->acquisitions},
        {b, a},
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] > keys[i][1] ? -1 : 1;
    return 0;
}

/* Puts locks and what refers to them into the order worst first. */
static int locks_order(struct model *model) {
    int rc = -ENOMEM;
    size_t count = model->lock_count;
    uint32_t *order = malloc((count + 1) * sizeof(*order)), *place = malloc((count + 1) * sizeof(*place));
    struct model_lock *locks;
    struct lock_extra *extras;
    if (!order || !place)
        goto cleanup;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    qsort_r(order, count, sizeof(*order), compare_locks, model);
    /* One array after the other, so that not both are there twice. */
    if (!(locks = malloc((count + 1) * sizeof(*locks))))
        goto cleanup;
    for (uint32_t i = 0; i < count; i++) {
        place[order[i]] = i;
        locks[i] = model->locks[order[i]];
    }
    free(model->locks);
    model->locks = locks;
    if (!(extras = malloc((count + 1) * sizeof(*extras))))
        goto cleanup;
    for (uint32_t i = 0; i < count; i++)
        extras[i] = model->lock_extras[order[i]];
    free(model->lock_extras);
    model->lock_extras = extras;
    model->lock_room = (uint32_t)count;
    for (uint32_t i = 0; i < model->wait_count; i++) {
        struct model_wait *wait = &model->waits[i];
        wait->lock = place[wait->lock];
        wait->mutex = wait->mutex == MODEL_NONE ? MODEL_NONE : place[wait->mutex];
    }
    for (uint32_t i = 0; i < model->release_count; i++)
        model->releases[i].lock = place[model->releases[i].lock];
    rc = 0;
cleanup:
    free(order);
    free(place);
    return rc;
}

static bool class_is_held(enum lock_class cls) {
    return cls == LOCK_CLASS_MUTEX || cls == LOCK_CLASS_RWLOCK_WRITE || cls == LOCK_CLASS_SPIN ||
           cls == LOCK_CLASS_NONE;
}

static void counts_settle(struct model *model) {
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        const struct lock_extra *extra = &model->lock_extras[i];
        uint64_t samples = 0;
        bool exact = true;
        for (unsigned mode = 0; mode < LOCK_MODES; mode++) {
            uint64_t acquisitions = extra->counts[mode].acquisitions;
            lock->acquisitions += acquisitions;
            lock->contended += extra->counts[mode].contended;
            samples += extra->counts[mode].hold_samples;
            if (extra->counts[mode].hold_samples == acquisitions) {
                lock->hold_total += extra->counts[mode].hold_ns;
                continue;
            }
            exact = false;
            if (extra->counts[mode].hold_samples > 0)
                lock->hold_total += u64_of_double((double)extra->counts[mode].hold_ns * (double)acquisitions /
                                                  (double)extra->counts[mode].hold_samples);
        }
        lock->read_acquisitions = extra->counts[LOCK_MODE_READ].acquisitions;
        lock->read_contended = extra->counts[LOCK_MODE_READ].contended;
        lock->wait_counted = extra->wait_ns;
        lock->hold_maximum = extra->hold_maximum;
        lock->event = lock->cls == LOCK_CLASS_CONDITION || lock->cls == LOCK_CLASS_JOIN ||
                      lock->cls == LOCK_CLASS_SLEEP || lock->cls == LOCK_CLASS_POLL ||
                      (lock->cls == LOCK_CLASS_SEMAPHORE && !extra->lock_like);
        lock->hold_estimated = !exact && (samples > 0 || class_is_held(lock->cls));
    }
    for (uint32_t i = 0; i < model->release_count; i++) {
        const struct model_release *release = &model->releases[i];
        struct model_lock *lock = &model->locks[release->lock];
        if (release->held > lock->hold_maximum)
            lock->hold_maximum = release->held;
        const struct lock_extra *extra = &model->lock_extras[release->lock];
        if (extra->counts[LOCK_MODE_OTHER].hold_samples + extra->counts[LOCK_MODE_READ].hold_samples == 0 &&
            release->held > 0) {
            lock->hold_total += release->held;
            lock->hold_estimated = true;
        }
    }
    for (uint32_t i = 0; i < model->wait_count; i++) {
        const struct model_wait *wait = &model->waits[i];
        struct model_lock *lock = &model->locks[wait->lock];
        uint64_t ns = wait->end - wait->begin;
        lock->wait_total += ns;
        lock->wait_idle += wait->idle ? ns : 0;
        lock->wait_maximum = ns > lock->wait_maximum ? ns : lock->wait_maximum;
        lock->wait_count++;
        lock->open_count += (wait->flags & MODEL_WAIT_OPEN) != 0;
    }
    for (uint32_t i = 0; i < model->lock_count; i++)
        model->locks[i].idle =
            model->locks[i].wait_total > 0 && model->locks[i].wait_idle == model->locks[i].wait_total;
}

/* The value that would be at place if values were sorted; values are moved about. */
static uint64_t select_value(uint64_t *values, uint32_t count, uint32_t place) {
    uint32_t low = 0, high = count - 1, spot = 0;
    while (low < high) {
        /* Any place but the last; scattered, so that no order of values is a bad one for long. */
        spot = spot * 1664525 + 1013904223;
        uint64_t pivot = values[low + (uint32_t)((uint64_t)spot * (high - low) >> 32)];
        uint32_t i = low, j = high;
        for (;;) {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i >= j)
                break;
            uint64_t swap = values[i];
            values[i++] = values[j];
            values[j--] = swap;
        }
        /* All up to j are at most the pivot, all from j + 1 on at least, and j is below high. */
        if (place <= j)
            high = j;
        else
            low = j + 1;
    }
    return values[low];
}

/* Nearest rank: the smallest value that at least percent % of the values do not exceed. */
static uint64_t percentile(uint64_t *values, uint32_t count, unsigned percent) {
    uint64_t rank = ((uint64_t)count * percent + 99) / 100;
    return select_value(values, count, rank > 0 ? (uint32_t)rank - 1 : 0);
}

/* Sums by stack for one lock at a time. */
struct tally {
    struct model_site *sums; /* by stack; count and ns 0: not touched */
    bool *in_use;
    uint32_t *touched;
    uint32_t touched_count;
    bool idle; /* what is added is idle */
};

static void tally_add(struct tally *tally, uint32_t stack, uint64_t ns, uint64_t count, bool idle) {
    struct model_site *sum = &tally->sums[stack];
    if (!tally->in_use[stack]) {
        tally->in_use[stack] = true;
        tally->touched[tally->touched_count++] = stack;
        *sum = (struct model_site){.stack = stack};
    }
    sum->ns += ns;
    sum->idle_ns += idle ? ns : 0;
    sum->count += count;
}

static int tally_blame(void *context, const struct blame_share *share) {
    struct tally *tally = context;
    tally_add(tally, share->stack, share->ns, share->count, tally->idle);
    return 0;
}

static int compare_sites(const void *left, const void *right) {
    const struct model_site *x = left, *y = right;
    const uint64_t keys[][2] = {
        {x->ns - x->idle_ns, y->ns - y->idle_ns},
        {x->ns, y->ns},
        {x->count, y->count},
        {y->stack, x->stack},
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] > keys[i][1] ? -1 : 1;
    return 0;
}

struct site_list {
    struct model_site *sites;
    uint32_t count, room;
};

/* Empties the tally into the list, worst first, and tells how many there were. */
static int tally_take(struct tally *tally, struct site_list *list, uint32_t *ret_count) {
    uint32_t first = list->count;
    for (uint32_t i = 0; i < tally->touched_count; i++) {
        int rc = array_reserve(&list->sites, list->count, &list->room, sizeof(*list->sites));
        if (rc < 0)
            return rc;
        list->sites[list->count++] = tally->sums[tally->touched[i]];
        tally->in_use[tally->touched[i]] = false;
    }
    if (list->count > first)
        qsort(list->sites + first, list->count - first, sizeof(*list->sites), compare_sites);
    tally->touched_count = 0;
    *ret_count = list->count - first;
    return 0;
}

static int lock_sites(struct model *model, uint32_t index, struct tally *tally, struct site_list *list) {
    struct model_lock *lock = &model->locks[index];
    const uint32_t *waits = model->lock_waits + model->lock_wait_first[index];
    uint32_t count = model->lock_wait_first[index + 1] - model->lock_wait_first[index];
    for (uint32_t i = 0; i < count; i++) {
        const struct model_wait *wait = &model->waits[waits[i]];
        tally_add(tally, wait->stack == MODEL_NONE ? model->unknown_stack : wait->stack,
                  wait->end - wait->begin, 1, wait->idle);
    }
    int rc = tally_take(tally, list, &lock->waiter_count);
    /* A pass for what is idle and one for what is not: a sum of both could not be told apart. */
    for (unsigned idle = 0; rc == 0 && idle <= 1; idle++) {
        struct wait_filter filter = {
            .idle = idle, .contended = !idle, .process = MODEL_NONE, .thread = MODEL_NONE};
        tally->idle = idle;
        rc = blame_lock(model, index, &filter, tally_blame, tally);
    }
    return rc == 0 ? tally_take(tally, list, &lock->holder_count) : rc;
}

static void lock_percentiles(struct model *model, uint32_t index, uint64_t *values) {
    const uint32_t *waits = model->lock_waits + model->lock_wait_first[index];
    uint32_t count = model->lock_wait_first[index + 1] - model->lock_wait_first[index];
    for (uint32_t i = 0; i < count; i++)
        values[i] = model->waits[waits[i]].end - model->waits[waits[i]].begin;
    model->locks[index].wait_p50 = percentile(values, count, 50);
    model->locks[index].wait_p99 = percentile(values, count, 99);
}

static int sites_settle(struct model *model) {
    int rc = -ENOMEM;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < model->lock_count; i++)
        if (model->lock_wait_first[i + 1] - model->lock_wait_first[i] > longest)
            longest = model->lock_wait_first[i + 1] - model->lock_wait_first[i];
    struct site_list list = {0};
    struct tally tally = {
        .sums = malloc((size_t)model->stack_count * sizeof(*tally.sums)),
        .in_use = calloc(model->stack_count, sizeof(*tally.in_use)),
        .touched = malloc((size_t)model->stack_count * sizeof(*tally.touched)),
    };
    uint64_t *values = malloc(((size_t)longest + 1) * sizeof(*values));
    if (!tally.sums || !tally.in_use || !tally.touched || !values)
        goto cleanup;
    rc = 0;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        if (model->lock_wait_first[i + 1] == model->lock_wait_first[i])
            continue;
        lock_percentiles(model, i, values);
        if ((rc = lock_sites(model, i, &tally, &list)) < 0)
            goto cleanup;
    }
    model->sites = list.sites;
    list.sites = NULL;
    struct model_site *next = model->sites;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        lock->waiters = lock->waiter_count ? next : NULL;
        lock->holders = lock->holder_count ? next + lock->waiter_count : NULL;
        if (lock->waiter_count + lock->holder_count > 0)
            next += lock->waiter_count + lock->holder_count;
    }
cleanup:
    free(list.sites);
    free(tally.sums);
    free(tally.in_use);
    free(tally.touched);
    free(values);
    return rc;
}

int lock_stats_find(struct model *model) {
    counts_settle(model);
    int rc = locks_order(model);
    if (rc == 0)
        rc = group_by_u32(model->waits, model->wait_count, sizeof(*model->waits),
                          offsetof(struct model_wait, lock), model->lock_count, &model->lock_wait_first,
                          &model->lock_waits);
    if (rc == 0)
        rc = group_by_u32(model->releases, model->release_count, sizeof(*model->releases),
                          offsetof(struct model_release, lock), model->lock_count, &model->lock_release_first,
                          &model->lock_releases);
    if (rc == 0)
        rc = blame_prepare(model);
    return rc == 0 ? sites_settle(model) : rc;
}
