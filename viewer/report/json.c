/* SPDX-License-Identifier: MIT */
#include "viewer/report/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/words.h"
#include "viewer/report/json_part.h"
#include "viewer/report/thread_order.h"

#define REPORT_JSON_VERSION 1
#define SITE_BYTES 4096

/* Names in the file: never changed, never used for anything else. */
static const char *const KIND_NAMES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_NONE] = "unknown",        [LOCK_CLASS_MUTEX] = "mutex",
    [LOCK_CLASS_RWLOCK_READ] = "rwlock",  [LOCK_CLASS_RWLOCK_WRITE] = "rwlock",
    [LOCK_CLASS_CONDITION] = "condition", [LOCK_CLASS_BARRIER] = "barrier",
    [LOCK_CLASS_SPIN] = "spin",           [LOCK_CLASS_SEMAPHORE] = "semaphore",
    [LOCK_CLASS_JOIN] = "join",           [LOCK_CLASS_SLEEP] = "sleep",
    [LOCK_CLASS_POLL] = "poll",           [LOCK_CLASS_FUTEX] = "futex",
};

const char *const JSON_STATE_NAMES[MODEL_STATE_COUNT] = {
    [MODEL_RUNNING] = "running", [MODEL_RUNNABLE] = "runnable", [MODEL_LOCK_WAIT] = "lock_wait",
    [MODEL_BLOCKED] = "blocked", [MODEL_IDLE] = "idle",         [MODEL_UNKNOWN] = "unknown",
};

static const char *const LOSS_NAMES[LOSS_REASON_COUNT] = {
    [LOSS_RING_FULL] = "ring_full", [LOSS_NO_SLOT] = "no_slot",     [LOSS_NESTED] = "nested",
    [LOSS_TOO_LONG] = "too_long",   [LOSS_HELD_DEEP] = "held_deep", [LOSS_CORRUPT] = "corrupt",
    [LOSS_COLLECTOR] = "collector",
};

static const char *const TRACE_STATE_NAMES[] = {
    [TRACE_RECORDING] = "recording", [TRACE_COMPLETE] = "complete", [TRACE_STOPPED] = "stopped"};

static void print_exit(struct json_writer *json, const struct model_process *process) {
    char name[WORDS_BYTES];
    if (process->exit == TRACE_EXIT_CODE) {
        json_number(json, "exit_code", process->value);
    } else if (process->exit == TRACE_EXIT_SIGNAL) {
        const char *abbreviation = sigabbrev_np((int)process->value);
        snprintf(name, sizeof(name), "SIG%s", abbreviation ? abbreviation : "");
        json_number(json, "signal", process->value);
        json_string(json, "signal_name", abbreviation ? name : NULL);
    }
}

static void print_processes(struct json_writer *json, const struct model *model) {
    uint32_t count, target = model_target(model);
    const struct model_process *processes = model_processes(model, &count);
    json_object_begin(json, "target", JSON_INLINE);
    if (target != MODEL_NONE) {
        json_string(json, "command", processes[target].command);
        json_number(json, "pid", processes[target].pid);
        print_exit(json, &processes[target]);
    }
    json_object_end(json);
    json_number(json, "duration_ns", model_info(model)->end - model_info(model)->begin);
    json_array_begin(json, "processes", JSON_LINES);
    for (uint32_t i = 0; i < count; i++) {
        const struct model_process *process = &processes[i];
        json_object_begin(json, NULL, JSON_INLINE);
        json_number(json, "pid", process->pid);
        json_number(json, "parent_pid", process->parent_pid);
        json_string(json, "command", process->command);
        json_string(json, "exe", process->exe);
        json_number(json, "start_ns", process->start);
        json_number(json, "end_ns", process->end);
        json_number(json, "cpu_ns", process->cpu_ns);
        print_exit(json, process);
        json_object_end(json);
    }
    json_array_end(json);
}

static void print_threads(struct json_writer *json, const struct model *model, const uint32_t *order) {
    uint32_t count, process_count;
    const struct model_thread *threads = model_threads(model, &count);
    const struct model_process *processes = model_processes(model, &process_count);
    json_array_begin(json, "threads", JSON_LINES);
    for (uint32_t i = 0; i < count; i++) {
        const struct model_thread *thread = &threads[order[i]];
        json_object_begin(json, NULL, JSON_INLINE);
        json_number(json, "pid", processes[thread->process].pid);
        json_number(json, "tid", thread->tid);
        json_string(json, "name", thread->name);
        json_string(json, "role", thread->role);
        json_number(json, "start_ns", thread->start);
        json_number(json, "end_ns", thread->end);
        json_number(json, "cpu_ns", thread->cpu_ns);
        json_object_begin(json, "states_ns", JSON_INLINE);
        for (unsigned state = 0; state < MODEL_STATE_COUNT; state++)
            json_number(json, JSON_STATE_NAMES[state], thread->states_ns[state]);
        json_object_end(json);
        json_number(json, "lost", thread->lost);
        json_thread_schedule(json, model, thread->schedule);
        json_object_end(json);
    }
    json_array_end(json);
}

