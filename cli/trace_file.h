/* SPDX-License-Identifier: MIT */
/* The trace that a subcommand is about. */
#ifndef WAITSCOPE_CLI_TRACE_FILE_H
#define WAITSCOPE_CLI_TRACE_FILE_H

#include <limits.h>
#include <stddef.h>

#include "model/model.h"

/*
 * Takes a subcommand's operands (at most one: a file; none: the newest waitscope.*.trace of the
 * current directory by modification time) and opens the model. Prints one line on failure and
 * returns the exit status; CLI_EXIT_DONE otherwise, after one line where the trace is incomplete. The model
 * is the caller's to free.
 */
int cli_trace_open(int operand_count, char **operands, char ret_path[PATH_MAX], struct model **ret_model);

#endif
