/* SPDX-License-Identifier: MIT */
#include "collector/privilege.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/capability.h of Linux 5.9 and later; an older header has not all of them. */
static const struct {
    unsigned number;
    const char *name;
} KEPT[] = {
    {2, "CAP_DAC_READ_SEARCH"}, {5, "CAP_KILL"}, {19, "CAP_SYS_PTRACE"},         {23, "CAP_SYS_NICE"},
    {38, "CAP_PERFMON"},        {39, "CAP_BPF"}, {40, "CAP_CHECKPOINT_RESTORE"},
};
#define KEPT_COUNT (sizeof(KEPT) / sizeof(KEPT[0]))
#define SYS_ADMIN 21 /* CAP_SYS_ADMIN, which counts as CAP_BPF, CAP_PERFMON and CAP_CHECKPOINT_RESTORE */

/* Version 3 has two words of each set, _LINUX_CAPABILITY_U32S_3. */
static int capabilities_get(struct __user_cap_data_struct sets[2]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return syscall(SYS_capget, &header, sets) == 0 ? 0 : -errno;
}

static int capabilities_set(uint64_t capabilities) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    for (int i = 0; i < 2; i++) {
        sets[i].effective = sets[i].permitted = (uint32_t)(capabilities >> 32 * i);
        sets[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, sets) == 0 ? 0 : -errno;
}

static bool number_read(const char *variable, unsigned long *ret_number) {
    const char *text = getenv(variable);
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret_number = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret_number < UINT32_MAX; /* (uid_t)-1 is nobody's */
}

bool privilege_user_find(struct privilege_user *ret_user) {
    unsigned long uid, gid;
    if (geteuid() != 0 || !number_read("SUDO_UID", &uid) || !number_read("SUDO_GID", &gid) || uid == 0)
        return false;
    *ret_user = (struct privilege_user){(uid_t)uid, (gid_t)gid};
    return true;
}

static int user_become(const struct privilege_user *user) {
    /* Else the change of user takes all capabilities. */
    if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 || setresuid(user->uid, user->uid, user->uid) != 0)
        return -errno;
    return 0;
}

int privilege_drop(const struct privilege_user *user) {
    struct __user_cap_data_struct sets[2];
    uint64_t kept = 0;
    int error = capabilities_get(sets);
    if (error != 0)
        return error;
    uint64_t permitted = sets[0].permitted | (uint64_t)sets[1].permitted << 32;
    for (size_t i = 0; i < KEPT_COUNT; i++)
        kept |= permitted & 1ULL << KEPT[i].number;
    if ((kept >> 39 & 1) == 0) /* it has made do with the one that is all of them */
        kept |= permitted & 1ULL << SYS_ADMIN;
    if (user)
        error = user_become(user);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0 && error == 0)
        error = -errno;
    int set = capabilities_set(kept);
    return error != 0 ? error : set;
}

void privilege_describe(char *ret_text, size_t bytes) {
    struct __user_cap_data_struct sets[2];
    int used = snprintf(ret_text, bytes, "uid %u,", (unsigned)geteuid());
    uint64_t others = 0;
    if (capabilities_get(sets) == 0)
        others = sets[0].permitted | (uint64_t)sets[1].permitted << 32;
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        if ((others >> KEPT[i].number & 1) == 0)
            continue;
        others &= ~(1ULL << KEPT[i].number);
        if (used >= 0 && (size_t)used < bytes)
            used += snprintf(ret_text + used, bytes - (size_t)used, " %s", KEPT[i].name);
    }
    if (others && used >= 0 && (size_t)used < bytes)
        snprintf(ret_text + used, bytes - (size_t)used, " and 0x%" PRIx64, others);
}
