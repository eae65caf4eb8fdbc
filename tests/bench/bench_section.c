/* SPDX-License-Identifier: MIT */
/*
 * What the agent adds to a critical section that others wait for, from end to end: two threads hand a lock to
 * each other, one always at work inside while the other waits for it, so that the time of a hand-over is the
 * section itself, the way of the lock from one core to the other, and what the hooks do while it is held. All
 * else that they do is done outside, beside the other's section. Bare, forwarded and through the agent in
 * turn (bench.h), time by the wall.
 *
 *     bench_section [NAME…]
 *
 * The lock is one whose waiters spin, for waking a sleeper takes a thousand times what is to be measured.
 * Batches in which either thread left its core are thrown away. Each thread has a core of its own: the bench
 * needs two, and on a busy machine it takes a while.
 */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "tests/bench/bench.h"

#define BATCHES 400
#define TRIES_MAX 40000
#define TURNS 50 /* of each thread in a batch */
#define INSIDE 3000
#define OUTSIDE 1000

BENCH_CALLS_DEFINE

static struct agent_real calls[BENCH_VARIANTS];
static pthread_spinlock_t spin;

static void work(int amount) {
    for (int i = 0; i < amount; i++)
        __asm__ volatile("" ::: "memory");
}

static void spin_turns(const struct agent_real *call) {
    for (int i = 0; i < TURNS; i++) {
        call->pthread_spin_lock(&spin);
        work(INSIDE);
        call->pthread_spin_unlock(&spin);
        work(OUTSIDE);
    }
}

static const struct bench {
    const char *name, *what;
    void (*turns)(const struct agent_real *call);
    double goal;
} BENCHES[] = {
    {"spin", "spin lock", spin_turns, 12},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* --- two threads in step --------------------------------------------------------------------------- */

/* [STEP] batch is stored with release after what it is to do; each thread says with release that it has begun
 * and ended. They spin, for they have to begin together. */
static const struct bench *running;
static enum bench_variant batch_variant;
static _Atomic int batch_number, begun[2], ended[2];
static double began_ns[2], ended_ns[2];
static bool disturbed[2];

static long switches(void) {
    struct rusage used;
    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw + used.ru_nivcsw;
}

/* The other thread may want this core when the machine is busy. */
static void reach(_Atomic int *value, int wanted) {
    for (unsigned i = 1; atomic_load_explicit(value, memory_order_acquire) < wanted; i++) /* [STEP] */
        if (i % 4096 == 0)
            sched_yield();
}

static void batch_run(int self, int number) {
    long before = switches();
    atomic_store_explicit(&begun[self], number, memory_order_release); /* [STEP] */
    reach(&begun[!self], number);
    began_ns[self] = bench_clock_ns(CLOCK_MONOTONIC);
    running->turns(&calls[batch_variant]);
    ended_ns[self] = bench_clock_ns(CLOCK_MONOTONIC);
    disturbed[self] = switches() != before;
    atomic_store_explicit(&ended[self], number, memory_order_release); /* [STEP] */
}

static cpu_set_t allowed; /* the process' own, before either thread is pinned */

static bool pin(int self) {
    cpu_set_t one;
    size_t cpu = 0;
    for (int left = self; !CPU_ISSET(cpu, &allowed) || left-- > 0; cpu++)
        ;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

static void *second_run(void *argument) {
    if (!pin(1))
        exit(1);
    for (int number = 1;; number++) {
        reach(&batch_number, number);
        if (!running)
            return argument;
        batch_run(1, number);
    }
}

static void batch_start(int number) {
    atomic_store_explicit(&batch_number, number, memory_order_release); /* [STEP] */
}

/* The length of a hand-over, or NAN if the batch was disturbed. */
static double batch_measure(enum bench_variant variant, int number) {
    batch_variant = variant;
    batch_start(number);
    batch_run(0, number);
    reach(&ended[1], number);
    if (disturbed[0] || disturbed[1])
        return NAN;
    double begin = fmin(began_ns[0], began_ns[1]), end = fmax(ended_ns[0], ended_ns[1]);
    return (end - begin) / (2.0 * TURNS);
}

static int bench_run(const struct bench *bench, int *number) {
    static double values[BENCH_VARIANTS][BATCHES];
    int used = 0, tries = 0;
    running = bench;
    for (; used < BATCHES && tries < TRIES_MAX; tries++) {
        double round[BENCH_VARIANTS];
        bool whole = true;
        for (int i = 0; i < BENCH_VARIANTS; i++) {
            int variant = (tries + i) % BENCH_VARIANTS; /* nobody is always first */
            round[variant] = batch_measure((enum bench_variant)variant, ++*number);
            whole = whole && !isnan(round[variant]);
        }
        if (!whole)
            continue;
        for (int variant = 0; variant < BENCH_VARIANTS; variant++)
            values[variant][used] = round[variant];
        used++;
    }
    if (used < 10)
        return -EBUSY;
    double middle[BENCH_VARIANTS], low[BENCH_VARIANTS];
    for (int variant = 0; variant < BENCH_VARIANTS; variant++) {
        middle[variant] = bench_median(values[variant], used);
        low[variant] = bench_quantile(values[variant], used, 0.1);
    }
    printf("%-24s %8.1f %8.1f %8.1f   %+6.1f %+6.1f   %+6.1f %+6.1f   %4.0f   %d of %d\n", bench->what,
           middle[BENCH_BARE], middle[BENCH_NOOP], middle[BENCH_FULL],
           middle[BENCH_NOOP] - middle[BENCH_BARE], low[BENCH_NOOP] - low[BENCH_BARE],
           middle[BENCH_FULL] - middle[BENCH_BARE], low[BENCH_FULL] - low[BENCH_BARE], bench->goal, used,
           tries);
    fflush(stdout);
    return 0;
}

static int inside(const char *list) {
    int number = 0, result = 0;
    pthread_t thread;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2 ||
        !bench_calls_find(calls) || !pin(0) || pthread_create(&thread, NULL, second_run, NULL) != 0 ||
        calls[BENCH_BARE].pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) != 0)
        return 1;
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        char name[40];
        snprintf(name, sizeof name, ",%s,", BENCHES[i].name);
        if (strstr(list, name) && bench_run(&BENCHES[i], &number) != 0) {
            printf("%-24s no two cores were free long enough\n", BENCHES[i].what);
            fflush(stdout);
        }
    }
    running = NULL;
    batch_start(number + 1);
    pthread_join(thread, NULL);
    return result;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--inside") == 0)
        return inside(argv[2]);
    char list[256] = ",";
    for (size_t i = 0; argc == 1 && i < BENCH_COUNT; i++) {
        strcat(list, BENCHES[i].name);
        strcat(list, ",");
    }
    for (int i = 1; i < argc && strlen(list) + strlen(argv[i]) + 2 < sizeof list; i++) {
        strcat(list, argv[i]);
        strcat(list, ",");
    }
    printf("ns a hand-over of a contended lock, %d batches of %d each way; added to bare: of medians, of "
           "lowest\n"
           "tenths\n",
           BATCHES, 2 * TURNS);
    printf("%-24s %8s %8s %8s   %13s   %13s   %4s   %s\n", "", "bare", "no-op", "agent", "no-op +", "agent +",
           "goal", "undisturbed");
    if (bench_record_end(bench_record_start(NULL, "--inside", list, -1)) != 0) {
        fprintf(stderr, "bench_section: the recorded process failed\n");
        return 1;
    }
    return 0;
}
