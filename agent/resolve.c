/* SPDX-License-Identifier: MIT */
/*
 * Finds the real functions by walking the loader's list of objects and their GNU hash tables:
 * no dlsym, hence no allocation and no lock (dlsym's error path callocs, and an allocator such as
 * jemalloc locks a mutex in there: jemalloc issues 443, 916, 2505).
 *
 * Of several versions of a name the default one is taken, the one whose version index has no hidden
 * bit (gABI symbol versioning, Drepper "ELF Symbol Versioning"): pthread_cond_wait@@GLIBC_2.3.2 and
 * not the old ABI's @GLIBC_2.2.5.
 */
#include "agent/resolve.h"

#include "agent/hook_table.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_real agent_real;

/* In a program of another C library (musl) these are not there, and it must start all the same: the agent
 * stands down and its hooks forward. There dlsym serves; musl's does not allocate. */
#pragma weak _r_debug
#pragma weak dlsym

bool agent_libc_is_known(void) {
    return &_r_debug != NULL;
}

#define VERSION_HIDDEN 0x8000U

struct object_tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH */
    const uint16_t *versions;
};

/* ld.so relocates these entries of the dynamic section in memory, except in objects such as the
 * vdso, where they are still file addresses. */
static uintptr_t dynamic_address(const struct link_map *map, ElfW(Addr) value) {
    return value < map->l_addr ? map->l_addr + value : value;
}

static bool object_tables_read(const struct link_map *map, struct object_tables *ret_tables) {
    struct object_tables tables = {0};
    for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++) {
        uintptr_t address = dynamic_address(map, entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            tables.symbols = (const ElfW(Sym) *)address;
        else if (entry->d_tag == DT_STRTAB)
            tables.strings = (const char *)address;
        else if (entry->d_tag == DT_GNU_HASH)
            tables.hash = (const uint32_t *)address;
        else if (entry->d_tag == DT_VERSYM)
            tables.versions = (const uint16_t *)address;
    }
    if (!tables.symbols || !tables.strings || !tables.hash)
        return false;
    *ret_tables = tables;
    return true;
}

static bool name_equal(const char *left, const char *right) {
    while (*left && *left == *right) {
        left++;
        right++;
    }
    return *left == *right;
}

static uint32_t name_hash(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static void *object_lookup(const struct link_map *map, const struct object_tables *tables, const char *name,
                           uint32_t hash) {
    uint32_t bucket_count = tables->hash[0], symbol_offset = tables->hash[1], bloom_words = tables->hash[2];
    const uint32_t *buckets = (const uint32_t *)((const ElfW(Addr) *)(tables->hash + 4) + bloom_words);
    const uint32_t *chain = buckets + bucket_count;

    if (bucket_count == 0)
        return NULL;
    uint32_t index = buckets[hash % bucket_count];
    if (index < symbol_offset)
        return NULL;
    for (;; index++) {
        uint32_t entry = chain[index - symbol_offset];
        const ElfW(Sym) *symbol = &tables->symbols[index];
        bool hidden = tables->versions && (tables->versions[index] & VERSION_HIDDEN);
        if ((entry | 1) == (hash | 1) && !hidden && symbol->st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && name_equal(tables->strings + symbol->st_name, name))
            return (void *)(map->l_addr + symbol->st_value);
        if (entry & 1)
            return NULL;
    }
}

/* ld.so's list, by the debugger interface: the executable first, then in search order. */
static const struct link_map *object_first(void) {
    return agent_libc_is_known() ? _r_debug.r_map : NULL;
}

static const struct link_map *object_self(void) {
    extern const char agent_image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
    for (const struct link_map *map = object_first(); map; map = map->l_next)
        if (map->l_addr == (uintptr_t)agent_image_start)
            return map;
    return NULL;
}

static void *function_from(const struct link_map *first, const struct link_map *self, const char *name,
                           const struct link_map **ret_object) {
    uint32_t hash = name_hash(name);
    for (const struct link_map *map = first; map; map = map->l_next) {
        struct object_tables tables;
        if (map == self || !object_tables_read(map, &tables))
            continue;
        void *function = object_lookup(map, &tables, name, hash);
        if (function) {
            *ret_object = map;
            return function;
        }
    }
    *ret_object = NULL;
    return NULL;
}

static void *function_next(const struct link_map *self, const char *name) {
    if (!agent_libc_is_known())
        return dlsym(RTLD_NEXT, name);
    const struct link_map *object;
    return function_from(self ? self->l_next : object_first(), self, name, &object);
}

void *agent_symbol_find(const char *name) {
    const struct link_map *object;
    return function_from(object_first(), object_self(), name, &object);
}

bool agent_function_is_beside(const char *name, const void *function, const char *beside) {
    const struct link_map *object;
    struct object_tables tables;
    return function_from(object_first(), object_self(), beside, &object) &&
           object_tables_read(object, &tables) &&
           object_lookup(object, &tables, name, name_hash(name)) == function;
}

const char *agent_self_path(void) {
    const struct link_map *self = object_self();
    return self ? self->l_name : NULL;
}

void agent_resolve(void) {
    if (__atomic_load_n(&agent_real.dlclose, __ATOMIC_ACQUIRE)) /* the table's last row, set last below */
        return;
    const struct link_map *self = object_self();

    /* Threads that race here store equal values. */
#define AGENT_RESOLVE(type, name, parameters, arguments)                                                     \
    __atomic_store_n(&agent_real.name, (type(*) parameters)function_next(self, #name), __ATOMIC_RELEASE);
#define AGENT_RESOLVE_VOID(name, parameters, arguments) AGENT_RESOLVE(void, name, parameters, arguments)
    AGENT_EXIT_HOOKS(AGENT_RESOLVE_VOID)
    AGENT_VARIADIC_HOOKS(AGENT_RESOLVE)
    AGENT_HOOKS(AGENT_RESOLVE)
#undef AGENT_RESOLVE
#undef AGENT_RESOLVE_VOID
}
