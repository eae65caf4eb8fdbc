/* SPDX-License-Identifier: MIT */
/* Regions: their numbers, what was waited for inside, and names that the program gave its threads. */
#include "check.h"
#include "model_scene.h"

static void check_scene(void) {
    struct model *model = model_scene_open();
    uint32_t kinds, regions;
    const struct model_region_kind *kind = model_region_kinds(model, &kinds);
    const struct model_region *region = model_regions(model, &regions);
    CHECK_EQ_INT((int)kinds, 2);
    CHECK_EQ_INT((int)regions, 5);
    if (kinds != 2 || regions != 5)
        return;

    /* teller-1 waits 300-400; teller-2 350-450 and 500-520. */
    CHECK(strcmp(kind[0].name, "transfer") == 0);
    CHECK_EQ_U64(kind[0].count, 4);
    CHECK_EQ_INT((int)kind[0].thread_count, 2);
    CHECK_EQ_U64(kind[0].open_count, 0);
    CHECK_EQ_U64(kind[0].total, 260 * MS);
    CHECK_EQ_U64(kind[0].p50, 20 * MS);
    CHECK_EQ_U64(kind[0].p99, 120 * MS);
    CHECK_EQ_U64(kind[0].maximum, 120 * MS);
    CHECK_EQ_U64(kind[0].states_ns[MODEL_LOCK_WAIT], (100 + 50 + 10 + 10) * MS);
    CHECK_EQ_U64(kind[0].states_ns[MODEL_BLOCKED] + kind[0].states_ns[MODEL_IDLE], 0);
    CHECK_EQ_U64(kind[0].states_ns[MODEL_UNKNOWN], (260 - 170) * MS);
    CHECK(strcmp(kind[1].name, "day") == 0);
    CHECK_EQ_U64(kind[1].open_count, 1);
    CHECK_EQ_U64(kind[1].states_ns[MODEL_LOCK_WAIT], 100 * MS);

    /* By thread and time, whatever the order in the trace. */
    CHECK(region[0].kind == 1 && region[0].open && region[0].depth == 0);
    CHECK(region[1].kind == 0 && region[1].thread == region[0].thread && region[1].depth == 1);
    CHECK_EQ_U64(region[3].begin, 400 * MS);
    CHECK_EQ_U64(region[3].states_ns[MODEL_LOCK_WAIT], 60 * MS);
    CHECK_EQ_U64(region[2].states_ns[MODEL_LOCK_WAIT], 0);
    model_free(model);
}

/* A condition wait and the mutex taken again inside one another, a region that ends within, one at each end.
 */
static void check_overlaps(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 1, 1, 0, "x");
    uint64_t thread = model_trace_thread(&trace, process, 2, 0, 0, "t");
    uint64_t mutex = model_trace_lock(&trace, process, LOCK_CLASS_MUTEX, "m", NULL, 0);
    uint64_t barrier = model_trace_lock(&trace, process, LOCK_CLASS_BARRIER, "b", NULL, 0);
    MODEL_TRACE_WAIT(&trace, thread, .begin = 10 * MS, .duration = 20 * MS, .lock = barrier,
                     .mode = LOCK_CLASS_BARRIER);
    MODEL_TRACE_WAIT(&trace, thread, .begin = 20 * MS, .duration = 20 * MS, .lock = mutex,
                     .mode = LOCK_CLASS_MUTEX);
    struct {
        uint64_t begin, end, waited;
    } truths[] = {{5, 15, 5}, {10, 40, 30}, {15, 35, 20}, {40, 50, 0}, {12, 12, 0}, {0, 100, 30}};
    for (size_t i = 0; i < sizeof(truths) / sizeof(truths[0]); i++)
        MODEL_TRACE_REGION(&trace, thread, .begin = truths[i].begin * MS,
                           .duration = (truths[i].end - truths[i].begin) * MS, .depth = i);
    model_trace_end(&trace, 100 * MS);
    struct model *model = model_trace_open(&trace);
    uint32_t count, kinds;
    const struct model_region *regions = model_regions(model, &count);
    CHECK_EQ_INT((int)count, 6);
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ_U64(regions[i].states_ns[MODEL_LOCK_WAIT], truths[regions[i].depth].waited * MS);
    CHECK(strcmp(model_region_kinds(model, &kinds)->name, "[unnamed]") == 0 && kinds == 1);
    model_free(model);
}

/* The program's own name for a thread beats what the kernel knows, before and after it. */
static void check_names(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 1, 1, 0, "x");
    uint64_t thread = model_trace_thread(&trace, process, 2, 0, 0, "kernel's");
    struct trace_thread_name rows[] = {
        {.thread = thread, .time = 5, .name = model_trace_text(&trace, "x"), .given = 1},
        {.thread = thread, .time = 7, .name = model_trace_text(&trace, "later")},
        {.thread = thread, .time = 6, .name = model_trace_text(&trace, "given last"), .given = 1},
        {.thread = thread, .time = 4, .name = model_trace_text(&trace, "given first"), .given = 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        model_trace_row(&trace, TRACE_THREAD_NAME, 0, &rows[i]);
    struct model *model = model_trace_open(&trace);
    const struct model_thread *named = model_thread_with_tid(model, 2);
    CHECK(named && strcmp(named->name, "given last") == 0 && strcmp(named->label, "given last") == 0);
    model_free(model);
}

int main(void) {
    check_scene();
    check_overlaps();
    check_names();
    return check_summary();
}
