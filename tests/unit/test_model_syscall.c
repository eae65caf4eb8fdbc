/* SPDX-License-Identifier: MIT */
/* Names of system calls against the numbers of the C library's header, and what each is taken for. */
#include <sys/syscall.h>

#include "check.h"
#include "model/syscall.h"

static const struct {
    const char *name;
    uint64_t number;
    enum model_off_kind kind;
} CALLS[] = {
    {"read", SYS_read, MODEL_OFF_IO},
    {"fsync", SYS_fsync, MODEL_OFF_IO},
    {"accept4", SYS_accept4, MODEL_OFF_IO},
    {"recvmsg", SYS_recvmsg, MODEL_OFF_IO},
    {"connect", SYS_connect, MODEL_OFF_IO},
    {"openat", SYS_openat, MODEL_OFF_IO},
    {"io_uring_enter", SYS_io_uring_enter, MODEL_OFF_IO},
    {"nanosleep", SYS_nanosleep, MODEL_OFF_SLEEP},
    {"clock_nanosleep", SYS_clock_nanosleep, MODEL_OFF_SLEEP},
    {"poll", SYS_poll, MODEL_OFF_POLL},
    {"ppoll", SYS_ppoll, MODEL_OFF_POLL},
    {"select", SYS_select, MODEL_OFF_POLL},
    {"pselect6", SYS_pselect6, MODEL_OFF_POLL},
    {"epoll_wait", SYS_epoll_wait, MODEL_OFF_POLL},
    {"epoll_pwait", SYS_epoll_pwait, MODEL_OFF_POLL},
    {"epoll_pwait2", SYS_epoll_pwait2, MODEL_OFF_POLL},
    {"futex", SYS_futex, MODEL_OFF_FUTEX},
    {"futex_waitv", 449, MODEL_OFF_FUTEX},
    {"futex_wait", 455, MODEL_OFF_FUTEX},
    {"wait4", SYS_wait4, MODEL_OFF_OTHER},
    {"rt_sigtimedwait", SYS_rt_sigtimedwait, MODEL_OFF_OTHER},
    {"clone3", SYS_clone3, MODEL_OFF_OTHER},
    {"fanotify_mark", SYS_fanotify_mark, MODEL_OFF_OTHER},
    {"copy_file_range", SYS_copy_file_range, MODEL_OFF_IO},
};

int main(void) {
    for (size_t i = 0; i < sizeof(CALLS) / sizeof(CALLS[0]); i++) {
        CHECK_STR(syscall_name(CALLS[i].number), CALLS[i].name);
        CHECK_EQ_INT(syscall_kind(CALLS[i].number), CALLS[i].kind);
    }
    /* A gap that was left free, one past the last, and any number at all. */
    CHECK_STR(syscall_name(400), NULL);
    CHECK_STR(syscall_name(SYSCALL_LIMIT), NULL);
    CHECK_STR(syscall_name(UINT64_MAX), NULL);
    CHECK_EQ_INT(syscall_kind(UINT64_MAX), MODEL_OFF_OTHER);
    return check_summary();
}
