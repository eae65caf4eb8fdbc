/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/command.h"
#include "cli/doctor.h"
#include "cli/message.h"
#include "cli/options.h"

static const struct cli_option OPTIONS[] = {{0}};

static const char *const GRADES[] = {
    [DOCTOR_OK] = "OK",
    [DOCTOR_LESS] = "less",
    [DOCTOR_NO] = "NO",
    [DOCTOR_INFO] = "info",
};

int cli_doctor(const struct cli_command *command, int argc, char **argv) {
    int operand;
    switch (cli_options_parse(command, OPTIONS, false, argc, argv, NULL, &operand)) {
    case CLI_PARSED_HELP:
        return CLI_EXIT_DONE;
    case CLI_PARSED_BAD:
        return command->usage_exit;
    case CLI_PARSED_RUN:
        break;
    }
    if (operand != argc) {
        cli_say("doctor takes no argument %s", argv[operand]);
        return command->usage_exit;
    }
    int failed = 0;
    for (const struct doctor_check *check = DOCTOR_CHECKS; check->name; check++) {
        struct doctor_finding finding = {0};
        check->look(&finding);
        printf("%-4s  %-16s %s%s%s\n", GRADES[finding.grade], check->name, finding.text,
               finding.cure[0] ? "; " : "", finding.cure);
        fflush(stdout);
        failed += finding.grade == DOCTOR_NO;
    }
    int status = cli_output_end(0);
    return status != CLI_EXIT_DONE ? status : failed ? CLI_EXIT_FAILED : CLI_EXIT_DONE;
}
