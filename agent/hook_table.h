/* SPDX-License-Identifier: MIT */
/*
 * The one table of interposed functions: HOOK(return type, name, (parameters), (arguments)).
 * It makes the struct of real functions, their resolution, and the no-op agent. A new hook is a row
 * here and its function, AGENT_EXPORT, in the file of its primitive.
 */
#ifndef WAITSCOPE_AGENT_HOOK_TABLE_H
#define WAITSCOPE_AGENT_HOOK_TABLE_H

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "agent/visibility.h"

/* What pthread_atfork() of every object calls: glibc nptl/pthread_atfork.c. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object);

#define AGENT_HOOKS(HOOK)                                                                                    \
    HOOK(int, pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attr), (mutex, attr)) \
    HOOK(int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))                                        \
    HOOK(int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))                                     \
    HOOK(int, pthread_mutex_timedlock, (pthread_mutex_t * mutex, const struct timespec *limit),              \
         (mutex, limit))                                                                                     \
    HOOK(int, pthread_mutex_clocklock,                                                                       \
         (pthread_mutex_t * mutex, clockid_t clock, const struct timespec *limit), (mutex, clock, limit))    \
    HOOK(int, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))                                      \
                                                                                                             \
    HOOK(int, pthread_rwlock_init, (pthread_rwlock_t * lock, const pthread_rwlockattr_t *attr),              \
         (lock, attr))                                                                                       \
    HOOK(int, pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))                                      \
    HOOK(int, pthread_rwlock_tryrdlock, (pthread_rwlock_t * lock), (lock))                                   \
    HOOK(int, pthread_rwlock_timedrdlock, (pthread_rwlock_t * lock, const struct timespec *limit),           \
         (lock, limit))                                                                                      \
    HOOK(int, pthread_rwlock_clockrdlock,                                                                    \
         (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *limit), (lock, clock, limit))     \
    HOOK(int, pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))                                      \
    HOOK(int, pthread_rwlock_trywrlock, (pthread_rwlock_t * lock), (lock))                                   \
    HOOK(int, pthread_rwlock_timedwrlock, (pthread_rwlock_t * lock, const struct timespec *limit),           \
         (lock, limit))                                                                                      \
    HOOK(int, pthread_rwlock_clockwrlock,                                                                    \
         (pthread_rwlock_t * lock, clockid_t clock, const struct timespec *limit), (lock, clock, limit))     \
    HOOK(int, pthread_rwlock_unlock, (pthread_rwlock_t * lock), (lock))                                      \
                                                                                                             \
    HOOK(int, pthread_cond_init, (pthread_cond_t * condition, const pthread_condattr_t *attr),               \
         (condition, attr))                                                                                  \
    HOOK(int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t * mutex), (condition, mutex))  \
    HOOK(int, pthread_cond_timedwait,                                                                        \
         (pthread_cond_t * condition, pthread_mutex_t * mutex, const struct timespec *limit),                \
         (condition, mutex, limit))                                                                          \
    HOOK(int, pthread_cond_clockwait,                                                                        \
         (pthread_cond_t * condition, pthread_mutex_t * mutex, clockid_t clock,                              \
          const struct timespec *limit),                                                                     \
         (condition, mutex, clock, limit))                                                                   \
    HOOK(int, pthread_cond_signal, (pthread_cond_t * condition), (condition))                                \
    HOOK(int, pthread_cond_broadcast, (pthread_cond_t * condition), (condition))                             \
                                                                                                             \
    HOOK(int, pthread_barrier_init,                                                                          \
         (pthread_barrier_t * barrier, const pthread_barrierattr_t *attr, unsigned count),                   \
         (barrier, attr, count))                                                                             \
    HOOK(int, pthread_barrier_wait, (pthread_barrier_t * barrier), (barrier))                                \
                                                                                                             \
    HOOK(int, pthread_spin_init, (pthread_spinlock_t * lock, int shared), (lock, shared))                    \
    HOOK(int, pthread_spin_lock, (pthread_spinlock_t * lock), (lock))                                        \
    HOOK(int, pthread_spin_trylock, (pthread_spinlock_t * lock), (lock))                                     \
    HOOK(int, pthread_spin_unlock, (pthread_spinlock_t * lock), (lock))                                      \
                                                                                                             \
    HOOK(int, sem_init, (sem_t * semaphore, int shared, unsigned value), (semaphore, shared, value))         \
    HOOK(int, sem_wait, (sem_t * semaphore), (semaphore))                                                    \
    HOOK(int, sem_trywait, (sem_t * semaphore), (semaphore))                                                 \
    HOOK(int, sem_timedwait, (sem_t * semaphore, const struct timespec *limit), (semaphore, limit))          \
    HOOK(int, sem_clockwait, (sem_t * semaphore, clockid_t clock, const struct timespec *limit),             \
         (semaphore, clock, limit))                                                                          \
    HOOK(int, sem_post, (sem_t * semaphore), (semaphore))                                                    \
                                                                                                             \
    HOOK(int, pthread_create,                                                                                \
         (pthread_t * thread, const pthread_attr_t *attr, void *(*routine)(void *), void *argument),         \
         (thread, attr, routine, argument))                                                                  \
    HOOK(int, pthread_join, (pthread_t thread, void **value), (thread, value))                               \
    HOOK(int, pthread_tryjoin_np, (pthread_t thread, void **value), (thread, value))                         \
    HOOK(int, pthread_timedjoin_np, (pthread_t thread, void **value, const struct timespec *limit),          \
         (thread, value, limit))                                                                             \
    HOOK(int, pthread_clockjoin_np,                                                                          \
         (pthread_t thread, void **value, clockid_t clock, const struct timespec *limit),                    \
         (thread, value, clock, limit))                                                                      \
    HOOK(int, pthread_setname_np, (pthread_t thread, const char *name), (thread, name))                      \
                                                                                                             \
    HOOK(int, mtx_init, (mtx_t * mutex, int type), (mutex, type))                                            \
    HOOK(int, mtx_lock, (mtx_t * mutex), (mutex))                                                            \
    HOOK(int, mtx_trylock, (mtx_t * mutex), (mutex))                                                         \
    HOOK(int, mtx_timedlock, (mtx_t * mutex, const struct timespec *limit), (mutex, limit))                  \
    HOOK(int, mtx_unlock, (mtx_t * mutex), (mutex))                                                          \
    HOOK(int, cnd_init, (cnd_t * condition), (condition))                                                    \
    HOOK(int, cnd_wait, (cnd_t * condition, mtx_t * mutex), (condition, mutex))                              \
    HOOK(int, cnd_timedwait, (cnd_t * condition, mtx_t * mutex, const struct timespec *limit),               \
         (condition, mutex, limit))                                                                          \
    HOOK(int, cnd_signal, (cnd_t * condition), (condition))                                                  \
    HOOK(int, cnd_broadcast, (cnd_t * condition), (condition))                                               \
    HOOK(int, thrd_create, (thrd_t * thread, thrd_start_t routine, void *argument),                          \
         (thread, routine, argument))                                                                        \
    HOOK(int, thrd_join, (thrd_t thread, int *value), (thread, value))                                       \
                                                                                                             \
    HOOK(int, nanosleep, (const struct timespec *time, struct timespec *rest), (time, rest))                 \
    HOOK(int, clock_nanosleep,                                                                               \
         (clockid_t clock, int flags, const struct timespec *time, struct timespec *rest),                   \
         (clock, flags, time, rest))                                                                         \
    HOOK(int, usleep, (useconds_t time), (time))                                                             \
    HOOK(unsigned, sleep, (unsigned seconds), (seconds))                                                     \
    HOOK(int, chroot, (const char *path), (path))                                                            \
    HOOK(pid_t, _Fork, (void), ())                                                                           \
    HOOK(int, __register_atfork,                                                                             \
         (void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object),                   \
         (prepare, parent, child, object))                                                                   \
    HOOK(int, dlclose, (void *handle), (handle))

/* Hooks that do not come back: HOOK(name, (parameters), (arguments)). */
#define AGENT_EXIT_HOOKS(HOOK)                                                                               \
    HOOK(pthread_exit, (void *value), (value))                                                               \
    HOOK(thrd_exit, (int value), (value))

