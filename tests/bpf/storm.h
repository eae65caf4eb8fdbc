/* SPDX-License-Identifier: MIT */
/* How much happens in a storm. */
#ifndef WAITSCOPE_TESTS_BPF_STORM_H
#define WAITSCOPE_TESTS_BPF_STORM_H

#define STORM_LOADS 400U
#define STORM_FORKS 300U /* every fourth child execs */
#define STORM_TURNERS 4U

#endif
