/* SPDX-License-Identifier: MIT */
/*
 * Traces whose rows are any numbers at all: they open, every index in the model is in range, and every
 * report and tree can be made.
 */
#include "check.h"
#include "model_trace.h"
#include "trace_rows.h"
#include "viewer/report/json.h"
#include "viewer/report/text.h"

/* Ids and times small enough to meet one another now and then. */
static void tame(enum trace_kind_id id, void *row) {
    const struct trace_kind *kind = &TRACE_KINDS[id];
    for (uint16_t c = 0; c < kind->column_count; c++) {
        uint64_t *member = (uint64_t *)((char *)row + kind->columns[c].offset);
        if (kind->columns[c].coding != TRACE_BYTES && kind->columns[c].coding != TRACE_LIST &&
            trace_random() % 8)
            *member %= 1 + trace_random() % 40;
    }
}

static bool schedule_is_good(const struct model_schedule *schedule, uint32_t threads, uint32_t stacks) {
    uint64_t by_ran = 0, by_call = 0, off = 0;
    bool good = true;
    for (uint32_t i = 0; i < schedule->ran_count; i++) {
        by_ran += schedule->ran[i].ns;
        good = good && schedule->ran[i].name &&
               (schedule->ran[i].thread < threads || schedule->ran[i].thread == MODEL_NONE);
    }
    for (uint32_t i = 0; i < schedule->call_count; i++)
        by_call += schedule->calls[i].ns;
    for (unsigned kind = 0; kind < MODEL_OFF_KIND_COUNT; kind++)
        off += schedule->off_cpu_ns[kind];
    for (uint32_t i = 0; i < schedule->waker_count; i++) {
        const struct model_waker *waker = &schedule->wakers[i];
        good = good && waker->name && (waker->stack < stacks || waker->stack == MODEL_NONE) &&
               (waker->thread < threads) == (waker->kind == MODEL_WAKER_THREAD);
    }
    return good && by_ran == schedule->delay_ns && by_call == off;
}

