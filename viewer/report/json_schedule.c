/* SPDX-License-Identifier: MIT */
/* The part of the JSON report that comes from the scheduler. */
#include "viewer/report/json_part.h"

/* Names in the file: never changed, never used for anything else. */
static const char *const OFF_KIND_NAMES[MODEL_OFF_KIND_COUNT] = {
    [MODEL_OFF_IO] = "io",       [MODEL_OFF_PAGE_FAULT] = "page_fault", [MODEL_OFF_SLEEP] = "sleep",
    [MODEL_OFF_POLL] = "poll",   [MODEL_OFF_FUTEX] = "futex",           [MODEL_OFF_STOPPED] = "stopped",
    [MODEL_OFF_OTHER] = "other",
};

static void print_off_cpu(struct json_writer *json, const struct model_schedule *schedule) {
    json_object_begin(json, "off_cpu_ns", JSON_INLINE);
    for (unsigned kind = 0; kind < MODEL_OFF_KIND_COUNT; kind++)
        json_number(json, OFF_KIND_NAMES[kind], schedule->off_cpu_ns[kind]);
    json_object_end(json);
    json_array_begin(json, "off_cpu_calls", JSON_INLINE);
    for (uint32_t i = 0; i < schedule->call_count; i++) {
        const struct model_off_call *call = &schedule->calls[i];
        json_object_begin(json, NULL, JSON_INLINE);
        json_string(json, "kind", OFF_KIND_NAMES[call->kind]);
        json_string(json, "call", call->call);
        json_number(json, "ns", call->ns);
        json_number(json, "count", call->count);
        json_object_end(json);
    }
    json_array_end(json);
}

static void print_tid(struct json_writer *json, const struct model *model, uint32_t thread) {
    uint32_t count;
    const struct model_thread *threads = model_threads(model, &count);
    if (thread == MODEL_NONE)
        json_null(json, "tid");
    else
        json_number(json, "tid", threads[thread].tid);
}

static void print_run_queue(struct json_writer *json, const struct model *model,
                            const struct model_schedule *schedule) {
    json_object_begin(json, "run_queue", JSON_INLINE);
    json_number(json, "delay_ns", schedule->delay_ns);
    json_number(json, "worst_ns", schedule->delay_maximum);
    json_array_begin(json, "ran_instead", JSON_INLINE);
    for (uint32_t i = 0; i < schedule->ran_count; i++) {
        const struct model_ran *ran = &schedule->ran[i];
        json_object_begin(json, NULL, JSON_INLINE);
        json_string(json, "name", ran->name);
        print_tid(json, model, ran->thread);
        json_number(json, "ns", ran->ns);
        json_number(json, "count", ran->count);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    json_object_begin(json, "switches", JSON_INLINE);
    json_number(json, "voluntary", schedule->voluntary);
    json_number(json, "preempted", schedule->preempted);
    json_object_end(json);
}

static void print_wakers(struct json_writer *json, const struct model *model,
                         const struct model_schedule *schedule) {
    uint32_t stack_count;
    const struct model_stack *stacks = model_stacks(model, &stack_count);
    json_array_begin(json, "woken_by", JSON_INLINE);
    for (uint32_t i = 0; i < schedule->waker_count; i++) {
        const struct model_waker *waker = &schedule->wakers[i];
        json_object_begin(json, NULL, JSON_INLINE);
        json_string(json, "name", waker->name);
        print_tid(json, model, waker->thread);
        json_number(json, "ns", waker->ns);
        json_number(json, "count", waker->count);
        json_stack(json, "stack", waker->stack == MODEL_NONE ? NULL : &stacks[waker->stack]);
        json_object_end(json);
    }
    json_array_end(json);
}

void json_thread_schedule(struct json_writer *json, const struct model *model,
                          const struct model_schedule *schedule) {
    if (!schedule)
        return;
    print_off_cpu(json, schedule);
    print_run_queue(json, model, schedule);
    print_wakers(json, model, schedule);
    json_object_begin(json, "schedule", JSON_INLINE);
    json_number(json, "begin_ns", schedule->begin);
    json_number(json, "end_ns", schedule->end);
    json_number(json, "lost", schedule->lost);
    json_number(json, "lost_ns", schedule->lost_ns);
    json_object_end(json);
}

void json_lock_holders(struct json_writer *json, const struct model *model, const struct model_lock *lock) {
    uint32_t count;
    const struct model_lock *locks = model_locks(model, &count);
    if (!lock->holders_known)
        return;
    json_object_begin(json, "holder_states_ns", JSON_INLINE);
    for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
        json_number(json, JSON_STATE_NAMES[state], lock->holder_states_ns[state]);
    json_number(json, "handing_over", lock->handing_over_ns);
    json_object_end(json);
    json_array_begin(json, "holder_doings", lock->holding_count ? JSON_LINES : JSON_INLINE);
    for (uint32_t i = 0; i < lock->holding_count; i++) {
        const struct model_holding *holding = &lock->holdings[i];
        bool in_kernel = holding->state != MODEL_RUNNABLE && holding->lock == MODEL_NONE;
        json_object_begin(json, NULL, JSON_INLINE);
        json_string(json, "state", JSON_STATE_NAMES[holding->state]);
        if (holding->lock == MODEL_NONE)
            json_null(json, "lock_id");
        else
            json_number(json, "lock_id", (uint64_t)holding->lock + 1);
        json_string(json, "lock", holding->lock == MODEL_NONE ? NULL : locks[holding->lock].name);
        json_string(json, "kind", in_kernel ? OFF_KIND_NAMES[holding->kind] : NULL);
        json_string(json, "call", holding->call);
        json_number(json, "ns", holding->ns);
        json_object_end(json);
    }
    json_array_end(json);
}

void json_kernel(struct json_writer *json, const struct model *model) {
    const struct model_info *info = model_info(model);
    if (info->stretches + info->stretches_lost + info->samples == 0)
        return;
    json_object_begin(json, "kernel", JSON_INLINE);
    json_number(json, "off_cpu", info->stretches);
    json_number(json, "off_cpu_lost", info->stretches_lost);
    json_number(json, "samples", info->samples);
    json_stack_ends(json, model, model_kernel_stack_ends);
    json_object_end(json);
}
