/* SPDX-License-Identifier: MIT */
/* A library that is loaded, stands on the stack of a wait, and is gone before the report. PLUGIN_WIDE makes
 * another one of it: of the same size, so that it comes to lie where the first was, but with a larger frame.
 */
#include "plugin.h"

int plugin_wait(int (*wait)(void *), void *argument) {
#ifdef PLUGIN_WIDE
    volatile int result[120];
#else
    volatile int result[60]; /* both take an instruction of the same length */
#endif
    result[0] = wait(argument);
    return result[0];
}
