/* SPDX-License-Identifier: MIT */
/*
 * Stacks through storms: libraries loaded and unloaded again and again under a thread that sleeps in them,
 * children by the hundred of which some exec, and threads that hand a turn around meanwhile. A stack that
 * does not reach its thread's start was taken while the process' table was not right, and that is known
 * (unwind_follow_stale). How many that are depends on how soon the one that follows gets to run, and is told.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "collector/clock.h"
#include "collector/unwind_follow.h"
#include "tests/bpf/probe.h"
#include "tests/bpf/storm.h"

/* Stacks that are not complete, until it is known whether the table was right then. */
struct doubts {
    struct probe_record *records;
    size_t count, room;
};
static unsigned judged, stale, unreadable, mute, wrong;

static void record_keep(void *argument, const struct probe_record *record) {
    struct doubts *doubts = argument;
    if (doubts->count == doubts->room) {
        doubts->room = doubts->room ? 2 * doubts->room : 256;
        doubts->records = realloc(doubts->records, doubts->room * sizeof(*doubts->records));
        if (!doubts->records)
            abort();
    }
    doubts->records[doubts->count++] = *record;
}

static void doubts_judge(struct doubts *doubts, const struct unwind_follow *follow) {
    for (size_t i = 0; i < doubts->count; i++) {
        const struct probe_record *record = &doubts->records[i];
        judged++;
        if (record->end == UNWIND_END_EXEC)
            continue;
        if (unwind_follow_stale(follow, (pid_t)record->pid, record->time_ns)) {
            stale++;
            continue;
        }
        /* A page that the thread is copying after a fork is not there for an instant. */
        if (record->end == UNWIND_END_READ) {
            unreadable++;
            continue;
        }
        /* What rows cannot tell of, and is marked so: leaves that the compiler puts into a library have none
         * (crtstuff.c), and a few places in libc and ld.so say more than a row can. */
        if (record->end == UNWIND_END_UNSUPPORTED ||
            (record->end == UNWIND_END_NO_ROWS && record->count == 1)) {
            mute++;
            continue;
        }
        if (wrong++ >= 5)
            continue;
        fprintf(stderr, "thread %u of %u, kind %u, ends with: %s\n", record->tid, record->pid, record->kind,
                probe_end_name(record->end));
        for (unsigned j = 0; j < record->count; j++)
            fprintf(stderr, "  %#llx\n", (unsigned long long)record->frames[j]);
    }
    doubts->count = 0;
}

static uint64_t counts_show(const struct probe_counts *counts, const char *kind) {
    uint64_t all = 0;
    for (unsigned i = 0; i < UNWIND_ENDS; i++)
        all += counts->ends[i];
    printf("%s: %llu stacks, %.3f %% reach the start\n", kind, (unsigned long long)all,
           all ? 100.0 * (double)counts->ends[UNWIND_END_START] / (double)all : 0.0);
    for (unsigned i = 0; i < UNWIND_ENDS; i++)
        if (counts->ends[i] && i != UNWIND_END_START)
            printf("  %llu end with: %s\n", (unsigned long long)counts->ends[i], probe_end_name(i));
    return all;
}

int main(void) {
    struct unwind_tables *tables;
    struct unwind_follow *follow;
    struct unwind_follow_stats stats;
    struct unwind_tables_stats used;
    struct probe *probe;
    struct doubts doubts = {0};
    siginfo_t ended = {0};
    bool begun = false;
    int go[2], status = -1;
    int result = probe_tables_open(&tables);
    if (result != 0)
        return result;
    if (!CHECK_EQ_INT(unwind_follow_open(tables, &follow), 0) ||
        !CHECK_EQ_INT(probe_open(tables, &probe), 0) || !CHECK_EQ_INT(pipe(go), 0))
        return check_summary();
    fflush(stdout);
    pid_t target = fork();
    if (target == 0) {
        char byte;
        if (read(go[0], &byte, 1) != 1 || dup2(go[0], STDIN_FILENO) < 0)
            _exit(3);
        /* While a function is looked up at its first call, ld.so's frame is beyond a row. */
        setenv("LD_BIND_NOW", "1", 1);
        execl(TARGET_STORM, "target_storm", (char *)NULL);
        _exit(3);
    }
    CHECK_EQ_INT(unwind_tables_process_add(tables, target), 0);
    probe_set(probe, PROBE_EMIT_INCOMPLETE, false, false);
    CHECK_EQ_INT(probe_start(probe, 997), 0);
    CHECK(write(go[1], "", 1) == 1);
    while (waitid(P_PID, (id_t)target, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0) {
        unwind_follow_wait(follow, 100);
        probe_poll(probe, 0, record_keep, &doubts);
        unwind_follow_drain(follow);
        doubts_judge(&doubts, follow);
        unwind_follow_stats(follow, &stats);
        if (!begun && stats.execed > 0)
            begun = CHECK(write(go[1], "", 1) == 1);
    }
    probe_stop(probe);
    probe_poll(probe, 0, record_keep, &doubts);
    CHECK_EQ_INT(waitpid(target, &status, 0), target);
    CHECK_EQ_INT(status, 0);
    unwind_follow_drain(follow);
    doubts_judge(&doubts, follow);
    free(doubts.records);

    uint64_t off_cpu = counts_show(&probe_counts(probe)[PROBE_OFF_CPU], "off CPU");
    uint64_t on_cpu = counts_show(&probe_counts(probe)[PROBE_ON_CPU], "on CPU");
    printf("%u of them incomplete: %u while the table was not right, %u unreadable, %u beyond rows, "
           "%u for no reason\n",
           judged, stale, unreadable, mute, wrong);
    CHECK(off_cpu > STORM_LOADS + STORM_FORKS);
    CHECK(unreadable <= 50 + on_cpu / 10);
    CHECK(mute <= 50 + judged / 50);
    CHECK_EQ_U64(wrong, 0);
    CHECK_EQ_U64(probe_lost(probe), 0);
    unwind_follow_stats(follow, &stats);
    unwind_tables_stats(tables, &used);
    printf("%llu mappings, %llu forks, %llu execs, %llu ends, %llu lost; looked %llu times, %.0f us after "
           "the event on "
           "average\n",
           (unsigned long long)stats.mapped, (unsigned long long)stats.forked,
           (unsigned long long)stats.execed, (unsigned long long)stats.ended, (unsigned long long)stats.lost,
           (unsigned long long)stats.refreshes,
           stats.refreshes ? (double)stats.delay_ns_sum / 1e3 / (double)stats.refreshes : 0.0);
    printf("%llu processes, %llu tables, %llu modules, %.2f MiB\n", (unsigned long long)used.processes,
           (unsigned long long)used.tables, (unsigned long long)used.modules, (double)used.bytes / (1 << 20));
    /* All that came is gone again. A child may be seen to have ended before it is heard of. */
    if (stats.lost == 0) {
        CHECK_EQ_U64(stats.forked, STORM_FORKS);
        CHECK(stats.execed > 1 && stats.execed <= STORM_FORKS / 4 + 1);
    }
    CHECK_EQ_U64(used.processes, 0);
    CHECK_EQ_U64(used.counters.forks_lost + used.processes_lost + used.ranges_lost, 0);
    CHECK(used.modules < 40);
    probe_close(probe);
    unwind_follow_close(follow);
    unwind_tables_close(tables);
    return check_summary();
}
