/* SPDX-License-Identifier: MIT */
#include "cli/summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/message.h"
#include "collector/collector.h"
#include "model/model.h"
#include "viewer/report/text.h"

/* Of a longer trace no summary is made: whoever waits for the command's exit status would wait for it, some
 * seconds and ten times its size in memory. */
#define SUMMARY_TRACE_MAX (32LL << 20)

/* Columns to fill: 0 where stderr is no terminal, so that nothing is cut in a log. */
static unsigned summary_width(void) {
    if (!isatty(STDERR_FILENO))
        return 0;
    unsigned width = cli_width(stderr);
    const char *columns = getenv("COLUMNS");
    long wanted = columns ? strtol(columns, NULL, 10) : 0;
    return width > 0 ? width : wanted > 0 && wanted < 10000 ? (unsigned)wanted : 80;
}

void cli_summary_print(const struct collector_result *result) {
    if (result->trace_errno && result->trace_path[0])
        cli_say("%s stops early: %s", result->trace_path, strerror(result->trace_errno));
    else if (result->trace_errno)
        cli_say("no trace: %s", strerror(result->trace_errno));
    if (result->note[0])
        cli_say("%s", result->note);
    if (result->kernel_note[0])
        cli_say("%s", result->kernel_note);
    if (!result->trace_path[0])
        return;

    struct stat file;
    if (stat(result->trace_path, &file) == 0 && file.st_size > SUMMARY_TRACE_MAX) {
        cli_say("trace: %s (%lld MiB), which takes a while to read", result->trace_path,
                (long long)(file.st_size >> 20));
        cli_say("next:  waitscope report %s", result->trace_path);
        return;
    }
    struct model *model;
    char why[256] = "";
    int status = model_open(result->trace_path, &model, why, sizeof why);
    if (status < 0) {
        cli_say("%s: %s", result->trace_path, why[0] ? why : strerror(-status));
        return;
    }
    const struct report_options options = {.color = cli_color_use(CLI_COLOR_AUTO, stderr),
                                           .width = summary_width()};
    report_summary_print(model, stderr, result->trace_path, &options);
    model_free(model);
}
