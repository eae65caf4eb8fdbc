/* SPDX-License-Identifier: MIT */
/*
 * Where the time of marked regions went: of each region, what its thread waited for while in it, and of
 * each name the numbers over all its regions.
 *
 * A wait counts in a region with the part of it that lies inside; of waits inside one another an instant
 * belongs to the one that began first, as in thread_states.c, and with a schedule the thread's timeline
 * decides. Percentiles are by nearest rank, as those of
 * waits are. A region that was open at the end counts with the length it had.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/timeline.h"

/* Time waited in each state before a span: what lies between two instants is a difference. */
struct span_sums {
    uint64_t before[MODEL_STATE_COUNT];
};

struct span_table {
    struct thread_span *spans;
    struct span_sums *sums; /* count + 1 */
    uint32_t count, room;
};

static int span_table_reserve(struct span_table *table, uint64_t count) {
    if (count >= table->room) {
        free(table->spans);
        free(table->sums);
        table->spans = NULL;
        table->sums = NULL;
        table->room = 0;
        if (count + 1 >= UINT32_MAX)
            return -ENOMEM;
        table->spans = malloc((count + 1) * sizeof(*table->spans));
        table->sums = malloc((count + 1) * sizeof(*table->sums));
        table->room = (uint32_t)count + 1;
    }
    return table->spans && table->sums ? 0 : -ENOMEM;
}

/* Of a thread with a schedule: all of its timeline but where it ran. */
static int span_table_follow(const struct model *model, uint32_t thread, struct span_table *table) {
    const struct off_cpu *off_cpu = &model->off_cpu;
    uint32_t first = off_cpu->span_first[thread];
    struct timeline line =
        timeline_of(model, thread, off_cpu->spans + first, off_cpu->span_first[thread + 1] - first);
    struct timeline_cursor cursor = timeline_seek(&line, 0);
    struct timeline_piece piece;
    /* A piece ends at an end of a wait or of what is known, or at one of three borders of a stretch. */
    int rc = span_table_reserve(table, 3 + 2 * (uint64_t)line.span_count + 3 * (uint64_t)line.stretch_count);
    if (rc < 0)
        return rc;
    table->count = 0;
    while (timeline_next(&cursor, &piece))
        if (piece.state != MODEL_RUNNING && piece.state != MODEL_UNKNOWN)
            table->spans[table->count++] =
                (struct thread_span){.begin = piece.begin, .end = piece.end, .state = piece.state};
    return 0;
}

static int span_table_fill(const struct model *model, uint32_t thread, struct span_table *table) {
    int rc;
    if (model->thread_extras[thread].known.end > 0) {
        rc = span_table_follow(model, thread, table);
    } else {
        rc = span_table_reserve(table, thread_wait_count(model, thread));
        if (rc == 0)
            rc = thread_spans_find(model, thread, table->spans, &table->count);
    }
    if (rc < 0)
        return rc;
    memset(&table->sums[0], 0, sizeof(table->sums[0]));
    for (uint32_t i = 0; i < table->count; i++) {
        table->sums[i + 1] = table->sums[i];
        table->sums[i + 1].before[table->spans[i].state] += table->spans[i].end - table->spans[i].begin;
    }
    return 0;
}

/* What was waited up to an instant, by state. */
static struct span_sums waited_until(const struct span_table *table, uint64_t time) {
    uint32_t low = 0, high = table->count; /* the first span that begins at time or later */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->spans[middle].begin < time)
            low = middle + 1;
        else
            high = middle;
    }
    struct span_sums sums = table->sums[low];
    if (low > 0 && table->spans[low - 1].end > time)
        sums.before[table->spans[low - 1].state] -= table->spans[low - 1].end - time;
    return sums;
}

static void region_settle(const struct span_table *table, struct model_region *region) {
    struct span_sums begin = waited_until(table, region->begin), end = waited_until(table, region->end);
    uint64_t rest = region->end - region->begin;
    for (unsigned state = 0; state < MODEL_STATE_COUNT; state++) {
        region->states_ns[state] = end.before[state] - begin.before[state];
        rest -= region->states_ns[state];
    }
    region->states_ns[MODEL_UNKNOWN] += rest;
}

