/* SPDX-License-Identifier: MIT */
#include "viewer/report/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/words.h"
#include "viewer/report/text_part.h"

#define WIDTH_MIN 60
#define FACT_KEY_COLUMNS 20

static void print_target(const struct report *report) {
    uint32_t count, target = model_target(report->model);
    const struct model_process *processes = model_processes(report->model, &count);
    const struct model_info *info = model_info(report->model);
    char time[WORDS_BYTES], facts[LINE_BYTES], command[LINE_BYTES], end[WORDS_BYTES] = "";
    words_time(info->end - info->begin, time, sizeof(time));
    if (target == MODEL_NONE) {
        fprintf(report->page.file, "no process, %s\n", time);
        return;
    }
    const struct model_process *process = &processes[target];
    if (process->exit == TRACE_EXIT_CODE)
        snprintf(end, sizeof(end), ", exit code %" PRIu32, process->value);
    else if (process->exit == TRACE_EXIT_SIGNAL)
        snprintf(end, sizeof(end), ", killed by signal %" PRIu32, process->value);
    snprintf(facts, sizeof(facts), "pid %" PRIu32 "%s, recorded for %s", process->pid, end, time);
    if (count > 1)
        snprintf(facts + strlen(facts), sizeof(facts) - strlen(facts), ", %" PRIu32 " processes", count);
    page_cut_right(process->command[0] ? process->command : process->exe, report->page.width, command,
                   sizeof(command));
    page_styled(&report->page, PAGE_BOLD, command);
    fprintf(report->page.file, "\n%s\n", facts);
}

static void print_idle_sum(const struct report *report) {
    uint32_t count, idle_threads = 0;
    const struct model_thread *threads = model_threads(report->model, &count);
    uint64_t idle = 0;
    char text[WORDS_BYTES], line[LINE_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        idle += threads[i].states_ns[MODEL_IDLE];
        idle_threads += threads[i].states_ns[MODEL_IDLE] > 0;
    }
    if (idle == 0)
        return;
    snprintf(line, sizeof(line),
             "Idle, not counted above: %s in %" PRIu32 " %s (waiting for work, join, sleep, poll).",
             words_time(idle, text, sizeof(text)), idle_threads, idle_threads == 1 ? "thread" : "threads");
    putc('\n', report->page.file);
    page_wrapped(&report->page, PAGE_PLAIN, 0, 0, line);
}

static const char *const LOSS_WORDS[LOSS_REASON_COUNT] = {
    [LOSS_RING_FULL] = "ring full",        [LOSS_NO_SLOT] = "no thread slot",
    [LOSS_NESTED] = "in a signal handler", [LOSS_TOO_LONG] = "too long",
    [LOSS_HELD_DEEP] = "too many held",    [LOSS_CORRUPT] = "corrupt",
    [LOSS_COLLECTOR] = "not stored",
};

#define FACT_INDENT 10

/* A line "label     text", wrapped under its text. */
static void print_fact(const struct report *report, const char *label, const char *line) {
    struct page column = report->page;
    char whole[LINE_BYTES];
    snprintf(whole, sizeof(whole), "%-*s%s", FACT_INDENT, label, line);
    if (strlen(whole) <= column.width)
        fprintf(column.file, "%s\n", whole);
    else {
        if (label[0] != '\0')
            fprintf(column.file, "%s\n", label);
        page_wrapped(&column, PAGE_PLAIN, FACT_INDENT, 0, line);
    }
}

static void print_losses(const struct report *report) {
    const struct model_loss *loss = model_loss(report->model);
    char text[WORDS_BYTES], line[LINE_BYTES];
    uint64_t dropped = 0;
    for (unsigned i = 0; i < LOSS_REASON_COUNT; i++)
        dropped += loss->dropped[i];
    snprintf(line, sizeof(line), "%s recorded, ",
             words_count(model_info(report->model)->events, text, sizeof(text)));
    page_append(line, sizeof(line), "%s lost", dropped ? words_count(dropped, text, sizeof(text)) : "none");
    for (unsigned i = 0, shown = 0; i < LOSS_REASON_COUNT; i++)
        if (loss->dropped[i] > 0)
            page_append(line, sizeof(line), "%s%s %s", shown++ ? ", " : ": ",
                        words_count(loss->dropped[i], text, sizeof(text)), LOSS_WORDS[i]);
    print_fact(report, "events", line);
}

