/* SPDX-License-Identifier: MIT */
/* Words of ours on stderr, and the end of our output on stdout. */
#ifndef WAITSCOPE_CLI_MESSAGE_H
#define WAITSCOPE_CLI_MESSAGE_H

#include <stdbool.h>
#include <stdio.h>

/* One line on stderr, "waitscope: ...". Control characters in it (a file may be called anything)
 * are shown as '?', so that it stays one line and leaves the terminal alone. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --color's values, in the order of CLI_COLOR_CHOICES. */
enum cli_color { CLI_COLOR_AUTO, CLI_COLOR_ALWAYS, CLI_COLOR_NEVER };
extern const char *const CLI_COLOR_CHOICES[];

/* Whether to colour what goes to stream: auto is a terminal where NO_COLOR is unset or empty. */
bool cli_color_use(enum cli_color color, FILE *stream);

/* Columns of the terminal that stream is, 0 where it is none. */
unsigned cli_width(FILE *stream);

/*
 * Flushes stdout and returns the exit status: CLI_EXIT_DONE, also where the reader went away
 * (EPIPE: `waitscope report | head` is no failure and says nothing), else CLI_EXIT_FAILED after one
 * line. error is the errno of the printing so far, or 0.
 */
int cli_output_end(int error);

#endif
