/* SPDX-License-Identifier: MIT */
#include "collector/kernel_registers.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/registers.skel.h"
#include "collector/kernel_namespace.h"

static int records_read(int fd, struct registers_record **ret_records, size_t *ret_count) {
    size_t bytes = 0, room = 0;
    char *records = NULL;
    for (;;) {
        if (bytes == room) {
            room = room ? room * 2 : 64 * sizeof(struct registers_record);
            char *grown = realloc(records, room);
            if (!grown) {
                free(records);
                return -ENOMEM;
            }
            records = grown;
        }
        ssize_t got = read(fd, records + bytes, room - bytes);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) /* the latter after a million threads of others */
            continue;
        if (got < 0) {
            int error = -errno;
            free(records);
            return error;
        }
        if (got == 0)
            break;
        bytes += (size_t)got;
    }
    *ret_records = (struct registers_record *)(void *)records;
    *ret_count = bytes / sizeof(**ret_records);
    return 0;
}

int kernel_registers_read(pid_t pid, struct registers_record **ret_records, size_t *ret_count) {
    struct bpf_link *link = NULL;
    int error, fd = -1;
    libbpf_print_fn_t printed = libbpf_set_print(NULL); /* what fails is told by its error */
    struct registers_bpf *skeleton = registers_bpf__open();
    *ret_records = NULL;
    *ret_count = 0;
    if (!skeleton) {
        error = -errno;
        goto cleanup;
    }
    bool inner = kernel_namespace_prepare(skeleton->progs.namespace_find);
    skeleton->rodata->namespace_inner = inner;
    skeleton->rodata->registers_tgid = (uint32_t)pid;
    error = registers_bpf__load(skeleton);
    if (error == 0)
        error = kernel_namespace_run(skeleton->progs.namespace_find, inner);
    if (error < 0)
        goto cleanup;
    link = bpf_program__attach_iter(skeleton->progs.registers_tell, NULL);
    fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
    error = fd >= 0 ? records_read(fd, ret_records, ret_count) : -errno;
cleanup:
    if (fd >= 0)
        close(fd);
    bpf_link__destroy(link);
    registers_bpf__destroy(skeleton);
    libbpf_set_print(printed);
    return error;
}
