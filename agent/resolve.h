/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_RESOLVE_H
#define WAITSCOPE_AGENT_RESOLVE_H

#include <stdbool.h>

/* Whether the C library is glibc, whose locks the agent knows. */
bool agent_libc_is_known(void);

/* A function by its default version in the first loaded object that defines it, other than this
 * library; NULL if there is none. Allocates nothing. Any thread. */
void *agent_symbol_find(const char *name);

/* Whether function is what the object that defines beside calls name: not another library's that comes before
 * it. */
bool agent_function_is_beside(const char *name, const void *function, const char *beside);

/* Path of this library as the loader knows it; NULL unknown. */
const char *agent_self_path(void);

#endif
