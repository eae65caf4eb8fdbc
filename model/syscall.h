/* SPDX-License-Identifier: MIT */
/* The system calls of x86-64: what they are called, and what a thread that sleeps in one waits for. */
#ifndef WAITSCOPE_MODEL_SYSCALL_H
#define WAITSCOPE_MODEL_SYSCALL_H

#include "model/model.h"

#define SYSCALL_LIMIT 1024U /* numbers are below; from 512 on there are none but x32's */

/* NULL where the number is not known. */
const char *syscall_name(uint64_t number);
/* MODEL_OFF_OTHER where nothing better is known. */
enum model_off_kind syscall_kind(uint64_t number);

#endif
