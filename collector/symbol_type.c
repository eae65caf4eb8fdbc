/* SPDX-License-Identifier: MIT */
/* What lies at an offset inside a variable: element by element and member by member, down to a lock. */
#include "collector/symbol_internal.h"

#include <dwarf.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX 20000
#define DIMENSIONS_MAX 16
#define PATH_SIZE 512

/* Names of types and typedefs (without template arguments) that are what a user calls a lock: the
 * path ends there, even where the implementation goes on, as std::mutex does to _M_mutex. */
static const char *const lock_types[] = {
    /* POSIX and C11 */
    "pthread_mutex_t",
    "pthread_rwlock_t",
    "pthread_cond_t",
    "pthread_barrier_t",
    "pthread_spinlock_t",
    "pthread_once_t",
    "sem_t",
    "mtx_t",
    "cnd_t",
    "once_flag",
    /* C++ */
    "mutex",
    "timed_mutex",
    "recursive_mutex",
    "recursive_timed_mutex",
    "shared_mutex",
    "shared_timed_mutex",
    "condition_variable",
    "condition_variable_any",
    "counting_semaphore",
    "binary_semaphore",
    "latch",
    "barrier",
    /* libraries */
    "uv_mutex_t",
    "uv_rwlock_t",
    "uv_cond_t",
    "uv_sem_t",
    "uv_barrier_t",
    "uv_once_t",
    "GMutex",
    "GRecMutex",
    "GRWLock",
    "GCond",
    "GStaticMutex",
    "QMutex",
    "QBasicMutex",
    "QRecursiveMutex",
    "QReadWriteLock",
    "QWaitCondition",
    "QSemaphore",
    "Mutex",
    "CondVar",
    "RecursiveMutex",
    "SharedMutex",
    "SpinLock",
    "apr_thread_mutex_t",
    "ck_spinlock_t",
    "SDL_mutex",
    "SDL_Mutex",
    "omp_lock_t",
    "omp_nest_lock_t",
};

struct type_walk {
    char text[PATH_SIZE];
    size_t length;
    unsigned budget;
};

static bool is_lock(Dwarf_Die *type) {
    const char *name = dwarf_diename(type);
    size_t length = name ? strcspn(name, "<") : 0;
    for (size_t i = 0; length > 0 && i < sizeof lock_types / sizeof lock_types[0]; i++)
        if (strlen(lock_types[i]) == length && strncmp(name, lock_types[i], length) == 0)
            return true;
    return false;
}

bool symbol_type_of(Dwarf_Die *die, Dwarf_Die *ret_type) {
    Dwarf_Attribute attribute;
    Dwarf_Die type;
    if (!dwarf_attr_integrate(die, DW_AT_type, &attribute) || !dwarf_formref_die(&attribute, &type))
        return false;
    /* In its own unit (-fdebug-types-section), with a declaration here. */
    if (dwarf_attr(&type, DW_AT_signature, &attribute) && !dwarf_formref_die(&attribute, &type))
        return false;
    *ret_type = type;
    return true;
}

static bool is_wrapper(int tag) {
    return tag == DW_TAG_typedef || tag == DW_TAG_const_type || tag == DW_TAG_volatile_type ||
           tag == DW_TAG_restrict_type || tag == DW_TAG_atomic_type || tag == DW_TAG_packed_type;
}

static bool unsigned_attribute(Dwarf_Die *die, unsigned name, uint64_t *ret_value) {
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    if (!dwarf_attr_integrate(die, name, &attribute) || dwarf_formudata(&attribute, &value) != 0)
        return false;
    *ret_value = value;
    return true;
}

static bool wrapped_size(Dwarf_Die *type, uint64_t *ret_size, unsigned depth);

struct dimensions {
    uint64_t counts[DIMENSIONS_MAX]; /* UINT64_MAX: unknown */
    size_t count;
    uint64_t stride; /* of the last one */
    Dwarf_Die element;
};

static bool array_dimensions(Dwarf_Die *array, struct dimensions *ret, unsigned depth) {
    Dwarf_Die child;
    ret->count = 0;
    if (!symbol_type_of(array, &ret->element) || dwarf_child(array, &child) != 0)
        return false;
    do {
        uint64_t count = UINT64_MAX, upper, lower = 0;
        if (ret->count == DIMENSIONS_MAX ||
            (dwarf_tag(&child) != DW_TAG_subrange_type && dwarf_tag(&child) != DW_TAG_enumeration_type))
            return false;
        if (!unsigned_attribute(&child, DW_AT_count, &count) &&
            unsigned_attribute(&child, DW_AT_upper_bound, &upper)) {
            unsigned_attribute(&child, DW_AT_lower_bound, &lower);
            count = upper - lower + 1; /* an upper bound of -1 is an empty array */
        }
        ret->counts[ret->count++] = count;
    } while (dwarf_siblingof(&child, &child) == 0);
    if (!unsigned_attribute(array, DW_AT_byte_stride, &ret->stride) &&
        !wrapped_size(&ret->element, &ret->stride, depth + 1))
        return false;
    return ret->count > 0 && ret->stride > 0;
}