static const struct {
    enum model_stack_end end;
    const char *where;
} STACK_WORDS[] = {
    {MODEL_STACK_NO_INFORMATION, "in code without call frame information"},
    {MODEL_STACK_NO_RULE, "in code whose call frame information cannot be followed"},
    {MODEL_STACK_UNREADABLE, "where the stack could not be read"},
};
#define STACK_WORDS_COUNT (sizeof(STACK_WORDS) / sizeof(STACK_WORDS[0]))

/* Whose: "taken", or by whom. */
static void print_stacks(const struct report *report, const char *label, const char *whose,
                         uint64_t (*ends)(const struct model *, enum model_stack_end)) {
    const struct model *model = report->model;
    char text[WORDS_BYTES], line[LINE_BYTES];
    uint64_t truncated = ends(model, MODEL_STACK_TRUNCATED);
    uint64_t unknown = ends(model, MODEL_STACK_UNKNOWN), short_ones = 0;
    for (size_t i = 0; i < STACK_WORDS_COUNT; i++)
        short_ones += ends(model, STACK_WORDS[i].end);
    uint64_t taken = ends(model, MODEL_STACK_COMPLETE) + truncated + short_ones;
    if (taken + unknown == 0)
        return;
    snprintf(line, sizeof(line), "%s %s, ", words_count(taken, text, sizeof(text)), whose);
    page_append(line, sizeof(line), "%s%s before the thread's start",
                short_ones ? words_count(short_ones, text, sizeof(text)) : "none",
                short_ones > 1 ? " end" : " ends");
    for (size_t i = 0, shown = 0; i < STACK_WORDS_COUNT; i++) {
        uint64_t count = ends(model, STACK_WORDS[i].end);
        if (count > 0)
            page_append(line, sizeof(line), "%s%s %s", shown++ ? ", " : ": ",
                        words_count(count, text, sizeof(text)), STACK_WORDS[i].where);
    }
    if (truncated > 0)
        page_append(line, sizeof(line), "; %s cut after %u frames",
                    words_count(truncated, text, sizeof(text)), STACK_FRAMES_MAX);
    if (unknown > 0)
        page_append(line, sizeof(line), "; %s unknown", words_count(unknown, text, sizeof(text)));
    print_fact(report, label, line);
}

static void print_schedule(const struct report *report) {
    const struct model_info *info = model_info(report->model);
    char text[WORDS_BYTES], line[LINE_BYTES];
    if (info->stretches + info->stretches_lost + info->samples == 0)
        return;
    snprintf(line, sizeof(line), "%s times off a CPU, ", words_count(info->stretches, text, sizeof(text)));
    page_append(line, sizeof(line), "%s lost",
                info->stretches_lost ? words_count(info->stretches_lost, text, sizeof(text)) : "none");
    page_append(line, sizeof(line), "; %s samples on one", words_count(info->samples, text, sizeof(text)));
    print_fact(report, "schedule", line);
    print_stacks(report, "", "stacks", model_kernel_stack_ends);
}