void json_stack(struct json_writer *json, const char *key, const struct model_stack *stack) {
    char site[SITE_BYTES];
    json_array_begin(json, key, JSON_INLINE);
    for (uint32_t i = 0; stack && i < stack->frame_count; i++)
        json_string(json, NULL, words_whole_site(stack->frames[i], site, sizeof(site)));
    json_array_end(json);
}

static void print_sites(struct json_writer *json, const struct model *model, const char *key,
                        const char *ns_key, const struct model_site *sites, uint32_t count) {
    uint32_t stack_count;
    const struct model_stack *stacks = model_stacks(model, &stack_count);
    json_array_begin(json, key, count ? JSON_LINES : JSON_INLINE);
    for (uint32_t i = 0; i < count; i++) {
        json_object_begin(json, NULL, JSON_INLINE);
        json_stack(json, "stack", &stacks[sites[i].stack]);
        json_number(json, ns_key, sites[i].ns);
        json_number(json, "count", sites[i].count);
        json_number(json, "idle_ns", sites[i].idle_ns);
        json_object_end(json);
    }
    json_array_end(json);
}

static void print_lock(struct json_writer *json, const struct model *model, uint32_t index,
                       const struct model_lock *lock, const struct model_process *processes) {
    char text[SITE_BYTES];
    json_object_begin(json, NULL, JSON_LINES);
    json_number(json, "id", (uint64_t)index + 1);
    json_number(json, "pid", processes[lock->process].pid);
    json_string(json, "name", lock->name);
    json_string(json, "kind", KIND_NAMES[lock->cls]);
    if (lock->file)
        snprintf(text, sizeof(text), "%s:%" PRIu32, lock->file, lock->line);
    json_string(json, "site", lock->file ? text : NULL);
    json_string(json, "file", lock->file);
    json_number(json, "line", lock->line);
    snprintf(text, sizeof(text), "0x%" PRIx64, lock->address);
    json_string(json, "address", text);
    json_number(json, "generation", lock->generation);
    json_boolean(json, "event", lock->event);
    json_boolean(json, "idle", lock->idle);
    json_number(json, "acquisitions", lock->acquisitions);
    json_number(json, "contended", lock->contended);
    if (lock->cls == LOCK_CLASS_RWLOCK_WRITE) {
        json_number(json, "read_acquisitions", lock->read_acquisitions);
        json_number(json, "read_contended", lock->read_contended);
    }
    json_object_begin(json, "wait_ns", JSON_INLINE);
    json_number(json, "total", lock->wait_total);
    json_number(json, "max", lock->wait_maximum);
    json_number(json, "p50", lock->wait_p50);
    json_number(json, "p99", lock->wait_p99);
    json_number(json, "idle", lock->wait_idle);
    json_number(json, "counted", lock->wait_counted);
    json_object_end(json);
    json_number(json, "waits", lock->wait_count);
    json_number(json, "open_waits", lock->open_count);
    json_object_begin(json, "brief_waits", JSON_INLINE);
    json_number(json, "count", lock->brief_count);
    json_number(json, "ns", lock->brief_ns);
    json_object_end(json);
    json_object_begin(json, "hold_ns", JSON_INLINE);
    json_number(json, "total", lock->hold_total);
    json_number(json, "max", lock->hold_maximum);
    json_boolean(json, "estimated", lock->hold_estimated);
    json_object_end(json);
    json_lock_holders(json, model, lock);
    print_sites(json, model, "waiters", "wait_ns", lock->waiters, lock->waiter_count);
    print_sites(json, model, "holders", "blame_ns", lock->holders, lock->holder_count);
    json_object_end(json);
}

static void print_locks(struct json_writer *json, const struct model *model) {
    uint32_t count, process_count;
    const struct model_lock *locks = model_locks(model, &count);
    const struct model_process *processes = model_processes(model, &process_count);
    json_array_begin(json, "locks", JSON_LINES);
    for (uint32_t i = 0; i < count; i++)
        print_lock(json, model, i, &locks[i], processes);
    json_array_end(json);
}

