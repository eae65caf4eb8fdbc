// SPDX-License-Identifier: MIT
'use strict';
/*
 * Ways to do it wrong, and the test that notices: {what, file, from, to, test}. from is found exactly once in the
 * file, or the row is out of date. tries: how often the test may pass before the mutant counts as unnoticed, where
 * it takes a race (1 by default). A test is one of ctest's, of e2e/ or rules/tree.
 */
const AGENT_C = 'agent/';
const row = (what, file, from, to, test, tries) => ({ what, file: AGENT_C + file, from, to, test, tries });

/* Which mutexes the fast path takes, and the same with one bit of the kind not looked at. */
const KNOWN = '(mutex->__data.__kind & ~WORD_MUTEX_NO_ELISION) == word_mutex_kind';
const taken = (bit) => `(mutex->__data.__kind & ~(WORD_MUTEX_NO_ELISION | ${bit})) == word_mutex_kind`;

module.exports = [
  /* --- mutexes --- */
  row('any error of trylock leads to the blocking call', 'mutex.c', '    if (result == EBUSY) {\n', '    if (result != 0) {\n', 'e2e/robust'),
  row('EOWNERDEAD is not taken for had', 'take.h', 'return result == 0 || result == EOWNERDEAD;', 'return result == 0;', 'e2e/robust'),
  row('trylock of a lost mutex, which leaves it taken', 'mutex.c', '        mutex->__data.__owner == MUTEX_OWNER_NOT_RECOVERABLE)\n        return EBUSY;',
    '        mutex->__data.__owner == MUTEX_OWNER_NOT_RECOVERABLE)\n        (void)EBUSY;', 'e2e/verdicts'),
  row('every mutex that is not robust is taken by its word', 'word.h', KNOWN, '(mutex->__data.__kind & 0x10) == 0', 'e2e/verdicts'),
  row('a recursive mutex is taken by its word', 'word.h', KNOWN, taken('0x01'), 'e2e/verdicts'),
  row('an error-checking mutex is taken by its word', 'word.h', KNOWN, taken('0x02'), 'e2e/verdicts'),
  row('a mutex that hands on its priority is taken by its word', 'word.h', KNOWN, taken('0x20'), 'e2e/mutex_kinds'),
  row('a mutex with a ceiling is taken by its word', 'word.h', KNOWN, taken('0x40'), 'e2e/verdicts'),
  row('a mutex of several processes is taken by its word', 'word.h', KNOWN, taken('0x80'), 'e2e/mutex_kinds'),
  row('who sleeps in another process is not known of', 'mutex.c', '|| !mutex_has_sleepers(mutex))', '|| mutex != NULL)', 'e2e/shared'),
  row('one told release of a shared mutex keeps the next ones quiet', 'mutex.c', '        agent_thread.told_base = 0; /* waits begin elsewhere', '        (void)0; /* waits begin elsewhere', 'e2e/shared'),
  row('a forked child does not tell of shared mutexes anew', 'start.c', '        shared_locks_forked();\n', '', 'e2e/shared'),
  row('an adaptive mutex goes past the agent', 'mutex.c', 'AGENT_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {\n',
    'AGENT_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {\n    if ((mutex->__data.__kind & 3) == 3)\n        return agent_real.pthread_mutex_lock(mutex);\n', 'e2e/mutex_kinds'),
  row('a waiter is not woken', 'word.c', 'AGENT_SYSCALL_3(SYS_futex, &mutex->__data.__lock, FUTEX_WAKE_PRIVATE, 1);', '(void)mutex;', 'e2e/mutex'),
  row('clocks that glibc refuses are not looked at', 'take.h', 'return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;', 'return clock != 54321;', 'e2e/verdicts'),
  row('malformed limits are not looked at', 'take.h', 'return limit->tv_nsec >= 0 && limit->tv_nsec < 1000000000;', 'return limit != NULL;', 'e2e/verdicts'),

  /* --- waits and their end --- */
  row('sem_trywait first: no point of cancellation', 'semaphore.c', '    pthread_testcancel();\n    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_wait(semaphore), 0);',
    '    HOOK_SEMAPHORE_WAIT(semaphore, agent_real.sem_wait(semaphore), 0);', 'e2e/cancel_kinds'),
  row('sem_clockwait is made a point of cancellation', 'semaphore.c', '        return agent_real.sem_clockwait(semaphore, clock, limit);\n    HOOK',
    '        return agent_real.sem_clockwait(semaphore, clock, limit);\n    pthread_testcancel();\n    HOOK', 'e2e/cancel_kinds'),
  row('errno of a semaphore that is taken', 'semaphore.c', '    errno = saved;\n', '    (void)saved;\n', 'e2e/verdicts'),
  row('errno of a semaphore is lost', 'semaphore.c', '    if (result == 0)\n        taker_note(wait->semaphore, slot, wait->wait.site);\n}',
    '    if (result == 0)\n        taker_note(wait->semaphore, slot, wait->wait.site);\n    errno = 0;\n}', 'e2e/verdicts'),
  row('a cleanup buffer stays while outer handlers run', 'cleanup.h', '            __pthread_unregister_cancel(&cleanup_buffer_);                                                   \\\n            __pthread_unwind_next',
    '            __pthread_unwind_next', 'e2e/cancel_kinds'),
  row('a cancelled wait on a condition is not closed', 'condition.c', '    lock_wait_end(&wait->wait, slot, WAIT_CANCELLED);', '    (void)slot;', 'e2e/cancel_kinds'),
  row('a cancelled wait for a semaphore is not closed', 'semaphore.c', '    lock_wait_cancelled(&((struct semaphore_wait *)wait)->wait);', '    (void)wait;', 'e2e/cancel_kinds'),
  row('who calls pthread_exit is ended before its handlers run', 'thread.c', '    if (slot && slot->start_routine == 0)\n        agent_thread_end(slot);\n    agent_real.pthread_exit(value);',
    '    if (slot && slot->start_routine == 0)\n        agent_thread_end(slot);\n    agent_thread.fast = agent_thread.slot = NULL;\n    agent_thread.refused = true;\n    agent_real.pthread_exit(value);', 'e2e/cancel'),
  row('all of C11 is left out: mtx_lock', 'c11.c', 'AGENT_EXPORT int mtx_lock(mtx_t *mutex) {', 'int unhooked_lock(mtx_t *mutex);\nint unhooked_lock(mtx_t *mutex) {', 'e2e/c11'),
  row('all of C11 is left out: cnd_wait', 'c11.c', 'AGENT_EXPORT int cnd_wait(cnd_t *condition, mtx_t *mutex) {',
    'int unhooked_wait(cnd_t *condition, mtx_t *mutex);\nint unhooked_wait(cnd_t *condition, mtx_t *mutex) {', 'e2e/c11'),
  row('old conditions get the new functions', 'exports.map', 'GLIBC_2.3.2 {', 'GLIBC_2.2.5 {', 'e2e/versions'),

  /* --- threads --- */
  row('12 KiB of thread-local data', 'thread.c', '__thread struct agent_thread agent_thread __attribute__((tls_model("initial-exec")));',
    '__thread struct agent_thread agent_thread __attribute__((tls_model("initial-exec")));\n__thread char much[12288] __attribute__((tls_model("initial-exec"), visibility("default")));', 'e2e/small_waits'),
  row('more thread-local data than is allowed', 'thread.c', '__thread struct agent_thread agent_thread __attribute__((tls_model("initial-exec")));',
    '__thread struct agent_thread agent_thread __attribute__((tls_model("initial-exec")));\n__thread char much[256] __attribute__((tls_model("initial-exec"), visibility("default")));', 'rules/tree'),
  row('hooks with a deep stack', 'stack.c', '    uint64_t frames[STACK_FRAMES_MAX + OWN_FRAMES_MAX];', '    uint64_t frames[4096];', 'e2e/small_waits'),
  row('what destructors take is another thread\'s', 'thread.c', '    slot->end_ticks = agent_ticks();\n    agent_busy_leave();', '    slot->end_ticks = agent_ticks();\n    agent_busy_leave();\n    agent_thread.fast = agent_thread.slot = NULL;', 'e2e/threads'),
  row('a thread without a slot is counted twice', 'thread.c', '    agent_busy_leave();\n    return child;', '    agent_busy_leave();\n    if (!child)\n        agent_lost_count(LOSS_NO_SLOT);\n    return child;', 'e2e/confined_many'),

  /* --- signals --- */
  row('the nesting guard leaves the slot within reach', 'agent.h', '    agent_thread.busy = true;\n    agent_thread.fast = NULL;', '    agent_thread.busy = true;', 'e2e/signal_storm', 3),
  row('what a handler takes in the middle of it is dropped', 'lock.c', '    if (!agent_thread.busy || (result != 0 && result != EOWNERDEAD))\n        return result;',
    '    if (agent_thread.busy || (result != 0 && result != EOWNERDEAD))\n        return result;', 'e2e/signal_storm'),

  /* --- children --- */
  row('a forked child goes on with the parent\'s slot', 'start.c', '    in_fork_child = true;\n    agent_thread = (struct agent_thread){0};', '    in_fork_child = true;', 'e2e/forks'),
  row('a child that runs no handlers goes on with it', 'fork.h', '    if (result == 0)\n        agent_forked();', '    (void)result;', 'e2e/raw_forks'),
  row('a child of clone goes on with it', 'fork.c', '    agent_forked();\n    return start.function', '    return start.function', 'e2e/raw_forks'),
  row('other handlers of fork come before ours', 'start.c', '    fork_handler_register();\n    return agent_real', '    return agent_real', 'e2e/raw_forks'),

  row('a child in this memory goes on as a copy of it', 'fork.c', 'if ((flags & CLONE_VM) || !function', 'if (!function', 'e2e/spawn'),
  row('a child on this stack goes on as a copy of it', 'fork.h', 'return !(argument & CLONE_VM);', 'return argument != 54321;', 'e2e/spawn'),
  row('a child on this stack finds a frame of ours there', 'confine.c', '    return agent_real.syscall(number, a, b, c, d, e, f);\n}',
    '    long result = agent_real.syscall(number, a, b, c, d, e, f);\n    agent_slot();\n    return result;\n}', 'e2e/spawn'),
  row('the next image is not told of the collector', 'connect.c', '        ret = agent_environment_add(WAITSCOPE_SOCKET_VARIABLE, collector_address.sun_path);', '        ret = 0;', 'e2e/preload_exec'),
  row('images of one process are not told apart', 'slab.c', '    if (AGENT_SYSCALL_3(SYS_getrandom, &image, sizeof(image), 0x1 /* GRND_NONBLOCK */) != sizeof(image))\n        image = (struct image_id){start_ticks, (uint64_t)AGENT_SYSCALL_0(SYS_getpid) << 32 ^ start_ns};',
    '    image = (struct image_id){1, (uint64_t)AGENT_SYSCALL_0(SYS_getpid)};', 'e2e/exec_chain'),

  /* --- the collector beside its target --- */
  row('the helper is left to be waited for', 'launch.c', '    if (helper > 0 && !start->stays)\n', '    if (helper > 0 && start->forked == 54321)\n', 'e2e/preload_unseen'),
  row('the collector is the target\'s child', 'launch.c', 'start->forked = AGENT_SYSCALL_0(SYS_fork);', 'start->forked = AGENT_SYSCALL_6(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, 0);', 'e2e/preload_unseen'),
  row('wait() sees the helper', 'launch.c', 'CLONE_UNTRACED | (start->stays ? 0 :', 'CLONE_UNTRACED | (start->stays ? SIGCHLD :', 'e2e/preload_first_process'),
  row('a subreaper gets the collector', 'launch.c', '    if (reaps)\n        AGENT_SYSCALL_2(SYS_prctl, PR_SET_CHILD_SUBREAPER, 0);\n', '', 'e2e/preload_subreaper'),

  /* --- other libraries --- */
  row('who sleeps without having come through a hook is not woken', 'word.h', '__ATOMIC_RELEASE) >\n                          1);', '__ATOMIC_RELEASE) >\n                          2);', 'e2e/deep_bind', 5),
  row('dlsym, and one that is missing', 'resolve.c', '    return function_from(self ? self->l_next : object_first(), self, name, &object);',
    '    return dlsym(RTLD_NEXT, "no_such_function") ? NULL : dlsym(RTLD_NEXT, name);\n    (void)self;\n    (void)object;', 'e2e/allocator_jemalloc'),
  row('the word of another library\'s mutexes is used', 'word.c', '    if (mutex_is_glibcs() && mutex_verify(0)', '    if ((mutex_is_glibcs() || true) && mutex_verify(0)', 'e2e/other_hooks'),
  row('sanitizers are not looked for', 'start.c', 'return agent_symbol_find("__tsan_init") ||', 'return agent_symbol_find("__no_init") &&', 'e2e/sanitized_thread'),
  row('rows of code that is gone are kept', 'loader.c', '    unwind_flush();\n', '', 'e2e/plugin_host'),
  row('another C library lacks a symbol', 'resolve.c', '#pragma weak _r_debug\n', '', 'e2e/foreign_libc'),
  row('the agent goes on in another C library', 'start.c', 'if (!agent_libc_is_known() || sanitizer_present()) {', 'if (sanitizer_present()) {', 'e2e/foreign_libc'),

  /* --- stacks that have no end --- */
  row('a stack that is cut off passes for a whole one, the first time', 'stack.c', ': stack_end_flags(frames[count - 1]);\n    return stack_name(slot, unwind', ': 0;\n    return stack_name(slot, unwind', 'e2e/blind_alley'),
  row('a stack that is cut off passes for a whole one, from the memo', 'stack.c', 'complete || count == 0 ? 0 : stack_end_flags(frames[count - 1])', '0 * (complete + count)', 'e2e/blind_alley'),
  row('it is not told why a stack is cut off', 'stack.c', 'return STACK_INCOMPLETE | STACK_NO_INFORMATION;', 'return STACK_INCOMPLETE;', 'e2e/blind_alley'),

  /* --- walls --- */
  row('a descriptor stays open', 'slab.c', 'cleanup:\n    AGENT_SYSCALL_1(SYS_close, fd);', 'cleanup:', 'e2e/preload_unseen'),
  row('shared memory past the limit on files', 'slab.c', '    if (limit != RLIM_INFINITY) {', '    if (limit == 1) {', 'e2e/limits'),
  row('shared memory beyond a limited address space\'s share', 'slab.c', 'if (space != RLIM_INFINITY &&', 'if (space == 1 &&', 'e2e/limits_tight'),
  row('nothing is made ready before a new root', 'confine.c', '    agent_resolve();\n    walls_before();', '    agent_resolve();', 'e2e/confined_child'),
  row('a filter by prctl is not noticed', 'confine.c', '    if (AGENT_LIKELY(option != PR_SET_SECCOMP))', '    if (AGENT_LIKELY(option != 54321))', 'e2e/confined_prctl'),
  row('a filter by syscall is not noticed', 'confine.c', 'number == SYS_seccomp &&', 'number == 54321 &&', 'e2e/confined_syscall'),
  row('system calls go on behind a filter', 'confine.c', '    if (AGENT_LIKELY(atomic_load_explicit(&confined, memory_order_seq_cst) == 0))', '    if (true)', 'e2e/confined_prctl'),
  row('a filter that was refused is taken for one', 'confine.c', 'if (result < 0 && atomic_fetch_sub', 'if (result < -1 && atomic_fetch_sub', 'e2e/confined_asked'),
  row('no slab is made ready before a filter', 'confine.c', '        agent_slab_spare();\n', '', 'e2e/confined_many'),
  row('a child behind a filter makes a slab', 'start.c', 'confined ? AGENT_OFF : AGENT_NONE', 'AGENT_NONE', 'e2e/confined_fork'),
  row('an image born behind a filter sets out', 'confine.c', 'bool agent_confined_at_birth(void) {\n', 'bool agent_confined_at_birth(void) {\n    if (filters_of("/proc/self/status") < 1000)\n        return false;\n', 'e2e/confined_exec'),
].concat([
  { what: 'the socket is its owner\'s alone', file: 'collector/listen.c', from: 'if (geteuid() == 0 && chmod(listener->path, 0666) != 0) {', to: 'if (chmod(listener->path, 0600) != 0) {', test: 'e2e/confined_nobody' },
  { what: 'ASan refuses what comes before it', file: 'collector/launch.c', from: 'ASAN_OPTIONS=verify_asan_link_order=0%s%s', to: 'ASAN_OPTIONS=verify_asan_link_order=1%s%s', test: 'e2e/sanitized_address' },
  { what: 'a mutex of several processes is one for each', file: 'collector/shared_lock.c', from: '    if (known && locks[known].process', to: '    if (!known && locks[known].process', test: 'e2e/shared' },
  { what: 'who keeps a mutex is looked for in the waiter\'s process only', file: 'collector/shared_lock.c', from: '    if (thread || !tid || ', to: '    if (!thread || !tid || ', test: 'e2e/shared_hang' },
  { what: 'an image goes on where the one before it was', file: 'collector/process.c', from: '        if (recording->images[i]->real_pid == real_pid)\n', to: '        if (recording->images[i]->real_pid == 54321)\n', test: 'e2e/exec_chain' },
  { what: 'it is not said that a program is static', file: 'collector/preload.c', from: '        if (segment.p_type == PT_INTERP)\n            return false;\n    }\n', to: '    }\n    return false;\n', test: 'e2e/bad_static' },
  { what: 'privileges of the file are not looked at', file: 'collector/preload.c', from: '(status->st_mode & S_ISUID) &&', to: 'status->st_mode == 1 &&', test: 'e2e/setuid' },
]);
