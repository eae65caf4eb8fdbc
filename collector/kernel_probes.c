/* SPDX-License-Identifier: MIT */
#include "collector/kernel_probes.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/sched.skel.h"
#include "collector/clock.h"
#include "collector/kernel_namespace.h"
#include "collector/unwind_follow.h"
#include "collector/unwind_sleeper.h"

struct kernel_probes {
    struct kernel_probes_options options;
    struct unwind_tables *tables;
    struct unwind_follow *follow;
    struct sched_bpf *skeleton;
    struct ring_buffer *records;
    struct bpf_link **samplers; /* a CPU each */
    int sampler_count;
    uint64_t load_ns;
};

static int record_seen(void *argument, void *data, size_t bytes) {
    const struct kernel_probes *probes = argument;
    if (bytes >= sizeof(struct sched_header))
        probes->options.record(probes->options.argument, data, bytes);
    return 0;
}

static int samplers_attach(struct kernel_probes *probes) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attributes),
        .config = PERF_COUNT_SW_CPU_CLOCK,
        .freq = 1,
        .sample_freq = probes->options.sample_hz,
    };
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0)
        return cpus;
    probes->samplers = calloc((size_t)cpus, sizeof(struct bpf_link *));
    if (!probes->samplers)
        return -ENOMEM;
    for (int cpu = 0; cpu < cpus; cpu++) {
        int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 && errno == ENODEV) /* possible, and not there */
            continue;
        if (fd < 0)
            return -errno;
        struct bpf_link *link = bpf_program__attach_perf_event(probes->skeleton->progs.sched_sampled, fd);
        if (!link) {
            int error = -errno;
            close(fd);
            return error;
        }
        probes->samplers[probes->sampler_count++] = link;
    }
    return 0;
}

static int nothing_printed(enum libbpf_print_level level, const char *format, va_list arguments) {
    (void)level;
    (void)format;
    (void)arguments;
    return 0;
}

static int skeleton_load(struct kernel_probes *probes) {
    probes->skeleton = sched_bpf__open();
    if (!probes->skeleton)
        return -errno;
    bool inner = kernel_namespace_prepare(probes->skeleton->progs.namespace_find);
    probes->skeleton->rodata->namespace_inner = inner;
    probes->skeleton->rodata->sched_follow = !probes->options.no_follow;
    if (probes->options.sample_hz)
        probes->skeleton->rodata->sched_sample_ns = 1000000000ULL / probes->options.sample_hz;
    else
        bpf_program__set_autoload(probes->skeleton->progs.sched_sampled, false);
    int error = unwind_tables_bind(probes->tables, probes->skeleton->obj);
    if (error == 0)
        error = sched_bpf__load(probes->skeleton);
    if (error == 0)
        error = kernel_namespace_run(probes->skeleton->progs.namespace_find, inner);
    if (error == 0)
        error = sched_bpf__attach(probes->skeleton);
    return error;
}

int kernel_probes_open(const struct kernel_probes_options *options, struct kernel_probes **ret_probes) {
    uint64_t begin = clock_now_ns();
    struct kernel_probes *probes = calloc(1, sizeof(*probes));
    if (!probes)
        return -ENOMEM;
    probes->options = *options;
    libbpf_print_fn_t printed = libbpf_set_print(nothing_printed);
    int error = kernel_namespace_has_proc() ? unwind_tables_open(&probes->tables) : -EXDEV;
    if (error == 0)
        error = unwind_follow_open(probes->tables, &probes->follow);
    if (error == 0)
        error = skeleton_load(probes);
    if (error == 0 && options->sample_hz)
        error = samplers_attach(probes);
    if (error == 0) {
        probes->records =
            ring_buffer__new(bpf_map__fd(probes->skeleton->maps.sched_records), record_seen, probes, NULL);
        error = probes->records ? 0 : -errno;
    }
    libbpf_set_print(printed);
    if (error != 0) {
        kernel_probes_close(probes);
        return error;
    }
    probes->load_ns = clock_now_ns() - begin;
    *ret_probes = probes;
    return 0;
}

void kernel_probes_close(struct kernel_probes *probes) {
    if (!probes)
        return;
    while (probes->sampler_count > 0)
        bpf_link__destroy(probes->samplers[--probes->sampler_count]);
    free(probes->samplers);
    ring_buffer__free(probes->records);
    sched_bpf__destroy(probes->skeleton);
    unwind_follow_close(probes->follow);
    unwind_tables_close(probes->tables);
    free(probes);
}

int kernel_probes_add(struct kernel_probes *probes, pid_t pid) {
    uint32_t key = (uint32_t)pid, one = 1;
    /* Without tables there are no stacks, and the rest is good. */
    int error = unwind_tables_process_add(probes->tables, pid);
    if (error == -ESRCH)
        return error;
    return bpf_map__update_elem(probes->skeleton->maps.sched_processes, &key, sizeof(key), &one, sizeof(one),
                                BPF_ANY);
}

int kernel_probes_thread_put(struct kernel_probes *probes, uint32_t tid, const struct sched_thread *thread) {
    return bpf_map__update_elem(probes->skeleton->maps.sched_threads, &tid, sizeof(tid), thread,
                                sizeof(*thread), BPF_NOEXIST);
}

bool kernel_probes_sleeper_take(const struct kernel_probes *probes, pid_t pid,
                                const struct registers_record *registers,
                                struct unwind_stack_taken *ret_stack) {
    return unwind_sleeper_take(probes->tables, pid, registers, ret_stack);
}

int kernel_probes_fd(const struct kernel_probes *probes) {
    return unwind_follow_fd(probes->follow);
}

void kernel_probes_drain(struct kernel_probes *probes) {
    unwind_follow_drain(probes->follow);
    ring_buffer__consume(probes->records);
}

void kernel_probes_threads(const struct kernel_probes *probes,
                           void (*call)(void *argument, uint32_t tid, const struct sched_thread *thread),
                           void *argument) {
    const struct bpf_map *map = probes->skeleton->maps.sched_threads;
    uint32_t tid, next;
    struct sched_thread thread;
    bool first = true;
    while (bpf_map__get_next_key(map, first ? NULL : &tid, &next, sizeof(next)) == 0) {
        first = false;
        tid = next;
        if (bpf_map__lookup_elem(map, &tid, sizeof(tid), &thread, sizeof(thread), 0) == 0)
            call(argument, tid, &thread);
    }
}

void kernel_probes_stats(const struct kernel_probes *probes, struct kernel_probes_stats *ret_stats) {
    *ret_stats = (struct kernel_probes_stats){.load_ns = probes->load_ns};
    ret_stats->counters = probes->skeleton->bss->sched_counters;
    unwind_tables_stats(probes->tables, &ret_stats->tables);
}
