/* SPDX-License-Identifier: MIT */
/*
 * The collector beside a directly preloaded target: started by the agent, lives on the target's
 * terminal, so it says nothing whatever happens. What went wrong is in the trace or nowhere.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "collector/collector.h"

struct collect_values {
    int listen_fd, pid;
    const char *socket, *output;
};

static const struct cli_option OPTIONS[] = {
    {"listen-fd", 0, CLI_OPTION_NUMBER, offsetof(struct collect_values, listen_fd), "N",
     "the listening socket, inherited", NULL},
    {"socket", 0, CLI_OPTION_TEXT, offsetof(struct collect_values, socket), "PATH",
     "where that socket is bound; removed at the end", NULL},
    {"pid", 0, CLI_OPTION_NUMBER, offsetof(struct collect_values, pid), "PID", "the process that started it",
     NULL},
    {"output", 'o', CLI_OPTION_TEXT, offsetof(struct collect_values, output), "FILE", "the trace", NULL},
    {0},
};

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
    if (values.listen_fd < 0 || values.pid <= 0 || !values.socket || operand != argc)
        return command->usage_exit;

    struct collector_options options = {
        .listen_fd = values.listen_fd,
        .socket_path = values.socket,
        .target_pid = values.pid,
        .output = values.output,
    };
    struct collector_result result;
    return collector_record(&options, &result) < 0 ? CLI_EXIT_TRACING : CLI_EXIT_DONE;
}
