/* SPDX-License-Identifier: MIT */
/*
 * From what was read to what a model holds: addresses become frames, stacks of equal frames become
 * one, waits that never ended are added, and everything is put in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/load.h"

#define LOCATION_FRAMES_MAX 64  /* inlined frames of one address */
#define STACK_EXPANDED_MAX 1024 /* frames of one stack */

/* A snapshot this old at the end of its thread still counts as the state at the end: the collector
 * writes one every 100 ms, unless it is kept from running. */
#define SNAPSHOT_FRESH_NS 500000000ULL

/* The frames of each location, innermost first: frames[first[i]] up to before frames[first[i + 1]]. */
struct location_frames {
    const struct model_frame **frames;
    uint32_t *first;
};

static const struct model_frame *frame_without_symbol(struct loader *loader,
                                                      const struct loaded_location *location) {
    struct model *model = loader->model;
    struct model_frame frame = {.function = NULL};
    if (location && location->module != MODEL_NONE && loader->modules_read[location->module].name) {
        const struct loaded_module *module = &loader->modules_read[location->module];
        frame.module = module->name;
        frame.function = intern_format(model, "%s+0x%llx", module->name,
                                       (unsigned long long)(location->pc - module->bias));
    } else {
        frame.function = intern_format(model, "[unknown code]");
    }
    return frame.function ? intern_frame(model, &frame) : NULL;
}

static int locations_expand(struct loader *loader, struct location_frames *ret) {
    struct model *model = loader->model;
    int rc = sort_by_u64(loader->frames_read, loader->frame_count, sizeof(*loader->frames_read),
                         offsetof(struct loaded_frame, sort_key));
    if (rc < 0)
        return rc;
    size_t room = (size_t)loader->frame_count + loader->location_count + 1;
    ret->frames = malloc(room * sizeof(*ret->frames));
    ret->first = malloc(((size_t)loader->location_count + 1) * sizeof(*ret->first));
    if (!ret->frames || !ret->first)
        return -ENOMEM;
    uint32_t used = 0, next = 0;
    for (uint32_t i = 0; i < loader->location_count; i++) {
        const struct loaded_location *location = &loader->locations_read[i];
        const char *module =
            location->module == MODEL_NONE ? NULL : loader->modules_read[location->module].name;
        ret->first[i] = used;
        uint64_t depth_before = UINT64_MAX;
        for (; next < loader->frame_count && loader->frames_read[next].sort_key >> 32 == i; next++) {
            const struct loaded_frame *read = &loader->frames_read[next];
            if (read->sort_key == depth_before || used - ret->first[i] >= LOCATION_FRAMES_MAX ||
                module_is_agent(module) || !read->function || !read->function[0])
                continue;
            depth_before = read->sort_key;
            struct model_frame frame = {.function = read->function,
                                        .file = read->file && read->file[0] ? read->file : NULL,
                                        .line = read->line,
                                        .module = module,
                                        .inlined = read->inlined};
            if (!(ret->frames[used++] = intern_frame(model, &frame)))
                return -ENOMEM;
        }
        if (used == ret->first[i] && !module_is_agent(module))
            if (!(ret->frames[used++] = frame_without_symbol(loader, location)))
                return -ENOMEM;
    }
    ret->first[loader->location_count] = used;
    return 0;
}

/* Fills ret_index with the index in model_stacks() of each stack read; MODEL_NONE for an empty one. */
static int stacks_expand(struct loader *loader, const struct location_frames *expanded, uint32_t *ret_index) {
    const struct model_frame *frames[STACK_EXPANDED_MAX];
    const struct model_frame *unknown = frame_without_symbol(loader, NULL);
    if (!unknown)
        return -ENOMEM;
    for (uint32_t i = 0; i < loader->stack_count; i++) {
        const struct loaded_stack *stack = &loader->stacks_read[i];
        uint32_t count = 0, flags = stack->flags;
        for (uint32_t k = 0; k < stack->count; k++) {
            uint32_t location = loader->path[stack->first + k];
            uint32_t first = location == MODEL_NONE ? 0 : expanded->first[location];
            uint32_t more = location == MODEL_NONE ? 1 : expanded->first[location + 1] - first;
            if (count + more > STACK_EXPANDED_MAX) {
                flags |= STACK_TRUNCATED;
                break;
            }
            if (location == MODEL_NONE)
                frames[count] = unknown;
            else
                memcpy(frames + count, expanded->frames + first, more * sizeof(*frames));
            count += more;
        }
        ret_index[i] = count ? model_stack_intern(loader->model, frames, count, flags) : MODEL_NONE;
        if (count && ret_index[i] == MODEL_NONE)
            return -ENOMEM;
    }
    return 0;
}

