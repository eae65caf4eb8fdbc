/* SPDX-License-Identifier: MIT */
/*
 * Rows of a trace into arrays. Nothing in a row is believed: an id that was not defined before is
 * MODEL_NONE, except where a view must be able to follow an index (see model.h): there a stand-in is
 * made, at most one for each process and lock class.
 *
 * Until settle.c has run, stack fields hold the order of stacks in the trace, not model_stacks().
 */
#include "model/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FACTS_MAX 256 /* different facts about the run */

int loader_new(struct model *model, struct loader **ret_loader) {
    struct loader *loader = calloc(1, sizeof(*loader));
    if (!loader)
        return -ENOMEM;
    loader->model = model;
    loader->stand_in_process = MODEL_NONE;
    *ret_loader = loader;
    return 0;
}

void loader_free(struct loader *loader) {
    if (!loader)
        return;
    struct id_map *maps[] = {&loader->strings,   &loader->processes,      &loader->modules,
                             &loader->locations, &loader->stacks,         &loader->threads,
                             &loader->locks,     &loader->stand_in_locks, &loader->region_kinds,
                             &loader->ran_names};
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        id_map_free(maps[i]);
    events_free(&loader->futexes);
    free(loader->modules_read);
    free(loader->locations_read);
    free(loader->frames_read);
    free(loader->stacks_read);
    free(loader->path);
    free(loader->string_of);
    free(loader);
}

static const char *string_get(const struct loader *loader, uint64_t id) {
    uint32_t index = id_map_get(&loader->strings, id);
    return index == MODEL_NONE ? NULL : loader->string_of[index];
}

/* For a definition: a place in an array and its id. A second definition of an id is a bad row. */
#define DEFINE(loader, map, id, items, count, room)                                                          \
    do {                                                                                                     \
        int define_rc = array_reserve(&(items), (count), &(room), sizeof(*(items)));                         \
        if (define_rc == 0)                                                                                  \
            define_rc = id_map_put(&(loader)->map, (id), (count));                                           \
        if (define_rc < 0)                                                                                   \
            return define_rc == -ENOMEM ? -ENOMEM : -EINVAL;                                                 \
    } while (0)

/* Each function takes one row. Returns 0, -EINVAL for a row that makes no sense, -ENOMEM. */

static int load_string(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_string *string = row;
    (void)thread;
    DEFINE(loader, strings, string->id, loader->string_of, loader->string_count, loader->string_room);
    const char *text = intern_string(loader->model, string->text.data, string->text.size);
    if (!text)
        return -ENOMEM;
    loader->string_of[loader->string_count++] = text;
    return 0;
}

static int load_environment(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_environment *fact = row;
    struct model *model = loader->model;
    (void)thread;
    const char *key = string_get(loader, fact->key), *value = string_get(loader, fact->value);
    if (!key || model->fact_count >= FACTS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < model->fact_count; i++) {
        if (model->facts[i].key == key) {
            model->facts[i].value = value ? value : "";
            return 0;
        }
    }
    if (array_reserve(&model->facts, model->fact_count, &model->fact_room, sizeof(*model->facts)) < 0)
        return -ENOMEM;
    model->facts[model->fact_count++] = (struct environment_fact){key, value ? value : ""};
    return 0;
}

/* An array beside another one that has grown to wanted items: grows with it, not at every item. */
static int beside_reserve(void *items, uint32_t *room, uint32_t wanted, size_t item_bytes) {
    if (*room == wanted)
        return 0;
    void *old;
    memcpy(&old, items, sizeof(old));
    void *grown = reallocarray(old, wanted, item_bytes);
    if (!grown)
        return -ENOMEM;
    memcpy(items, &grown, sizeof(grown));
    *room = wanted;
    return 0;
}

static int process_add(struct loader *loader, const struct model_process *process, uint64_t how) {
    struct model *model = loader->model;
    uint32_t room = model->process_room;
    if (array_reserve(&model->processes, model->process_count, &room, sizeof(*model->processes)) < 0)
        return -ENOMEM;
    if (beside_reserve(&model->process_how, &model->process_room, room, sizeof(*model->process_how)) < 0)
        return -ENOMEM;
    model->processes[model->process_count] = *process;
    model->process_how[model->process_count++] = how;
    return 0;
}

