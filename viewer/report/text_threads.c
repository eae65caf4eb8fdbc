/* SPDX-License-Identifier: MIT */
/* The part of the text report that is about threads. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/utf8.h"
#include "model/words.h"
#include "viewer/report/text_part.h"
#include "viewer/report/thread_order.h"

#define NARROW 72U      /* columns */
#define TOLD_THREADS 5U /* in words */
#define TOLD_PARTS 4U   /* of each line */

/* Whether the states of a thread are by the scheduler's word. */
static bool has_schedule(const struct model_thread *thread) {
    return thread->schedule && thread->schedule->end > 0;
}

#define THREADS_SHOWN 20
#define LIFE_COLUMNS 10
#define ROLE_COLUMNS_MIN 8

static const struct state_column {
    const char *title;
    enum model_state state;
    int width;
} STATE_COLUMNS[] = {
    {"running", MODEL_RUNNING, 8}, {"runnable", MODEL_RUNNABLE, 9}, {"lock wait", MODEL_LOCK_WAIT, 10},
    {"blocked", MODEL_BLOCKED, 8}, {"idle", MODEL_IDLE, 8},         {"unknown", MODEL_UNKNOWN, 8},
};
#define STATE_COLUMN_COUNT (sizeof(STATE_COLUMNS) / sizeof(STATE_COLUMNS[0]))

/* The columns of a table, and what they leave for names. */
struct table {
    struct state_column columns[STATE_COLUMN_COUNT];
    size_t count;
    int names_left;
};

/* "runnable" only where something is known of it; where that leaves no room for names, "unknown" goes: with
 * the scheduler's word hardly anything is. */
static struct table table_of(const struct report *report, bool scheduled) {
    struct table table = {.names_left = (int)report->page.width - LIFE_COLUMNS};
    for (size_t i = 0; i < STATE_COLUMN_COUNT; i++) {
        enum model_state state = STATE_COLUMNS[i].state;
        if ((state == MODEL_RUNNABLE && !scheduled) ||
            (state == MODEL_UNKNOWN && scheduled && report->page.width < NARROW))
            continue;
        table.columns[table.count++] = STATE_COLUMNS[i];
        table.names_left -= STATE_COLUMNS[i].width;
    }
    return table;
}

/* The role where the label does not tell it. */
static const char *role_beside(const struct model_thread *thread) {
    return strncmp(thread->label, thread->role, strlen(thread->role)) == 0 ? "" : thread->role;
}

/* Columns for names and roles: as many as the longest need, and what there is shared out where that is
 * too much. role 0: no thread needs it, or there is no room. */
static void name_columns(int room, const struct model_thread *threads, const uint32_t *order, uint32_t count,
                         int *ret_name, int *ret_role) {
    int name = 4, role = 0;
    for (uint32_t i = 0; i < count && i < THREADS_SHOWN; i++) {
        const struct model_thread *thread = &threads[order[i]];
        int label_width = (int)utf8_width(thread->label), role_width = (int)utf8_width(role_beside(thread));
        name = label_width > name ? label_width : name;
        role = role_width > role ? role_width : role;
    }
    if (role > 0)
        role = role > ROLE_COLUMNS_MIN ? role : ROLE_COLUMNS_MIN;
    if (role > 0 && name + 1 + role > room) {
        int least = room * 11 / 20;
        name = name < least ? name : room - 1 - role > least ? room - 1 - role : least;
        role = room - 1 - name < ROLE_COLUMNS_MIN ? 0 : room - 1 - name;
    }
    *ret_name = name < room ? name : room;
    *ret_role = role;
}

