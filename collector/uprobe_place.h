/* SPDX-License-Identifier: MIT */
/*
 * Where in a file a function begins, and whether a probe there is cheap. Linux puts a breakpoint over the
 * first instruction and then has to do what that would have done. It does so by itself for a push of a
 * register and for nops; any other it lets the thread run from a copy, one step, with a second trap: some 11
 * us a hit instead of 0.6 (arch/x86/kernel/uprobes.c: push_setup_xol_ops, branch_setup_xol_ops).
 *
 * The file is a target's and may be anything: it is read by copy, and what does not make sense is an error.
 */
#ifndef WAITSCOPE_COLLECTOR_UPROBE_PLACE_H
#define WAITSCOPE_COLLECTOR_UPROBE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum uprobe_instruction {
    UPROBE_UNKNOWN, /* not looked at */
    UPROBE_PUSH,    /* of a 64-bit register */
    UPROBE_NOP,
    UPROBE_NOP5, /* 0f 1f 44 00 00, tried on Linux 6.18: taken for cheap from there on */
    UPROBE_ENDBR64,
    UPROBE_LEA,
    UPROBE_SUB, /* from a 64-bit register */
    UPROBE_MOV,
    UPROBE_OTHER,
};

struct uprobe_place {
    uint64_t offset; /* in the file */
    enum uprobe_instruction first;
};

struct uprobe_file;

/* Reads what it needs of the ELF file behind fd, which stays the caller's and has to stay open. Returns 0;
 * -ENOEXEC where it is no ELF file for x86-64 or none that can be used; -ENOMEM. */
int uprobe_file_open(int fd, struct uprobe_file **ret_file);
void uprobe_file_close(struct uprobe_file *file); /* NULL is fine */

/*
 * Where a function begins. symbol is its name, "name@VERSION" for a version of it (a plain name is the
 * default one); looked for among what the file exports first, then among all its symbols. Returns 0; -ENOENT
 * where there is none, or where what it is called at is decided at run time (IFUNC); -ENOTUNIQ where several
 * functions are called so; -ENOEXEC where it is in no code of the file.
 */
int uprobe_place_find(const struct uprobe_file *file, const char *symbol, struct uprobe_place *ret_place);

/* Whether this kernel (major, minor) need not let it be stepped over. */
bool uprobe_instruction_is_cheap(enum uprobe_instruction instruction, unsigned major, unsigned minor);
enum uprobe_instruction uprobe_instruction_decode(const uint8_t *bytes, size_t count);
/* "push", "endbr64", ...; never NULL. */
const char *uprobe_instruction_name(enum uprobe_instruction instruction);

/* Functions that every lock or unlock goes through: even a cheap probe would be many times their cost. symbol
 * as above. */
bool uprobe_symbol_is_hot(const char *symbol);

#endif
