/* SPDX-License-Identifier: MIT */
/* One recording from its set-up to its result; loop.c does what lies between. */
#include "collector/collector.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/kernel.h"
#include "collector/launch.h"
#include "collector/loop.h"
#include "collector/output.h"
#include "collector/privilege.h"
#include "collector/recording.h"
#include "collector/symbol.h"
#include "collector/user_socket.h"

/* A child that outlived its recording, for collector_wait_child(). */
static struct {
    int pid;
    int signals;
    struct launch_inherited inherited;
} outliving = {.signals = -1};

static void note_set(struct collector_result *result, const char *what, int error) {
    snprintf(result->note, sizeof(result->note), "%s: %s", what, strerror(-error));
}

static void result_child(struct collector_result *result, int status) {
    result->exit = WIFSIGNALED(status) ? COLLECTOR_EXIT_SIGNAL : COLLECTOR_EXIT_CODE;
    result->value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static char **environment_copy(void) {
    size_t count = 0;
    while (environ[count])
        count++;
    char **copy = calloc(count + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++)
        copy[i] = environ[i];
    return copy;
}

/*
 * The environment of a traced target, or NULL with the note saying why there is none. LD_PRELOAD is
 * split at spaces and colons: an agent with such a path is reached through a link.
 */
static char **target_environment(const struct collector_options *options, const struct listener *listener,
                                 struct collector_result *result) {
    char agent[PATH_MAX], link[PATH_MAX], period[32] = "";
    if (options->no_agent)
        return environment_copy();
    int error = agent_find(options->agent, agent);
    if (error != 0) {
        note_set(result, "no agent library", error);
        return NULL;
    }
    if (strpbrk(agent, " :\t\n") || strchr(agent, '$')) {
        snprintf(link, sizeof(link), "%s/%s", listener_directory(listener), LISTENER_AGENT_LINK);
        if (symlink(agent, link) != 0) {
            note_set(result, "no link to the agent library", -errno);
            return NULL;
        }
        strcpy(agent, link);
    }
    if (options->hold_period)
        snprintf(period, sizeof(period), "hold=%u", options->hold_period);
    char **environment = launch_environment(agent, listener_path(listener), period);
    if (!environment)
        note_set(result, "not recorded", -ENOMEM);
    return environment;
}

static void recording_close(struct recording *recording) {
    kernel_close(recording->kernel);
    trace_writer_free(recording->writer);
    drain_free(recording->drain);
    listener_free(recording->listener);
    counts_clear(recording);
    table_clear(&recording->shared_locks);
    catalogue_clear(&recording->catalogue);
    free(recording->images);
    if (recording->epoll >= 0)
        close(recording->epoll);
    free(recording);
}

static struct recording *recording_new(void) {
    struct recording *recording = calloc(1, sizeof(*recording));
    if (!recording)
        return NULL;
    recording->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (recording->epoll < 0 || drain_new(&recording->drain) != 0) {
        recording_close(recording);
        return NULL;
    }
    return recording;
}

/* The trace is open: its clock and its first rows. */
static void recording_begin(struct recording *recording, const struct collector_options *options) {
    trace_writer_breathe(recording->writer, drain_breathe, recording);
    clock_start(&recording->clock);
    environment_write(recording, options);
}

/* The kernel's side, where it can be had; else the result says why not. */
static void kernel_start(struct recording *recording, const struct collector_options *options, int pid,
                         struct collector_result *result) {
    struct kernel_probes_options probes = {.sample_hz = options->sample_hz, .no_follow = options->no_follow};
    if (options->no_kernel)
        return;
    int error = kernel_open(recording, &probes, options->no_agent, &recording->kernel);
    if (error == 0)
        error = kernel_follow(recording->kernel, pid);
    if (error == 0)
        return;
    kernel_close(recording->kernel);
    recording->kernel = NULL;
    kernel_why_not(error, result->kernel_note, sizeof(result->kernel_note));
    environment_add(recording, "kernel_side", result->kernel_note);
}

/* What is open by now goes to whom we become: a user can read the trace that he made by sudo. */
static void privileges_give_up(struct recording *recording, const struct collector_options *options) {
    struct privilege_user user;
    char text[256];
    if (!options->drop_privileges || !recording->kernel)
        return;
    bool other = privilege_user_find(&user);
    if (other) {
        trace_writer_give(recording->writer, user.uid, user.gid);
        listener_give(recording->listener, user.uid, user.gid);
    }
    int error = privilege_drop(other ? &user : NULL);
    privilege_describe(text, sizeof(text));
    environment_add(recording, "collector_privileges", text);
    if (error != 0)
        environment_add(recording, "collector_privileges_kept", strerror(-error));
}

/* What the kernel's side cost and lost. */
static void kernel_facts(struct recording *recording) {
    struct kernel_probes_stats stats;
    char text[32];
    if (!recording->kernel)
        return;
    kernel_stats(recording->kernel, &stats);
    const struct {
        const char *key;
        uint64_t value;
    } facts[] = {
        {"kernel_load_ns", stats.load_ns},
        {"kernel_records_lost", stats.counters.lost},
        {"kernel_threads_lost", stats.counters.threads_lost},
        {"kernel_tables_bytes", stats.tables.bytes},
        {"kernel_tables_build_ns", stats.tables.build_ns},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)facts[i].value);
        environment_add(recording, facts[i].key, text);
    }
}

