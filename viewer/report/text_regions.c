/* SPDX-License-Identifier: MIT */
/* The part of the text report that is about regions the program marked. */
#include <inttypes.h>

#include "model/utf8.h"
#include "model/words.h"
#include "viewer/report/text_part.h"

static void print_region_numbers(const struct report *report, const struct model_region_kind *kind) {
    char text[WORDS_BYTES], line[LINE_BYTES] = "";
    page_append(line, sizeof(line), "%s %s", words_count(kind->count, text, sizeof(text)),
                kind->count == 1 ? "time" : "times");
    if (kind->thread_count > 1)
        page_append(line, sizeof(line), " in %s threads",
                    words_count(kind->thread_count, text, sizeof(text)));
    page_append(line, sizeof(line), ", %s in all", words_time(kind->total, text, sizeof(text)));
    page_append(line, sizeof(line), ": mean %s",
                words_time(kind->count ? kind->total / kind->count : 0, text, sizeof(text)));
    page_append(line, sizeof(line), ", p50 %s", words_time(kind->p50, text, sizeof(text)));
    page_append(line, sizeof(line), ", p99 %s", words_time(kind->p99, text, sizeof(text)));
    page_append(line, sizeof(line), ", max %s", words_time(kind->maximum, text, sizeof(text)));
    if (kind->open_count > 0)
        page_append(line, sizeof(line), "; %s not over at the end",
                    words_count(kind->open_count, text, sizeof(text)));
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);

    static const struct {
        enum model_state state;
        const char *words;
    } PARTS[] = {{MODEL_LOCK_WAIT, "lock wait"},
                 {MODEL_BLOCKED, "blocked"},
                 {MODEL_IDLE, "idle"},
                 {MODEL_RUNNABLE, "without a CPU"}};
    line[0] = '\0';
    for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++) {
        uint64_t ns = kind->states_ns[PARTS[i].state];
        if (ns == 0 && PARTS[i].state == MODEL_RUNNABLE)
            continue;
        page_append(line, sizeof(line), "%s%s ", i ? ", " : "of this ",
                    words_share(ns, kind->total, text, sizeof(text)));
        page_append(line, sizeof(line), "%s", PARTS[i].words);
        if (ns > 0)
            page_append(line, sizeof(line), " (%s)", words_time(ns, text, sizeof(text)));
    }
    page_wrapped(&report->page, PAGE_PLAIN, 3, 0, line);
}

void text_regions(const struct report *report) {
    uint32_t count;
    const struct model_region_kind *kinds = model_region_kinds(report->model, &count);
    char text[WORDS_BYTES], name[LINE_BYTES], rank[16];
    if (count == 0)
        return;
    page_heading(&report->page, "Regions");
    for (uint32_t i = 0; i < count && i < report->top_locks; i++) {
        snprintf(rank, sizeof(rank), "%" PRIu32 ". ", i + 1);
        fputs(rank, report->page.file);
        page_cut_right(kinds[i].name, report->page.width - (unsigned)utf8_width(rank), name, sizeof(name));
        page_styled(&report->page, PAGE_BOLD, name);
        putc('\n', report->page.file);
        print_region_numbers(report, &kinds[i]);
    }
    if (count > report->top_locks)
        fprintf(report->page.file, "and %s more\n",
                words_count(count - report->top_locks, text, sizeof(text)));
}
