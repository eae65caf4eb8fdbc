/* SPDX-License-Identifier: MIT */
/*
 * Blame: whose doing a wait was
 *
 * The time of each wait is charged to the stacks that held what was waited for. All waiters count: ten
 * threads that wait 1 ms for one holder are 10 ms of blame. Per lock the charges add up to the waits,
 * to the nanosecond.
 *
 * Mutexes, spin locks and rwlocks may pass through several hands during one wait [b, e]. The recorded
 * releases r1 < r2 < ... < rn of the lock inside (b, e] cut it into segments, and the holder of each
 * segment is who released at its end:
 *
 *        b        r1            r2    r3   e
 *        |--------|-------------|-----|----|
 *        released  released       r3   tail
 *        at r1     at r2
 *
 * The tail is the latency of the hand-off: it goes to the last releaser. But a release is stamped
 * after the real call has returned, so the waiter may have the lock, and its end, before its
 * releaser has its stamp. Then the tail is the hold of a release r' after e. r' is taken if it is
 * another thread's and is known to have held since before e, or, where that is not known, if it comes
 * within RELEASE_SLACK_NS, is nearer to e than rn, and the waiter itself did not release in between.
 * The same r' ends a wait with no release inside; there the thread that owned the lock at b is
 * preferred, and if no release fits, the place where the owner took the lock is the stack.
 *
 * A condition, semaphore or barrier has nobody that holds it: the whole wait goes to who signalled,
 * posted or arrived last. A signal is stamped before its waiter has the mutex back, so that is the
 * last release inside, else the first one after. At a barrier nothing comes between: the nearest to e.
 *
 * Readers of a rwlock do not keep each other out: a reader's wait knows only the releases of writers,
 * unless the lock has none at all.
 *
 * A wait is counted once, at whom the longest of its segments goes to.
 *
 * A waiter does not release what it waits for, so releases inside are not asked for their thread:
 * one that were the waiter's own would be charged like any other.
 *
 * Cost: a long wait may span any number of releases, so whole segments are not walked for each wait:
 * the waits that span a segment are counted by differences, and one sweep charges each segment once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

#define RELEASE_SLACK_NS 1000000ULL
/* For a release that is known by its thread to be the one: as long as a preempted thread may take to
 * stamp it. */
#define OWNER_SLACK_NS 100000000ULL
#define SEGMENTS_WALKED 16 /* more are looked up in a tree */

static const struct blame_rule {
    bool split;   /* the lock is held, by one after the other */
    bool nearest; /* whole waits: the release nearest to the end, not the last inside */
    const char *nobody;
} BLAME_RULES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_NONE] = {true, false, "[holder unknown]"},
    [LOCK_CLASS_MUTEX] = {true, false, "[holder unknown]"},
    [LOCK_CLASS_RWLOCK_READ] = {true, false, "[holder unknown]"},
    [LOCK_CLASS_RWLOCK_WRITE] = {true, false, "[holder unknown]"},
    [LOCK_CLASS_SPIN] = {true, false, "[holder unknown]"},
    [LOCK_CLASS_CONDITION] = {false, false, "[signaller unknown]"},
    [LOCK_CLASS_SEMAPHORE] = {false, false, "[poster unknown]"},
    [LOCK_CLASS_BARRIER] = {false, true, "[last arrival unknown]"},
    [LOCK_CLASS_JOIN] = {false, false, "[joined thread]"},
    [LOCK_CLASS_SLEEP] = {false, false, "[timer]"},
    [LOCK_CLASS_POLL] = {false, false, "[event]"},
    [LOCK_CLASS_FUTEX] = {false, false, "[waker unknown]"},
};

static int stand_in(struct model *model, const char *text, uint32_t *ret_stack) {
    *ret_stack = intern_stand_in(model, text);
    return *ret_stack == MODEL_NONE ? -ENOMEM : 0;
}

