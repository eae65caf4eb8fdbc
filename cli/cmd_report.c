/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/trace_file.h"
#include "viewer/report/json.h"
#include "viewer/report/text.h"

struct report_values {
    bool json, idle;
    int color; /* enum cli_color */
};

static const struct cli_option OPTIONS[] = {
    {"json", 0, CLI_OPTION_FLAG, offsetof(struct report_values, json), NULL,
     "for programs: one JSON document", NULL},
    {"idle", 0, CLI_OPTION_FLAG, offsetof(struct report_values, idle), NULL,
     "list what waits for work, joins and sleeps too", NULL},
    {"color", 0, CLI_OPTION_CHOICE, offsetof(struct report_values, color), "WHEN",
     "auto (on a terminal, unless NO_COLOR is set), always or never", CLI_COLOR_CHOICES},
    {0},
};

int cli_report(const struct cli_command *command, int argc, char **argv) {
    struct report_values values = {.color = CLI_COLOR_AUTO};
    int operand;
    switch (cli_options_parse(command, OPTIONS, false, argc, argv, &values, &operand)) {
    case CLI_PARSED_HELP:
        return CLI_EXIT_DONE;
    case CLI_PARSED_BAD:
        return command->usage_exit;
    case CLI_PARSED_RUN:
        break;
    }
    char trace[PATH_MAX];
    struct model *model;
    int status = cli_trace_open(argc - operand, argv + operand, trace, &model);
    if (status != CLI_EXIT_DONE)
        return status;

    signal(SIGPIPE, SIG_IGN); /* a reader that went away is told by EPIPE */
    const struct report_options options = {
        .color = cli_color_use(values.color, stdout),
        .width = cli_width(stdout),
        .show_idle = values.idle,
    };
    errno = 0;
    status = values.json ? report_json_print(model, stdout) : report_text_print(model, stdout, &options);
    /* -EIO says that stdio failed; errno still says by what. */
    int error = status == -EIO && errno ? errno : -status;
    model_free(model);
    return cli_output_end(error);
}
