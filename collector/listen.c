/* SPDX-License-Identifier: MIT */
/*
 * The socket that agents report to: one connection, one struct hello with one descriptor, or with
 * none from an agent that stands down. Never waits: a peer that connects and says nothing has a place in a
 * small table until its deadline.
 *
 * Believed is only a peer of our own user (any user's, if we are root), and only a sealed memfd: an
 * unsealed one could be cut under our mapping, which would kill us by SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "collector/recording.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5, include/uapi/asm-generic/socket.h */
#endif
#define TMPFS_MAGIC_NUMBER 0x01021994 /* Linux include/uapi/linux/magic.h: memfds, but not huge pages' */
#define PENDING_MAX 64
#define PENDING_NS 1000000000ULL
#define ACCEPTS_MAX 256 /* in one poll */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct pending {
    int fd;
    uint64_t deadline;
};

struct listener {
    int fd;
    char path[108];
    char directory[96]; /* empty: not ours */
    bool any_user;      /* made as root: any user's agents are believed */
    struct pending pending[PENDING_MAX];
    uint32_t pending_count;
};

static int socket_bind(const char *path, int *ret_fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

/* A directory for the socket, and as root open to targets that give up their privileges. */
static int directory_make(char *directory, size_t bytes) {
    const char *roots[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    int error = -ENOENT;
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        if (!roots[i] || roots[i][0] != '/')
            continue;
        int written = snprintf(directory, bytes, "%s/" LISTENER_DIRECTORY_PREFIX "XXXXXX", roots[i]);
        if (written < 0 || (size_t)written >= bytes)
            continue;
        stale_remove(roots[i]);
        if (!mkdtemp(directory)) {
            error = -errno;
            continue;
        }
        if (geteuid() != 0 || chmod(directory, 0711) == 0)
            return 0;
        error = -errno;
        rmdir(directory);
    }
    directory[0] = '\0';
    return error;
}

int listener_new(struct listener **ret_listener) {
    struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->fd = -1;
    listener->any_user = geteuid() == 0;
    int error = directory_make(listener->directory, sizeof(listener->directory));
    if (error != 0)
        goto cleanup;
    snprintf(listener->path, sizeof(listener->path), "%s/" LISTENER_SOCKET_NAME, listener->directory);
    error = socket_bind(listener->path, &listener->fd);
    if (error != 0)
        goto cleanup;
    if (geteuid() == 0 && chmod(listener->path, 0666) != 0) {
        error = -errno;
        goto cleanup;
    }
    *ret_listener = listener;
    listener = NULL;

cleanup:
    listener_free(listener);
    return error;
}

/* The agent made the socket's directory for it alone; any other place is not ours to remove. */
static void directory_adopt(struct listener *listener) {
    const char *slash = strrchr(listener->path, '/');
    size_t length = slash ? (size_t)(slash - listener->path) : 0;
    if (length == 0 || length >= sizeof(listener->directory))
        return;
    memcpy(listener->directory, listener->path, length);
    const char *name = strrchr(listener->directory, '/');
    if (!name || strncmp(name + 1, "waitscope", 9) != 0)
        listener->directory[0] = '\0';
}

int listener_adopt(int fd, const char *path, bool private_directory, struct listener **ret_listener) {
    struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->fd = fd;
    listener->any_user = geteuid() == 0;
    if (path && strlen(path) < sizeof(listener->path)) {
        strcpy(listener->path, path);
        if (private_directory)
            directory_adopt(listener);
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        int error = -errno;
        listener_free(listener);
        return error;
    }
    *ret_listener = listener;
    return 0;
}

const char *listener_path(const struct listener *listener) {
    return listener->path;
}

const char *listener_directory(const struct listener *listener) {
    return listener->directory[0] ? listener->directory : NULL;
}

int listener_fd(const struct listener *listener) {
    return listener->fd;
}

void listener_give(const struct listener *listener, unsigned uid, unsigned gid) {
    if (!listener->directory[0])
        return;
    (void)!lchown(listener->path, uid,
                  gid); /* before the directory, in which the user may then do anything */
    (void)!lchown(listener->directory, uid, gid);
}

void listener_free(struct listener *listener) {
    if (!listener)
        return;
    for (uint32_t i = 0; i < listener->pending_count; i++)
        close(listener->pending[i].fd);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->path[0])
        unlink(listener->path);
    if (listener->directory[0]) {
        char link[sizeof(listener->directory) + 32];
        snprintf(link, sizeof(link), "%s/%s", listener->directory, LISTENER_AGENT_LINK);
        unlink(link);
        rmdir(listener->directory);
    }
    free(listener);
}

/* The first descriptor in a message; all others are closed. -1: none. */
static int message_descriptor(struct msghdr *message) {
    int found = -1;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
            if (found < 0)
                found = fd;
            else
                close(fd);
        }
    }
    return found;
}

/* Checks a memfd, maps it, and copies its header out. Returns 0 or a negative errno. */
static int slab_map(int fd, struct slab_header *header, void **ret_memory) {
    struct stat status;
    struct statfs system;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return -EPERM;
    if (fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC_NUMBER)
        return -EINVAL;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < (off_t)SLAB_HEADER_BYTES)
        return -EINVAL;
    if (pread(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header))
        return -EINVAL;
    int error = slab_geometry_check(header, (uint64_t)status.st_size);
    if (error != 0)
        return error;
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *ret_memory = memory;
    return 0;
}