int blame_prepare(struct model *model) {
    int rc = stand_in(model, "[stack unknown]", &model->unknown_stack);
    if (rc == 0)
        rc = stand_in(model, "[timed out]", &model->timeout_stack);
    if (rc == 0)
        rc = stand_in(model, "[not ended]", &model->open_stack);
    for (unsigned cls = 0; rc == 0 && cls < LOCK_CLASS_COUNT; cls++)
        rc = stand_in(model, BLAME_RULES[cls].nobody, &model->holder_stacks[cls]);

    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t open = model->thread_extras[i].open_wait;
        uint32_t owner = open == MODEL_NONE ? MODEL_NONE : model->waits[open].owner;
        if (owner == MODEL_NONE || model->thread_extras[owner].held_stack != MODEL_NONE)
            continue;
        const char *text = intern_format(model, "[still held by %s]", model->threads[owner].label);
        rc = text ? stand_in(model, text, &model->thread_extras[owner].held_stack) : -ENOMEM;
    }
    return rc;
}

/* One lock's releases, by time, and the sum of charges on its way out. */
struct blame_run {
    const struct model *model;
    const struct blame_rule *rule;
    const struct model_release *releases;
    uint32_t count;
    uint64_t *times;      /* of the releases, side by side for the searches */
    uint32_t *next_other; /* for each release, the next one by another thread than its own */
    uint64_t *by_thread;  /* thread << 32 | place, sorted */
    uint32_t *spanned;    /* differences: how many waits span the segment that ends here */
    uint32_t *longest;    /* a tree of count leaves: the place with the longest segment */
    bool has_next_other, has_by_thread, has_longest, has_spanned; /* the rest is made when it is needed */
    blame_add *add;
    void *context;
};

void blame_space_free(struct blame_space *space) {
    big_free(space->bytes, space->room);
    *space = (struct blame_space){0};
}

/* Lays the arrays of a run out from at on. */
static void space_lay(struct blame_run *run, char *at) {
    size_t count = run->count;
    run->times = (uint64_t *)(void *)at;
    run->by_thread = run->times + count;
    run->spanned = (uint32_t *)(run->by_thread + count);
    run->next_other = run->spanned + count + 1;
    run->longest = run->next_other + count;
    run->has_next_other = run->has_by_thread = run->has_longest = run->has_spanned = false;
}
#define SPACE_BYTES(count)                                                                                   \
    ((size_t)(count) * (2 * sizeof(uint64_t) + 4 * sizeof(uint32_t)) + sizeof(uint32_t))

static const struct model_release *release_at(const struct blame_run *run, uint32_t place) {
    return &run->releases[place];
}

static uint32_t next_by_other(struct blame_run *run, uint32_t place) {
    if (!run->has_next_other) {
        for (uint32_t i = run->count; i-- > 0;) {
            bool same = i + 1 < run->count && release_at(run, i + 1)->thread == release_at(run, i)->thread;
            run->next_other[i] = same ? run->next_other[i + 1] : i + 1;
        }
        run->has_next_other = true;
    }
    return run->next_other[place];
}

static int charge(const struct blame_run *run, struct blame_share share) {
    if (share.stack == MODEL_NONE)
        share.stack = run->model->unknown_stack;
    share.ns = (share.end - share.begin) * share.waits;
    return share.ns || share.count ? run->add(run->context, &share) : 0;
}

static struct blame_share release_share(const struct blame_run *run, uint32_t place, uint64_t begin,
                                        uint64_t end) {
    const struct model_release *release = release_at(run, place);
    return (struct blame_share){
        .stack = release->stack, .thread = release->thread, .begin = begin, .end = end, .waits = 1};
}

/* The whole wait, to one. */
static int charge_all(const struct blame_run *run, const struct model_wait *wait, uint32_t stack,
                      uint32_t thread) {
    return charge(run, (struct blame_share){.stack = stack,
                                            .thread = thread,
                                            .begin = wait->begin,
                                            .end = wait->end,
                                            .waits = 1,
                                            .count = 1});
}

static int charge_release(const struct blame_run *run, const struct model_wait *wait, uint32_t place) {
    return charge_all(run, wait, release_at(run, place)->stack, release_at(run, place)->thread);
}

#define SEARCH_WINDOW 16U

/* The first place from `from` on whose time is past `time`, searched from near to far. */
static uint32_t place_after(const struct blame_run *run, uint32_t from, uint64_t time) {
    const uint64_t *times = run->times;
    uint32_t low = from, high = run->count, step = SEARCH_WINDOW;
    /* All before low are not past it. */
    while (high - low > SEARCH_WINDOW) {
        uint32_t probe = high - low > step ? low + step : low + (high - low) / 2;
        if (times[probe - 1] <= time) {
            low = probe;
            step = step < high - low ? 2 * step : step; /* in halves it would grow past 32 bits */
        } else {
            high = probe - 1;
            step = (high - low) / 2;
            step = step > SEARCH_WINDOW ? step : SEARCH_WINDOW;
        }
    }
    /* Without a branch that depends on the times: which way it goes is as good as random. */
    uint32_t before = 0;
    for (uint32_t i = low; i < high; i++)
        before += times[i] <= time;
    return low + before;
}

