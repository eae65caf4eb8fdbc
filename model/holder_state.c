/* SPDX-License-Identifier: MIT */
/*
 * What the holder of a lock did while others waited for it
 *
 * blame.c says who held a lock from when to when during a wait. Each such time is looked up in the holder's
 * timeline (timeline.h): it ran, had no CPU, waited for another lock, slept. All waiters count, so the sums
 * of a lock add up to its waits, to the nanosecond. Two things are no doing of a holder's, and are summed as
 * handing over:
 *
 *   - what comes after a release, when nobody is known to have the lock: the waiter is on its way to it
 *   - the time that blame charges to the next holder, but in which that one itself still waits for the lock,
 *     woken or not
 *
 * Stretches of a holder that were lost look like running. Only where the trace has a schedule: without one
 * hardly anything is known of holders but their own waits.
 *
 * A lock may have any number of waits: they are taken some ten thousand at a time, as points in time at which
 * the number of waiters for what a thread holds goes up or down, and one sweep of the timeline charges them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/syscall.h"
#include "model/timeline.h"

#define POINTS_MAX (1U << 17)

struct point {
    uint64_t thread, time;
    uint32_t waits; /* difference; wraps */
};

/* Time by what was done: ready to run, then by lock waited for (not idle, idle), then by kind and call. */
#define DOING_RUNNABLE 0U
#define DOING_LOCKS 1U
#define CALL_COUNT (SYSCALL_LIMIT + 1)
#define KERNEL_DOINGS (MODEL_OFF_KIND_COUNT * CALL_COUNT)

struct holder_run {
    const struct model *model;
    uint32_t lock;
    struct point *points;
    uint32_t point_count;
    uint64_t states_ns[MODEL_STATE_COUNT], handing_over;
    uint64_t *doing_ns;
    bool *in_use;
    uint32_t *touched; /* those in use */
    uint32_t touched_count;
};

static uint32_t doing_of(const struct model *model, const struct timeline_piece *piece) {
    if (piece->state == MODEL_RUNNABLE)
        return DOING_RUNNABLE;
    if (piece->span)
        return DOING_LOCKS + 2 * piece->span->lock + (piece->state == MODEL_IDLE);
    const struct off_origin *origin = &model->off_cpu.origins[piece->stretch->origin];
    return DOING_LOCKS + 2 * model->lock_count + origin->kind * CALL_COUNT + origin->syscall;
}

static void holding_of(const struct model *model, uint32_t doing, struct model_holding *ret) {
    uint32_t kernel = DOING_LOCKS + 2 * model->lock_count;
    *ret = (struct model_holding){.state = MODEL_RUNNABLE, .lock = MODEL_NONE, .kind = MODEL_OFF_OTHER};
    if (doing == DOING_RUNNABLE)
        return;
    if (doing < kernel) {
        ret->lock = (doing - DOING_LOCKS) / 2;
        bool idle = (doing - DOING_LOCKS) % 2, event = model->locks[ret->lock].event;
        ret->state = idle ? MODEL_IDLE : event ? MODEL_BLOCKED : MODEL_LOCK_WAIT;
        return;
    }
    ret->kind = (enum model_off_kind)((doing - kernel) / CALL_COUNT);
    ret->state = off_kind_state(ret->kind);
    uint32_t call = (doing - kernel) % CALL_COUNT;
    ret->call = call > 0 ? syscall_name(call - 1) : NULL;
}

static void piece_charge(struct holder_run *run, const struct timeline_piece *piece, uint64_t ns) {
    if (piece->span && piece->span->lock == run->lock) {
        run->handing_over += ns;
        return;
    }
    run->states_ns[piece->state] += ns;
    if (piece->state == MODEL_RUNNING || piece->state == MODEL_UNKNOWN)
        return;
    uint32_t doing = doing_of(run->model, piece);
    if (!run->in_use[doing])
        run->touched[run->touched_count++] = doing;
    run->in_use[doing] = true;
    run->doing_ns[doing] += ns;
}

/* Charges what a thread did from begin to end, for each of so many waits. piece is where cursor stands. */
static void time_charge(struct holder_run *run, struct timeline_cursor *cursor, struct timeline_piece *piece,
                        uint64_t begin, uint64_t end, uint32_t waits) {
    if (piece->end != begin && (begin < piece->begin || begin >= piece->end)) {
        *cursor = timeline_seek(cursor->line, begin);
        piece->end = begin;
    }
    while (begin < end) {
        if (piece->end <= begin && !timeline_next(cursor, piece))
            break;
        uint64_t from = piece->begin > begin ? piece->begin : begin; /* later than begin: before its life */
        from = from < end ? from : end;
        uint64_t to = piece->end < end ? piece->end : end;
        run->states_ns[MODEL_UNKNOWN] += (from - begin) * waits;
        if (to > from)
            piece_charge(run, piece, (to - from) * waits);
        begin = to > from ? to : from;
    }
    run->states_ns[MODEL_UNKNOWN] += (end - begin) * waits;
}

