/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_CLI_SUMMARY_H
#define WAITSCOPE_CLI_SUMMARY_H

struct collector_result;

/* What a recording ends with: at most 8 lines on stderr, what was seen, or why there is nothing to see. */
void cli_summary_print(const struct collector_result *result);

#endif
