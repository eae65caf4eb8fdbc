/* SPDX-License-Identifier: MIT */
/* The part of the text report that is about locks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/words.h"
#include "viewer/report/text_part.h"

#define SITES_SHOWN 3
#define FRAMES_SHOWN 3

static void print_chain(const struct report *report, const struct model_stack *stack, unsigned indent) {
    unsigned room = report->page.width > indent + 20 ? report->page.width - indent : 20, shown = 0;
    char site[LINE_BYTES], name[LINE_BYTES];
    bool any = false;
    for (uint32_t i = 0; i < stack->frame_count; i++)
        any = any || model_frame_is_application(stack->frames[i]);
    for (uint32_t i = 0; i < stack->frame_count && shown < FRAMES_SHOWN; i++) {
        const struct model_frame *frame = stack->frames[i];
        if (any && !model_frame_is_application(frame))
            continue;
        if (shown > 0)
            fprintf(report->page.file, "%*s", (int)indent, "");
        page_place(words_function(frame->function, name, sizeof(name)), frame->file, frame->line, room, site,
                   sizeof(site));
        page_styled(&report->page, shown == 0 ? PAGE_PLAIN : PAGE_DIM, site);
        putc('\n', report->page.file);
        shown++;
    }
    if (shown == 0)
        fputs("[no frames]\n", report->page.file);
}

static void print_sites(const struct report *report, const char *title, const struct model_site *sites,
                        uint32_t count, uint64_t total, bool with_idle) {
    uint32_t stack_count, shown = 0;
    const struct model_stack *stacks = model_stacks(report->model, &stack_count);
    char text[WORDS_BYTES], times[LINE_BYTES];
    uint64_t rest = 0;
    fprintf(report->page.file, "   %s\n", title);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ns = with_idle ? sites[i].ns : sites[i].ns - sites[i].idle_ns;
        if (ns == 0)
            continue;
        if (shown == SITES_SHOWN) {
            rest += ns;
            continue;
        }
        shown++;
        fputs("    ", report->page.file);
        page_column(&report->page, -7, words_share(ns, total, text, sizeof(text)));
        page_column(&report->page, -10, words_time(ns, text, sizeof(text)));
        times[0] = '\0';
        if (sites[i].count > 0)
            snprintf(times, sizeof(times), "%s×", words_count(sites[i].count, text, sizeof(text)));
        page_column(&report->page, -9, times);
        fputs("  ", report->page.file);
        print_chain(report, &stacks[sites[i].stack], 32);
    }
    if (rest > 0) {
        fputs("    ", report->page.file);
        page_column(&report->page, -7, words_share(rest, total, text, sizeof(text)));
        page_column(&report->page, -10, words_time(rest, text, sizeof(text)));
        fputs("             other places\n", report->page.file);
    }
}

static void print_lock_numbers(const struct report *report, const struct model_lock *lock) {
    char text[WORDS_BYTES], line[LINE_BYTES] = "";
    if (!lock->event && lock->cls != LOCK_CLASS_FUTEX) { /* of a futex only waits are seen */
        page_append(line, sizeof(line), "acquired %s times",
                    words_count(lock->acquisitions, text, sizeof(text)));
        if (lock->acquisitions > 0)
            page_append(line, sizeof(line), ", %s contended",
                        words_share(lock->contended, lock->acquisitions, text, sizeof(text)));
        if (lock->read_acquisitions > 0)
            page_append(line, sizeof(line), "; %s of them to read",
                        words_count(lock->read_acquisitions, text, sizeof(text)));
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
    }
    line[0] = '\0';
    page_append(line, sizeof(line), "waited %s", words_time(lock->wait_total, text, sizeof(text)));
    page_append(line, sizeof(line), " in %s %s", words_count(lock->wait_count, text, sizeof(text)),
                lock->wait_count == 1 ? "wait" : "waits");
    page_append(line, sizeof(line), ": max %s", words_time(lock->wait_maximum, text, sizeof(text)));
    page_append(line, sizeof(line), ", p50 %s", words_time(lock->wait_p50, text, sizeof(text)));
    page_append(line, sizeof(line), ", p99 %s", words_time(lock->wait_p99, text, sizeof(text)));
    if (lock->open_count > 0)
        page_append(line, sizeof(line), "; %s not over at the end",
                    words_count(lock->open_count, text, sizeof(text)));
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
    if (lock->brief_count > 0 && !lock->event) {
        const struct model_loss *loss = model_loss(report->model);
        line[0] = '\0';
        page_append(line, sizeof(line), "and %s", words_time(lock->brief_ns, text, sizeof(text)));
        page_append(line, sizeof(line), " in %s %s", words_count(lock->brief_count, text, sizeof(text)),
                    loss->emitted > loss->stored
                        ? "that were too brief to be recorded one by one, or are lost"
                        : "that were too brief to be recorded one by one");
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
    }
    if (lock->wait_idle > 0 && !lock->idle) {
        snprintf(line, sizeof(line), "of this, %s is idle waiting and left out below",
                 words_time(lock->wait_idle, text, sizeof(text)));
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
    }
    if (lock->hold_total > 0) {
        snprintf(line, sizeof(line), "held %s (%s)", words_time(lock->hold_total, text, sizeof(text)),
                 lock->hold_estimated ? "estimated" : "exact");
        page_append(line, sizeof(line), ", longest %s%s", lock->hold_estimated ? "seen " : "",
                    words_time(lock->hold_maximum, text, sizeof(text)));
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
    } else if (lock->hold_estimated) {
        page_wrapped(&report->page, PAGE_PLAIN, 3, 0, "how long it was held is not known: no hold was timed");
    }
}

