/* SPDX-License-Identifier: MIT */
/*
 * Options of a subcommand as a table, which both parses them (getopt_long) and prints their help.
 * --help is there for every subcommand.
 */
#ifndef WAITSCOPE_CLI_OPTIONS_H
#define WAITSCOPE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/command.h"

enum cli_option_type {
    CLI_OPTION_FLAG,    /* bool: set true */
    CLI_OPTION_TEXT,    /* const char *: borrowed from argv */
    CLI_OPTION_CHOICE,  /* int: index into choices */
    CLI_OPTION_SECONDS, /* uint64_t: nanoseconds, from a positive decimal number of seconds */
    CLI_OPTION_NUMBER,  /* int: 0 or more */
};

struct cli_option {
    const char *name; /* NULL ends a table */
    char letter;      /* 0: has none */
    enum cli_option_type type;
    size_t offset;              /* of the value in the struct that is filled */
    const char *argument;       /* its name in the help, NULL for a flag */
    const char *help;           /* NULL: not shown */
    const char *const *choices; /* NULL-terminated, for CLI_OPTION_CHOICE */
};

enum cli_parsed {
    CLI_PARSED_RUN,  /* go on: *ret_operand is the index of the first operand */
    CLI_PARSED_HELP, /* help was asked for and printed: end with CLI_EXIT_DONE */
    CLI_PARSED_BAD,  /* one line was printed: end with the command's usage_exit */
};

/*
 * Fills values (a struct holding defaults) by the table. Operands are moved behind the options,
 * unless first_operand_ends is true: then options stop at the first operand, as they must where
 * operands are a command with options of its own.
 */
enum cli_parsed cli_options_parse(const struct cli_command *command, const struct cli_option *table,
                                  bool first_operand_ends, int argc, char **argv, void *values,
                                  int *ret_operand);

#endif
