/* SPDX-License-Identifier: MIT */
#include "tests/bpf/probe.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/clock.h"
#include "tests/bpf/unwind_probe.skel.h"

#define CPUS_MAX 256

struct probe {
    struct unwind_probe_bpf *skeleton;
    struct ring_buffer *records;
    struct bpf_link *links[CPUS_MAX + 1];
    unsigned link_count;
    double load_ms;
    probe_call *call;
    void *argument;
};

static int record_seen(void *argument, void *data, size_t bytes) {
    struct probe *probe = argument;
    if (bytes == sizeof(struct probe_record) && probe->call)
        probe->call(probe->argument, data);
    return 0;
}

/* linux/capability.h; either way in is enough of the first two. */
enum { CAPABILITY_SYS_ADMIN = 21, CAPABILITY_PERFMON = 38, CAPABILITY_BPF = 39 };

bool probe_capable(void) {
    char line[256];
    unsigned long long effective = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof(line), status))
        sscanf(line, "CapEff: %llx", &effective);
    if (status)
        fclose(status);
    bool capable = (effective >> CAPABILITY_SYS_ADMIN & 1) ||
                   ((effective >> CAPABILITY_BPF & 1) && (effective >> CAPABILITY_PERFMON & 1));
    if (!capable)
        printf("skipped: without CAP_BPF and CAP_PERFMON no program can be loaded into the kernel\n");
    return capable;
}

int probe_tables_open(struct unwind_tables **ret_tables) {
    if (!probe_capable())
        return PROBE_SKIPPED;
    int error = unwind_tables_open(ret_tables);
    if (error < 0)
        fprintf(stderr, "no tables: %s\n", strerror(-error));
    return error < 0;
}

int probe_open(struct unwind_tables *tables, struct probe **ret_probe) {
    struct probe *probe = calloc(1, sizeof(*probe));
    uint64_t begin = clock_now_ns();
    if (!probe)
        return 1;
    probe->skeleton = unwind_probe_bpf__open();
    if (!probe->skeleton || unwind_tables_bind(tables, probe->skeleton->obj) < 0 ||
        unwind_probe_bpf__load(probe->skeleton) < 0) {
        fprintf(stderr, "the probes cannot be loaded: %s\n", strerror(errno));
        probe_close(probe);
        return 1;
    }
    probe->load_ms = (double)(clock_now_ns() - begin) / 1e6;
    probe->records =
        ring_buffer__new(bpf_map__fd(probe->skeleton->maps.probe_records), record_seen, probe, NULL);
    if (!probe->records) {
        probe_close(probe);
        return 1;
    }
    *ret_probe = probe;
    return 0;
}

void probe_close(struct probe *probe) {
    if (!probe)
        return;
    probe_stop(probe);
    ring_buffer__free(probe->records);
    unwind_probe_bpf__destroy(probe->skeleton);
    free(probe);
}

static int sample_start(struct probe *probe, unsigned hz) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attributes),
        .config = PERF_COUNT_SW_CPU_CLOCK,
        .freq = 1,
        .sample_freq = hz,
    };
    int cpus = libbpf_num_possible_cpus();
    for (int cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
        int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 && errno == ENODEV) /* possible, and not there */
            continue;
        if (fd < 0)
            return -errno;
        struct bpf_link *link = bpf_program__attach_perf_event(probe->skeleton->progs.probe_sample, fd);
        if (!link) {
            close(fd);
            return -errno;
        }
        probe->links[probe->link_count++] = link;
    }
    return 0;
}

int probe_start(struct probe *probe, unsigned sample_hz) {
    struct bpf_link *link = bpf_program__attach(probe->skeleton->progs.probe_switch);
    if (!link)
        return -errno;
    probe->links[probe->link_count++] = link;
    int error = sample_hz ? sample_start(probe, sample_hz) : 0;
    if (error < 0)
        probe_stop(probe);
    return error;
}

void probe_stop(struct probe *probe) {
    while (probe->link_count > 0)
        bpf_link__destroy(probe->links[--probe->link_count]);
}

void probe_set(struct probe *probe, unsigned emit, bool again, bool kernel) {
    probe->skeleton->bss->probe_emit = emit;
    probe->skeleton->bss->probe_again = again;
    probe->skeleton->bss->probe_kernel = kernel;
}

int probe_poll(struct probe *probe, int timeout_ms, probe_call *call, void *argument) {
    probe->call = call;
    probe->argument = argument;
    return ring_buffer__poll(probe->records, timeout_ms);
}

struct probe_counts *probe_counts(struct probe *probe) {
    return probe->skeleton->bss->probe_counts;
}
uint64_t probe_lost(const struct probe *probe) {
    return probe->skeleton->bss->probe_records_lost;
}
double probe_clock_pair_ns(const struct probe *probe) {
    const struct unwind_probe_bpf__bss *bss = probe->skeleton->bss;
    return bss->probe_clock_count ? (double)bss->probe_clock_ns / (double)bss->probe_clock_count : 0;
}
double probe_load_ms(const struct probe *probe) {
    return probe->load_ms;
}

const char *probe_end_name(unsigned end) {
    static const char *const NAMES[UNWIND_ENDS] = {
        [UNWIND_END_START] = "start",
        [UNWIND_END_CUT] = "cut",
        [UNWIND_END_UNMAPPED] = "unmapped code",
        [UNWIND_END_NO_ROWS] = "code without rows",
        [UNWIND_END_UNSUPPORTED] = "unsupported row",
        [UNWIND_END_CFA] = "CFA not above",
        [UNWIND_END_READ] = "unreadable",
        [UNWIND_END_FRAME_POINTER] = "no frame at rbp",
        [UNWIND_END_BROKEN] = "broken table",
        [UNWIND_END_EXEC] = "in exec",
        [UNWIND_END_NOT_64_BIT] = "not 64 bit",
        [UNWIND_END_NO_USER] = "no user memory",
        [UNWIND_END_BUSY] = "busy",
    };
    return end < UNWIND_ENDS ? NAMES[end] : "?";
}
