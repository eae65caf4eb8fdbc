/* SPDX-License-Identifier: MIT */
/*
 * Which frames are the program's own. One table for everybody: the idle rule counts the program's
 * frames, sites show them first, trees leave out thread starts.
 */
#include <string.h>

#include "model/internal.h"

enum match { MATCH_WHOLE, MATCH_PREFIX, MATCH_SCOPE };

/*
 * MATCH_SCOPE: the name begins with text once a return type is taken off, as in
 * "void std::condition_variable::wait<main::{lambda()#1}>(...)": the demangler writes return types of
 * templates.
 */
static const struct frame_rule {
    enum match match;
    enum frame_nature nature;
    const char *text;
} FRAME_RULES[] = {
    {MATCH_WHOLE, FRAME_MAIN, "main"},
    {MATCH_WHOLE, FRAME_START, "_start"},
    {MATCH_WHOLE, FRAME_START, "start_thread"},
    {MATCH_WHOLE, FRAME_START, "clone"},
    {MATCH_WHOLE, FRAME_START, "clone3"},
    {MATCH_WHOLE, FRAME_START, "__clone"},
    {MATCH_WHOLE, FRAME_START, "__clone3"},
    {MATCH_WHOLE, FRAME_START, "__clone_internal"},
    {MATCH_PREFIX, FRAME_START, "__libc_start_"},
    {MATCH_WHOLE, FRAME_START, "execute_native_thread_routine"},
    {MATCH_SCOPE, FRAME_WRAPPER, "std::"},
    {MATCH_SCOPE, FRAME_WRAPPER, "__gnu_cxx::"},
    {MATCH_SCOPE, FRAME_WRAPPER, "boost::condition_variable"},
    {MATCH_SCOPE, FRAME_WRAPPER, "boost::mutex::"},
    {MATCH_PREFIX, FRAME_WRAPPER, "__gthread_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "pthread_mutex_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "pthread_cond_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "pthread_rwlock_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv_mutex_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv_cond_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv_sem_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv_rwlock_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv_barrier_"},
    {MATCH_WHOLE, FRAME_WRAPPER, "uv_thread_join"},
    {MATCH_PREFIX, FRAME_WRAPPER, "uv__custom_sem_"},
    {MATCH_SCOPE, FRAME_WRAPPER, "node::LibuvMutexTraits::"},
    {MATCH_SCOPE, FRAME_WRAPPER, "node::MutexBase<"},
    {MATCH_SCOPE, FRAME_WRAPPER, "node::ConditionVariableBase<"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::Mutex"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::RecursiveMutex"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::SharedMutex"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::LockGuard"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::ConditionVariable::"},
    {MATCH_SCOPE, FRAME_WRAPPER, "v8::base::Semaphore::"},
    /* Of the C library, in a program that is linked statically. */
    {MATCH_WHOLE, FRAME_WRAPPER, "syscall"},
    {MATCH_PREFIX, FRAME_WRAPPER, "__lll_lock_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "futex_wait"},
    {MATCH_PREFIX, FRAME_WRAPPER, "futex_wake"},
    {MATCH_PREFIX, FRAME_WRAPPER, "__futex_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "__pthread_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "___pthread_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "__new_sem_"},
    /* Rust's and Go's own. */
    {MATCH_PREFIX, FRAME_WRAPPER, "<std::"},
    {MATCH_PREFIX, FRAME_WRAPPER, "parking_lot"},
    {MATCH_PREFIX, FRAME_WRAPPER, "<parking_lot"},
    {MATCH_PREFIX, FRAME_WRAPPER, "runtime."},
    {MATCH_PREFIX, FRAME_WRAPPER, "g_mutex_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "g_cond_"},
    {MATCH_PREFIX, FRAME_WRAPPER, "g_rw_lock_"},
};

/* Base names of shared objects whose frames are never the program's own. */
static const char *const LIBRARY_PREFIXES[] = {
    "[kernel",      "libc.so",   "libc-2.",      "libpthread",  "ld-linux",
    "libstdc++.so", "libc++.so", "libc++abi.so", "libgcc_s.so", "linux-vdso",
};

#define AGENT_MODULE "libwaitscope-agent.so"

static bool has_prefix(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool module_is_agent(const char *module) {
    return module && strcmp(module, AGENT_MODULE) == 0;
}

static bool has_scope(const char *function, const char *scope) {
    if (has_prefix(function, scope))
        return true;
    size_t name_end = strcspn(function, "(<{");
    for (const char *at = function; (at = strchr(at, ' ')) && (size_t)(at - function) < name_end;) {
        at++;
        if (has_prefix(at, scope))
            return true;
    }
    return false;
}

enum frame_nature frame_nature_of(const struct model_frame *frame) {
    for (size_t i = 0; i < sizeof(FRAME_RULES) / sizeof(FRAME_RULES[0]); i++) {
        const struct frame_rule *rule = &FRAME_RULES[i];
        bool matches = false;
        switch (rule->match) {
        case MATCH_WHOLE:
            matches = strcmp(frame->function, rule->text) == 0;
            break;
        case MATCH_PREFIX:
            matches = has_prefix(frame->function, rule->text);
            break;
        case MATCH_SCOPE:
            matches = has_scope(frame->function, rule->text);
            break;
        }
        if (matches)
            return rule->nature;
    }
    for (size_t i = 0; frame->module && i < sizeof(LIBRARY_PREFIXES) / sizeof(LIBRARY_PREFIXES[0]); i++)
        if (has_prefix(frame->module, LIBRARY_PREFIXES[i]))
            return FRAME_WRAPPER;
    return FRAME_APPLICATION;
}

bool model_frame_is_application(const struct model_frame *frame) {
    enum frame_nature nature = frame_nature(frame);
    return nature == FRAME_APPLICATION || nature == FRAME_MAIN;
}

const struct model_frame *stack_site(const struct model_stack *stack) {
    for (uint32_t i = 0; i < stack->frame_count; i++)
        if (model_frame_is_application(stack->frames[i]))
            return stack->frames[i];
    return stack->frame_count ? stack->frames[0] : NULL;
}

const struct model_frame *stack_root(const struct model_stack *stack) {
    for (uint32_t i = stack->frame_count; i-- > 0;)
        if (model_frame_is_application(stack->frames[i]))
            return stack->frames[i];
    return NULL;
}