#define MEANWHILE_MAX 5

struct meanwhile {
    const char *words;
    uint64_t ns;
};

static int compare_meanwhile(const void *left, const void *right) {
    uint64_t a = ((const struct meanwhile *)left)->ns, b = ((const struct meanwhile *)right)->ns;
    return a > b ? -1 : a < b;
}

/* "meanwhile its holder: running 40.0 %, waiting for a CPU 35.0 %, ...": what is less than half a percent of
 * the time waited is not worth a word. */
static void print_meanwhile(const struct report *report, const struct model_lock *lock) {
    char line[LINE_BYTES] = "meanwhile its holder: ", share[WORDS_BYTES],
         words[MODEL_HOLDINGS_MAX][LINE_BYTES / 4];
    uint64_t total = lock->wait_total - lock->wait_idle;
    struct meanwhile parts[MODEL_HOLDINGS_MAX + 2] = {
        {"running", lock->holder_states_ns[MODEL_RUNNING]},
        {"not known", lock->holder_states_ns[MODEL_UNKNOWN]},
    };
    size_t count = 2, shown = 0;
    if (!lock->holders_known || total - lock->holder_states_ns[MODEL_UNKNOWN] <= total / 200)
        return;
    for (uint32_t i = 0; i < lock->holding_count; i++)
        parts[count++] =
            (struct meanwhile){words_holding(report->model, &lock->holdings[i], words[i], sizeof(words[i])),
                               lock->holdings[i].ns};
    qsort(parts, count, sizeof(*parts), compare_meanwhile);
    for (; shown < count && shown < MEANWHILE_MAX && parts[shown].ns > total / 200; shown++)
        page_append(line, sizeof(line), "%s%s %s", shown ? ", " : "", parts[shown].words,
                    words_share(parts[shown].ns, total, share, sizeof(share)));
    if (shown == 0)
        snprintf(line, sizeof(line), "meanwhile nobody held it");
    if (shown == 0 || lock->handing_over_ns > total / 200)
        page_append(line, sizeof(line), "%s %s", shown ? "; being handed over" : " for",
                    words_share(lock->handing_over_ns, total, share, sizeof(share)));
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
}

