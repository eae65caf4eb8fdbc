/* SPDX-License-Identifier: MIT */
/* Names of the kernel's functions from a file such as /proc/kallsyms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "collector/kernel_symbols.h"
#include "collector/symbol.h"

static struct kernel_symbols *symbols_of(const char *text) {
    char path[] = "kallsyms.XXXXXX";
    struct kernel_symbols *symbols = NULL;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    CHECK_EQ_INT(kernel_symbols_open(path, &symbols), 0);
    unlink(path); /* it is open */
    return symbols;
}

/* The name at pc, "" none. */
static const char *name_at(struct kernel_symbols *symbols, uint64_t pc) {
    struct symbol_frame frame = {.function = NULL};
    return kernel_symbols_find(symbols, pc, &frame) ? frame.function : "";
}

static void test_names(void) {
    struct kernel_symbols *symbols = symbols_of("ffffffffc0001000 t cow_write\t[bovine]\n"
                                                "ffffffff81000100 T ksys_read\n"
                                                "ffffffff81000100 T __pfx_alias\n"
                                                "not a line\n"
                                                "ffffffff81000200 t vfs_read\n"
                                                "0000000000000000 A nothing\n"
                                                "ffffffff81000300 D some_data\n"
                                                "ffffffff81000400 W weak_one\n");
    CHECK_STR(name_at(symbols, 0xffffffff81000000), "");
    CHECK_STR(name_at(symbols, 0xffffffff81000100), "ksys_read");
    CHECK_STR(name_at(symbols, 0xffffffff810001ff), "ksys_read");
    CHECK_STR(name_at(symbols, 0xffffffff81000200), "vfs_read");
    CHECK_STR(name_at(symbols, 0xffffffff81000310), "");
    CHECK_STR(name_at(symbols, 0xffffffff81000401), "weak_one");
    CHECK_STR(name_at(symbols, 0xffffffffc0000000), ""); /* behind the kernel's end */
    CHECK_STR(name_at(symbols, 0xffffffffc0001008), "cow_write");
    CHECK_STR(name_at(symbols, 1), "");
    CHECK(!kernel_symbols_hidden(symbols));
    kernel_symbols_close(symbols);
}

static void test_hidden(void) {
    struct kernel_symbols *symbols =
        symbols_of("0000000000000000 T ksys_read\n0000000000000000 t vfs_read\n");
    CHECK(!kernel_symbols_hidden(symbols)); /* not looked at yet */
    CHECK_STR(name_at(symbols, 0xffffffff81000100), "");
    CHECK(kernel_symbols_hidden(symbols));
    kernel_symbols_close(symbols);
}

static void test_nothing(void) {
    struct kernel_symbols *symbols = symbols_of("");
    CHECK_STR(name_at(symbols, 0xffffffff81000100), "");
    CHECK(!kernel_symbols_hidden(symbols));
    kernel_symbols_close(symbols);
    CHECK_EQ_INT(kernel_symbols_open("no/such/file", &symbols), 0);
    CHECK_STR(name_at(symbols, 0xffffffff81000100), "");
    CHECK(!kernel_symbols_hidden(symbols));
    kernel_symbols_close(symbols);
    kernel_symbols_close(NULL);
}

int main(void) {
    test_names();
    test_hidden();
    test_nothing();
    return check_summary();
}
