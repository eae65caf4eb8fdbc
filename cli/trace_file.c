/* SPDX-License-Identifier: MIT */
#include "cli/trace_file.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/message.h"

static bool time_later(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Returns 0, -ENOENT where the current directory has no trace, or another negative errno. */
static int newest_find(char ret_path[PATH_MAX]) {
    DIR *folder = opendir(".");
    if (!folder)
        return -errno;
    struct timespec newest = {0};
    int status = -ENOENT;
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat found;
        if (fnmatch("waitscope.*.trace", entry->d_name, 0) != 0 ||
            fstatat(dirfd(folder), entry->d_name, &found, 0) != 0 || !S_ISREG(found.st_mode))
            continue;
        if (status == 0 && !time_later(&found.st_mtim, &newest))
            continue;
        newest = found.st_mtim;
        snprintf(ret_path, PATH_MAX, "%s", entry->d_name);
        status = 0;
    }
    closedir(folder);
    return status;
}

/* One line on stderr where the trace is less than its recording was to be. */
static void shortfall_print(const char *path, const struct model_info *info) {
    if (info->torn_bytes)
        cli_say("%s: cut short: its last %" PRIu64 " bytes are not used", path, info->torn_bytes);
    else if (info->state == TRACE_STOPPED)
        cli_say("%s: incomplete: recording had to stop: %s", path, strerror(info->stop_errno));
    else if (info->state != TRACE_COMPLETE)
        cli_say("%s: incomplete: it is cut short or still being recorded", path);
}

int cli_trace_open(int operand_count, char **operands, char ret_path[PATH_MAX], struct model **ret_model) {
    if (operand_count > 1) {
        cli_say("one trace at a time, not %s and %s", operands[0], operands[1]);
        return CLI_EXIT_USAGE;
    }
    char path[PATH_MAX], why[256] = "";
    if (operand_count == 1) {
        if (strlen(operands[0]) >= sizeof path) {
            cli_say("%.64s...: %s", operands[0], strerror(ENAMETOOLONG));
            return CLI_EXIT_FAILED;
        }
        strcpy(path, operands[0]);
    } else {
        int status = newest_find(path);
        if (status < 0) {
            cli_say(status == -ENOENT ? "no waitscope.*.trace here; record one, or name a file"
                                      : "cannot read the current directory: %s",
                    strerror(-status));
            return CLI_EXIT_FAILED;
        }
    }
    struct model *model;
    int status = model_open(path, &model, why, sizeof why);
    if (status < 0) {
        cli_say("%s: %s", path, why[0] ? why : strerror(-status));
        return CLI_EXIT_FAILED;
    }
    shortfall_print(path, model_info(model));
    strcpy(ret_path, path);
    *ret_model = model;
    return CLI_EXIT_DONE;
}
