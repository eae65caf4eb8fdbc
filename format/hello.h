/* SPDX-License-Identifier: MIT */
/*
 * What an agent says to the collector: one SOCK_SEQPACKET connection per message, so that the
 * target keeps no descriptor of ours open. A hello carries one slab's memfd by SCM_RIGHTS. The
 * agent does not wait for an answer; the collector learns the peer's real pid by SO_PEERCRED.
 */
#ifndef WAITSCOPE_FORMAT_HELLO_H
#define WAITSCOPE_FORMAT_HELLO_H

#include <stdint.h>

#include "format/slab.h"

#define HELLO_MAGIC 0x4f4c4c48U
#define HELLO_VERSION 1U

/* Environment: path of the collector's socket; set by the collector for the target and, on a
 * direct preload, by the agent for the target's children. */
#define WAITSCOPE_SOCKET_VARIABLE "WAITSCOPE_SOCKET"
/* Where that is unset the user's own collector is looked for: $XDG_RUNTIME_DIR/waitscope/socket, without
 * XDG_RUNTIME_DIR /tmp/waitscope-UID/socket. Set and empty, an agent starts a collector for itself. */
#define WAITSCOPE_USER_SOCKET "socket"
/* Environment: agent options, "name=value" joined by commas: hold=N (time one hold in N),
 * ring=BYTES, off (do nothing). */
#define WAITSCOPE_AGENT_VARIABLE "WAITSCOPE_AGENT"

/* Environment: how many seccomp filters the collector lives under, where there are any. Under no more than
 * these an agent may do what the collector does. */
#define WAITSCOPE_SECCOMP_VARIABLE "WAITSCOPE_SECCOMP"

/* Why an agent stands down; such a hello carries no descriptor. */
enum hello_refusal {
    HELLO_STANDS = 0,
    HELLO_REFUSED_FILE_LIMIT = 1, /* RLIMIT_FSIZE leaves no room for a slab */
    HELLO_REFUSED_MEMORY = 2,     /* memfd_create, mmap: see error */
    HELLO_REFUSED_SANITIZER = 3,  /* the program has a sanitizer's runtime */
    HELLO_REFUSED_LIBC = 4,       /* the program's C library is not glibc */
};

struct hello {
    uint32_t magic;
    uint32_t version;
    struct image_id image;
    uint32_t slab_index;
    uint32_t refusal; /* enum hello_refusal */
    int32_t error;    /* errno behind it, 0 none */
    uint32_t reserved;
};

#endif