static int load_process(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_process *process = row;
    struct model *model = loader->model;
    (void)thread;
    int rc = id_map_put(&loader->processes, process->id, model->process_count);
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    const char *command = string_get(loader, process->command), *exe = string_get(loader, process->exe);
    const char *empty = intern_string(model, "", 0);
    if (!empty)
        return -ENOMEM;
    struct model_process added = {
        .pid = (uint32_t)process->pid,
        .parent_pid = (uint32_t)process->parent_pid,
        .command = command ? command : empty,
        .exe = exe ? exe : empty,
        .start = process->start,
    };
    model->cost.setup_ns += process->setup_ns;
    loader_saw_time(loader, process->start);
    return process_add(loader, &added, process->how);
}

static int load_process_end(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_process_end *end = row;
    (void)thread;
    uint32_t index = id_map_get(&loader->processes, end->process);
    if (index == MODEL_NONE)
        return -EINVAL;
    struct model_process *process = &loader->model->processes[index];
    process->end = end->time;
    process->exit = end->exit <= TRACE_EXIT_EXEC ? (uint32_t)end->exit : TRACE_EXIT_UNKNOWN;
    process->value = (uint32_t)end->value;
    process->cpu_ns = end->cpu_ns;
    loader_saw_time(loader, end->time);
    return 0;
}

/* The process of a definition; one with pid 0 stands in where the trace does not say. */
static int process_get(struct loader *loader, uint64_t id, uint32_t *ret_process) {
    uint32_t index = id_map_get(&loader->processes, id);
    if (index == MODEL_NONE) {
        if (loader->stand_in_process == MODEL_NONE) {
            const char *empty = intern_string(loader->model, "", 0);
            struct model_process unknown = {.command = empty, .exe = empty, .start = UINT64_MAX};
            if (!empty || process_add(loader, &unknown, UINT64_MAX) < 0)
                return -ENOMEM;
            loader->stand_in_process = loader->model->process_count - 1;
        }
        index = loader->stand_in_process;
    }
    *ret_process = index;
    return 0;
}

static int load_module(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_module *module = row;
    (void)thread;
    DEFINE(loader, modules, module->id, loader->modules_read, loader->module_count, loader->module_room);
    const char *path = string_get(loader, module->path), *slash = path ? strrchr(path, '/') : NULL;
    const char *base = slash ? slash + 1 : path;
    /* Interned once more so that equal base names are one pointer. */
    const char *name = base && base[0] ? intern_string(loader->model, base, strlen(base)) : NULL;
    if (base && base[0] && !name)
        return -ENOMEM;
    loader->modules_read[loader->module_count++] = (struct loaded_module){module->bias, name};
    return 0;
}

static int load_location(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_location *location = row;
    (void)thread;
    DEFINE(loader, locations, location->id, loader->locations_read, loader->location_count,
           loader->location_room);
    loader->locations_read[loader->location_count++] = (struct loaded_location){
        .pc = location->pc,
        .process = id_map_get(&loader->processes, location->process),
        .module = id_map_get(&loader->modules, location->module),
    };
    return 0;
}

static int load_stack(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_stack *stack = row;
    (void)thread;
    DEFINE(loader, stacks, stack->id, loader->stacks_read, loader->stack_count, loader->stack_room);
    uint32_t count =
        stack->locations.count < STACK_FRAMES_MAX ? (uint32_t)stack->locations.count : STACK_FRAMES_MAX;
    uint32_t flags = (uint32_t)stack->flags & STACK_FLAGS;
    if (count < stack->locations.count)
        flags |= STACK_TRUNCATED;
    uint32_t first = loader->path_count;
    for (uint32_t i = 0; i < count; i++) {
        if (array_reserve(&loader->path, loader->path_count, &loader->path_room, sizeof(*loader->path)) < 0)
            return -ENOMEM;
        loader->path[loader->path_count++] = id_map_get(&loader->locations, stack->locations.items[i]);
    }
    loader->stacks_read[loader->stack_count++] = (struct loaded_stack){first, count, flags};
    return 0;
}

