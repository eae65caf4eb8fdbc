/* SPDX-License-Identifier: MIT */
/*
 * A process that runs already. It is followed from now on, and the threads that it has are told of as /proc
 * shows them: one that sleeps will not be heard from until it is woken, so its stretch is begun here, with
 * the stack that it waits in. The probes come first: what they have said of a thread meanwhile stands, and
 * what was found out here of one that did not sleep all the while is dropped.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "collector/kernel_internal.h"
#include "collector/kernel_registers.h"

struct attach {
    struct kernel *kernel;
    int pid;
    struct registers_record *registers; /* of its threads */
    size_t count;
};

static FILE *task_open(int pid, uint32_t tid, const char *what) {
    char path[96];
    snprintf(path, sizeof(path), "/proc/%d/task/%u/%s", pid, tid, what);
    return fopen(path, "re");
}

/* The thread's own number for itself: the last of those it has in the namespaces it is in. */
static uint32_t own_tid_read(int pid, uint32_t tid) {
    char line[256];
    unsigned own = tid;
    FILE *file = task_open(pid, tid, "status");
    while (file && fgets(line, sizeof(line), file)) {
        const char *last = strncmp(line, "NSpid:", 6) == 0 ? strrchr(line, '\t') : NULL;
        if (last && sscanf(last, "%u", &own) == 1)
            break;
    }
    if (file)
        fclose(file);
    return own;
}

static bool state_read(int pid, uint32_t tid, char *ret_state, char ret_comm[SCHED_COMM_BYTES]) {
    char line[512];
    FILE *file = task_open(pid, tid, "stat");
    bool got = file && fgets(line, sizeof(line), file);
    if (file)
        fclose(file);
    const char *from = got ? strchr(line, '(') : NULL, *to = got ? strrchr(line, ')') : NULL;
    if (!from || !to || to < from || sscanf(to, ") %c", ret_state) != 1)
        return false;
    size_t size = (size_t)(to - from - 1);
    memset(ret_comm, 0, SCHED_COMM_BYTES);
    memcpy(ret_comm, from + 1, size < SCHED_COMM_BYTES - 1 ? size : SCHED_COMM_BYTES - 1);
    return true;
}

/* What it waits at, if that is a futex; as bpf/futex.bpf.h has it of threads that come to wait later. */
static void futex_read(int pid, uint64_t address, unsigned operation, struct sched_thread *state) {
    uint32_t words[3] = {0};
    struct iovec here = {words, sizeof(words)}, there = {(void *)(uintptr_t)address, sizeof(words)};
    operation &= FUTEX_CMD_MASK;
    bool kept_by_kernel = operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2;
    if ((!kept_by_kernel && operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET &&
         operation != FUTEX_WAIT_REQUEUE_PI) ||
        process_vm_readv(pid, &here, 1, &there, 1, 0) < (ssize_t)sizeof(words[0]))
        return;
    state->futex = (struct sched_futex){.address = address, .word = words[0], .second = words[2]};
    state->futex_flags = kept_by_kernel ? SCHED_FUTEX_PI : 0;
}

static void syscall_read(int pid, uint32_t tid, struct sched_thread *state) {
    unsigned long long address, operation;
    int number, got;
    FILE *file = task_open(pid, tid, "syscall"); /* "running", or the number and what it was given */
    got = file ? fscanf(file, "%d %llx %llx", &number, &address, &operation) : 0;
    if (file)
        fclose(file);
    if (got < 1)
        return;
    state->syscall = number;
    if (got == 3 && number == SYS_futex)
        futex_read(pid, address, (unsigned)operation, state);
}

/* The stack of a thread that sleeps, if it sleeps still when this is over. */
static bool stack_read(const struct attach *attach, uint32_t tid, struct unwind_stack_taken *ret_stack) {
    for (size_t i = 0; i < attach->count; i++)
        if (attach->registers[i].tid == tid)
            return kernel_probes_sleeper_take(attach->kernel->probes, attach->pid, &attach->registers[i],
                                              ret_stack);
    return false;
}

static void stack_put(const struct attach *attach, uint32_t tid, uint64_t now,
                      const struct unwind_stack_taken *stack) {
    union {
        struct sched_stack record;
        uint64_t words[sizeof(struct sched_stack) / 8 + UNWIND_FRAMES_MAX];
    } space = {.record = {.header = {.kind = SCHED_STACK, .tgid = (uint32_t)attach->pid, .time = now},
                          .hash = stack->hash,
                          .count = stack->count,
                          .end = stack->end,
                          .flags = stack->flags}};
    const struct kernel_thread *thread = kernel_thread_find(attach->kernel, tid);
    memcpy(space.record.frames, stack->frames, stack->count * sizeof(stack->frames[0]));
    if (thread)
        kernel_stack_take(attach->kernel, thread->process, &space.record);
}

static void thread_attach(const struct attach *attach, uint32_t tid) {
    struct kernel *kernel = attach->kernel;
    int pid = attach->pid;
    struct unwind_stack_taken stack;
    struct sched_thread state = {.tgid = (uint32_t)pid, .syscall = -1};
    struct sched_life life = {.header = {.kind = SCHED_THREAD, .tgid = (uint32_t)pid, .tid = tid}};
    char letter;
    if (!state_read(pid, tid, &letter, life.comm))
        return; /* it has ended */
    state.own_tid = life.header.own_tid = own_tid_read(pid, tid);
    state.begin = life.begin = life.header.time = clock_now_ns();
    if (letter == 'S' || letter == 'D' || letter == 'I' || letter == 'T' || letter == 't') {
        state.off = state.begin;
        syscall_read(pid, tid, &state);
        state.stack = stack_read(attach, tid, &stack) ? stack.hash : 0;
        state.cause = letter == 'S'   ? TRACE_OFF_ASLEEP
                      : letter == 'D' ? TRACE_OFF_HELD
                      : letter == 'I' ? TRACE_OFF_HELD
                                      : TRACE_OFF_STOPPED;
    }
    /* Where the probes have seen it already they told of it themselves. */
    if (kernel_probes_thread_put(kernel->probes, tid, &state) != 0)
        return;
    kernel_record_take(kernel, &life, sizeof(life));
    if (state.stack)
        stack_put(attach, tid, state.begin, &stack);
}

int kernel_attach(struct kernel *kernel, int pid, char *ret_note, size_t bytes) {
    struct attach attach = {.kernel = kernel, .pid = pid};
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    kernel->recording->now = clock_now_ns();
    int error = kernel_probes_add(kernel->probes, pid);
    int blind = error == 0 ? kernel_registers_read(pid, &attach.registers, &attach.count) : 0;
    if (blind < 0)
        snprintf(ret_note, bytes, "where threads waited when the recording began is not known: %s",
                 strerror(-blind));
    DIR *folder = error == 0 ? opendir(path) : NULL;
    if (error == 0 && !folder)
        error = errno == ENOENT ? -ESRCH : -errno;
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char *end;
        unsigned long tid = strtoul(entry->d_name, &end, 10);
        if (*end == '\0' && tid > 0 && tid <= INT32_MAX)
            thread_attach(&attach, (uint32_t)tid);
    }
    free(attach.registers);
    if (folder)
        closedir(folder);
    kernel_drain(kernel);
    for (struct kernel_process *process = kernel->processes; process && error == 0; process = process->next)
        if (process->tgid == (uint32_t)pid && !process->image)
            error = kernel_image_make(kernel, process);
    return error;
}
