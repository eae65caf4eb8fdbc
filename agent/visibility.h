/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_VISIBILITY_H
#define WAITSCOPE_AGENT_VISIBILITY_H

#define AGENT_EXPORT __attribute__((visibility("default")))
/* Data of ours that hot paths read: said at the declaration, it is addressed without a look into the GOT. */
#define AGENT_HIDDEN __attribute__((visibility("hidden")))
#define AGENT_COLD __attribute__((noinline, cold))
#define AGENT_SLOW __attribute__((noinline))
#define AGENT_LIKELY(x) __builtin_expect(!!(x), 1)
#define AGENT_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
