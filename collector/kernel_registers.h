/* SPDX-License-Identifier: MIT */
/* The registers that all threads of a process had when they entered the kernel (bpf/registers.bpf.c). */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_REGISTERS_H
#define WAITSCOPE_COLLECTOR_KERNEL_REGISTERS_H

#include <stddef.h>
#include <sys/types.h>

#include "bpf/registers_record.h"

/* pid: of the initial pid namespace. *ret_records is the caller's, to be freed; NULL without any. Returns 0
 * or a negative errno: -EPERM without CAP_BPF and CAP_PERFMON, what loading gives where the kernel has not
 * what it takes. */
int kernel_registers_read(pid_t pid, struct registers_record **ret_records, size_t *ret_count);

#endif
