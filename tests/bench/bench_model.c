/* SPDX-License-Identifier: MIT */
/*
 * How fast a trace becomes a model, and how much memory that takes: events (waits and releases) per
 * second of model_open(), best of ROUNDS, and the peak of a process that does nothing else.
 *
 * The events are synthetic: at every step some thread has waited for some lock and another one
 * releases it, at times that jitter. Threads' rows are mixed as they come, and the writer is flushed
 * now and then, so blocks are as short and as interleaved as those of a live recording.
 *
 *     bench_model [SCENARIO]     only the scenario of this name
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/trace_writer.h"
#include "format/record.h"
#include "model/model.h"
#include "model/trace_reader.h"

#define ROUNDS 3
#define STACKS 64U
#define FLUSH_EVENTS 1000000U

static const struct scenario {
    const char *name, *what;
    uint32_t locks, threads, events;
    bool kernel; /* the scheduler tells of each wait as well: a stretch off a CPU */
} SCENARIOS[] = {
    {"few", "4 M events, 6 locks, 16 threads", 6, 16, 4000000, false},
    {"thousand", "10 M events, 1000 locks, 64 threads", 1000, 64, 10000000, false},
    {"million", "3 M events, 1 M locks, 1000 threads", 1000000, 1000, 3000000, false},
    {"kernel", "the thousand, 5 M of them off a CPU", 1000, 64, 10000000, true},
};
#define THREADS_MAX 1000

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_below(uint64_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % limit;
}

static void row(struct trace_writer *writer, enum trace_kind_id kind, uint32_t thread, const void *data) {
    int error = trace_writer_row(writer, kind, thread, data);
    if (error < 0) {
        fprintf(stderr, "writing a row: %s\n", strerror(-error));
        exit(1);
    }
}

static void define(struct trace_writer *writer, const struct scenario *scenario) {
    uint64_t name = trace_writer_string(writer, "bench", 5);
    row(writer, TRACE_PROCESS, 0, &(struct trace_process){.id = 1, .pid = 1, .start = 1, .command = name});
    row(writer, TRACE_MODULE, 0, &(struct trace_module){.id = 1, .process = 1, .path = name, .end = 1 << 20});
    for (uint64_t i = 1; i <= STACKS; i++) {
        char function[32];
        int size = snprintf(function, sizeof(function), "function_%u", (unsigned)i);
        uint64_t text = trace_writer_string(writer, function, (size_t)size);
        row(writer, TRACE_LOCATION, 0,
            &(struct trace_location){.id = i, .process = 1, .pc = 4096 + i * 16, .module = 1});
        row(writer, TRACE_FRAME, 0, &(struct trace_frame){.location = i, .function = text, .line = i});
        uint64_t path[] = {i, i / 2 + 1, i / 4 + 1, 1};
        row(writer, TRACE_STACK, 0, &(struct trace_stack){.id = i, .locations = {path, 4}});
    }
    for (uint64_t i = 1; i <= scenario->threads; i++)
        row(writer, TRACE_THREAD, 0, &(struct trace_thread){.id = i, .process = 1, .tid = i, .start = 1});
    for (uint64_t i = 1; i <= scenario->locks; i++)
        row(writer, TRACE_LOCK, 0,
            &(struct trace_lock){.id = i,
                                 .process = 1,
                                 .address = i * 64,
                                 .cls = LOCK_CLASS_MUTEX,
                                 .first_site = i % STACKS + 1});
}

/* The waiter's time off its CPU: from its wait's begin, or from its last return if that is later. */
static void write_stretch(struct trace_writer *writer, uint32_t waiter, uint32_t holder,
                          const struct trace_wait *wait, uint64_t *last) {
    uint64_t end = wait->begin + wait->duration, begin = wait->begin > *last ? wait->begin : *last;
    struct trace_off_cpu stretch = {.begin = begin,
                                    .duration = end - begin,
                                    .delay = (end - begin) / 8,
                                    .cause = TRACE_OFF_ASLEEP,
                                    .syscall = 203,
                                    .waker = holder + 1,
                                    .waker_stack = wait->owner_site,
                                    .ran = holder + 1};
    *last = end;
    row(writer, TRACE_OFF_CPU, waiter + 1, &stretch);
}