/* What is left to do when nothing more comes: ends, names, totals, the trace's last block. */
static void recording_finish(struct recording *recording, struct collector_result *result) {
    char refused[32];
    struct rusage used;
    kernel_finish(recording->kernel);
    while (recording->image_count > 0)
        image_end(recording, recording->images[recording->image_count - 1], TRACE_EXIT_UNKNOWN, 0);
    uint64_t end = clock_now_ns();
    kernel_facts(recording);
    if (recording->refused > 0) {
        snprintf(refused, sizeof(refused), "%llu", (unsigned long long)recording->refused);
        environment_add(recording, "refused_agents", refused);
    }
    symbolise_write(recording);
    if (kernel_symbols_are_hidden(recording->kernel)) {
        snprintf(result->kernel_note, sizeof(result->kernel_note),
                 "the kernel's frames have no names: /proc/kallsyms hides its addresses (see "
                 "kernel.kptr_restrict; "
                 "or CAP_SYSLOG is missing)");
        environment_add(recording, "kernel_symbols", "hidden");
    }
    struct trace_end row = {.time = end, .emitted = recording->emitted, .stored = recording->stored};
    if (getrusage(RUSAGE_SELF, &used) == 0)
        row.collector_cpu_ns = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000ULL +
                               (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000ULL;
    trace_writer_row(recording->writer, TRACE_END, 0, &row);
    int error = trace_writer_finish(recording->writer);
    if (error != 0)
        result->trace_errno = -error;
    result->processes = recording->catalogue.process_count;
}

static bool note_stood_down(const struct recording *recording, struct collector_result *result) {
    static const char *const WHY[] = {
        [HELLO_REFUSED_FILE_LIMIT] = "its file size limit (ulimit -f) leaves no room for the agent's memory",
        [HELLO_REFUSED_MEMORY] = "no memory for the agent",
        [HELLO_REFUSED_SANITIZER] = "it has a sanitizer's runtime, and the agent stood down",
        [HELLO_REFUSED_LIBC] = "its C library is not glibc, and the agent stood down",
    };
    int error = recording->stood_down.error;
    if (recording->stood_down.why == HELLO_STANDS)
        return false;
    bool tell_error = recording->stood_down.why == HELLO_REFUSED_MEMORY && error > 0;
    snprintf(result->note, sizeof(result->note), "process %d was not recorded: %s%s%s",
             recording->stood_down.pid, WHY[recording->stood_down.why], tell_error ? ": " : "",
             tell_error ? strerror(error) : "");
    return true;
}

static bool note_limited(const struct recording *recording, struct collector_result *result) {
    if (recording->limited.pid == 0)
        return false;
    snprintf(result->note, sizeof(result->note),
             "the file size limit of process %d (ulimit -f) leaves room for %u KiB a thread only: events may "
             "be lost",
             recording->limited.pid, recording->limited.ring_bytes / 1024);
    return true;
}

static void note_nothing_reported(const struct collector_options *options, const struct recording *recording,
                                  struct collector_result *result) {
    if (result->note[0] || note_stood_down(recording, result) || note_limited(recording, result) ||
        recording->agents_seen || options->no_agent)
        return;
    if (preload_refused(options->command[0], result->note, sizeof(result->note)))
        return;
    snprintf(result->note, sizeof(result->note),
             recording->refused > 0
                 ? "the agent in %.100s reported, but was not believed"
                 : "no agent reported from %.100s: it does not use threads' locks, or did not load the agent",
             options->command[0]);
}

/* Waits for a child without recording, passing signals on. */
static int child_wait(int pid, int signals) {
    int status = 0;
    struct pollfd ready = {.fd = signals, .events = POLLIN};
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return status;
        if (got < 0 && errno != EINTR)
            return 0;
        poll(&ready, 1, 1000);
        loop_signals_forward(signals, pid);
    }
}