static int peer_pidfd(int connection, int pid) {
    int pidfd;
    socklen_t size = sizeof(pidfd);
    if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
        return pidfd;
    return (int)syscall(SYS_pidfd_open, pid, 0U);
}

/* Whether what was said and who said it can be believed. */
static bool hello_check(const struct recording *recording, int connection, const struct hello *hello,
                        struct ucred *ret_peer) {
    socklen_t size = sizeof(*ret_peer);
    return hello->magic == HELLO_MAGIC && hello->version == HELLO_VERSION &&
           getsockopt(connection, SOL_SOCKET, SO_PEERCRED, ret_peer, &size) == 0 &&
           (ret_peer->uid == geteuid() || recording->listener->any_user);
}

/* Remembers why an agent stands down. */
static bool refusal_take(struct recording *recording, int connection, const struct hello *hello) {
    struct ucred peer;
    if (!hello_check(recording, connection, hello, &peer) || hello->refusal > HELLO_REFUSED_LIBC)
        return false;
    bool first = recording->stood_down.why == HELLO_STANDS;
    bool child = peer.pid == recording->child;
    if ((!first && (!child || recording->stood_down.pid == recording->child)) ||
        (recording->no_follow && !child))
        return true;
    recording->stood_down.why = (enum hello_refusal)hello->refusal;
    recording->stood_down.error = hello->error;
    recording->stood_down.pid = peer.pid;
    return true;
}

/* Remembers a process that has small rings because of its RLIMIT_FSIZE: they overflow easily. */
static void limit_note(struct recording *recording, const struct slab_header *header, int pid) {
    struct rlimit limit;
    if (recording->limited.pid != 0 || header->ring_bytes >= RING_BYTES_DEFAULT ||
        prlimit(pid, RLIMIT_FSIZE, NULL, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    recording->limited.pid = pid;
    recording->limited.ring_bytes = header->ring_bytes;
}

/* Takes over the slab behind fd, which is consumed. */
static bool hello_take(struct recording *recording, int connection, const struct hello *hello, int fd) {
    struct ucred peer;
    struct slab_header header;
    void *memory = NULL;
    if (!hello_check(recording, connection, hello, &peer) || slab_map(fd, &header, &memory) != 0) {
        close(fd);
        return false;
    }
    struct image *image = NULL;
    if (hello->image.high == header.image.high && hello->image.low == header.image.low &&
        hello->slab_index == header.slab_index)
        image = image_obtain(recording, &header, peer.pid, peer.uid, peer_pidfd(connection, peer.pid));
    if (!image) {
        munmap(memory, header.slab_bytes);
        close(fd);
        return false;
    }
    limit_note(recording, &header, peer.pid);
    return image_slab_add(recording, image, &header, fd, memory) == 0;
}

/* Reads what a peer says, if it has said it. Returns false if it is to be waited for. */
static bool connection_read(struct recording *recording, int connection) {
    struct hello hello;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = &hello, .iov_len = sizeof(hello)};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t bytes = recvmsg(connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (bytes <= 0)
        return true;
    int fd = message_descriptor(&message);
    bool whole = bytes == (ssize_t)sizeof(hello) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    bool stands = whole && hello.refusal == HELLO_STANDS;
    bool believed = false;
    if (stands && fd >= 0)
        believed = hello_take(recording, connection, &hello, fd);
    else if (fd >= 0)
        close(fd);
    else if (whole && !stands)
        believed = refusal_take(recording, connection, &hello);
    if (!believed)
        recording->refused++;
    return true;
}

static void pending_poll(struct recording *recording, struct listener *listener, uint64_t now) {
    for (uint32_t i = listener->pending_count; i-- > 0;) {
        struct pending *pending = &listener->pending[i];
        if (!connection_read(recording, pending->fd) && now < pending->deadline)
            continue;
        close(pending->fd);
        *pending = listener->pending[--listener->pending_count];
    }
}

/* Keeps a peer that has said nothing yet; the one that has been silent longest makes room. What it says
 * wakes the loop: an agent may be caught between its connect and its message. */
static void pending_add(struct recording *recording, struct listener *listener, int connection,
                        uint64_t now) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
    if (listener->pending_count == PENDING_MAX) {
        uint32_t oldest = 0;
        for (uint32_t i = 1; i < PENDING_MAX; i++) {
            if (listener->pending[i].deadline < listener->pending[oldest].deadline)
                oldest = i;
        }
        close(listener->pending[oldest].fd);
        listener->pending[oldest] = listener->pending[--listener->pending_count];
    }
    listener->pending[listener->pending_count++] = (struct pending){connection, now + PENDING_NS};
    epoll_ctl(recording->epoll, EPOLL_CTL_ADD, connection, &event);
}

void listener_poll(struct recording *recording) {
    struct listener *listener = recording->listener;
    uint64_t now = clock_now_ns();
    pending_poll(recording, listener, now);
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int connection = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0)
            return;
        if (connection_read(recording, connection))
            close(connection);
        else
            pending_add(recording, listener, connection, now);
    }
}
