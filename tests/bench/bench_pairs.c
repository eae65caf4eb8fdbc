/* SPDX-License-Identifier: MIT */
/*
 * What a call costs that need not wait: pairs of lock and unlock and their like, bare, through a function
 * that only forwards and through the agent, in turn, batch after batch in one process (bench.h). CPU time of
 * the thread.
 *
 *     bench_pairs [NAME…]
 */
#include <math.h>

#include "tests/bench/bench.h"

#define ROUNDS 101
#define BATCH 20000
#define LOCKS 64

BENCH_CALLS_DEFINE

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, outer[2];
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static sem_t semaphore;
static struct { _Alignas(64) pthread_mutex_t mutex; } locks[LOCKS];

static void pair_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_mutex_lock(&mutex);
        calls->pthread_mutex_unlock(&mutex);
    }
}

/* Taken and let go with two others held. */
static void nested_batch(const struct agent_real *calls) {
    calls->pthread_mutex_lock(&outer[0]);
    calls->pthread_mutex_lock(&outer[1]);
    pair_batch(calls);
    calls->pthread_mutex_unlock(&outer[1]);
    calls->pthread_mutex_unlock(&outer[0]);
}

static void try_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_mutex_trylock(&mutex);
        calls->pthread_mutex_unlock(&mutex);
    }
}

static void many_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_mutex_lock(&locks[i % LOCKS].mutex);
        calls->pthread_mutex_unlock(&locks[i % LOCKS].mutex);
    }
}

/* The inner pair of a mutex that this thread has already. */
static void recursive_batch(const struct agent_real *calls) {
    calls->pthread_mutex_lock(&recursive);
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_mutex_lock(&recursive);
        calls->pthread_mutex_unlock(&recursive);
    }
    calls->pthread_mutex_unlock(&recursive);
}

static void read_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_rwlock_rdlock(&rwlock);
        calls->pthread_rwlock_unlock(&rwlock);
    }
}

static void write_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_rwlock_wrlock(&rwlock);
        calls->pthread_rwlock_unlock(&rwlock);
    }
}

static void spin_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->pthread_spin_lock(&spin);
        calls->pthread_spin_unlock(&spin);
    }
}

static void semaphore_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++) {
        calls->sem_wait(&semaphore);
        calls->sem_post(&semaphore);
    }
}

static void signal_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++)
        calls->pthread_cond_signal(&condition);
}

static void barrier_batch(const struct agent_real *calls) {
    for (int i = 0; i < BATCH; i++)
        calls->pthread_barrier_wait(&barrier);
}

enum process { MANY_THREADS, ONE_THREAD, EXACT_HOLD, PROCESSES };