static void print_table(const struct report *report, const struct model_thread *threads,
                        const uint32_t *order, uint32_t count, const struct table *table) {
    const struct page *page = &report->page;
    char text[WORDS_BYTES];
    int name_width, role_width;
    name_columns(table->names_left, threads, order, count, &name_width, &role_width);
    bool with_role = role_width > 0;
    char name[LINE_BYTES];
    page_heading(&report->page, "Threads");
    page_column(page, name_width, "name");
    if (with_role)
        page_column(page, role_width + 1, " role");
    page_column(page, -LIFE_COLUMNS, "life");
    for (size_t s = 0; s < table->count; s++)
        page_column(page, -table->columns[s].width, table->columns[s].title);
    putc('\n', page->file);
    for (uint32_t i = 0; i < count && i < THREADS_SHOWN; i++) {
        const struct model_thread *thread = &threads[order[i]];
        uint64_t life = thread->end - thread->start;
        page_cut_name(thread->label, (unsigned)name_width, name, sizeof(name));
        page_column(page, name_width, name);
        if (with_role) {
            putc(' ', page->file);
            page_cut_name(role_beside(thread), (unsigned)role_width, name, sizeof(name));
            page_column(page, role_width, name);
        }
        page_column(page, -LIFE_COLUMNS, words_time(life, text, sizeof(text)));
        for (size_t s = 0; s < table->count; s++) {
            enum model_state state = table->columns[s].state;
            bool known = (state != MODEL_RUNNING && state != MODEL_RUNNABLE) || has_schedule(thread) ||
                         (state == MODEL_RUNNING && thread->cpu_ns > 0);
            page_column(page, -table->columns[s].width,
                        known ? words_share(thread->states_ns[state], life, text, sizeof(text)) : "-");
        }
        putc('\n', page->file);
    }
    if (count > THREADS_SHOWN)
        fprintf(page->file, "and %s more threads that waited less\n",
                words_count(count - THREADS_SHOWN, text, sizeof(text)));
}

/* ", " and "read 35.0 ms", or "b 40.0 %" where whole is not 0. */
static void append_part(char *line, unsigned part, const char *name, uint64_t ns, uint64_t whole) {
    char text[WORDS_BYTES];
    page_append(line, LINE_BYTES, "%s%s %s", part ? ", " : "", name,
                whole ? words_share(ns, whole, text, sizeof(text)) : words_time(ns, text, sizeof(text)));
}

static const char *call_words(const struct model_off_call *call) {
    static const char *const WITHOUT[MODEL_OFF_KIND_COUNT] = {
        [MODEL_OFF_IO] = "storage",  [MODEL_OFF_PAGE_FAULT] = "page faults", [MODEL_OFF_SLEEP] = "sleep",
        [MODEL_OFF_POLL] = "poll",   [MODEL_OFF_FUTEX] = "futexes",          [MODEL_OFF_STOPPED] = "stopped",
        [MODEL_OFF_OTHER] = "other",
    };
    bool by_kind = call->kind == MODEL_OFF_PAGE_FAULT || call->kind == MODEL_OFF_STOPPED;
    return call->call && !by_kind ? call->call : WITHOUT[call->kind];
}

static bool call_is_idle(const struct model_off_call *call) {
    return call->kind == MODEL_OFF_SLEEP || call->kind == MODEL_OFF_POLL;
}

/* What it was blocked in beside the waits that the report tells of above. */
static void print_calls(const struct report *report, const struct model_schedule *schedule) {
    char line[LINE_BYTES] = "", text[WORDS_BYTES];
    uint64_t total = 0, rest = 0;
    unsigned shown = 0;
    for (uint32_t i = 0; i < schedule->call_count; i++)
        total += call_is_idle(&schedule->calls[i]) ? 0 : schedule->calls[i].ns;
    if (total == 0)
        return;
    page_append(line, sizeof(line), "blocked %s in the kernel: ", words_time(total, text, sizeof(text)));
    for (uint32_t i = 0; i < schedule->call_count; i++) {
        const struct model_off_call *call = &schedule->calls[i];
        if (call_is_idle(call))
            continue;
        if (shown < TOLD_PARTS)
            append_part(line, shown++, call_words(call), call->ns, 0);
        else
            rest += call->ns;
    }
    if (rest > 0)
        append_part(line, shown, "other", rest, 0);
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
}