static int region_compare(const void *left, const void *right) {
    const struct model_region *a = left, *b = right;
    if (a->thread != b->thread)
        return a->thread < b->thread ? -1 : 1;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return a->depth < b->depth ? -1 : a->depth > b->depth;
}

static uint64_t waited_in(const struct model_region_kind *kind) {
    return kind->states_ns[MODEL_LOCK_WAIT] + kind->states_ns[MODEL_BLOCKED];
}

struct placed_kind {
    struct model_region_kind kind;
    uint32_t before; /* its index */
};

static int kind_compare(const void *left, const void *right) {
    const struct model_region_kind *a = &((const struct placed_kind *)left)->kind,
                                   *b = &((const struct placed_kind *)right)->kind;
    if (waited_in(a) != waited_in(b))
        return waited_in(a) > waited_in(b) ? -1 : 1;
    if (a->total != b->total)
        return a->total > b->total ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Sorts the kinds and tells the regions of their new places. */
static int kinds_sort(struct model *model) {
    uint32_t count = model->region_kind_count;
    struct placed_kind *placed = malloc(((size_t)count + 1) * sizeof(*placed));
    uint32_t *place = malloc(((size_t)count + 1) * sizeof(*place));
    int rc = placed && place ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        placed[i] = (struct placed_kind){model->region_kinds[i], i};
    if (rc == 0)
        qsort(placed, count, sizeof(*placed), kind_compare);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        model->region_kinds[i] = placed[i].kind;
        place[placed[i].before] = i;
    }
    for (uint32_t i = 0; rc == 0 && i < model->region_count; i++)
        model->regions[i].kind = place[model->regions[i].kind];
    free(placed);
    free(place);
    return rc;
}

static uint64_t percentile(const uint64_t *sorted, uint32_t count, unsigned percent) {
    uint64_t rank = ((uint64_t)count * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

static int kinds_count(struct model *model) {
    uint32_t *first = NULL, *members = NULL;
    uint64_t *lengths = malloc(((size_t)model->region_count + 1) * sizeof(*lengths));
    int rc = lengths ? group_by_u32(model->regions, model->region_count, sizeof(*model->regions),
                                    offsetof(struct model_region, kind), model->region_kind_count, &first,
                                    &members)
                     : -ENOMEM;
    for (uint32_t k = 0; rc == 0 && k < model->region_kind_count; k++) {
        struct model_region_kind *kind = &model->region_kinds[k];
        uint32_t count = first[k + 1] - first[k], thread = MODEL_NONE;
        for (uint32_t i = 0; i < count; i++) {
            const struct model_region *region = &model->regions[members[first[k] + i]];
            lengths[i] = region->end - region->begin;
            kind->total += lengths[i];
            kind->open_count += region->open;
            kind->thread_count += region->thread != thread; /* regions are by thread */
            thread = region->thread;
            for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
                kind->states_ns[state] += region->states_ns[state];
        }
        rc = sort_by_u64(lengths, count, sizeof(*lengths), 0);
        kind->count = count;
        if (rc == 0 && count > 0) {
            kind->maximum = lengths[count - 1];
            kind->p50 = percentile(lengths, count, 50);
            kind->p99 = percentile(lengths, count, 99);
        }
    }
    free(lengths);
    free(first);
    free(members);
    return rc;
}

int regions_find(struct model *model) {
    struct span_table table = {0};
    uint32_t thread = MODEL_NONE;
    int rc = 0;
    if (model->region_count == 0)
        return 0;
    qsort(model->regions, model->region_count, sizeof(*model->regions), region_compare);
    for (uint32_t i = 0; rc == 0 && i < model->region_count; i++) {
        struct model_region *region = &model->regions[i];
        if (region->thread != thread)
            rc = span_table_fill(model, region->thread, &table);
        thread = region->thread;
        if (rc == 0)
            region_settle(&table, region);
    }
    free(table.spans);
    free(table.sums);
    if (rc == 0)
        rc = kinds_count(model);
    return rc == 0 ? kinds_sort(model) : rc;
}
