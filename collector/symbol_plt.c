/* SPDX-License-Identifier: MIT */
/*
 * Names of procedure linkage table entries. Every x86-64 form of an entry (lazy, -z ibtplt, .plt.got)
 * jumps through its GOT slot by "jmp *offset(%rip)" (psABI, figures 5.2 and 13.1), so the slot is
 * read from the code and its symbol is that of the relocation for the slot.
 */
#include "collector/symbol_internal.h"

#include <gelf.h>
#include <string.h>

#define ENTRY_SIZE_MAX 16

/* The address of the slot that the entry around address jumps through, 0 if there is none. */
static uint64_t plt_slot(const unsigned char *code, const GElf_Shdr *header, uint64_t address) {
    uint64_t entry_size = header->sh_entsize == 8 ? 8 : ENTRY_SIZE_MAX;
    uint64_t start = (address - header->sh_addr) / entry_size * entry_size;
    uint64_t end = start + entry_size < header->sh_size ? start + entry_size : header->sh_size;
    for (uint64_t at = start; at + 6 <= end; at++) {
        int32_t offset;
        if (code[at] != 0xff || code[at + 1] != 0x25)
            continue;
        memcpy(&offset, code + at + 2, sizeof offset);
        return header->sh_addr + at + 6 + (uint64_t)(int64_t)offset;
    }
    return 0;
}

static const char *relocation_name(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t slot) {
    GElf_Shdr symbols_header;
    Elf_Scn *symbols_section = elf_getscn(elf, header->sh_link);
    Elf_Data *relocations = elf_getdata(section, NULL);
    Elf_Data *symbols = elf_getdata(symbols_section, NULL);
    if (header->sh_entsize != sizeof(Elf64_Rela) || !relocations || !relocations->d_buf || !symbols ||
        !gelf_getshdr(symbols_section, &symbols_header) || symbols_header.sh_type != SHT_DYNSYM)
        return NULL;
    for (size_t i = 0; i < relocations->d_size / sizeof(Elf64_Rela); i++) {
        Elf64_Rela relocation;
        GElf_Sym symbol;
        memcpy(&relocation, (const char *)relocations->d_buf + i * sizeof relocation, sizeof relocation);
        if (relocation.r_offset != slot)
            continue;
        uint64_t index = ELF64_R_SYM(relocation.r_info);
        if (index == 0 || index > INT32_MAX || !gelf_getsym(symbols, (int)index, &symbol))
            return NULL;
        return elf_strptr(elf, symbols_header.sh_link, symbol.st_name);
    }
    return NULL;
}

const char *symbol_plt_target(const struct symbol_module *module, uint64_t address) {
    Elf *elf = module->image->elf;
    size_t names_index;
    size_t index = symbol_image_section(module->image, address);
    Elf_Scn *section = index ? elf_getscn(elf, index) : NULL;
    GElf_Shdr header;
    if (!section || elf_getshdrstrndx(elf, &names_index) != 0 || !gelf_getshdr(section, &header) ||
        header.sh_type != SHT_PROGBITS)
        return NULL;
    const char *name = elf_strptr(elf, names_index, header.sh_name);
    Elf_Data *code = name && strncmp(name, ".plt", 4) == 0 ? elf_rawdata(section, NULL) : NULL;
    if (!code || !code->d_buf || code->d_size != header.sh_size)
        return NULL;
    uint64_t slot = plt_slot(code->d_buf, &header, address);
    if (slot == 0)
        return NULL;
    for (section = NULL; (section = elf_nextscn(elf, section));)
        if (gelf_getshdr(section, &header) && header.sh_type == SHT_RELA) {
            const char *target = relocation_name(elf, section, &header, slot);
            if (target && *target)
                return target;
        }
    return NULL;
}
