/* SPDX-License-Identifier: MIT */
/*
 * What watching costs a program whose threads do wait: CPU time for a fixed number of operations, bare,
 * through a function that only forwards and through the agent, phase after phase in one process (bench.h).
 *
 *     bench_blocking [PHASES [NAME…]]
 *
 * A fight for a lock on few cores has several regimes: one thread may take the lock many times in a row, or
 * each release may wake the next waiter, at ten times the cost. Which one a run falls into is chance, and it
 * falls into one after another. So phases are short and many, each is put beside the bare one of its own
 * round, and the waits an operation (voluntary switches) stand beside the times: ratios mean something where
 * those agree.
 */
#include <math.h>
#include <sched.h>
#include <sys/resource.h>

#include "tests/bench/bench.h"

#define THREADS_MAX 4
#define PROCESSES_DEFAULT 5
#define PROCESSES_MAX 99
#define PHASES 13 /* of a process, each way */
#define PHASES_MAX (PHASES * PROCESSES_MAX)

BENCH_CALLS_DEFINE

static struct agent_real calls[BENCH_VARIANTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static sem_t semaphores[2];
static volatile unsigned long worked;
static int turn;

static void work(int amount) {
    for (int i = 0; i < amount; i++)
        __asm__ volatile("" ::: "memory");
}

static void fight(const struct agent_real *call, int operations, int self) {
    (void)self;
    for (int i = 0; i < operations; i++) {
        call->pthread_mutex_lock(&mutex);
        for (int k = 0; k < 20; k++)
            worked++;
        call->pthread_mutex_unlock(&mutex);
        work(20);
    }
}

/* As above with sections of some microseconds and as much between them: most acquisitions wait. */
static void fight_long(const struct agent_real *call, int operations, int self) {
    (void)self;
    for (int i = 0; i < operations; i++) {
        call->pthread_mutex_lock(&mutex);
        work(4000);
        call->pthread_mutex_unlock(&mutex);
        work(4000);
    }
}

static void ping_pong(const struct agent_real *call, int operations, int self) {
    for (int i = 0; i < operations; i++) {
        call->pthread_mutex_lock(&mutex);
        while (turn != self)
            call->pthread_cond_wait(&turn_changed, &mutex);
        turn = !self;
        call->pthread_cond_signal(&turn_changed);
        call->pthread_mutex_unlock(&mutex);
    }
}

static void semaphore_ping_pong(const struct agent_real *call, int operations, int self) {
    for (int i = 0; i < operations; i++) {
        call->sem_wait(&semaphores[self]);
        call->sem_post(&semaphores[!self]);
    }
}

static void *nothing_run(void *argument) {
    return argument;
}

static void create(const struct agent_real *call, int operations, int self) {
    (void)self;
    for (int i = 0; i < operations; i++) {
        pthread_t thread;
        if (call->pthread_create(&thread, NULL, nothing_run, NULL) != 0)
            exit(1);
        call->pthread_join(thread, NULL);
    }
}

static const struct bench {
    const char *name, *what;
    void (*run)(const struct agent_real *call, int operations, int self);
    int threads, operations; /* of each thread in a phase */
    double goal;             /* NAN: none */
} BENCHES[] = {
    {"contended", "4 threads, short sections", fight, 4, 200000, 1.03},
    {"contended-long", "4 threads, sections of some us", fight_long, 4, 2000, NAN},
    {"ping-pong", "condition ping-pong, all block", ping_pong, 2, 3000, 1.05},
    {"semaphores", "semaphore ping-pong, all block", semaphore_ping_pong, 2, 3000, NAN},
    {"thread", "thread create and join", create, 1, 200, NAN},
};
#define BENCH_COUNT (sizeof(BENCHES) / sizeof(BENCHES[0]))

/* --- phases ---------------------------------------------------------------------------------------- */

static const struct bench *running;
static pthread_barrier_t phase_begins, phase_ends;
static enum bench_variant phase_variant;
static bool phase_last;

static void phase_meet(pthread_barrier_t *barrier) {
    calls[BENCH_BARE].pthread_barrier_wait(barrier);
}

static void pin(int self) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)(self % sysconf(_SC_NPROCESSORS_ONLN)), &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void *worker_run(void *argument) {
    int self = (int)(intptr_t)argument;
    if (getenv("BENCH_PIN"))
        pin(self);
    for (;;) {
        phase_meet(&phase_begins);
        if (phase_last)
            return NULL;
        running->run(&calls[phase_variant], running->operations, self);
        phase_meet(&phase_ends);
    }
}

struct phase {
    double cpu_ns, kernel_ns, switches;
};

static double kernel_ns(const struct rusage *used) {
    return (double)used->ru_stime.tv_sec * 1e9 + (double)used->ru_stime.tv_usec * 1e3;
}

static struct phase phase_run(enum bench_variant variant) {
    struct rusage before, after;
    phase_variant = variant;
    getrusage(RUSAGE_SELF, &before);
    double begin = bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    phase_meet(&phase_begins);
    phase_meet(&phase_ends);
    double cpu_ns = bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begin;
    getrusage(RUSAGE_SELF, &after);
    return (struct phase){cpu_ns, kernel_ns(&after) - kernel_ns(&before),
                          (double)(after.ru_nvcsw - before.ru_nvcsw)};
}

