/* SPDX-License-Identifier: MIT */
#include "collector/kernel_namespace.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define INITIAL_PID_NAMESPACE 0xEFFFFFFCU /* include/linux/proc_ns.h, PROC_PID_INIT_INO */

bool kernel_namespace_inner(void) {
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino != INITIAL_PID_NAMESPACE;
}

bool kernel_namespace_has_proc(void) {
    char number[32];
    ssize_t size = readlink("/proc/self", number, sizeof(number) - 1);
    number[size > 0 ? size : 0] = '\0';
    return strtol(number, NULL, 10) == getpid();
}

bool kernel_namespace_prepare(struct bpf_program *find) {
    bool inner = kernel_namespace_inner();
    bpf_program__set_autoload(find, inner);
    return inner;
}

int kernel_namespace_run(const struct bpf_program *find, bool inner) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    return inner ? bpf_prog_test_run_opts(bpf_program__fd(find), &options) : 0;
}
