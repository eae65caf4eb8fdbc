/* SPDX-License-Identifier: MIT */
/*
 * What the agent adds to a critical section that others wait for, from end to end: two threads hand a lock to
 * each other, one always at work inside while the other waits for it, so that the time of a hand-over is the
 * section itself, the way of the lock from one core to the other, and what the hooks do while it is held. All
 * else that they do is done outside, beside the other's section. Bare calls, bare ones again (what is "added"
 * by those is the measure's own error) and the agent's in turn, time by the wall.
 *
 *     bench_agent_section
 *
 * Waking a sleeper takes a thousand times what is to be measured, so the waiters spin. For a mutex the
 * function that the hook calls to wait is replaced by one that spins on the lock word and takes it as glibc
 * does after a sleep, as perhaps waited for; its hooks and its release are the real ones. Batches in which
 * either thread left its core are thrown away. Each thread has a core of its own, and a real-time priority
 * where that is allowed: without, a busy machine leaves few batches undisturbed.
 */
#include <math.h>
#include <sched.h>
#include <sys/resource.h>

#include "tests/bench/bench_agent.h"

#define BATCHES 400
#define SECONDS_MAX 15
#define TURNS 50 /* of each thread in a batch */
#define INSIDE 8000
#define OUTSIDE 300

enum way { BARE, CONTROL, FULL, WAYS };

static struct agent_real libc_real;
static pthread_spinlock_t spin;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void work(int amount) {
    for (int i = 0; i < amount; i++)
        __asm__ volatile("" ::: "memory");
}

/* glibc's lock word, agent/word.h: 2 is taken and perhaps waited for. */
static int mutex_spin(pthread_mutex_t *taken) {
    int expected = 0;
    while (!__atomic_compare_exchange_n(&taken->__data.__lock, &expected, 2, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) { /* [WORD-LOCK] */
        while (__atomic_load_n(&taken->__data.__lock, __ATOMIC_RELAXED) != 0)
            __builtin_ia32_pause();
        expected = 0;
    }
    taken->__data.__owner = 1;
    taken->__data.__nusers++;
    return 0;
}

static int mutex_bare_lock(pthread_mutex_t *taken) {
    return libc_real.pthread_mutex_trylock(taken) == 0 ? 0 : mutex_spin(taken);
}

static void spin_turns(enum way way) {
    int (*lock)(pthread_spinlock_t *) = way == FULL ? pthread_spin_lock : libc_real.pthread_spin_lock;
    int (*unlock)(pthread_spinlock_t *) = way == FULL ? pthread_spin_unlock : libc_real.pthread_spin_unlock;
    for (int i = 0; i < TURNS; i++) {
        lock(&spin);
        work(INSIDE);
        unlock(&spin);
        work(OUTSIDE);
    }
}

static void mutex_turns(enum way way) {
    int (*lock)(pthread_mutex_t *) = way == FULL ? pthread_mutex_lock : mutex_bare_lock;
    int (*unlock)(pthread_mutex_t *) = way == FULL ? pthread_mutex_unlock : libc_real.pthread_mutex_unlock;
    for (int i = 0; i < TURNS; i++) {
        lock(&mutex);
        work(INSIDE);
        unlock(&mutex);
        work(OUTSIDE);
    }
}

static const struct bench {
    const char *what;
    void (*turns)(enum way way);
    double goal;
} BENCHES[] = {
    {"mutex", mutex_turns, 12},
    {"spin lock", spin_turns, 12},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* --- two threads in step --------------------------------------------------------------------------- */

/* [STEP] batch is stored with release after what it is to do; each thread says with release that it has begun
 * and ended. They spin, for they have to begin together. */
static const struct bench *running;
static enum way batch_way;
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
    running->turns(batch_way);
    ended_ns[self] = bench_clock_ns(CLOCK_MONOTONIC);
    disturbed[self] = switches() != before;
    if (agent_thread.slot)
        bench_ring_empty(agent_thread.slot);
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
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}); /* where it is allowed */
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

static void *second_run(void *argument) {
    if (!pin(1))
        exit(1);
    for (int number = 1;; number++) {
        reach(&batch_number, number);
        batch_run(1, number);
    }
    return argument;
}

static void batch_start(int number) {
    atomic_store_explicit(&batch_number, number, memory_order_release); /* [STEP] */
}

/* The length of a hand-over, or NAN if the batch was disturbed. */
static double batch_measure(enum way way, int number) {
    batch_way = way;
    batch_start(number);
    batch_run(0, number);
    reach(&ended[1], number);
    if (disturbed[0] || disturbed[1])
        return NAN;
    double begin = fmin(began_ns[0], began_ns[1]), end = fmax(ended_ns[0], ended_ns[1]);
    return (end - begin) / (2.0 * TURNS);
}

static void row_print(const struct bench *bench, double (*values)[BATCHES], int used, int tries) {
    double middle[WAYS], low[WAYS];
    for (int way = 0; way < WAYS; way++) {
        middle[way] = bench_median(values[way], used);
        low[way] = bench_quantile(values[way], used, 0.1);
    }
    printf("%-16s %8.1f %8.1f   %+6.1f %+6.1f   %+6.1f %+6.1f   %4.0f   %d of %d\n", bench->what,
           middle[BARE], middle[FULL], middle[CONTROL] - middle[BARE], low[CONTROL] - low[BARE],
           middle[FULL] - middle[BARE], low[FULL] - low[BARE], bench->goal, used, tries);
    fflush(stdout);
}

static void bench_run(const struct bench *bench, int *number) {
    static double values[WAYS][BATCHES];
    int used = 0, tries = 0;
    double limit = bench_clock_ns(CLOCK_MONOTONIC) + SECONDS_MAX * 1e9;
    running = bench;
    for (; used < BATCHES && bench_clock_ns(CLOCK_MONOTONIC) < limit; tries++) {
        double round[WAYS];
        bool whole = true;
        for (int i = 0; i < WAYS; i++) {
            int way = (tries + i) % WAYS; /* nobody is always first */
            round[way] = batch_measure((enum way)way, ++*number);
            whole = whole && !isnan(round[way]);
        }
        if (!whole)
            continue;
        for (int way = 0; way < WAYS; way++)
            values[way][used] = round[way];
        used++;
    }
    if (used < 10)
        printf("%-16s no two cores were free long enough\n", bench->what);
    else
        row_print(bench, values, used, tries);
}

static int inside(void) {
    int number = 0;
    pthread_t thread;
    libc_real = agent_real;
    agent_real.pthread_mutex_lock = mutex_spin;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2 || !pin(0) ||
        libc_real.pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE) != 0 ||
        pthread_create(&thread, NULL, second_run, NULL) != 0)
        return 1;
    printf(
        "ns a hand-over of a contended lock, up to %d batches of %d each way; added to bare: of medians, of\n"
        "lowest tenths\n%-16s %8s %8s   %13s   %13s   %4s   %s\n",
        BATCHES, 2 * TURNS, "", "bare", "agent", "bare again +", "agent +", "goal", "undisturbed");
    for (size_t i = 0; i < BENCH_COUNT; i++)
        bench_run(&BENCHES[i], &number);
    return 0;
}

int main(int argc, char **argv) {
    return bench_agent_main(argc, argv, inside);
}
