/* SPDX-License-Identifier: MIT */
/*
 * What a lock is called: as the program named it, else its variable if it is static data, else the function
 * that initialised it, else the function that first took it. Functions that only pass a lock on to the C
 * library are stepped over: everybody's mutex comes from pthread_mutex_init.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/recording.h"
#include "collector/symbol.h"

static const char *const CLASS_NAMES[LOCK_CLASS_COUNT] = {
    [LOCK_CLASS_MUTEX] = "mutex",         [LOCK_CLASS_RWLOCK_READ] = "rwlock",
    [LOCK_CLASS_RWLOCK_WRITE] = "rwlock", [LOCK_CLASS_CONDITION] = "condition",
    [LOCK_CLASS_BARRIER] = "barrier",     [LOCK_CLASS_SPIN] = "spin lock",
    [LOCK_CLASS_SEMAPHORE] = "semaphore", [LOCK_CLASS_JOIN] = "join",
    [LOCK_CLASS_SLEEP] = "sleep",         [LOCK_CLASS_POLL] = "poll",
    [LOCK_CLASS_FUTEX] = "futex",
};

/* Beginnings of functions that wrap a primitive. */
static const char *const WRAPPERS[] = {
    "pthread_",     "__pthread_",      "sem_",       "mtx_",       "cnd_",
    "call_once",    "uv_mutex_",       "uv_rwlock_", "uv_cond_",   "uv_sem_",
    "uv_barrier_",  "uv_once",         "std::",      "void std::", "__gnu_cxx::",
    "__gthread_",   "boost::",         "absl::",     "v8::base::", "node::Mutex",
    "node::Libuv",  "node::Condition", "QMutex",     "g_mutex_",   "g_cond_",
    "g_rw_lock_",   "operator new",    "syscall",    "runtime.",   "parking_lot::",
    "<parking_lot", "<std::",          "__lll_",     "lll_",       "__futex",
};

/* Beginnings of the file names of libraries that are nobody's application. */
static const char *const WRAPPER_MODULES[] = {"libc.so",  "libc-2",   "libpthread", "libstdc++",   "libc++",
                                              "libuv.so", "ld-linux", "libglib-2",  "libwaitscope"};

static bool begins_with_any(const char *text, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strncmp(text, list[i], strlen(list[i])) == 0)
            return true;
    }
    return false;
}

#define BEGINS_WITH_ANY(text, list) begins_with_any((text), (list), sizeof(list) / sizeof((list)[0]))

static bool location_is_wrapper(const struct catalogue *catalogue, uint32_t location) {
    uint32_t module = catalogue->locations[location].module;
    if (!module)
        return false;
    const char *slash = strrchr(catalogue->modules[module].path, '/');
    return slash && BEGINS_WITH_ANY(slash + 1, WRAPPER_MODULES);
}

struct site {
    const char *function; /* NULL: not known */
    const char *file;
    unsigned line;
};

/* The first frame of these locations that belongs to the application; else the first with a name. */
static struct site site_find(struct names *names, const struct catalogue *catalogue,
                             const uint32_t *locations, uint32_t count) {
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    struct site first = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (locations[i] == 0)
            continue;
        bool wrapper = location_is_wrapper(catalogue, locations[i]);
        size_t depth = names_frames(names, locations[i], frames);
        for (size_t n = 0; n < depth; n++) {
            struct site site = {frames[n].function, frames[n].file, frames[n].line};
            if (!site.function)
                continue;
            if (!wrapper && !BEGINS_WITH_ANY(site.function, WRAPPERS))
                return site;
            if (!first.function)
                first = site;
        }
    }
    return first;
}

/* Without its parameters: "Pool::open(int) const" is Pool::open. */
static int function_length(const char *function) {
    static const char *const KEPT[] = {"(anonymous namespace)", "operator()", "(anonymous class)"};
    int depth = 0;
    for (const char *at = function; *at; at++) {
        size_t skip = 0;
        for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++) {
            if (strncmp(at, KEPT[i], strlen(KEPT[i])) == 0)
                skip = strlen(KEPT[i]);
        }
        if (skip) {
            at += skip - 1;
            continue;
        }
        depth += *at == '<';
        depth -= *at == '>' && depth > 0;
        if (*at == '(' && depth == 0 && at > function)
            return (int)(at - function);
    }
    return (int)strlen(function);
}