/* The recorded process: prints a line for each phase. */
static int inside(const struct bench *bench) {
    pthread_t threads[THREADS_MAX];
    if (!bench_calls_find(calls))
        return 1;
    const struct agent_real *bare = &calls[BENCH_BARE];
    running = bench;
    bare->sem_init(&semaphores[0], 0, 1);
    bare->sem_init(&semaphores[1], 0, 0);
    bare->pthread_barrier_init(&phase_begins, NULL, (unsigned)bench->threads + 1);
    bare->pthread_barrier_init(&phase_ends, NULL, (unsigned)bench->threads + 1);
    for (int i = 0; i < bench->threads; i++) {
        if (pthread_create(&threads[i], NULL, worker_run, (void *)(intptr_t)i) != 0)
            return 1;
    }
    for (int variant = 0; variant < BENCH_VARIANTS; variant++)
        phase_run((enum bench_variant)variant);
    for (int phase = 0; phase < PHASES; phase++) {
        for (int i = 0; i < BENCH_VARIANTS; i++) {
            int variant = (phase + i) % BENCH_VARIANTS; /* nobody is always first */
            struct phase result = phase_run((enum bench_variant)variant);
            printf("%d %d %.0f %.0f %.0f\n", phase, variant, result.cpu_ns, result.kernel_ns,
                   result.switches);
        }
    }
    phase_last = true;
    phase_meet(&phase_begins);
    for (int i = 0; i < bench->threads; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

/* --- the driver ------------------------------------------------------------------------------------ */

struct phases {
    double cpu_ns[BENCH_VARIANTS][PHASES_MAX];
    struct phase sum[BENCH_VARIANTS];
    int count;
};

static int phases_read(struct phases *phases, const struct bench *bench) {
    int ends[2];
    if (pipe(ends) != 0)
        return -errno;
    pid_t pid = bench_record_start(NULL, "--inside", bench->name, ends[1]);
    close(ends[1]);
    FILE *input = fdopen(ends[0], "r");
    int phase, variant, lines = 0;
    struct phase got;
    while (input && fscanf(input, "%d %d %lf %lf %lf", &phase, &variant, &got.cpu_ns, &got.kernel_ns,
                           &got.switches) == 5) {
        if (phase < 0 || phase >= PHASES || variant < 0 || variant >= BENCH_VARIANTS)
            break;
        phases->cpu_ns[variant][phases->count + phase] = got.cpu_ns;
        phases->sum[variant].cpu_ns += got.cpu_ns;
        phases->sum[variant].kernel_ns += got.kernel_ns;
        phases->sum[variant].switches += got.switches;
        lines++;
    }
    if (input)
        fclose(input);
    if (bench_record_end(pid) != 0 || lines != PHASES * BENCH_VARIANTS)
        return -ECHILD;
    phases->count += PHASES;
    return 0;
}

static void phases_print(const struct phases *phases, const struct bench *bench) {
    static double ratios[BENCH_VARIANTS][PHASES_MAX], sorted[PHASES_MAX];
    double operations = (double)bench->operations * bench->threads;
    int count = phases->count;
    printf("%-31s", bench->what);
    for (int variant = 0; variant < BENCH_VARIANTS; variant++) {
        memcpy(sorted, phases->cpu_ns[variant], (size_t)count * sizeof *sorted);
        printf(" %7.0f", bench_median(sorted, count) / operations);
        bench_ratios(phases->cpu_ns[variant], phases->cpu_ns[BENCH_BARE], count, ratios[variant]);
    }
    const double *full = ratios[BENCH_FULL];
    printf("   %5.2f   %5.2f %5.2f-%-5.2f %5.2f  ", bench_median(ratios[BENCH_NOOP], count), full[count / 2],
           full[count / 4], full[count * 3 / 4],
           phases->sum[BENCH_FULL].cpu_ns / phases->sum[BENCH_BARE].cpu_ns);
    for (int variant = 0; variant < BENCH_VARIANTS; variant++)
        printf(" %3.0f%%", 100 * phases->sum[variant].kernel_ns / phases->sum[variant].cpu_ns);
    for (int variant = 0; variant < BENCH_VARIANTS; variant++)
        printf(" %6.1f", 1000 * phases->sum[variant].switches / (operations * count));
    if (isnan(bench->goal))
        printf("      -\n");
    else
        printf("   %4.2f\n", bench->goal);
    fflush(stdout);
}

static int bench_drive(const struct bench *bench, int processes) {
    static struct phases phases;
    phases = (struct phases){0};
    for (int i = 0; i < processes; i++) {
        int error = phases_read(&phases, bench);
        if (error) {
            fprintf(stderr, "bench_blocking: %s: %s\n", bench->name, strerror(-error));
            return error;
        }
    }
    phases_print(&phases, bench);
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
    if (argc == 3 && strcmp(argv[1], "--inside") == 0) {
        for (size_t i = 0; i < BENCH_COUNT; i++) {
            if (strcmp(argv[2], BENCHES[i].name) == 0)
                return inside(&BENCHES[i]);
        }
        return 2;
    }
    int processes = argc > 1 ? atoi(argv[1]) : PROCESSES_DEFAULT;
    if (processes < 1 || processes > PROCESSES_MAX) {
        fprintf(stderr, "usage: bench_blocking [PROCESSES [NAME…]]\n");
        return 2;
    }
    printf("CPU ns an operation, medians of %d phases each way in %d processes; ratios to the bare phase of "
           "the\n"
           "same round: median, quartiles, and that of all CPU time; share of the kernel; switches of 1000 "
           "operations\n",
           processes * PHASES, processes);
    printf("%-31s %7s %7s %7s   %5s   %5s %-11s %5s   %-14s %-20s   %4s\n", "", "bare", "no-op", "agent",
           "no-op", "agent", "(quartiles)", "sum", " kernel b n a", "  switches b n a", "goal");
    int result = 0;
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        if (chosen(&BENCHES[i], argc - 2, argv + 2) && bench_drive(&BENCHES[i], processes) != 0)
            result = 1;
    }
    return result;
}
