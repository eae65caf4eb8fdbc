/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/message.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/trace_file.h"
#include "viewer/export/export.h"

struct export_values {
    const char *format, *kind, *output;
    bool inverted, idle, force;
};

static const struct cli_option OPTIONS[] = {
    {"format", 'f', CLI_OPTION_TEXT, offsetof(struct export_values, format), "FORMAT",
     "svg (a flame graph, the default) or folded (stacks, a line each)", NULL},
    {"kind", 0, CLI_OPTION_TEXT, offsetof(struct export_values, kind), "KIND",
     "wait: by who waited (the default); blame: by who held; cpu, offcpu, offwake: what ran, what did not, "
     "who "
     "woke it",
     NULL},
    {"inverted", 0, CLI_OPTION_FLAG, offsetof(struct export_values, inverted), NULL,
     "draw from the top down (icicle)", NULL},
    {"idle", 0, CLI_OPTION_FLAG, offsetof(struct export_values, idle), NULL,
     "include waiting for work, joins and sleeps", NULL},
    {"output", 'o', CLI_OPTION_TEXT, offsetof(struct export_values, output), "FILE",
     "where to; - is standard output; made from the trace's name by default", NULL},
    {"force", 0, CLI_OPTION_FLAG, offsetof(struct export_values, force), NULL, "overwrite FILE", NULL},
    {0},
};

/* There is nothing of the kind: says why. */
static void say_nothing(const struct model *model, const char *trace, const struct export_options *options) {
    const struct model_info *info = model_info(model);
    uint64_t told = options->kind == MODEL_TREE_CPU ? info->samples : info->stretches;
    if (options->kind >= MODEL_TREE_CPU && told == 0)
        cli_say("%s: nothing %s: it was recorded without the kernel's part", trace,
                options->kind == MODEL_TREE_CPU ? "was sampled on a CPU" : "is known from the scheduler");
    else
        cli_say("%s: nothing waited%s", trace,
                options->filter.include_idle ? "" : "; --idle includes waiting for work, joins and sleeps");
}

/* waitscope.ledger.42.trace becomes waitscope.ledger.42.wait.svg beside it. */
static void output_name(const char *trace, const char *kind, const char *extension, char ret_name[PATH_MAX]) {
    static const char suffix[] = ".trace";
    size_t length = strlen(trace);
    if (length > sizeof suffix - 1 && strcmp(trace + length - (sizeof suffix - 1), suffix) == 0)
        length -= sizeof suffix - 1;
    snprintf(ret_name, PATH_MAX, "%.*s.%s.%s", (int)length, trace, kind, extension);
}

static int export_write(const struct model *model, const char *trace, const struct export_format *format,
                        const struct export_options *options, const struct export_values *values) {
    char derived[PATH_MAX];
    const char *path = values->output;
    if (!path) {
        output_name(trace, values->kind, format->extension, derived);
        path = derived;
    }
    struct cli_output *output;
    int status = cli_output_open(path, values->force, &output);
    if (status == 0) {
        status = format->write(model, options, cli_output_stream(output));
        if (status == 0)
            status = cli_output_commit(output);
        else
            cli_output_discard(output);
    }
    bool to_stdout = strcmp(path, "-") == 0;
    if (status == -EPIPE && to_stdout)
        return CLI_EXIT_DONE;
    if (status == -ENODATA) {
        say_nothing(model, trace, options);
        return CLI_EXIT_FAILED;
    }
    if (status < 0) {
        cli_say("%s: %s%s", to_stdout ? "standard output" : path, strerror(-status),
                status == -EEXIST ? "; --force overwrites it" : "");
        return CLI_EXIT_FAILED;
    }
    if (!to_stdout)
        cli_say("wrote %s", path);
    return CLI_EXIT_DONE;
}

int cli_export(const struct cli_command *command, int argc, char **argv) {
    struct export_values values = {.format = "svg", .kind = "wait"};
    int operand;
    switch (cli_options_parse(command, OPTIONS, false, argc, argv, &values, &operand)) {
    case CLI_PARSED_HELP:
        return CLI_EXIT_DONE;
    case CLI_PARSED_BAD:
        return command->usage_exit;
    case CLI_PARSED_RUN:
        break;
    }
    const struct export_format *format = export_format_find(values.format);
    if (!format) {
        cli_say("no format %s; see waitscope help export", values.format);
        return command->usage_exit;
    }
    struct export_options options = EXPORT_OPTIONS_DEFAULT;
    if (export_kind_find(values.kind, &options.kind) < 0) {
        cli_say("no kind %s; see waitscope help export", values.kind);
        return command->usage_exit;
    }
    options.inverted = values.inverted;
    options.filter.include_idle = values.idle;

    char trace[PATH_MAX];
    struct model *model;
    int status = cli_trace_open(argc - operand, argv + operand, trace, &model);
    if (status != CLI_EXIT_DONE)
        return status;
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is told by EPIPE */
    status = export_write(model, trace, format, &options, &values);
    model_free(model);
    return status;
}
