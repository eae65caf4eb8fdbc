// SPDX-License-Identifier: MIT
'use strict';
/*
 * Ways to do it wrong, and the test that notices: {what, file, from, to, test}. from is found exactly once in the
 * file, or the row is out of date. tries: how often the test may pass before the mutant counts as unnoticed, where
 * it takes a race (1 by default). A test is one of ctest's, of e2e/ or rules/tree.
 */
const AGENT_C = 'agent/';
const row = (what, file, from, to, test, tries) => ({ what, file: AGENT_C + file, from, to, test, tries });

module.exports = [
  /* --- mutexes --- */
  row('any error of trylock leads to the blocking call', 'mutex.c', '    if (result == EBUSY) {\n', '    if (result != 0) {\n', 'e2e/robust'),
  row('EOWNERDEAD is not taken for had', 'take.h', 'return result == 0 || result == EOWNERDEAD;', 'return result == 0;', 'e2e/robust'),
  row('trylock of a lost mutex, which leaves it taken', 'mutex.c', '        mutex->__data.__owner == MUTEX_OWNER_NOT_RECOVERABLE)\n        return EBUSY;',
    '        mutex->__data.__owner == MUTEX_OWNER_NOT_RECOVERABLE)\n        (void)EBUSY;', 'e2e/verdicts'),
  row('every mutex that is not robust is taken by its word', 'word.h', '(mutex->__data.__kind & ~WORD_MUTEX_NO_ELISION) == word_mutex_kind', '(mutex->__data.__kind & 0x10) == 0', 'e2e/verdicts'),
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
  row('the nesting guard leaves the slot within reach', 'agent.h', '    agent_thread.busy = true;\n    agent_thread.fast = NULL;', '    agent_thread.busy = true;', 'e2e/signal_storm', 5),
  row('what a handler takes in the middle of it is dropped', 'lock.c', '    if (!agent_thread.busy || (result != 0 && result != EOWNERDEAD))\n        return result;',
    '    if (agent_thread.busy || (result != 0 && result != EOWNERDEAD))\n        return result;', 'e2e/signals', 5),

  /* --- children --- */
  row('a forked child goes on with the parent\'s slot', 'start.c', '    in_fork_child = true;\n    agent_thread = (struct agent_thread){0};', '    in_fork_child = true;', 'e2e/forks'),
  row('a child that runs no handlers goes on with it', 'fork.h', '    if (result == 0)\n        agent_forked();', '    (void)result;', 'e2e/raw_forks'),
  row('a child of clone goes on with it', 'fork.c', '    agent_forked();\n    return start.function', '    return start.function', 'e2e/raw_forks'),
  row('other handlers of fork come before ours', 'start.c', '    fork_handler_register();\n    return agent_real', '    return agent_real', 'e2e/raw_forks'),

  /* --- other libraries --- */
  row('dlsym, and one that is missing', 'resolve.c', '    return function_from(self ? self->l_next : object_first(), self, name);',
    '    return dlsym(RTLD_NEXT, "no_such_function") ? NULL : dlsym(RTLD_NEXT, name);\n    (void)self;', 'e2e/allocator_jemalloc'),
  row('the word of another library\'s mutexes is used', 'word.c', '    if (mutex_is_glibcs() && mutex_verify(0)', '    if ((mutex_is_glibcs() || true) && mutex_verify(0)', 'e2e/other_hooks'),
  row('sanitizers are not looked for', 'start.c', 'return agent_symbol_find("__tsan_init") ||', 'return agent_symbol_find("__no_init") &&', 'e2e/sanitized_thread'),
  row('locks are tried before sanitizers are looked for', 'start.c', '    uint32_t flags = in_fork_child ? AGENT_FLAG_FORKED : 0;\n', '    uint32_t flags = in_fork_child ? AGENT_FLAG_FORKED : 0;\n    word_verify();\n', 'e2e/sanitized_thread'),
  row('rows of code that is gone are kept', 'loader.c', '    unwind_flush();\n', '', 'e2e/plugin_host'),
  row('another C library lacks a symbol', 'resolve.c', '#pragma weak _r_debug\n', '', 'e2e/foreign_libc'),
  row('the agent goes on in another C library', 'start.c', 'if (!agent_libc_is_known() || sanitizer_present()) {', 'if (sanitizer_present()) {', 'e2e/foreign_libc'),

  /* --- walls --- */
  row('a descriptor stays open', 'slab.c', 'cleanup:\n    AGENT_SYSCALL_1(SYS_close, fd);', 'cleanup:', 'e2e/preload_unseen'),
  row('shared memory past the limit on files', 'slab.c', '    if (limit != RLIM_INFINITY) {', '    if (limit == 1) {', 'e2e/limits'),
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
  { what: 'privileges of the file are not looked at', file: 'collector/preload.c', from: '(status->st_mode & S_ISUID) &&', to: 'status->st_mode == 1 &&', test: 'e2e/setuid' },
]);
