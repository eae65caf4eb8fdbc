/* SPDX-License-Identifier: MIT */
/*
 * A wait on a condition variable releases a mutex and takes it again; both pthread_cond_* and cnd_*
 * go through here.
 */
#ifndef WAITSCOPE_AGENT_CONDITION_H
#define WAITSCOPE_AGENT_CONDITION_H

#include "agent/cleanup.h"
#include "agent/take.h"

struct condition_wait {
    struct lock_wait wait;
    uint64_t mutex; /* key of generation 0 */
};

/* Returns false if nothing is to be recorded. */
bool condition_wait_begin(struct condition_wait *wait, const void *condition, const void *mutex,
                          uint64_t site);
/* flags: WAIT_* by the real function's result. The mutex is held again. */
void condition_wait_end(struct condition_wait *wait, uint32_t flags);
/* Cleanup handler; argument: the struct condition_wait. The mutex is held again here, too (POSIX). */
void condition_wait_cancelled(void *wait);

/* call: the real function; flags_of(result) gives WAIT_* flags. */
#define HOOK_CONDITION_WAIT(condition, mutex, call, flags_of)                                                \
    do {                                                                                                     \
        struct condition_wait wait_;                                                                         \
        int result_;                                                                                         \
        if (!condition_wait_begin(&wait_, condition, mutex, HOOK_SITE()))                                    \
            return call;                                                                                     \
        AGENT_CLEANUP_PUSH(condition_wait_cancelled, &wait_);                                                \
        result_ = call;                                                                                      \
        AGENT_CLEANUP_POP();                                                                                 \
        condition_wait_end(&wait_, flags_of(result_));                                                       \
        return result_;                                                                                      \
    } while (0)

#endif
