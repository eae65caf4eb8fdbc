/* SPDX-License-Identifier: MIT */
#include "collector/uprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

struct slot {
    struct bpf_link *link; /* NULL: free */
    pid_t pid;
};

struct uprobes {
    const struct bpf_map *hits;
    uint64_t *by_cpu; /* a value of the map */
    size_t cpu_count;
    struct slot *slots;
    uint32_t slot_count;
    unsigned kernel_major, kernel_minor;
    struct uprobes_stats stats; /* hits: of those that are gone */
};

int uprobes_open(const struct bpf_map *hits, struct uprobes **ret_uprobes) {
    struct utsname name;
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0)
        return cpus < 0 ? cpus : -EINVAL;
    if (bpf_map__type(hits) != BPF_MAP_TYPE_PERCPU_ARRAY || bpf_map__value_size(hits) != sizeof(uint64_t))
        return -EINVAL;
    struct uprobes *uprobes = calloc(1, sizeof(*uprobes));
    if (!uprobes)
        return -ENOMEM;
    uprobes->hits = hits;
    uprobes->slot_count = bpf_map__max_entries(hits);
    uprobes->cpu_count = (size_t)cpus;
    uprobes->slots = calloc(uprobes->slot_count, sizeof(struct slot));
    uprobes->by_cpu = calloc(uprobes->cpu_count, sizeof(uint64_t));
    if (!uprobes->slots || !uprobes->by_cpu) {
        uprobes_close(uprobes);
        return -ENOMEM;
    }
    if (uname(&name) == 0)
        sscanf(name.release, "%u.%u", &uprobes->kernel_major, &uprobes->kernel_minor);
    *ret_uprobes = uprobes;
    return 0;
}

static void slot_detach(struct uprobes *uprobes, uint32_t id) {
    struct slot *slot = &uprobes->slots[id];
    if (!slot->link)
        return;
    /* The kernel waits for programs that still run: what is read then is all. */
    bpf_link__destroy(slot->link);
    uprobes->stats.hits += uprobes_hits(uprobes, id);
    uprobes->stats.attached--;
    *slot = (struct slot){0};
}

void uprobes_detach(struct uprobes *uprobes, pid_t pid) {
    for (uint32_t id = 0; id < uprobes->slot_count; id++)
        if (uprobes->slots[id].pid == pid)
            slot_detach(uprobes, id);
}

void uprobes_close(struct uprobes *uprobes) {
    if (!uprobes)
        return;
    for (uint32_t id = 0; uprobes->slots && id < uprobes->slot_count; id++)
        slot_detach(uprobes, id);
    free(uprobes->slots);
    free(uprobes->by_cpu);
    free(uprobes);
}

/* path: of the file as the kernel is to open it. */
static int slot_attach(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid,
                       const char *path, uint64_t offset, uint32_t *ret_id) {
    uint32_t id = 0;
    while (id < uprobes->slot_count && uprobes->slots[id].link)
        id++;
    if (id == uprobes->slot_count)
        return -ENOSPC;
    for (size_t i = 0; i < uprobes->cpu_count; i++)
        uprobes->by_cpu[i] = 0;
    int error = bpf_map__update_elem(uprobes->hits, &id, sizeof(id), uprobes->by_cpu,
                                     uprobes->cpu_count * sizeof(uint64_t), BPF_ANY);
    if (error != 0)
        return error;
    LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = id);
    libbpf_print_fn_t printed = libbpf_set_print(NULL);
    struct bpf_link *link = bpf_program__attach_uprobe_opts(program, pid, path, offset, &options);
    error = link ? 0 : -errno;
    libbpf_set_print(printed);
    if (!link)
        return error;
    uprobes->slots[id] = (struct slot){link, pid};
    uprobes->stats.attached++;
    *ret_id = id;
    return 0;
}

static int probe_attach(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid,
                        const char *path, const struct uprobe_file *file, struct uprobe *probe) {
    struct uprobe_place place;
    if (uprobe_symbol_is_hot(probe->symbol))
        return -EDOM;
    int error = uprobe_place_find(file, probe->symbol, &place);
    if (error != 0)
        return error;
    probe->first = place.first;
    if (!uprobe_instruction_is_cheap(place.first, uprobes->kernel_major, uprobes->kernel_minor))
        return -EILSEQ;
    return slot_attach(uprobes, program, pid, path, place.offset, &probe->id);
}

int uprobes_attach(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid, const char *path,
                   struct uprobe *probes, size_t count) {
    struct uprobe_file *file = NULL;
    char opened[32];
    int result = 0;
    /* O_NONBLOCK: a fifo in place of the file must not hold us up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = fd < 0 ? -errno : pid > 0 ? uprobe_file_open(fd, &file) : -ESRCH;
    /* The file that was looked at, whatever path names by then. */
    snprintf(opened, sizeof(opened), "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < count; i++) {
        struct uprobe *probe = &probes[i];
        probe->first = UPROBE_UNKNOWN;
        probe->error = error ? error : probe_attach(uprobes, program, pid, opened, file, probe);
        result = result ? result : probe->error;
        uprobes->stats.refused_stepped += probe->error == -EILSEQ;
        uprobes->stats.refused_hot += probe->error == -EDOM;
        uprobes->stats.failed += probe->error && probe->error != -EILSEQ && probe->error != -EDOM;
    }
    uprobe_file_close(file);
    if (fd >= 0)
        close(fd);
    return result;
}

uint64_t uprobes_hits(const struct uprobes *uprobes, uint32_t id) {
    uint64_t hits = 0;
    if (id >= uprobes->slot_count || uprobes->slots[id].pid == 0 ||
        bpf_map__lookup_elem(uprobes->hits, &id, sizeof(id), uprobes->by_cpu,
                             uprobes->cpu_count * sizeof(uint64_t), 0) != 0)
        return 0;
    for (size_t i = 0; i < uprobes->cpu_count; i++)
        hits += uprobes->by_cpu[i];
    return hits;
}

void uprobes_stats(const struct uprobes *uprobes, struct uprobes_stats *ret_stats) {
    *ret_stats = uprobes->stats;
    for (uint32_t id = 0; id < uprobes->slot_count; id++)
        ret_stats->hits += uprobes_hits(uprobes, id);
}
