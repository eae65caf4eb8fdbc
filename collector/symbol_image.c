/* SPDX-License-Identifier: MIT */
/*
 * An ELF file for libelf and libdw: neither mapped (the target's owner may truncate a mapped file,
 * which is SIGBUS for us) nor kept open (there may be more modules than descriptors), but copied to
 * an anonymous mapping of the file's size, of which only the sections that are wanted are read. All
 * others are marked SHT_NOBITS in the copy, so nobody takes the zeros for their content; that also
 * hides .gnu_debugaltlink from libdw, which would open whatever it names.
 */
#include "collector/symbol_internal.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX ((uint64_t)1 << 36)
#define READ_BYTES_MAX ((uint64_t)1 << 32) /* of all sections read from one file */
#define SECTIONS_MAX 4096
#define NOTE_BYTES_MAX ((uint64_t)1 << 16)
/* zlib packs at most 1032 to 1 (its technical notes), so a larger claim is a lie that would only
 * make libelf ask for memory. */
#define PACK_RATIO_MAX 1100
#define UNPACKED_MAX ((uint64_t)1 << 32)

static const char *const wanted_sections[] = {
    ".debug_info", ".debug_abbrev",      ".debug_types", ".debug_line",     ".debug_line_str",
    ".debug_str",  ".debug_str_offsets", ".debug_addr",  ".debug_rnglists", ".debug_ranges",
};

/* CRC-32 of zlib and .gnu_debuglink: reflected polynomial 0xedb88320. */
static uint32_t crc_update(uint32_t crc, const unsigned char *bytes, size_t count) {
    static uint32_t table[256];
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
            table[i] = value;
        }
    crc = ~crc;
    for (size_t i = 0; i < count; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    return ~crc;
}

static int check_crc(int fd, uint32_t expected) {
    enum { BLOCK = 1 << 16 };
    unsigned char *block = malloc(BLOCK);
    if (!block)
        return -ENOMEM;
    uint32_t crc = 0;
    off_t offset = 0;
    ssize_t got;
    while ((got = pread(fd, block, BLOCK, offset)) > 0) {
        crc = crc_update(crc, block, (size_t)got);
        offset += got;
    }
    free(block);
    return got == 0 && crc == expected ? 0 : -ESTALE;
}

