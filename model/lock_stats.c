/* SPDX-License-Identifier: MIT */
/* Numbers of each lock, the order of locks, and the sites of their waiters and holders. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

struct order_entry {
    uint64_t key; /* the largest first */
    uint32_t lock;
};

/* What decides the order of locks, the least important first; where all are equal, as they came. */
static uint64_t order_key(const struct model_lock *lock, unsigned which) {
    switch (which) {
    case 0:
        return UINT64_MAX - lock->acquisitions;
    case 1:
        return UINT64_MAX - lock->contended;
    case 2:
        return UINT64_MAX - lock->wait_total;
    default:
        return UINT64_MAX - (lock->wait_total - lock->wait_idle);
    }
}
#define ORDER_KEYS 4U

/* Puts locks into the order worst first; ret_place: where each has gone. */
static int locks_order(struct model *model, uint32_t *ret_place) {
    int rc = -ENOMEM;
    size_t count = model->lock_count;
    struct order_entry *order = malloc((count + 1) * sizeof(*order));
    struct model_lock *locks;
    struct lock_extra *extras;
    if (!order)
        goto cleanup;
    for (uint32_t i = 0; i < count; i++)
        order[i].lock = i;
    for (unsigned which = 0; which < ORDER_KEYS; which++) {
        for (uint32_t i = 0; i < count; i++)
            order[i].key = order_key(&model->locks[order[i].lock], which);
        rc = sort_by_u64(order, (uint32_t)count, sizeof(*order), offsetof(struct order_entry, key));
        if (rc < 0)
            goto cleanup;
    }
    rc = -ENOMEM;
    /* One array after the other, so that not both are there twice. */
    if (!(locks = malloc((count + 1) * sizeof(*locks))))
        goto cleanup;
    for (uint32_t i = 0; i < count; i++) {
        ret_place[order[i].lock] = i;
        locks[i] = model->locks[order[i].lock];
    }
    free(model->locks);
    model->locks = locks;
    if (!(extras = malloc((count + 1) * sizeof(*extras))))
        goto cleanup;
    for (uint32_t i = 0; i < count; i++)
        extras[i] = model->lock_extras[order[i].lock];
    free(model->lock_extras);
    model->lock_extras = extras;
    model->lock_room = (uint32_t)count;
    rc = 0;
cleanup:
    free(order);
    return rc;
}

/* Puts locks and all events into their order. */
static int events_order(struct model *model) {
    uint32_t *place = malloc(((size_t)model->lock_count + 1) * sizeof(*place));
    int rc = place ? locks_order(model, place) : -ENOMEM;
    if (rc < 0)
        goto cleanup;
    model->release_count = model->releases_read.count;
    rc = events_scatter_releases(&model->releases_read, place, model->lock_count, &model->lock_release_first,
                                 &model->releases);
    if (rc < 0)
        goto cleanup;
    model->wait_count = model->waits_read.count;
    rc = events_scatter_waits(&model->waits_read, place, model->lock_count, &model->lock_wait_first,
                              &model->waits);
    if (rc == 0)
        rc = hand_off_bound(model);
    for (uint32_t i = 0; rc == 0 && i < model->lock_count; i++) {
        uint32_t first = model->lock_release_first[i];
        rc = events_sort_releases(model->releases + first, model->lock_release_first[i + 1] - first);
    }
    for (uint32_t i = 0; rc == 0 && i < model->release_count; i++) {
        struct model_release *release = &model->releases[i];
        release->stack = release->stack == MODEL_NONE ? MODEL_NONE : model->stack_map[release->stack];
    }
    for (uint32_t i = 0; rc == 0 && i < model->wait_count; i++) {
        struct model_wait *wait = &model->waits[i];
        if (wait->mode == LOCK_CLASS_CONDITION && wait->mutex != MODEL_NONE)
            wait->mutex = place[wait->mutex];
        if (wait->flags & MODEL_WAIT_OPEN)
            model->thread_extras[wait->thread].open_wait = i;
    }
    for (uint32_t i = 0; rc == 0 && i < model->off_cpu.span_count; i++)
        model->off_cpu.spans[i].lock = place[model->off_cpu.spans[i].lock] & ((1U << SPAN_LOCK_BITS) - 1);
    free(model->stack_map);
    free(model->site_map);
    model->stack_map = model->site_map = NULL;
cleanup:
    free(place);
    return rc;
}

static void counts_settle(struct model *model) {
    holds_settle(model);
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        const struct lock_extra *extra = &model->lock_extras[i];
        for (unsigned mode = 0; mode < LOCK_MODES; mode++) {
            lock->acquisitions += extra->counts[mode].acquisitions;
            lock->contended += extra->counts[mode].contended;
        }
        lock->read_acquisitions = extra->counts[LOCK_MODE_READ].acquisitions;
        lock->read_contended = extra->counts[LOCK_MODE_READ].contended;
        lock->wait_counted = extra->wait_ns;
        if (lock->contended > extra->waits_had) {
            lock->brief_count = lock->contended - extra->waits_had;
            lock->brief_ns =
                lock->wait_counted > extra->waits_ended_ns ? lock->wait_counted - extra->waits_ended_ns : 0;
        }
        lock->hold_maximum = extra->hold_maximum;
        lock->hold_estimated = lock->hold_estimated && (extra->hold_timed || lock_class_is_held(lock->cls));
    }
}

