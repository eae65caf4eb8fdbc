/* SPDX-License-Identifier: MIT */
/*
 * Parts of the agent, timed one by one: the agent's objects are linked into this program, whose parent plays
 * the collector's part by taking the slab and nothing more. The ring is emptied here, between batches.
 *
 *     bench_agent
 *
 * An event: the clock is read and a record appended, between entering and leaving the agent.
 *
 * A contended section: the real functions that the hooks call are replaced. The try says that the lock is
 * taken; the lock "had after a wait" notes the time as it returns, the unlock as it is entered. What lies
 * between the first and the hook's return, and between the unlock hook's entry and the second, is what the
 * agent does while others wait. The same stamps around calls of the stand-ins themselves are taken off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/agent.h"

#define ROUNDS 101
#define BATCH 4000
#define SECTIONS 60000

static double clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* As the collector does, if it were infinitely quick. */
static void ring_empty(struct thread_slot *slot) {
    uint64_t head = atomic_load_explicit(&slot->ring.head, memory_order_relaxed); /* own thread's */
    atomic_store_explicit(&slot->ring.tail, head, memory_order_release);          /* [RING-CONSUME] */
}

/* --- events ---------------------------------------------------------------------------------------- */

static struct record_wait sample = {.key = 0x5000, .begin = 1, .end = 2, .stack = 3};
static volatile uint64_t sink;

static void clock_batch(struct thread_slot *slot) {
    (void)slot;
    for (int i = 0; i < BATCH; i++)
        sink = agent_ticks();
}

static void append_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++)
        agent_record_wait(slot, &sample);
}

static void wait_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++) {
        agent_busy_enter();
        sample.end = agent_ticks();
        agent_record_wait(slot, &sample);
        agent_busy_leave();
    }
}

static void release_batch(struct thread_slot *slot) {
    for (int i = 0; i < BATCH; i++) {
        agent_busy_enter();
        agent_record_release(slot, 0x5000, agent_ticks(), 0, 3, 0, 1);
        agent_busy_leave();
    }
}

static const struct part {
    const char *what;
    void (*batch)(struct thread_slot *slot);
    double goal; /* 0: none */
} PARTS[] = {
    {"the clock alone", clock_batch, 0},
    {"a wait record appended, no clock", append_batch, 0},
    {"an event (wait), clock included", wait_batch, 11},
    {"an event (release), clock included", release_batch, 11},
};
#define PART_COUNT (sizeof(PARTS) / sizeof(PARTS[0]))

static void parts_run(struct thread_slot *slot) {
    static double values[PART_COUNT][ROUNDS];
    uint64_t lost = atomic_load_explicit(&slot->lost[LOSS_RING_FULL], memory_order_relaxed);
    for (int round = -1; round < ROUNDS; round++) { /* the first fills the ring's pages */
        for (size_t i = 0; i < PART_COUNT; i++) {
            double begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
            PARTS[i].batch(slot);
            if (round >= 0)
                values[i][round] = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / BATCH;
            ring_empty(slot);
        }
    }
    printf("ns, %d rounds of %d in turn\n%-40s %8s %8s   %4s\n", ROUNDS, BATCH, "", "median", "least",
           "goal");
    for (size_t i = 0; i < PART_COUNT; i++) {
        qsort(values[i], ROUNDS, sizeof(double), compare);
        printf("%-40s %8.2f %8.2f", PARTS[i].what, values[i][ROUNDS / 2], values[i][0]);
        printf(PARTS[i].goal > 0 ? "   %4.0f\n" : "      -\n", PARTS[i].goal);
    }
    if (atomic_load_explicit(&slot->lost[LOSS_RING_FULL], memory_order_relaxed) != lost)
        printf("records were lost: these figures are not of events written\n");
}

/* --- the contended section ------------------------------------------------------------------------- */

/* A bare rdtsc does not wait for the instructions before it and hides dozens of them. A locked operation,
 * such as the real unlock is, does wait. */