/* The first place from `from` on of a release by `thread`, MODEL_NONE if there is none. */
static int place_of_thread(struct blame_run *run, uint32_t from, uint32_t thread, uint32_t *ret_place) {
    if (!run->has_by_thread) {
        for (uint32_t i = 0; i < run->count; i++)
            run->by_thread[i] = (uint64_t)release_at(run, i)->thread << 32 | i;
        int rc = sort_by_u64(run->by_thread, run->count, sizeof(*run->by_thread), 0);
        if (rc < 0)
            return rc;
        run->has_by_thread = true;
    }
    uint64_t wanted = (uint64_t)thread << 32 | from;
    uint32_t low = 0, high = run->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (run->by_thread[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < run->count && run->by_thread[low] >> 32 == thread;
    *ret_place = found ? (uint32_t)run->by_thread[low] : MODEL_NONE;
    return 0;
}

/* Whether the release at place, which is after the wait's end, may be the one that ended it. A hold
 * that is known to span the end is the one, however late its stamp; a wait that timed out was not
 * ended at all, so the hold that it gave up on may have gone on for any time. */
static bool may_have_ended(const struct blame_run *run, const struct model_wait *wait, uint32_t place,
                           uint64_t slack) {
    const struct model_release *release = release_at(run, place);
    if (wait->mode == LOCK_CLASS_RWLOCK_READ && release->mode == LOCK_CLASS_RWLOCK_READ)
        return false;
    if (release->held == 0)
        return release->time - wait->end <= slack;
    if (release->held > release->time || release->time - release->held > wait->end)
        return false;
    return release->time - wait->end <= OWNER_SLACK_NS || (wait->flags & WAIT_TIMED_OUT);
}

/* after: the first release past the wait's end. */
static uint32_t place_of_late_stamp(struct blame_run *run, const struct model_wait *wait, uint32_t after) {
    uint32_t place = after;
    /* The last to arrive at a barrier ends its own wait. */
    if (place < run->count && release_at(run, place)->thread == wait->thread && !run->rule->nearest)
        place = next_by_other(run, place);
    return place < run->count && may_have_ended(run, wait, place, RELEASE_SLACK_NS) ? place : MODEL_NONE;
}

static int charge_unreleased(struct blame_run *run, const struct model_wait *wait, uint32_t after) {
    const struct model *model = run->model;
    /* Refused because the thread has it already (EDEADLK): nobody else is to blame. */
    if (run->rule->split && wait->owner == wait->thread && wait->flags & WAIT_FAILED)
        return charge_all(run, wait, wait->stack, wait->thread);
    uint32_t late = place_of_late_stamp(run, wait, after), by_owner = MODEL_NONE;
    bool owned = wait->owner != MODEL_NONE && wait->owner != wait->thread && run->rule->split;
    if (owned && after < run->count && (late == MODEL_NONE || release_at(run, late)->thread != wait->owner)) {
        int rc = place_of_thread(run, after, wait->owner, &by_owner);
        if (rc < 0)
            return rc;
        if (by_owner != MODEL_NONE && may_have_ended(run, wait, by_owner, RELEASE_SLACK_NS))
            late = by_owner;
    }
    if (late != MODEL_NONE)
        return charge_release(run, wait, late);
    if (wait->mode != LOCK_CLASS_CONDITION && wait->owner_site != MODEL_NONE)
        return charge_all(run, wait, wait->owner_site, wait->owner);
    if (by_owner != MODEL_NONE && may_have_ended(run, wait, by_owner, OWNER_SLACK_NS))
        return charge_release(run, wait, by_owner);
    return charge_all(run, wait, model->holder_stacks[model->locks[wait->lock].cls], wait->owner);
}

/* Who has the time from the last release inside to the wait's end. */
static struct blame_share tail_share(struct blame_run *run, const struct model_wait *wait, uint32_t last,
                                     uint32_t after) {
    uint64_t tail = wait->end - run->times[last];
    uint32_t late = place_of_late_stamp(run, wait, after);
    bool known = late != MODEL_NONE && release_at(run, late)->held != 0;
    bool nearer = late != MODEL_NONE && late == after && run->times[late] - wait->end < tail;
    struct blame_share share = release_share(run, known || nearer ? late : last, run->times[last], wait->end);
    share.let_go = !known && !nearer;
    return share;
}

/* The time from begin on, of a wait that was not over. */
static struct blame_share open_share(const struct blame_run *run, const struct model_wait *wait,
                                     uint64_t begin) {
    const struct model *model = run->model;
    uint32_t stack = model->open_stack;
    if (run->rule->split)
        stack = wait->owner != MODEL_NONE ? model->thread_extras[wait->owner].held_stack
                                          : model->holder_stacks[model->locks[wait->lock].cls];
    return (struct blame_share){
        .stack = stack, .thread = wait->owner, .begin = begin, .end = wait->end, .waits = 1};
}

static uint64_t segment_ns(const struct blame_run *run, uint32_t place) {
    return place == 0 ? 0 : run->times[place] - run->times[place - 1];
}

static uint32_t longer_segment(const struct blame_run *run, uint32_t a, uint32_t b) {
    return segment_ns(run, b) > segment_ns(run, a) ? b : a;
}

/* The place of the longest segment from `from` to before `to`, which is more than from. */
static uint32_t longest_segment(struct blame_run *run, uint32_t from, uint32_t to) {
    uint32_t best = from, count = run->count;
    if (to - from <= SEGMENTS_WALKED) {
        for (uint32_t i = from; i < to; i++)
            best = longer_segment(run, best, i);
        return best;
    }
    if (!run->has_longest) {
        run->has_longest = true;
        for (uint32_t i = 0; i < count; i++)
            run->longest[(size_t)count + i] = i;
        for (size_t i = count - 1; i > 0; i--)
            run->longest[i] = longer_segment(run, run->longest[2 * i], run->longest[2 * i + 1]);
    }
    for (size_t low = (size_t)count + from, high = (size_t)count + to; low < high; low /= 2, high /= 2) {
        if (low % 2)
            best = longer_segment(run, best, run->longest[low++]);
        if (high % 2)
            best = longer_segment(run, best, run->longest[--high]);
    }
    return best;
}

/* A wait with releases inside: from first to before after. */
static int charge_split(struct blame_run *run, const struct model_wait *wait, uint32_t first,
                        uint32_t after) {
    struct blame_share head = release_share(run, first, wait->begin, run->times[first]);
    struct blame_share tail = wait->flags & MODEL_WAIT_OPEN ? open_share(run, wait, run->times[after - 1])
                                                            : tail_share(run, wait, after - 1, after);
    uint32_t middle = first;
    uint64_t middle_ns = 0, head_ns = head.end - head.begin, tail_ns = tail.end - tail.begin;
    if (first + 1 < after) {
        middle = longest_segment(run, first + 1, after);
        middle_ns = segment_ns(run, middle);
    }
    int rc = 0;
    if (middle_ns > head_ns && middle_ns > tail_ns) {
        struct blame_share counted = release_share(run, middle, 0, 0);
        counted.count = 1;
        rc = charge(run, counted);
    } else if (head_ns > tail_ns)
        head.count = 1;
    else
        tail.count = 1;
    /* Unsigned and wrapping: the running sum is right again where it is read. */
    if (first + 1 < after) {
        if (!run->has_spanned)
            memset(run->spanned, 0, ((size_t)run->count + 1) * sizeof(*run->spanned));
        run->has_spanned = true;
        run->spanned[first + 1]++;
        run->spanned[after]--;
    }
    if (rc == 0)
        rc = charge(run, head);
    return rc == 0 ? charge(run, tail) : rc;
}

/* A wait that goes to one alone. */
static int charge_whole(struct blame_run *run, const struct model_wait *wait, uint32_t first,
                        uint32_t after) {
    if (wait->flags & MODEL_WAIT_OPEN) {
        struct blame_share share = open_share(run, wait, wait->begin);
        share.count = 1;
        return charge(run, share);
    }
    if (!run->rule->split && (wait->flags & WAIT_TIMED_OUT))
        return charge_all(run, wait, run->model->timeout_stack, MODEL_NONE);
    /* Who lets the others go at a barrier arrives in the same call: its release is at its own begin. */
    if (run->rule->nearest && first > 0 && run->times[first - 1] == wait->begin &&
        release_at(run, first - 1)->thread == wait->thread)
        return charge_release(run, wait, first - 1);
    if (first == after)
        return charge_unreleased(run, wait, after);
    uint32_t late = run->rule->nearest ? place_of_late_stamp(run, wait, after) : MODEL_NONE;
    bool nearer = late != MODEL_NONE && run->times[late] - wait->end < wait->end - run->times[after - 1];
    return charge_release(run, wait, nearer ? late : after - 1);
}

/* first: the first release past the wait's begin. */
static int charge_wait(struct blame_run *run, const struct model_wait *wait, uint32_t first) {
    uint32_t after = place_after(run, first, wait->end);
    return run->rule->split && first < after ? charge_split(run, wait, first, after)
                                             : charge_whole(run, wait, first, after);
}

/* Whose waits are charged in one go: they know the same releases. */
enum blame_side { SIDE_ALL, SIDE_READERS, SIDE_WRITERS };

static int blame_side(struct blame_run *run, uint32_t lock, enum blame_side side,
                      const struct wait_filter *filter) {
    const struct model *model = run->model;
    const struct model_wait *wait = model->waits + model->lock_wait_first[lock];
    const struct model_wait *end = model->waits + model->lock_wait_first[lock + 1];
    for (uint32_t i = 0; i < run->count; i++)
        run->times[i] = run->releases[i].time;

    int rc = 0;
    uint32_t first = 0;
    uint64_t begin = 0;
    for (; rc == 0 && wait < end; wait++) {
        if ((side != SIDE_ALL && (wait->mode == LOCK_CLASS_RWLOCK_READ) != (side == SIDE_READERS)) ||
            !wait_matches(model, filter, wait))
            continue;
        /* They come thread by thread, so mostly the next begins later. */
        first = place_after(run, wait->begin >= begin ? first : 0, wait->begin);
        begin = wait->begin;
        rc = charge_wait(run, wait, first);
    }
    uint32_t spanning = 0;
    for (uint32_t i = 0; rc == 0 && run->has_spanned && i < run->count; i++) {
        spanning += run->spanned[i];
        if (spanning == 0 || i == 0)
            continue;
        struct blame_share share = release_share(run, i, run->times[i - 1], run->times[i]);
        share.waits = spanning;
        rc = charge(run, share);
    }
    return rc;
}

int blame_lock(const struct model *model, uint32_t lock, const struct wait_filter *filter, blame_add *add,
               void *context, struct blame_space *space) {
    struct blame_run run = {
        .model = model,
        .rule = &BLAME_RULES[model_lock_rules(&model->locks[lock])],
        .releases = model->releases + model->lock_release_first[lock],
        .count = model->lock_release_first[lock + 1] - model->lock_release_first[lock],
        .add = add,
        .context = context,
    };
    size_t by_writers = model->locks[lock].cls == LOCK_CLASS_RWLOCK_WRITE ? run.count : 0;
    size_t bytes = SPACE_BYTES(run.count) + by_writers * sizeof(*run.releases);
    if (model->lock_wait_first[lock + 1] == model->lock_wait_first[lock])
        return 0;
    if (bytes > space->room) {
        blame_space_free(space);
        if (!(space->bytes = big_alloc(bytes)))
            return -ENOMEM;
        space->room = bytes;
    }
    struct model_release *writers = (struct model_release *)(void *)space->bytes;
    char *rest = space->bytes + by_writers * sizeof(*writers);
    uint32_t writer_count = 0;
    for (uint32_t i = 0; i < by_writers; i++)
        if (run.releases[i].mode != LOCK_CLASS_RWLOCK_READ)
            writers[writer_count++] = run.releases[i];
    space_lay(&run, rest);
    if (writer_count == 0 || writer_count == run.count)
        return blame_side(&run, lock, SIDE_ALL, filter);
    int rc = blame_side(&run, lock, SIDE_WRITERS, filter);
    if (rc < 0)
        return rc;
    run.releases = writers;
    run.count = writer_count;
    space_lay(&run, rest);
    return blame_side(&run, lock, SIDE_READERS, filter);
}
