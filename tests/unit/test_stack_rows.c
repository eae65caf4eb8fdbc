/* SPDX-License-Identifier: MIT */
/*
 * The rows that the kernel unwinds by against libdw, at random pcs of real files: no difference, and little
 * that is more than a row can say.
 *
 *     test_stack_rows [pcs-per-file] [file ...]
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <unistd.h>

#include "bpf/unwind_table.h"
#include "check.h"
#include "collector/unwind_rows.h"
#include "libdw_frames.h"

/* DWARF register numbers, AMD64 ABI figure 3.36. */
enum { REGISTER_RBP = 6, REGISTER_RSP = 7, REGISTER_RETURN = 16 };

struct tally {
    unsigned covered, different, unsupported, known;
};

static uint32_t row_find(const struct unwind_rows *rows, uint64_t pc) {
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rows->low + rows->rows[middle].distance <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? rows->rows[low - 1].row : unwind_row_special(UNWIND_SPECIAL_NONE);
}

/* rbp saved at CFA + 8 * *ret_place, 0: unchanged. */
static bool bp_find(Dwarf_Frame *frame, int *ret_place) {
    Dwarf_Op *ops, memory[3];
    size_t count;
    int64_t offset = 0;
    if (dwarf_frame_register(frame, REGISTER_RBP, memory, &ops, &count) < 0)
        return false;
    bool same = count == 0 && ops == NULL;
    if (!same && (!saved_at_cfa(ops, count, &offset) || offset % 8 != 0))
        return false;
    *ret_place = (int)(offset / 8);
    return *ret_place >= UNWIND_ROW_BP_MIN && *ret_place <= UNWIND_ROW_BP_MAX && (same || *ret_place != 0);
}

static bool return_is_saved(Dwarf_Frame *frame, bool *ret_undefined) {
    Dwarf_Op *ops, memory[3];
    size_t count;
    int64_t offset;
    if (dwarf_frame_register(frame, REGISTER_RETURN, memory, &ops, &count) < 0)
        return false;
    *ret_undefined = count == 0 && ops == memory;
    return saved_at_cfa(ops, count, &offset) && offset == -8;
}

/* The row by what libdw says. */
static uint32_t row_expect(Dwarf_Frame *frame) {
    const uint32_t unsupported = unwind_row_special(UNWIND_SPECIAL_UNSUPPORTED);
    Dwarf_Op *ops;
    size_t count;
    int64_t offset;
    int reg, place = 0;
    bool signal_frame, undefined = false;
    if (dwarf_frame_info(frame, NULL, NULL, &signal_frame) < 0)
        return unsupported;
    if (signal_frame)
        return unwind_row_special(UNWIND_SPECIAL_SIGNAL);
    bool saved = return_is_saved(frame, &undefined);
    if (undefined)
        return unwind_row_special(UNWIND_SPECIAL_END);
    if (!saved || dwarf_frame_cfa(frame, &ops, &count) < 0)
        return unsupported;
    bool bp_found = bp_find(frame, &place);
    if (simple_cfa(ops, count, &reg, &offset)) {
        if (!bp_found || (reg != REGISTER_RSP && reg != REGISTER_RBP) || offset < 0 || offset % 8 != 0 ||
            offset / 8 > UNWIND_ROW_VALUE_MAX)
            return unsupported;
        return unwind_row_pack(reg == REGISTER_RSP ? UNWIND_ROW_RSP : UNWIND_ROW_RBP, (uint32_t)(offset / 8),
                               place);
    }
    uint32_t value = (uint32_t)((int64_t)ops[0].number / 8) & (UNWIND_ROW_REALIGNED - 1);
    if (count > 4 && ops[0].atom == DW_OP_breg0 + REGISTER_RSP &&
        ops[1].atom == DW_OP_breg0 + REGISTER_RETURN)
        return unwind_row_special(UNWIND_SPECIAL_PLT);
    if (count == 2 && ops[0].atom == DW_OP_breg0 + REGISTER_RBP && ops[1].atom == DW_OP_deref)
        return unwind_row_pack(UNWIND_ROW_MEMORY, value | UNWIND_ROW_REALIGNED, 0);
    if (count == 3 && ops[0].atom == DW_OP_breg0 + REGISTER_RSP && ops[1].atom == DW_OP_deref &&
        ops[2].atom == DW_OP_plus_uconst && ops[2].number == 8 && bp_found)
        return unwind_row_pack(UNWIND_ROW_MEMORY, value, place);
    return unsupported;
}

static void rows_check(const char *path, const struct unwind_rows *rows, Dwarf_CFI *cfi, unsigned pcs) {
    struct tally tally = {0};
    srand(5);
    for (unsigned i = 0; i < 20 * pcs && tally.covered < pcs; i++) {
        uint64_t pc = rows->low + ((uint64_t)rand() << 31 | (uint64_t)rand()) % (rows->high - rows->low);
        uint32_t row = row_find(rows, pc), expected = unwind_row_special(UNWIND_SPECIAL_NONE);
        Dwarf_Frame *frame = NULL;
        if (dwarf_cfi_addrframe(cfi, pc, &frame) == 0) {
            expected = row_expect(frame);
            tally.covered++;
            tally.unsupported += row == unwind_row_special(UNWIND_SPECIAL_UNSUPPORTED);
        } else if (row != expected) { /* a start, _init, _fini: a few hundred bytes */
            tally.known++;
            continue;
        }
        free(frame);
        if (row != expected && tally.different++ < 5)
            fprintf(stderr, "%s+%#llx: row %#x, by libdw %#x\n", path, (unsigned long long)pc, row, expected);
    }
    printf("%-50s %7zu rows; %6u pcs: %u different, %u unsupported, %u known without libdw\n", path,
           rows->count, tally.covered, tally.different, tally.unsupported, tally.known);
    CHECK(tally.covered >= pcs / 2);
    CHECK_EQ_INT(tally.different, 0);
    CHECK(tally.unsupported <= tally.covered / 50);
    CHECK(tally.known <= tally.covered / 100);
}

static void compare_file(const char *path, unsigned pcs) {
    struct unwind_rows rows;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    elf_version(EV_CURRENT);
    Elf *elf = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ_MMAP, NULL);
    Dwarf_CFI *cfi = elf ? dwarf_getcfi_elf(elf) : NULL;
    if (CHECK(cfi != NULL) && CHECK_EQ_INT(unwind_rows_read(fd, &rows), 0)) {
        bool sorted = true;
        for (size_t i = 1; i < rows.count; i++)
            sorted = sorted && rows.rows[i - 1].distance < rows.rows[i].distance;
        CHECK(sorted);
        rows_check(path, &rows, cfi, pcs);
        unwind_rows_free(&rows);
    }
    dwarf_cfi_end(cfi);
    elf_end(elf);
    if (fd >= 0)
        close(fd);
}

/* What is no program has no rows, and says so. */
static void refuse(void) {
    struct unwind_rows rows;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    CHECK_EQ_INT(unwind_rows_read(fd, &rows), -ENOEXEC);
    close(fd);
    fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    CHECK_EQ_INT(unwind_rows_read(fd, &rows), -ENOEXEC);
    close(fd);
    CHECK_EQ_INT(unwind_rows_read(-1, &rows), -EBADF);
}

int main(int argc, char **argv) {
    unsigned pcs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 50000;
    libdw_files_each(compare_file, pcs);
    for (int i = 2; i < argc; i++)
        compare_file(argv[i], pcs);
    refuse();
    return check_summary();
}
