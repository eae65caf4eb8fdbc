/* SPDX-License-Identifier: MIT */
/*
 * What the files of the symboliser share.
 *
 *   symbol.c          the symbolizer, its modules, the cache of resolved addresses
 *   symbol_image.c    the copy of an ELF file that libelf and libdw read
 *   symbol_debug.c    separate debug files: build-id trees, .gnu_debuglink, .gnu_debugaltlink
 *   symbol_name.c     interned strings, demangling
 *   symbol_table.c    .symtab and .dynsym as sorted arrays
 *   symbol_plt.c      entries of the procedure linkage table
 *   symbol_unit.c     DWARF units by address, functions of a unit, variables of all units
 *   symbol_scope.c    qualified names and source files of DWARF entries
 *   symbol_frame.c    frames of an address
 *   symbol_data.c     the variable at an address
 *   symbol_type.c     element and member path inside a variable
 *
 * Every file here may be hostile. Walks over DWARF have a depth limit and a budget of steps that is
 * bounded by the size of what they walk. No file is left to libdw to open: it would follow paths
 * found in the target (.gnu_debugaltlink, .dwo), and it has no debuginfod client without libdwfl.
 */
#ifndef WAITSCOPE_COLLECTOR_SYMBOL_INTERNAL_H
#define WAITSCOPE_COLLECTOR_SYMBOL_INTERNAL_H

#include "collector/symbol.h"

#include <elfutils/libdw.h>
#include <libelf.h>
#include <stdbool.h>

#define SYMBOL_BUILD_ID_MAX 64
#define SYMBOL_DEPTH_MAX 64 /* nesting of scopes and of types that is followed */

/* --- symbol_image.c ---------------------------------------------------------------------------- */

struct symbol_section {
    uint64_t address;
    uint64_t size;
    bool executable;
};

struct symbol_image {
    unsigned char *bytes; /* sparse: sections nobody here reads are zero and marked SHT_NOBITS */
    size_t size;
    Elf *elf;
    bool has_debug_info;
    char *debuglink; /* NULL: none */
    uint32_t debuglink_crc;
    char *altlink; /* NULL: none */
    unsigned char altlink_id[SYMBOL_BUILD_ID_MAX];
    size_t altlink_id_size;
    unsigned char build_id[SYMBOL_BUILD_ID_MAX];
    size_t build_id_size;
    struct symbol_section *sections; /* by section index; not allocated ones have size 0 */
    size_t section_count;
};

/* supplement: the common file of .gnu_debugaltlink, which holds nothing but debug information.
 * crc, if not NULL, is what the whole file must sum up to (-ESTALE otherwise). Returns 0, -ENOENT,
 * -ENOEXEC, -ESTALE or -ENOMEM. */
int symbol_image_load(const char *path, bool supplement, const uint32_t *crc,
                      struct symbol_image **ret_image);
void symbol_image_free(struct symbol_image *image);

/* Index of the allocated section that address lies in, 0 if none. */
size_t symbol_image_section(const struct symbol_image *image, uint64_t address);
bool symbol_image_executable(const struct symbol_image *image, uint64_t address);

/* --- symbol_name.c ----------------------------------------------------------------------------- */

struct symbol_strings {
    char **slots; /* open addressing, a power of two */
    size_t slot_count;
    size_t used;
    struct symbol_chunk *chunks;
};

/* Returns NULL if there is no memory. */
const char *symbol_intern(struct symbol_strings *strings, const char *text);
void symbol_strings_free(struct symbol_strings *strings);

/* Demangled without return type, symbol version cut, otherwise as it is. NULL: no memory. */
const char *symbol_pretty(struct symbol_strings *strings, const char *name);

/* --- symbol_table.c ---------------------------------------------------------------------------- */

struct symbol_entry {
    uint64_t address;
    uint64_t size;
    uint64_t reach; /* the highest end of this and all entries before it */
    const char *name;
    uint8_t rank; /* of the binding, higher is better */
};

struct symbol_table {
    struct symbol_entry *functions;
    size_t function_count;
    struct symbol_entry *data;
    size_t data_count;
};

int symbol_table_build(struct symbol_module *module);
void symbol_table_free(struct symbol_table *table);
const struct symbol_entry *symbol_table_function(const struct symbol_module *module, uint64_t address);
const struct symbol_entry *symbol_table_data(const struct symbol_module *module, uint64_t address);
/* The best of the sized symbols that start right at address; NULL if there is none. */
const struct symbol_entry *symbol_table_exact(const struct symbol_entry *entries, size_t count,
                                              uint64_t address);

/* --- symbol_plt.c ------------------------------------------------------------------------------ */

/* The raw name of the function whose linkage table entry is at address, NULL if it is none. */
const char *symbol_plt_target(const struct symbol_module *module, uint64_t address);

/* --- symbol_unit.c ----------------------------------------------------------------------------- */

struct symbol_scope {
    Dwarf_Die die;
    int32_t parent; /* index, -1: the unit */
};

struct symbol_function {
    uint64_t low;
    uint64_t high;
    uint64_t reach;
    Dwarf_Die die;
};

struct symbol_scoped { /* a subprogram inside a namespace, class or function */
    uint64_t offset;   /* of its DIE */
    int32_t scope;
};

