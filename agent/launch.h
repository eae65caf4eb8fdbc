/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_LAUNCH_H
#define WAITSCOPE_AGENT_LAUNCH_H

struct sockaddr_un;

/*
 * Binds a socket in a fresh directory of this user's, fills address, and starts a collector for this
 * process that listens on it. Nothing of it is left behind where it fails. Returns 0 or a negative errno.
 */
int launch_collector(char *const *environment, struct sockaddr_un *address);

#endif
