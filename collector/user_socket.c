/* SPDX-License-Identifier: MIT */
/*
 * The directory is locked, not the socket: that lock goes with its process however it ends, so a socket
 * that lies in a directory which could be locked is nobody's. The directory stays: one that is removed
 * could be locked by one collector and made anew by another.
 */
#include "collector/user_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/hello.h"

#define BACKLOG 4096

/* Makes and locks the directory. Returns a descriptor or a negative errno. */
static int directory_lock(const char *directory) {
    struct stat status;
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return -errno;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = 0;
    if (fstat(fd, &status) != 0)
        error = -errno;
    else if (status.st_uid != geteuid())
        error = -EPERM; /* in /tmp it might be anybody's */
    else if (fchmod(fd, 0700) != 0)
        error = -errno;
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        error = errno == EWOULDBLOCK ? -EALREADY : -errno;
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

static int socket_open(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    if (unlink(path) != 0 && errno != ENOENT)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && chmod(path, 0600) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

int user_socket_listen(struct user_socket *ret_socket) {
    struct user_socket made = {.listen_fd = -1};
    char directory[sizeof(made.path)];
    const char *base = getenv("XDG_RUNTIME_DIR");
    int bytes = base && base[0] == '/'
                    ? snprintf(directory, sizeof(directory), "%s/waitscope", base)
                    : snprintf(directory, sizeof(directory), "/tmp/waitscope-%u", (unsigned)geteuid());
    if (bytes < 0 || (size_t)bytes + sizeof("/" WAITSCOPE_USER_SOCKET) > sizeof(made.path))
        return -ENAMETOOLONG;
    memcpy(made.path, directory, (size_t)bytes);
    strcpy(made.path + bytes, "/" WAITSCOPE_USER_SOCKET);
    strcpy(ret_socket->path, made.path);
    made.lock = directory_lock(directory);
    if (made.lock < 0)
        return made.lock;
    made.listen_fd = socket_open(made.path);
    if (made.listen_fd < 0) {
        close(made.lock);
        return made.listen_fd;
    }
    *ret_socket = made;
    return 0;
}