static const struct bench {
    const char *name, *what;
    void (*batch)(const struct agent_real *calls);
    enum process process;
    double goal; /* NAN: none */
} BENCHES[] = {
    {"pair", "mutex pair", pair_batch, MANY_THREADS, 1.30},
    {"nested", "mutex pair, two others held", nested_batch, MANY_THREADS, 1.30},
    {"many", "mutex pair, 64 in turn", many_batch, MANY_THREADS, 1.30},
    {"try", "mutex trylock and unlock", try_batch, MANY_THREADS, 1.30},
    {"recursive", "recursive mutex, inner pair", recursive_batch, MANY_THREADS, NAN},
    {"read", "rwlock read pair", read_batch, MANY_THREADS, 1.3},
    {"write", "rwlock write pair", write_batch, MANY_THREADS, NAN},
    {"spin", "spin lock pair", spin_batch, MANY_THREADS, NAN},
    {"semaphore", "sem_wait and sem_post", semaphore_batch, MANY_THREADS, NAN},
    {"signal", "condition signal, nobody waits", signal_batch, MANY_THREADS, NAN},
    {"barrier", "barrier of one", barrier_batch, MANY_THREADS, NAN},
    {"single", "mutex pair, one thread", pair_batch, ONE_THREAD, 1.4},
    {"single-many", "mutex pair, 64 in turn, one thread", many_batch, ONE_THREAD, 1.4},
    {"single-read", "rwlock read pair, one thread", read_batch, ONE_THREAD, NAN},
    {"exact", "mutex pair, --exact-hold", pair_batch, EXACT_HOLD, 1.7},
    {"exact-nested", "two others held, --exact-hold", nested_batch, EXACT_HOLD, 1.7},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

static void bench_run(const struct bench *bench, const struct agent_real *calls) {
    static double values[BENCH_VARIANTS][ROUNDS];
    for (int variant = 0; variant < BENCH_VARIANTS; variant++)
        bench->batch(&calls[variant]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BENCH_VARIANTS; i++) {
            int variant = (round + i) % BENCH_VARIANTS; /* nobody is always first */
            double begin = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
            bench->batch(&calls[variant]);
            values[variant][round] = (bench_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BATCH;
        }
    }
    double middle[BENCH_VARIANTS], least[BENCH_VARIANTS];
    for (int variant = 0; variant < BENCH_VARIANTS; variant++) {
        middle[variant] = bench_median(values[variant], ROUNDS);
        least[variant] = values[variant][0];
    }
    printf("%-36s %7.2f %7.2f %7.2f   %5.2f %5.2f   %5.2f %5.2f", bench->what, middle[BENCH_BARE],
           middle[BENCH_NOOP], middle[BENCH_FULL], middle[BENCH_NOOP] / middle[BENCH_BARE],
           least[BENCH_NOOP] / least[BENCH_BARE], middle[BENCH_FULL] / middle[BENCH_BARE],
           least[BENCH_FULL] / least[BENCH_BARE]);
    if (isnan(bench->goal))
        printf("      -\n");
    else
        printf("   %4.2f\n", bench->goal);
    fflush(stdout);
}

static void *idle_run(void *argument) {
    for (;;)
        pause();
    return argument;
}

/* Initialised by the bare functions: where each lock was made is of no interest. */
static bool objects_prepare(const struct agent_real *bare) {
    for (int i = 0; i < LOCKS; i++)
        bare->pthread_mutex_init(&locks[i].mutex, NULL);
    for (int i = 0; i < 2; i++)
        bare->pthread_mutex_init(&outer[i], NULL);
    return bare->pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) == 0 &&
           bare->pthread_barrier_init(&barrier, NULL, 1) == 0 && bare->sem_init(&semaphore, 0, 1) == 0;
}

static bool chosen(const struct bench *bench, int count, char **names) {
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], bench->name) == 0)
            return true;
    }
    return count <= 0;
}

/* The recorded process: --inside and the number of its kind, then a comma-led list of names. */
static int inside(const char *list) {
    static struct agent_real calls[BENCH_VARIANTS];
    enum process process = (enum process)(list[0] - '0');
    if (!bench_calls_find(calls) || !objects_prepare(&calls[BENCH_BARE]))
        return 1;
    pthread_t thread;
    if (process != ONE_THREAD && pthread_create(&thread, NULL, idle_run, NULL) != 0)
        return 1; /* from its first thread on glibc takes locks with atomic operations */
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        char name[40];
        snprintf(name, sizeof name, ",%s,", BENCHES[i].name);
        if (BENCHES[i].process == process && strstr(list, name))
            bench_run(&BENCHES[i], calls);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--inside") == 0)
        return inside(argv[2]);

    printf(
        "ns an operation in one process, %d rounds of %d each way; ratios to bare of medians and of minima\n",
        ROUNDS, BATCH);
    printf("%-36s %7s %7s %7s   %11s   %11s   %4s\n", "", "bare", "no-op", "agent", "no-op x", "agent x",
           "goal");
    int result = 0;
    for (int process = 0; process < PROCESSES; process++) {
        char list[512];
        int used = snprintf(list, sizeof list, "%d,", process), none = used;
        for (size_t i = 0; i < BENCH_COUNT; i++) {
            if (BENCHES[i].process == (enum process)process && chosen(&BENCHES[i], argc - 1, argv + 1))
                used += snprintf(list + used, sizeof list - (size_t)used, "%s,", BENCHES[i].name);
        }
        const char *option = process == EXACT_HOLD ? "--exact-hold" : NULL;
        if (used > none && bench_record_end(bench_record_start(option, "--inside", list, -1)) != 0) {
            fprintf(stderr, "bench_pairs: the recorded process failed\n");
            result = 1;
        }
    }
    return result;
}
