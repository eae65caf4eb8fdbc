/* SPDX-License-Identifier: MIT */
/* The idle rule: stacks and uses of locks that are contention, and those that are not. */
#include "check.h"
#include "model_trace.h"

static const struct {
    const char *what;
    enum lock_class cls;
    const char *frames[8]; /* leaf first */
    uint64_t flags;
    const char *routine, *module;
    bool idle;
} CASES[] = {
    {"worker",
     LOCK_CLASS_CONDITION,
     {"take", "loop", "work_main", "start_thread", "__clone3"},
     0,
     "work_main",
     "prog",
     true},
    {"too deep",
     LOCK_CLASS_CONDITION,
     {"ask", "query", "handle", "work_main", "start_thread"},
     0,
     "work_main",
     "prog",
     false},
    {"main",
     LOCK_CLASS_CONDITION,
     {"take", "loop", "run", "main", "__libc_start_call_main"},
     0,
     NULL,
     "prog",
     true},
    {"deep in main", LOCK_CLASS_CONDITION, {"a", "b", "c", "d", "main"}, 0, NULL, "prog", false},
    {"std",
     LOCK_CLASS_CONDITION,
     {"__gthread_cond_wait(long)", "std::condition_variable::wait(std::unique_lock<std::mutex>&)",
      "void std::condition_variable::wait<pop()::{lambda()#1}>(std::unique_lock<std::mutex>&)", "pop()",
      "consume()", "void std::__invoke_impl<void, void (*)()>(std::__invoke_other, void (*&&)())",
      "execute_native_thread_routine"},
     0,
     "execute_native_thread_routine",
     "prog",
     true},
    {"not std",
     LOCK_CLASS_CONDITION,
     {"my::f(std::string)", "a", "b", "c", "start_thread"},
     0,
     "c",
     "prog",
     false},
    {"incomplete", LOCK_CLASS_CONDITION, {"take"}, STACK_INCOMPLETE, "work_main", "prog", false},
    {"incomplete libuv",
     LOCK_CLASS_CONDITION,
     {"uv_cond_wait"},
     STACK_INCOMPLETE,
     "worker",
     "libuv.so.1",
     true},
    {"libuv",
     LOCK_CLASS_CONDITION,
     {"uv_cond_wait", "worker", "start_thread"},
     0,
     "worker",
     "libuv.so.1",
     true},
    {"mutex", LOCK_CLASS_MUTEX, {"take", "start_thread"}, 0, "take", "prog", false},
    {"barrier", LOCK_CLASS_BARRIER, {"take", "start_thread"}, 0, "take", "prog", false},
    {"join", LOCK_CLASS_JOIN, {"a", "b", "c", "d", "e", "main"}, 0, NULL, "prog", true},
    {"poll", LOCK_CLASS_POLL, {"a", "b", "c", "d", "e", "main"}, 0, NULL, "prog", true},
    {"semaphore", LOCK_CLASS_SEMAPHORE, {"take", "start_thread"}, 0, "take", "prog", true},
};

static void test_stacks(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 10, 1000, 0, "prog");
    size_t cases = sizeof(CASES) / sizeof(CASES[0]);
    for (size_t i = 0; i < cases; i++) {
        uint64_t module = model_trace_module(&trace, process, CASES[i].module), path[9] = {0}, routine = 0;
        for (size_t k = 0; k < 8 && CASES[i].frames[k]; k++)
            path[k] = model_trace_location(&trace, process, module, CASES[i].frames[k], NULL, 0);
        if (CASES[i].routine)
            routine = model_trace_location(&trace, process, module, CASES[i].routine, NULL, 0);
        uint64_t stack = model_trace_stack(&trace, CASES[i].flags, path);
        uint64_t thread = model_trace_thread(&trace, process, 20 + i, 1000, routine, NULL);
        uint64_t lock = model_trace_lock(&trace, process, CASES[i].cls, CASES[i].what, NULL, 0);
        MODEL_TRACE_WAIT(&trace, thread, .begin = MS, .duration = MS, .lock = lock, .mode = CASES[i].cls,
                         .stack = stack);
    }
    model_trace_end(&trace, 10 * MS);
    struct model *model = model_trace_open(&trace);
    for (size_t i = 0; i < cases; i++) {
        const struct model_lock *lock = model_lock_named(model, CASES[i].what);
        if (!CHECK(lock != NULL && lock->idle == CASES[i].idle))
            fprintf(stderr, "  in case \"%s\"\n", CASES[i].what);
    }
    CHECK_STR(model_thread_with_tid(model, 28)->role, "libuv-worker");
    CHECK_STR(model_thread_with_tid(model, 24)->role, "consume()");
    model_free(model);
}

/* A semaphore is a lock if somebody both takes and posts it, also if that is not who waits. */
static void test_semaphores(void) {
    struct model_trace trace;
    model_trace_begin(&trace);
    uint64_t process = model_trace_process(&trace, 10, 1000, 0, "prog");
    uint64_t module = model_trace_module(&trace, process, "prog");
    uint64_t take = model_trace_location(&trace, process, module, "take", NULL, 0);
    uint64_t start = model_trace_location(&trace, process, module, "start_thread", NULL, 0);
    uint64_t stack = MODEL_TRACE_STACK(&trace, take, start);
    uint64_t a = model_trace_thread(&trace, process, 11, 1000, 0, "a");
    uint64_t b = model_trace_thread(&trace, process, 12, 1000, 0, "b");
    uint64_t as_lock = model_trace_lock(&trace, process, LOCK_CLASS_SEMAPHORE, "as_lock", NULL, 0);
    uint64_t as_signal = model_trace_lock(&trace, process, LOCK_CLASS_SEMAPHORE, "as_signal", NULL, 0);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t lock = i ? as_signal : as_lock;
        MODEL_TRACE_WAIT(&trace, a, .begin = (i + 1) * MS, .duration = MS / 2, .lock = lock, .stack = stack);
        MODEL_TRACE_RELEASE(&trace, b, .time = (i + 1) * MS + 1000, .lock = lock, .stack = stack);
    }
    MODEL_TRACE_COUNT(&trace, b, .lock = as_lock, .mode = LOCK_CLASS_SEMAPHORE, .acquisitions = 1);
    model_trace_end(&trace, 10 * MS);
    struct model *model = model_trace_open(&trace);
    const struct model_lock *lock = model_lock_named(model, "as_lock"),
                            *signal = model_lock_named(model, "as_signal");
    CHECK(!lock->idle && !lock->event);
    CHECK(signal->idle && signal->event);
    CHECK_EQ_U64(model_thread_with_tid(model, 11)->states_ns[MODEL_LOCK_WAIT], MS / 2);
    model_free(model);
}

int main(void) {
    test_stacks();
    test_semaphores();
    return check_summary();
}