static void print_regions(struct json_writer *json, const struct model *model) {
    uint32_t count;
    const struct model_region_kind *kinds = model_region_kinds(model, &count);
    json_array_begin(json, "regions", count ? JSON_LINES : JSON_INLINE);
    for (uint32_t i = 0; i < count; i++) {
        const struct model_region_kind *kind = &kinds[i];
        json_object_begin(json, NULL, JSON_INLINE);
        json_string(json, "name", kind->name);
        json_number(json, "count", kind->count);
        json_number(json, "open", kind->open_count);
        json_number(json, "threads", kind->thread_count);
        json_object_begin(json, "ns", JSON_INLINE);
        json_number(json, "total", kind->total);
        json_number(json, "mean", kind->count ? kind->total / kind->count : 0);
        json_number(json, "p50", kind->p50);
        json_number(json, "p99", kind->p99);
        json_number(json, "max", kind->maximum);
        json_object_end(json);
        json_object_begin(json, "waited_ns", JSON_INLINE);
        json_number(json, "lock_wait", kind->states_ns[MODEL_LOCK_WAIT]);
        json_number(json, "blocked", kind->states_ns[MODEL_BLOCKED]);
        json_number(json, "idle", kind->states_ns[MODEL_IDLE]);
        json_number(json, "runnable", kind->states_ns[MODEL_RUNNABLE]);
        json_object_end(json);
        json_object_end(json);
    }
    json_array_end(json);
}

void json_stack_ends(struct json_writer *json, const struct model *model,
                     uint64_t (*ends)(const struct model *, enum model_stack_end)) {
    json_object_begin(json, "stacks", JSON_INLINE);
    json_number(json, "complete", ends(model, MODEL_STACK_COMPLETE));
    json_number(json, "truncated", ends(model, MODEL_STACK_TRUNCATED));
    json_object_begin(json, "incomplete", JSON_INLINE);
    json_number(json, "no_information", ends(model, MODEL_STACK_NO_INFORMATION));
    json_number(json, "no_rule", ends(model, MODEL_STACK_NO_RULE));
    json_number(json, "unreadable", ends(model, MODEL_STACK_UNREADABLE));
    json_object_end(json);
    json_number(json, "unknown", ends(model, MODEL_STACK_UNKNOWN));
    json_object_end(json);
}

static void print_costs(struct json_writer *json, const struct model *model) {
    const struct model_loss *loss = model_loss(model);
    const struct model_cost *cost = model_cost(model);
    json_object_begin(json, "loss", JSON_INLINE);
    json_number(json, "emitted", loss->emitted);
    json_number(json, "stored", loss->stored);
    json_object_begin(json, "dropped", JSON_INLINE);
    for (unsigned i = 0; i < LOSS_REASON_COUNT; i++)
        json_number(json, LOSS_NAMES[i], loss->dropped[i]);
    json_object_end(json);
    json_object_end(json);
    json_stack_ends(json, model, model_stack_ends);
    json_kernel(json, model);
    json_object_begin(json, "overhead", JSON_INLINE);
    json_number(json, "target_cpu_ns", cost->target_cpu_ns);
    json_number(json, "agent_ns", cost->agent_ns);
    json_number(json, "agent_setup_ns", cost->setup_ns);
    json_number(json, "agent_slow_paths", cost->slow_paths);
    json_number(json, "collector_cpu_ns", cost->collector_cpu_ns);
    json_number(json, "file_bytes", cost->file_bytes);
    json_number(json, "events", model_info(model)->events);
    json_object_end(json);
}

static void print_trace(struct json_writer *json, const struct model *model) {
    const struct model_info *info = model_info(model);
    bool known = info->state >= TRACE_RECORDING && info->state <= TRACE_STOPPED;
    json_object_begin(json, "trace", JSON_INLINE);
    json_string(json, "state", known ? TRACE_STATE_NAMES[info->state] : NULL);
    json_number(json, "stop_errno", info->stop_errno > 0 ? (uint64_t)info->stop_errno : 0);
    json_number(json, "begin_ns", info->begin);
    json_number(json, "end_ns", info->end);
    json_number(json, "wall_ns", info->wall_ns);
    json_number(json, "torn_bytes", info->torn_bytes);
    json_number(json, "damaged_bytes", info->damaged_bytes);
    json_number(json, "bad_rows", info->bad_rows);
    json_object_end(json);
    json_object_begin(json, "environment", JSON_LINES);
    const char *key, *value = NULL;
    for (uint32_t i = 0; (key = model_environment(model, i, &value)); i++)
        json_string(json, key, value);
    json_object_end(json);
}

int report_json_print(const struct model *model, FILE *file) {
    struct json_writer json;
    char verdict[1024];
    uint32_t *order = thread_order(model);
    if (!order)
        return -ENOMEM;
    model_verdict(model, verdict, sizeof(verdict));
    json_begin(&json, file);
    json_object_begin(&json, NULL, JSON_LINES);
    json_number(&json, "version", REPORT_JSON_VERSION);
    json_string(&json, "verdict", verdict);
    print_processes(&json, model);
    print_threads(&json, model, order);
    free(order);
    print_locks(&json, model);
    print_regions(&json, model);
    print_costs(&json, model);
    print_trace(&json, model);
    json_object_end(&json);
    json_end(&json);
    return fflush(file) != 0 || ferror(file) ? -EIO : 0;
}
