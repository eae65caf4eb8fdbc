/* SPDX-License-Identifier: MIT */
/* What a thread is called, and what it is there for. */
#include <errno.h>
#include <string.h>

#include "model/internal.h"

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

static const struct model_stack *any_stack(const struct model *model, uint32_t thread) {
    for (uint32_t i = model->thread_wait_first[thread]; i < model->thread_wait_first[thread + 1]; i++) {
        uint32_t stack = model->waits[model->thread_waits[i]].stack;
        if (stack != MODEL_NONE)
            return &model->stacks[stack];
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

int thread_roles_find(struct model *model) {
    for (uint32_t i = 0; i < model->thread_count; i++) {
        struct model_thread *thread = &model->threads[i];
        const char *role = role_of(model, i);
        if (!(thread->role = intern_string(model, role, strlen(role))))
            return -ENOMEM;
        if (!thread->name || is_inherited(model, thread))
            thread->name = thread->role;
    }
    return 0;
}
