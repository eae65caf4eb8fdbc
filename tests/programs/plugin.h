/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_TESTS_PLUGIN_H
#define WAITSCOPE_TESTS_PLUGIN_H

/* Calls wait(argument) and returns its result. */
int plugin_wait(int (*wait)(void *), void *argument);

#endif
