/* SPDX-License-Identifier: MIT */
/*
 * How the agent comes up in a process: from its constructor or from the first hooked call, whichever
 * is earlier (other libraries' constructors lock before ours runs).
 */
#include "agent/start.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/agent.h"
#include "agent/annotate.h"
#include "agent/confine.h"
#include "agent/count.h"
#include "agent/fork.h"
#include "agent/resolve.h"
#include "agent/shared_lock.h"
#include "agent/syscall.h"
#include "agent/unwind.h"
#include "agent/word.h"
#include "format/hello.h"

_Atomic uint32_t agent_state = AGENT_NONE;
uint32_t agent_clock_kind = CLOCK_KIND_MONOTONIC;
uint32_t agent_hold_period = 64;

static uint32_t ring_bytes = RING_BYTES_DEFAULT;
static bool in_fork_child;

extern char **environ;

uint32_t agent_option_ring_bytes(void) {
    return ring_bytes;
}

const char *agent_environment_get(const char *name) {
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

int agent_environment_add(const char *name, const char *value) {
    size_t entries = 0, name_length = strlen(name), value_length = strlen(value);
    for (char **entry = environ; entry && *entry; entry++)
        entries++;
    size_t bytes = (entries + 2) * sizeof(char *) + name_length + value_length + 2;
    long memory =
        AGENT_SYSCALL_6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return (int)memory;
    char **copy = (char **)memory;
    char *text = (char *)(copy + entries + 2);
    size_t kept = 0;
    for (size_t i = 0; i < entries; i++)
        if (strncmp(environ[i], name, name_length) != 0 || environ[i][name_length] != '=')
            copy[kept++] = environ[i];
    copy[kept++] = text;
    copy[kept] = NULL;
    memcpy(text, name, name_length);
    text[name_length] = '=';
    memcpy(text + name_length + 1, value, value_length + 1);
    environ = copy;
    return 0;
}

static uint64_t number_parse(const char *text) {
    uint64_t number = 0;
    for (; *text >= '0' && *text <= '9' && number < UINT32_MAX; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

/* Returns false if the options say that the agent is to do nothing. */
static bool options_read(const char *options) {
    for (const char *at = options; at && *at;) {
        uint64_t number;
        if (strncmp(at, "off", 3) == 0 && (at[3] == '\0' || at[3] == ','))
            return false;
        if (strncmp(at, "hold=", 5) == 0) {
            number = number_parse(at + 5);
            if (number >= 1 && number <= COUNT_PERIOD_MAX)
                agent_hold_period = (uint32_t)number;
        } else if (strncmp(at, "ring=", 5) == 0) {
            number = number_parse(at + 5);
            if (number >= RING_BYTES_MIN && number <= RING_BYTES_MAX && (number & (number - 1)) == 0)
                ring_bytes = (uint32_t)number;
        }
        const char *comma = strchr(at, ',');
        at = comma ? comma + 1 : NULL;
    }
    return true;
}

/* The TSC serves if it never stops or changes rate (CPUID 0x80000007, EDX bit 8) and the kernel itself
 * keeps time by it: then it is the same on every CPU. */
static uint32_t clock_choose(void) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) || !(edx & (1U << 8)))
        return CLOCK_KIND_MONOTONIC;
    char name[8] = {0};
    int fd =
        (int)AGENT_SYSCALL_3(SYS_open, "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                             02000000 /* O_CLOEXEC */, 0);
    if (fd < 0)
        return CLOCK_KIND_MONOTONIC;
    long got = AGENT_SYSCALL_3(SYS_read, fd, name, sizeof(name) - 1);
    AGENT_SYSCALL_1(SYS_close, fd);
    return got >= 3 && strncmp(name, "tsc", 3) == 0 ? CLOCK_KIND_TSC : CLOCK_KIND_MONOTONIC;
}

static uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* A sanitizer's runtime interposes the same functions and keeps shadow state of its own. */
static bool sanitizer_present(void) {
    return agent_symbol_find("__tsan_init") || agent_symbol_find("__asan_init") ||
           agent_symbol_find("__msan_init");
}

static bool agent_bring_up(void) {
    if (!in_fork_child && agent_confined_at_birth())
        return false;
    uint64_t start_ns = monotonic_ns();
    if (!options_read(agent_environment_get(WAITSCOPE_AGENT_VARIABLE)))
        return false;
    agent_clock_kind = clock_choose();
    uint64_t start_ticks = agent_ticks();

    uint32_t flags = in_fork_child ? AGENT_FLAG_FORKED : 0;
    if (!unwind_prepare())
        flags |= AGENT_FLAG_NO_UNWIND;
    if (agent_connect_find(environ, &flags) < 0)
        return false;
    if (!agent_libc_is_known() || sanitizer_present()) {
        agent_hello_refuse(agent_libc_is_known() ? HELLO_REFUSED_SANITIZER : HELLO_REFUSED_LIBC, 0);
        return false;
    }
    if (!in_fork_child)
        word_verify(); /* calls what a sanitizer would report */
    int error = agent_slab_first(start_ticks, start_ns, flags);
    if (error < 0) {
        agent_hello_refuse(error == -EFBIG ? HELLO_REFUSED_FILE_LIMIT : HELLO_REFUSED_MEMORY, -error);
        return false;
    }
    agent_slab_setup_cost(monotonic_ns() - start_ns);
    return true;
}

/* It comes up anew at the child's first hooked call, and only then its tables are cleared, so that a child
 * which only execs costs nothing: each page that is looked at here would be a fault more. One that is
 * confined cannot have a slab of its own; the parent's header is still there to count it. */
void agent_forked(void) {
    in_fork_child = true;
    agent_thread = (struct agent_thread){0};
    annotate_forked();
    agent_confine_forked();
    if (atomic_load_explicit(&agent_state, memory_order_relaxed) == AGENT_OFF)
        return;
    bool confined = agent_is_confined();
    if (confined)
        agent_lost_count(LOSS_NO_SLOT);
    atomic_store_explicit(&agent_state, confined ? AGENT_OFF : AGENT_NONE, memory_order_relaxed);
}

/*
 * In a child the handlers run in the order in which they were registered, and before ours has run this is
 * still the parent's thread, with the parent's slot in shared memory. An allocator's handler makes its locks
 * anew: it must come after ours. So ours is registered before anybody else's, and before any lock is
 * initialised.
 */
static void fork_handler_register(void) {
    static atomic_flag registered = ATOMIC_FLAG_INIT;
    if (agent_real.__register_atfork && !atomic_flag_test_and_set_explicit(&registered, memory_order_relaxed))
        agent_real.__register_atfork(NULL, NULL, agent_forked, NULL);
}

AGENT_EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                                   void *object) {
    if (AGENT_UNLIKELY(!agent_real.__register_atfork))
        agent_resolve();
    fork_handler_register();
    return agent_real.__register_atfork(prepare, parent, child, object);
}

void agent_start(void) {
    uint32_t expected = AGENT_NONE;
    if (!atomic_compare_exchange_strong_explicit(&agent_state, &expected, AGENT_STARTING,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    agent_resolve();
    fork_handler_register();
    if (in_fork_child) {
        agent_slabs_forget();
        agent_directory_clear();
        filter_forked();
        shared_locks_forked();
    }
    bool on = agent_bring_up();
    atomic_store_explicit(&agent_state, on ? AGENT_ON : AGENT_OFF, memory_order_release); /* [AGENT-STATE] */
}

__attribute__((constructor)) static void agent_load(void) {
    agent_start();
    agent_slot(); /* the main thread is seen even if it never locks */
}
