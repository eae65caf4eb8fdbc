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
#include "collector/kernel_namespace.h"
#include "collector/unwind_maps.h"

#define RING_BYTES (256U << 10) /* a power of two */
#define RECORD_BYTES_MAX 65536U
#define EVENTS_AT_ONCE 16

struct ring {
    int fd;
    struct perf_event_mmap_page *page; /* and the ring behind it */
    uint64_t head, tail;               /* of what is drained now */
    uint64_t next_ns;                  /* the time of the record at tail */
};

/* A process' table was not right for a while. */
struct stale {
    pid_t pid;
    uint64_t from_ns, to_ns;
};
#define STALE_MAX 1024U

/* A process to be looked at once all is drained, since then. */
struct changed {
    pid_t pid;
    uint64_t since_ns;
};

struct unwind_follow {
    struct unwind_tables *tables;
    struct unwind_follow_bpf *programs;
    struct ring *rings;
    unsigned ring_count;
    int epoll;
    uint8_t *record;
    struct changed *changed;
    unsigned changed_count, changed_room;
    pid_t *ending; /* processes whose first thread has ended: the others will, sooner or later */
    unsigned ending_count, ending_room;
    bool all_changed;
    struct stale stale[STALE_MAX]; /* the latest, going round */
    unsigned stale_next;
    uint64_t stale_to_ns; /* of the newest */
    uint64_t drained_ns;  /* all before it has been handled */
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
    follow->rings[follow->ring_count++] = (struct ring){.fd = fd, .page = memory};
    return 0;
}

static int programs_load(struct unwind_follow *follow) {
    follow->programs = unwind_follow_bpf__open();
    if (!follow->programs)
        return -errno;
    bool inner = kernel_namespace_prepare(follow->programs->progs.namespace_find);
    follow->programs->rodata->namespace_inner = inner;
    int error = unwind_tables_bind(follow->tables, follow->programs->obj);
    if (error == 0)
        error = unwind_follow_bpf__load(follow->programs);
    if (error == 0)
        error = kernel_namespace_run(follow->programs->progs.namespace_find, inner);
    return error < 0 ? error : unwind_follow_bpf__attach(follow->programs);
}

