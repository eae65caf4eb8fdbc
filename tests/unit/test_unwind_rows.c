/* SPDX-License-Identifier: MIT */
/*
 * The agent's reading of call frame information against libdw's, register by register, and the rows made of
 * it, at random pcs of real files: no difference, and nothing that is not understood. How much of a file
 * needs more than a row is told.
 *
 *     test_unwind_rows [pcs-per-file] [file ...]
 */
#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/unwind_row.h"
#include "check.h"
#include "libdw_frames.h"

struct image {
    char *base; /* where virtual address 0 would be */
    struct unwind_object object;
    uint64_t text_low, text_high;
};

static bool image_load(const char *path, struct image *ret_image) {
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return false;
    char *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        return false;
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)file;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(file + elf->e_phoff);
    uint64_t low = UINT64_MAX, high = 0;
    for (unsigned i = 0; i < elf->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD) {
            low = segments[i].p_vaddr < low ? segments[i].p_vaddr : low;
            high = segments[i].p_vaddr + segments[i].p_memsz > high
                       ? segments[i].p_vaddr + segments[i].p_memsz
                       : high;
        }
    char *memory = mmap(NULL, high - low, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    struct image image = {.base = memory - low, .text_low = UINT64_MAX};
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        uint64_t into = segment->p_vaddr % 4096;
        if (segment->p_type == PT_LOAD && segment->p_filesz > 0 &&
            mmap(image.base + segment->p_vaddr - into, segment->p_filesz + into, PROT_READ,
                 MAP_PRIVATE | MAP_FIXED, fd, (off_t)(segment->p_offset - into)) == MAP_FAILED)
            return false;
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
            if (segment->p_vaddr < image.text_low)
                image.text_low = segment->p_vaddr;
            if (segment->p_vaddr + segment->p_filesz > image.text_high)
                image.text_high = segment->p_vaddr + segment->p_filesz;
        }
        if (segment->p_type == PT_GNU_EH_FRAME)
            image.object.eh_frame_hdr = image.base + segment->p_vaddr;
    }
    image.object.start = memory;
    image.object.end = memory + (high - low);
    munmap(file, (size_t)status.st_size);
    close(fd);
    *ret_image = image;
    return image.object.eh_frame_hdr != NULL;
}

/* An expression of ours, byte by byte, against libdw's decoded one. */
static bool expression_same(struct cfi_cursor code, const Dwarf_Op *ops, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const Dwarf_Op *op = &ops[i];
        if (code.at >= code.end || *code.at++ != op->atom)
            return false;
        if (op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31) {
            if (cfi_read_sleb(&code) != (int64_t)op->number)
                return false;
        } else if (op->atom == DW_OP_plus_uconst || op->atom == DW_OP_constu) {
            if (cfi_read_uleb(&code) != op->number)
                return false;
        } else if (op->atom == DW_OP_bregx) {
            if (cfi_read_uleb(&code) != op->number || cfi_read_sleb(&code) != (int64_t)op->number2)
                return false;
        } else if (op->atom == DW_OP_const1u || op->atom == DW_OP_const2u) {
            if (cfi_read_fixed(&code, op->atom == DW_OP_const1u ? 1 : 2) != op->number)
                return false;
        } else if (op->atom >= DW_OP_addr && op->atom < DW_OP_dup && op->atom != DW_OP_deref) {
            return false; /* an operand that this test does not know */
        }
    }
    return code.at == code.end;
}

static bool cfa_same(const struct cfi *cfi, Dwarf_Frame *frame) {
    Dwarf_Op *ops;
    size_t count;
    int reg;
    int64_t offset;
    if (dwarf_frame_cfa(frame, &ops, &count) < 0)
        return false;
    if (cfi->state.cfa_expression)
        return expression_same(cfi_expression(cfi, cfi->state.cfa_value), ops, count);
    return simple_cfa(ops, count, &reg, &offset) && reg == cfi->state.cfa_register &&
           offset == cfi->state.cfa_value;
}

/* libdw begins what is computed from the CFA with DW_OP_call_frame_cfa, ends a value with DW_OP_stack_value,
 * and has neither for a register that is the same or lost. */
static bool register_same(const struct cfi *cfi, Dwarf_Frame *frame, int reg) {
    Dwarf_Op *ops, memory[3];
    size_t count;
    int32_t value = cfi->state.values[reg];
    if (dwarf_frame_register(frame, reg, memory, &ops, &count) < 0)
        return false;
    bool from_cfa = count > 0 && ops[0].atom == DW_OP_call_frame_cfa;
    bool is_value = count > 0 && ops[count - 1].atom == DW_OP_stack_value;
    int64_t offset = count > 1 && ops[1].atom == DW_OP_plus_uconst ? (int64_t)ops[1].number : 0;
    switch (cfi->state.rules[reg]) {
    case CFI_SAME: /* rsp: the CFA itself */
        return count == 0 || (reg == CFI_RSP && from_cfa && is_value && offset == 0 && count <= 3);
    case CFI_UNDEFINED:
        return count == 0 && ops == memory;
    case CFI_OFFSET:
        return from_cfa && !is_value && count <= 2 && offset == value;
    case CFI_VALUE_OFFSET:
        return from_cfa && is_value && count <= 3 && offset == value;
    case CFI_OTHER_REGISTER:
        return count == 1 && ((ops[0].atom >= DW_OP_reg0 && ops[0].atom - DW_OP_reg0 == value) ||
                              (ops[0].atom == DW_OP_regx && (int64_t)ops[0].number == value));
    case CFI_EXPRESSION:
        return from_cfa && !is_value && expression_same(cfi_expression(cfi, value), ops + 1, count - 1);
    default:
        return from_cfa && is_value && expression_same(cfi_expression(cfi, value), ops + 1, count - 2);
    }
}