static void print_overhead(const struct report *report) {
    const struct model_cost *cost = model_cost(report->model);
    const struct model_info *info = model_info(report->model);
    uint64_t events = info->events + info->stretches + info->samples;
    char text[WORDS_BYTES], line[LINE_BYTES];
    snprintf(line, sizeof(line), "agent %s", words_time(cost->agent_ns, text, sizeof(text)));
    if (cost->target_cpu_ns > 0)
        page_append(line, sizeof(line), ", %s of the program's CPU time",
                    words_share(cost->agent_ns, cost->target_cpu_ns, text, sizeof(text)));
    page_append(line, sizeof(line), ", %s slow paths", words_count(cost->slow_paths, text, sizeof(text)));
    print_fact(report, "overhead", line);
    snprintf(line, sizeof(line), "start %s", words_time(cost->setup_ns, text, sizeof(text)));
    page_append(line, sizeof(line), ", collector %s", words_time(cost->collector_cpu_ns, text, sizeof(text)));
    if (events > 0)
        page_append(line, sizeof(line), ", %.1f bytes/event", (double)cost->file_bytes / (double)events);
    print_fact(report, "", line);
}

static void print_damage(const struct report *report) {
    const struct model_info *info = model_info(report->model);
    char text[WORDS_BYTES], line[LINE_BYTES];
    if (info->state == TRACE_RECORDING)
        print_fact(report, "trace", "not finished: still being written, or cut short");
    else if (info->state == TRACE_STOPPED) {
        snprintf(line, sizeof(line), "stopped early: %s", strerror(info->stop_errno));
        print_fact(report, "trace", line);
    }
    if (info->torn_bytes > 0 || info->damaged_bytes > 0) {
        snprintf(line, sizeof(line), "%s at its end", words_bytes(info->torn_bytes, text, sizeof(text)));
        page_append(line, sizeof(line), " and %s in its middle are damaged and left out",
                    words_bytes(info->damaged_bytes, text, sizeof(text)));
        print_fact(report, "damage", line);
    }
    if (info->bad_rows > 0) {
        snprintf(line, sizeof(line), "%s rows made no sense and were left out",
                 words_count(info->bad_rows, text, sizeof(text)));
        print_fact(report, "damage", line);
    }
}

static void print_environment(const struct report *report) {
    char line[LINE_BYTES];
    const char *key, *value = NULL;
    unsigned room = report->page.width > FACT_KEY_COLUMNS + 20 ? report->page.width - FACT_KEY_COLUMNS : 20;
    for (uint32_t i = 0; (key = model_environment(report->model, i, &value)); i++) {
        if (i == 0)
            page_heading(&report->page, "Environment");
        page_column(&report->page, FACT_KEY_COLUMNS - 1, key);
        page_cut_left(value, room, line, sizeof(line));
        fprintf(report->page.file, " %s\n", line);
    }
}

int report_text_print(const struct model *model, FILE *file, const struct report_options *options) {
    static const struct report_options DEFAULTS = {.width = 80};
    const struct report_options *wanted = options ? options : &DEFAULTS;
    struct report report = {
        .model = model,
        .page = {.file = file, .width = wanted->width ? wanted->width : 80, .color = wanted->color},
        .top_locks = wanted->top_locks ? wanted->top_locks : 5,
        .show_idle = wanted->show_idle,
    };
    char verdict[LINE_BYTES];
    if (report.page.width < WIDTH_MIN)
        report.page.width = WIDTH_MIN;
    print_target(&report);
    putc('\n', file);
    model_verdict(model, verdict, sizeof(verdict));
    page_wrapped(&report.page, PAGE_BOLD, 0, 0, verdict);
    text_lock_group(&report, GROUP_LOCKS);
    text_uncontended(&report);
    text_lock_group(&report, GROUP_EVENTS);
    if (report.show_idle)
        text_lock_group(&report, GROUP_IDLE);
    else
        print_idle_sum(&report);
    text_regions(&report);
    int rc = text_threads(&report);
    if (rc < 0)
        return rc;
    page_heading(&report.page, "How far to trust it");
    print_losses(&report);
    print_stacks(&report, "stacks", "taken", model_stack_ends);
    print_schedule(&report);
    print_overhead(&report);
    print_damage(&report);
    print_environment(&report);
    return fflush(file) != 0 || ferror(file) ? -EIO : 0;
}
