/* SPDX-License-Identifier: MIT */
/* Small traces for tests of the model: one call a row, ids counted here, files in a temporary folder. */
#ifndef WAITSCOPE_TESTS_UNIT_MODEL_TRACE_H
#define WAITSCOPE_TESTS_UNIT_MODEL_TRACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/trace_writer.h"
#include "model/model.h"

#define MS 1000000ULL /* ns */

struct model_trace {
    char path[64];
    struct trace_writer *writer;
    uint64_t processes, modules, locations, stacks, threads, locks; /* ids given so far */
};

static inline void model_trace_row(struct model_trace *trace, enum trace_kind_id kind, uint64_t thread,
                                   const void *row) {
    if (trace_writer_row(trace->writer, kind, (uint32_t)thread, row) < 0)
        abort();
}

static inline void model_trace_begin(struct model_trace *trace) {
    struct trace_writer_options options = {.overwrite = true, .monotonic_ns = 1000, .wall_ns = 1700000000};
    *trace = (struct model_trace){.path = "/tmp/waitscope-model-XXXXXX"};
    int fd = mkstemp(trace->path);
    if (fd < 0)
        abort();
    close(fd);
    if (trace_writer_open(trace->path, &options, &trace->writer) < 0)
        abort();
}

/* Ends the trace and opens it. NULL where that failed; the file is gone either way. */
static inline struct model *model_trace_open(struct model_trace *trace) {
    struct model *model = NULL;
    char why[256];
    if (trace_writer_finish(trace->writer) < 0)
        abort();
    trace_writer_free(trace->writer);
    if (model_open(trace->path, &model, why, sizeof(why)) < 0)
        fprintf(stderr, "model_open: %s\n", why);
    unlink(trace->path);
    return model;
}

static inline uint64_t model_trace_text(struct model_trace *trace, const char *text) {
    return trace_writer_string(trace->writer, text, strlen(text));
}

static inline uint64_t model_trace_process(struct model_trace *trace, uint64_t pid, uint64_t start,
                                           uint64_t how, const char *command) {
    struct trace_process row = {
        .id = ++trace->processes, .pid = pid, .parent_pid = 1, .start = start, .how = how};
    row.command = model_trace_text(trace, command);
    row.exe = row.command;
    model_trace_row(trace, TRACE_PROCESS, 0, &row);
    return row.id;
}

static inline uint64_t model_trace_module(struct model_trace *trace, uint64_t process, const char *path) {
    struct trace_module row = {.id = ++trace->modules,
                               .process = process,
                               .start = 0x1000,
                               .end = 0x9000,
                               .bias = 0x1000,
                               .path = model_trace_text(trace, path)};
    model_trace_row(trace, TRACE_MODULE, 0, &row);
    return row.id;
}

/* function NULL: no frame is known. */
static inline uint64_t model_trace_location(struct model_trace *trace, uint64_t process, uint64_t module,
                                            const char *function, const char *file, uint64_t line) {
    struct trace_location row = {.id = ++trace->locations, .process = process, .module = module};
    row.pc = 0x1000 + row.id * 16;
    model_trace_row(trace, TRACE_LOCATION, 0, &row);
    if (function) {
        struct trace_frame frame = {.location = row.id,
                                    .function = model_trace_text(trace, function),
                                    .file = file ? model_trace_text(trace, file) : 0,
                                    .line = line};
        model_trace_row(trace, TRACE_FRAME, 0, &frame);
    }
    return row.id;
}

/* Locations leaf first, ended by 0. */
static inline uint64_t model_trace_stack(struct model_trace *trace, uint64_t flags,
                                         const uint64_t *locations) {
    struct trace_stack row = {.id = ++trace->stacks, .flags = flags, .locations = {.items = locations}};
    while (locations[row.locations.count])
        row.locations.count++;
    model_trace_row(trace, TRACE_STACK, 0, &row);
    return row.id;
}
#define MODEL_TRACE_STACK(trace, ...) model_trace_stack((trace), 0, (const uint64_t[]){__VA_ARGS__, 0})

static inline uint64_t model_trace_thread(struct model_trace *trace, uint64_t process, uint64_t tid,
                                          uint64_t start, uint64_t routine, const char *name) {
    struct trace_thread row = {
        .id = ++trace->threads, .process = process, .tid = tid, .start = start, .routine = routine};
    model_trace_row(trace, TRACE_THREAD, 0, &row);
    if (name) {
        struct trace_thread_name named = {
            .thread = row.id, .time = start, .name = model_trace_text(trace, name)};
        model_trace_row(trace, TRACE_THREAD_NAME, 0, &named);
    }
    return row.id;
}

