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

#define NOOP_VARIADIC_HOOK(type, name, parameters, arguments)                                                \
    AGENT_EXPORT type hook_##name parameters __asm__(#name);                                                 \
    type hook_##name parameters {                                                                            \
        if (__builtin_expect(!agent_real.name, 0))                                                           \
            agent_resolve();                                                                                 \
        return agent_real.name arguments;                                                                    \
    }

AGENT_HOOKS(NOOP_HOOK)
AGENT_VARIADIC_HOOKS(NOOP_VARIADIC_HOOK)
AGENT_EXIT_HOOKS(NOOP_EXIT_HOOK)
