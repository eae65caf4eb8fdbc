/* SPDX-License-Identifier: MIT */
/*
 * Codings of WAIT and RELEASE are as measured with tests/bench/bench_trace: times as differences
 * (plain: +0.6 bytes an event), ids and durations plain (ids as differences: +0.25), because equal
 * ids are then equal bytes for zstd. Other kinds follow by likeness: they are few, and were not
 * measured. Ids that count upwards are differences.
 */
#include "format/trace.h"

#define COLUMN(kind, member, coding)                                                                         \
    { #member, offsetof(struct trace_##kind, member), coding }
#define KIND(kind)                                                                                           \
    { #kind, sizeof(struct trace_##kind), sizeof(kind##_columns) / sizeof(kind##_columns[0]), kind##_columns }

static const struct trace_column string_columns[] = {
    COLUMN(string, id, TRACE_DELTA),
    COLUMN(string, text, TRACE_BYTES),
};
static const struct trace_column environment_columns[] = {
    COLUMN(environment, key, TRACE_DELTA),
    COLUMN(environment, value, TRACE_DELTA),
};
static const struct trace_column process_columns[] = {
    COLUMN(process, id, TRACE_DELTA),         COLUMN(process, pid, TRACE_DELTA),
    COLUMN(process, parent_pid, TRACE_DELTA), COLUMN(process, start, TRACE_DELTA),
    COLUMN(process, command, TRACE_DELTA),    COLUMN(process, exe, TRACE_DELTA),
    COLUMN(process, how, TRACE_PLAIN),        COLUMN(process, setup_ns, TRACE_PLAIN),
};
static const struct trace_column process_end_columns[] = {
    COLUMN(process_end, process, TRACE_DELTA), COLUMN(process_end, time, TRACE_DELTA),
    COLUMN(process_end, exit, TRACE_PLAIN),    COLUMN(process_end, value, TRACE_PLAIN),
    COLUMN(process_end, cpu_ns, TRACE_PLAIN),
};
static const struct trace_column module_columns[] = {
    COLUMN(module, id, TRACE_DELTA),       COLUMN(module, process, TRACE_DELTA),
    COLUMN(module, start, TRACE_DELTA),    COLUMN(module, end, TRACE_DELTA),
    COLUMN(module, bias, TRACE_DELTA),     COLUMN(module, path, TRACE_DELTA),
    COLUMN(module, build_id, TRACE_DELTA),
};
static const struct trace_column location_columns[] = {
    COLUMN(location, id, TRACE_DELTA),
    COLUMN(location, process, TRACE_DELTA),
    COLUMN(location, pc, TRACE_DELTA),
    COLUMN(location, module, TRACE_PLAIN),
};
static const struct trace_column stack_columns[] = {
    COLUMN(stack, id, TRACE_DELTA),
    COLUMN(stack, flags, TRACE_PLAIN),
    COLUMN(stack, locations, TRACE_LIST),
};
static const struct trace_column frame_columns[] = {
    COLUMN(frame, location, TRACE_DELTA), COLUMN(frame, depth, TRACE_PLAIN),
    COLUMN(frame, function, TRACE_DELTA), COLUMN(frame, file, TRACE_DELTA),
    COLUMN(frame, line, TRACE_PLAIN),     COLUMN(frame, inlined, TRACE_PLAIN),
};
static const struct trace_column thread_columns[] = {
    COLUMN(thread, id, TRACE_DELTA),      COLUMN(thread, process, TRACE_DELTA),
    COLUMN(thread, tid, TRACE_DELTA),     COLUMN(thread, start, TRACE_DELTA),
    COLUMN(thread, creator, TRACE_DELTA), COLUMN(thread, creator_stack, TRACE_DELTA),
    COLUMN(thread, routine, TRACE_DELTA),
};
static const struct trace_column thread_name_columns[] = {
    COLUMN(thread_name, thread, TRACE_DELTA),
    COLUMN(thread_name, time, TRACE_DELTA),
    COLUMN(thread_name, name, TRACE_DELTA),
    COLUMN(thread_name, given, TRACE_PLAIN),
};
static const struct trace_column thread_end_columns[] = {
    COLUMN(thread_end, thread, TRACE_DELTA),
    COLUMN(thread_end, time, TRACE_DELTA),
    COLUMN(thread_end, cpu_ns, TRACE_PLAIN),
};
static const struct trace_column lock_columns[] = {
    COLUMN(lock, id, TRACE_DELTA),         COLUMN(lock, process, TRACE_DELTA),
    COLUMN(lock, address, TRACE_DELTA),    COLUMN(lock, generation, TRACE_PLAIN),
    COLUMN(lock, cls, TRACE_PLAIN),        COLUMN(lock, created, TRACE_DELTA),
    COLUMN(lock, init_stack, TRACE_DELTA), COLUMN(lock, first_site, TRACE_DELTA),
    COLUMN(lock, initial, TRACE_PLAIN),
};
static const struct trace_column lock_name_columns[] = {
    COLUMN(lock_name, lock, TRACE_DELTA),   COLUMN(lock_name, name, TRACE_DELTA),
    COLUMN(lock_name, file, TRACE_DELTA),   COLUMN(lock_name, line, TRACE_DELTA),
    COLUMN(lock_name, source, TRACE_PLAIN),
};
static const struct trace_column wait_columns[] = {
    COLUMN(wait, begin, TRACE_DELTA), COLUMN(wait, duration, TRACE_PLAIN),   COLUMN(wait, lock, TRACE_PLAIN),
    COLUMN(wait, mode, TRACE_PLAIN),  COLUMN(wait, flags, TRACE_PLAIN),      COLUMN(wait, stack, TRACE_PLAIN),
    COLUMN(wait, owner, TRACE_PLAIN), COLUMN(wait, owner_site, TRACE_PLAIN), COLUMN(wait, mutex, TRACE_PLAIN),
};
static const struct trace_column release_columns[] = {
    COLUMN(release, time, TRACE_DELTA),    COLUMN(release, held, TRACE_PLAIN),
    COLUMN(release, lock, TRACE_PLAIN),    COLUMN(release, mode, TRACE_PLAIN),
    COLUMN(release, flags, TRACE_PLAIN),   COLUMN(release, stack, TRACE_PLAIN),
    COLUMN(release, waiters, TRACE_PLAIN),
};
static const struct trace_column count_columns[] = {
    COLUMN(count, lock, TRACE_DELTA),
    COLUMN(count, mode, TRACE_PLAIN),
    COLUMN(count, acquisitions, TRACE_PLAIN),
    COLUMN(count, contended, TRACE_PLAIN),
    COLUMN(count, hold_ns, TRACE_PLAIN),
    COLUMN(count, hold_samples, TRACE_PLAIN),
    COLUMN(count, hold_maximum, TRACE_PLAIN),
    COLUMN(count, wait_ns, TRACE_PLAIN),
    COLUMN(count, contended_hold_ns, TRACE_PLAIN),
};
static const struct trace_column region_columns[] = {
    COLUMN(region, begin, TRACE_DELTA), COLUMN(region, duration, TRACE_PLAIN),
    COLUMN(region, name, TRACE_PLAIN),  COLUMN(region, depth, TRACE_PLAIN),
    COLUMN(region, flags, TRACE_PLAIN),
};
static const struct trace_column off_cpu_columns[] = {
    COLUMN(off_cpu, begin, TRACE_DELTA),       COLUMN(off_cpu, duration, TRACE_PLAIN),
    COLUMN(off_cpu, delay, TRACE_PLAIN),       COLUMN(off_cpu, cause, TRACE_PLAIN),
    COLUMN(off_cpu, syscall, TRACE_PLAIN),     COLUMN(off_cpu, flags, TRACE_PLAIN),
    COLUMN(off_cpu, stack, TRACE_PLAIN),       COLUMN(off_cpu, waker, TRACE_PLAIN),
    COLUMN(off_cpu, waker_stack, TRACE_PLAIN), COLUMN(off_cpu, ran, TRACE_PLAIN),
    COLUMN(off_cpu, ran_name, TRACE_PLAIN),    COLUMN(off_cpu, lock, TRACE_PLAIN),
    COLUMN(off_cpu, owner, TRACE_PLAIN),
};
static const struct trace_column sample_columns[] = {
    COLUMN(sample, time, TRACE_DELTA),
    COLUMN(sample, weight, TRACE_PLAIN),
    COLUMN(sample, stack, TRACE_PLAIN),
    COLUMN(sample, kernel_stack, TRACE_PLAIN),
};
static const struct trace_column schedule_columns[] = {
    COLUMN(schedule, thread, TRACE_DELTA), COLUMN(schedule, begin, TRACE_DELTA),
    COLUMN(schedule, end, TRACE_DELTA),    COLUMN(schedule, stretches, TRACE_PLAIN),
    COLUMN(schedule, lost, TRACE_PLAIN),   COLUMN(schedule, lost_ns, TRACE_PLAIN),
};
static const struct trace_column snapshot_columns[] = {
    COLUMN(snapshot, time, TRACE_DELTA),       COLUMN(snapshot, thread, TRACE_DELTA),
    COLUMN(snapshot, lock, TRACE_PLAIN),       COLUMN(snapshot, since, TRACE_DELTA),
    COLUMN(snapshot, owner, TRACE_PLAIN),      COLUMN(snapshot, stack, TRACE_PLAIN),
    COLUMN(snapshot, owner_site, TRACE_PLAIN), COLUMN(snapshot, mode, TRACE_PLAIN),
};
static const struct trace_column loss_columns[] = {
    COLUMN(loss, time, TRACE_DELTA),   COLUMN(loss, process, TRACE_DELTA), COLUMN(loss, thread, TRACE_DELTA),
    COLUMN(loss, reason, TRACE_PLAIN), COLUMN(loss, count, TRACE_PLAIN),
};
static const struct trace_column cost_columns[] = {
    COLUMN(cost, thread, TRACE_DELTA),     COLUMN(cost, emitted, TRACE_PLAIN),
    COLUMN(cost, slow_paths, TRACE_PLAIN), COLUMN(cost, cost_samples, TRACE_PLAIN),
    COLUMN(cost, cost_ns, TRACE_PLAIN),
};
static const struct trace_column end_columns[] = {
    COLUMN(end, time, TRACE_DELTA),
    COLUMN(end, emitted, TRACE_PLAIN),
    COLUMN(end, stored, TRACE_PLAIN),
    COLUMN(end, collector_cpu_ns, TRACE_PLAIN),
};
static const struct trace_column index_columns[] = {
    COLUMN(index, offset, TRACE_DELTA),     COLUMN(index, kind, TRACE_PLAIN),
    COLUMN(index, thread, TRACE_PLAIN),     COLUMN(index, rows, TRACE_PLAIN),
    COLUMN(index, time_begin, TRACE_DELTA), COLUMN(index, time_end, TRACE_DELTA),
};

const struct trace_kind TRACE_KINDS[TRACE_KIND_LIMIT] = {
    [TRACE_STRING] = KIND(string),
    [TRACE_ENVIRONMENT] = KIND(environment),
    [TRACE_PROCESS] = KIND(process),
    [TRACE_PROCESS_END] = KIND(process_end),
    [TRACE_MODULE] = KIND(module),
    [TRACE_LOCATION] = KIND(location),
    [TRACE_STACK] = KIND(stack),
    [TRACE_FRAME] = KIND(frame),
    [TRACE_THREAD] = KIND(thread),
    [TRACE_THREAD_NAME] = KIND(thread_name),
    [TRACE_THREAD_END] = KIND(thread_end),
    [TRACE_LOCK] = KIND(lock),
    [TRACE_LOCK_NAME] = KIND(lock_name),
    [TRACE_WAIT] = KIND(wait),
    [TRACE_RELEASE] = KIND(release),
    [TRACE_COUNT] = KIND(count),
    [TRACE_SNAPSHOT] = KIND(snapshot),
    [TRACE_LOSS] = KIND(loss),
    [TRACE_COST] = KIND(cost),
    [TRACE_END] = KIND(end),
    [TRACE_INDEX] = KIND(index),
    [TRACE_REGION] = KIND(region),
    [TRACE_OFF_CPU] = KIND(off_cpu),
    [TRACE_SAMPLE] = KIND(sample),
    [TRACE_SCHEDULE] = KIND(schedule),
};
