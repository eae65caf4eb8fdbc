/* SPDX-License-Identifier: MIT */
/* What the tests of rows share: libdw's expressions of frames taken apart, and the files to try them on. */
#ifndef WAITSCOPE_TESTS_UNIT_LIBDW_FRAMES_H
#define WAITSCOPE_TESTS_UNIT_LIBDW_FRAMES_H

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "check.h"

/* A simple register+offset expression as libdw gives it: breg n or bregx, and then plus_uconst. */
static inline bool simple_cfa(const Dwarf_Op *ops, size_t count, int *ret_register, int64_t *ret_offset) {
    if (count == 0 || count > 2)
        return false;
    if (ops[0].atom >= DW_OP_breg0 && ops[0].atom < DW_OP_breg0 + 32) {
        *ret_register = ops[0].atom - DW_OP_breg0;
        *ret_offset = (int64_t)ops[0].number;
    } else if (ops[0].atom == DW_OP_bregx) {
        *ret_register = (int)ops[0].number;
        *ret_offset = (int64_t)ops[0].number2;
    } else {
        return false;
    }
    if (count == 2) {
        if (ops[1].atom != DW_OP_plus_uconst)
            return false;
        *ret_offset += (int64_t)ops[1].number;
    }
    return true;
}

/* libdw says "saved at CFA + offset" as DW_OP_call_frame_cfa, then plus_uconst. */
static inline bool saved_at_cfa(const Dwarf_Op *ops, size_t count, int64_t *ret_offset) {
    if (count == 1 && ops[0].atom == DW_OP_call_frame_cfa) {
        *ret_offset = 0;
        return true;
    }
    if (count == 2 && ops[0].atom == DW_OP_call_frame_cfa && ops[1].atom == DW_OP_plus_uconst) {
        *ret_offset = (int64_t)ops[1].number;
        return true;
    }
    return false;
}

/* What a command prints first is a file. */
static inline void libdw_file_printed(const char *command, void (*call)(const char *path, unsigned pcs),
                                      unsigned pcs) {
    char path[4096] = "";
    FILE *output = popen(command, "re");
    bool found = output && fscanf(output, "%4095s", path) == 1;
    if (output)
        pclose(output);
    if (CHECK(found))
        call(path, pcs);
}

/* Real files: C, C++, assembly, large ones. */
static inline void libdw_files_each(void (*call)(const char *path, unsigned pcs), unsigned pcs) {
    static const char *const LOADED[] = {"libc.so", "ld-linux", "libdw"};
    char command[128];
    for (unsigned i = 0; i < sizeof(LOADED) / sizeof(LOADED[0]); i++) {
        /* Where this program has it loaded from. */
        snprintf(command, sizeof(command), "awk '$6 ~ /%s/ {print $6; exit}' /proc/$PPID/maps", LOADED[i]);
        libdw_file_printed(command, call, pcs);
    }
    libdw_file_printed("readlink -f \"$(g++ -print-file-name=libstdc++.so.6)\"", call, pcs);
    libdw_file_printed("readlink -f \"$(command -v node)\"", call, pcs);
    /* LLVM, be it a library of clang's or in clang itself. */
    libdw_file_printed("ldd \"$(command -v clang)\" | awk '/libLLVM/ {print $3; found = 1} "
                       "END {if (!found) print \"'$(readlink -f \"$(command -v clang)\")'\"}'",
                       call, pcs);
}

#endif
