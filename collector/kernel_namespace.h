/* SPDX-License-Identifier: MIT */
/* The pid namespace that this process is in, for programs that go by its numbers (bpf/namespace.bpf.h). */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_NAMESPACE_H
#define WAITSCOPE_COLLECTOR_KERNEL_NAMESPACE_H

#include <stdbool.h>

struct bpf_program;

/* It is not the initial one. */
bool kernel_namespace_inner(void);
/* The same, for namespace_inner. Before loading; find: namespace_find, which is loaded only where it is run.
 */
bool kernel_namespace_prepare(struct bpf_program *find);
/* /proc shows the numbers of this namespace, and not those of one above. */
bool kernel_namespace_has_proc(void);
/* Runs it where inner, after loading and before attaching. Returns 0 or a negative errno. */
int kernel_namespace_run(const struct bpf_program *find, bool inner);

#endif
