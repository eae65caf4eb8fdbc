/* SPDX-License-Identifier: MIT */
/*
 * What the collector gives up once its probes are in the kernel: it goes on to read files that others have
 * written (ELF, DWARF, perf maps), and root is not to do that. Changes the calling thread for good; processes
 * forked before keep what they have, so the target has what the user started it with.
 *
 * Kept, where it was there before:
 *     CAP_BPF                 maps for tables of code that is loaded later
 *     CAP_PERFMON             perf events and probes that are attached later
 *     CAP_SYS_PTRACE          /proc/PID/maps, exe, root and mem of processes of other users
 *     CAP_DAC_READ_SEARCH     their programs and debugging information, where only they may read them
 *     CAP_CHECKPOINT_RESTORE  /proc/PID/map_files: the very file that is mapped
 *     CAP_KILL                to pass signals on to a target that changed its user
 *     CAP_SYS_NICE            to be let onto a CPU before a ring is full
 * Below sudo (SUDO_UID and SUDO_GID, as root) the user becomes the one who called it, so that files of root's
 * are not writable any more; and nothing that is executed gives rights back (no_new_privs). Root without sudo
 * stays uid 0: there is nobody else to be.
 */
#ifndef WAITSCOPE_COLLECTOR_PRIVILEGE_H
#define WAITSCOPE_COLLECTOR_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct privilege_user {
    uid_t uid;
    gid_t gid;
};

/* Who called sudo; false where nobody did, or we are not root. */
bool privilege_user_find(struct privilege_user *ret_user);
/* user: whom to become; NULL: nobody else. Returns 0 or a negative errno; all that could be given up is given
 * up then too. */
int privilege_drop(const struct privilege_user *user);
/* In words, whom we are and what is left: "uid 0, CAP_KILL CAP_BPF". */
void privilege_describe(char *ret_text, size_t bytes);

#endif