static void check_model(const struct model *model, FILE *sink) {
    uint32_t processes, threads, locks, stacks, count;
    model_processes(model, &processes);
    const struct model_thread *thread = model_threads(model, &threads);
    const struct model_lock *lock = model_locks(model, &locks);
    const struct model_stack *stack = model_stacks(model, &stacks);
    bool good = true;
    for (uint32_t i = 0; i < threads; i++) {
        uint64_t sum = 0;
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
            sum += thread[i].states_ns[state];
        good = good && thread[i].process < processes && sum == thread[i].end - thread[i].start &&
               thread[i].name && (thread[i].creator < threads || thread[i].creator == MODEL_NONE) &&
               (!thread[i].schedule || schedule_is_good(thread[i].schedule, threads, stacks));
    }
    for (uint32_t i = 0; i < locks; i++) {
        uint64_t blame = 0;
        good =
            good && lock[i].process < processes && lock[i].name && (unsigned)lock[i].cls < LOCK_CLASS_COUNT;
        for (uint32_t k = 0; k < lock[i].holder_count; k++) {
            blame += lock[i].holders[k].ns;
            good = good && lock[i].holders[k].stack < stacks;
        }
        for (uint32_t k = 0; k < lock[i].waiter_count; k++)
            good = good && lock[i].waiters[k].stack < stacks;
        good = good && blame == lock[i].wait_total;
        uint64_t meanwhile = lock[i].handing_over_ns;
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
            meanwhile += lock[i].holder_states_ns[state];
        good = good && meanwhile == (lock[i].holders_known ? lock[i].wait_total - lock[i].wait_idle : 0);
        for (uint32_t k = 0; k < lock[i].holding_count; k++)
            good = good && (lock[i].holdings[k].lock < locks || lock[i].holdings[k].lock == MODEL_NONE) &&
                   model_off_kind_name(lock[i].holdings[k].kind);
    }
    for (uint32_t i = 0; i < stacks; i++)
        for (uint32_t k = 0; k < stack[i].frame_count; k++)
            good = good && stack[i].frames[k] && stack[i].frames[k]->function;
    const struct model_wait *wait = model_waits(model, &count);
    for (uint32_t i = 0; i < count; i++)
        good =
            good && wait[i].begin <= wait[i].end && wait[i].thread < threads && wait[i].lock < locks &&
            (wait[i].stack < stacks || wait[i].stack == MODEL_NONE) &&
            (wait[i].owner < threads || wait[i].owner == MODEL_NONE) &&
            (wait[i].mutex == MODEL_NONE ||
             (wait[i].mode == LOCK_CLASS_CONDITION ? wait[i].mutex < locks : wait[i].owner_site < stacks)) &&
            wait[i].mode < LOCK_CLASS_COUNT;
    uint32_t kinds, in_kinds = 0;
    const struct model_region_kind *named = model_region_kinds(model, &kinds);
    const struct model_region *region = model_regions(model, &count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
            sum += region[i].states_ns[state];
        good = good && region[i].thread < threads && region[i].kind < kinds &&
               sum == region[i].end - region[i].begin;
    }
    for (uint32_t i = 0; i < kinds; i++) {
        in_kinds += (uint32_t)named[i].count;
        good = good && named[i].name[0] && named[i].p50 <= named[i].p99 && named[i].p99 <= named[i].maximum;
    }
    good = good && in_kinds == count;
    const struct model_release *release = model_releases(model, &count);
    for (uint32_t i = 0; i < count; i++)
        good = good && release[i].thread < threads && release[i].lock < locks &&
               (release[i].stack < stacks || release[i].stack == MODEL_NONE);
    CHECK(good);

    CHECK_EQ_INT(report_text_print(model, sink, &(struct report_options){.show_idle = true}), 0);
    CHECK_EQ_INT(report_json_print(model, sink), 0);
    CHECK_EQ_INT(report_summary_print(model, sink, "x", &(struct report_options){.color = true}), 0);
    for (unsigned kind = MODEL_TREE_WAIT; kind < MODEL_TREE_COUNT; kind++) {
        struct model_tree_filter filter = {true, MODEL_NONE, MODEL_NONE, MODEL_NONE};
        struct model_tree *tree = NULL;
        CHECK_EQ_INT(model_tree_build(model, (enum model_tree_kind)kind, &filter, &tree), 0);
        model_tree_free(tree);
        filter.lock = locks;
        CHECK_EQ_INT(model_tree_build(model, (enum model_tree_kind)kind, &filter, &tree), -22);
    }
}

int main(void) {
    FILE *sink = fopen("/dev/null", "w");
    for (unsigned round = 0; round < 60; round++) {
        struct model_trace trace;
        uint64_t row[TRACE_ROW_BYTES_MAX / sizeof(uint64_t)];
        model_trace_begin(&trace);
        unsigned rows = (unsigned)(trace_random() % 3000);
        for (unsigned i = 0; i < rows; i++) {
            enum trace_kind_id kind = (enum trace_kind_id)(1 + trace_random() % (TRACE_KIND_LIMIT - 1));
            bool of_thread = kind == TRACE_WAIT || kind == TRACE_RELEASE || kind == TRACE_COUNT ||
                             kind == TRACE_REGION || kind == TRACE_OFF_CPU || kind == TRACE_SAMPLE;
            if (kind == TRACE_STRING || kind == TRACE_INDEX)
                continue; /* the writer makes them itself */
            trace_random_row(kind, row);
            tame(kind, row);
            model_trace_row(&trace, kind, of_thread ? trace_random() % 40 : 0, row);
            if (trace_random() % 16 == 0)
                trace_writer_string(trace.writer, trace_random_text + trace_random() % 400,
                                    trace_random() % 100);
        }
        struct model *model = model_trace_open(&trace);
        if (CHECK(model != NULL))
            check_model(model, sink);
        model_free(model);
    }
    fclose(sink);
    return check_summary();
}
