/* SPDX-License-Identifier: MIT */
/*
 * Threads that know where their time went: two that share one CPU, one that sleeps and holds a lock
 * meanwhile, one that waits for that lock, one that waits for the disk. Each measures its own life, processor
 * time and what it blocked for, and prints them; the scheduler's word has to agree.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "truth.h"

#define HOG_NS 300000000ULL
#define NAPS 20
#define NAP_US 10000
#define WRITES 200

struct part {
    const char *name;
    void (*run)(struct part *part);
    int tid;
    uint64_t wall_ns, cpu_ns, slept_ns, synced_ns, waited_ns;
};

static pthread_mutex_t bed_lock = PTHREAD_MUTEX_INITIALIZER;
static struct truth_gate hogs, taken[NAPS];

static uint64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

/* Both on one CPU, from when both are there: each is ready to run while the other runs. */
static void hog(struct part *part) {
    cpu_set_t allowed, one;
    (void)part;
    TRUTH_OK(truth_errno(sched_getaffinity(0, sizeof(allowed), &allowed)));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            CPU_SET(cpu, &one);
    TRUTH_OK(truth_errno(sched_setaffinity(0, sizeof(one), &one)));
    truth_gate_add(&hogs, 1);
    truth_gate_await(&hogs, 2);
    uint64_t begin = now(CLOCK_THREAD_CPUTIME_ID);
    while (now(CLOCK_THREAD_CPUTIME_ID) - begin < HOG_NS)
        ;
}

static void sleep_under_lock(struct part *part) {
    for (int i = 0; i < NAPS; i++) {
        TRUTH_OK(pthread_mutex_lock(&bed_lock));
        truth_gate_add(&taken[i], 1);
        uint64_t begin = now(CLOCK_MONOTONIC);
        usleep(NAP_US);
        part->slept_ns += now(CLOCK_MONOTONIC) - begin;
        TRUTH_OK(pthread_mutex_unlock(&bed_lock));
        begin = now(CLOCK_MONOTONIC);
        usleep(1000); /* the other takes it meanwhile */
        part->slept_ns += now(CLOCK_MONOTONIC) - begin;
    }
}

static void wait_for_sleeper(struct part *part) {
    for (int i = 0; i < NAPS; i++) {
        truth_gate_await(&taken[i], 1);
        uint64_t begin = now(CLOCK_MONOTONIC);
        TRUTH_OK(pthread_mutex_lock(&bed_lock));
        part->waited_ns += now(CLOCK_MONOTONIC) - begin;
        TRUTH_OK(pthread_mutex_unlock(&bed_lock));
    }
}

/* Nothing else keeps it: what it does not run, it waits for the disk or for a CPU. */
static void write_through(struct part *part) {
    uint64_t begin = now(CLOCK_MONOTONIC), ran = now(CLOCK_THREAD_CPUTIME_ID);
    char path[] = "states.XXXXXX", bytes[4096] = "written";
    int file = mkstemp(path);
    TRUTH_OK(truth_errno(file < 0 ? -1 : 0));
    TRUTH_OK(truth_errno(unlink(path)));
    for (int i = 0; i < WRITES; i++) {
        TRUTH_OK(truth_errno(pwrite(file, bytes, sizeof(bytes), (off_t)i * 4096) < 0 ? -1 : 0));
        TRUTH_OK(truth_errno(fsync(file)));
    }
    close(file);
    part->synced_ns = now(CLOCK_MONOTONIC) - begin - (now(CLOCK_THREAD_CPUTIME_ID) - ran);
}

static struct part parts[] = {
    {.name = "hog-1", .run = hog},
    {.name = "hog-2", .run = hog},
    {.name = "sleeper", .run = sleep_under_lock},
    {.name = "waiter", .run = wait_for_sleeper},
    {.name = "writer", .run = write_through},
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void *part_run(void *argument) {
    struct part *part = argument;
    uint64_t begin = now(CLOCK_MONOTONIC);
    part->tid = truth_tid();
    pthread_setname_np(pthread_self(), part->name);
    part->run(part);
    part->cpu_ns = now(CLOCK_THREAD_CPUTIME_ID);
    part->wall_ns = now(CLOCK_MONOTONIC) - begin;
    return NULL;
}

int main(void) {
    pthread_t threads[PARTS];
    for (size_t i = 0; i < PARTS; i++)
        TRUTH_OK(pthread_create(&threads[i], NULL, part_run, &parts[i]));
    for (size_t i = 0; i < PARTS; i++)
        TRUTH_OK(pthread_join(threads[i], NULL));
    printf("[");
    for (size_t i = 0; i < PARTS; i++)
        printf("%s{\"name\":\"%s\",\"tid\":%d,\"wall\":%" PRIu64 ",\"cpu\":%" PRIu64 ",\"slept\":%" PRIu64
               ",\"synced\":%" PRIu64 ",\"waited\":%" PRIu64 "}",
               i ? "," : "", parts[i].name, parts[i].tid, parts[i].wall_ns, parts[i].cpu_ns,
               parts[i].slept_ns, parts[i].synced_ns, parts[i].waited_ns);
    printf("]\n");
    return 0;
}
