/* SPDX-License-Identifier: MIT */
/*
 * Code that is unmapped takes its unwind rows along. dlopen is left alone: it looks at its caller, and a
 * hook would stand in between.
 */
#include "agent/agent.h"
#include "agent/unwind.h"

AGENT_EXPORT int dlclose(void *handle) {
    agent_slot();
    int result = agent_real.dlclose(handle);
    unwind_flush();
    agent_modules_changed();
    return result;
}
