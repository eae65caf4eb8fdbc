/* SPDX-License-Identifier: MIT */
/*
 * Writes the seeds of fuzz_trace_reader: small traces that between them have every kind, coding and
 * state. The same bytes each time, with the same zstd.
 *
 *     make_trace_corpus FOLDER
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/trace_writer.h"
#include "format/record.h"

static uint64_t fixed_now(void *context) {
    (void)context;
    return 2000000000;
}

static int seed_open(const char *folder, const char *name, struct trace_writer **ret_writer) {
    static const struct trace_writer_ops ops = {.now = fixed_now};
    const struct trace_writer_options options = {
        .overwrite = true, .monotonic_ns = 1000000000, .wall_ns = 1700000000000000000ULL, .ops = &ops};
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return -1;
    return trace_writer_open(path, &options, ret_writer);
}

#define ROW(kind, thread, ...) trace_writer_row(writer, kind, thread, __VA_ARGS__)

/* One program with everything that a trace can tell. */
static int definitions_write(struct trace_writer *writer) {
    uint64_t command = trace_writer_string(writer, "./bank 4 1000", 13);
    uint64_t path = trace_writer_string(writer, "/usr/bin/bank", 13);
    uint64_t file = trace_writer_string(writer, "bank.c", 6);
    uint64_t function = trace_writer_string(writer, "account_transfer", 16);
    uint64_t lock_name = trace_writer_string(writer, "accounts[2].lock", 16);
    uint64_t locations[] = {1, 2, 3};
    int error = 0;
    error |= ROW(TRACE_ENVIRONMENT, 0, &(struct trace_environment){path, file});
    error |= ROW(TRACE_PROCESS, 0, &(struct trace_process){1, 4711, 1, 1000000500, command, path, 0, 250000});
    error |= ROW(TRACE_MODULE, 0,
                 &(struct trace_module){1, 1, 0x555555554000, 0x555555560000, 0x555555554000, path, file});
    for (uint64_t i = 1; i <= 3; i++) {
        error |= ROW(TRACE_LOCATION, 0, &(struct trace_location){i, 1, 0x555555555000 + i * 40, i < 3});
        error |= ROW(TRACE_FRAME, 0, &(struct trace_frame){i, 0, function, file, 10 * i, i == 2});
    }
    error |= ROW(TRACE_STACK, 0, &(struct trace_stack){1, 0, {locations, 3}});
    error |= ROW(TRACE_STACK, 0, &(struct trace_stack){2, STACK_TRUNCATED, {locations + 1, 1}});
    for (uint64_t i = 1; i <= 3; i++)
        error |=
            ROW(TRACE_THREAD, 0, &(struct trace_thread){i, 1, 4710 + i, 1000001000 * i, i > 1, i > 1, 3});
    error |= ROW(TRACE_THREAD_NAME, 0, &(struct trace_thread_name){2, 1500000000, function});
    error |= ROW(TRACE_LOCK, 0, &(struct trace_lock){1, 1, 0x7ffff7d00010, 0, LOCK_CLASS_MUTEX, 0, 0, 1, 0});
    error |= ROW(TRACE_LOCK, 0,
                 &(struct trace_lock){2, 1, 0x7ffff7d00040, 3, LOCK_CLASS_CONDITION, 1000000700, 1, 2, 1});
    error |= ROW(TRACE_LOCK_NAME, 0, &(struct trace_lock_name){1, lock_name, file, 12, TRACE_NAME_SYMBOL});
    return error;
}

static int events_write(struct trace_writer *writer, uint64_t count) {
    int error = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t time = 1100000000 + i * 7919 % 1000 + i * 20000;
        struct trace_wait wait = {time, 300 + i * i % 5000, 1 + i % 2, LOCK_CLASS_MUTEX, 0, 1, 1, 2, i % 2};
        struct trace_release release = {time + 10, 40 + i % 100, 1, LOCK_CLASS_MUTEX, i % 3 == 0,
                                        2,         1 + i % 4};
        error |= ROW(TRACE_WAIT, 2 + (uint32_t)(i % 2), &wait);
        error |= ROW(TRACE_RELEASE, 1, &release);
    }
    error |= ROW(
        TRACE_COUNT, 2,
        &(struct trace_count){1, LOCK_CLASS_MUTEX, 1000, count, 50000, 20, 9000, count * 400, 70 * count});
    error |= ROW(TRACE_SNAPSHOT, 0, &(struct trace_snapshot){1900000000, 3, 1, 1890000000, 2});
    error |= ROW(TRACE_LOSS, 0, &(struct trace_loss){1950000000, 1, 2, LOSS_RING_FULL, 17});
    error |= ROW(TRACE_COST, 0, &(struct trace_cost){2, count, count, 10, 12345});
    error |= ROW(TRACE_THREAD_END, 0, &(struct trace_thread_end){2, 1960000000, 800000});
    error |=
        ROW(TRACE_PROCESS_END, 0, &(struct trace_process_end){1, 1980000000, TRACE_EXIT_CODE, 0, 900000});
    error |= ROW(TRACE_END, 0, &(struct trace_end){1990000000, 2 * count + 17, 2 * count, 70000});
    error |= trace_writer_lost(writer, TRACE_WAIT, 2, 17);
    return error;
}

