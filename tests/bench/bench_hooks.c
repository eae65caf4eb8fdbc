/* SPDX-License-Identifier: MIT */
/*
 * What being watched costs a program: each bench is run bare, under the no-op agent (which only
 * forwards) and under the full agent with a collector draining it, in turn, round after round, so that
 * whatever else the machine does hits all three alike. Prints medians and ratios to bare.
 *
 *     bench_hooks [ROUNDS [NAME…]]
 *
 * Each run is a process of its own: this program again, with --one NAME, which prints one number. CPU time is
 * that of the benched process alone, not the collector's.
 */
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_DEFAULT 5
#define ROUNDS_MAX 101
#define WAITSCOPE TEST_BUILD_DIR "/bin/waitscope"
#define AGENT_NOOP TEST_BUILD_DIR "/lib/libwaitscope-agent-noop.so"

extern char **environ;

static double clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double cpu_ns(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return ((double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec) * 1e9 +
           ((double)used.ru_utime.tv_usec + (double)used.ru_stime.tv_usec) * 1e3;
}

/* --- the benches: each returns ns for one operation ----------------------------------------------- */

#define PAIRS 10000000
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static double pairs(void) {
    double begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < PAIRS; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / PAIRS;
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
    double begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < PAIRS; i++) {
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
    }
    return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / PAIRS;
}

#define FIGHTERS 4
#define FIGHTS 300000
static volatile unsigned long fought;

static void *fight_run(void *argument) {
    for (int i = 0; i < FIGHTS; i++) {
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
    return (cpu_ns() - begin) / (FIGHTERS * (double)FIGHTS);
}

#define TURNS 50000
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *pong_run(void *argument) {
    int mine = argument != NULL;
    for (int i = 0; i < TURNS; i++) {
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
    return (cpu_ns() - begin) / (2.0 * TURNS);
}

#define THREADS 5000

static void *nothing_run(void *argument) {
    return argument;
}

static double bench_thread(void) {
    double begin = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing_run, NULL) != 0)
            exit(1);
        pthread_join(thread, NULL);
    }
    return (clock_ns(CLOCK_MONOTONIC) - begin) / THREADS;
}

#define STARTS 100

static double bench_start(void) {
    char *const arguments[] = {"true", NULL};
    double begin = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < STARTS; i++) {
        pid_t pid;
        int status;
        if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) != 0 ||
            waitpid(pid, &status, 0) != pid)
            exit(1);
    }
    return (clock_ns(CLOCK_MONOTONIC) - begin) / STARTS;
}

static const struct bench {
    const char *name, *what;
    double (*run)(void);
} BENCHES[] = {
    {"single", "mutex pair, one thread", bench_single},
    {"pair", "mutex pair, uncontended", bench_pair},
    {"nested", "mutex pair, two others held", bench_nested},
    {"read", "rwlock read pair", bench_read},
    {"contended", "4 threads, one mutex (CPU)", bench_contended},
    {"ping-pong", "condition ping-pong (CPU)", bench_ping_pong},
    {"thread", "thread create and join", bench_thread},
    {"start", "start of true", bench_start},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* --- the driver ------------------------------------------------------------------------------------ */

enum variant { BARE, NOOP, FULL, VARIANT_COUNT };

static void variant_exec(enum variant variant, const char *name, const char *trace) {
    static char self[] = "/proc/self/exe";
    char path[4096];
    ssize_t size = readlink(self, path, sizeof path - 1);
    if (size <= 0)
        return;
    path[size] = '\0';
    if (variant == FULL) {
        execl(WAITSCOPE, "waitscope", "record", "-o", trace, "--", path, "--one", name, (char *)NULL);
        return;
    }
    if (variant == NOOP)
        setenv("LD_PRELOAD", AGENT_NOOP, 1);
    execl(path, path, "--one", name, (char *)NULL);
}

/* Runs one bench in one way. Returns 0 and the ns, or a negative errno. */
static int variant_run(enum variant variant, const char *name, double *ret_ns) {
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
        if (variant == FULL && freopen("/dev/null", "w", stderr) == NULL)
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

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int bench_drive(const struct bench *bench, int rounds) {
    static double values[VARIANT_COUNT][ROUNDS_MAX];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < VARIANT_COUNT; i++) {
            enum variant variant = (enum variant)((round + i) % VARIANT_COUNT); /* nobody is always first */
            int error = variant_run(variant, bench->name, &values[variant][round]);
            if (error) {
                fprintf(stderr, "bench_hooks: %s: %s\n", bench->name, strerror(-error));
                return error;
            }
        }
    }
    double bare = median(values[BARE], rounds), noop = median(values[NOOP], rounds),
           full = median(values[FULL], rounds);
    printf("%-28s %10.1f %10.1f %6.2f %10.1f %6.2f   %.1f-%.1f\n", bench->what, bare, noop, noop / bare, full,
           full / bare, values[FULL][0], values[FULL][rounds - 1]);
    fflush(stdout);
    return 0;
}

static bool chosen(const struct bench *bench, int count, char **names) {
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], bench->name) == 0)
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
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS_DEFAULT;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_hooks [ROUNDS [NAME…]]\n");
        return 2;
    }
    printf("ns an operation, medians of %d rounds, ratios to bare\n", rounds);
    printf("%-28s %10s %10s %6s %10s %6s   %s\n", "", "bare", "no-op", "", "agent", "", "agent's spread");
    int result = 0;
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        if (chosen(&BENCHES[i], argc - 2, argv + 2) && bench_drive(&BENCHES[i], rounds) != 0)
            result = 1;
    }
    return result;
}
