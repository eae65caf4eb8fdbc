/* SPDX-License-Identifier: MIT */
/*
 * The answer in words. Said in this order, each only where the evidence carries it: a deadlock, the
 * worst lock with who waited and who held it where, or that nobody waited, and losses that make the
 * numbers doubtful.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/words.h"

#define VERDICT_BYTES 1024
#define NAME_BYTES 160
#define DEADLOCK_MIN_NS 200000000ULL /* the last tick's owners were read racily: a cycle must last */
#define DEADLOCK_NAMED_MAX 4
#define STRONG_PART 4 /* a fourth of the time waited for a lock is worth a sentence */

struct text {
    char bytes[VERDICT_BYTES];
    size_t used;
};

static void __attribute__((format(printf, 2, 3))) say(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->used, sizeof(text->bytes) - text->used, format, arguments);
    va_end(arguments);
    if (size > 0)
        text->used += (size_t)size;
    if (text->used >= sizeof(text->bytes))
        text->used = sizeof(text->bytes) - 1;
}

/* How each class is told of: "mostly main HOLDS it then, and LETS GO in f". */
static const struct phrase {
    const char *does, *where;
    bool held;
} PHRASES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_NONE] = {"holds it", ", released in", true},
    [LOCK_CLASS_MUTEX] = {"holds it", ", released in", true},
    [LOCK_CLASS_RWLOCK_READ] = {"holds it", ", released in", true},
    [LOCK_CLASS_RWLOCK_WRITE] = {"holds it", ", released in", true},
    [LOCK_CLASS_SPIN] = {"holds it", ", released in", true},
    [LOCK_CLASS_CONDITION] = {"signals it", " in", false},
    [LOCK_CLASS_SEMAPHORE] = {"posts it", " in", false},
    [LOCK_CLASS_BARRIER] = {"arrives last", " in", false},
    [LOCK_CLASS_JOIN] = {"ends it", " in", false},
    [LOCK_CLASS_SLEEP] = {"ends it", " in", false},
    [LOCK_CLASS_POLL] = {"ends it", " in", false},
    [LOCK_CLASS_FUTEX] = {"wakes it", " in", false},
};

/* The wait that blocks each thread on the owner of a lock at its end, MODEL_NONE. */
static uint32_t *blocking_waits(const struct model *model) {
    uint32_t *waits = malloc(((size_t)model->thread_count + 1) * sizeof(*waits));
    if (!waits)
        return NULL;
    memset(waits, 0xff, ((size_t)model->thread_count + 1) * sizeof(*waits));
    for (uint32_t i = 0; i < model->thread_count; i++) {
        uint32_t open = model->thread_extras[i].open_wait;
        const struct model_wait *wait = &model->waits[open];
        if (open != MODEL_NONE && wait->owner != MODEL_NONE && !model->locks[wait->lock].event &&
            wait->end == model->threads[i].end)
            waits[i] = open;
    }
    return waits;
}

/* A thread on a cycle of owners, MODEL_NONE if there is none. Each thread is visited once: it has one
 * wait, so it leads to one other. */
static uint32_t find_cycle(const struct model *model, const uint32_t *waits, uint32_t *visited) {
    for (uint32_t start = 0; start < model->thread_count; start++) {
        uint32_t thread = start;
        while (thread != MODEL_NONE && visited[thread] == 0 && waits[thread] != MODEL_NONE) {
            visited[thread] = start + 1;
            thread = model->waits[waits[thread]].owner;
        }
        if (thread == MODEL_NONE || waits[thread] == MODEL_NONE || visited[thread] != start + 1)
            continue;
        uint64_t since = 0, until = UINT64_MAX;
        uint32_t at = thread;
        do {
            const struct model_wait *wait = &model->waits[waits[at]];
            since = wait->begin > since ? wait->begin : since;
            until = wait->end < until ? wait->end : until;
            at = wait->owner;
        } while (at != thread);
        if (until > since && until - since >= DEADLOCK_MIN_NS)
            return thread;
    }
    return MODEL_NONE;
}

