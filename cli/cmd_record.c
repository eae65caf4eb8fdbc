/* SPDX-License-Identifier: MIT */
/*
 * Runs a command under the collector and ends as the command ended. Whatever goes wrong with the
 * tracing, the command's result is the user's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/summary.h"
#include "collector/collector.h"

#define SAMPLE_HZ 99 /* not a divisor of what timers go by */
#define SAMPLE_HZ_MAX 10000

struct record_values {
    const char *output;
    uint64_t duration_ns;
    bool no_follow, exact_hold, kernel, no_agent, no_kernel;
    int sample_hz, pid;
};

static const struct cli_option OPTIONS[] = {
    {"output", 'o', CLI_OPTION_TEXT, offsetof(struct record_values, output), "FILE",
     "the trace; waitscope.<program>.<pid>.trace by default", NULL},
    {"duration", 'd', CLI_OPTION_SECONDS, offsetof(struct record_values, duration_ns), "SECONDS",
     "stop recording after this long; the command goes on", NULL},
    {"no-follow", 0, CLI_OPTION_FLAG, offsetof(struct record_values, no_follow), NULL,
     "leave out the command's child processes", NULL},
    {"exact-hold", 0, CLI_OPTION_FLAG, offsetof(struct record_values, exact_hold), NULL,
     "time every hold, not a sample; costs more", NULL},
    {"pid", 'p', CLI_OPTION_NUMBER, offsetof(struct record_values, pid), "PID",
     "a process that runs already, until it ends or Ctrl-C; by the kernel's side alone", NULL},
    {"frequency", 'F', CLI_OPTION_NUMBER, offsetof(struct record_values, sample_hz), "HZ",
     "samples a second of what runs on each CPU, 0 for none; 99 by default", NULL},
    {"kernel", 0, CLI_OPTION_FLAG, offsetof(struct record_values, kernel), NULL,
     "the kernel's side as well: where all of each thread's time went, and who woke it (as root)", NULL},
    {"no-agent", 0, CLI_OPTION_FLAG, offsetof(struct record_values, no_agent), NULL,
     "the kernel's side only: nothing is preloaded", NULL},
    {"no-kernel", 0, CLI_OPTION_FLAG, offsetof(struct record_values, no_kernel), NULL,
     "the agent's side only, as without --kernel", NULL},
    {0},
};

/* Ends as the command did. Returns only where the signal would not end us. */
static int signal_pass(int signal_number) {
    /* One core dump is enough: the command's own. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(signal_number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    fflush(NULL);
    raise(signal_number);
    return 128 + signal_number;
}

static int result_pass(const struct collector_result *result, const char *name) {
    switch (result->exit) {
    case COLLECTOR_EXIT_CODE:
        return result->value;
    case COLLECTOR_EXIT_SIGNAL:
        return signal_pass(result->value);
    case COLLECTOR_EXIT_NOT_FOUND:
        cli_say("%s: %s", name, strerror(result->value));
        return CLI_EXIT_NOT_FOUND;
    case COLLECTOR_EXIT_NOT_RUN:
        cli_say("%s: %s", name, strerror(result->value));
        return CLI_EXIT_NOT_RUN;
    case COLLECTOR_EXIT_RUNNING:
    case COLLECTOR_EXIT_NONE:
        break;
    }
    return CLI_EXIT_TRACING;
}

static void attached_say(const char *path) {
    cli_say("recording into %s; Ctrl-C ends it", path);
    cli_say("it is recorded without the agent: of its locks only waits at their futexes are told, not how "
            "often they "
            "are taken nor for how long they are held");
}

static int attach(const struct record_values *values) {
    struct collector_options options = {
        .listen_fd = -1,
        .listening = attached_say,
        .attach_pid = values->pid,
        .output = values->output,
        .duration_ns = values->duration_ns,
        .no_follow = values->no_follow,
        .sample_hz = (uint32_t)values->sample_hz,
        .drop_privileges = true,
    };
    struct collector_result result = {0};
    int status = collector_record(&options, &result);
    if (status < 0) {
        cli_say("cannot record process %d: %s", values->pid,
                result.kernel_note[0] ? result.kernel_note : strerror(-status));
        return CLI_EXIT_TRACING;
    }
    cli_summary_print(&result);
    return result.trace_errno ? CLI_EXIT_TRACING : CLI_EXIT_DONE;
}

int cli_record(const struct cli_command *command, int argc, char **argv) {
    struct record_values values = {.sample_hz = SAMPLE_HZ};
    int operand;
    switch (cli_options_parse(command, OPTIONS, true, argc, argv, &values, &operand)) {
    case CLI_PARSED_HELP:
        return CLI_EXIT_DONE;
    case CLI_PARSED_BAD:
        return command->usage_exit;
    case CLI_PARSED_RUN:
        break;
    }
    if (values.pid && operand == argc)
        return attach(&values);
    if (values.pid) {
        cli_say("either a command or --pid, not both");
        return command->usage_exit;
    }
    if (operand == argc) {
        cli_say("record what? see waitscope help record");
        return command->usage_exit;
    }

    if (values.kernel && values.no_kernel) {
        cli_say("either --kernel or --no-kernel, not both");
        return command->usage_exit;
    }
    if (values.no_agent && values.no_kernel) {
        cli_say("neither agent nor kernel: then there is nothing to record");
        return command->usage_exit;
    }
    if (values.sample_hz > SAMPLE_HZ_MAX) {
        cli_say("--frequency is at most %d", SAMPLE_HZ_MAX);
        return command->usage_exit;
    }

    struct collector_options options = {
        .command = argv + operand,
        .listen_fd = -1,
        .output = values.output,
        .duration_ns = values.duration_ns,
        .no_follow = values.no_follow,
        .hold_period = values.exact_hold ? 1 : 0,
        .no_agent = values.no_agent,
        .no_kernel = !values.kernel && !values.no_agent,
        .sample_hz = (uint32_t)values.sample_hz,
        .drop_privileges = true,
    };
    struct collector_result result = {0};
    int status = collector_record(&options, &result);
    if (status < 0) {
        cli_say("cannot run %s: %s", options.command[0], strerror(-status));
        return CLI_EXIT_TRACING;
    }
    if (result.exit != COLLECTOR_EXIT_NOT_FOUND && result.exit != COLLECTOR_EXIT_NOT_RUN)
        cli_summary_print(&result);
    if (result.exit == COLLECTOR_EXIT_RUNNING && (status = collector_wait_child(&result)) < 0) {
        cli_say("lost sight of %s: %s", options.command[0], strerror(-status));
        return CLI_EXIT_TRACING;
    }
    return result_pass(&result, options.command[0]);
}