static uint32_t mapped(const uint32_t *map, uint32_t index) {
    return index == MODEL_NONE ? MODEL_NONE : map[index];
}

static int code_settle(struct loader *loader) {
    struct model *model = loader->model;
    struct location_frames expanded = {0};
    uint32_t *stack_index = malloc(((size_t)loader->stack_count + 1) * sizeof(*stack_index));
    int rc = stack_index ? locations_expand(loader, &expanded) : -ENOMEM;
    if (rc == 0)
        rc = stacks_expand(loader, &expanded, stack_index);
    if (rc < 0)
        goto cleanup;

    for (uint32_t i = 0; i < model->wait_count; i++) {
        struct model_wait *wait = &model->waits[i];
        uint32_t site = loader->owner_sites[i];
        wait->stack = mapped(stack_index, wait->stack);
        if (site != MODEL_NONE && expanded.first[site] < expanded.first[site + 1])
            wait->owner_site = expanded.frames[expanded.first[site]];
    }
    for (uint32_t i = 0; i < model->release_count; i++)
        model->releases[i].stack = mapped(stack_index, model->releases[i].stack);
    for (uint32_t i = 0; i < model->lock_count; i++) {
        struct lock_extra *extra = &model->lock_extras[i];
        extra->init_stack = mapped(stack_index, extra->init_stack);
        uint32_t site = extra->first_location;
        if (site == MODEL_NONE || expanded.first[site] == expanded.first[site + 1])
            continue;
        extra->first_site = model_stack_intern(model, expanded.frames + expanded.first[site],
                                               expanded.first[site + 1] - expanded.first[site], 0);
        if (extra->first_site == MODEL_NONE) {
            rc = -ENOMEM;
            goto cleanup;
        }
    }
    for (uint32_t i = 0; i < model->thread_count; i++) {
        uint32_t routine = model->thread_extras[i].routine_location;
        if (routine != MODEL_NONE && expanded.first[routine] < expanded.first[routine + 1])
            model->thread_extras[i].routine = expanded.frames[expanded.first[routine + 1] - 1];
    }
cleanup:
    free(expanded.frames);
    free(expanded.first);
    free(stack_index);
    return rc;
}

static void lives_settle(struct loader *loader, uint64_t recording_end) {
    struct model *model = loader->model;
    struct model_info *info = &model->info;
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i < model->process_count; i++)
        if (model->processes[i].start < earliest)
            earliest = model->processes[i].start;
    if (info->begin == 0 && earliest != UINT64_MAX)
        info->begin = earliest;
    info->end = loader->ended ? loader->end.time : recording_end ? recording_end : loader->last_time;
    if (info->end < info->begin)
        info->end = info->begin;
    for (uint32_t i = 0; i < model->process_count; i++) {
        struct model_process *process = &model->processes[i];
        if (process->start == UINT64_MAX)
            process->start = info->begin;
        if (process->end == 0)
            process->end = info->end;
        if (process->end < process->start)
            process->end = process->start;
    }
    for (uint32_t i = 0; i < model->thread_count; i++) {
        struct model_thread *thread = &model->threads[i];
        const struct model_process *process = &model->processes[thread->process];
        if (thread->start == 0)
            thread->start = process->start;
        if (!thread->ended)
            thread->end = process->end;
        if (thread->end < thread->start)
            thread->end = thread->start;
    }
}