static int say_deadlock(struct text *text, const struct model *model) {
    char name[NAME_BYTES];
    int rc = -ENOMEM;
    uint32_t *waits = blocking_waits(model);
    uint32_t *visited = calloc((size_t)model->thread_count + 1, sizeof(*visited));
    if (!waits || !visited)
        goto cleanup;
    rc = 0;
    uint32_t first = find_cycle(model, waits, visited);
    if (first == MODEL_NONE)
        goto cleanup;
    uint32_t length = 0, at = first;
    do {
        length++;
        at = model->waits[waits[at]].owner;
    } while (at != first);
    say(text, "Deadlock suspected: ");
    for (uint32_t i = 0; i < length && i < DEADLOCK_NAMED_MAX; i++) {
        const struct model_wait *wait = &model->waits[waits[at]];
        if (i > 0)
            say(text, "; %s", i + 1 == length ? "and " : "");
        say(text, "%s waits", model->threads[at].label);
        const struct model_frame *waits_in =
            wait->stack == MODEL_NONE ? NULL : stack_site(&model->stacks[wait->stack]);
        if (waits_in)
            say(text, " in %s", words_site(waits_in, name, sizeof(name)));
        say(text, " for %s", words_lock(&model->locks[wait->lock], name, sizeof(name)));
        if (wait->owner == at)
            say(text, ", which it took itself");
        else
            say(text, ", which %s took", model->threads[wait->owner].label);
        const struct model_frame *took_in =
            wait->mode == LOCK_CLASS_CONDITION || wait->owner_site == MODEL_NONE
                ? NULL
                : stack_site(&model->stacks[wait->owner_site]);
        if (took_in)
            say(text, " in %s", words_site(took_in, name, sizeof(name)));
        at = wait->owner;
    }
    if (length > DEADLOCK_NAMED_MAX)
        say(text, "; and so on, %u threads in a circle", length);
    say(text, ". ");
cleanup:
    free(waits);
    free(visited);
    return rc;
}

/* Time by thread or by stack. */
struct sums {
    uint64_t *ns;
    uint32_t count;
    uint32_t stack; /* by thread: only what is charged to this stack; MODEL_NONE: by stack */
};

static int sums_new(struct sums *sums, uint32_t count, uint32_t stack) {
    *sums = (struct sums){.ns = calloc((size_t)count + 1, sizeof(*sums->ns)), .count = count, .stack = stack};
    return sums->ns ? 0 : -ENOMEM;
}

/* The index of the largest, MODEL_NONE if all are 0; ret_others: how many are not 0. */
static uint32_t sums_largest(const struct sums *sums, uint32_t *ret_others) {
    uint32_t best = MODEL_NONE, count = 0;
    for (uint32_t i = 0; i < sums->count; i++) {
        count += sums->ns[i] > 0;
        if (sums->ns[i] > 0 && (best == MODEL_NONE || sums->ns[i] > sums->ns[best]))
            best = i;
    }
    *ret_others = count;
    return best;
}

static int sums_add(void *context, const struct blame_share *share) {
    struct sums *sums = context;
    if (sums->stack == MODEL_NONE)
        sums->ns[share->stack] += share->ns;
    else if (share->stack == sums->stack && share->thread != MODEL_NONE)
        sums->ns[share->thread] += share->ns;
    return 0;
}

/* "most of the time", or the part of it. Nothing where it is hardly less than all. */
static const char *often(uint64_t ns, uint64_t total, char *buffer, size_t bytes) {
    char share[WORDS_BYTES];
    if (ns >= total - total / 20)
        return "";
    if (ns >= total / 2)
        return "Mostly ";
    snprintf(buffer, bytes, "For %s of it ", words_share(ns, total, share, sizeof(share)));
    return buffer;
}

