/* SPDX-License-Identifier: MIT */
/*
 * A process that runs already. It is followed from now on, and the threads that it has are told of as /proc
 * shows them: one that sleeps will not be heard from until it is woken, so its stretch is begun here. The
 * probes come first: what they have said of a thread meanwhile stands.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/kernel_internal.h"

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

static int32_t syscall_read(int pid, uint32_t tid) {
    int number = -1;
    FILE *file = task_open(pid, tid, "syscall"); /* "running", or the number first */
    if (file && fscanf(file, "%d", &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

static void thread_attach(struct kernel *kernel, int pid, uint32_t tid) {
    struct sched_thread state = {.tgid = (uint32_t)pid, .syscall = -1};
    struct sched_life life = {.header = {.kind = SCHED_THREAD, .tgid = (uint32_t)pid, .tid = tid}};
    char letter;
    if (!state_read(pid, tid, &letter, life.comm))
        return; /* it has ended */
    state.own_tid = life.header.own_tid = own_tid_read(pid, tid);
    state.begin = life.begin = life.header.time = clock_now_ns();
    if (letter == 'S' || letter == 'D' || letter == 'I' || letter == 'T' || letter == 't') {
        state.off = state.begin;
        state.syscall = syscall_read(pid, tid);
        state.cause = letter == 'S'   ? TRACE_OFF_ASLEEP
                      : letter == 'D' ? TRACE_OFF_HELD
                      : letter == 'I' ? TRACE_OFF_HELD
                                      : TRACE_OFF_STOPPED;
    }
    /* Where the probes have seen it already they told of it themselves. */
    if (kernel_probes_thread_put(kernel->probes, tid, &state) == 0)
        kernel_record_take(kernel, &life, sizeof(life));
}

int kernel_attach(struct kernel *kernel, int pid) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    kernel->recording->now = clock_now_ns();
    int error = kernel_probes_add(kernel->probes, pid);
    DIR *folder = error == 0 ? opendir(path) : NULL;
    if (error == 0 && !folder)
        error = errno == ENOENT ? -ESRCH : -errno;
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char *end;
        unsigned long tid = strtoul(entry->d_name, &end, 10);
        if (*end == '\0' && tid > 0 && tid <= INT32_MAX)
            thread_attach(kernel, pid, (uint32_t)tid);
    }
    if (folder)
        closedir(folder);
    kernel_drain(kernel);
    for (struct kernel_process *process = kernel->processes; process && error == 0; process = process->next)
        if (process->tgid == (uint32_t)pid && !process->image)
            error = kernel_image_make(kernel, process);
    return error;
}
