/* SPDX-License-Identifier: MIT */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/message.h"

#define OPTIONS_MAX 24
#define VALUE_BASE 256 /* getopt's value for table row i is VALUE_BASE + i: above every letter */
#define SECONDS_MAX 1e9

static void options_print(const struct cli_command *command, const struct cli_option *table) {
    printf("usage: waitscope %s %s\n\n%s\n\n", command->name, command->synopsis,
           command->summary ? command->summary : "Started by the agent, not by hand.");
    for (const struct cli_option *row = table; row->name; row++) {
        if (!row->help)
            continue;
        char left[64];
        int used = row->letter ? snprintf(left, sizeof left, "-%c, --%s", row->letter, row->name)
                               : snprintf(left, sizeof left, "    --%s", row->name);
        if (row->argument && used > 0 && (size_t)used < sizeof left)
            snprintf(left + used, sizeof left - (size_t)used, "%s%s", row->letter ? " " : "=", row->argument);
        printf("  %-28s %s\n", left, row->help);
    }
    printf("  %-28s %s\n", "-h, --help", "print this");
}

static bool seconds_parse(const char *text, uint64_t *ret_ns) {
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (end == text || *end || errno || !(seconds > 0) || !(seconds <= SECONDS_MAX))
        return false;
    uint64_t ns = (uint64_t)llround(seconds * 1e9);
    *ret_ns = ns > 0 ? ns : 1;
    return true;
}

static bool number_parse(const char *text, int *ret_number) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < 0 || number > INT_MAX)
        return false;
    *ret_number = (int)number;
    return true;
}

static bool choice_parse(const char *text, const char *const *choices, int *ret_choice) {
    for (int i = 0; choices[i]; i++)
        if (strcmp(text, choices[i]) == 0) {
            *ret_choice = i;
            return true;
        }
    return false;
}

/* Prints what is wrong with a value and returns false, or stores it. */
static bool value_store(const struct cli_option *row, const char *text, void *values) {
    void *target = (char *)values + row->offset;
    bool good = true;
    char wanted[128] = "";

    switch (row->type) {
    case CLI_OPTION_FLAG:
        *(bool *)target = true;
        break;
    case CLI_OPTION_TEXT:
        good = text[0] != '\0';
        snprintf(wanted, sizeof wanted, "something");
        *(const char **)target = text;
        break;
    case CLI_OPTION_CHOICE:
        good = choice_parse(text, row->choices, target);
        for (int i = 0; row->choices[i]; i++)
            snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%s", i ? " or " : "",
                     row->choices[i]);
        break;
    case CLI_OPTION_SECONDS:
        good = seconds_parse(text, target);
        snprintf(wanted, sizeof wanted, "a number of seconds above 0");
        break;
    case CLI_OPTION_NUMBER:
        good = number_parse(text, target);
        snprintf(wanted, sizeof wanted, "a number");
        break;
    }
    if (!good)
        cli_say("--%s takes %s, not \"%s\"", row->name, wanted, text);
    return good;
}

static void option_complain(const struct cli_command *command, const struct cli_option *table, int result,
                            char **argv) {
    char shown[64];
    int value = optopt;
    if (value >= VALUE_BASE)
        snprintf(shown, sizeof shown, "--%s", table[value - VALUE_BASE].name);
    else if (value)
        snprintf(shown, sizeof shown, "-%c", value);
    else
        snprintf(shown, sizeof shown, "%s", argv[optind - 1]);

    if (result == ':')
        cli_say("%s needs a value; see waitscope help %s", shown, command->name);
    else if (value >= VALUE_BASE)
        cli_say("%s takes no value; see waitscope help %s", shown, command->name);
    else
        cli_say("unknown option %s; see waitscope help %s", shown, command->name);
}

enum cli_parsed cli_options_parse(const struct cli_command *command, const struct cli_option *table,
                                  bool first_operand_ends, int argc, char **argv, void *values,
                                  int *ret_operand) {
    struct option longs[OPTIONS_MAX + 2] = {0};
    char letters[2 * OPTIONS_MAX + 8];
    size_t used = 0;
    int rows = 0;

    if (first_operand_ends)
        letters[used++] = '+';
    letters[used++] = ':'; /* a missing value is told from an unknown option */
    for (; table[rows].name && rows < OPTIONS_MAX; rows++) {
        const struct cli_option *row = &table[rows];
        longs[rows].name = row->name;
        longs[rows].has_arg = row->type == CLI_OPTION_FLAG ? no_argument : required_argument;
        longs[rows].val = VALUE_BASE + rows;
        if (row->letter) {
            letters[used++] = row->letter;
            if (row->type != CLI_OPTION_FLAG)
                letters[used++] = ':';
        }
    }
    longs[rows].name = "help";
    longs[rows].val = 'h';
    letters[used++] = 'h';
    letters[used] = '\0';

    opterr = 0;
    optind = 0; /* glibc: start anew, also with other letters than before */
    int result;
    while ((result = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct cli_option *row = NULL;
        if (result == 'h') {
            options_print(command, table);
            return CLI_PARSED_HELP;
        }
        if (result >= VALUE_BASE)
            row = &table[result - VALUE_BASE];
        else if (result != '?' && result != ':')
            for (row = table; row->name && row->letter != result; row++)
                ;
        if (!row || !row->name) {
            option_complain(command, table, result, argv);
            return CLI_PARSED_BAD;
        }
        if (!value_store(row, optarg, values))
            return CLI_PARSED_BAD;
    }
    *ret_operand = optind;
    return CLI_PARSED_RUN;
}
