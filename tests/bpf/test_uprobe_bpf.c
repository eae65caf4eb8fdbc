/* SPDX-License-Identifier: MIT */
/*
 * Probes on functions of a program that calls them as often as it is told: the counts are exact, of the one
 * process with its threads and of no other; what would be stepped over is refused; nothing is left in the
 * process afterwards, which its code and its mappings show.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "collector/uprobe.h"
#include "tests/bpf/probe.h"
#include "tests/bpf/uprobe_probe.h"
#include "tests/bpf/uprobe_probe.skel.h"

#define CALLS 1000U
#define PROBES_ROOM 8U
#define BREAKPOINT 0xcc /* int3 */

struct target {
    pid_t pid;
    int to, from;
    struct uprobe_target_answer answer;
};

static void target_start(struct target *target) {
    int to[2], from[2];
    if (!CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0))
        return;
    target->pid = fork();
    if (target->pid == 0) {
        if (dup2(to[0], STDIN_FILENO) >= 0 && dup2(from[1], STDOUT_FILENO) >= 0)
            execl(TARGET_UPROBE, "target_uprobe", (char *)NULL);
        _exit(3);
    }
    close(to[0]);
    close(from[1]);
    target->to = to[1];
    target->from = from[0];
}

static void target_call(struct target *target, unsigned function, unsigned who, unsigned long times) {
    struct uprobe_target_order order = {.function = function, .who = who, .times = times};
    unsigned long done = target->answer.done;
    CHECK(write(target->to, &order, sizeof(order)) == sizeof(order) &&
          read(target->from, &target->answer, sizeof(target->answer)) == sizeof(target->answer));
    CHECK_EQ_U64(target->answer.done, done + 1);
}

static void target_end(struct target *target) {
    int status = -1;
    close(target->to);
    close(target->from);
    CHECK_EQ_INT(waitpid(target->pid, &status, 0), target->pid);
    CHECK_EQ_INT(status, 0);
}

/* The first byte of a function as it is in the process' memory. */
static int target_byte(const struct target *target, unsigned function) {
    char path[64];
    uint8_t byte = 0;
    snprintf(path, sizeof(path), "/proc/%d/mem", target->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)target->answer.addresses[function]) == 1);
    if (fd >= 0)
        close(fd);
    return good ? byte : -1;
}

/* Where the kernel steps over instructions: made at the first that is. */
static bool target_was_stepped(const struct target *target) {
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", target->pid);
    FILE *maps = fopen(path, "re");
    while (maps && fgets(line, sizeof(line), maps))
        found = found || strstr(line, "[uprobes]") != NULL;
    CHECK(maps != NULL);
    if (maps)
        fclose(maps);
    return found;
}