/* What those who end a wait did, by class. */
static const char *holders_title(enum lock_class cls) {
    switch (cls) {
    case LOCK_CLASS_CONDITION:
        return "signalled by";
    case LOCK_CLASS_SEMAPHORE:
        return "posted by";
    case LOCK_CLASS_BARRIER:
        return "last to arrive";
    case LOCK_CLASS_FUTEX:
        return "woken by";
    case LOCK_CLASS_JOIN:
    case LOCK_CLASS_SLEEP:
    case LOCK_CLASS_POLL:
        return "ended by";
    default:
        return "held meanwhile by";
    }
}

static void print_lock(const struct report *report, unsigned rank, const struct model_lock *lock) {
    char name[LINE_BYTES], place[LINE_BYTES];
    const char *kind = model_class_name(lock->cls);
    unsigned room = report->page.width - 6 - (unsigned)strlen(kind);
    uint64_t total = lock->idle ? lock->wait_total : lock->wait_total - lock->wait_idle;
    page_place(lock->name, lock->file, lock->line, room, name, sizeof(name));
    snprintf(place, sizeof(place), "%u. ", rank);
    fputs(place, report->page.file);
    page_styled(&report->page, PAGE_BOLD, name);
    fprintf(report->page.file, "  %s\n", kind);
    print_lock_numbers(report, lock);
    print_sites(report, "waiting in", lock->waiters, lock->waiter_count, total, lock->idle);
    if (lock->holder_count > 0)
        print_sites(report, holders_title(model_lock_rules(lock)), lock->holders, lock->holder_count, total,
                    lock->idle);
    print_meanwhile(report, lock);
}

static enum lock_group group_of(const struct model_lock *lock) {
    return lock->idle ? GROUP_IDLE : lock->event ? GROUP_EVENTS : GROUP_LOCKS;
}

static const char *const GROUP_HEADINGS[GROUP_COUNT] = {
    [GROUP_LOCKS] = "Hottest locks",
    [GROUP_EVENTS] = "Waiting for events",
    [GROUP_IDLE] = "Idle",
};

void text_lock_group(const struct report *report, enum lock_group group) {
    uint32_t count, found = 0;
    const struct model_lock *locks = model_locks(report->model, &count);
    uint64_t rest = 0;
    char text[WORDS_BYTES];
    /* Worst first: past the last one that was waited for there is nothing more. */
    for (uint32_t i = 0; i < count && locks[i].wait_total > 0; i++) {
        if (group_of(&locks[i]) != group)
            continue;
        if (found++ == 0)
            page_heading(&report->page, GROUP_HEADINGS[group]);
        if (found <= report->top_locks)
            print_lock(report, found, &locks[i]);
        else
            rest += locks[i].wait_total;
    }
    if (found > report->top_locks) {
        fprintf(report->page.file, "and %s more", words_count(found - report->top_locks, text, sizeof(text)));
        fprintf(report->page.file, ", waited on for %s\n", words_time(rest, text, sizeof(text)));
    }
}

void text_uncontended(const struct report *report) {
    uint32_t count;
    const struct model_lock *locks = model_locks(report->model, &count);
    uint64_t quiet = 0, acquisitions = 0;
    char text[WORDS_BYTES];
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        any = any || (locks[i].wait_total > 0 && group_of(&locks[i]) == GROUP_LOCKS);
        if (locks[i].wait_total == 0 && !locks[i].event && locks[i].acquisitions > 0) {
            quiet++;
            acquisitions += locks[i].acquisitions;
        }
    }
    if (!any || quiet == 0)
        return; /* the verdict has said it, or there is nothing to say */
    fprintf(report->page.file, "%s other %s never waited for", words_count(quiet, text, sizeof(text)),
            quiet == 1 ? "lock was" : "locks were");
    fprintf(report->page.file, " in %s acquisitions.\n", words_count(acquisitions, text, sizeof(text)));
}
