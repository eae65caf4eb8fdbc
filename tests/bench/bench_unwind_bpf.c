/* SPDX-License-Identifier: MIT */
/*
 * Stacks taken in the kernel from running programs: how many reach their thread's start, what they cost, and
 * what bpf_get_stack() gives at the same places. Needs root.
 *
 *     bench_unwind_bpf                             the targets beside this, one after the other
 *     bench_unwind_bpf SECONDS PID ...             processes that run already
 *     bench_unwind_bpf SECONDS -- COMMAND ...      a command, looked at from a second after its start
 *
 * "first" is as the event found things, "again" the same stack once more at once; the clock's two readings,
 * told below, are in both. With SHOW set a few stacks that are not complete are printed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/clock.h"
#include "collector/unwind_follow.h"
#include "collector/unwind_tables.h"
#include "tests/bpf/probe.h"

#define SHOWN_MAX 5U

static unsigned shown;

static void record_show(void *argument, const struct probe_record *record) {
    (void)argument;
    if (shown++ >= SHOWN_MAX || !getenv("SHOW"))
        return;
    printf("  thread %u of %u, %s, %u frames, ends with: %s\n", record->tid, record->pid,
           record->kind == PROBE_OFF_CPU ? "off CPU" : "on CPU", record->count, probe_end_name(record->end));
    for (unsigned i = 0; i < record->count && i < UNWIND_FRAMES_MAX; i++)
        printf("    %#llx\n", (unsigned long long)record->frames[i]);
}

static void depths_show(const struct probe_counts *counts) {
    static const unsigned BANDS[] = {1, 4, 8, 12, 16, 24, 36, 48, 72, UNWIND_FRAMES_MAX + 1};
    printf("  %-12s %9s %8s %8s %8s %8s %16s %8s\n", "frames", "stacks", "average", "first ns", "again ns",
           "misses", "get_stack frames", "ns");
    for (unsigned band = 0; band + 1 < sizeof(BANDS) / sizeof(BANDS[0]); band++) {
        struct probe_depth sum = {0};
        uint64_t frames = 0;
        for (unsigned i = BANDS[band]; i < BANDS[band + 1]; i++) {
            const struct probe_depth *depth = &counts->depths[i];
            sum.count += depth->count;
            sum.misses += depth->misses;
            sum.first_ns += depth->first_ns;
            sum.again_ns += depth->again_ns;
            sum.kernel_ns += depth->kernel_ns;
            sum.kernel_frames += depth->kernel_frames;
            frames += depth->count * i;
        }
        if (sum.count == 0)
            continue;
        double count = (double)sum.count;
        printf("  %3u to %-5u %9llu %8.1f %8.0f %8.0f %8.2f %16.1f %8.0f\n", BANDS[band], BANDS[band + 1] - 1,
               (unsigned long long)sum.count, (double)frames / count, (double)sum.first_ns / count,
               (double)sum.again_ns / count, (double)sum.misses / count, (double)sum.kernel_frames / count,
               (double)sum.kernel_ns / count);
    }
}

static void counts_show(const struct probe_counts *counts, const char *kind) {
    uint64_t all = 0;
    for (unsigned i = 0; i < UNWIND_ENDS; i++)
        all += counts->ends[i];
    uint64_t start = counts->ends[UNWIND_END_START];
    printf("%s: %llu of %llu stacks reach the start: %.3f %%; %llu with frames by frame pointer\n", kind,
           (unsigned long long)start, (unsigned long long)all,
           all ? 100.0 * (double)start / (double)all : 0.0, (unsigned long long)counts->fallbacks);
    for (unsigned i = 0; i < UNWIND_ENDS; i++)
        if (i != UNWIND_END_START && counts->ends[i])
            printf("  %llu end with: %s\n", (unsigned long long)counts->ends[i], probe_end_name(i));
    depths_show(counts);
}

static void tables_show(const struct unwind_tables *tables) {
    struct unwind_tables_stats stats;
    unwind_tables_stats(tables, &stats);
    printf("tables: %llu processes, %llu modules of %llu files in %.1f ms; %.2f MiB used, %.2f MiB held\n",
           (unsigned long long)stats.processes, (unsigned long long)stats.modules,
           (unsigned long long)stats.files_read, (double)stats.build_ns / 1e6,
           (double)stats.bytes / (1 << 20), (double)stats.bytes_reserved / (1 << 20));
    printf("  %llu pages of code, %llu of one row, %llu like another, %llu in full; %llu rows unsupported; "
           "%llu ranges and "
           "%llu "
           "processes lost; maps read %llu times; %llu forks lost\n",
           (unsigned long long)stats.pages, (unsigned long long)stats.pages_single,
           (unsigned long long)stats.pages_shared, (unsigned long long)stats.pages_full,
           (unsigned long long)stats.rows_unsupported, (unsigned long long)stats.ranges_lost,
           (unsigned long long)stats.processes_lost, (unsigned long long)stats.maps_read,
           (unsigned long long)stats.counters.forks_lost);
}

static pid_t command_start(char **arguments) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen("/dev/null", "w", stdout))
        _exit(127);
    execvp(arguments[0], arguments);
    _exit(127);
}

/* What is looked at: a command, or processes. */
struct looked {
    double seconds;
    char **command; /* NULL: */
    char **pids;
    int pid_count;
};

