/* SPDX-License-Identifier: MIT */
/*
 * What being watched costs a whole program, and what it costs to start: each program is run bare, under the
 * no-op agent (which only forwards) and under the full agent with a collector draining it, in turn, round
 * after round, so that whatever else the machine does hits all three alike. Prints medians and ratios to the
 * bare run of the same round. The calls here go through the PLT, as a program's do: a cross-check of
 * bench_pairs and bench_blocking, and noisier.
 *
 *     bench_hooks [ROUNDS [NAME…]]
 *
 * Each run is a process of its own: this program again, with --one NAME, which prints one number. CPU time is
 * that of the benched process alone, not the collector's.
 */
#include <math.h>
#include <spawn.h>
#include <sys/resource.h>

#include "tests/bench/bench.h"

#define ROUNDS_MAX 101

extern char **environ;

static double cpu_ns(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return ((double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec) * 1e9 +
           ((double)used.ru_utime.tv_usec + (double)used.ru_stime.tv_usec) * 1e3;
}

/* --- the benches: each returns ns for one operation ----------------------------------------------- */

/* Tools that slow a program down hundreds of times get a part of the work: BENCH_DIVISOR in the environment.
 */
static int scaled(int count) {
    const char *divisor = getenv("BENCH_DIVISOR");
    return divisor && atoi(divisor) > 1 ? count / atoi(divisor) : count;
}

#define PAIRS 2000000
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static double pairs(void) {
    int count = scaled(PAIRS);
    double begin = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    return (bench_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / count;
}

static void *idle_run(void *argument) {
    for (;;)
        pause();
    return argument;
}

/* From its first thread on glibc takes locks with atomic operations. */
static void second_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, idle_run, NULL) != 0)
        exit(1);
}

static double bench_single(void) {
    return pairs();
}

static double bench_pair(void) {
    second_thread();
    return pairs();
}

/* Taken and let go with two others held. */
static double bench_nested(void) {
    pthread_mutex_t outer[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
    second_thread();
    pthread_mutex_lock(&outer[0]);
    pthread_mutex_lock(&outer[1]);
    double result = pairs();
    pthread_mutex_unlock(&outer[1]);
    pthread_mutex_unlock(&outer[0]);
    return result;
}

static double bench_read(void) {
    second_thread();
    int count = scaled(PAIRS);
    double begin = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
    }
    return (bench_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / count;
}

#define FIGHTERS 4
#define FIGHTS 200000
static volatile unsigned long fought;

static void *fight_run(void *argument) {
    int count = scaled(FIGHTS);
    for (int i = 0; i < count; i++) {
        pthread_mutex_lock(&mutex);
        for (int k = 0; k < 20; k++)
            fought++;
        pthread_mutex_unlock(&mutex);
        for (int k = 0; k < 20; k++)
            __asm__ volatile("" ::: "memory");
    }
    return argument;
}

static double bench_contended(void) {
    pthread_t threads[FIGHTERS];
    double begin = cpu_ns();
    for (int i = 0; i < FIGHTERS; i++) {
        if (pthread_create(&threads[i], NULL, fight_run, NULL) != 0)
            exit(1);
    }
    for (int i = 0; i < FIGHTERS; i++)
        pthread_join(threads[i], NULL);
    return (cpu_ns() - begin) / (FIGHTERS * (double)scaled(FIGHTS));
}

#define TURNS 15000
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *pong_run(void *argument) {
    int mine = argument != NULL, count = scaled(TURNS);
    for (int i = 0; i < count; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != mine)
            pthread_cond_wait(&turn_changed, &mutex);
        turn = !mine;
        pthread_cond_signal(&turn_changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static double bench_ping_pong(void) {
    pthread_t threads[2];
    double begin = cpu_ns();
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&threads[i], NULL, pong_run, i ? &turn : NULL) != 0)
            exit(1);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return (cpu_ns() - begin) / (2.0 * scaled(TURNS));
}

#define THREADS 100000

static void *nothing_run(void *argument) {
    return argument;
}

static double bench_thread(void) {
    double begin = cpu_ns();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing_run, NULL) != 0)
            exit(1);
        pthread_join(thread, NULL);
    }
    return (cpu_ns() - begin) / THREADS;
}