/* total: the time waited; ns: the part of it that is charged to stack, by whom is in holders. */
static void say_holder(struct text *text, const struct model *model, uint32_t index, uint64_t total,
                       uint32_t stack, uint64_t ns, const struct sums *holders) {
    const struct model_lock *lock = &model->locks[index];
    const struct phrase *phrase = &PHRASES[model_lock_rules(lock)];
    char name[NAME_BYTES], part[NAME_BYTES];
    uint32_t others, thread = sums_largest(holders, &others);
    bool one = thread != MODEL_NONE && holders->ns[thread] >= ns - ns / 5;
    if (stack == model->timeout_stack) {
        say(text, "%s of it timed out. ", words_share(ns, total, part, sizeof(part)));
        return;
    }
    if (stack == model->open_stack) {
        say(text, "Nobody had ended it when the recording did. ");
        return;
    }
    if (stack == model->holder_stacks[lock->cls]) {
        say(text, "Who %s is not known. ", phrase->held ? "held it" : "ended that");
        return;
    }
    say(text, "%s", often(ns, total, part, sizeof(part)));
    if (thread != MODEL_NONE && stack == model->thread_extras[thread].held_stack) {
        say(text, "%s still held it at the end. ", model->threads[thread].label);
        return;
    }
    if (one)
        say(text, "%s %s", model->threads[thread].label, phrase->does);
    else if (others > 1)
        say(text, "one of %u threads %s", others, phrase->does);
    else
        say(text, "another thread %s", phrase->does);
    const struct model_stack *where = &model->stacks[stack];
    const struct model_frame *frame = stack_site(where);
    /* The place where it was taken is a stack of its one frame. */
    bool taken = frame && where->frame_count == 1 && ((const struct frame_entry *)frame)->stack == stack;
    if (stack != model->unknown_stack && frame)
        say(text, "%s %s", taken ? ", taken in" : phrase->where, words_site(frame, name, sizeof(name)));
    say(text, ". ");
}

/* Who held the lock while the waits of the filter went on, and where for most of that time. */
static int say_holders(struct text *text, const struct model *model, uint32_t index, uint64_t total,
                       const struct wait_filter *filter) {
    struct sums stacks = {.ns = NULL}, threads = {.ns = NULL};
    struct blame_space space = {.bytes = NULL};
    int rc = sums_new(&stacks, model->stack_count, MODEL_NONE);
    if (rc == 0)
        rc = blame_lock(model, index, filter, sums_add, &stacks, &space);
    if (rc < 0)
        goto cleanup;
    uint32_t others, stack = sums_largest(&stacks, &others);
    if (stack == MODEL_NONE)
        goto cleanup;
    rc = sums_new(&threads, model->thread_count, stack);
    if (rc == 0)
        rc = blame_lock(model, index, filter, sums_add, &threads, &space);
    if (rc == 0)
        say_holder(text, model, index, total, stack, stacks.ns[stack], &threads);
cleanup:
    free(stacks.ns);
    free(threads.ns);
    blame_space_free(&space);
    return rc;
}

/* Who waits longest, and where for most of that. */
static int say_waiter(struct text *text, const struct model *model, uint32_t index, uint64_t total) {
    char name[NAME_BYTES], share[WORDS_BYTES];
    struct sums threads = {.ns = NULL}, stacks = {.ns = NULL};
    int rc = sums_new(&threads, model->thread_count, MODEL_NONE);
    if (rc == 0)
        rc = sums_new(&stacks, model->stack_count, MODEL_NONE);
    if (rc < 0)
        goto cleanup;
    const struct model_wait *first = model->waits + model->lock_wait_first[index];
    const struct model_wait *end = model->waits + model->lock_wait_first[index + 1];
    for (const struct model_wait *wait = first; wait < end; wait++)
        if (!wait->idle)
            threads.ns[wait->thread] += wait->end - wait->begin;
    uint32_t waiters, others, worst = sums_largest(&threads, &waiters);
    if (worst == MODEL_NONE)
        goto cleanup;
    for (const struct model_wait *wait = first; wait < end; wait++)
        if (!wait->idle && wait->thread == worst && wait->stack != MODEL_NONE)
            stacks.ns[wait->stack] += wait->end - wait->begin;
    uint32_t stack = sums_largest(&stacks, &others);
    const struct model_frame *frame = stack == MODEL_NONE ? NULL : stack_site(&model->stacks[stack]);
    const char *who = model->threads[worst].label;
    if (waiters == 1)
        say(text, "Only %s waits", who);
    else
        say(text, "%u threads wait, %s longest (%s)", waiters, who,
            words_share(threads.ns[worst], total, share, sizeof(share)));
    if (frame)
        say(text, ", in %s", words_site(frame, name, sizeof(name)));
    say(text, ". ");
cleanup:
    free(threads.ns);
    free(stacks.ns);
    return rc;
}