static unsigned descriptors_count(void) {
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static struct uprobes_stats stats_get(const struct uprobes *uprobes) {
    struct uprobes_stats stats;
    uprobes_stats(uprobes, &stats);
    return stats;
}

/* Returns the id. */
static uint32_t attach_one(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid,
                           const char *path, const char *symbol) {
    struct uprobe probe = {.symbol = symbol};
    if (!CHECK_EQ_INT(uprobes_attach(uprobes, program, pid, path, &probe, 1), 0))
        fprintf(stderr, "  %s begins with %s\n", symbol, uprobe_instruction_name(probe.first));
    return probe.error == 0 ? probe.id : UINT32_MAX;
}

static void attach_refused(struct uprobes *uprobes, const struct bpf_program *program, pid_t pid,
                           const char *path, const char *symbol, int error) {
    struct uprobe probe = {.symbol = symbol};
    if (!CHECK_EQ_INT(uprobes_attach(uprobes, program, pid, path, &probe, 1), error))
        fprintf(stderr, "  %s of %s\n", symbol, path);
    CHECK_EQ_INT(probe.error, error);
}

/* All at once, the good and the bad. */
static void program_check(struct uprobes *uprobes, struct uprobe_probe_bpf *skeleton, struct target *target,
                          struct target *other) {
    struct uprobe probes[] = {{.symbol = "probed_push"},       {.symbol = "probed_endbr64"},
                              {.symbol = "probed_push_r12"},   {.symbol = "probed_lea"},
                              {.symbol = "probed_nop"},        {.symbol = "probed_nowhere"},
                              {.symbol = "pthread_mutex_lock"}};
    const struct bpf_program *program = skeleton->progs.probe_function;
    CHECK_EQ_INT(uprobes_attach(uprobes, program, target->pid, TARGET_UPROBE, probes, 7), -EILSEQ);
    static const int ERRORS[] = {0, -EILSEQ, 0, -EILSEQ, 0, -ENOENT, -EDOM};
    for (size_t i = 0; i < 7; i++)
        CHECK_EQ_INT(probes[i].error, ERRORS[i]);
    CHECK_STR(uprobe_instruction_name(probes[1].first), "endbr64");
    CHECK_STR(uprobe_instruction_name(probes[3].first), "lea");
    CHECK_EQ_INT(probes[6].first, UPROBE_UNKNOWN);
    struct uprobes_stats stats = stats_get(uprobes);
    CHECK_EQ_U64(stats.attached, 3);
    CHECK_EQ_U64(stats.refused_stepped, 2);
    CHECK_EQ_U64(stats.refused_hot, 1);
    CHECK_EQ_U64(stats.failed, 1);

    CHECK_EQ_INT(target_byte(target, UPROBE_TARGET_PUSH), BREAKPOINT);
    CHECK_EQ_INT(target_byte(other, UPROBE_TARGET_PUSH), 0x53);
    target_call(target, UPROBE_TARGET_PUSH, UPROBE_TARGET_ITSELF, CALLS);
    target_call(target, UPROBE_TARGET_PUSH_R12, UPROBE_TARGET_THREADS, CALLS);
    target_call(target, UPROBE_TARGET_NOP, UPROBE_TARGET_ITSELF, 1);
    target_call(target, UPROBE_TARGET_ENDBR64, UPROBE_TARGET_ITSELF, CALLS);
    target_call(target, UPROBE_TARGET_PUSH, UPROBE_TARGET_CHILD, CALLS);
    target_call(other, UPROBE_TARGET_PUSH, UPROBE_TARGET_THREADS, CALLS);
    target_call(other, UPROBE_TARGET_NOP, UPROBE_TARGET_ITSELF, CALLS);
    CHECK_EQ_U64(uprobes_hits(uprobes, probes[0].id), CALLS);
    CHECK_EQ_U64(uprobes_hits(uprobes, probes[2].id), CALLS * UPROBE_TARGET_THREAD_COUNT);
    CHECK_EQ_U64(uprobes_hits(uprobes, probes[4].id), 1);
    CHECK_EQ_U64(skeleton->bss->probe_ran[probes[0].id], CALLS);
    CHECK_EQ_U64(skeleton->bss->probe_ran[probes[2].id], CALLS * UPROBE_TARGET_THREAD_COUNT);
    CHECK_EQ_U64(skeleton->bss->probe_ran_outside, 0);
    CHECK_EQ_INT(skeleton->bss->probe_tgid, target->pid);
    CHECK(!target_was_stepped(target));

    uprobes_detach(uprobes, other->pid); /* has none */
    CHECK_EQ_U64(stats_get(uprobes).attached, 3);
    uprobes_detach(uprobes, target->pid);
    target_call(target, UPROBE_TARGET_PUSH, UPROBE_TARGET_ITSELF, CALLS);
    CHECK_EQ_U64(uprobes_hits(uprobes, probes[0].id), 0);
    CHECK_EQ_U64(stats_get(uprobes).hits, CALLS * (1 + UPROBE_TARGET_THREAD_COUNT) + 1);
    CHECK_EQ_U64(stats_get(uprobes).attached, 0);
}

static void versions_check(struct uprobes *uprobes, const struct bpf_program *program,
                           struct target *target) {
    uint32_t old = attach_one(uprobes, program, target->pid, UPROBE_LIBRARY, "probed_versioned@LIBRARY_1");
    uint32_t plain = attach_one(uprobes, program, target->pid, UPROBE_LIBRARY, "probed_versioned");
    target_call(target, UPROBE_TARGET_VERSION_1, UPROBE_TARGET_ITSELF, 3);
    target_call(target, UPROBE_TARGET_VERSION_2, UPROBE_TARGET_ITSELF, 5);
    CHECK_EQ_U64(uprobes_hits(uprobes, old), 3);
    CHECK_EQ_U64(uprobes_hits(uprobes, plain), 5);
    attach_refused(uprobes, program, target->pid, UPROBE_LIBRARY, "probed_versioned@LIBRARY_3", -ENOENT);
    attach_refused(uprobes, program, target->pid, TARGET_UPROBE, "probed_push@LIBRARY_1", -ENOENT);
    attach_refused(uprobes, program, target->pid, "/proc/self/status", "probed_push", -ENOEXEC);
    attach_refused(uprobes, program, target->pid, "/nowhere", "probed_push", -ENOENT);
    attach_refused(uprobes, program, -1, TARGET_UPROBE, "probed_push", -ESRCH);
}

/* More than there is room for, and the ids come back. */
static void room_check(struct uprobes *uprobes, const struct bpf_program *program,
                       const struct target *target) {
    struct uprobe probe = {.symbol = "probed_push"};
    uint64_t before = stats_get(uprobes).attached;
    unsigned put = 0;
    while (put <= PROBES_ROOM && uprobes_attach(uprobes, program, target->pid, TARGET_UPROBE, &probe, 1) == 0)
        put++;
    CHECK_EQ_INT(probe.error, -ENOSPC);
    CHECK_EQ_U64(before + put, PROBES_ROOM);
    CHECK_EQ_U64(stats_get(uprobes).attached, PROBES_ROOM);
    uprobes_detach(uprobes, target->pid);
    CHECK_EQ_U64(stats_get(uprobes).attached, 0);
    CHECK_EQ_U64(
        uprobes_hits(uprobes, attach_one(uprobes, program, target->pid, TARGET_UPROBE, "probed_push")), 0);
}

int main(void) {
    struct uprobe_probe_bpf *skeleton = NULL;
    struct uprobes *uprobes = NULL;
    struct target target = {0}, other = {0};
    if (!probe_capable())
        return PROBE_SKIPPED;
    skeleton = uprobe_probe_bpf__open();
    /* Taking a probe away takes the kernel some time. */
    if (!CHECK(skeleton && bpf_map__set_max_entries(skeleton->maps.uprobe_hits, PROBES_ROOM) == 0 &&
               uprobe_probe_bpf__load(skeleton) == 0))
        return check_summary();
    unsigned descriptors = descriptors_count();
    CHECK_EQ_INT(uprobes_open(skeleton->maps.bss, &uprobes), -EINVAL);
    if (!CHECK_EQ_INT(uprobes_open(skeleton->maps.uprobe_hits, &uprobes), 0))
        return check_summary();
    target_start(&target);
    target_start(&other);
    for (unsigned i = 0; i < UPROBE_TARGET_FUNCTIONS; i++) { /* the code is there, and they tell where */
        target_call(&target, i, UPROBE_TARGET_ITSELF, 1);
        target_call(&other, i, UPROBE_TARGET_ITSELF, 1);
    }
    program_check(uprobes, skeleton, &target, &other);
    versions_check(uprobes, skeleton->progs.probe_function, &target);
    room_check(uprobes, skeleton->progs.probe_function, &target);

    uint64_t ran = skeleton->bss->probe_ran[0];
    CHECK_EQ_INT(target_byte(&target, UPROBE_TARGET_PUSH), BREAKPOINT);
    uprobes_close(uprobes);
    CHECK_EQ_INT(target_byte(&target, UPROBE_TARGET_PUSH), 0x53);
    CHECK_EQ_INT(target_byte(&target, UPROBE_TARGET_VERSION_2), 0x55);
    target_call(&target, UPROBE_TARGET_PUSH, UPROBE_TARGET_THREADS, CALLS);
    CHECK_EQ_U64(skeleton->bss->probe_ran[0], ran);
    CHECK(!target_was_stepped(&target));
    target_end(&target);
    target_end(&other);
    CHECK_EQ_INT(descriptors_count(), descriptors);
    uprobe_probe_bpf__destroy(skeleton);
    uprobes_close(NULL);
    return check_summary();
}
