/* SPDX-License-Identifier: MIT */
/*
 * The same hooks that only forward: what interposition by itself costs. For benches.
 */
#include "agent/hook_table.h"

#define NOOP_HOOK(type, name, parameters, arguments)                                                         \
    AGENT_EXPORT type name parameters {                                                                      \
        if (__builtin_expect(!agent_real.name, 0))                                                           \
            agent_resolve();                                                                                 \
        return agent_real.name arguments;                                                                    \
    }
#define NOOP_EXIT_HOOK(name, parameters, arguments)                                                          \
    AGENT_EXPORT void name parameters {                                                                      \
        if (__builtin_expect(!agent_real.name, 0))                                                           \
            agent_resolve();                                                                                 \
        agent_real.name arguments;                                                                           \
        __builtin_unreachable();                                                                             \
    }

AGENT_HOOKS(NOOP_HOOK)
AGENT_EXIT_HOOKS(NOOP_EXIT_HOOK)
