/* SPDX-License-Identifier: MIT */
/*
 * An ELF file as input, through a memfd. The addresses asked for are the file's own symbols and
 * section starts, and a few that are not in it.
 */
#include "collector/symbol.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ASKED_MAX 48

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static size_t addresses_of(const uint8_t *bytes, size_t size, uint64_t *addresses) {
    Elf64_Ehdr header;
    size_t count = 0;
    addresses[count++] = 0;
    addresses[count++] = UINT64_MAX;
    if (size < sizeof header)
        return count;
    memcpy(&header, bytes, sizeof header);
    addresses[count++] = header.e_entry;
    for (size_t i = 0; i < header.e_shnum && count < ASKED_MAX; i++) {
        Elf64_Shdr section;
        uint64_t at = header.e_shoff + i * sizeof section;
        if (at > size || size - at < sizeof section)
            break;
        memcpy(&section, bytes + at, sizeof section);
        if (section.sh_flags & SHF_ALLOC)
            addresses[count++] = section.sh_addr + 1;
        if (section.sh_type != SHT_SYMTAB)
            continue;
        uint64_t step = section.sh_size / sizeof(Elf64_Sym) / 16 + 1;
        for (uint64_t j = 0; j < section.sh_size / sizeof(Elf64_Sym) && count < ASKED_MAX; j += step) {
            Elf64_Sym symbol;
            at = section.sh_offset + j * sizeof symbol;
            if (at > size || size - at < sizeof symbol)
                break;
            memcpy(&symbol, bytes + at, sizeof symbol);
            addresses[count++] = symbol.st_value + symbol.st_size / 2;
        }
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct symbolizer *symbolizer = NULL;
    struct symbol_module *module;
    uint64_t addresses[ASKED_MAX + 1];
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || symbolizer_new(&symbolizer) != 0)
        abort(); /* of the machine, not of the input */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = symbolizer_module(symbolizer, path, NULL, &module);
    close(fd);
    size_t count = result == 0 ? addresses_of(bytes, size, addresses) : 0;
    for (size_t i = 0; i < count; i++) {
        struct symbol_frame frames[SYMBOL_FRAMES_MAX];
        struct symbol_data data;
        size_t length = 0, frame_count = symbol_resolve(module, addresses[i], frames);
        for (size_t j = 0; j < frame_count; j++)
            length += (frames[j].function ? strlen(frames[j].function) : 0) +
                      (frames[j].file ? strlen(frames[j].file) : 0);
        if (symbol_resolve_data(module, addresses[i], &data) == 0)
            length += strlen(data.name) + (data.file ? strlen(data.file) : 0);
        if (frame_count > SYMBOL_FRAMES_MAX || length == SIZE_MAX)
            abort();
    }
    symbolizer_free(symbolizer);
    return 0;
}