static const struct bench {
    const char *name, *what;
    double (*run)(void);
    int rounds;
    double goal; /* NAN: none */
} BENCHES[] = {
    {"pair", "mutex pair", bench_pair, 9, 1.30},
    {"nested", "mutex pair, two others held", bench_nested, 9, 1.30},
    {"single", "mutex pair, one thread", bench_single, 9, 1.4},
    {"read", "rwlock read pair", bench_read, 9, 1.3},
    {"contended", "4 threads, short sections (CPU)", bench_contended, 11, 1.03},
    {"ping-pong", "condition ping-pong (CPU)", bench_ping_pong, 11, 1.05},
    {"thread", "100 000 threads, one by one (CPU)", bench_thread, 3, 1.3},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* --- the driver ------------------------------------------------------------------------------------ */

static void variant_exec(enum bench_variant variant, const char *name, const char *trace) {
    if (variant == BENCH_FULL)
        bench_record_exec(trace, NULL, "--one", name);
    if (variant == BENCH_NOOP)
        setenv("LD_PRELOAD", BENCH_AGENT_NOOP, 1);
    execl(bench_self(), bench_self(), "--one", name, (char *)NULL);
}

/* Runs one bench in one way. Returns 0 and the ns, or a negative errno. */
static int variant_run(enum bench_variant variant, const char *name, double *ret_ns) {
    char trace[64], text[64] = "";
    snprintf(trace, sizeof trace, "/tmp/bench_hooks.%d.trace", (int)getpid());
    unlink(trace);
    int ends[2];
    if (pipe(ends) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (variant == BENCH_FULL && freopen("/dev/null", "w", stderr) == NULL)
            _exit(125);
        variant_exec(variant, name, trace);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got;
         used < sizeof text - 1 && (got = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    close(ends[0]);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return -ECHILD;
    unlink(trace);
    char *end;
    *ret_ns = strtod(text, &end);
    return end == text ? -EBADMSG : 0;
}

static void row_print(const char *what, double (*values)[ROUNDS_MAX], int rounds, double goal) {
    static double noop[ROUNDS_MAX], full[ROUNDS_MAX];
    bench_ratios(values[BENCH_NOOP], values[BENCH_BARE], rounds, noop);
    bench_ratios(values[BENCH_FULL], values[BENCH_BARE], rounds, full);
    printf("%-36s %11.1f %11.1f %11.1f   %5.2f   %5.2f  %5.2f-%-5.2f", what,
           bench_median(values[BENCH_BARE], rounds), bench_median(values[BENCH_NOOP], rounds),
           bench_median(values[BENCH_FULL], rounds), bench_median(noop, rounds), bench_median(full, rounds),
           full[rounds / 4], full[rounds * 3 / 4]);
    if (isnan(goal))
        printf("      -\n");
    else
        printf("   %4.2f\n", goal);
    fflush(stdout);
}

static int bench_drive(const struct bench *bench, int rounds) {
    static double values[BENCH_VARIANTS][ROUNDS_MAX];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < BENCH_VARIANTS; i++) {
            int variant = (round + i) % BENCH_VARIANTS; /* nobody is always first */
            int error = variant_run((enum bench_variant)variant, bench->name, &values[variant][round]);
            if (error) {
                fprintf(stderr, "bench_hooks: %s: %s\n", bench->name, strerror(-error));
                return error;
            }
        }
    }
    row_print(bench->what, values, rounds, bench->goal);
    return 0;
}

/* --- starts ----------------------------------------------------------------------------------------- */

#define STARTS 101

static double start_ns(char **environment) {
    char *const arguments[] = {"true", NULL};
    pid_t pid;
    int status;
    double begin = bench_clock_ns(CLOCK_MONOTONIC);
    if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environment) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0)
        exit(1);
    return bench_clock_ns(CLOCK_MONOTONIC) - begin;
}

/* The recorded process starts `true` bare, under the no-op agent and under the agent, whose collector is
 * there. */
static int starts(void) {
    static double values[BENCH_VARIANTS][ROUNDS_MAX];
    char path[8192], noop[] = "LD_PRELOAD=" BENCH_AGENT_NOOP;
    snprintf(path, sizeof path, "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    char *bare_environment[] = {path, NULL}, *noop_environment[] = {path, noop, NULL};
    char **environments[BENCH_VARIANTS] = {bare_environment, noop_environment, environ};
    for (int round = 0; round < STARTS; round++) {
        for (int i = 0; i < BENCH_VARIANTS; i++) {
            int variant = (round + i) % BENCH_VARIANTS;
            values[variant][round] = start_ns(environments[variant]);
        }
    }
    row_print("start of true, collector there ", values, STARTS, NAN);
    printf("%-36s added to true: no-op %.2f ms, agent %.2f ms   goal 3.00 ms\n", "",
           (bench_median(values[BENCH_NOOP], STARTS) - bench_median(values[BENCH_BARE], STARTS)) / 1e6,
           (bench_median(values[BENCH_FULL], STARTS) - bench_median(values[BENCH_BARE], STARTS)) / 1e6);
    return 0;
}

static bool chosen(const char *name, int count, char **names) {
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return count <= 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--one") == 0) {
        for (size_t i = 0; i < BENCH_COUNT; i++) {
            if (strcmp(argv[2], BENCHES[i].name) == 0) {
                printf("%.3f\n", BENCHES[i].run());
                return 0;
            }
        }
        return 2;
    }
    if (argc == 3 && strcmp(argv[1], "--starts") == 0)
        return starts();
    int rounds = argc > 1 ? atoi(argv[1]) : 0; /* 0: of each what it needs */
    if (rounds < 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_hooks [ROUNDS [NAME…]]\n");
        return 2;
    }
    printf("ns an operation, processes in turn, medians; ratios to the bare run of the same round: medians, "
           "quartiles\n%-36s %11s %11s %11s   %5s   %5s  %-11s   %4s\n",
           "", "bare", "no-op", "agent", "no-op", "agent", "(quartiles)", "goal");
    int result = 0;
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        if (chosen(BENCHES[i].name, argc - 2, argv + 2) &&
            bench_drive(&BENCHES[i], rounds ? rounds : BENCHES[i].rounds) != 0)
            result = 1;
    }
    if (chosen("start", argc - 2, argv + 2) &&
        bench_record_end(bench_record_start(NULL, "--starts", "true", -1)) != 0) {
        fprintf(stderr, "bench_hooks: start: the recorded process failed\n");
        result = 1;
    }
    return result;
}
