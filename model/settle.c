/* SPDX-License-Identifier: MIT */
/*
 * From what was read to what a model holds: waits that never ended are added, addresses become frames,
 * and stacks of equal frames become one.
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

/* A stack of one frame. */
static int site_stack(struct model *model, const struct model_frame *frame, uint32_t *ret_stack) {
    struct frame_entry *entry = (struct frame_entry *)frame;
    if (entry->stack == MODEL_NONE)
        entry->stack = model_stack_intern(model, &frame, 1, 0);
    *ret_stack = entry->stack;
    return entry->stack == MODEL_NONE ? -ENOMEM : 0;
}

/* The innermost frame of each location that an owner took a lock at. */
static int sites_settle(struct model *model, const struct location_frames *expanded) {
    for (uint32_t i = 0; i < model->waits_read.run_count; i++) {
        const struct model_wait *wait = model->waits_read.runs[i].items;
        for (uint32_t left = model->waits_read.runs[i].count; left > 0; left--, wait++) {
            uint32_t site = wait->mode == LOCK_CLASS_CONDITION ? MODEL_NONE : wait->owner_site;
            if (site == MODEL_NONE || model->site_map[site] != MODEL_NONE ||
                expanded->first[site] == expanded->first[site + 1])
                continue;
            int rc = site_stack(model, expanded->frames[expanded->first[site]], &model->site_map[site]);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int code_settle(struct loader *loader) {
    struct model *model = loader->model;
    struct location_frames expanded = {0};
    uint32_t site_before = MODEL_NONE, stack_before = MODEL_NONE;
    int rc = -ENOMEM;
    model->stack_map = malloc(((size_t)loader->stack_count + 1) * sizeof(*model->stack_map));
    model->site_map = malloc(((size_t)loader->location_count + 1) * sizeof(*model->site_map));
    if (!model->stack_map || !model->site_map)
        goto cleanup;
    memset(model->site_map, 0xff, ((size_t)loader->location_count + 1) * sizeof(*model->site_map));
    rc = locations_expand(loader, &expanded);
    if (rc == 0)
        rc = stacks_expand(loader, &expanded, model->stack_map);
    if (rc == 0)
        rc = sites_settle(model, &expanded);
    for (uint32_t i = 0; rc == 0 && i < model->lock_count; i++) {
        struct lock_extra *extra = &model->lock_extras[i];
        extra->init_stack =
            extra->init_stack == MODEL_NONE ? MODEL_NONE : model->stack_map[extra->init_stack];
        uint32_t site = extra->first_location;
        if (site == MODEL_NONE || expanded.first[site] == expanded.first[site + 1])
            continue;
        if (site != site_before)
            stack_before = model_stack_intern(model, expanded.frames + expanded.first[site],
                                              expanded.first[site + 1] - expanded.first[site], 0);
        site_before = site;
        extra->first_site = stack_before;
        rc = extra->first_site == MODEL_NONE ? -ENOMEM : 0;
    }
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        uint32_t routine = model->thread_extras[i].routine_location;
        if (routine != MODEL_NONE && expanded.first[routine] < expanded.first[routine + 1])
            model->thread_extras[i].routine = expanded.frames[expanded.first[routine + 1] - 1];
    }
cleanup:
    free(expanded.frames);
    free(expanded.first);
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
        /* An agent is done with a thread before the kernel is. */
        const struct off_known *known = &model->thread_extras[i].known;
        if (known->end > thread->end && known->begin <= thread->end && known->end <= info->end)
            thread->end = known->end;
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
        struct model_wait wait = {
            .begin = last->since,
            .end = end,
            .thread = i,
            .lock = (uint32_t)last->lock,
            .stack = (uint32_t)last->stack,
            .owner = (uint32_t)last->owner,
            .owner_site = last->mode == LOCK_CLASS_CONDITION ? MODEL_NONE : (uint32_t)last->owner_site,
            .mode = (uint8_t)last->mode,
            .flags = MODEL_WAIT_OPEN,
        };
        int rc = events_put(&model->waits_read, sizeof(wait), i, &wait);
        if (rc < 0)
            return rc;
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
    model->info.events = (uint64_t)model->waits_read.count + model->releases_read.count;
    lives_settle(loader, recording_end);
    loss_settle(loader);
    int rc = open_waits_add(loader);
    if (rc == 0)
        rc = futexes_settle(loader);
    if (rc == 0)
        rc = code_settle(loader);
    return rc == 0 ? events_group(&model->waits_read, model->thread_count) : rc;
}
