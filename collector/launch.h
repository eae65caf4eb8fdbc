/* SPDX-License-Identifier: MIT */
/*
 * Starts the target: forked first and held before exec, so that its pid is known, the trace file is
 * open and the socket listens before its first instruction.
 */
#ifndef WAITSCOPE_COLLECTOR_LAUNCH_H
#define WAITSCOPE_COLLECTOR_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* What the collector changed for itself and the child must have as it was. */
struct launch_inherited {
    struct rlimit descriptors;
    bool ignored_xfsz, ignored_child;
    unsigned long long mask[16]; /* sigset_t */
};

/* Prepares this process: signals as collector.h says, more descriptors. Returns a signalfd or a
 * negative errno. */
int launch_prepare(struct launch_inherited *ret_inherited);
/* Puts everything back. */
void launch_restore(const struct launch_inherited *inherited);

struct launch {
    int pid;
    int go;     /* one byte, LAUNCH_TRACED or LAUNCH_BARE, lets the child go */
    int failed; /* exec's errno comes here; closed by a successful exec */
};
enum { LAUNCH_TRACED = 't', LAUNCH_BARE = 'b' };

/* environment: for a traced child; NULL: it can only go bare. Returns 0 or a negative errno. */
int launch_fork(char *const *command, char *const *environment, const struct launch_inherited *inherited,
                struct launch *ret_launch);
/* Lets the child go and waits for its exec. Returns 0 or exec's errno (positive). Closes the pipes. */
int launch_go(struct launch *launch, bool traced);

/*
 * The environment for a target: environ with LD_PRELOAD, WAITSCOPE_SOCKET and WAITSCOPE_AGENT.
 * Returns NULL without memory; one block, free() it.
 */
char **launch_environment(const char *agent, const char *socket_path, const char *agent_options);

/*
 * Why a program cannot be preloaded, as one line; false if nothing speaks against it (also if the
 * program is not found). Looked up in PATH like execvp; a script stands for its interpreter.
 */
bool preload_refused(const char *program, char *ret_note, size_t bytes);

#endif
