/* SPDX-License-Identifier: MIT */
#include "cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collector/collector.h"
#include "collector/kernel_need.h"
#include "collector/kernel_probes.h"
#include "collector/output.h"
#include "collector/symbol.h"
#include "model/model.h"

__attribute__((format(printf, 3, 4))) static void find(struct doctor_finding *finding,
                                                       enum doctor_grade grade, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
    finding->grade = grade;
}

static void cure(struct doctor_finding *finding, const char *text) {
    snprintf(finding->cure, sizeof finding->cure, "%s", text);
}

/* The first line of a small file, without its end. Returns false where it cannot be read. */
static bool line_read(const char *path, char *ret_line, size_t bytes) {
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool got = fgets(ret_line, (int)bytes, file) != NULL;
    fclose(file);
    if (got)
        ret_line[strcspn(ret_line, "\n")] = '\0';
    return got;
}

static void kernel_look(struct doctor_finding *finding) {
    struct utsname name;
    if (uname(&name) != 0) {
        find(finding, DOCTOR_NO, "uname: %s", strerror(errno));
        return;
    }
    find(finding, DOCTOR_OK, "%s %s %s", name.sysname, name.release, name.machine);
}

static void memory_file_look(struct doctor_finding *finding) {
    int descriptor = memfd_create("waitscope-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) {
        find(finding, DOCTOR_NO, "memfd_create: %s", strerror(errno));
        cure(finding, "needs Linux 3.17 or later, and no filter on system calls");
        return;
    }
    if (ftruncate(descriptor, 4096) != 0 ||
        fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        find(finding, DOCTOR_NO, "sealing a memory file: %s", strerror(errno));
        cure(finding, "see ulimit -f, and whether a sandbox filters system calls");
    } else {
        find(finding, DOCTOR_OK, "can be made and sealed");
    }
    close(descriptor);
}

static void pidfd_look(struct doctor_finding *finding) {
    int descriptor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (descriptor < 0) {
        find(finding, DOCTOR_LESS, "pidfd_open: %s", strerror(errno));
        cure(finding, "Linux 5.3 or later tells at once when a process ends");
        return;
    }
    close(descriptor);
    find(finding, DOCTOR_OK, "the end of a process is told at once");
}

static const char *temporary_folder(void) {
    const char *named = getenv("TMPDIR");
    return named && named[0] == '/' ? named : "/tmp";
}

static void temporary_look(struct doctor_finding *finding) {
    const char *folder = temporary_folder();
    if (access(folder, W_OK | X_OK) != 0) {
        find(finding, DOCTOR_NO, "%s: %s", folder, strerror(errno));
        cure(finding, "a folder that can be written to is needed there");
        return;
    }
    find(finding, DOCTOR_OK, "%s can be written to", folder);
}

static void clock_look(struct doctor_finding *finding) {
    char source[64] = "unknown", line[8192];
    bool constant = false, nonstop = false;
    line_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof source);
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "flags", 5) == 0) {
            constant = strstr(line, " constant_tsc") != NULL;
            nonstop = strstr(line, " nonstop_tsc") != NULL;
            break;
        }
    if (file)
        fclose(file);
    if (constant && nonstop && strcmp(source, "tsc") == 0) {
        find(finding, DOCTOR_OK, "the processor's own counter, invariant; clocksource tsc");
        return;
    }
    find(finding, DOCTOR_LESS, "clock_gettime: clocksource %s%s%s", source,
         constant ? "" : ", no constant_tsc", nonstop ? "" : ", no nonstop_tsc");
    cure(finding, "as exact, but each wait costs a little more to record");
}

static void agent_look(struct doctor_finding *finding) {
    char path[PATH_MAX];
    int status = agent_find(NULL, path);
    if (status < 0) {
        find(finding, DOCTOR_NO, "libwaitscope-agent.so: %s", strerror(-status));
        cure(finding, "it belongs into ../lib, seen from the program");
    } else {
        find(finding, DOCTOR_OK, "%s", path);
    }
}

/* The whole way once: agent found, loaded into a process, heard of, trace written and read. */
static void record_look(struct doctor_finding *finding) {
    char folder[PATH_MAX], trace[PATH_MAX + 16], why[256] = "";
    char *command[] = {"true", NULL};
    struct collector_options options = {
        .command = command, .listen_fd = -1, .output = trace, .no_kernel = true};
    struct collector_result result = {0};
    struct model *model = NULL;

    int used = snprintf(folder, sizeof folder, "%s/waitscope-doctor.XXXXXX", temporary_folder());
    if (used < 0 || (size_t)used >= sizeof folder || !mkdtemp(folder)) {
        find(finding, DOCTOR_NO, "no folder for a trace in %s: %s", temporary_folder(), strerror(errno));
        return;
    }
    snprintf(trace, sizeof trace, "%s/true.trace", folder);
    int status = collector_record(&options, &result);
    if (status < 0) {
        find(finding, DOCTOR_NO, "recording `true`: %s", strerror(-status));
    } else if (result.exit != COLLECTOR_EXIT_CODE || result.value != 0) {
        find(finding, DOCTOR_NO, "`true` ends otherwise than by itself: %s %d",
             result.exit == COLLECTOR_EXIT_SIGNAL ? "signal" : "status", result.value);
    } else if (result.processes == 0 || result.trace_errno) {
        find(finding, DOCTOR_NO, "%s",
             result.note[0]       ? result.note
             : result.trace_errno ? strerror(result.trace_errno)
                                  : "the agent was not heard of");
    } else if ((status = model_open(trace, &model, why, sizeof why)) < 0) {
        find(finding, DOCTOR_NO, "reading the trace of `true`: %s", why[0] ? why : strerror(-status));
    } else {
        find(finding, DOCTOR_OK, "`true` was recorded; starting the agent took %" PRIu64 " us",
             model_cost(model)->setup_ns / 1000);
    }
    model_free(model);
    unlink(trace);
    if (result.trace_path[0])
        unlink(result.trace_path);
    rmdir(folder);
}

