/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_START_H
#define WAITSCOPE_AGENT_START_H

#include <stdint.h>

/* From WAITSCOPE_AGENT (format/hello.h), or the default. */
uint32_t agent_option_ring_bytes(void);

/* The value of an environment variable, NULL if unset. Allocates and locks nothing. */
const char *agent_environment_get(const char *name);

/* Puts name=value, in place of another value, into the target's environment for its children, in memory of
 * our own: setenv would allocate. Only before main, while there is one thread. Returns 0 or a negative errno.
 */
int agent_environment_add(const char *name, const char *value);

#endif
