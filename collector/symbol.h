/* SPDX-License-Identifier: MIT */
/*
 * From addresses to names, through elfutils' libdw: functions with inlined frames, file and line,
 * demangled C++, separate debug files by build-id and .gnu_debuglink; and static data by DWARF,
 * down to element and member. Files of a hostile target are parsed here, so every failure is an
 * answer ("unknown"), never an abort.
 *
 * One thread at a time. Strings returned live until symbolizer_free().
 */
#ifndef WAITSCOPE_COLLECTOR_SYMBOL_H
#define WAITSCOPE_COLLECTOR_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

struct symbolizer;
struct symbol_module;

#define SYMBOL_FRAMES_MAX 64

struct symbol_frame {
    const char *function; /* demangled; NULL unknown */
    const char *file;     /* as in the debug information, made absolute where it can be; NULL unknown */
    unsigned line;        /* 0 unknown */
    int inlined;          /* this frame is inlined into the next one */
};

struct symbol_data {
    const char *name; /* such as ledger_lock, pools[2].lock, M[3] */
    const char *file; /* of the declaration; NULL unknown */
    unsigned line;
};

/* Returns 0 or -ENOMEM. */
int symbolizer_new(struct symbolizer **ret_symbolizer);
void symbolizer_free(struct symbolizer *symbolizer); /* NULL is fine */

/*
 * The module for a file, opened at most once for each (path, build id). path is opened at once and
 * the descriptor closed again; build_id_hex may be NULL. A file whose own build id differs is
 * refused: it is not what ran. Returns 0, -ENOENT, -ESTALE (build id differs), -ENOEXEC (not a
 * usable ELF), -ENOMEM. The module belongs to the symbolizer.
 */
int symbolizer_module(struct symbolizer *symbolizer, const char *path, const char *build_id_hex,
                      struct symbol_module **ret_module);

/*
 * Frames of the instruction at file_address (run-time address minus the module's bias), innermost
 * first. The caller of a stack walk passes return address - 1. Returns the number of frames, at
 * most SYMBOL_FRAMES_MAX; 0 if nothing is known.
 */
size_t symbol_resolve(struct symbol_module *module, uint64_t file_address,
                      struct symbol_frame ret_frames[SYMBOL_FRAMES_MAX]);

/* The variable that file_address lies in. Returns 0 or -ENOENT. */
int symbol_resolve_data(struct symbol_module *module, uint64_t file_address, struct symbol_data *ret_data);

#endif