/* What the holder did that made it hold so long, where that is a good part. */
static void say_meanwhile(struct text *text, const struct model *model, const struct model_lock *lock,
                          uint64_t total) {
    char share[WORDS_BYTES], doing[NAME_BYTES];
    if (!lock->holders_known)
        return;
    if (lock->holding_count > 0 && lock->holdings[0].ns >= total / STRONG_PART)
        say(text, "Its holder was %s for %s of that time. ",
            words_holding(model, &lock->holdings[0], doing, sizeof(doing)),
            words_share(lock->holdings[0].ns, total, share, sizeof(share)));
    if (lock->handing_over_ns >= total / STRONG_PART)
        say(text, "For %s of that time nobody held it: let go, but who was next had not come yet. ",
            words_share(lock->handing_over_ns, total, share, sizeof(share)));
}

/* all: what was waited in all, for locks if this is one, else for anything. */
static int say_worst(struct text *text, const struct model *model, uint32_t index, uint64_t all) {
    const struct model_lock *lock = &model->locks[index];
    char name[NAME_BYTES], time[WORDS_BYTES], count[WORDS_BYTES], share[WORDS_BYTES];
    uint64_t total = lock->wait_total - lock->wait_idle;
    struct wait_filter filter = {.contended = true, .process = MODEL_NONE, .thread = MODEL_NONE};
    words_lock(lock, name, sizeof(name));
    words_count(lock->wait_count, count, sizeof(count));
    say(text, "%s is waited for most: %s in %s %s", name, words_time(total, time, sizeof(time)), count,
        lock->wait_count == 1 ? "wait" : "waits");
    say(text, ", %s of all%s waiting. ", words_share(total, all, share, sizeof(share)),
        lock->event ? "" : " lock");
    int rc = say_waiter(text, model, index, total);
    if (rc == 0)
        rc = say_holders(text, model, index, total, &filter);
    say_meanwhile(text, model, lock, total);
    if (lock->acquisitions > 0 && lock->hold_total > 0 && PHRASES[model_lock_rules(lock)].held)
        say(text, "A hold takes %s on average, %s at most. ",
            words_time(lock->hold_total / lock->acquisitions, time, sizeof(time)),
            words_time(lock->hold_maximum, count, sizeof(count)));
    return rc;
}

/* No agent told of locks: where all threads' time went, by the scheduler. */
static void say_schedule(struct text *text, const struct model *model) {
    char count[WORDS_BYTES], life[WORDS_BYTES], running[WORDS_BYTES], ready[WORDS_BYTES], futex[WORDS_BYTES],
        kernel[WORDS_BYTES], idle[WORDS_BYTES];
    uint64_t states[MODEL_STATE_COUNT] = {0}, all = 0, futexes = 0;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        const struct model_thread *thread = &model->threads[i];
        for (int state = 0; state < MODEL_STATE_COUNT; state++)
            states[state] += thread->states_ns[state];
        all += thread->end - thread->start;
        futexes += thread->schedule ? thread->schedule->off_cpu_ns[MODEL_OFF_FUTEX] : 0;
    }
    say(text,
        "No agent was there to tell locks apart. %s %s lived for %s: %s running, %s ready to run without a "
        "CPU, ",
        words_count(model->thread_count, count, sizeof(count)),
        model->thread_count == 1 ? "thread" : "threads", words_time(all, life, sizeof(life)),
        words_share(states[MODEL_RUNNING], all, running, sizeof(running)),
        words_share(states[MODEL_RUNNABLE], all, ready, sizeof(ready)));
    uint64_t blocked = states[MODEL_BLOCKED] > futexes ? states[MODEL_BLOCKED] - futexes : 0;
    say(text, "%s waiting for a futex, %s blocked otherwise, %s asleep or polling. ",
        words_share(futexes, all, futex, sizeof(futex)), words_share(blocked, all, kernel, sizeof(kernel)),
        words_share(states[MODEL_IDLE], all, idle, sizeof(idle)));
}