static inline void model_trace_thread_end(struct model_trace *trace, uint64_t thread, uint64_t time,
                                          uint64_t cpu_ns) {
    struct trace_thread_end row = {.thread = thread, .time = time, .cpu_ns = cpu_ns};
    model_trace_row(trace, TRACE_THREAD_END, 0, &row);
}

static inline uint64_t model_trace_lock(struct model_trace *trace, uint64_t process, enum lock_class cls,
                                        const char *name, const char *file, uint64_t line) {
    struct trace_lock row = {.id = ++trace->locks, .process = process, .cls = cls};
    row.address = 0x7f0000000000 + row.id * 64;
    model_trace_row(trace, TRACE_LOCK, 0, &row);
    if (name) {
        struct trace_lock_name named = {.lock = row.id,
                                        .name = model_trace_text(trace, name),
                                        .line = line,
                                        .file = file ? model_trace_text(trace, file) : 0,
                                        .source = TRACE_NAME_SYMBOL};
        model_trace_row(trace, TRACE_LOCK_NAME, 0, &named);
    }
    return row.id;
}

static inline void model_trace_wait(struct model_trace *trace, uint64_t thread,
                                    const struct trace_wait *wait) {
    model_trace_row(trace, TRACE_WAIT, thread, wait);
}
#define MODEL_TRACE_WAIT(trace, thread, ...)                                                                 \
    model_trace_wait((trace), (thread), &(struct trace_wait){__VA_ARGS__})

static inline void model_trace_release(struct model_trace *trace, uint64_t thread,
                                       const struct trace_release *release) {
    model_trace_row(trace, TRACE_RELEASE, thread, release);
}
#define MODEL_TRACE_RELEASE(trace, thread, ...)                                                              \
    model_trace_release((trace), (thread), &(struct trace_release){__VA_ARGS__})

static inline void model_trace_count(struct model_trace *trace, uint64_t thread,
                                     const struct trace_count *count) {
    model_trace_row(trace, TRACE_COUNT, thread, count);
}
#define MODEL_TRACE_COUNT(trace, thread, ...)                                                                \
    model_trace_count((trace), (thread), &(struct trace_count){__VA_ARGS__})

static inline void model_trace_region(struct model_trace *trace, uint64_t thread,
                                      const struct trace_region *region) {
    model_trace_row(trace, TRACE_REGION, thread, region);
}
#define MODEL_TRACE_REGION(trace, thread, ...)                                                               \
    model_trace_region((trace), (thread), &(struct trace_region){__VA_ARGS__})

static inline void model_trace_off_cpu(struct model_trace *trace, uint64_t thread,
                                       const struct trace_off_cpu *off_cpu) {
    model_trace_row(trace, TRACE_OFF_CPU, thread, off_cpu);
}
#define MODEL_TRACE_OFF_CPU(trace, thread, ...)                                                              \
    model_trace_off_cpu((trace), (thread), &(struct trace_off_cpu){__VA_ARGS__})

static inline void model_trace_sample(struct model_trace *trace, uint64_t thread,
                                      const struct trace_sample *sample) {
    model_trace_row(trace, TRACE_SAMPLE, thread, sample);
}
#define MODEL_TRACE_SAMPLE(trace, thread, ...)                                                               \
    model_trace_sample((trace), (thread), &(struct trace_sample){__VA_ARGS__})

static inline void model_trace_schedule(struct model_trace *trace, const struct trace_schedule *schedule) {
    model_trace_row(trace, TRACE_SCHEDULE, 0, schedule);
}
#define MODEL_TRACE_SCHEDULE(trace, ...) model_trace_schedule((trace), &(struct trace_schedule){__VA_ARGS__})

static inline void model_trace_end(struct model_trace *trace, uint64_t time) {
    struct trace_end row = {.time = time, .emitted = 100, .stored = 100, .collector_cpu_ns = 5000000};
    model_trace_row(trace, TRACE_END, 0, &row);
}

static inline const struct model_lock *model_lock_named(const struct model *model, const char *name) {
    uint32_t count;
    const struct model_lock *locks = model_locks(model, &count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(locks[i].name, name) == 0)
            return &locks[i];
    return NULL;
}

static inline const struct model_thread *model_thread_with_tid(const struct model *model, uint32_t tid) {
    uint32_t count;
    const struct model_thread *threads = model_threads(model, &count);
    for (uint32_t i = 0; i < count; i++)
        if (threads[i].tid == tid)
            return &threads[i];
    return NULL;
}

/* The function of a site's leaf frame. */
static inline const char *model_site_function(const struct model *model, const struct model_site *site) {
    uint32_t count;
    const struct model_stack *stacks = model_stacks(model, &count);
    return site->stack < count && stacks[site->stack].frame_count ? stacks[site->stack].frames[0]->function
                                                                  : NULL;
}

#endif
