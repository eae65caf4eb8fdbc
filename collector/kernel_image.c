/* SPDX-License-Identifier: MIT */
/* Which image a process' threads belong to, the images that are made here, and their stacks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/kernel_internal.h"

#define STACKS_WAITING_MAX 16384U
#define CLOCK_SLACK_NS 200000ULL /* the agent's start goes by the TSC */

struct image *kernel_image_find(struct kernel *kernel, struct kernel_process *process) {
    const struct recording *recording = kernel->recording;
    for (uint32_t i = recording->image_count; i-- > 0 && !process->image;) {
        struct image *image = recording->images[i];
        bool before = image->start_ns + CLOCK_SLACK_NS < process->begin && !process->seen_late;
        if (image->real_pid != (int)process->tgid || before ||
            (process->replaced && image->start_ns >= process->replaced))
            continue;
        bool taken = false;
        for (const struct kernel_process *other = kernel->processes; other; other = other->next)
            taken = taken || other->image == image;
        if (!taken) {
            process->image = image;
            kernel->queued = true;
            if (!kernel->quiet)
                kernel_image_known(kernel, process);
        }
    }
    return process->image;
}

/* --- what /proc says ------------------------------------------------------------------------------------ */

static uint64_t command_read(struct recording *recording, const struct kernel_process *process) {
    char path[64], command[4096] = "";
    snprintf(path, sizeof(path), "/proc/%u/cmdline", process->tgid);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(command, 1, sizeof(command), file) : 0;
    if (file)
        fclose(file);
    while (size > 0 && command[size - 1] == '\0')
        size--;
    for (size_t i = 0; i < size; i++)
        if (command[i] == '\0')
            command[i] = ' ';
    if (size == 0) /* it has ended: its first thread's name is left */
        for (const struct kernel_thread *thread = process->threads; thread; thread = thread->next)
            if (thread->tid == process->tgid) {
                size = strnlen(thread->comm, SCHED_COMM_BYTES);
                memcpy(command, thread->comm, size);
            }
    return trace_writer_string(recording->writer, command, size);
}

static uint64_t exe_read(struct recording *recording, const struct kernel_process *process) {
    char path[64], exe[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%u/exe", process->tgid);
    ssize_t size = readlink(path, exe, sizeof(exe));
    return size > 0 ? trace_writer_string(recording->writer, exe, (size_t)size) : 0;
}

static uint32_t parent_read(const struct kernel_process *process) {
    char path[64], line[512];
    unsigned parent = 0;
    snprintf(path, sizeof(path), "/proc/%u/stat", process->tgid);
    FILE *file = fopen(path, "re");
    if (file && fgets(line, sizeof(line), file)) {
        const char *behind = strrchr(line, ')'); /* a name may have anything in it */
        if (!behind || sscanf(behind, ") %*c %u", &parent) != 1)
            parent = 0;
    }
    if (file)
        fclose(file);
    return parent;
}

static int own_pid(const struct kernel_process *process) {
    for (const struct kernel_thread *thread = process->threads; thread; thread = thread->next)
        if (thread->tid == process->tgid)
            return (int)thread->own_tid;
    return (int)process->tgid;
}

int kernel_image_make(struct kernel *kernel, struct kernel_process *process) {
    struct recording *recording = kernel->recording;
    static struct slab_header header; /* large; all but these stay 0 */
    struct stat owner;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%u", process->tgid);
    unsigned uid = stat(path, &owner) == 0 ? owner.st_uid : 0;
    header.image = (struct image_id){(uint64_t)process->tgid << 32 | 1U, process->begin};
    header.pid = own_pid(process);
    header.clock_kind = CLOCK_KIND_MONOTONIC;
    header.start_ns = process->begin;
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)process->tgid, 0U);
    process->image = image_obtain(recording, &header, (int)process->tgid, uid, pidfd);
    if (!process->image)
        return -ENOMEM;
    process->bare = true;
    process->image->described = true;
    bool launched = (int)process->tgid == recording->child && !recording->child_seen;
    recording->child_seen = recording->child_seen || launched;
    struct trace_process row = {
        .id = process->image->process,
        .pid = (uint32_t)header.pid,
        .parent_pid = parent_read(process),
        .start = process->image->start_ns,
        .command = command_read(recording, process),
        .exe = exe_read(recording, process),
        .how = launched ? 0 : 1,
    };
    trace_writer_row(recording->writer, TRACE_PROCESS, 0, &row);
    kernel_image_known(kernel, process);
    return 0;
}

/* --- stacks --------------------------------------------------------------------------------------------- */

static void module_define(struct kernel *kernel, struct kernel_process *process,
                          const struct kernel_module *module) {
    union {
        struct record_module record;
        char bytes[sizeof(struct record_module) + MODULE_PATH_MAX];
    } space = {.record = {.start = module->start,
                          .end = module->end,
                          .bias = module->bias,
                          .build_id_size = module->build_id_size}};
    size_t size = strnlen(module->path, MODULE_PATH_MAX - 1);
    space.record.header.value = (uint32_t)size;
    memcpy(space.record.build_id, module->build_id, sizeof(module->build_id));
    memcpy(space.bytes + offsetof(struct record_module, path), module->path, size);
    intern_module(kernel->recording, process->image, &space.record);
}