static bool cfi_same(const struct cfi *cfi, Dwarf_Frame *frame) {
    bool signal_frame;
    if (dwarf_frame_info(frame, NULL, NULL, &signal_frame) < 0 || signal_frame != cfi->signal_frame)
        return false;
    for (int i = 0; i < CFI_REGISTERS; i++)
        if (!register_same(cfi, frame, i))
            return false;
    return cfi->state.rules[CFI_RETURN] == CFI_UNDEFINED || cfa_same(cfi, frame);
}

struct tally {
    unsigned pcs, covered, same, beyond_rows, unsupported, different;
};

static bool row_same(const struct cfi_row *row, Dwarf_Frame *frame) {
    Dwarf_Op *ops, memory[3];
    size_t count;
    int reg = -1;
    int64_t offset = 0;
    bool signal_frame;
    dwarf_frame_info(frame, NULL, NULL, &signal_frame);
    if (signal_frame)
        return row->kind == CFI_ROW_SIGNAL;

    if (dwarf_frame_register(frame, 16, memory, &ops, &count) < 0)
        return false;
    bool ra_undefined = count == 0 && ops == memory;
    if (ra_undefined)
        return row->kind == CFI_ROW_END;
    int64_t ra_offset;
    bool ra_saved = saved_at_cfa(ops, count, &ra_offset) && ra_offset == -8;

    if (dwarf_frame_cfa(frame, &ops, &count) < 0)
        return false;
    bool simple = simple_cfa(ops, count, &reg, &offset);
    if (row->kind == CFI_ROW_PLT)
        return !simple && count > 2 && ops[0].atom == DW_OP_breg0 + 7;
    if (row->kind == CFI_ROW_DEREFERENCE)
        return count == 2 && ops[0].atom == DW_OP_breg0 + 6 && (int64_t)ops[0].number == row->cfa * 8LL &&
               ops[1].atom == DW_OP_deref;
    if (row->kind == CFI_ROW_FULL)
        return true;
    if (row->kind != CFI_ROW_RSP && row->kind != CFI_ROW_RBP)
        return false;
    if (!simple || !ra_saved || reg != (row->kind == CFI_ROW_RSP ? 7 : 6) || offset != row->cfa * 8LL)
        return false;

    if (dwarf_frame_register(frame, 6, memory, &ops, &count) < 0)
        return false;
    bool bp_same = count == 0;
    int64_t bp_offset = 0;
    if (row->bp == 0)
        return bp_same;
    return saved_at_cfa(ops, count, &bp_offset) && bp_offset == row->bp * 8LL;
}

static void compare_file(const char *path, unsigned pcs) {
    struct image image;
    struct tally tally = {0};
    if (!CHECK(image_load(path, &image))) {
        fprintf(stderr, "%s: cannot be loaded\n", path);
        return;
    }
    int fd = open(path, O_RDONLY);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    Dwarf_CFI *cfi = dwarf_getcfi_elf(elf);
    if (!CHECK(cfi != NULL)) {
        close(fd);
        return;
    }
    srand(3);
    while (tally.covered < pcs && tally.pcs < pcs * 20) {
        uint64_t span = image.text_high - image.text_low;
        uint64_t pc = image.text_low + ((uint64_t)rand() << 31 | (uint64_t)rand()) % span;
        struct cfi_row row;
        struct cfi ours;
        tally.pcs++;
        unwind_row_compute(&image.object, (uint64_t)(uintptr_t)image.base + pc, &row);
        Dwarf_Frame *frame = NULL;
        bool known = dwarf_cfi_addrframe(cfi, pc, &frame) == 0;
        if (!known) {
            if (row.kind != CFI_ROW_FRAME)
                tally.different++;
            free(frame);
            continue;
        }
        tally.covered++;
        int error = unwind_cfi_find(&image.object, (uint64_t)(uintptr_t)image.base + pc, &ours);
        if (error == 0 && cfi_same(&ours, frame) && row_same(&row, frame))
            tally.same++;
        else if (tally.different++ < 5)
            fprintf(stderr, "%s+%#llx: row kind %d cfa %d bp %d\n", path, (unsigned long long)pc, row.kind,
                    row.cfa, row.bp);
        tally.beyond_rows += row.kind == CFI_ROW_FULL;
        tally.unsupported += error != 0;
        free(frame);
    }
    printf("%-50s %6u pcs in a function: %u same, %u different, %u not understood; %u beyond a row\n", path,
           tally.covered, tally.same, tally.different, tally.unsupported, tally.beyond_rows);
    CHECK(tally.covered >= pcs / 2);
    CHECK_EQ_INT(tally.different, 0);
    CHECK_EQ_INT(tally.unsupported, 0);
    CHECK(tally.beyond_rows <= tally.covered / 10);
    dwarf_cfi_end(cfi);
    elf_end(elf);
    close(fd);
}

int main(int argc, char **argv) {
    unsigned pcs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000;
    libdw_files_each(compare_file, pcs);
    compare_file("/proc/self/exe", 200);
    for (int i = 2; i < argc; i++)
        compare_file(argv[i], pcs);
    return check_summary();
}
