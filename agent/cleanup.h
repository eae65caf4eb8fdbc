/* SPDX-License-Identifier: MIT */
/*
 * pthread_cleanup_push and pop for hooks. glibc's own leave the buffer registered while the handlers of outer
 * frames run: one that calls pthread_exit is sent back to the innermost buffer, which for the target alone is
 * that of its own frame. Ours is in a hook's frame and dead by then, so it is taken off before the unwinding
 * goes on. Otherwise the same (sysdeps/nptl/pthread.h, nptl/cleanup.c, nptl/unwind.c).
 */
#ifndef WAITSCOPE_AGENT_CLEANUP_H
#define WAITSCOPE_AGENT_CLEANUP_H

#include <pthread.h>

/* Runs routine(argument) if the thread is cancelled or exits before AGENT_CLEANUP_POP(), which is in the same
 * block. */
#define AGENT_CLEANUP_PUSH(routine, argument)                                                                \
    do {                                                                                                     \
        __pthread_unwind_buf_t cleanup_buffer_;                                                              \
        if (__builtin_expect(__sigsetjmp_cancel(cleanup_buffer_.__cancel_jmp_buf, 0), 0)) {                  \
            routine(argument);                                                                               \
            __pthread_unregister_cancel(&cleanup_buffer_);                                                   \
            __pthread_unwind_next(&cleanup_buffer_);                                                         \
        }                                                                                                    \
    __pthread_register_cancel(&cleanup_buffer_)

#define AGENT_CLEANUP_POP()                                                                                  \
    __pthread_unregister_cancel(&cleanup_buffer_);                                                           \
    }                                                                                                        \
    while (0)

#endif
