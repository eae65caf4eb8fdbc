/* SPDX-License-Identifier: MIT */
/*
 * A collector that is too slow, and one that stands still for a while: of every thread, what it wanted to
 * write was stored or is counted as dropped, exactly, and the report says that something was.
 */
#include "load.h"

#define THREADS 4U
#define THREADS_SEEN 16U

struct found {
    uint64_t waits[THREADS_SEEN], lost[THREADS_SEEN], emitted[THREADS_SEEN];
};

static void found_block(void *context, const struct trace_reader_block *block) {
    struct found *found = context;
    for (uint32_t i = 0; i < block->row_count; i++) {
        if (block->kind == TRACE_LOSS) {
            const struct trace_loss *row = (const struct trace_loss *)block->rows + i;
            if (row->thread < THREADS_SEEN)
                found->lost[row->thread] += row->count;
        } else if (block->kind == TRACE_COST) {
            const struct trace_cost *row = (const struct trace_cost *)block->rows + i;
            if (row->thread < THREADS_SEEN)
                found->emitted[row->thread] = row->emitted;
        } else if (block->kind == TRACE_WAIT && block->thread < THREADS_SEEN) {
            found->waits[block->thread]++;
        }
    }
}

static bool report_tells(const char *path) {
    char command[PATH_MAX + 128], line[512];
    bool told = false;
    snprintf(command, sizeof(command), "%s/bin/waitscope report %s 2>&1", TEST_BUILD_DIR, path);
    FILE *report = popen(command, "r");
    while (report && fgets(line, sizeof(line), report))
        told = told || (strstr(line, " lost") && !strstr(line, "none lost"));
    return CHECK(report && pclose(report) == 0) && told;
}

static void burst(const char *what, const char *options, bool stopped) {
    char events_text[24];
    struct load_run run;
    struct load_trace trace;
    struct found found = {0};
    uint64_t events = load_size(50000, 300000);
    const char *path = load_file("trace");
    snprintf(events_text, sizeof(events_text), "%llu", (unsigned long long)events);
    if (!load_start(&run, path, (const char *const[]){options, NULL},
                    (const char *const[]){"burst", "4", events_text, NULL}))
        return;
    load_hear(&run, "ready", NULL, 0);
    if (stopped)
        kill(run.pid, SIGSTOP);
    load_go(&run);
    load_hear(&run, "done", NULL, 0); /* without a collector: the target has not waited for it */
    if (stopped)
        kill(run.pid, SIGCONT);
    load_go(&run);
    CHECK_EQ_INT(load_wait(&run), 0);
    if (!load_trace_read(path, &trace, found_block, &found))
        return;
    uint64_t stored = 0, lost = 0;
    for (uint32_t thread = 2; thread < 2 + THREADS; thread++) {
        CHECK_EQ_U64(found.waits[thread] + found.lost[thread], events);
        CHECK_EQ_U64(found.emitted[thread], events);
        stored += found.waits[thread];
        lost += found.lost[thread];
    }
    printf("%s: %llu emitted, %llu stored, %llu dropped\n", what, (unsigned long long)events * THREADS,
           (unsigned long long)stored, (unsigned long long)lost);
    CHECK(!trace.damaged && trace.state == TRACE_COMPLETE);
    CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
    CHECK_EQ_U64(trace.losses[LOSS_CORRUPT], 0);
    CHECK(lost > 0);
    CHECK(report_tells(path));
    unlink(path);
}

int main(void) {
    if (!load_begin())
        return check_summary();
    burst("rings of 4 KiB", "WAITSCOPE_AGENT=ring=4096", false);
    burst("collector stopped, rings of 4 KiB", "WAITSCOPE_AGENT=ring=4096", true);
    burst("collector stopped, rings of 1 MiB", "WAITSCOPE_AGENT=ring=1048576", true);
    return load_end();
}