int unwind_follow_open(struct unwind_tables *tables, struct unwind_follow **ret_follow) {
    int cpus = libbpf_num_possible_cpus();
    struct unwind_follow *follow = calloc(1, sizeof(*follow));
    if (!follow)
        return -ENOMEM;
    follow->tables = tables;
    follow->drained_ns = clock_now_ns();
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
    free(follow->ending);
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

static void stale_add(struct unwind_follow *follow, pid_t pid, uint64_t from_ns, uint64_t to_ns) {
    follow->stale[follow->stale_next++ % STALE_MAX] = (struct stale){pid, from_ns, to_ns};
    follow->stale_to_ns = to_ns;
}

static bool process_is_changed(const struct unwind_follow *follow, pid_t pid) {
    for (unsigned i = 0; i < follow->changed_count; i++)
        if (follow->changed[i].pid == pid)
            return true;
    return false;
}

static void process_changed(struct unwind_follow *follow, pid_t pid, uint64_t time) {
    for (unsigned i = 0; i < follow->changed_count; i++)
        if (follow->changed[i].pid == pid) {
            if (time < follow->changed[i].since_ns)
                follow->changed[i].since_ns = time;
            return;
        }
    if (follow->changed_count == follow->changed_room) {
        unsigned room = follow->changed_room ? 2 * follow->changed_room : 64;
        struct changed *larger = realloc(follow->changed, room * sizeof(*larger));
        if (!larger) { /* then at the next drain */
            follow->all_changed = true;
            return;
        }
        follow->changed = larger;
        follow->changed_room = room;
    }
    follow->changed[follow->changed_count++] = (struct changed){pid, time};
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

static void forked(struct unwind_follow *follow, pid_t parent, pid_t child, uint64_t time) {
    if (!unwind_tables_process_known(follow->tables, parent))
        return;
    follow->stats.forked++;
    unwind_tables_process_fork(follow->tables, parent, child);
    /* A table that was not right for the parent was given to the child. */
    if (process_is_changed(follow, parent))
        process_changed(follow, child, time);
    else if (unwind_follow_stale(follow, parent, time))
        stale_add(follow, child, time, clock_now_ns());
}

/* The process ends with its last thread, which need not be the one that it has its number from; and from
 * Linux 6.16 on this is told before its memory is gone. */
static void ended(struct unwind_follow *follow, pid_t pid, pid_t tid) {
    if (pid != tid || !unwind_tables_process_known(follow->tables, pid))
        return;
    follow->stats.ended++;
    if (follow->ending_count == follow->ending_room) {
        unsigned room = follow->ending_room ? 2 * follow->ending_room : 64;
        pid_t *larger = realloc(follow->ending, room * sizeof(*larger));
        if (!larger) { /* then when all are looked at */
            follow->all_changed = true;
            return;
        }
        follow->ending = larger;
        follow->ending_room = room;
    }
    follow->ending[follow->ending_count++] = pid;
}

static void ending_drain(struct unwind_follow *follow) {
    unsigned kept = 0;
    for (unsigned i = 0; i < follow->ending_count; i++) {
        pid_t pid = follow->ending[i];
        if (unwind_maps_gone(pid))
            unwind_tables_process_remove(follow->tables, pid);
        else
            follow->ending[kept++] = pid;
    }
    follow->ending_count = kept;
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
        if (task->pid != task->parent_pid)
            forked(follow, (pid_t)task->parent_pid, (pid_t)task->pid, time);
        break;
    case PERF_RECORD_EXIT:
        ended(follow, (pid_t)task->pid, (pid_t)task->tid);
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

/* Copies out the record at the ring's tail. Returns its size, 0 if there is none. */
static size_t record_copy(struct unwind_follow *follow, const struct ring *ring) {
    const uint8_t *data = (const uint8_t *)ring->page + sysconf(_SC_PAGESIZE);
    uint32_t at = (uint32_t)ring->tail & (RING_BYTES - 1);
    struct perf_event_header header;
    if (ring->tail >= ring->head)
        return 0;
    memcpy(&header, data + at, sizeof(header)); /* of 8 bytes, as all is a multiple of: never split */
    if (header.size < sizeof(header) + sizeof(uint64_t))
        return 0;
    uint32_t first = header.size < RING_BYTES - at ? header.size : RING_BYTES - at;
    memcpy(follow->record, data + at, first);
    memcpy(follow->record + first, data, header.size - first);
    return header.size;
}

static void ring_peek(struct unwind_follow *follow, struct ring *ring) {
    size_t size = record_copy(follow, ring);
    ring->next_ns = UINT64_MAX;
    if (size > 0)
        memcpy(&ring->next_ns, follow->record + size - sizeof(ring->next_ns), sizeof(ring->next_ns));
}

/*
 * Handles what happened until now, by its time over all CPUs: a child's end must not come before its
 * beginning, which was told on another CPU. A record of before now whose cause was of before now too is in
 * its ring by now. Returns whether there is more.
 */
static bool rings_drain(struct unwind_follow *follow) {
    uint64_t now = clock_now_ns();
    bool more = false;
    for (unsigned i = 0; i < follow->ring_count; i++) {
        struct ring *ring = &follow->rings[i];
        /* [PERF-RING] pairs with the kernel's barrier before it moves the head (perf_event_open(2)). */
        ring->head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE);
        ring->tail = ring->page->data_tail;
        ring_peek(follow, ring);
    }
    for (;;) {
        struct ring *first = &follow->rings[0];
        for (unsigned i = 1; i < follow->ring_count; i++)
            if (follow->rings[i].next_ns < first->next_ns)
                first = &follow->rings[i];
        if (first->next_ns > now)
            break;
        size_t size = record_copy(follow, first);
        record_handle(follow, follow->record, size);
        first->tail += size;
        ring_peek(follow, first);
    }
    for (unsigned i = 0; i < follow->ring_count; i++) {
        struct ring *ring = &follow->rings[i];
        more = more || ring->next_ns != UINT64_MAX;
        /* [PERF-RING] what was read is the kernel's again: reads come before. */
        __atomic_store_n(&ring->page->data_tail, ring->tail, __ATOMIC_RELEASE);
    }
    return more;
}

static void changed_all(void *argument, pid_t pid) {
    struct unwind_follow *follow = argument;
    process_changed(follow, pid, follow->drained_ns);
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
    if (follow->ring_count == 0)
        return;
    uint64_t begin = clock_now_ns();
    while (rings_drain(follow))
        ;
    ending_drain(follow);
    bool all = follow->all_changed;
    follow->all_changed = false;
    if (all) {
        unwind_tables_adopt(follow->tables);
        unwind_tables_process_each(follow->tables, changed_all, follow);
    }
    for (unsigned i = 0; i < follow->changed_count; i++) {
        const struct changed *changed = &follow->changed[i];
        /* One that is gone is removed by this. */
        unwind_tables_process_add(follow->tables, changed->pid);
        uint64_t now = clock_now_ns(), delay = now - changed->since_ns;
        follow->stale[follow->stale_next++ % STALE_MAX] =
            (struct stale){changed->pid, changed->since_ns, now};
        follow->stale_to_ns = now;
        follow->stats.refreshes++;
        follow->stats.delay_ns_sum += delay;
        if (delay > follow->stats.delay_ns_max)
            follow->stats.delay_ns_max = delay;
    }
    follow->changed_count = 0;
    follow->drained_ns = begin;
}

bool unwind_follow_stale(const struct unwind_follow *follow, pid_t pid, uint64_t time_ns) {
    if (time_ns > follow->stale_to_ns)
        return false;
    for (unsigned i = 0; i < STALE_MAX; i++) {
        const struct stale *stale = &follow->stale[i];
        if (stale->pid == pid && time_ns >= stale->from_ns && time_ns <= stale->to_ns)
            return true;
    }
    return false;
}

void unwind_follow_stats(const struct unwind_follow *follow, struct unwind_follow_stats *ret_stats) {
    *ret_stats = follow->stats;
}