struct symbol_variable {
    uint64_t address;
    Dwarf_Die die;
    int32_t scope;
};

struct symbol_walked {
    struct symbol_scope *scopes;
    size_t scope_count, scope_capacity;
    struct symbol_function *functions; /* by low */
    size_t function_count, function_capacity;
    struct symbol_scoped *scoped; /* by offset */
    size_t scoped_count, scoped_capacity;
    struct symbol_variable *variables; /* by address */
    size_t variable_count, variable_capacity;
};

struct symbol_unit {
    Dwarf_Die die;
    uint64_t offset; /* of die */
    uint64_t bytes;
    bool walked;
    struct symbol_walked found;
};

struct symbol_unit_range {
    uint64_t low;
    uint64_t high;
    uint64_t reach;
    size_t unit;
};

struct symbol_units {
    struct symbol_unit *units; /* by offset */
    size_t unit_count, unit_capacity;
    struct symbol_unit_range *ranges; /* by low */
    size_t range_count, range_capacity;
    struct symbol_walked data; /* variables of all units and their scopes */
    bool data_walked;
};

/* Makes room for one more item. Returns false if there is no memory. */
bool symbol_reserve(void *array_pointer, size_t count, size_t *capacity, size_t item_size);

int symbol_units_build(struct symbol_module *module);
void symbol_units_free(struct symbol_units *units);
struct symbol_unit *symbol_unit_at(struct symbol_module *module, uint64_t address);
/* The unit that die belongs to, walked; NULL: not one of ours (a partial or type unit). */
struct symbol_unit *symbol_unit_of(struct symbol_module *module, Dwarf_Die *die);
const struct symbol_function *symbol_unit_function(struct symbol_module *module, struct symbol_unit *unit,
                                                   uint64_t address);
const struct symbol_variable *symbol_unit_variable(struct symbol_module *module, uint64_t address);
bool symbol_die_covers(Dwarf_Die *die, uint64_t address, uint64_t *budget);

/* --- symbol_scope.c ---------------------------------------------------------------------------- */

/* Its linkage name (raw) if it has one, following specification and abstract origin. */
const char *symbol_die_linkage(Dwarf_Die *die);
/* Name of a subprogram with its namespaces and classes; NULL unknown. */
const char *symbol_die_function(struct symbol_module *module, Dwarf_Die *die);
/* Name of a variable with what it lies in; NULL unknown. */
const char *symbol_die_variable(struct symbol_module *module, const struct symbol_variable *variable);
/* The source file that attribute (DW_AT_call_file or DW_AT_decl_file, taken over from origins with
 * integrate) names; NULL unknown. */
const char *symbol_die_file(struct symbol_module *module, Dwarf_Die *die, unsigned attribute);
unsigned symbol_die_line(Dwarf_Die *die, unsigned attribute);
/* path made absolute by the directory of the unit's compilation. */
const char *symbol_path(struct symbol_module *module, Dwarf_Die *unit, const char *path);

/* --- symbol_frame.c, symbol_data.c, symbol_type.c ---------------------------------------------- */

size_t symbol_frames_find(struct symbol_module *module, uint64_t address,
                          struct symbol_frame ret_frames[SYMBOL_FRAMES_MAX]);

int symbol_data_find(struct symbol_module *module, uint64_t address, struct symbol_data *ret_data);

/* DW_AT_type of die. */
bool symbol_type_of(Dwarf_Die *die, Dwarf_Die *ret_type);
/* Size in bytes; false: unknown. */
bool symbol_type_size(Dwarf_Die *type, uint64_t *ret_size);
/* Writes the path to the innermost thing at offset (such as "[2].lock") as a string to text. Ends at
 * a lock even where offset lies inside of it. */
void symbol_type_path(Dwarf_Die *type, uint64_t offset, char *text, size_t size);

/* --- symbol_debug.c ---------------------------------------------------------------------------- */

/* The separate debug file of image, which came from path; NULL if there is none. */
struct symbol_image *symbol_debug_find(const struct symbolizer *symbolizer, const struct symbol_image *image,
                                       const char *path, char **ret_path);
/* The file that .gnu_debugaltlink of image refers to. */
struct symbol_image *symbol_debug_alt(const struct symbolizer *symbolizer, const struct symbol_image *image,
                                      const char *path);

/* --- symbol.c ---------------------------------------------------------------------------------- */

struct symbolizer {
    struct symbol_strings strings;
    char **roots; /* of debug files, NULL-terminated */
    struct symbol_module *modules;
};

struct symbol_cached {
    uint64_t address;
    struct symbol_frame *frames; /* NULL: nothing is known */
    uint32_t count;
    bool used;
};

struct symbol_module {
    struct symbolizer *owner;
    struct symbol_module *next;
    char *path;
    char *build_id; /* as asked for, NULL: not */
    struct symbol_image *image;
    struct symbol_image *debug; /* NULL: none, or image has its own debug information */
    struct symbol_image *alt;
    Dwarf *dwarf; /* NULL: none */
    Dwarf *dwarf_alt;
    struct symbol_table table;
    struct symbol_units units;
    bool prepared; /* table, dwarf and units are set up */
    struct symbol_cached *cache;
    size_t cache_slots, cache_used;
};

#endif