static int load_frame(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_frame *frame = row;
    (void)thread;
    uint32_t location = id_map_get(&loader->locations, frame->location);
    if (location == MODEL_NONE || frame->depth > UINT32_MAX)
        return -EINVAL;
    if (array_reserve(&loader->frames_read, loader->frame_count, &loader->frame_room,
                      sizeof(*loader->frames_read)) < 0)
        return -ENOMEM;
    loader->frames_read[loader->frame_count++] = (struct loaded_frame){
        .sort_key = (uint64_t)location << 32 | frame->depth,
        .function = string_get(loader, frame->function),
        .file = string_get(loader, frame->file),
        .line = frame->line <= INT32_MAX ? (uint32_t)frame->line : 0,
        .inlined = frame->inlined != 0,
    };
    return 0;
}

static int load_thread(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_thread *thread = row;
    struct model *model = loader->model;
    uint32_t process, room = model->thread_room;
    (void)block_thread;
    if (process_get(loader, thread->process, &process) < 0 ||
        array_reserve(&model->threads, model->thread_count, &room, sizeof(*model->threads)) < 0)
        return -ENOMEM;
    if (beside_reserve(&model->thread_extras, &model->thread_room, room, sizeof(*model->thread_extras)) < 0)
        return -ENOMEM;
    int rc = id_map_put(&loader->threads, thread->id, model->thread_count);
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    model->threads[model->thread_count] = (struct model_thread){
        .process = process,
        .tid = (uint32_t)thread->tid,
        .start = thread->start,
        .creator = id_map_get(&loader->threads, thread->creator),
    };
    model->thread_extras[model->thread_count++] = (struct thread_extra){
        .routine_location = id_map_get(&loader->locations, thread->routine),
        .creator_stack = id_map_get(&loader->stacks, thread->creator_stack),
        .held_stack = MODEL_NONE,
        .open_wait = MODEL_NONE,
    };
    loader_saw_time(loader, thread->start);
    return 0;
}

static int load_thread_name(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_thread_name *name = row;
    (void)block_thread;
    uint32_t index = id_map_get(&loader->threads, name->thread);
    const char *text = string_get(loader, name->name);
    if (index == MODEL_NONE || !text || text[0] == '\0')
        return -EINVAL;
    struct thread_extra *extra = &loader->model->thread_extras[index];
    bool given = name->given != 0, known = loader->model->threads[index].name;
    if (known && (given == extra->name_given ? name->time < extra->name_time : extra->name_given))
        return 0;
    loader->model->threads[index].name = text;
    extra->name_time = name->time;
    extra->name_given = given;
    return 0;
}

static int load_thread_end(struct loader *loader, uint32_t block_thread, const void *row) {
    const struct trace_thread_end *end = row;
    (void)block_thread;
    uint32_t index = id_map_get(&loader->threads, end->thread);
    if (index == MODEL_NONE)
        return -EINVAL;
    struct model_thread *thread = &loader->model->threads[index];
    if (end->time != 0) {
        thread->end = end->time;
        thread->ended = true;
    }
    thread->cpu_ns = end->cpu_ns;
    loader_saw_time(loader, end->time);
    return 0;
}

int loader_lock_add(struct loader *loader, const struct model_lock *lock, const struct lock_extra *extra) {
    struct model *model = loader->model;
    uint32_t room = model->lock_room;
    if (array_reserve(&model->locks, model->lock_count, &room, sizeof(*model->locks)) < 0)
        return -ENOMEM;
    if (beside_reserve(&model->lock_extras, &model->lock_room, room, sizeof(*model->lock_extras)) < 0)
        return -ENOMEM;
    model->locks[model->lock_count] = *lock;
    model->lock_extras[model->lock_count++] = *extra;
    return 0;
}

static int load_lock(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_lock *lock = row;
    uint32_t process;
    (void)thread;
    if (process_get(loader, lock->process, &process) < 0)
        return -ENOMEM;
    int rc = id_map_put(&loader->locks, lock->id, loader->model->lock_count);
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    uint64_t cls = lock->cls < LOCK_CLASS_COUNT ? lock->cls : LOCK_CLASS_NONE;
    struct model_lock added = {
        .process = process,
        .address = lock->address,
        .generation = (uint32_t)lock->generation,
        .cls = cls == LOCK_CLASS_RWLOCK_READ ? LOCK_CLASS_RWLOCK_WRITE : (enum lock_class)cls,
    };
    struct lock_extra extra = {
        .init_stack = id_map_get(&loader->stacks, lock->init_stack),
        .first_location = id_map_get(&loader->locations, lock->first_site),
        .first_site = MODEL_NONE,
        .initial = lock->initial,
    };
    loader_saw_time(loader, lock->created);
    return loader_lock_add(loader, &added, &extra);
}

