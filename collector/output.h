/* SPDX-License-Identifier: MIT */
/* Where the trace goes, and where the agent is. */
#ifndef WAITSCOPE_COLLECTOR_OUTPUT_H
#define WAITSCOPE_COLLECTOR_OUTPUT_H

#include <limits.h>

#include "collector/trace_writer.h"

/*
 * Opens the trace. output NULL: waitscope.<prog>.<pid>.trace in the current directory, with -2, -3 ...
 * where that is taken; else exactly output, replacing a regular file. program: path or name of the
 * target. Returns 0 and fills ret_path, or a negative errno.
 */
int output_open(const char *output, const char *program, int pid, struct trace_writer **ret_writer,
                char ret_path[PATH_MAX]);

/* The agent's absolute path: agent, or beside this program if NULL. Returns 0 or a negative errno. */
int agent_find(const char *agent, char ret_path[PATH_MAX]);

#endif
