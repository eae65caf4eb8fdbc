/* SPDX-License-Identifier: MIT */
/* What a thread is called, and what it is there for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/words.h"

/* Start routines whose own name says too little. */
static const struct role_rule {
    const char *function; /* beginning of its name */
    const char *role;     /* NULL: named by the outermost function of the program on its stacks */
} ROLE_RULES[] = {
    {"node::PlatformWorkerThread", "v8-platform"},
    {"node::(anonymous namespace)::PlatformWorkerThread", "v8-platform"},
    {"PlatformWorkerThread", "v8-platform"},
    {"node::worker::Worker::StartThread", "node-worker"},
    {"Worker::StartThread", "node-worker"},
    {"node::inspector::", "node-inspector"},
    {"node::WorkerThreadsTaskRunner::DelayedTaskScheduler::", "v8-delayed-tasks"},
    {"execute_native_thread_routine", NULL},
    {"std::thread::", NULL},
    {"std::execute_native_thread_routine", NULL},
};

/* libuv's pool worker is a static function named `worker`, in libuv itself or in what it was built
 * into; its file tells where no module name does. */
static bool is_libuv_worker(const struct model_frame *routine) {
    static const char *const MODULES[] = {"libuv", "libnode", "node"};
    if (strcmp(routine->function, "worker") != 0)
        return false;
    if (routine->file) {
        const char *base = strrchr(routine->file, '/');
        return strcmp(base ? base + 1 : routine->file, "threadpool.c") == 0;
    }
    for (size_t i = 0; routine->module && i < sizeof(MODULES) / sizeof(MODULES[0]); i++)
        if (strncmp(routine->module, MODULES[i], strlen(MODULES[i])) == 0)
            return true;
    return false;
}

/* Whose start routine has no name (stripped, as Debian's libnode): told by who created it. */
static const struct role_rule CREATOR_RULES[] = {
    {"node::worker::Worker::StartThread", "node-worker"},
    {"node::WorkerThreadsTaskRunner::", "v8-platform"},
    {"node::inspector::", "node-inspector"},
};

static const char *role_by_creation(const struct model *model, uint32_t index,
                                    const struct model_frame *routine) {
    /* "libuv.so.1+0xad10": the one routine of libuv's own is that of its pool's workers. */
    if (routine->module && strncmp(routine->module, "libuv.so", strlen("libuv.so")) == 0)
        return "libuv-worker";
    uint32_t read = model->thread_extras[index].creator_stack;
    uint32_t stack = read == MODEL_NONE ? MODEL_NONE : model->stack_map[read];
    for (uint32_t i = 0; stack != MODEL_NONE && i < model->stacks[stack].frame_count; i++)
        for (size_t k = 0; k < sizeof(CREATOR_RULES) / sizeof(CREATOR_RULES[0]); k++)
            if (strncmp(model->stacks[stack].frames[i]->function, CREATOR_RULES[k].function,
                        strlen(CREATOR_RULES[k].function)) == 0)
                return CREATOR_RULES[k].role;
    return NULL;
}

static bool is_unnamed(const struct model_frame *routine) {
    size_t size = routine->module ? strlen(routine->module) : 0;
    return size > 0 && strncmp(routine->function, routine->module, size) == 0 &&
           strncmp(routine->function + size, "+0x", 3) == 0;
}

static const struct model_stack *any_stack(const struct model *model, uint32_t thread) {
    const struct event_list *list = &model->waits_read;
    for (uint32_t i = list->thread_first[thread]; i < list->thread_first[thread + 1]; i++) {
        const struct event_run *run = &list->runs[list->thread_runs[i]];
        const struct model_wait *wait = run->items;
        for (uint32_t k = 0; k < run->count; k++) {
            uint32_t stack = wait[k].stack == MODEL_NONE ? MODEL_NONE : model->stack_map[wait[k].stack];
            if (stack != MODEL_NONE)
                return &model->stacks[stack];
        }
    }
    return NULL;
}

static const char *role_of(struct model *model, uint32_t index) {
    const struct model_thread *thread = &model->threads[index];
    const struct model_frame *routine = model->thread_extras[index].routine;
    if (thread->tid == model->processes[thread->process].pid)
        return "main";
    if (routine && is_libuv_worker(routine))
        return "libuv-worker";
    for (size_t i = 0; routine && i < sizeof(ROLE_RULES) / sizeof(ROLE_RULES[0]); i++) {
        const struct role_rule *rule = &ROLE_RULES[i];
        if (strncmp(routine->function, rule->function, strlen(rule->function)) != 0)
            continue;
        if (rule->role)
            return rule->role;
        const struct model_stack *stack = any_stack(model, index);
        const struct model_frame *root = stack ? stack_root(stack) : NULL;
        return root ? root->function : "std::thread";
    }
    const char *made = routine && is_unnamed(routine) ? role_by_creation(model, index, routine) : NULL;
    if (made)
        return made;
    if (routine)
        return routine->function;
    const struct model_stack *stack = any_stack(model, index);
    const struct model_frame *root =
        stack && !(stack->flags & (STACK_TRUNCATED | STACK_INCOMPLETE)) ? stack_root(stack) : NULL;
    return root ? root->function : "thread";
}

/* Threads that nobody named have the name of the program: the kernel's copy of its file name. */
static bool is_inherited(const struct model *model, const struct model_thread *thread) {
    const char *exe = model->processes[thread->process].exe, *slash = strrchr(exe, '/');
    const char *base = slash ? slash + 1 : exe;
    size_t size = strlen(base) < THREAD_NAME_BYTES - 1 ? strlen(base) : THREAD_NAME_BYTES - 1;
    return strlen(thread->name) == size && memcmp(thread->name, base, size) == 0;
}

struct called {
    uint64_t label; /* its address: equal strings are one */
    uint32_t thread;
};

/* Puts the tid behind labels that several threads have. */
static int labels_tell_apart(struct model *model) {
    struct called *called = malloc(((size_t)model->thread_count + 1) * sizeof(*called));
    if (!called)
        return -ENOMEM;
    for (uint32_t i = 0; i < model->thread_count; i++)
        called[i] = (struct called){(uintptr_t)model->threads[i].label, i};
    int rc = sort_by_u64(called, model->thread_count, sizeof(*called), offsetof(struct called, label));
    for (uint32_t i = 0; rc == 0 && i < model->thread_count; i++) {
        struct model_thread *thread = &model->threads[called[i].thread];
        if ((i == 0 || called[i - 1].label != called[i].label) &&
            (i + 1 == model->thread_count || called[i + 1].label != called[i].label))
            continue;
        thread->label = intern_format(model, "%s-%u", thread->label, thread->tid);
        rc = thread->label ? 0 : -ENOMEM;
    }
    free(called);
    return rc;
}

int thread_roles_find(struct model *model) {
    char role_name[1024];
    for (uint32_t i = 0; i < model->thread_count; i++) {
        struct model_thread *thread = &model->threads[i];
        const char *role = role_of(model, i);
        if (!(thread->role = intern_string(model, role, strlen(role))))
            return -ENOMEM;
        words_function(thread->role, role_name, sizeof(role_name));
        bool named = thread->name && (model->thread_extras[i].name_given || !is_inherited(model, thread));
        thread->label = named ? thread->name : intern_format(model, "%s", role_name);
        if (!thread->label)
            return -ENOMEM;
        if (!thread->name)
            thread->name = thread->role;
    }
    return labels_tell_apart(model);
}
