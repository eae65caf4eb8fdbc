/* SPDX-License-Identifier: MIT */
/*
 * The user stack of a thread that sleeps, from outside: by the tables that programs in the kernel go by, its
 * registers, and its memory read from here. For threads that already wait when a recording begins; it costs a
 * system call for each page of a stack.
 *
 * Whether the thread slept all the while is for the caller to find out: if it did not, the stack means
 * nothing. Not unwound here and told as cut: JIT code that is interrupted in a page fault.
 */
#ifndef WAITSCOPE_COLLECTOR_UNWIND_SLEEPER_H
#define WAITSCOPE_COLLECTOR_UNWIND_SLEEPER_H

#include <stdbool.h>
#include <sys/types.h>

#include "bpf/registers_record.h"
#include "collector/unwind_tables.h"

/* Needs what ptrace() of the process needs; else the stack is its first frame. pid: of the initial namespace.
 * False: the process is not known, or the thread is no 64-bit one. */
bool unwind_sleeper_take(const struct unwind_tables *tables, pid_t pid,
                         const struct registers_record *registers, struct unwind_stack_taken *ret_stack);

#endif
