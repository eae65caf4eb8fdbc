/* SPDX-License-Identifier: MIT */
/*
 * The collector killed at random moments: the target goes on and ends as it would have, its output is right,
 * and what had been written opens, with its end marked.
 */
#include "load.h"

#define EVENTS 4000ULL
#define EVENTS_LONG 40000ULL /* takes longer than the second after which rows are written */

static bool report_marks(const char *path) {
    char command[PATH_MAX + 128], line[512];
    bool marked = false;
    snprintf(command, sizeof(command), "%s/bin/waitscope report %s 2>&1", TEST_BUILD_DIR, path);
    FILE *report = popen(command, "r");
    while (report && fgets(line, sizeof(line), report))
        marked = marked || strstr(line, "not finished") || strstr(line, "cut short");
    return CHECK(report && pclose(report) == 0) && marked;
}

/* Waits until the trace has grown past its header, or the target is through. */
static void trace_await(const char *path) {
    struct stat status;
    for (int i = 0; i < 3000; i++) {
        if (stat(path, &status) == 0 && status.st_size > 4096)
            return;
        usleep(1000);
    }
}

/* Returns the bytes of the file's torn end. */
static uint64_t round_run(unsigned number, const char *options, uint64_t *blocks) {
    char line[128], expected[64], sum[64];
    struct load_run run;
    uint64_t torn = 0;
    const char *path = load_file("trace");
    unsigned long long events = number % 10 == 0 ? EVENTS_LONG : EVENTS;
    snprintf(line, sizeof(line), "%llu", events);
    if (!load_start(&run, path, (const char *const[]){options, NULL},
                    (const char *const[]){"steady", line, NULL}))
        return 0;
    load_hear(&run, "pid ", line, sizeof(line));
    pid_t target = (pid_t)strtol(line, NULL, 10);
    if (number % 10 == 0)
        trace_await(path);
    usleep(number * 2654435761U >> 17); /* up to 32 ms */
    CHECK(kill(run.pid, SIGKILL) == 0);
    int status = -1;
    CHECK_EQ_INT(waitpid(run.pid, &status, 0), run.pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    load_hear(&run, "sum ", sum, sizeof(sum));
    snprintf(expected, sizeof(expected), "%llu 5\n", events * (events - 1) / 2);
    CHECK_STR(sum, expected);
    CHECK_EQ_INT(waitpid(target, &status, 0), target); /* it is ours since its parent is gone */
    CHECK_EQ_INT(status, 0);
    close(run.say);
    close(run.hear);

    struct trace_reader *reader;
    struct trace_reader_block block;
    if (CHECK_EQ_INT(trace_reader_open(path, NULL, &reader), 0)) {
        while (trace_reader_next(reader, &block) == 1)
            ++*blocks;
        const struct trace_reader_stats *stats = trace_reader_stats(reader);
        CHECK_EQ_U64(stats->damaged_blocks, 0);
        CHECK_EQ_INT(trace_reader_header(reader)->state, TRACE_RECORDING);
        torn = stats->torn_bytes;
        trace_reader_free(reader);
    }
    CHECK(report_marks(path));
    unlink(path);
    return torn;
}

int main(void) {
    unsigned long count = load_size(20, 500);
    uint64_t blocks = 0, torn = 0;
    if (!load_begin())
        return check_summary();
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    for (unsigned i = 0; i < count; i++)
        torn +=
            round_run(i, i % 2 ? "WAITSCOPE_AGENT=ring=4096" : "WAITSCOPE_AGENT=ring=1048576", &blocks) > 0;
    printf("collector killed %lu times: every target ended well, %llu blocks read, %llu torn at the end\n",
           count, (unsigned long long)blocks, (unsigned long long)torn);
    CHECK(blocks > 0);
    return load_end();
}