static bool directory_fall_back(void) {
    const char *directory = getenv("TMPDIR");
    return chdir(directory && directory[0] == '/' ? directory : "/tmp") == 0;
}

static void record_preloaded(const struct collector_options *options, struct recording *recording,
                             int signals, struct collector_result *result) {
    char link[64], program[PATH_MAX];
    result->exit = COLLECTOR_EXIT_NONE;
    snprintf(link, sizeof(link), "/proc/%d/exe", options->target_pid);
    ssize_t size = readlink(link, program, sizeof(program) - 1);
    program[size > 0 ? size : 0] = '\0';
    int target = (int)syscall(SYS_pidfd_open, options->target_pid, 0U);
    recording->now = recording->begin_ns = clock_now_ns();
    int error =
        output_open(options->output, program, options->target_pid, &recording->writer, result->trace_path);
    /* Nobody is told where it failed: a service whose directory is not its own still leaves a trace. */
    if (error != 0 && !options->output && directory_fall_back())
        error = output_open(NULL, program, options->target_pid, &recording->writer, result->trace_path);
    if (error != 0) {
        result->trace_errno = -error;
        if (target >= 0)
            close(target);
        return;
    }
    recording->child = recording->no_follow ? options->target_pid : 0;
    recording_begin(recording, options);
    loop_run(recording, &(struct loop_options){.signals = signals,
                                               .target = target,
                                               .target_pid = options->target_pid,
                                               .duration_ns = options->duration_ns});
    recording_finish(recording, result);
    if (target >= 0)
        close(target);
}

/* A running process, by the kernel's side alone. Returns 0, or a negative errno: nothing was recorded. */
static int record_attached(const struct collector_options *options, struct recording *recording, int signals,
                           struct collector_result *result) {
    struct kernel_probes_options probes = {.sample_hz = options->sample_hz, .no_follow = options->no_follow};
    char link[64], program[PATH_MAX];
    int pid = options->attach_pid, target = (int)syscall(SYS_pidfd_open, pid, 0U);
    result->exit = COLLECTOR_EXIT_NONE;
    if (target < 0)
        return errno == EINVAL ? -ESRCH : -errno; /* a thread's number is no process */
    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    ssize_t size = readlink(link, program, sizeof(program) - 1);
    program[size > 0 ? size : 0] = '\0';
    recording->now = recording->begin_ns = clock_now_ns();
    int error = listener_new(&recording->listener);
    if (error != 0)
        goto cleanup;
    error = kernel_open(recording, &probes, true, &recording->kernel);
    if (error != 0) {
        kernel_why_not(error, result->kernel_note, sizeof(result->kernel_note));
        goto cleanup;
    }
    error = output_open(options->output, program, pid, &recording->writer, result->trace_path);
    if (error != 0) {
        result->trace_errno = -error;
        error = 0;
        goto cleanup;
    }
    recording_begin(recording, options);
    recording->child = recording->no_follow ? pid : 0;
    privileges_give_up(recording, options); /* its files are read next */
    error = kernel_attach(recording->kernel, pid, result->kernel_note, sizeof(result->kernel_note));
    if (error == 0 && result->kernel_note[0])
        environment_add(recording, "kernel_side", result->kernel_note);
    if (error != 0) {
        unlink(result->trace_path);
        result->trace_path[0] = '\0';
        goto cleanup;
    }
    if (options->listening)
        options->listening(result->trace_path);
    loop_run(recording, &(struct loop_options){.signals = signals,
                                               .target = target,
                                               .target_pid = pid,
                                               .duration_ns = options->duration_ns});
    recording_finish(recording, result);
cleanup:
    close(target);
    return error;
}

/* For all who report to this user's collector. Returns 0 or a negative errno: nothing was recorded. */
static int record_standing(const struct collector_options *options, struct recording *recording, int signals,
                           struct collector_result *result) {
    struct user_socket socket = {.lock = -1};
    result->exit = COLLECTOR_EXIT_NONE;
    int error = user_socket_listen(&socket);
    if (error != 0)
        return error;
    error = listener_adopt(socket.listen_fd, socket.path, false, &recording->listener);
    if (error != 0)
        goto cleanup;
    recording->now = recording->begin_ns = clock_now_ns();
    error = output_open(options->output, "collect", getpid(), &recording->writer, result->trace_path);
    if (error != 0) {
        result->trace_errno = -error;
        error = 0;
        goto cleanup;
    }
    recording_begin(recording, options);
    if (options->listening)
        options->listening(socket.path);
    loop_run(recording,
             &(struct loop_options){
                 .signals = signals, .target = -1, .standing = true, .duration_ns = options->duration_ns});
    recording_finish(recording, result);
    if (result->processes == 0) {
        unlink(result->trace_path);
        result->trace_path[0] = '\0';
        snprintf(result->note, sizeof(result->note), "no program reported");
    }
    note_stood_down(recording, result);
cleanup:
    close(socket.lock);
    return error;
}