/* Hooks of functions with a variable number of arguments: defined under another C name (hook_...), for libc's
 * headers declare them otherwise. All they may be given is passed on. */
#define AGENT_VARIADIC_HOOKS(HOOK)                                                                           \
    HOOK(int, prctl, (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d),       \
         (option, a, b, c, d))                                                                               \
    HOOK(long, syscall, (long number, long a, long b, long c, long d, long e, long f),                       \
         (number, a, b, c, d, e, f))                                                                         \
    HOOK(int, clone,                                                                                         \
         (int (*function)(void *), void *stack, int flags, void *argument, void *parent_tid, void *tls,      \
          void *child_tid),                                                                                  \
         (function, stack, flags, argument, parent_tid, tls, child_tid))

struct agent_real {
#define AGENT_FIELD(type, name, parameters, arguments) type(*name) parameters;
#define AGENT_VOID_FIELD(name, parameters, arguments) void(*name) parameters;
    AGENT_HOOKS(AGENT_FIELD)
    AGENT_VARIADIC_HOOKS(AGENT_FIELD)
    AGENT_EXIT_HOOKS(AGENT_VOID_FIELD)
#undef AGENT_FIELD
#undef AGENT_VOID_FIELD
};

/* The functions that the hooks stand before; all NULL until agent_resolve(). A function that this
 * libc does not have stays NULL. */
extern struct agent_real agent_real AGENT_HIDDEN;

/*
 * Fills agent_real with the next definition after this library in the loader's order, as
 * dlsym(RTLD_NEXT) would, but without dlsym: that may allocate, and the target's allocator may lock.
 * Idempotent; any thread, at any time, also from hooks called before our constructor.
 */
void agent_resolve(void);

#endif
