/* SPDX-License-Identifier: MIT */
/*
 * For programs that want to tell waitscope more about themselves: names for locks and threads, and
 * regions (a request, a frame, a transaction) whose time and waiting a report then shows.
 *
 * This header is all there is: nothing has to be linked and nothing has to be there at run time.
 * Without the agent a call is a load and a branch. With it (`waitscope record`, or LD_PRELOAD) the
 * calls reach functions that the agent exports. Any thread may call at any time; in a signal handler
 * a call may be ignored. Nothing here fails, blocks, allocates, or changes errno.
 *
 * Names are copied. They are UTF-8; of longer ones the first WAITSCOPE_NAME_BYTES_MAX bytes are kept.
 *
 * C11 and C++11 or later, GCC or Clang. -DWAITSCOPE_DISABLE leaves nothing of it in a program.
 */
#ifndef WAITSCOPE_H
#define WAITSCOPE_H

#define WAITSCOPE_NAME_BYTES_MAX 255
#define WAITSCOPE_REGIONS_MAX 32 /* open at once in one thread; deeper ones are counted as lost */

#ifdef __cplusplus
extern "C" {
#endif

/* What the agent exports. Other languages may look these up with dlsym(RTLD_DEFAULT, ...). */
void waitscope_agent_name_lock(const volatile void *lock, const char *name) __attribute__((weak));
void waitscope_agent_name_thread(const char *name) __attribute__((weak));
void waitscope_agent_region_begin(const char *name) __attribute__((weak));
void waitscope_agent_region_end(void) __attribute__((weak));

/*
 * A function's address from the global offset table, NULL where nobody defines it. In a program
 * linked at fixed addresses (-no-pie) the linker would make NULL of a plain weak reference for good,
 * with nothing left to the dynamic loader: only a reference through the table lasts.
 */
#if defined(WAITSCOPE_DISABLE)
#define WAITSCOPE_CALL(type, function, arguments) ((void)0)
#elif defined(__x86_64__) && defined(__LP64__)
#define WAITSCOPE_CALL(type, function, arguments)                                                            \
    do {                                                                                                     \
        type;                                                                                                \
        __asm__(".weak " #function "\n\tmovq " #function "@GOTPCREL(%%rip), %0" : "=r"(waitscope_call));     \
        if (__builtin_expect(waitscope_call != 0, 0))                                                        \
            waitscope_call arguments;                                                                        \
    } while (0)
#else
#define WAITSCOPE_CALL(type, function, arguments)                                                            \
    do {                                                                                                     \
        type = function;                                                                                     \
        if (__builtin_expect(waitscope_call != 0, 0))                                                        \
            waitscope_call arguments;                                                                        \
    } while (0)
#endif

/*
 * Names the lock at this address: a mutex, rwlock, condition, semaphore, spin lock, barrier of any
 * library, std::mutex and the like. Before or after its first use; after its initialisation, for that
 * makes another lock of it. Another name for a lock that has one says that another lock lies there
 * now; so does name NULL, for a lock that is gone (std::mutex has no other way to say so).
 */
static inline void waitscope_name_lock(const volatile void *lock, const char *name) {
    (void)lock;
    (void)name;
    WAITSCOPE_CALL(void (*waitscope_call)(const volatile void *, const char *), waitscope_agent_name_lock,
                   (lock, name));
}

/* Names the calling thread for reports; what the kernel and pthread_getname_np() say stays. */
static inline void waitscope_name_thread(const char *name) {
    (void)name;
    WAITSCOPE_CALL(void (*waitscope_call)(const char *), waitscope_agent_name_thread, (name));
}

/*
 * A stretch of the calling thread's time, from begin to the end that belongs to it. Regions of a
 * thread nest: an end ends the innermost. An end without a begin is ignored; what is open when the
 * thread ends or the program exits ends there. A forked child begins outside of any region.
 */
static inline void waitscope_region_begin(const char *name) {
    (void)name;
    WAITSCOPE_CALL(void (*waitscope_call)(const char *), waitscope_agent_region_begin, (name));
}

static inline void waitscope_region_end(void) {
    WAITSCOPE_CALL(void (*waitscope_call)(void), waitscope_agent_region_end, ());
}

#undef WAITSCOPE_CALL

#ifdef __cplusplus
}

namespace waitscope {

/* A region as long as the object lives. */
class region {
  public:
    explicit region(const char *name) noexcept {
        waitscope_region_begin(name);
    }
    ~region() {
        waitscope_region_end();
    }
    region(const region &) = delete;
    region &operator=(const region &) = delete;
};

} // namespace waitscope
#endif

#endif