/* Values that zstd cannot make smaller, so that planes lie open to a fuzzer's changes. */
static int noise_write(struct trace_writer *writer) {
    uint64_t state = 1;
    int error = 0;
    for (int i = 0; i < 64; i++) {
        uint64_t values[3];
        for (int k = 0; k < 3; k++)
            values[k] = state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        error |= ROW(TRACE_THREAD_END, 0, &(struct trace_thread_end){values[0], values[1], values[2]});
    }
    return error;
}

/* What a program told through the annotation API, on top of everything else. */
static int annotations_write(struct trace_writer *writer) {
    uint64_t day = trace_writer_string(writer, "day", 3), name = trace_writer_string(writer, "teller", 6);
    int error = definitions_write(writer) | events_write(writer, 3);
    error |= ROW(TRACE_THREAD_NAME, 0, &(struct trace_thread_name){2, 1100000000, name, 1});
    error |= ROW(TRACE_LOCK_NAME, 0, &(struct trace_lock_name){1, name, 0, 0, TRACE_NAME_ANNOTATION});
    error |= ROW(TRACE_REGION, 2, &(struct trace_region){1100000100, 200, name, 1, 0});
    error |= ROW(TRACE_REGION, 2, &(struct trace_region){1100000000, 90000, day, 0, REGION_OPEN});
    error |= ROW(TRACE_REGION, 3, &(struct trace_region){1100000000, 0, 0, 0, 0});
    return error;
}

/* What the scheduler tells. */
static int schedule_write(struct trace_writer *writer) {
    uint64_t other = trace_writer_string(writer, "other", 5);
    int error = definitions_write(writer) | events_write(writer, 3);
    error |= ROW(TRACE_OFF_CPU, 2,
                 &(struct trace_off_cpu){.begin = 1100000200,
                                         .duration = 40000,
                                         .delay = 3000,
                                         .cause = TRACE_OFF_ASLEEP,
                                         .syscall = 203,
                                         .stack = 1,
                                         .waker = 3,
                                         .waker_stack = 2,
                                         .ran = 3});
    error |= ROW(TRACE_OFF_CPU, 2,
                 &(struct trace_off_cpu){.begin = 1100050000,
                                         .duration = 700,
                                         .delay = 700,
                                         .cause = TRACE_OFF_PREEMPTED,
                                         .ran_name = other});
    error |= ROW(TRACE_OFF_CPU, 3,
                 &(struct trace_off_cpu){.begin = 1100060000,
                                         .duration = 900000000,
                                         .cause = TRACE_OFF_IO,
                                         .syscall = 1,
                                         .flags = TRACE_OFF_OPEN | TRACE_OFF_WOKEN_BY_IRQ});
    error |= ROW(TRACE_SAMPLE, 2, &(struct trace_sample){1100045000, 10101010, 1, 2});
    error |= ROW(TRACE_SCHEDULE, 0, &(struct trace_schedule){2, 1000001000, 1960000000, 2, 1, 5000});
    return error;
}

/* Without events: an empty trace if it is finished, else one of noise. */
static int seed_write(const char *folder, const char *name, uint64_t events, bool finish) {
    struct trace_writer *writer = NULL;
    int error = seed_open(folder, name, &writer);
    if (error == 0 && events > 0)
        error = definitions_write(writer) | events_write(writer, events);
    else if (error == 0 && !finish)
        error = noise_write(writer);
    if (error == 0)
        error = finish ? trace_writer_finish(writer) : trace_writer_flush(writer);
    trace_writer_free(writer);
    return error;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_trace_corpus FOLDER\n");
        return 2;
    }
    int error = seed_write(argv[1], "empty.trace", 0, true);
    error |= seed_write(argv[1], "small.trace", 3, true);
    error |= seed_write(argv[1], "planes.trace", 400, true);
    error |= seed_write(argv[1], "recording.trace", 20, false);
    error |= seed_write(argv[1], "noise.trace", 0, false);
    error |= seed_write(argv[1], "torn.trace", 20, true);
    struct trace_writer *writer = NULL;
    error |= seed_open(argv[1], "annotations.trace", &writer);
    if (error == 0)
        error = annotations_write(writer) | trace_writer_finish(writer);
    trace_writer_free(writer);
    writer = NULL;
    error |= seed_open(argv[1], "schedule.trace", &writer);
    if (error == 0)
        error = schedule_write(writer) | trace_writer_finish(writer);
    trace_writer_free(writer);
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/torn.trace", argv[1]) >= (int)sizeof(path) ||
        truncate(path, 1500) != 0)
        error = -1;
    if (error != 0)
        fprintf(stderr, "make_trace_corpus: could not write to %s\n", argv[1]);
    return error != 0;
}