static inline uint64_t stamp(void) {
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static uint64_t stamp_had, stamp_called, calls_had, calls_called;
static __thread bool waits_forever;
static _Atomic bool waiting;

static int stub_try(pthread_mutex_t *mutex) {
    (void)mutex;
    return EBUSY;
}

static __attribute__((noinline)) int stub_lock(pthread_mutex_t *mutex) {
    (void)mutex;
    if (waits_forever) {
        atomic_store_explicit(&waiting, true, memory_order_release); /* [WAITER] what precedes is done */
        for (;;)
            pause();
    }
    calls_had++;
    stamp_had = stamp();
    return 0;
}

static __attribute__((noinline)) int stub_unlock(pthread_mutex_t *mutex) {
    stamp_called = stamp();
    (void)mutex;
    calls_called++;
    return 0;
}

struct stamps {
    double after_lock[SECTIONS], before_unlock[SECTIONS];
};

static void sections_run(struct stamps *stamps, struct thread_slot *slot, pthread_mutex_t *mutex,
                         int (*volatile lock)(pthread_mutex_t *), int (*volatile unlock)(pthread_mutex_t *)) {
    for (int i = 0; i < SECTIONS; i++) {
        lock(mutex);
        uint64_t returned = stamp();
        uint64_t entered = stamp();
        unlock(mutex);
        stamps->after_lock[i] = (double)(returned - stamp_had);
        stamps->before_unlock[i] = (double)(stamp_called - entered);
        ring_empty(slot);
    }
}

/* The mean without its dearest tenth (interrupts, a descheduled vCPU): the TSC of some processors steps by
 * tens of ticks, so that a median would too. */
static double mean_trimmed(double *values) {
    double sum = 0;
    int kept = SECTIONS - SECTIONS / 10;
    qsort(values, SECTIONS, sizeof *values, compare);
    for (int i = 0; i < kept; i++)
        sum += values[i];
    return sum / kept;
}

static double ticks_per_ns(void) {
    double begin = clock_ns(CLOCK_MONOTONIC);
    uint64_t ticks = __rdtsc();
    while (clock_ns(CLOCK_MONOTONIC) - begin < 20e6)
        ;
    return (double)(__rdtsc() - ticks) / (clock_ns(CLOCK_MONOTONIC) - begin);
}

static void section_print(const char *what, struct thread_slot *slot, pthread_mutex_t *mutex, double rate) {
    static struct stamps bare, full;
    sections_run(&bare, slot, mutex, stub_lock, stub_unlock);
    uint64_t had = calls_had, called = calls_called;
    sections_run(&full, slot, mutex, pthread_mutex_lock, pthread_mutex_unlock);
    if (calls_had - had != SECTIONS || calls_called - called != SECTIONS) {
        printf("%-40s not measured: the hooks did not call the real functions\n", what);
        return;
    }
    double after = (mean_trimmed(full.after_lock) - mean_trimmed(bare.after_lock)) / rate;
    double before = (mean_trimmed(full.before_unlock) - mean_trimmed(bare.before_unlock)) / rate;
    printf("%-40s %8.2f %8.2f %8.2f   %4d\n", what, after, before, after + before, 12);
    fflush(stdout);
}

static void *waiter_run(void *mutex) {
    waits_forever = true;
    pthread_mutex_lock(mutex);
    return NULL;
}

static void *idle_run(void *argument) {
    for (;;)
        pause();
    return argument;
}

static int sections(struct thread_slot *slot) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    double rate = ticks_per_ns();
    pthread_t thread;
    if (pthread_create(&thread, NULL, idle_run, NULL) != 0) /* with one thread nothing is contended */
        return 1;
    agent_real.pthread_mutex_trylock = stub_try;
    agent_real.pthread_mutex_lock = stub_lock;
    agent_real.pthread_mutex_unlock = stub_unlock;
    printf("\nns in a contended section, means of %d\n%-40s %8s %8s %8s   %4s\n", SECTIONS, "", "had->",
           "->unlock", "added", "goal");
    section_print("mutex, had after a wait", slot, &mutex, rate);
    if (pthread_create(&thread, NULL, waiter_run, &mutex) != 0)
        return 1;
    while (!atomic_load_explicit(&waiting, memory_order_acquire)) /* [WAITER] */
        ;
    section_print("the same, another waits", slot, &mutex, rate);
    return 0;
}

/* --- the two processes ----------------------------------------------------------------------------- */

static int inside(void) {
    struct thread_slot *slot = agent_thread.slot;
    if (!slot) {
        fprintf(stderr, "bench_agent: the agent did not come up\n");
        return 1;
    }
    parts_run(slot);
    return sections(slot);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--inside") == 0) {
        int result = inside();
        fflush(stdout);
        _exit(result); /* two threads never end */
    }
    char folder[] = "/tmp/bench_agent.XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int status = 1, listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (listener < 0 || !mkdtemp(folder))
        return 1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            setenv(WAITSCOPE_SOCKET_VARIABLE, address.sun_path, 1);
            execl("/proc/self/exe", argv[0], "--inside", (char *)NULL);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            status = 1;
    }
    close(listener);
    unlink(address.sun_path);
    rmdir(folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
