/* SPDX-License-Identifier: MIT */
/*
 * The agent's rows against libdw's reading of the same call frame information, at random pcs of real
 * files: no difference where ours says it knows; what it does not support is counted and bounded.
 *
 *     test_unwind_rows [pcs-per-file] [file ...]
 */
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

#define DW_OP_deref_code 0x06
#define DW_OP_bregx_code 0x92
#define DW_OP_breg0_code 0x70
#define DW_OP_plus_uconst_code 0x23

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
    close(fd);
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
    char *memory =
        mmap(NULL, high - low, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    struct image image = {.base = memory - low, .text_low = UINT64_MAX};
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        if (segment->p_type == PT_LOAD)
            memcpy(image.base + segment->p_vaddr, file + segment->p_offset, segment->p_filesz);
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
    *ret_image = image;
    return image.object.eh_frame_hdr != NULL;
}

/* A simple register+offset expression as libdw gives it: breg n or bregx, and then plus_uconst. */
static bool simple_cfa(const Dwarf_Op *ops, size_t count, int *ret_register, int64_t *ret_offset) {
    if (count == 0 || count > 2)
        return false;
    if (ops[0].atom >= DW_OP_breg0_code && ops[0].atom < DW_OP_breg0_code + 32) {
        *ret_register = ops[0].atom - DW_OP_breg0_code;
        *ret_offset = (int64_t)ops[0].number;
    } else if (ops[0].atom == DW_OP_bregx_code) {
        *ret_register = (int)ops[0].number;
        *ret_offset = (int64_t)ops[0].number2;
    } else {
        return false;
    }
    if (count == 2) {
        if (ops[1].atom != DW_OP_plus_uconst_code)
            return false;
        *ret_offset += (int64_t)ops[1].number;
    }
    return true;
}

/* libdw says "saved at CFA + offset" as DW_OP_call_frame_cfa, then plus_uconst. */
static bool saved_at_cfa(const Dwarf_Op *ops, size_t count, int64_t *ret_offset) {
    if (count == 1 && ops[0].atom == 0x9c) {
        *ret_offset = 0;
        return true;
    }
    if (count == 2 && ops[0].atom == 0x9c && ops[1].atom == DW_OP_plus_uconst_code) {
        *ret_offset = (int64_t)ops[1].number;
        return true;
    }
    return false;
}

struct tally {
    unsigned pcs, covered, same, unsupported, different;
};

static bool row_same(const struct unwind_row *row, Dwarf_Frame *frame, bool *ret_unsupported) {
    Dwarf_Op *ops, memory[3];
    size_t count;
    int reg = -1;
    int64_t offset = 0;
    bool signal_frame;
    dwarf_frame_info(frame, NULL, NULL, &signal_frame);
    *ret_unsupported = row->kind == UNWIND_UNSUPPORTED;
    if (signal_frame)
        return row->kind == UNWIND_SIGNAL;

    if (dwarf_frame_register(frame, 16, memory, &ops, &count) < 0)
        return false;
    bool ra_undefined = count == 0 && ops == memory;
    if (ra_undefined)
        return row->kind == UNWIND_END;
    int64_t ra_offset;
    bool ra_saved = saved_at_cfa(ops, count, &ra_offset) && ra_offset == -8;

    if (dwarf_frame_cfa(frame, &ops, &count) < 0)
        return false;
    bool simple = simple_cfa(ops, count, &reg, &offset);
    if (row->kind == UNWIND_PLT)
        return !simple && count > 2 && ops[0].atom == DW_OP_breg0_code + 7;
    if (row->kind == UNWIND_DEREFERENCE)
        return count == 2 && ops[0].atom == DW_OP_breg0_code + 6 &&
               (int64_t)ops[0].number == row->cfa * 8LL && ops[1].atom == DW_OP_deref_code;
    if (row->kind == UNWIND_UNSUPPORTED)
        return true;
    if (row->kind != UNWIND_RSP && row->kind != UNWIND_RBP)
        return false;
    if (!simple || !ra_saved || reg != (row->kind == UNWIND_RSP ? 7 : 6) || offset != row->cfa * 8LL)
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
        struct unwind_row row;
        bool unsupported = false;
        tally.pcs++;
        unwind_row_compute(&image.object, (uint64_t)(uintptr_t)image.base + pc, &row);
        Dwarf_Frame *frame = NULL;
        bool known = dwarf_cfi_addrframe(cfi, pc, &frame) == 0;
        if (!known) {
            if (row.kind != UNWIND_FRAME)
                tally.different++;
            free(frame);
            continue;
        }
        tally.covered++;
        if (row_same(&row, frame, &unsupported))
            tally.same++;
        else if (tally.different++ < 5)
            fprintf(stderr, "%s+%#llx: row kind %d cfa %d bp %d\n", path, (unsigned long long)pc, row.kind,
                    row.cfa, row.bp);
        tally.unsupported += unsupported;
        free(frame);
    }
    printf("%-50s %6u pcs in a function: %u same, %u different, %u unsupported\n", path, tally.covered,
           tally.same, tally.different, tally.unsupported);
    CHECK(tally.covered >= pcs / 2);
    CHECK_EQ_INT(tally.different, 0);
    CHECK(tally.unsupported <= tally.covered / 100);
    dwarf_cfi_end(cfi);
    elf_end(elf);
    close(fd);
}

/* Where the running program has a library loaded from. */
static void compare_loaded(const char *name, unsigned pcs) {
    char line[4096], path[4096];
    FILE *maps = fopen("/proc/self/maps", "re");
    bool found = false;
    while (maps && !found && fgets(line, sizeof(line), maps))
        found = strstr(line, name) && sscanf(line, "%*s %*s %*s %*s %*s %4095s", path) == 1;
    if (maps)
        fclose(maps);
    if (CHECK(found))
        compare_file(path, pcs);
}

int main(int argc, char **argv) {
    unsigned pcs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 30000;
    compare_loaded("libc.so", pcs);
    compare_loaded("libstdc++", pcs);
    compare_loaded("libdw", pcs);
    compare_file("/proc/self/exe", 200);
    for (int i = 2; i < argc; i++)
        compare_file(argv[i], pcs);
    return check_summary();
}