static bool read_range(int fd, struct symbol_image *image, uint64_t offset, uint64_t size, uint64_t *budget) {
    if (offset > image->size || size > image->size - offset || size > *budget)
        return false;
    *budget -= size;
    while (size > 0) {
        ssize_t got = pread(fd, image->bytes + offset, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return true;
}

static bool is_wanted(const char *name) {
    for (size_t i = 0; i < sizeof wanted_sections / sizeof wanted_sections[0]; i++) {
        if (strcmp(name, wanted_sections[i]) == 0)
            return true;
        /* The older way to say that a section is compressed. */
        if (strncmp(name, ".z", 2) == 0 && strcmp(name + 2, wanted_sections[i] + 1) == 0)
            return true;
    }
    return false;
}

static bool unpacks_sanely(const struct symbol_image *image, const Elf64_Shdr *header, const char *name) {
    const unsigned char *bytes = image->bytes + header->sh_offset;
    uint64_t unpacked = 0;
    if (header->sh_flags & SHF_COMPRESSED) {
        Elf64_Chdr packed;
        if (header->sh_size < sizeof packed)
            return false;
        memcpy(&packed, bytes, sizeof packed);
        unpacked = packed.ch_size;
    } else if (strncmp(name, ".z", 2) == 0) {
        if (header->sh_size < 12)
            return false;
        for (int i = 4; i < 12; i++) /* "ZLIB", then the size, big endian */
            unpacked = unpacked << 8 | bytes[i];
    }
    return unpacked <= UNPACKED_MAX && unpacked / PACK_RATIO_MAX <= header->sh_size;
}

static int read_link(struct symbol_image *image, const Elf64_Shdr *header, bool alt) {
    const char *bytes = (const char *)image->bytes + header->sh_offset;
    size_t size = header->sh_size;
    size_t length = strnlen(bytes, size);
    if (length == 0 || length == size)
        return 0;
    char *name = strdup(bytes);
    if (!name)
        return -ENOMEM;
    if (alt) {
        size_t id_size = size - length - 1;
        if (image->altlink || id_size == 0 || id_size > SYMBOL_BUILD_ID_MAX) {
            free(name);
            return 0;
        }
        image->altlink = name;
        image->altlink_id_size = id_size;
        memcpy(image->altlink_id, bytes + length + 1, id_size);
        return 0;
    }
    size_t crc_offset = (length + 4) & ~(size_t)3; /* the name is padded to four bytes with its NUL */
    if (image->debuglink || crc_offset > size || size - crc_offset < 4) {
        free(name);
        return 0;
    }
    image->debuglink = name;
    memcpy(&image->debuglink_crc, bytes + crc_offset, 4);
    return 0;
}

/* Whether this section is needed as it is; links are taken over into the image here. */
static int read_section(int fd, struct symbol_image *image, const Elf64_Shdr *headers, size_t count,
                        size_t index, const char *name, uint64_t *budget, bool *ret_keep) {
    const Elf64_Shdr *header = &headers[index];
    *ret_keep = false;
    bool debug = header->sh_type == SHT_PROGBITS && is_wanted(name);
    bool link = header->sh_type == SHT_PROGBITS && strcmp(name, ".gnu_debuglink") == 0;
    bool alt = header->sh_type == SHT_PROGBITS && strcmp(name, ".gnu_debugaltlink") == 0;
    bool plt = header->sh_type == SHT_PROGBITS && strncmp(name, ".plt", 4) == 0;
    bool table = header->sh_type == SHT_SYMTAB || header->sh_type == SHT_DYNSYM;
    bool relocations = header->sh_type == SHT_RELA && (header->sh_flags & SHF_ALLOC);
    bool note = header->sh_type == SHT_NOTE && header->sh_size <= NOTE_BYTES_MAX;
    if (!(debug || link || alt || plt || table || relocations || note))
        return 0;
    if ((link || alt) && header->sh_size > NOTE_BYTES_MAX)
        return 0;
    if (!read_range(fd, image, header->sh_offset, header->sh_size, budget))
        return 0;
    if (link || alt)
        return read_link(image, header, alt);
    if (debug && !unpacks_sanely(image, header, name))
        return 0;
    if (table) {
        const Elf64_Shdr *strings = header->sh_link < count ? &headers[header->sh_link] : NULL;
        if (!strings || strings->sh_type != SHT_STRTAB || header->sh_entsize != sizeof(Elf64_Sym) ||
            !read_range(fd, image, strings->sh_offset, strings->sh_size, budget))
            return 0;
    }
    *ret_keep = true;
    if (debug && (strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0))
        image->has_debug_info = true;
    return 0;
}

static int read_sections(int fd, struct symbol_image *image, Elf64_Ehdr *header, uint64_t *budget) {
    if (header->e_shoff == 0)
        return 0;
    Elf64_Shdr first;
    if (header->e_shentsize != sizeof first || !read_range(fd, image, header->e_shoff, sizeof first, budget))
        return -ENOEXEC;
    memcpy(&first, image->bytes + header->e_shoff, sizeof first);
    /* More than fits the header's fields stands in section 0 (System V ABI, "Sections"). */
    uint64_t count = header->e_shnum ? header->e_shnum : first.sh_size;
    uint64_t names_index = header->e_shstrndx == SHN_XINDEX ? first.sh_link : header->e_shstrndx;
    if (count == 0)
        return 0;
    if (count > SECTIONS_MAX || names_index >= count ||
        !read_range(fd, image, header->e_shoff, count * sizeof first, budget))
        return -ENOEXEC;

    int result = 0;
    Elf64_Shdr *headers = malloc(count * sizeof *headers);
    bool *keep = calloc(count, sizeof *keep);
    image->sections = calloc(count, sizeof *image->sections);
    if (!headers || !keep || !image->sections) {
        result = -ENOMEM;
        goto cleanup;
    }
    image->section_count = count;
    memcpy(headers, image->bytes + header->e_shoff, count * sizeof *headers);

    const Elf64_Shdr *names = &headers[names_index];
    if (names->sh_type != SHT_STRTAB || names->sh_size == 0 ||
        !read_range(fd, image, names->sh_offset, names->sh_size, budget) ||
        image->bytes[names->sh_offset + names->sh_size - 1] != '\0') {
        result = -ENOEXEC;
        goto cleanup;
    }
    for (size_t i = 1; i < count; i++) {
        if (headers[i].sh_name >= names->sh_size)
            continue;
        const char *name = (const char *)image->bytes + names->sh_offset + headers[i].sh_name;
        result = read_section(fd, image, headers, count, i, name, budget, &keep[i]);
        if (result < 0)
            goto cleanup;
        if ((headers[i].sh_flags & (SHF_ALLOC | SHF_TLS)) == SHF_ALLOC &&
            headers[i].sh_size <= UINT64_MAX - headers[i].sh_addr)
            image->sections[i] = (struct symbol_section){.address = headers[i].sh_addr,
                                                         .size = headers[i].sh_size,
                                                         .executable = headers[i].sh_flags & SHF_EXECINSTR};
    }
    for (size_t i = 1; i < count; i++)
        if (!keep[i] && headers[i].sh_type != SHT_STRTAB)
            headers[i].sh_type = headers[i].sh_type == SHT_NULL ? SHT_NULL : SHT_NOBITS;
    memcpy(image->bytes + header->e_shoff, headers, count * sizeof *headers);

cleanup:
    free(headers);
    free(keep);
    return result;
}

/* Files without section headers carry their build id in a segment. */
static void read_segments(int fd, struct symbol_image *image, const Elf64_Ehdr *header, uint64_t *budget) {
    if (header->e_phoff == 0 || header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == PN_XNUM ||
        !read_range(fd, image, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr), budget))
        return;
    for (size_t i = 0; i < header->e_phnum && image->section_count == 0; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, image->bytes + header->e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_NOTE && segment.p_filesz <= NOTE_BYTES_MAX)
            read_range(fd, image, segment.p_offset, segment.p_filesz, budget);
    }
}

