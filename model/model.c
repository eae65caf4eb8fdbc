/* SPDX-License-Identifier: MIT */
/* Opening a trace, and what can be asked of a model without any work. */
#include "model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/trace_reader.h"

static int model_read(struct model *model, struct trace_reader *reader, const char **ret_why) {
    struct loader *loader = NULL;
    struct trace_reader_block block;
    int rc = loader_new(model, &loader);
    if (rc < 0)
        return rc;
    *ret_why = "cannot be read";
    while ((rc = trace_reader_next(reader, &block)) > 0) {
        rc = loader_block(loader, block.kind, block.thread, block.rows, block.row_count, block.lost);
        if (rc < 0)
            goto cleanup;
    }
    if (rc < 0)
        goto cleanup;
    const struct trace_file_header *header = trace_reader_header(reader);
    const struct trace_reader_stats *stats = trace_reader_stats(reader);
    model->info.state = (enum trace_state)header->state;
    model->info.stop_errno = header->stop_errno;
    model->info.begin = header->monotonic_ns;
    model->info.wall_ns = header->wall_ns;
    model->info.torn_bytes = stats->torn_bytes + stats->missing_bytes;
    model->info.damaged_bytes = stats->damaged_bytes;
    model->cost.file_bytes = stats->file_bytes;
    rc = loader_settle(loader, header->stop_ns);
cleanup:
    loader_free(loader);
    return rc;
}

static const struct {
    int error;
    const char *why;
} OPEN_FAILURES[] = {
    {-ENOEXEC, "not a waitscope trace"},
    {-EPROTO, "written by a newer waitscope: this one cannot read it"},
    {-EBADMSG, "damaged at its beginning"},
    {-ENOMEM, "not enough memory to read it"},
};

static void tell_why(int error, const char *context, char *ret_why, size_t why_bytes) {
    if (!ret_why || why_bytes == 0)
        return;
    for (size_t i = 0; i < sizeof(OPEN_FAILURES) / sizeof(OPEN_FAILURES[0]); i++) {
        if (OPEN_FAILURES[i].error == error) {
            snprintf(ret_why, why_bytes, "%s", OPEN_FAILURES[i].why);
            return;
        }
    }
    snprintf(ret_why, why_bytes, "%s: %s", context, strerror(-error));
}

int model_open(const char *path, struct model **ret_model, char *ret_why, size_t why_bytes) {
    const char *why = "cannot be opened";
    struct trace_reader *reader = NULL;
    struct model *model = NULL;
    int rc = trace_reader_open(path, NULL, &reader);
    if (rc < 0)
        goto cleanup;
    if (!(model = calloc(1, sizeof(*model)))) {
        rc = -ENOMEM;
        goto cleanup;
    }
    if ((rc = model_read(model, reader, &why)) < 0)
        goto cleanup;

    static int (*const STEPS[])(struct model *) = {thread_roles_find,  idle_mark,          off_cpu_settle,
                                                   thread_states_find, regions_find,       lock_labels_find,
                                                   lock_stats_find,    holder_states_find, schedules_find,
                                                   stack_ends_count,   verdict_find};
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++)
        if ((rc = STEPS[i](model)) < 0)
            goto cleanup;
    *ret_model = model;
    model = NULL;
cleanup:
    trace_reader_free(reader);
    model_free(model);
    if (rc < 0)
        tell_why(rc, why, ret_why, why_bytes);
    return rc;
}

void model_free(struct model *model) {
    if (!model)
        return;
    void *const pieces[] = {
        model->processes,
        model->process_how,
        model->threads,
        model->thread_extras,
        model->locks,
        model->lock_extras,
        model->semaphore_takers,
        model->holds,
        model->regions,
        model->region_kinds,
        model->facts,
        (void *)model->strings,
        (void *)model->frames,
        model->stacks,
        model->lock_wait_first,
        model->lock_release_first,
        model->stack_map,
        model->site_map,
        model->sites,
        model->holdings,
        model->verdict,
    };
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        free(pieces[i]);
    hash_set_free(&model->hold_set);
    hash_set_free(&model->string_set);
    hash_set_free(&model->frame_set);
    hash_set_free(&model->stack_set);
    big_free(model->waits, model->wait_count * sizeof(*model->waits));
    big_free(model->releases, model->release_count * sizeof(*model->releases));
    events_free(&model->waits_read);
    events_free(&model->releases_read);
    by_time_free(model->by_time);
    off_cpu_free(&model->off_cpu);
    arena_free(&model->arena);
    free(model);
}

const struct model_info *model_info(const struct model *model) {
    return &model->info;
}

const struct model_loss *model_loss(const struct model *model) {
    return &model->loss;
}

const struct model_cost *model_cost(const struct model *model) {
    return &model->cost;
}

const struct model_process *model_processes(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->process_count;
    return model->processes;
}

const struct model_thread *model_threads(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->thread_count;
    return model->threads;
}

const struct model_lock *model_locks(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->lock_count;
    return model->locks;
}

const struct model_region *model_regions(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->region_count;
    return model->regions;
}

const struct model_region_kind *model_region_kinds(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->region_kind_count;
    return model->region_kinds;
}

const struct model_stack *model_stacks(const struct model *model, uint32_t *ret_count) {
    *ret_count = model->stack_count;
    return model->stacks;
}

const char *model_environment(const struct model *model, uint32_t index, const char **ret_value) {
    if (index >= model->fact_count)
        return NULL;
    *ret_value = model->facts[index].value;
    return model->facts[index].key;
}

uint32_t model_target(const struct model *model) {
    uint32_t target = MODEL_NONE;
    for (uint32_t i = 0; i < model->process_count; i++) {
        if (model->process_how[i] == 0)
            return i;
        if (target == MODEL_NONE || model->processes[i].start < model->processes[target].start)
            target = i;
    }
    return target;
}
