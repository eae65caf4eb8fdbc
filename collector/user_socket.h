/* SPDX-License-Identifier: MIT */
/* The socket of a user's own collector, at the place where agents look for it (format/hello.h). */
#ifndef WAITSCOPE_COLLECTOR_USER_SOCKET_H
#define WAITSCOPE_COLLECTOR_USER_SOCKET_H

#include <sys/un.h>

struct user_socket {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int listen_fd;
    int lock; /* a descriptor: as long as it is open no other collector of this user can start */
};

/*
 * Listens. Replaces what a killed collector left. Returns 0, the caller then owns both descriptors and
 * removes path at the end, or a negative errno: -EALREADY if one runs already; path is filled then too.
 */
int user_socket_listen(struct user_socket *ret_socket);

#endif
