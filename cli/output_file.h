/* SPDX-License-Identifier: MIT */
/*
 * A file that appears whole or not at all: written under another name beside it, then renamed.
 * What is no regular file (a pipe, /dev/null) is written to as it is; "-" is standard output.
 */
#ifndef WAITSCOPE_CLI_OUTPUT_FILE_H
#define WAITSCOPE_CLI_OUTPUT_FILE_H

#include <stdbool.h>
#include <stdio.h>

struct cli_output;

/*
 * Opens path. Returns 0, -EEXIST where there is such a file and replace is false, -ENOMEM, or the
 * errno of what could not be opened. The path is copied.
 */
int cli_output_open(const char *path, bool replace, struct cli_output **ret_output);
FILE *cli_output_stream(struct cli_output *output); /* the output's; not to be closed */

/* Puts the file in its place and frees the output. Returns 0, or a negative errno: then path is as
 * it was before. Also -EEXIST where somebody else made it meanwhile. */
int cli_output_commit(struct cli_output *output);
/* Drops what was written and frees the output. NULL is fine. */
void cli_output_discard(struct cli_output *output);

#endif