static void say_no_waits(struct text *text, const struct model *model) {
    char count[WORDS_BYTES], taken[WORDS_BYTES], time[WORDS_BYTES];
    uint64_t acquisitions = 0, contended = 0, wait_ns = 0, locks = 0;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        const struct model_lock *lock = &model->locks[i];
        if (lock->event || lock->acquisitions == 0 || lock->cls == LOCK_CLASS_BARRIER)
            continue;
        locks++;
        acquisitions += lock->acquisitions;
        contended += lock->contended;
        wait_ns += lock->wait_counted;
    }
    words_count(locks, count, sizeof(count));
    words_count(acquisitions, taken, sizeof(taken));
    if (model->thread_count == 0)
        say(text, "Nothing was recorded: no thread reported. ");
    else if (contended > 0)
        say(text, "%s of %s acquisitions of a lock waited, %s in all, %s. ",
            words_count(contended, count, sizeof(count)), taken, words_time(wait_ns, time, sizeof(time)),
            model->loss.emitted > model->loss.stored ? "but the records of these waits are missing"
                                                     : "each too brief to be recorded by itself");
    else if (locks == 0 && model->off_cpu.known && model->loss.emitted == 0)
        say_schedule(text, model);
    else if (locks == 0)
        say(text, "No thread took a lock. ");
    else
        say(text, "No thread waited for a lock: %s %s taken %s times without contention. ", count,
            locks == 1 ? "lock was" : "locks were", taken);
}

/* The lock to name, MODEL_NONE if nobody waited. Locks come before events unless they hardly matter. */
static uint32_t worst_lock(const struct model *model, uint64_t *ret_total, uint64_t *ret_locks_total,
                           uint64_t *ret_lives) {
    uint32_t lock = MODEL_NONE, event = MODEL_NONE;
    uint64_t lives = 0, total = 0, locks_total = 0;
    for (uint32_t i = 0; i < model->thread_count; i++)
        lives += model->threads[i].end - model->threads[i].start;
    for (uint32_t i = 0; i < model->lock_count; i++) {
        uint64_t wait = model->locks[i].wait_total - model->locks[i].wait_idle;
        if (wait == 0)
            break; /* worst first */
        total += wait;
        locks_total += model->locks[i].event ? 0 : wait;
        uint32_t *best = model->locks[i].event ? &event : &lock;
        if (*best == MODEL_NONE)
            *best = i;
    }
    *ret_total = total;
    *ret_locks_total = locks_total;
    *ret_lives = lives;
    if (lock == MODEL_NONE)
        return event;
    /* The lower index is the worse one. */
    if (event != MODEL_NONE && event < lock &&
        model->locks[lock].wait_total - model->locks[lock].wait_idle < lives / 1000)
        return event;
    return lock;
}

int verdict_find(struct model *model) {
    struct text text = {.used = 0};
    char share[WORDS_BYTES], time[WORDS_BYTES];
    int rc = say_deadlock(&text, model);
    if (rc < 0)
        return rc;
    uint64_t total, locks_total, lives, dropped = 0;
    uint32_t worst = worst_lock(model, &total, &locks_total, &lives);
    bool stuck = text.used > 0;
    if (worst == MODEL_NONE) {
        say_no_waits(&text, model);
    } else if (!stuck) {
        if (total < lives / 200)
            say(&text, "Hardly any waiting, %s in all (%s of the threads' time). ",
                words_time(total, time, sizeof(time)), words_share(total, lives, share, sizeof(share)));
        if ((rc = say_worst(&text, model, worst, model->locks[worst].event ? total : locks_total)) < 0)
            return rc;
    }
    for (unsigned i = 0; i < LOSS_REASON_COUNT; i++)
        dropped += model->loss.dropped[i];
    if (dropped > model->loss.emitted / 100)
        say(&text, "%s of the events were lost, so these times are too low. ",
            words_share(dropped, model->loss.emitted, share, sizeof(share)));
    while (text.used > 0 && text.bytes[text.used - 1] == ' ')
        text.bytes[--text.used] = '\0';
    model->verdict = strdup(text.bytes);
    return model->verdict ? 0 : -ENOMEM;
}

void model_verdict(const struct model *model, char *ret_text, size_t bytes) {
    if (bytes == 0)
        return;
    size_t size = strlen(model->verdict);
    if (size >= bytes) {
        size = bytes - 1;
        /* Not in the middle of a character. */
        while (size > 0 && ((unsigned char)model->verdict[size] & 0xc0) == 0x80)
            size--;
    }
    memcpy(ret_text, model->verdict, size);
    ret_text[size] = '\0';
}