static void processes_add(struct unwind_tables *tables, const struct looked *looked, pid_t command) {
    uint64_t begin = clock_now_ns();
    int error = command ? unwind_tables_process_add(tables, command) : 0;
    if (error < 0)
        fprintf(stderr, "bench_unwind_bpf: %s: %s\n", looked->command[0], strerror(-error));
    for (int i = 0; i < looked->pid_count; i++)
        if ((error = unwind_tables_process_add(tables, atoi(looked->pids[i]))) < 0)
            fprintf(stderr, "bench_unwind_bpf: %s: %s\n", looked->pids[i], strerror(-error));
    printf("tables made in %.1f ms\n", (double)(clock_now_ns() - begin) / 1e6);
}

static int look(const struct looked *looked) {
    struct unwind_tables *tables = NULL;
    struct unwind_follow *follow = NULL;
    struct probe *probe = NULL;
    pid_t command = 0;
    int result = probe_tables_open(&tables);
    if (result != 0)
        return result;
    result = 1;
    int error = unwind_follow_open(tables, &follow);
    if (error < 0) {
        fprintf(stderr, "bench_unwind_bpf: nobody to follow with: %s\n", strerror(-error));
        goto cleanup;
    }
    if (probe_open(tables, &probe) != 0)
        goto cleanup;
    printf("programs loaded in %.0f ms\n", probe_load_ms(probe));
    if (looked->command) {
        command = command_start(looked->command);
        sleep(1);
    }
    processes_add(tables, looked, command);
    probe_set(probe, getenv("SHOW") ? PROBE_EMIT_INCOMPLETE : PROBE_EMIT_NONE, true, true);
    if ((error = probe_start(probe, 499)) < 0) {
        fprintf(stderr, "bench_unwind_bpf: cannot attach: %s\n", strerror(-error));
        goto cleanup;
    }
    uint64_t end = clock_now_ns() + (uint64_t)(looked->seconds * 1e9);
    while (clock_now_ns() < end) {
        unwind_follow_wait(follow, 10);
        unwind_follow_drain(follow);
        probe_poll(probe, 0, record_show, NULL);
    }
    probe_stop(probe);
    counts_show(&probe_counts(probe)[PROBE_OFF_CPU], "off CPU");
    counts_show(&probe_counts(probe)[PROBE_ON_CPU], "on CPU");
    printf("a pair of clock readings: %.0f ns\n", probe_clock_pair_ns(probe));
    tables_show(tables);
    result = 0;
cleanup:
    if (command > 0) {
        kill(command, SIGTERM);
        waitpid(command, NULL, 0);
    }
    probe_close(probe);
    unwind_follow_close(follow);
    unwind_tables_close(tables);
    return result;
}

static int look_at_all(void) {
    static const char *const COMMANDS[][3] = {
        {TEST_BUILD_DIR "/tests/bench/target_turns", "5"},
        {TEST_BUILD_DIR "/tests/bench/target_turns", "32"},
        {TEST_BUILD_DIR "/tests/bench/target_turns_cxx", "8"},
        {"node", TEST_SOURCE_DIR "/tests/bench/target_workers.js"},
    };
    int result = 0;
    for (unsigned i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]) && result == 0; i++) {
        struct looked looked = {.seconds = 3, .command = (char **)COMMANDS[i]};
        printf("--- %s %s\n", COMMANDS[i][0], COMMANDS[i][1]);
        result = look(&looked);
    }
    return result == PROBE_SKIPPED ? 0 : result;
}

int main(int argc, char **argv) {
    struct looked looked = {0};
    if (argc == 1)
        return look_at_all();
    if (argc < 3) {
        fprintf(stderr, "usage: %s [SECONDS PID... | SECONDS -- COMMAND...]\n", argv[0]);
        return 2;
    }
    looked.seconds = atof(argv[1]);
    if (strcmp(argv[2], "--") == 0 && argc > 3) {
        looked.command = argv + 3;
    } else {
        looked.pids = argv + 2;
        looked.pid_count = argc - 2;
    }
    return look(&looked);
}
