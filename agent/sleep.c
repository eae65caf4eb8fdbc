/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on purpose is idle time: told apart from running and from contention.
 */

#include "agent/cleanup.h"
#include "agent/take.h"

static AGENT_SLOW bool sleep_begin(struct lock_wait *wait, uint64_t site) {
    struct thread_slot *slot = agent_slot();
    if (!slot)
        return false;
    lock_wait_begin(wait, slot, NULL, LOCK_CLASS_SLEEP, lock_hash(NULL), site, 0, 0);
    return true;
}

#define HOOK_SLEEP(type, call)                                                                               \
    do {                                                                                                     \
        struct lock_wait wait_;                                                                              \
        type result_;                                                                                        \
        if (!sleep_begin(&wait_, HOOK_SITE()))                                                               \
            return call;                                                                                     \
        AGENT_CLEANUP_PUSH(lock_wait_cancelled, &wait_);                                                     \
        result_ = call;                                                                                      \
        AGENT_CLEANUP_POP();                                                                                 \
        lock_wait_end(&wait_, agent_thread.slot, 0);                                                         \
        return result_;                                                                                      \
    } while (0)

AGENT_EXPORT int nanosleep(const struct timespec *time, struct timespec *rest) {
    HOOK_SLEEP(int, agent_real.nanosleep(time, rest));
}

AGENT_EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
                                 struct timespec *rest) {
    HOOK_SLEEP(int, agent_real.clock_nanosleep(clock, flags, time, rest));
}

AGENT_EXPORT int usleep(useconds_t time) {
    HOOK_SLEEP(int, agent_real.usleep(time));
}

AGENT_EXPORT unsigned sleep(unsigned seconds) {
    HOOK_SLEEP(unsigned, agent_real.sleep(seconds));
}
