/* SPDX-License-Identifier: MIT */
/*
 * Records: starts the target or is started by one, drains every process of it, merges, symbolises,
 * and writes the trace. Prints nothing: what there is to say is in the result.
 */
#ifndef WAITSCOPE_COLLECTOR_COLLECTOR_H
#define WAITSCOPE_COLLECTOR_COLLECTOR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct collector_options {
    char *const *command; /* argv of the target, NULL-terminated; NULL: a preloaded target runs already */
    int listen_fd;        /* with command NULL: the listening socket made by the agent; consumed. Else -1:
                           * whoever reports to this user's collector is recorded, into one trace */
    /* Of the latter: called once it listens, with where. NULL: nothing is called. */
    void (*listening)(const char *socket_path);
    const char *socket_path; /* with listen_fd: where it is bound; removed at the end. Else NULL */
    int target_pid;          /* with listen_fd: the process that started us */
    int attach_pid;       /* with command NULL: a running process is recorded by the kernel's side; 0: none */
    const char *output;   /* trace file; NULL: waitscope.<prog>.<pid>.trace, never overwriting */
    const char *agent;    /* libwaitscope-agent.so; NULL: found beside the program */
    uint64_t duration_ns; /* stop recording after this; 0: when the target ends, without one by a signal */
    bool no_follow;       /* only the launched process, not its children */
    uint32_t hold_period; /* 0: the agent's default */
    bool no_agent;        /* nothing is preloaded into the command */
    bool no_kernel;       /* no programs are loaded into the kernel */
    uint32_t sample_hz;   /* on-CPU samples a second and CPU, 0: none */
    /* Once the kernel's side is loaded and the command is started, this process gives up what it does not
     * need any more, for good (collector/privilege.h). The command keeps what it was started with. */
    bool drop_privileges;
};

enum collector_exit {
    COLLECTOR_EXIT_CODE = 1,      /* the target ended with this code */
    COLLECTOR_EXIT_SIGNAL = 2,    /* the target was killed by this signal */
    COLLECTOR_EXIT_NOT_FOUND = 3, /* it could not be started: 127 */
    COLLECTOR_EXIT_NOT_RUN = 4,   /* likewise: 126 */
    COLLECTOR_EXIT_RUNNING = 5,   /* recording ended before the target (duration) */
    COLLECTOR_EXIT_NONE = 6,      /* there was no command */
};

struct collector_result {
    enum collector_exit exit;
    int value;                 /* exit code, signal number or errno */
    int pid;                   /* of the launched target, 0 if none */
    char trace_path[PATH_MAX]; /* empty: none could be written */
    int trace_errno;           /* why there is no trace, or why it stopped early; 0: it is complete */
    uint32_t processes;        /* that an agent reported from */
    char note[256];            /* one line that says why nothing was recorded, or empty */
    char kernel_note[256];     /* one line that says what is missing of the kernel's side, or empty */
};

/*
 * Runs to the end of the recording. Returns 0 when the result is filled (also where tracing failed
 * and only the child ran), or a negative errno when not even the child could be looked after; -EALREADY
 * where a collector of this user runs already.
 * Blocks SIGINT, SIGQUIT, SIGTERM, SIGHUP and SIGCHLD in the calling thread while it runs and
 * forwards what must reach the child; with COLLECTOR_EXIT_RUNNING they stay blocked until
 * collector_wait_child(). Once the command has ended, it goes on while processes it left behind
 * live; SIGINT, SIGTERM or SIGHUP then ends the recording. Call from the main thread.
 */
int collector_record(const struct collector_options *options, struct collector_result *ret_result);

/* With COLLECTOR_EXIT_RUNNING: waits for the child of the last collector_record and fills exit and
 * value anew. */
int collector_wait_child(struct collector_result *result);

#endif
