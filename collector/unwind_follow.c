/* SPDX-License-Identifier: MIT */
#include "collector/unwind_follow.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "bpf/unwind_follow.skel.h"
#include "collector/clock.h"

#define RING_BYTES (64U << 10) /* a power of two */
#define RECORD_BYTES_MAX 65536U
#define EVENTS_AT_ONCE 16

struct ring {
    int fd;
    struct perf_event_mmap_page *page; /* and the ring behind it */
};

struct unwind_follow {
    struct unwind_tables *tables;
    struct unwind_follow_bpf *programs;
    struct ring *rings;
    unsigned ring_count;
    int epoll;
    uint8_t *record;
    pid_t *changed; /* processes to be looked at once all is drained */
    unsigned changed_count, changed_room;
    bool all_changed;
    uint64_t changed_since; /* of the first, CLOCK_MONOTONIC, 0 none */
    struct unwind_follow_stats stats;
};

/* --- opening ------------------------------------------------------------------------------------------- */

static int ring_open(struct unwind_follow *follow, int cpu) {
    /* An event that never counts: what comes with it is wanted. Told at the first byte. */
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attributes),
        .config = PERF_COUNT_SW_DUMMY,
        .sample_type = PERF_SAMPLE_TIME,
        .mmap = 1,
        .mmap2 = 1,
        .comm = 1,
        .comm_exec = 1,
        .task = 1,
        .sample_id_all = 1,
        .use_clockid = 1,
        .clockid = CLOCK_MONOTONIC,
        .watermark = 1,
        .wakeup_watermark = 1,
    };
    int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return errno == ENODEV ? 0 : -errno; /* a CPU that is possible and not there */
    struct epoll_event event = {.events = EPOLLIN};
    void *memory =
        mmap(NULL, RING_BYTES + (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int error = memory == MAP_FAILED || epoll_ctl(follow->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
    if (error < 0) {
        if (memory != MAP_FAILED)
            munmap(memory, RING_BYTES + (size_t)sysconf(_SC_PAGESIZE));
        close(fd);
        return error;
    }
    follow->rings[follow->ring_count++] = (struct ring){fd, memory};
    return 0;
}

static int programs_load(struct unwind_follow *follow) {
    follow->programs = unwind_follow_bpf__open();
    if (!follow->programs)
        return -errno;
    int error = unwind_tables_bind(follow->tables, follow->programs->obj);
    if (error == 0)
        error = unwind_follow_bpf__load(follow->programs);
    return error < 0 ? error : unwind_follow_bpf__attach(follow->programs);
}

int unwind_follow_open(struct unwind_tables *tables, struct unwind_follow **ret_follow) {
    int cpus = libbpf_num_possible_cpus();
    struct unwind_follow *follow = calloc(1, sizeof(*follow));
    if (!follow)
        return -ENOMEM;
    follow->tables = tables;
    follow->epoll = epoll_create1(EPOLL_CLOEXEC);
    follow->rings = cpus > 0 ? calloc((size_t)cpus, sizeof(*follow->rings)) : NULL;
    follow->record = malloc(RECORD_BYTES_MAX);
    int error = cpus < 0                            ? cpus
                : follow->epoll < 0                 ? -errno
                : !follow->rings || !follow->record ? -ENOMEM
                                                    : 0;
    for (int cpu = 0; cpu < cpus && error == 0; cpu++)
        error = ring_open(follow, cpu);
    if (error == 0)
        error = programs_load(follow);
    if (error < 0) {
        unwind_follow_close(follow);
        return error;
    }
    *ret_follow = follow;
    return 0;
}

void unwind_follow_close(struct unwind_follow *follow) {
    if (!follow)
        return;
    unwind_follow_bpf__destroy(follow->programs);
    for (unsigned i = 0; i < follow->ring_count; i++) {
        munmap(follow->rings[i].page, RING_BYTES + (size_t)sysconf(_SC_PAGESIZE));
        close(follow->rings[i].fd);
    }
    if (follow->epoll >= 0)
        close(follow->epoll);
    free(follow->changed);
    free(follow->rings);
    free(follow->record);
    free(follow);
}

/* --- events -------------------------------------------------------------------------------------------- */

/* The records' beginnings, perf_event_open(2); behind them lies the time (sample_id_all). */
struct mapped_record {
    struct perf_event_header header;
    uint32_t pid, tid;
    uint64_t address, bytes, offset;
    uint8_t file[24];
    uint32_t protection, flags;
};
struct task_record {
    struct perf_event_header header;
    uint32_t pid, parent_pid, tid, parent_tid;
};
struct comm_record {
    struct perf_event_header header;
    uint32_t pid, tid;
};

static void process_changed(struct unwind_follow *follow, pid_t pid, uint64_t time) {
    if (follow->changed_since == 0 || time < follow->changed_since)
        follow->changed_since = time;
    for (unsigned i = 0; i < follow->changed_count; i++)
        if (follow->changed[i] == pid)
            return;
    if (follow->changed_count == follow->changed_room) {
        unsigned room = follow->changed_room ? 2 * follow->changed_room : 64;
        pid_t *larger = realloc(follow->changed, room * sizeof(*larger));
        if (!larger) { /* then at the next drain */
            follow->all_changed = true;
            return;
        }
        follow->changed = larger;
        follow->changed_room = room;
    }
    follow->changed[follow->changed_count++] = pid;
}

static void mapped(struct unwind_follow *follow, const struct mapped_record *record, const char *name,
                   uint64_t time) {
    pid_t pid = (pid_t)record->pid;
    if (!(record->protection & PROT_EXEC) || !unwind_tables_process_known(follow->tables, pid))
        return;
    follow->stats.mapped++;
    /* A JIT maps code all the time, and where it lies makes no difference. */
    if (strcmp(name, "//anon") == 0 && unwind_tables_process_jit(follow->tables, pid))
        return;
    process_changed(follow, pid, time);
}

static void record_handle(struct unwind_follow *follow, const void *bytes, size_t size) {
    const struct perf_event_header *header = bytes;
    const struct task_record *task = bytes;
    const struct comm_record *comm = bytes;
    uint64_t time;
    memcpy(&time, (const uint8_t *)bytes + size - sizeof(time), sizeof(time));
    switch (header->type) {
    case PERF_RECORD_MMAP2:
        if (size > sizeof(struct mapped_record) + sizeof(time))
            mapped(follow, bytes, (const char *)bytes + sizeof(struct mapped_record), time);
        break;
    case PERF_RECORD_FORK:
        if (task->pid != task->parent_pid &&
            unwind_tables_process_known(follow->tables, (pid_t)task->parent_pid)) {
            follow->stats.forked++;
            unwind_tables_process_fork(follow->tables, (pid_t)task->parent_pid, (pid_t)task->pid);
        }
        break;
    case PERF_RECORD_EXIT:
        /* Of the thread that gave the process its number; others of it may go on. */
        if (task->pid == task->tid && unwind_tables_process_known(follow->tables, (pid_t)task->pid)) {
            follow->stats.ended++;
            process_changed(follow, (pid_t)task->pid, time);
        }
        break;
    case PERF_RECORD_COMM:
        if ((header->misc & PERF_RECORD_MISC_COMM_EXEC) &&
            unwind_tables_process_known(follow->tables, (pid_t)comm->pid)) {
            follow->stats.execed++;
            process_changed(follow, (pid_t)comm->pid, time);
        }
        break;
    case PERF_RECORD_LOST:
        follow->stats.lost++;
        follow->all_changed = true;
        break;
    }
}

static void ring_drain(struct unwind_follow *follow, struct ring *ring) {
    struct perf_event_mmap_page *page = ring->page;
    const uint8_t *data = (const uint8_t *)page + sysconf(_SC_PAGESIZE);
    /* [PERF-RING] pairs with the kernel's barrier before it moves the head (perf_event_open(2)). */
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE), tail = page->data_tail;
    while (tail < head) {
        uint32_t at = (uint32_t)tail & (RING_BYTES - 1);
        struct perf_event_header header;
        memcpy(&header, data + at, sizeof(header)); /* of 8 bytes, as all is a multiple of: never split */
        uint32_t first = header.size < RING_BYTES - at ? header.size : RING_BYTES - at;
        if (header.size < sizeof(header) + sizeof(uint64_t))
            break;
        memcpy(follow->record, data + at, first);
        memcpy(follow->record + first, data, header.size - first);
        record_handle(follow, follow->record, header.size);
        tail += header.size;
    }
    /* [PERF-RING] what was read is the kernel's again: reads come before. */
    __atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
}

static void changed_all(void *argument, pid_t pid) {
    process_changed(argument, pid, clock_now_ns());
}

int unwind_follow_fd(const struct unwind_follow *follow) {
    return follow->epoll;
}

int unwind_follow_wait(const struct unwind_follow *follow, int timeout_ms) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(follow->epoll, events, EVENTS_AT_ONCE, timeout_ms);
    return count < 0 ? -errno : count;
}

void unwind_follow_drain(struct unwind_follow *follow) {
    for (unsigned i = 0; i < follow->ring_count; i++)
        ring_drain(follow, &follow->rings[i]);
    if (follow->changed_count == 0 && !follow->all_changed)
        return;
    bool all = follow->all_changed;
    follow->all_changed = false;
    if (all)
        unwind_tables_process_each(follow->tables, changed_all, follow);
    for (unsigned i = 0; i < follow->changed_count; i++) {
        /* One that is gone is removed by this. */
        unwind_tables_process_add(follow->tables, follow->changed[i]);
        follow->stats.refreshes++;
    }
    uint64_t delay = clock_now_ns() - follow->changed_since;
    follow->stats.delay_ns_sum += delay * follow->changed_count;
    if (delay > follow->stats.delay_ns_max)
        follow->stats.delay_ns_max = delay;
    follow->changed_count = 0;
    follow->changed_since = 0;
}

void unwind_follow_stats(const struct unwind_follow *follow, struct unwind_follow_stats *ret_stats) {
    *ret_stats = follow->stats;
}