static void print_wakers(const struct report *report, const struct model_schedule *schedule) {
    static const char *const NAMES[] = {
        [MODEL_WAKER_INTERRUPT] = "interrupts", [MODEL_WAKER_OTHER] = "other processes"};
    uint32_t stack_count;
    const struct model_stack *stacks = model_stacks(report->model, &stack_count);
    char line[LINE_BYTES] = "woken by ", site[LINE_BYTES];
    uint64_t total = 0;
    unsigned shown = 0;
    for (uint32_t i = 0; i < schedule->waker_count; i++)
        total += schedule->wakers[i].ns;
    for (uint32_t i = 0; i < schedule->waker_count && shown < TOLD_PARTS; i++) {
        const struct model_waker *waker = &schedule->wakers[i];
        if (waker->ns == 0)
            break;
        append_part(line, shown++, waker->kind == MODEL_WAKER_THREAD ? waker->name : NAMES[waker->kind],
                    waker->ns, total);
        const struct model_stack *stack = waker->stack == MODEL_NONE ? NULL : &stacks[waker->stack];
        const struct model_frame *frame = NULL;
        for (uint32_t k = 0; stack && !frame && k < stack->frame_count; k++)
            frame = model_frame_is_application(stack->frames[k]) ? stack->frames[k] : NULL;
        if (frame)
            page_append(line, sizeof(line), " in %s", words_site(frame, site, sizeof(site)));
    }
    if (shown > 0)
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
}

static void print_run_queue(const struct report *report, const struct model_schedule *schedule) {
    char line[LINE_BYTES] = "", text[WORDS_BYTES];
    if (schedule->delay_ns == 0)
        return;
    page_append(line, sizeof(line), "ready to run without a CPU for %s",
                words_time(schedule->delay_ns, text, sizeof(text)));
    page_append(line, sizeof(line), ", %s at most; preempted %s",
                words_time(schedule->delay_maximum, text, sizeof(text)),
                schedule->preempted == 1 ? "once" : "");
    if (schedule->preempted != 1)
        page_append(line, sizeof(line), "%s times", words_count(schedule->preempted, text, sizeof(text)));
    page_append(line, sizeof(line), "; meanwhile ran ");
    for (uint32_t i = 0; i < schedule->ran_count && i < TOLD_PARTS; i++)
        append_part(line, i, schedule->ran[i].name, schedule->ran[i].ns, schedule->delay_ns);
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
}

/* What kept a thread from running, but for idle waiting. */
static uint64_t kept_ns(const struct model_thread *thread) {
    return thread->states_ns[MODEL_LOCK_WAIT] + thread->states_ns[MODEL_BLOCKED] +
           thread->states_ns[MODEL_RUNNABLE];
}

/* The one that was kept longest, of those that come after `last` in that order; MODEL_NONE. */
static uint32_t next_kept(const struct model_thread *threads, uint32_t count, uint32_t last) {
    uint32_t best = MODEL_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t kept = kept_ns(&threads[i]), least = (threads[i].end - threads[i].start) / 1000;
        if (!has_schedule(&threads[i]) || kept <= least)
            continue;
        if (last != MODEL_NONE &&
            (kept > kept_ns(&threads[last]) || (kept == kept_ns(&threads[last]) && i <= last)))
            continue;
        if (best == MODEL_NONE || kept > kept_ns(&threads[best]))
            best = i;
    }
    return best;
}

static void print_kept(const struct report *report, const struct model_thread *threads, uint32_t count) {
    uint32_t thread = next_kept(threads, count, MODEL_NONE);
    char name[LINE_BYTES];
    if (thread != MODEL_NONE)
        page_heading(&report->page, "What kept them");
    for (unsigned i = 0; i < TOLD_THREADS && thread != MODEL_NONE; i++) {
        const struct model_schedule *schedule = threads[thread].schedule;
        page_cut_right(threads[thread].label, report->page.width, name, sizeof(name));
        page_styled(&report->page, PAGE_BOLD, name);
        putc('\n', report->page.file);
        print_calls(report, schedule);
        print_wakers(report, schedule);
        print_run_queue(report, schedule);
        thread = next_kept(threads, count, thread);
    }
}

int text_threads(const struct report *report) {
    uint32_t count;
    const struct model_thread *threads = model_threads(report->model, &count);
    bool scheduled = false;
    if (count == 0)
        return 0;
    uint32_t *order = thread_order(report->model);
    if (!order)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        scheduled = scheduled || has_schedule(&threads[i]);
    struct table table = table_of(report, scheduled);
    print_table(report, threads, order, count, &table);
    if (scheduled)
        print_kept(report, threads, count);
    free(order);
    return 0;
}