static bool wrapped_size(Dwarf_Die *start, uint64_t *ret_size, unsigned depth) {
    Dwarf_Die type = *start;
    for (; depth < SYMBOL_DEPTH_MAX; depth++) {
        struct dimensions dimensions;
        if (unsigned_attribute(&type, DW_AT_byte_size, ret_size))
            return true;
        if (dwarf_tag(&type) == DW_TAG_array_type) {
            if (!array_dimensions(&type, &dimensions, depth))
                return false;
            uint64_t size = dimensions.stride;
            for (size_t i = 0; i < dimensions.count; i++)
                if (dimensions.counts[i] == UINT64_MAX ||
                    __builtin_mul_overflow(size, dimensions.counts[i], &size))
                    return false;
            *ret_size = size;
            return true;
        }
        if (dwarf_tag(&type) == DW_TAG_pointer_type || dwarf_tag(&type) == DW_TAG_reference_type ||
            dwarf_tag(&type) == DW_TAG_rvalue_reference_type) {
            *ret_size = 8;
            return true;
        }
        if (!is_wrapper(dwarf_tag(&type)) || !symbol_type_of(&type, &type))
            return false;
    }
    return false;
}

bool symbol_type_size(Dwarf_Die *type, uint64_t *ret_size) {
    return wrapped_size(type, ret_size, 0);
}

static void append(struct type_walk *walk, const char *before, const char *text) {
    int more = snprintf(walk->text + walk->length, sizeof walk->text - walk->length, "%s%s", before, text);
    walk->length += more > 0 ? (size_t)more : 0;
    if (walk->length >= sizeof walk->text)
        walk->length = sizeof walk->text - 1;
}

static void truncate_to(struct type_walk *walk, size_t length) {
    walk->length = length;
    walk->text[length] = '\0';
}

static bool walk_type(struct type_walk *walk, Dwarf_Die *start, uint64_t offset, unsigned depth);

static bool walk_array(struct type_walk *walk, Dwarf_Die *array, uint64_t offset, unsigned depth) {
    struct dimensions dimensions;
    if (!array_dimensions(array, &dimensions, depth))
        return false;
    uint64_t index = offset / dimensions.stride;
    uint64_t indices[DIMENSIONS_MAX];
    for (size_t i = dimensions.count; i-- > 1;) {
        if (dimensions.counts[i] == UINT64_MAX || dimensions.counts[i] == 0)
            return false;
        indices[i] = index % dimensions.counts[i];
        index /= dimensions.counts[i];
    }
    if (index >= dimensions.counts[0]) /* never with an unknown count */
        return false;
    indices[0] = index;
    for (size_t i = 0; i < dimensions.count; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%llu]", (unsigned long long)indices[i]);
        append(walk, "", text);
    }
    return walk_type(walk, &dimensions.element, offset % dimensions.stride, depth + 1);
}

static bool member_offset(Dwarf_Die *member, bool in_union, uint64_t *ret_offset) {
    Dwarf_Attribute attribute;
    Dwarf_Op *operations;
    size_t count;
    if (dwarf_attr(member, DW_AT_external, &attribute) || dwarf_attr(member, DW_AT_declaration, &attribute))
        return false; /* static */
    if (!dwarf_attr(member, DW_AT_data_member_location, &attribute)) {
        *ret_offset = 0;
        return in_union || !dwarf_attr(member, DW_AT_data_bit_offset, &attribute);
    }
    if (dwarf_formudata(&attribute, ret_offset) == 0)
        return true;
    if (dwarf_getlocation(&attribute, &operations, &count) != 0 || count != 1 ||
        operations[0].atom != DW_OP_plus_uconst)
        return false; /* a virtual base */
    *ret_offset = operations[0].number;
    return true;
}

/*
 * The member at offset. Where there are several, as in a union or with an empty base class, the one
 * that holds a lock there; else the first that has a name.
 */
static bool walk_members(struct type_walk *walk, Dwarf_Die *type, uint64_t offset, unsigned depth) {
    char fallback[PATH_SIZE] = "";
    size_t before = walk->length;
    bool in_union = dwarf_tag(type) == DW_TAG_union_type;
    Dwarf_Die member;
    if (dwarf_child(type, &member) != 0)
        return false;
    do {
        uint64_t at, size;
        Dwarf_Die member_type;
        int tag = dwarf_tag(&member);
        if (walk->budget == 0)
            break;
        walk->budget--;
        if ((tag != DW_TAG_member && tag != DW_TAG_inheritance) || !member_offset(&member, in_union, &at) ||
            at > offset || !symbol_type_of(&member, &member_type) ||
            (symbol_type_size(&member_type, &size) && offset - at >= size))
            continue;
        const char *name = tag == DW_TAG_member ? dwarf_diename(&member) : NULL;
        if (name)
            append(walk, ".", name);
        if (walk_type(walk, &member_type, offset - at, depth + 1))
            return true;
        if (!*fallback)
            snprintf(fallback, sizeof fallback, "%s", walk->text + before);
        truncate_to(walk, before);
    } while (dwarf_siblingof(&member, &member) == 0);
    append(walk, "", fallback);
    return false;
}

/* Returns true where it ends in a lock. */
static bool walk_type(struct type_walk *walk, Dwarf_Die *start, uint64_t offset, unsigned depth) {
    Dwarf_Die type = *start;
    for (; depth < SYMBOL_DEPTH_MAX; depth++) {
        int tag = dwarf_tag(&type);
        if (walk->budget == 0)
            return false;
        walk->budget--;
        if (tag == DW_TAG_array_type)
            return walk_array(walk, &type, offset, depth);
        if (tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_union_type)
            return is_lock(&type) || walk_members(walk, &type, offset, depth);
        if (!is_wrapper(tag))
            return false;
        if (tag == DW_TAG_typedef && is_lock(&type))
            return true;
        if (!symbol_type_of(&type, &type))
            return false;
    }
    return false;
}

void symbol_type_path(Dwarf_Die *type, uint64_t offset, char *text, size_t size) {
    struct type_walk walk = {.budget = STEPS_MAX};
    walk_type(&walk, type, offset, 0);
    snprintf(text, size, "%s", walk.text);
}
