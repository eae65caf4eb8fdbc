/* SPDX-License-Identifier: MIT */
/*
 * What a recording costs the collector: CPU time for each event, from the ring to the trace on disk,
 * and how many events are lost at a fixed rate. The target is a fake agent: threads that write a wait
 * and a release at a time, of a few locks with a few stacks.
 *
 *     bench_collector [THREADS [EVENTS_PER_SECOND [SECONDS]]]     rate of each thread, 0: as fast as taken
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "test_collector_fake.h"

#define LOCKS 8U
#define STACKS 4U
#define THREADS_MAX 64U
#define SURE_EVENTS 4000000ULL /* of all threads, where the rate is 0 */

struct worker {
    const struct fake *fake;
    struct thread_slot *slot;
    uint64_t rate, events, seed;
};

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void pair_write(struct worker *worker, uint64_t now) {
    uint64_t random = random_next(&worker->seed);
    uint64_t key = lock_key_make(0x1000 + 64 * (random % LOCKS), 1, LOCK_CLASS_MUTEX);
    uint64_t stack = 100 + random / LOCKS % (LOCKS * STACKS), jitter = random >> 52;
    struct record_wait wait = {.key = key,
                               .begin = now - 4000 - jitter,
                               .end = now - 2000 + jitter / 4,
                               .stack = stack,
                               .owner_site = 0x400000 + stack,
                               .header.value = worker->slot->tid};
    struct record_release release = {
        .key = key, .time = now, .since = wait.end, .stack = stack, .header.value = 1 + (random >> 40) % 3};
    if (worker->rate) {
        fake_record(worker->fake, worker->slot, &wait, RECORD_WAIT, sizeof(wait));
        fake_record(worker->fake, worker->slot, &release, RECORD_RELEASE, sizeof(release));
    } else {
        fake_record_sure(worker->fake, worker->slot, &wait, RECORD_WAIT, sizeof(wait));
        fake_record_sure(worker->fake, worker->slot, &release, RECORD_RELEASE, sizeof(release));
    }
}

static void *worker_run(void *argument) {
    struct worker *worker = argument;
    worker->slot->tid = (uint32_t)syscall(SYS_gettid);
    for (uint64_t n = 0; n < LOCKS * STACKS; n++)
        fake_stack(worker->fake, worker->slot, 100 + n, 0x400000 + n);
    uint64_t begin = fake_now();
    for (uint64_t n = 0; n < worker->events; n += 2) {
        while (worker->rate && fake_now() - begin < n * 1000000000ULL / worker->rate)
            ;
        pair_write(worker, __rdtsc());
    }
    return NULL;
}

static int target_run(uint32_t threads, uint64_t rate, uint64_t seconds) {
    struct fake fake = fake_slab(threads, RING_BYTES_DEFAULT, 0, NULL);
    struct worker workers[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    fake_announce(&fake);
    for (uint32_t i = 0; i < threads; i++) {
        uint64_t events = rate ? rate * seconds : SURE_EVENTS / threads;
        workers[i] =
            (struct worker){&fake, fake_thread(&fake, i, (uint32_t)getpid() + i), rate, events, i + 1};
    }
    for (uint32_t i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, worker_run, &workers[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return 0;
}

static double own_cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    bool target = argc > 4 && strcmp(argv[1], "target") == 0;
    char **numbers = target ? argv + 2 : argv + 1;
    int count = argc - (target ? 2 : 1);
    uint64_t threads = count > 0 ? strtoull(numbers[0], NULL, 10) : 1;
    uint64_t rate = count > 1 ? strtoull(numbers[1], NULL, 10) : 0;
    uint64_t seconds = count > 2 ? strtoull(numbers[2], NULL, 10) : 2;
    if (threads < 1 || threads > THREADS_MAX || seconds < 1)
        return 2;
    if (target)
        return target_run((uint32_t)threads, rate, seconds);

    char directory[] = "/tmp/waitscope-bench.XXXXXX", output[PATH_MAX], text[3][24];
    if (!mkdtemp(directory))
        return 1;
    snprintf(output, sizeof(output), "%s/trace", directory);
    snprintf(text[0], sizeof(text[0]), "%llu", (unsigned long long)threads);
    snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)rate);
    snprintf(text[2], sizeof(text[2]), "%llu", (unsigned long long)seconds);
    static struct fake_trace trace;
    struct collector_result result;
    double begin = own_cpu_seconds();
    uint64_t begin_ns = fake_now();
    int error =
        fake_record_self((const char *const[]){"target", text[0], text[1], text[2]}, NULL, output, &result);
    double used = own_cpu_seconds() - begin, elapsed = (double)(fake_now() - begin_ns) / 1e9;
    bool good = error == 0 && result.exit == COLLECTOR_EXIT_CODE && result.value == 0 &&
                fake_trace_read(output, &trace) && trace.emitted > 0;
    if (good)
        printf(
            "collector, %llu threads at %llu events/s each: %llu events in %.2f s, %llu lost, %.0f ns of CPU "
            "an event, %.2f M events/s per core, %.0f %% of a core\n",
            (unsigned long long)threads, (unsigned long long)rate, (unsigned long long)trace.emitted, elapsed,
            (unsigned long long)trace.loss_total, used * 1e9 / (double)trace.stored,
            (double)trace.stored / used / 1e6, used * 100 / elapsed);
    unlink(output);
    rmdir(directory);
    if (!good)
        fprintf(stderr, "bench_collector: error %d, exit %d\n", error, result.value);
    return good ? 0 : 1;
}