struct library {
    const char *suffix;
    char path[PATH_MAX];
    uintptr_t bias;
};

static int library_find(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct library *library = data;
    const char *base = strrchr(info->dlpi_name, '/');
    if (!base || strcmp(base + 1, library->suffix) != 0)
        return 0;
    snprintf(library->path, sizeof library->path, "%s", info->dlpi_name);
    library->bias = info->dlpi_addr;
    return 1;
}

static void symbols_look(struct doctor_finding *finding) {
    struct symbolizer *symbolizer = NULL;
    struct symbol_module *module;
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    struct library libc = {.suffix = "libc.so.6"};

    if (!dl_iterate_phdr(library_find, &libc) || symbolizer_new(&symbolizer) < 0 ||
        symbolizer_module(symbolizer, libc.path, NULL, &module) < 0) {
        find(finding, DOCTOR_LESS, "the C library's symbols cannot be read");
    } else if (symbol_resolve(module, (uintptr_t)qsort - libc.bias, frames) == 0 || !frames[0].function) {
        find(finding, DOCTOR_LESS, "%s has no symbols", libc.path);
    } else if (!frames[0].file) {
        find(finding, DOCTOR_INFO, "names of the C library's functions, without lines");
        cure(finding, "package libc6-dbg has them; your own programs need -g");
    } else {
        find(finding, DOCTOR_OK, "names and lines, for the C library too");
    }
    symbolizer_free(symbolizer);
}

static void node_look(struct doctor_finding *finding) {
    char version[64] = "";
    FILE *node = popen("command -v node >/dev/null && node --version 2>/dev/null", "re");
    if (node) {
        if (!fgets(version, sizeof version, node))
            version[0] = '\0';
        pclose(node);
    }
    version[strcspn(version, "\n")] = '\0';
    if (version[0])
        find(finding, DOCTOR_OK, "%s: its threads and locks are recorded, JavaScript names are not yet",
             version);
    else
        find(finding, DOCTOR_INFO, "none on the PATH: only needed to record Node programs");
}

static void need_look(enum kernel_need_id id, struct doctor_finding *finding) {
    struct kernel_need need;
    kernel_need_look(id, &need);
    find(finding, need.missing ? DOCTOR_LESS : DOCTOR_OK, "%s", need.found);
    cure(finding, need.cure);
}

static void proc_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_PROC, finding);
}

static void types_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_BTF, finding);
}

static void lockdown_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_LOCKDOWN, finding);
}

static void bpf_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_CAP_BPF, finding);
}

static void perfmon_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_CAP_PERFMON, finding);
}

static void bpf_call_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_BPF_CALL, finding);
}

static void event_look(struct doctor_finding *finding) {
    need_look(KERNEL_NEED_PERF_EVENT, finding);
}

static void record_ignored(void *argument, const void *data, size_t bytes) {
    (void)argument;
    (void)data;
    (void)bytes;
}

static void probes_look(struct doctor_finding *finding) {
    struct kernel_probes_options options = {.sample_hz = 99, .record = record_ignored};
    struct kernel_probes_stats stats;
    struct kernel_probes *probes = NULL;
    char missing[192];
    int error = kernel_probes_open(&options, &probes);
    if (error != 0 && kernel_needs_missing(missing, sizeof missing)) {
        find(finding, DOCTOR_LESS, "the probes do not load: %s", missing);
        cure(finding, "see above; without them the agent records alone");
        return;
    }
    if (error != 0) {
        find(finding, DOCTOR_LESS, "the probes do not load: %s", strerror(-error));
        cure(finding, "Linux 5.18 or later has all of it");
        return;
    }
    kernel_probes_stats(probes, &stats);
    find(finding, DOCTOR_OK, "the scheduler's probes loaded in %" PRIu64 " ms", stats.load_ns / 1000000);
    kernel_probes_close(probes);
}

const struct doctor_check DOCTOR_CHECKS[] = {
    {"kernel", kernel_look},
    {"memory files", memory_file_look},
    {"process handles", pidfd_look},
    {"temporary files", temporary_look},
    {"clock", clock_look},
    {"agent", agent_look},
    {"recording", record_look},
    {"symbols", symbols_look},
    {"node", node_look},
    {"processes", proc_look},
    {"BTF", types_look},
    {"lockdown", lockdown_look},
    {"CAP_BPF", bpf_look},
    {"CAP_PERFMON", perfmon_look},
    {"bpf calls", bpf_call_look},
    {"perf events", event_look},
    {"kernel probes", probes_look},
    {NULL, NULL},
};