static int points_charge(struct holder_run *run) {
    const struct model *model = run->model;
    const struct off_cpu *off_cpu = &model->off_cpu;
    int rc = sort_by_u64(run->points, run->point_count, sizeof(*run->points), offsetof(struct point, time));
    if (rc == 0)
        rc = sort_by_u64(run->points, run->point_count, sizeof(*run->points), offsetof(struct point, thread));
    for (uint32_t i = 0; rc == 0 && i < run->point_count;) {
        uint32_t thread = (uint32_t)run->points[i].thread, first = off_cpu->span_first[thread], waits = 0;
        struct timeline line =
            timeline_of(model, thread, off_cpu->spans + first, off_cpu->span_first[thread + 1] - first);
        struct timeline_cursor cursor = timeline_seek(&line, run->points[i].time);
        struct timeline_piece piece = {.end = run->points[i].time};
        for (; i < run->point_count && run->points[i].thread == thread; i++) {
            waits += run->points[i].waits;
            if (waits > 0)
                time_charge(run, &cursor, &piece, run->points[i].time, run->points[i + 1].time, waits);
        }
    }
    run->point_count = 0;
    return rc;
}

static int share_add(void *context, const struct blame_share *share) {
    struct holder_run *run = context;
    if (share->ns == 0)
        return 0;
    if (share->let_go) {
        run->handing_over += share->ns;
        return 0;
    }
    if (share->thread == MODEL_NONE) {
        run->states_ns[MODEL_UNKNOWN] += share->ns;
        return 0;
    }
    run->points[run->point_count++] =
        (struct point){.thread = share->thread, .time = share->begin, .waits = share->waits};
    run->points[run->point_count++] =
        (struct point){.thread = share->thread, .time = share->end, .waits = 0U - share->waits};
    return run->point_count + 2 > POINTS_MAX ? points_charge(run) : 0;
}

static int compare_holdings(const void *left, const void *right) {
    const struct model_holding *a = left, *b = right;
    if (a->ns != b->ns)
        return a->ns > b->ns ? -1 : 1;
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    if (a->lock != b->lock)
        return a->lock < b->lock ? -1 : 1;
    return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1)
                              : strcmp(a->call ? a->call : "", b->call ? b->call : "");
}

struct holding_list {
    struct model_holding *items;
    uint32_t count, room;
};

/* Empties the run into the lock and the list. */
static int run_take(struct holder_run *run, struct model_lock *lock, struct holding_list *list) {
    uint32_t first = list->count, count = run->touched_count;
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = array_reserve(&list->items, list->count, &list->room, sizeof(*list->items));
        if (rc < 0)
            return rc;
        struct model_holding *holding = &list->items[list->count++];
        holding_of(run->model, run->touched[i], holding);
        holding->ns = run->doing_ns[run->touched[i]];
        run->doing_ns[run->touched[i]] = 0;
        run->in_use[run->touched[i]] = false;
    }
    if (count > 1)
        qsort(list->items + first, count, sizeof(*list->items), compare_holdings);
    lock->holding_count = count < MODEL_HOLDINGS_MAX ? count : MODEL_HOLDINGS_MAX;
    list->count = first + lock->holding_count;
    lock->holders_known = true;
    lock->handing_over_ns = run->handing_over;
    memcpy(lock->holder_states_ns, run->states_ns, sizeof(run->states_ns));
    memset(run->states_ns, 0, sizeof(run->states_ns));
    run->handing_over = 0;
    run->touched_count = 0;
    return 0;
}

int holder_states_find(struct model *model) {
    static const struct wait_filter filter = {.contended = true, .process = MODEL_NONE, .thread = MODEL_NONE};
    struct blame_space space = {.bytes = NULL};
    struct holding_list list = {.items = NULL};
    if (!model->off_cpu.known)
        return 0;
    size_t doings = DOING_LOCKS + 2 * (size_t)model->lock_count + KERNEL_DOINGS;
    struct holder_run run = {
        .model = model,
        .points = malloc(POINTS_MAX * sizeof(*run.points)),
        .doing_ns = calloc(doings, sizeof(*run.doing_ns)),
        .in_use = calloc(doings, sizeof(*run.in_use)),
        .touched = malloc(doings * sizeof(*run.touched)),
    };
    int rc = run.points && run.doing_ns && run.in_use && run.touched ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        if (!lock_class_is_held(lock->cls) || lock->wait_total == lock->wait_idle)
            continue;
        run.lock = i;
        rc = blame_lock(model, i, &filter, share_add, &run, &space);
        if (rc == 0)
            rc = points_charge(&run);
        if (rc == 0)
            rc = run_take(&run, lock, &list);
    }
    model->holdings = list.items;
    uint32_t next = 0;
    for (uint32_t i = 0; rc == 0 && i < model->lock_count; i++) {
        struct model_lock *lock = &model->locks[i];
        lock->holdings = lock->holding_count ? list.items + next : NULL;
        next += lock->holding_count;
    }
    free(run.points);
    free(run.doing_ns);
    free(run.in_use);
    free(run.touched);
    blame_space_free(&space);
    return rc;
}
