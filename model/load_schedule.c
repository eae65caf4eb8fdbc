/* SPDX-License-Identifier: MIT */
/* Rows that tell what the scheduler did with a thread. */
#include <errno.h>

#include "model/load.h"
#include "model/syscall.h"

#define SAMPLE_WEIGHT_MAX UINT32_MAX /* ns: a clock that is slower tells nothing */

/* Who ran instead, as struct off_stretch has it. */
static int ran_get(struct loader *loader, const struct trace_off_cpu *row, uint32_t *ret_ran) {
    struct off_cpu *off_cpu = &loader->model->off_cpu;
    *ret_ran = id_map_get(&loader->threads, row->ran);
    if (*ret_ran < OFF_RAN_NAME)
        return 0;
    *ret_ran = MODEL_NONE;
    uint32_t string = id_map_get(&loader->strings, row->ran_name);
    if (string == MODEL_NONE || !loader->string_of[string][0])
        return 0;
    uint32_t index = id_map_get(&loader->ran_names, (uint64_t)string + 1);
    if (index == MODEL_NONE) {
        index = off_cpu->name_count;
        if (index >= OFF_RAN_NAME - 1)
            return 0;
        if (array_reserve(&off_cpu->names, index, &off_cpu->name_room, sizeof(*off_cpu->names)) < 0 ||
            id_map_put(&loader->ran_names, (uint64_t)string + 1, index) < 0)
            return -ENOMEM;
        off_cpu->names[off_cpu->name_count++] = loader->string_of[string];
    }
    *ret_ran = OFF_RAN_NAME | index;
    return 0;
}

static int stretch_fill(struct loader *loader, uint32_t thread, const struct trace_off_cpu *row,
                        struct off_stretch *ret_stretch) {
    if (row->cause == 0 || row->cause >= TRACE_OFF_CAUSES || row->begin + row->duration < row->begin ||
        row->delay > row->duration)
        return -EINVAL;
    struct off_origin key = {
        .thread = thread,
        .stack = id_map_get(&loader->stacks, row->stack),
        .waker_stack = id_map_get(&loader->stacks, row->waker_stack),
        .waker = id_map_get(&loader->threads, row->waker),
        .syscall = (uint16_t)(row->syscall <= SYSCALL_LIMIT ? row->syscall : 0),
        .cause = (uint8_t)row->cause,
        .flags = (uint8_t)(row->flags & (TRACE_OFF_OPEN | TRACE_OFF_WOKEN_BY_IRQ)),
    };
    *ret_stretch = (struct off_stretch){
        .begin = row->begin,
        .duration = row->duration,
        .delay = row->cause == TRACE_OFF_PREEMPTED ? row->duration : row->delay,
    };
    int rc = off_origin_get(loader->model, &key, &ret_stretch->origin);
    return rc == 0 ? ran_get(loader, row, &ret_stretch->ran) : rc;
}

int load_off_cpu(struct loader *loader, uint32_t thread, const void *rows, uint32_t row_count) {
    struct event_list *list = &loader->model->off_cpu.read;
    const struct trace_off_cpu *row = rows;
    for (uint32_t done = 0; done < row_count;) {
        struct off_stretch *stretches;
        uint32_t room, filled = 0;
        void *free_items;
        int rc = events_room(list, sizeof(*stretches), &free_items, &room);
        if (rc == -EOVERFLOW) {
            loader->model->info.bad_rows += row_count - done;
            return 0;
        }
        if (rc < 0)
            return rc;
        for (stretches = free_items; done < row_count && filled < room; done++) {
            rc = stretch_fill(loader, thread, &row[done], &stretches[filled]);
            if (rc == -ENOMEM)
                return rc;
            if (rc < 0) {
                loader->model->info.bad_rows++;
                continue;
            }
            if ((rc = load_futex(loader, thread, &row[done])) == -ENOMEM)
                return rc;
            loader_saw_time(loader, row[done].begin + row[done].duration);
            filled++;
        }
        if ((rc = events_add(list, sizeof(*stretches), thread, filled)) < 0)
            return rc;
    }
    return 0;
}

int load_sample(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_sample *sample = row;
    struct model *model = loader->model;
    uint32_t index;
    if (thread == MODEL_NONE || sample->weight > SAMPLE_WEIGHT_MAX)
        return -EINVAL;
    struct off_sample key = {
        .thread = thread,
        .stack = id_map_get(&loader->stacks, sample->stack),
        .kernel_stack = id_map_get(&loader->stacks, sample->kernel_stack),
    };
    if (off_sample_get(model, &key, &index) < 0)
        return -ENOMEM;
    model->off_cpu.samples[index].ns += sample->weight;
    model->off_cpu.samples[index].count++;
    model->info.samples++;
    loader_saw_time(loader, sample->time);
    return 0;
}

/* Several rows of a thread are parts of one schedule. */
int load_schedule(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_schedule *schedule = row;
    struct model *model = loader->model;
    (void)block_thread;
    uint32_t thread = id_map_get(&loader->threads, schedule->thread);
    if (thread == MODEL_NONE || schedule->begin > schedule->end || schedule->end == 0)
        return -EINVAL;
    struct off_known *known = &model->thread_extras[thread].known;
    if (known->end == 0 || schedule->begin < known->begin)
        known->begin = schedule->begin;
    if (schedule->end > known->end)
        known->end = schedule->end;
    known->stretches += schedule->stretches;
    known->lost += schedule->lost;
    known->lost_ns += schedule->lost_ns;
    model->off_cpu.known = true;
    loader_saw_time(loader, schedule->end);
    return 0;
}
