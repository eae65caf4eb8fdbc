/* SPDX-License-Identifier: MIT */
/* The end of `record`: eight lines, so that a user need not call anything to see the answer. */
#include <errno.h>
#include <string.h>

#include "model/utf8.h"
#include "model/words.h"
#include "viewer/report/page.h"
#include "viewer/report/text.h"

#define SUMMARY_LINES 8
#define SUMMARY_LOCKS 3
#define SUMMARY_FIXED 3 /* cost, file, next command */
#define LINE_BYTES 8192
#define UNCUT 4000 /* columns, where there is no terminal: nothing is cut or wrapped */
#define WIDTH_MIN 60
#define TIME_COLUMNS 9

static const struct model_frame *site_frame(const struct model *model, const struct model_site *site) {
    uint32_t count;
    const struct model_stack *stack = &model_stacks(model, &count)[site->stack];
    for (uint32_t i = 0; i < stack->frame_count; i++)
        if (model_frame_is_application(stack->frames[i]))
            return stack->frames[i];
    return stack->frame_count ? stack->frames[0] : NULL;
}

/* The stand-in for what is not known is a sentence of its own. */
static bool is_stand_in(const struct model_frame *frame) {
    return frame->function[0] == '[';
}

/* "function (file:line)" in width columns, the file without its directories. */
static void site_words(const struct model_frame *frame, unsigned width, char *ret_text, size_t bytes) {
    char name[LINE_BYTES];
    const char *slash = frame->file ? strrchr(frame->file, '/') : NULL;
    words_function(frame->function, name, sizeof(name));
    page_place(name, slash ? slash + 1 : frame->file, frame->line, width, ret_text, bytes);
}

static unsigned site_width(const struct model_frame *frame) {
    char site[LINE_BYTES];
    return frame ? (unsigned)utf8_width(words_site(frame, site, sizeof(site))) : 1;
}

static void print_lock(const struct page *page, const struct model *model, const struct model_lock *lock,
                       unsigned name_width) {
    char time[WORDS_BYTES], waiter[LINE_BYTES] = "?", holder[LINE_BYTES] = "", name[LINE_BYTES];
    const struct model_frame *waits = site_frame(model, &lock->waiters[0]);
    const struct model_frame *holds = lock->holder_count ? site_frame(model, &lock->holders[0]) : NULL;
    const char *between = !holds               ? ""
                          : is_stand_in(holds) ? ", "
                          : lock->event        ? ", ended in "
                                               : ", held in ";
    unsigned room = page->width - 2 - name_width - TIME_COLUMNS - 1 - (unsigned)strlen(between);
    words_time(lock->wait_total - lock->wait_idle, time, sizeof(time));
    /* What one of the two does not need of its half is the other's. */
    unsigned waits_width = site_width(waits), holds_width = holds ? site_width(holds) : 0;
    if (waits_width + holds_width > room) {
        waits_width = waits_width <= room / 2   ? waits_width
                      : holds_width <= room / 2 ? room - holds_width
                                                : room / 2;
        holds_width = room - waits_width;
    }
    if (waits)
        site_words(waits, waits_width, waiter, sizeof(waiter));
    if (holds)
        site_words(holds, holds_width, holder, sizeof(holder));
    page_cut_name(lock->name, name_width, name, sizeof(name));
    fputs("  ", page->file);
    page_column(page, (int)name_width, name);
    page_column(page, -TIME_COLUMNS, time);
    fprintf(page->file, " %s%s%s\n", waiter, between, holder);
}

static void print_cost(const struct model *model, FILE *file) {
    const struct model_cost *cost = model_cost(model);
    const struct model_loss *loss = model_loss(model);
    char text[WORDS_BYTES];
    uint64_t dropped = 0;
    for (unsigned i = 0; i < LOSS_REASON_COUNT; i++)
        dropped += loss->dropped[i];
    if (cost->target_cpu_ns > 0)
        fprintf(file, "overhead: agent %s of the program's CPU",
                words_share(cost->agent_ns, cost->target_cpu_ns, text, sizeof(text)));
    else
        fprintf(file, "overhead: agent %s", words_time(cost->agent_ns, text, sizeof(text)));
    fprintf(file, ", collector %s", words_time(cost->collector_cpu_ns, text, sizeof(text)));
    fprintf(file, "; %s events lost\n", words_count(dropped, text, sizeof(text)));
}

int report_summary_print(const struct model *model, FILE *file, const char *trace_path,
                         const struct report_options *options) {
    struct page page = {.file = file,
                        .width = options->width == 0          ? UNCUT
                                 : options->width < WIDTH_MIN ? WIDTH_MIN
                                                              : options->width,
                        .color = options->color};
    const unsigned room = SUMMARY_LINES - SUMMARY_FIXED;
    char verdict[LINE_BYTES], text[WORDS_BYTES], path[LINE_BYTES];
    uint32_t count, shown = 0;
    const struct model_lock *locks = model_locks(model, &count);
    unsigned name_width = 0, name_width_most = options->width == 0 ? UNCUT : page.width / 4;
    model_verdict(model, verdict, sizeof(verdict));
    unsigned lines = page_wrapped(&page, PAGE_BOLD, 0, room, verdict);
    unsigned locks_most = room - lines < SUMMARY_LOCKS ? room - lines : SUMMARY_LOCKS;
    for (; shown < count && shown < locks_most && locks[shown].wait_total > locks[shown].wait_idle; shown++) {
        unsigned width = (unsigned)utf8_width(locks[shown].name);
        name_width = width > name_width ? width : name_width;
    }
    name_width = name_width < name_width_most ? name_width : name_width_most;
    for (uint32_t i = 0; i < shown; i++)
        print_lock(&page, model, &locks[i], name_width);

    print_cost(model, file);
    page_cut_left(trace_path, page.width - 22, path, sizeof(path));
    fprintf(file, "trace: %s (%s)\n", path, words_bytes(model_cost(model)->file_bytes, text, sizeof(text)));
    fprintf(file, "next:  waitscope report %s\n", trace_path);
    return fflush(file) != 0 || ferror(file) ? -EIO : 0;
}