static int image_fill(int fd, bool supplement, struct symbol_image *image) {
    uint64_t budget = READ_BYTES_MAX;
    Elf64_Ehdr header;
    if (!read_range(fd, image, 0, sizeof header, &budget))
        return -ENOEXEC;
    memcpy(&header, image->bytes, sizeof header);
    /* dwz writes its common file as a relocatable one. */
    bool type_fits =
        header.e_type == ET_EXEC || header.e_type == ET_DYN || (supplement && header.e_type == ET_REL);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64 || !type_fits ||
        header.e_ehsize != sizeof header)
        return -ENOEXEC;
    int result = read_sections(fd, image, &header, &budget);
    if (result < 0)
        return result;
    read_segments(fd, image, &header, &budget);
    /* What was read over the header by an overlapping range must not differ from what was checked. */
    memcpy(image->bytes, &header, sizeof header);

    image->elf = elf_memory((char *)image->bytes, image->size);
    if (!image->elf || elf_kind(image->elf) != ELF_K_ELF)
        return -ENOEXEC;
    const void *id;
    ssize_t id_size = dwelf_elf_gnu_build_id(image->elf, &id);
    if (id_size > 0 && id_size <= SYMBOL_BUILD_ID_MAX) {
        memcpy(image->build_id, id, (size_t)id_size);
        image->build_id_size = (size_t)id_size;
    }
    return 0;
}

int symbol_image_load(const char *path, bool supplement, const uint32_t *crc,
                      struct symbol_image **ret_image) {
    struct symbol_image *image = NULL;
    struct stat status;
    int result = -ENOENT;
    /* O_NONBLOCK: a fifo in place of the file must not hold us up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOMEM ? -ENOMEM : -ENOENT;
    if (fstat(fd, &status) < 0)
        goto cleanup;
    result = -ENOEXEC;
    if (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(Elf64_Ehdr) ||
        (uint64_t)status.st_size > FILE_SIZE_MAX)
        goto cleanup;
    if (crc && (result = check_crc(fd, *crc)) < 0)
        goto cleanup;

    result = -ENOMEM;
    image = calloc(1, sizeof *image);
    if (!image || elf_version(EV_CURRENT) == EV_NONE)
        goto cleanup;
    void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        goto cleanup;
    image->bytes = bytes;
    image->size = (size_t)status.st_size;
    result = image_fill(fd, supplement, image);

cleanup:
    close(fd);
    if (result < 0) {
        symbol_image_free(image);
        return result;
    }
    *ret_image = image;
    return 0;
}

void symbol_image_free(struct symbol_image *image) {
    if (!image)
        return;
    elf_end(image->elf);
    if (image->bytes)
        munmap(image->bytes, image->size);
    free(image->debuglink);
    free(image->altlink);
    free(image->sections);
    free(image);
}

size_t symbol_image_section(const struct symbol_image *image, uint64_t address) {
    for (size_t i = 1; i < image->section_count; i++)
        if (address - image->sections[i].address < image->sections[i].size)
            return i;
    return 0;
}

bool symbol_image_executable(const struct symbol_image *image, uint64_t address) {
    for (size_t i = 1; i < image->section_count; i++)
        if (image->sections[i].executable && address - image->sections[i].address < image->sections[i].size)
            return true;
    return false;
}
