/* SPDX-License-Identifier: MIT */
/* A library that is loaded, stands on the stack of a wait, and is gone before the report. */
#include "plugin.h"

int plugin_wait(int (*wait)(void *), void *argument) {
    volatile int result = wait(argument);
    return result;
}
