/* SPDX-License-Identifier: MIT */
/*
 * What the benches of the agent share: clocks, medians, the three ways a call can be made, and how a bench
 * gets itself recorded.
 *
 * Runs of separate processes differ by far more than a hook costs, so the three ways are called in turn in
 * one process, all through a pointer:
 *   BARE  libc's own function, from libc's handle
 *   NOOP  a function that does what the no-op agent's does (agent/noop.c): a load, a test, a jump. That
 *         library itself cannot serve here, since what it forwards to is what comes after it in the loader's
 *         list, and nothing comes after a library that was opened late
 *   FULL  what the program would call: the preloaded agent's hook
 */
#ifndef WAITSCOPE_TESTS_BENCH_BENCH_H
#define WAITSCOPE_TESTS_BENCH_BENCH_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/hook_table.h"

#define BENCH_WAITSCOPE TEST_BUILD_DIR "/bin/waitscope"
#define BENCH_AGENT_NOOP TEST_BUILD_DIR "/lib/libwaitscope-agent-noop.so"

enum bench_variant { BENCH_BARE, BENCH_NOOP, BENCH_FULL, BENCH_VARIANTS };

/* --- figures --------------------------------------------------------------------------------------- */

static inline double bench_clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline int bench_compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Sorts values. */
static inline double bench_quantile(double *values, int count, double share) {
    qsort(values, (size_t)count, sizeof *values, bench_compare);
    double at = share * (count - 1);
    int low = (int)at;
    return low + 1 < count ? values[low] + (values[low + 1] - values[low]) * (at - low) : values[low];
}

static inline double bench_median(double *values, int count) {
    return bench_quantile(values, count, 0.5);
}

/* Ratios taken round by round: what both had to bear in a round cancels out. Sorted in ret_ratios. */
static inline void bench_ratios(const double *values, const double *base, int count, double *ret_ratios) {
    for (int i = 0; i < count; i++)
        ret_ratios[i] = values[i] / base[i];
    qsort(ret_ratios, (size_t)count, sizeof *ret_ratios, bench_compare);
}

/* --- the three ways -------------------------------------------------------------------------------- */

extern struct agent_real bench_forwarded;

#define BENCH_NOOP_HOOK(type, name, parameters, arguments)                                                   \
    static __attribute__((noinline)) type bench_noop_##name parameters {                                     \
        if (__builtin_expect(!bench_forwarded.name, 0))                                                      \
            abort();                                                                                         \
        return bench_forwarded.name arguments;                                                               \
    }
#define BENCH_BARE_ROW(type, name, parameters, arguments)                                                    \
    *(void **)&ret_calls[BENCH_BARE].name = dlsym(libc, #name);
#define BENCH_FULL_ROW(type, name, parameters, arguments)                                                    \
    *(void **)&ret_calls[BENCH_FULL].name = dlsym(RTLD_DEFAULT, #name);
#define BENCH_NOOP_ROW(type, name, parameters, arguments) ret_calls[BENCH_NOOP].name = bench_noop_##name;

/* One file of a bench defines the three ways with this: bench_calls_find(). Says false if no agent is
 * preloaded. */
#define BENCH_CALLS_DEFINE                                                                                   \
    struct agent_real bench_forwarded;                                                                       \
    AGENT_HOOKS(BENCH_NOOP_HOOK)                                                                             \
    static bool bench_calls_find(struct agent_real *ret_calls) {                                             \
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);                                           \
        if (!libc)                                                                                           \
            return false;                                                                                    \
        AGENT_HOOKS(BENCH_BARE_ROW)                                                                          \
        AGENT_HOOKS(BENCH_FULL_ROW)                                                                          \
        AGENT_HOOKS(BENCH_NOOP_ROW)                                                                          \
        bench_forwarded = ret_calls[BENCH_BARE];                                                             \
        return ret_calls[BENCH_FULL].pthread_mutex_lock != ret_calls[BENCH_BARE].pthread_mutex_lock;         \
    }

/* --- being recorded -------------------------------------------------------------------------------- */

static inline const char *bench_self(void) {
    static char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    return path;
}

/* Replaces this process by this program again, recorded into trace; option: of `waitscope record`, or NULL.
 */
static inline void bench_record_exec(const char *trace, const char *option, const char *mode,
                                     const char *name) {
    if (option)
        execl(BENCH_WAITSCOPE, "waitscope", "record", "--no-kernel", option, "-o", trace, "--", bench_self(),
              mode, name, (char *)NULL);
    else
        execl(BENCH_WAITSCOPE, "waitscope", "record", "--no-kernel", "-o", trace, "--", bench_self(), mode,
              name, (char *)NULL);
}

/* Starts this program again, recorded, printing into output (-1: to where this one prints). Returns its pid.
 */
static inline pid_t bench_record_start(const char *option, const char *mode, const char *name, int output) {
    char trace[64];
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (output >= 0)
        dup2(output, STDOUT_FILENO);
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(125);
    snprintf(trace, sizeof trace, "/tmp/bench.%d.trace", (int)getpid());
    bench_record_exec(trace, option, mode, name);
    _exit(127);
}

/* Waits for it and removes its trace. Returns its exit status, 125 if it has none. */
static inline int bench_record_end(pid_t pid) {
    char trace[64];
    int status = 0;
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    snprintf(trace, sizeof trace, "/tmp/bench.%d.trace", (int)pid);
    unlink(trace);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

#endif