/* The longest hold, which may be of one that is too short to be counted apart, and all that is known
 * of holds where none is in the counts. */
static void holds_of_releases(struct model *model, uint32_t index) {
    struct model_lock *lock = &model->locks[index];
    uint64_t total = 0;
    for (uint32_t i = model->lock_release_first[index]; i < model->lock_release_first[index + 1]; i++) {
        uint64_t held = model->releases[i].held;
        lock->hold_maximum = held > lock->hold_maximum ? held : lock->hold_maximum;
        total += held;
    }
    if (!model->lock_extras[index].hold_timed && total > 0) {
        lock->hold_total += total;
        lock->hold_estimated = true;
    }
}

/* The value that would be at place if values were sorted; values are moved about, so that before it are
 * only smaller ones. Those before low, which is at most place, are known to be smaller. */
static uint64_t select_value(uint64_t *values, uint32_t low, uint32_t count, uint32_t place) {
    uint32_t high = count - 1, spot = 0;
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

/* Nearest rank: the place of the smallest value that at least percent % of the values do not exceed. */
static uint32_t percentile_place(uint32_t count, unsigned percent) {
    uint64_t rank = ((uint64_t)count * percent + 99) / 100;
    return rank > 0 ? (uint32_t)rank - 1 : 0;
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

/* Memory for one lock at a time. */
struct lock_scratch {
    struct tally tally;
    uint64_t *values;
    struct blame_space blame;
    struct site_list list;
};

static int lock_sites(struct model *model, uint32_t index, struct lock_scratch *scratch) {
    struct model_lock *lock = &model->locks[index];
    struct tally *tally = &scratch->tally;
    const struct model_wait *waits = model->waits + model->lock_wait_first[index];
    uint32_t count = model->lock_wait_first[index + 1] - model->lock_wait_first[index], idle_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct model_wait *wait = &waits[i];
        scratch->values[i] = wait->end - wait->begin;
        idle_count += wait->idle;
        tally_add(tally, wait->stack == MODEL_NONE ? model->unknown_stack : wait->stack, scratch->values[i],
                  1, wait->idle);
    }
    uint32_t p50 = percentile_place(count, 50), p99 = percentile_place(count, 99);
    lock->wait_p50 = select_value(scratch->values, 0, count, p50);
    lock->wait_p99 = select_value(scratch->values, p50, count, p99);
    int rc = tally_take(tally, &scratch->list, &lock->waiter_count);
    /* A pass for what is idle and one for what is not: a sum of both could not be told apart. */
    for (unsigned idle = 0; rc == 0 && idle <= 1; idle++) {
        struct wait_filter filter = {
            .idle = idle, .contended = !idle, .process = MODEL_NONE, .thread = MODEL_NONE};
        if ((idle ? idle_count : count - idle_count) == 0)
            continue;
        tally->idle = idle;
        rc = blame_lock(model, index, &filter, tally_blame, tally, &scratch->blame);
    }
    return rc == 0 ? tally_take(tally, &scratch->list, &lock->holder_count) : rc;
}

static int sites_settle(struct model *model) {
    int rc = -ENOMEM;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < model->lock_count; i++)
        if (model->lock_wait_first[i + 1] - model->lock_wait_first[i] > longest)
            longest = model->lock_wait_first[i + 1] - model->lock_wait_first[i];
    struct lock_scratch scratch = {
        .tally = {.sums = malloc((size_t)model->stack_count * sizeof(*scratch.tally.sums)),
                  .in_use = calloc(model->stack_count, sizeof(*scratch.tally.in_use)),
                  .touched = malloc((size_t)model->stack_count * sizeof(*scratch.tally.touched))},
        .values = malloc(((size_t)longest + 1) * sizeof(*scratch.values)),
    };
    if (!scratch.tally.sums || !scratch.tally.in_use || !scratch.tally.touched || !scratch.values)
        goto cleanup;
    rc = 0;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        holds_of_releases(model, i);
        if (model->lock_wait_first[i + 1] != model->lock_wait_first[i] &&
            (rc = lock_sites(model, i, &scratch)) < 0)
            goto cleanup;
    }
    model->sites = scratch.list.sites;
    scratch.list.sites = NULL;
    struct model_site *next = model->sites;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        lock->waiters = lock->waiter_count ? next : NULL;
        lock->holders = lock->holder_count ? next + lock->waiter_count : NULL;
        if (lock->waiter_count + lock->holder_count > 0)
            next += lock->waiter_count + lock->holder_count;
    }
cleanup:
    free(scratch.list.sites);
    free(scratch.tally.sums);
    free(scratch.tally.in_use);
    free(scratch.tally.touched);
    free(scratch.values);
    blame_space_free(&scratch.blame);
    return rc;
}

int lock_stats_find(struct model *model) {
    counts_settle(model);
    int rc = events_order(model);
    if (rc == 0)
        rc = blame_prepare(model);
    return rc == 0 ? sites_settle(model) : rc;
}
