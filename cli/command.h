/* SPDX-License-Identifier: MIT */
/* What main.c's table of subcommands and the subcommands themselves share. */
#ifndef WAITSCOPE_CLI_COMMAND_H
#define WAITSCOPE_CLI_COMMAND_H

#include <stdint.h>

/*
 * Exit statuses of every subcommand. `record` passes on what the recorded command ended with: its
 * exit code, or its signal, raised on ourselves. What is our own doing there is 125 to 127, as in
 * env(1), timeout(1) and their like. All other subcommands end with 0, 1 or 2.
 */
enum cli_exit {
    CLI_EXIT_DONE = 0,
    CLI_EXIT_FAILED = 1,     /* no such trace, not a trace, the output could not be written */
    CLI_EXIT_USAGE = 2,      /* an option or argument that makes no sense */
    CLI_EXIT_TRACING = 125,  /* record: the options make no sense, or tracing itself failed */
    CLI_EXIT_NOT_RUN = 126,  /* record: the command was found but could not be run */
    CLI_EXIT_NOT_FOUND = 127 /* record: there is no such command */
};

struct cli_command {
    const char *name;
    const char *synopsis;     /* of its arguments */
    const char *summary;      /* one line for the list of commands; NULL: not listed there */
    enum cli_exit usage_exit; /* what it ends with where its options make no sense */
    int (*run)(const struct cli_command *command, int argc, char **argv); /* argv[0] is the name */
};

int cli_record(const struct cli_command *command, int argc, char **argv);
int cli_report(const struct cli_command *command, int argc, char **argv);
int cli_export(const struct cli_command *command, int argc, char **argv);
int cli_doctor(const struct cli_command *command, int argc, char **argv);
int cli_collect(const struct cli_command *command, int argc, char **argv);

#endif