static uint64_t text_id(struct recording *recording, const char *text) {
    return text ? trace_writer_string(recording->writer, text, strlen(text)) : 0;
}

struct site_cache {
    struct site *sites;
    bool *known;
};

/* The name of a lock by one of its sites; false if nothing is known of it. */
static bool name_by_site(struct recording *recording, struct trace_lock_name *row, const char *cls,
                         const char *word, const struct site *site) {
    char name[512];
    if (!site->function)
        return false;
    snprintf(name, sizeof(name), "%s %s %.*s", cls, word, function_length(site->function), site->function);
    row->name = text_id(recording, name);
    row->file = text_id(recording, site->file);
    row->line = site->line;
    return true;
}

static bool name_found(struct recording *recording, struct names *names, const struct catalogue_lock *lock,
                       const struct site_cache *stacks, const struct site_cache *locations,
                       struct trace_lock_name *row) {
    const struct catalogue *catalogue = &recording->catalogue;
    const char *cls = CLASS_NAMES[lock_key_class(lock->key)];
    uint64_t address = lock_key_address(lock->key);
    struct symbol_data data;
    if (address == 0) {
        row->name = text_id(recording, cls);
        row->source = TRACE_NAME_SYMBOL;
        return true;
    }
    if (names_data(names, lock->process, address, &data) == 0 && data.name) {
        row->name = text_id(recording, data.name);
        row->file = text_id(recording, data.file);
        row->line = data.line;
        row->source = TRACE_NAME_SYMBOL;
        return true;
    }
    if (lock->init_stack) {
        const struct catalogue_stack *stack = &catalogue->stacks[lock->init_stack];
        struct site *site = &stacks->sites[lock->init_stack];
        if (!stacks->known[lock->init_stack])
            *site = site_find(names, catalogue, &catalogue->stack_locations[stack->first], stack->count);
        stacks->known[lock->init_stack] = true;
        bool made = lock_key_class(lock->key) != LOCK_CLASS_FUTEX;
        row->source = made ? TRACE_NAME_INIT_SITE : TRACE_NAME_FIRST_SITE;
        if (name_by_site(recording, row, cls, made ? "from" : "in", site))
            return true;
    }
    if (!lock->first_site)
        return false;
    uint32_t location = lock->first_site;
    struct site *site = &locations->sites[location];
    if (!locations->known[location])
        *site = site_find(names, catalogue, &location, 1);
    locations->known[location] = true;
    row->source = TRACE_NAME_FIRST_SITE;
    return name_by_site(recording, row, cls, "in", site);
}

/* A name that the program gave stands in the trace already: here it gets the place that was found. */
static bool lock_name(struct recording *recording, struct names *names, const struct catalogue_lock *lock,
                      const struct site_cache *stacks, const struct site_cache *locations,
                      struct trace_lock_name *row) {
    bool found = name_found(recording, names, lock, stacks, locations, row);
    uint32_t given = lock->naming ? recording->catalogue.namings[lock->naming].name : 0;
    if (!given)
        return found;
    row->name = given;
    row->source = TRACE_NAME_ANNOTATION;
    return row->file != 0;
}

void lock_names_write(struct recording *recording, struct names *names) {
    const struct catalogue *catalogue = &recording->catalogue;
    struct site_cache stacks = {calloc(catalogue->stack_count + 1, sizeof(struct site)),
                                calloc(catalogue->stack_count + 1, sizeof(bool))};
    struct site_cache locations = {calloc(catalogue->location_count + 1, sizeof(struct site)),
                                   calloc(catalogue->location_count + 1, sizeof(bool))};
    if (stacks.sites && stacks.known && locations.sites && locations.known) {
        for (uint32_t id = 1; id <= catalogue->lock_count; id++) {
            struct trace_lock_name row = {.lock = id};
            if (lock_name(recording, names, &catalogue->locks[id], &stacks, &locations, &row))
                trace_writer_row(recording->writer, TRACE_LOCK_NAME, 0, &row);
        }
    }
    free(stacks.sites);
    free(stacks.known);
    free(locations.sites);
    free(locations.known);
}