static int open_waits_add(struct loader *loader) {
    struct model *model = loader->model;
    for (uint32_t i = 0; i < model->thread_count; i++) {
        const struct thread_extra *extra = &model->thread_extras[i];
        const struct trace_snapshot *last = &extra->snapshot;
        uint64_t life_end = model->threads[i].end;
        /* A later event of the thread says that the wait was over, whatever became of its record. */
        if (last->time == 0 || last->time <= extra->last_event || last->since >= life_end)
            continue;
        uint64_t end = life_end;
        if (last->time < life_end && life_end - last->time > SNAPSHOT_FRESH_NS)
            end = last->time;
        int rc = array_reserve(&model->waits, model->wait_count, &model->wait_room, sizeof(*model->waits));
        if (rc < 0)
            return rc;
        model->waits[model->wait_count++] = (struct model_wait){
            .begin = last->since,
            .end = end,
            .thread = i,
            .lock = (uint32_t)last->lock,
            .stack = MODEL_NONE,
            .owner = (uint32_t)last->owner,
            .mutex = MODEL_NONE,
            .mode = (uint8_t)model->locks[last->lock].cls,
            .flags = MODEL_WAIT_OPEN,
        };
    }
    return 0;
}

static void loss_settle(struct loader *loader) {
    struct model *model = loader->model;
    uint64_t emitted = 0, stored = 0, dropped = 0;
    for (unsigned i = 0; i < LOSS_REASON_COUNT; i++)
        dropped += model->loss.dropped[i];
    for (uint32_t i = 0; i < model->thread_count; i++) {
        const struct thread_extra *extra = &model->thread_extras[i];
        emitted += extra->emitted;
        /* Blocks tell of losses as well, of the same ones. */
        if (extra->block_lost > model->threads[i].lost)
            model->threads[i].lost = extra->block_lost;
        model->cost.slow_paths += extra->slow_paths;
        if (extra->cost_samples > 0)
            model->cost.agent_ns += u64_of_double((double)extra->cost_ns / (double)extra->cost_samples *
                                                  (double)extra->slow_paths);
    }
    stored = emitted > dropped ? emitted - dropped : 0;
    if (loader->ended) {
        emitted = loader->end.emitted;
        stored = loader->end.stored;
        model->cost.collector_cpu_ns = loader->end.collector_cpu_ns;
    } else if (emitted < model->info.events) {
        /* Cut short before the threads told how much they wrote. */
        stored = model->info.events;
        emitted = stored + dropped;
    }
    model->loss.emitted = emitted;
    model->loss.stored = stored;

    uint64_t process_cpu = 0, thread_cpu = 0;
    for (uint32_t i = 0; i < model->process_count; i++)
        process_cpu += model->processes[i].cpu_ns;
    for (uint32_t i = 0; i < model->thread_count; i++)
        thread_cpu += model->threads[i].cpu_ns;
    model->cost.target_cpu_ns = process_cpu > thread_cpu ? process_cpu : thread_cpu;
}

int loader_settle(struct loader *loader, uint64_t recording_end) {
    struct model *model = loader->model;
    model->info.events = (uint64_t)model->wait_count + model->release_count;
    int rc = code_settle(loader);
    if (rc < 0)
        return rc;
    free(loader->owner_sites);
    loader->owner_sites = NULL;
    lives_settle(loader, recording_end);
    loss_settle(loader);
    if ((rc = open_waits_add(loader)) < 0)
        return rc;
    rc = sort_by_u64(model->waits, model->wait_count, sizeof(*model->waits),
                     offsetof(struct model_wait, begin));
    if (rc == 0)
        rc = sort_by_u64(model->releases, model->release_count, sizeof(*model->releases),
                         offsetof(struct model_release, time));
    if (rc == 0)
        rc = group_by_u32(model->waits, model->wait_count, sizeof(*model->waits),
                          offsetof(struct model_wait, thread), model->thread_count, &model->thread_wait_first,
                          &model->thread_waits);
    return rc;
}