static void write_events(struct trace_writer *writer, const struct scenario *scenario) {
    uint64_t now = 1000000, last[THREADS_MAX] = {0};
    uint32_t threads = scenario->threads;
    for (uint32_t i = 0; i < scenario->events; i += 2) {
        uint64_t lock = random_below(scenario->locks) + 1;
        uint32_t waiter = (uint32_t)random_below(threads), holder = (uint32_t)random_below(threads - 1);
        holder = holder >= waiter ? holder + 1 : holder;
        uint64_t waited = 500 + random_below(1 + (200 << random_below(12)));
        now += 200 + random_below(2000);
        struct trace_release release = {.time = now - random_below(100),
                                        .held = waited + 1000,
                                        .lock = lock,
                                        .mode = LOCK_CLASS_MUTEX,
                                        .stack = (lock + holder) % STACKS + 1,
                                        .waiters = 1};
        struct trace_wait wait = {.begin = now - waited,
                                  .duration = waited,
                                  .lock = lock,
                                  .mode = LOCK_CLASS_MUTEX,
                                  .stack = (lock + waiter) % STACKS + 1,
                                  .owner = holder + 1,
                                  .owner_site = release.stack};
        row(writer, TRACE_RELEASE, holder + 1, &release);
        row(writer, TRACE_WAIT, waiter + 1, &wait);
        if (scenario->kernel)
            write_stretch(writer, waiter, holder, &wait, &last[waiter]);
        if (i % FLUSH_EVENTS == 0)
            trace_writer_flush(writer);
    }
    for (uint64_t lock = 1; lock <= scenario->locks; lock++)
        row(writer, TRACE_COUNT, (uint32_t)(lock % threads) + 1,
            &(struct trace_count){.lock = lock,
                                  .mode = LOCK_CLASS_MUTEX,
                                  .acquisitions = 1000,
                                  .contended = 10,
                                  .hold_ns = 20000,
                                  .hold_samples = 20,
                                  .contended_hold_ns = 5000});
    for (uint32_t i = 1; scenario->kernel && i <= threads; i++)
        row(writer, TRACE_SCHEDULE, 0,
            &(struct trace_schedule){.thread = i, .begin = 1, .end = now + 1000000});
    row(writer, TRACE_END, 0, &(struct trace_end){.time = now + 1000000, .emitted = scenario->events});
}

static void write_trace(const char *path, const struct scenario *scenario) {
    struct trace_writer_options options = {.overwrite = true, .monotonic_ns = 1};
    struct trace_writer *writer;
    if (trace_writer_open(path, &options, &writer) < 0)
        exit(1);
    define(writer, scenario);
    write_events(writer, scenario);
    if (trace_writer_finish(writer) < 0)
        exit(1);
    trace_writer_free(writer);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The floor: the rows decoded, nothing done with them. */
static double read_seconds(const char *path) {
    struct trace_reader *reader;
    struct trace_reader_block block;
    double begin = seconds();
    if (trace_reader_open(path, NULL, &reader) < 0)
        exit(1);
    while (trace_reader_next(reader, &block) > 0)
        ;
    trace_reader_free(reader);
    return seconds() - begin;
}

static void measure(const char *path, const struct scenario *scenario) {
    double best = 0, reading = read_seconds(path);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct model *model;
        char why[128];
        double begin = seconds();
        if (model_open(path, &model, why, sizeof(why)) < 0) {
            fprintf(stderr, "%s\n", why);
            exit(1);
        }
        double took = seconds() - begin;
        best = round == 0 || took < best ? took : best;
        const struct model_info *info = model_info(model);
        if (info->events != scenario->events || info->bad_rows > 0 ||
            info->stretches != (scenario->kernel ? scenario->events / 2 : 0))
            exit(1);
        model_free(model);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-10s %-38s %6.2f s  %6.2f M events/s (reading alone %6.2f)  peak %5ld MiB, %.0f bytes/event\n",
           scenario->name, scenario->what, best, scenario->events / best / 1e6,
           scenario->events / reading / 1e6, usage.ru_maxrss / 1024,
           (double)usage.ru_maxrss * 1024 / scenario->events);
}

/* Each half in a process of its own, so that the peak is the model's. */
static int in_child(void (*run)(const char *path, const struct scenario *scenario), const char *path,
                    const struct scenario *scenario) {
    int status = 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run(path, scenario);
        exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (size_t i = 0; i < sizeof(SCENARIOS) / sizeof(SCENARIOS[0]); i++) {
        char path[] = "/tmp/waitscope-bench-XXXXXX";
        if (argc > 1 && strcmp(argv[1], SCENARIOS[i].name) != 0)
            continue;
        int fd = mkstemp(path);
        if (fd < 0)
            return 1;
        close(fd);
        failed |= in_child(write_trace, path, &SCENARIOS[i]) || in_child(measure, path, &SCENARIOS[i]);
        unlink(path);
    }
    return failed;
}