/* Whether the trace knows of a module that lies in [start, end). */
static bool module_is_told(const struct recording *recording, const struct image *image, uint64_t start,
                           uint64_t end) {
    for (uint32_t i = image->module_count; i-- > 0;) {
        const struct catalogue_module *module = &recording->catalogue.modules[image->modules[i]];
        if (start < module->end && module->start < end)
            return true;
    }
    return false;
}

/* Tells of the module that pc lies in. What was mapped there before is the agent's to tell, which sees it go;
 * and what is not there any more is not told. */
static void module_note(struct kernel *kernel, struct kernel_process *process, uint64_t pc) {
    const struct recording *recording = kernel->recording;
    const struct kernel_module *module = kernel_module_find(process, pc);
    if (!module || module_is_told(recording, process->image, pc, pc + 1))
        return;
    if (kernel_modules_due(process, recording->now) && !process->ended && !process->replaced) {
        kernel_modules_read(process, recording->now, true);
        module = kernel_module_find(process, pc);
    }
    if (module && !module_is_told(recording, process->image, module->start, module->end))
        module_define(kernel, process, module);
}

/* Each process has the kernel mapped: all that is not a user's address. */
static void kernel_define(struct kernel *kernel, struct kernel_process *process) {
    char path[] = KERNEL_MODULE_PATH;
    const struct kernel_module module = {.start = KERNEL_MODULE_START, .end = UINT64_MAX, .path = path};
    if (!module_is_told(kernel->recording, process->image, module.start, module.end))
        module_define(kernel, process, &module);
}

static void stack_define(struct kernel *kernel, struct kernel_process *process,
                         const struct sched_stack *stack) {
    bool in_kernel = stack->flags & SCHED_STACK_KERNEL;
    union {
        struct record_stack record;
        uint64_t words[sizeof(struct record_stack) / 8 + STACK_FRAMES_MAX];
    } space = {.record = {.hash = stack->hash}};
    uint32_t count = stack->count < STACK_FRAMES_MAX ? stack->count : STACK_FRAMES_MAX;
    space.record.header.value = count;
    space.record.header.flags = stack->end == UNWIND_END_START                         ? 0
                                : stack->end == UNWIND_END_CUT || count < stack->count ? STACK_TRUNCATED
                                                                                       : STACK_INCOMPLETE;
    if (in_kernel)
        kernel_define(kernel, process);
    for (uint32_t i = 0; i < count; i++) {
        if (!in_kernel)
            module_note(kernel, process, stack->frames[i] - (i > 0));
        space.record.frames[i] = stack->frames[i];
    }
    if (in_kernel && count > 0) /* interrupted there, and a stack's addresses are looked up one before */
        space.record.frames[0]++;
    intern_stack_define(kernel->recording, process->image, &space.record);
}

static bool stack_has_unknown(const struct kernel_process *process, const struct sched_stack *stack) {
    for (uint32_t i = 0; i < stack->count && !(stack->flags & SCHED_STACK_KERNEL); i++)
        if (!kernel_module_find(process, stack->frames[i]))
            return true;
    return false;
}

void kernel_stack_take(struct kernel *kernel, struct kernel_process *process,
                       const struct sched_stack *stack) {
    /* While it lives: it may be gone before its image is known. */
    uint64_t now = kernel->recording->now;
    if (kernel_modules_due(process, now) && stack_has_unknown(process, stack))
        kernel_modules_read(process, now, false);
    if (process->image && !kernel->quiet && process->stack_count == 0) {
        stack_define(kernel, process, stack);
        return;
    }
    kernel->queued = true;
    if (process->stack_count == process->stack_room && process->stack_room < STACKS_WAITING_MAX) {
        uint32_t room = process->stack_room ? process->stack_room * 2 : 16;
        struct sched_stack **grown = realloc(process->stacks, room * sizeof(*grown));
        if (grown) {
            process->stacks = grown;
            process->stack_room = room;
        }
    }
    size_t bytes = sizeof(*stack) + stack->count * sizeof(stack->frames[0]);
    struct sched_stack *copy = process->stack_count < process->stack_room ? malloc(bytes) : NULL;
    if (!copy)
        return; /* what names it has no stack */
    memcpy(copy, stack, bytes);
    process->stacks[process->stack_count++] = copy;
}

void kernel_image_known(struct kernel *kernel, struct kernel_process *process) {
    for (uint32_t i = 0; i < process->stack_count; i++) {
        stack_define(kernel, process, process->stacks[i]);
        free(process->stacks[i]);
    }
    free(process->stacks);
    process->stacks = NULL;
    process->stack_count = process->stack_room = 0;
}

void kernel_image_clear(struct kernel_process *process) {
    for (uint32_t i = 0; i < process->stack_count; i++)
        free(process->stacks[i]);
    free(process->stacks);
    kernel_modules_clear(process);
}