static int load_lock_name(struct loader *loader, uint32_t thread, const void *row) {
    const struct trace_lock_name *name = row;
    (void)thread;
    uint32_t index = id_map_get(&loader->locks, name->lock);
    const char *text = string_get(loader, name->name);
    if (index == MODEL_NONE)
        return -EINVAL;
    struct lock_extra *extra = &loader->model->lock_extras[index];
    /* The sources are numbered best first. */
    if (extra->given_source != 0 && name->source > extra->given_source)
        return 0;
    extra->given_name = text && text[0] ? text : NULL;
    extra->given_file = string_get(loader, name->file);
    extra->given_line = name->line <= INT32_MAX ? (uint32_t)name->line : 0;
    extra->given_source = (uint32_t)name->source;
    return 0;
}

static const struct {
    int (*load)(struct loader *loader, uint32_t thread, const void *row);
    size_t row_bytes;
} LOADERS[TRACE_KIND_LIMIT] = {
    [TRACE_STRING] = {load_string, sizeof(struct trace_string)},
    [TRACE_ENVIRONMENT] = {load_environment, sizeof(struct trace_environment)},
    [TRACE_PROCESS] = {load_process, sizeof(struct trace_process)},
    [TRACE_PROCESS_END] = {load_process_end, sizeof(struct trace_process_end)},
    [TRACE_MODULE] = {load_module, sizeof(struct trace_module)},
    [TRACE_LOCATION] = {load_location, sizeof(struct trace_location)},
    [TRACE_STACK] = {load_stack, sizeof(struct trace_stack)},
    [TRACE_FRAME] = {load_frame, sizeof(struct trace_frame)},
    [TRACE_THREAD] = {load_thread, sizeof(struct trace_thread)},
    [TRACE_THREAD_NAME] = {load_thread_name, sizeof(struct trace_thread_name)},
    [TRACE_THREAD_END] = {load_thread_end, sizeof(struct trace_thread_end)},
    [TRACE_LOCK] = {load_lock, sizeof(struct trace_lock)},
    [TRACE_LOCK_NAME] = {load_lock_name, sizeof(struct trace_lock_name)},
    [TRACE_COUNT] = {load_count, sizeof(struct trace_count)},
    [TRACE_REGION] = {load_region, sizeof(struct trace_region)},
    [TRACE_SNAPSHOT] = {load_snapshot, sizeof(struct trace_snapshot)},
    [TRACE_LOSS] = {load_loss, sizeof(struct trace_loss)},
    [TRACE_COST] = {load_cost, sizeof(struct trace_cost)},
    [TRACE_END] = {load_end, sizeof(struct trace_end)},
    [TRACE_SAMPLE] = {load_sample, sizeof(struct trace_sample)},
    [TRACE_SCHEDULE] = {load_schedule, sizeof(struct trace_schedule)},
};

/* Kinds that are taken a block at a time. */
static int (*const BLOCK_LOADERS[TRACE_KIND_LIMIT])(struct loader *loader, uint32_t thread, const void *rows,
                                                    uint32_t row_count) = {
    [TRACE_WAIT] = load_waits,
    [TRACE_RELEASE] = load_releases,
    [TRACE_OFF_CPU] = load_off_cpu,
};

int loader_block(struct loader *loader, enum trace_kind_id kind, uint32_t thread, const void *rows,
                 uint32_t row_count, uint64_t lost) {
    uint32_t index = id_map_get(&loader->threads, thread);
    if (index != MODEL_NONE)
        loader->model->thread_extras[index].block_lost += lost;
    if ((unsigned)kind >= TRACE_KIND_LIMIT)
        return 0;
    if (BLOCK_LOADERS[kind]) {
        if (index == MODEL_NONE)
            loader->model->info.bad_rows += row_count;
        else
            return BLOCK_LOADERS[kind](loader, index, rows, row_count);
        return 0;
    }
    if (!LOADERS[kind].load)
        return 0;
    const char *row = rows;
    for (uint32_t i = 0; i < row_count; i++, row += LOADERS[kind].row_bytes) {
        int rc = LOADERS[kind].load(loader, index, row);
        if (rc == -EINVAL)
            loader->model->info.bad_rows++;
        else if (rc < 0)
            return rc;
    }
    return 0;
}
