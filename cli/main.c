/* SPDX-License-Identifier: MIT */
/* The one table of subcommands. A new one is a file and a row. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/message.h"

static const struct cli_command COMMANDS[] = {
    {"record",
     "[-o FILE] [-d SECONDS] [-F HZ] [--no-follow] [--exact-hold] [--kernel | --no-agent] [--] COMMAND "
     "[ARGUMENT...]",
     "Runs a command and records how its threads wait on each other.", CLI_EXIT_TRACING, cli_record},
    {"report", "[FILE] [--json] [--idle]", "Says what a trace shows: who waits for what, and who holds it.",
     CLI_EXIT_USAGE, cli_report},
    {"export", "[FILE] [-f folded|svg] [--kind wait|blame] [-o FILE|-]",
     "Writes a trace as a flame graph or for other tools.", CLI_EXIT_USAGE, cli_export},
    {"doctor", "", "Says what would work on this machine, and why not.", CLI_EXIT_USAGE, cli_doctor},
    {"collect", "[-o FILE] [-d SECONDS]", "Records all programs of yours that load the agent, until Ctrl-C.",
     CLI_EXIT_USAGE, cli_collect},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static void help_print(FILE *stream) {
    fprintf(stream, "waitscope shows where the threads of a program wait on each other.\n\n"
                    "usage: waitscope COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (COMMANDS[i].summary)
            fprintf(stream, "  %-8s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fprintf(stream, "  %-8s %s\n\n", "help", "`waitscope help COMMAND` explains a command.");
    fprintf(stream,
            "Where no FILE is named, the newest waitscope.*.trace of the current directory is meant.\n"
            "Exit status: 0 done, 1 failed, 2 wrong usage. record passes on the command's own, or its\n"
            "signal; 125: tracing failed, 126: the command could not be run, 127: it was not found.\n");
}

static const struct cli_command *command_find(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

static int help_run(const char *name) {
    if (!name) {
        help_print(stdout);
        return cli_output_end(0);
    }
    const struct cli_command *command = command_find(name);
    if (!command) {
        cli_say("no command %s; see waitscope help", name);
        return CLI_EXIT_USAGE;
    }
    char own_name[32], option[] = "--help";
    snprintf(own_name, sizeof own_name, "%s", command->name);
    char *arguments[] = {own_name, option, NULL};
    return command->run(command, 2, arguments);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        help_print(stderr);
        return CLI_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("waitscope %s\n", WAITSCOPE_VERSION);
        return cli_output_end(0);
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help_run(argv[2]);

    const struct cli_command *command = command_find(name);
    if (!command) {
        cli_say("no command %s; see waitscope help", name);
        return CLI_EXIT_USAGE;
    }
    return command->run(command, argc - 1, argv + 1);
}