static int record_command(const struct collector_options *options, struct recording *recording, int signals,
                          const struct launch_inherited *inherited, struct collector_result *result) {
    char **environment = NULL;
    struct launch launch;
    int error = recording ? listener_new(&recording->listener) : -ENOMEM;
    if (error != 0)
        note_set(result, "not recorded: no socket", error);
    else
        environment = target_environment(options, recording->listener, result);
    error = launch_fork(options->command, environment, inherited, &launch);
    free(environment);
    bool traced = environment != NULL;
    if (error != 0)
        return error;
    result->pid = launch.pid;

    if (traced) {
        prctl(PR_SET_TIMERSLACK, 1000UL); /* ns; after the fork, for a child inherits it */
        recording->child = launch.pid;
        error = output_open(options->output, options->command[0], launch.pid, &recording->writer,
                            result->trace_path);
        if (error != 0) {
            result->trace_errno = -error;
            note_set(result, "not recorded: no trace file", error);
            traced = false;
        }
    }
    if (traced) {
        recording->now = recording->begin_ns = clock_now_ns();
        recording_begin(recording, options);
        kernel_start(recording, options, launch.pid, result);
    }
    error = launch_go(&launch, traced);
    if (error != 0) {
        waitpid(launch.pid, NULL, 0);
        result->exit = error == ENOENT ? COLLECTOR_EXIT_NOT_FOUND : COLLECTOR_EXIT_NOT_RUN;
        result->value = error;
        result->pid = 0;
        if (traced)
            unlink(result->trace_path);
        result->trace_path[0] = '\0';
        return 0;
    }
    if (!traced) {
        result_child(result, child_wait(launch.pid, signals));
        return 0;
    }
    privileges_give_up(recording, options);
    loop_run(recording,
             &(struct loop_options){.signals = signals, .target = -1, .duration_ns = options->duration_ns});
    recording_finish(recording, result);
    note_nothing_reported(options, recording, result);
    result->exit = COLLECTOR_EXIT_RUNNING;
    if (recording->child_ended)
        result_child(result, recording->child_status);
    return 0;
}

int collector_record(const struct collector_options *options, struct collector_result *ret_result) {
    struct collector_result result = {.exit = COLLECTOR_EXIT_NONE};
    struct launch_inherited inherited;
    struct recording *recording = NULL;
    int error = 0;
    int signals = launch_prepare(&inherited);
    if (signals < 0)
        return signals;
    recording = recording_new();
    if (recording)
        recording->no_follow = options->no_follow;
    if (options->command) {
        error = record_command(options, recording, signals, &inherited, &result);
    } else if (options->attach_pid) {
        error = recording ? record_attached(options, recording, signals, &result) : -ENOMEM;
        if (error != 0 && result.kernel_note[0]) /* which says why */
            *ret_result = result;
    } else if (options->listen_fd < 0) {
        error = recording ? record_standing(options, recording, signals, &result) : -ENOMEM;
    } else {
        error = recording
                    ? listener_adopt(options->listen_fd, options->socket_path, true, &recording->listener)
                    : -ENOMEM;
        if (error == 0)
            record_preloaded(options, recording, signals, &result);
    }
    if (recording)
        recording_close(recording);
    if (error == 0)
        *ret_result = result;
    if (error == 0 && result.exit == COLLECTOR_EXIT_RUNNING) {
        outliving.pid = result.pid;
        outliving.signals = signals;
        outliving.inherited = inherited;
        return 0;
    }
    close(signals);
    launch_restore(&inherited);
    return error;
}

int collector_wait_child(struct collector_result *result) {
    if (outliving.signals < 0 || result->pid != outliving.pid)
        return -ECHILD;
    result_child(result, child_wait(outliving.pid, outliving.signals));
    close(outliving.signals);
    outliving.signals = -1;
    launch_restore(&outliving.inherited);
    return 0;
}
