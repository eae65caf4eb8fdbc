/* SPDX-License-Identifier: MIT */
/*
 * What watching costs in memory: per idle thread and per lock, as the difference between a program with few
 * and one with many of them, bare and recorded. Of the target its private memory and what it touched of the
 * memory it shares with the collector (smaps), of the collector all but what it shares.
 *
 *     bench_memory
 */
#include <stdatomic.h>

#include "tests/bench/bench.h"

struct memory {
    double target, shared, collector; /* bytes */
};

/* Sums up Rss of the mappings whose name has wanted in it; and of all others in *ret_other. */
static double resident(pid_t pid, const char *wanted, double *ret_other) {
    char path[40], line[4096];
    double sum = 0, other = 0;
    bool inside = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to, kilobytes;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = strstr(line, wanted) != NULL;
        else if (sscanf(line, "Rss: %lu kB", &kilobytes) == 1)
            *(inside ? &sum : &other) += (double)kilobytes * 1024;
    }
    if (maps)
        fclose(maps);
    if (ret_other)
        *ret_other = other;
    return sum;
}

/* The recording process is the target's parent. */
static struct memory measure(void) {
    struct memory memory = {0};
    char path[40], name[32] = "";
    memory.shared = resident(getpid(), "memfd:waitscope", &memory.target);
    snprintf(path, sizeof path, "/proc/%d/comm", (int)getppid());
    FILE *comm = fopen(path, "r");
    if (comm && fgets(name, sizeof name, comm) && strncmp(name, "waitscope", 9) == 0)
        resident(getppid(), "memfd:waitscope", &memory.collector);
    if (comm)
        fclose(comm);
    return memory;
}

static _Atomic int begun; /* [BEGUN] relaxed: only its value matters */

static void *idle_run(void *argument) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (argument) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    atomic_fetch_add_explicit(&begun, 1, memory_order_relaxed); /* [BEGUN] */
    for (;;)
        pause();
    return NULL;
}

/* One after another, so that none has to wait for the mutex. */
static void threads_make(int count, void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, idle_run, argument) != 0)
            exit(1);
        while (atomic_load_explicit(&begun, memory_order_relaxed) <= i) /* [BEGUN] */
            usleep(50);
    }
}

static void threads_idle(int count) {
    threads_make(count, NULL);
}

static void threads_lock_once(int count) {
    threads_make(count, &begun);
}

static void locks_make(int count) {
    pthread_mutex_t *locks = calloc((size_t)count, sizeof *locks);
    if (!locks)
        exit(1);
    for (int i = 0; i < count; i++) {
        pthread_mutex_lock(&locks[i]);
        pthread_mutex_unlock(&locks[i]);
    }
}

static const struct bench {
    const char *name, *what;
    void (*make)(int count);
    int few, many;
    double goal;
} BENCHES[] = {
    {"idle", "a thread that never locks", threads_idle, 64, 1088, 8192},
    {"locked", "a thread that locked once", threads_lock_once, 64, 1088, 8192},
    {"lock", "a lock, taken once", locks_make, 100000, 1100000, 64},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* The collector drains and tells itself what is new once in a while: as long as its memory grows it has not.
 */
static struct memory settled(void) {
    struct memory last = measure(), now;
    for (int quiet = 0; quiet < 3; quiet = now.collector == last.collector ? quiet + 1 : 0, last = now) {
        usleep(100000);
        now = measure();
    }
    return last;
}

static int inside(const char *argument) {
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        size_t length = strlen(BENCHES[i].name);
        if (strncmp(argument, BENCHES[i].name, length) != 0 || argument[length] != '=')
            continue;
        BENCHES[i].make(atoi(argument + length + 1));
        struct memory memory = settled();
        printf("%.0f %.0f %.0f\n", memory.target, memory.shared, memory.collector);
        fflush(stdout);
        _exit(0); /* the threads never end */
    }
    return 2;
}

static int run(const struct bench *bench, int count, bool recorded, struct memory *ret_memory) {
    char argument[40];
    int ends[2], status = 1;
    snprintf(argument, sizeof argument, "%s=%d", bench->name, count);
    if (pipe(ends) != 0)
        return -errno;
    pid_t pid;
    if (recorded) {
        pid = bench_record_start(NULL, "--inside", argument, ends[1]);
    } else if ((pid = fork()) == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(bench_self(), bench_self(), "--inside", argument, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *input = fdopen(ends[0], "r");
    bool read_all = input && fscanf(input, "%lf %lf %lf", &ret_memory->target, &ret_memory->shared,
                                    &ret_memory->collector) == 3;
    if (input)
        fclose(input);
    status = bench_record_end(pid);
    return read_all && status == 0 ? 0 : -ECHILD;
}

static int bench_drive(const struct bench *bench) {
    struct memory bare[2], full[2];
    const int counts[2] = {bench->few, bench->many};
    for (int i = 0; i < 2; i++) {
        int error = run(bench, counts[i], false, &bare[i]);
        if (error == 0)
            error = run(bench, counts[i], true, &full[i]);
        if (error)
            return error;
    }
    double each = bench->many - bench->few;
    double target_bare = (bare[1].target - bare[0].target) / each,
           target = (full[1].target - full[0].target) / each,
           shared = (full[1].shared - full[0].shared) / each,
           collector = (full[1].collector - full[0].collector) / each;
    printf("%-28s %9.0f %9.0f %9.0f %9.0f %9.0f   %5.0f\n", bench->what, target_bare, target, shared,
           collector, target - target_bare + shared, bench->goal);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--inside") == 0)
        return inside(argv[2]);
    int result = 0;
    printf("bytes each\n%-28s %9s %9s %9s %9s %9s   %5s\n", "", "bare", "recorded", "shared", "collector",
           "added", "goal");
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        int error = bench_drive(&BENCHES[i]);
        if (error) {
            fprintf(stderr, "bench_memory: %s: %s\n", BENCHES[i].name, strerror(-error));
            result = 1;
        }
    }
    return result;
}
