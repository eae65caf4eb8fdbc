/* SPDX-License-Identifier: MIT */
#include "collector/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_TRIES 1000
#define AGENT_NAME "libwaitscope-agent.so"

/* The program's base name as part of a file name. */
static void program_name(const char *program, char *name, size_t bytes) {
    const char *slash = strrchr(program, '/');
    snprintf(name, bytes, "%s", slash && slash[1] ? slash + 1 : program);
    for (char *at = name; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == '/' || *at == 127)
            *at = '_';
    }
    if (name[0] == '\0')
        snprintf(name, bytes, "program");
}

int output_open(const char *output, const char *program, int pid, struct trace_writer **ret_writer,
                char ret_path[PATH_MAX]) {
    struct trace_writer_options options = {.overwrite = true};
    char path[PATH_MAX], name[128];
    if (output) {
        if (snprintf(path, sizeof(path), "%s", output) >= (int)sizeof(path))
            return -ENAMETOOLONG;
        int error = trace_writer_open(path, &options, ret_writer);
        if (error == 0)
            strcpy(ret_path, path);
        return error;
    }
    options.overwrite = false;
    program_name(program, name, sizeof(name));
    int error = -EEXIST;
    for (int n = 1; n <= OUTPUT_TRIES && error == -EEXIST; n++) {
        if (n == 1)
            snprintf(path, sizeof(path), "waitscope.%s.%d.trace", name, pid);
        else
            snprintf(path, sizeof(path), "waitscope.%s.%d-%d.trace", name, pid, n);
        error = trace_writer_open(path, &options, ret_writer);
    }
    if (error == 0)
        strcpy(ret_path, path);
    return error;
}

int agent_find(const char *agent, char ret_path[PATH_MAX]) {
    /* From the program's directory: a build tree, then the usual installations. */
    static const char *const PLACES[] = {"../lib/" AGENT_NAME, AGENT_NAME,
                                         "../lib/x86_64-linux-gnu/" AGENT_NAME, "../lib64/" AGENT_NAME,
                                         "../lib/waitscope/" AGENT_NAME};
    char program[PATH_MAX], candidate[PATH_MAX + 64];
    if (agent)
        return realpath(agent, ret_path) ? 0 : -errno;
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (size <= 0)
        return -ENOENT;
    program[size] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return -ENOENT;
    slash[1] = '\0';
    for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); i++) {
        snprintf(candidate, sizeof(candidate), "%s%s", program, PLACES[i]);
        if (realpath(candidate, ret_path))
            return 0;
    }
    return -ENOENT;
}
