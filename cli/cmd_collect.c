/* SPDX-License-Identifier: MIT */
/*
 * A collector without a command of its own.
 *
 * As the user runs it: records all programs of this user that load the agent while it runs, into one
 * trace, until it is interrupted.
 *
 * As an agent starts it (--listen-fd): beside one directly preloaded target, on whose terminal it lives,
 * so that it says nothing whatever happens. What went wrong is in the trace or nowhere.
 */
#include <errno.h>
#include <string.h>

#include "cli/command.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/summary.h"
#include "collector/collector.h"

struct collect_values {
    int listen_fd, pid;
    const char *socket, *output;
    uint64_t duration_ns;
};

static const struct cli_option OPTIONS[] = {
    {"output", 'o', CLI_OPTION_TEXT, offsetof(struct collect_values, output), "FILE",
     "the trace; waitscope.collect.<pid>.trace by default", NULL},
    {"duration", 'd', CLI_OPTION_SECONDS, offsetof(struct collect_values, duration_ns), "SECONDS",
     "end after this long", NULL},
    {"listen-fd", 0, CLI_OPTION_NUMBER, offsetof(struct collect_values, listen_fd), "N", NULL, NULL},
    {"socket", 0, CLI_OPTION_TEXT, offsetof(struct collect_values, socket), "PATH", NULL, NULL},
    {"pid", 0, CLI_OPTION_NUMBER, offsetof(struct collect_values, pid), "PID", NULL, NULL},
    {0},
};

static void listening_say(const char *socket_path) {
    cli_say("recording programs that load the agent, until Ctrl-C; WAITSCOPE_SOCKET=%s", socket_path);
}

static int collect_for_user(const struct collect_values *values) {
    struct collector_options options = {
        .listen_fd = -1,
        .listening = listening_say,
        .output = values->output,
        .duration_ns = values->duration_ns,
    };
    struct collector_result result = {0};
    int status = collector_record(&options, &result);
    if (status == -EALREADY) {
        cli_say("a collector of this user is running already");
        return CLI_EXIT_FAILED;
    }
    if (status < 0) {
        cli_say("cannot listen for programs: %s", strerror(-status));
        return CLI_EXIT_FAILED;
    }
    cli_summary_print(&result);
    return result.trace_errno ? CLI_EXIT_FAILED : CLI_EXIT_DONE;
}

int cli_collect(const struct cli_command *command, int argc, char **argv) {
    struct collect_values values = {.listen_fd = -1};
    int operand;
    switch (cli_options_parse(command, OPTIONS, false, argc, argv, &values, &operand)) {
    case CLI_PARSED_HELP:
        return CLI_EXIT_DONE;
    case CLI_PARSED_BAD:
        return command->usage_exit;
    case CLI_PARSED_RUN:
        break;
    }
    if (operand != argc) {
        cli_say("collect takes no %s; see waitscope help collect", argv[operand]);
        return command->usage_exit;
    }
    if (values.listen_fd < 0)
        return collect_for_user(&values);
    if (values.pid <= 0 || !values.socket)
        return command->usage_exit;

    struct collector_options options = {
        .listen_fd = values.listen_fd,
        .socket_path = values.socket,
        .target_pid = values.pid,
        .output = values.output,
    };
    struct collector_result result;
    return collector_record(&options, &result) < 0 ? CLI_EXIT_FAILED : CLI_EXIT_DONE;
}
