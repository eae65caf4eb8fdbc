/* SPDX-License-Identifier: MIT */
/*
 * How the agent finds its collector: the one that WAITSCOPE_SOCKET names; where that is unset, the
 * user's own (`waitscope collect`) if it runs; else it starts one (launch.c).
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/agent.h"
#include "agent/launch.h"
#include "agent/start.h"
#include "agent/syscall.h"
#include "agent/text.h"
#include "format/hello.h"

static struct sockaddr_un collector_address = {.sun_family = AF_UNIX};

#define CONNECT_TRIES 50 /* a millisecond apart, while the collector's backlog is full */

static int hello_deliver(struct hello *hello, const int *slab_fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {hello, sizeof(*hello)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (slab_fd) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), slab_fd, sizeof(int));
    }

    int fd = (int)AGENT_SYSCALL_3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    long ret = -EAGAIN;
    for (int tries = 0; ret == -EAGAIN && tries < CONNECT_TRIES; tries++) {
        ret = AGENT_SYSCALL_3(SYS_connect, fd, &collector_address, sizeof(collector_address));
        if (ret == -EAGAIN) {
            struct timespec pause = {0, 1000000};
            AGENT_SYSCALL_2(SYS_nanosleep, &pause, NULL);
        }
    }
    if (ret == 0)
        ret = AGENT_SYSCALL_3(SYS_sendmsg, fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    AGENT_SYSCALL_1(SYS_close, fd);
    return ret < 0 ? (int)ret : 0;
}

int agent_hello_send(int slab_fd, const struct image_id *image, uint32_t slab_index) {
    struct hello hello = {
        .magic = HELLO_MAGIC, .version = HELLO_VERSION, .image = *image, .slab_index = slab_index};
    return hello_deliver(&hello, &slab_fd);
}

void agent_hello_refuse(enum hello_refusal refusal, int error) {
    struct hello hello = {.magic = HELLO_MAGIC, .version = HELLO_VERSION, .refusal = refusal, .error = error};
    hello_deliver(&hello, NULL);
}

/* Where the collector of this user listens if there is one (format/hello.h). Returns 0 or a negative errno.
 */
static int user_socket_find(void) {
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    char *path = collector_address.sun_path, *end = path + sizeof(collector_address.sun_path);
    const char *base = agent_environment_get("XDG_RUNTIME_DIR");
    uint64_t user = (uint64_t)AGENT_SYSCALL_0(SYS_geteuid);
    char *at = base && base[0] == '/'
                   ? text_append(text_append(path, end, base), end, "/waitscope")
                   : text_append_number(text_append(path, end, "/tmp/waitscope-"), end, user, 10);
    long ret = text_append(at, end, "/" WAITSCOPE_USER_SOCKET) ? 0 : -ENAMETOOLONG;
    int fd =
        ret < 0 ? -1
                : (int)AGENT_SYSCALL_3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        ret = AGENT_SYSCALL_3(SYS_connect, fd, &collector_address, sizeof(collector_address));
        /* In /tmp it might be anybody's. */
        if (ret == 0)
            ret = AGENT_SYSCALL_6(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size, 0);
        if (ret == 0 && peer.uid != user)
            ret = -EPERM;
        AGENT_SYSCALL_1(SYS_close, fd);
    } else if (ret == 0) {
        ret = fd;
    }
    if (ret < 0)
        path[0] = '\0';
    return (int)ret;
}

int agent_connect_find(char *const *environment, uint32_t *flags) {
    const char *path = agent_environment_get(WAITSCOPE_SOCKET_VARIABLE);
    if (path && *path) {
        size_t length = strlen(path);
        if (length >= sizeof(collector_address.sun_path))
            return -ENAMETOOLONG;
        memcpy(collector_address.sun_path, path, length + 1);
        return 0;
    }
    if (collector_address.sun_path[0]) /* known from before a fork */
        return 0;
    if (!path && user_socket_find() == 0)
        return 0;
    int ret = launch_collector(environment, &collector_address);
    if (ret == 0) {
        *flags |= AGENT_FLAG_DIRECT;
        ret = agent_environment_add(WAITSCOPE_SOCKET_VARIABLE, collector_address.sun_path);
    }
    return ret;
}
