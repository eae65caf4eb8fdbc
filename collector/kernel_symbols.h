/* SPDX-License-Identifier: MIT */
/*
 * Names of the kernel's functions, from /proc/kallsyms: lines "ADDRESS TYPE NAME[\t[MODULE]]", sorted by no
 * rule (Linux kernel/kallsyms.c). It shows its addresses to whoever was allowed to see them when it was
 * opened, so that is done early; it is read, once, when a name is first asked for. One thread.
 */
#ifndef WAITSCOPE_COLLECTOR_KERNEL_SYMBOLS_H
#define WAITSCOPE_COLLECTOR_KERNEL_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

struct kernel_symbols;
struct symbol_frame;

/* A file that cannot be opened has no names. Returns 0 or -ENOMEM. */
int kernel_symbols_open(const char *path, struct kernel_symbols **ret_symbols);
void kernel_symbols_close(struct kernel_symbols *symbols); /* NULL is fine */

/* The function that pc lies in: the last that begins at or before it. ret_frame's strings live as long as
 * symbols. */
bool kernel_symbols_find(struct kernel_symbols *symbols, uint64_t pc, struct symbol_frame *ret_frame);
/* Whether it was read, and all addresses in it were 0. */
bool kernel_symbols_hidden(const struct kernel_symbols *symbols);

#endif
