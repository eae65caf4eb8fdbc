/* SPDX-License-Identifier: MIT */
#include "collector/kernel_need.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "collector/kernel_namespace.h"

#define BTF_PATH "/sys/kernel/btf/vmlinux"
/* include/uapi/linux/capability.h of Linux 5.8 */
#define NUMBER_SYS_ADMIN 21
#define NUMBER_PERFMON 38
#define NUMBER_BPF 39
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDU /* include/linux/proc_ns.h, PROC_USER_INIT_INO */

__attribute__((format(printf, 2, 3))) static void found(struct kernel_need *need, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(need->found, sizeof(need->found), format, arguments);
    va_end(arguments);
}

static void missing(struct kernel_need *need, const char *cure) {
    need->missing = true;
    snprintf(need->cure, sizeof(need->cure), "%s", cure);
}

/* The first line of a small file, without its end; what is there already where it cannot be read. */
static void line_read(const char *path, char *line, size_t bytes) {
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (fgets(line, (int)bytes, file))
        line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

static uint64_t capabilities_read(void) {
    char line[256];
    uint64_t effective = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
            break;
    if (file)
        fclose(file);
    return effective;
}

static void proc_look(struct kernel_need *need) {
    bool inner = kernel_namespace_inner();
    if (kernel_namespace_has_proc()) {
        found(need, "/proc is of this pid namespace%s", inner ? ", which is not the initial one" : "");
        return;
    }
    found(need, "/proc is of another pid namespace");
    missing(need, "mount one of this (unshare --mount-proc)");
}

static void types_look(struct kernel_need *need) {
    int fd = open(BTF_PATH, O_RDONLY | O_CLOEXEC);
    int error = errno;
    if (fd >= 0) {
        close(fd);
        found(need, "%s", BTF_PATH);
        return;
    }
    found(need, "no type information (BTF): %s: %s", BTF_PATH, strerror(error));
    missing(need, "a kernel with CONFIG_DEBUG_INFO_BTF, as distributions ship it, and /sys mounted");
}

static void lockdown_look(struct kernel_need *need) {
    char line[128] = "[none]";
    line_read("/sys/kernel/security/lockdown", line, sizeof(line));
    if (strstr(line, "[confidentiality]")) {
        found(need, "kernel lockdown is confidentiality");
        missing(need, "boot without lockdown=confidentiality; integrity is fine");
        return;
    }
    found(need, "%s", strstr(line, "[integrity]") ? "integrity, which is fine" : "none");
}

static void capability_look(unsigned number, const char *name, const char *what, struct kernel_need *need) {
    uint64_t effective = capabilities_read();
    struct stat status;
    if ((effective & (1ULL << number | 1ULL << NUMBER_SYS_ADMIN)) == 0) {
        found(need, "no %s: %s", name, what);
        missing(need, "run as root, or give the program this capability");
    } else if (stat("/proc/self/ns/user", &status) == 0 && status.st_ino != INITIAL_USER_NAMESPACE) {
        found(need, "%s in a user namespace only: %s", name, what);
        missing(need, "run outside of the user namespace (a container without root)");
    } else {
        found(need, "yes");
    }
}

static void bpf_look(struct kernel_need *need) {
    char disabled[32] = "?";
    line_read("/proc/sys/kernel/unprivileged_bpf_disabled", disabled, sizeof(disabled));
    int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "waitscope", 4, 4, 1, NULL);
    if (fd >= 0) {
        close(fd);
        found(need, "bpf() can be called; unprivileged_bpf_disabled %s", disabled);
        return;
    }
    found(need, "bpf() is refused (unprivileged_bpf_disabled %s): %s", disabled, strerror(-fd));
    missing(need, "it takes CAP_BPF; with that, a filter on system calls (seccomp) is in the way");
}

static void event_look(struct kernel_need *need) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof(attributes), .config = PERF_COUNT_SW_DUMMY};
    char paranoid[32] = "?";
    line_read("/proc/sys/kernel/perf_event_paranoid", paranoid, sizeof(paranoid));
    int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
    int error = fd >= 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    if (error == 0 || error == ENODEV) { /* a CPU 0 that is off is not refused */
        found(need, "events of whole CPUs can be opened; perf_event_paranoid %s", paranoid);
        return;
    }
    found(need, "perf_event_open() is refused (perf_event_paranoid %s): %s", paranoid, strerror(error));
    missing(need, "it takes CAP_PERFMON; with that, a filter on system calls (seccomp) is in the way");
}

void kernel_need_look(enum kernel_need_id id, struct kernel_need *ret_need) {
    *ret_need = (struct kernel_need){0};
    switch (id) {
    case KERNEL_NEED_PROC:
        proc_look(ret_need);
        break;
    case KERNEL_NEED_BTF:
        types_look(ret_need);
        break;
    case KERNEL_NEED_LOCKDOWN:
        lockdown_look(ret_need);
        break;
    case KERNEL_NEED_CAP_BPF:
        capability_look(NUMBER_BPF, "CAP_BPF", "no program can be loaded", ret_need);
        break;
    case KERNEL_NEED_CAP_PERFMON:
        capability_look(NUMBER_PERFMON, "CAP_PERFMON", "no program can be attached", ret_need);
        break;
    case KERNEL_NEED_BPF_CALL:
        bpf_look(ret_need);
        break;
    case KERNEL_NEED_PERF_EVENT:
        event_look(ret_need);
        break;
    case KERNEL_NEEDS:
        break;
    }
}

bool kernel_needs_missing(char *ret_text, size_t bytes) {
    struct kernel_need needs[KERNEL_NEEDS];
    size_t used = 0;
    for (unsigned id = 0; id < KERNEL_NEEDS; id++)
        kernel_need_look(id, &needs[id]);
    if (needs[KERNEL_NEED_CAP_BPF].missing)
        needs[KERNEL_NEED_BPF_CALL].missing = false;
    if (needs[KERNEL_NEED_CAP_PERFMON].missing)
        needs[KERNEL_NEED_PERF_EVENT].missing = false;
    for (unsigned id = 0; id < KERNEL_NEEDS && used < bytes; id++)
        if (needs[id].missing)
            used +=
                (size_t)snprintf(ret_text + used, bytes - used, "%s%s", used ? "; " : "", needs[id].found);
    return used > 0;
}
