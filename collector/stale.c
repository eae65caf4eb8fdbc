/* SPDX-License-Identifier: MIT */
/*
 * Collectors that were killed leave their socket's directory behind. One is removed if it is ours, has
 * been there for a while, and nobody listens at its socket. All steps go through a descriptor of the
 * directory itself, so that nothing put in its place is touched; a directory with anything else in it
 * stays.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "collector/recording.h"

#define AGE_SECONDS 60 /* younger ones may belong to a collector that is about to listen */
#define REMOVED_MAX 64 /* at one start */

static bool name_is_ours(const char *name) {
    size_t length = strlen(LISTENER_DIRECTORY_PREFIX);
    return strncmp(name, LISTENER_DIRECTORY_PREFIX, length) == 0 && strlen(name) == length + 6;
}

/* Whether nobody can be reached there any more. No socket at all counts as that. */
static bool socket_is_dead(int directory) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory,
             LISTENER_SOCKET_NAME);
    bool dead = connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
                (errno == ECONNREFUSED || errno == ENOENT);
    close(fd);
    return dead;
}

static bool directory_is_stale(int directory) {
    struct stat status;
    return fstat(directory, &status) == 0 && status.st_uid == geteuid() &&
           time(NULL) - status.st_mtime > AGE_SECONDS && socket_is_dead(directory);
}

void stale_remove(const char *root) {
    DIR *stream = opendir(root);
    if (!stream)
        return;
    int removed = 0;
    struct dirent *entry;
    while (removed < REMOVED_MAX && (entry = readdir(stream))) {
        if (!name_is_ours(entry->d_name))
            continue;
        int directory = openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (directory < 0)
            continue;
        if (directory_is_stale(directory)) {
            unlinkat(directory, LISTENER_SOCKET_NAME, 0);
            unlinkat(directory, LISTENER_AGENT_LINK, 0);
            removed += unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR) == 0;
        }
        close(directory);
    }
    closedir(stream);
}
