/* SPDX-License-Identifier: MIT */
#include "collector/uprobe_place.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_BYTES_MAX (256U << 20) /* of a section: a file that says more is not to fill our memory */
#define SEGMENTS_MAX 512U
#define INSTRUCTION_BYTES_MAX 15U
#define VERSION_HIDDEN 0x8000U /* of an entry in SHT_GNU_versym: not the default */

struct uprobe_file {
    int fd;
    Elf *elf;
    GElf_Phdr segments[SEGMENTS_MAX];
    size_t segment_count;
};

/* --- instructions --------------------------------------------------------------------------------------- */

enum uprobe_instruction uprobe_instruction_decode(const uint8_t *bytes, size_t count) {
    static const uint8_t NOP5[] = {0x0f, 0x1f, 0x44, 0, 0}, ENDBR64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    if (count >= sizeof(NOP5) && memcmp(bytes, NOP5, sizeof(NOP5)) == 0)
        return UPROBE_NOP5;
    if (count >= sizeof(ENDBR64) && memcmp(bytes, ENDBR64, sizeof(ENDBR64)) == 0)
        return UPROBE_ENDBR64;
    if (count >= 1 && bytes[0] == 0x90)
        return UPROBE_NOP;
    if (count >= 1 && (bytes[0] & 0xf8) == 0x50)
        return UPROBE_PUSH;
    if (count < 2)
        return UPROBE_OTHER;
    if (bytes[0] == 0x41 && (bytes[1] & 0xf8) == 0x50) /* REX.B: r8 to r15 */
        return UPROBE_PUSH;
    bool wide = (bytes[0] & 0xf8) == 0x48; /* REX.W */
    uint8_t opcode = (bytes[0] & 0xf0) == 0x40 ? bytes[1] : bytes[0];
    if (opcode == 0x8d)
        return UPROBE_LEA;
    if (opcode == 0x89 || opcode == 0x8b || (opcode & 0xf8) == 0xb8)
        return UPROBE_MOV;
    if (wide && count >= 3 && (opcode == 0x83 || opcode == 0x81) && (bytes[2] & 0xf8) == 0xe8)
        return UPROBE_SUB;
    return UPROBE_OTHER;
}

bool uprobe_instruction_is_cheap(enum uprobe_instruction instruction, unsigned major, unsigned minor) {
    switch (instruction) {
    case UPROBE_PUSH:
    case UPROBE_NOP:
        return true;
    case UPROBE_NOP5:
        return major > 6 || (major == 6 && minor >= 18);
    default:
        return false;
    }
}

const char *uprobe_instruction_name(enum uprobe_instruction instruction) {
    static const char *const NAMES[] = {
        [UPROBE_UNKNOWN] = "unknown", [UPROBE_PUSH] = "push", [UPROBE_NOP] = "nop",
        [UPROBE_NOP5] = "nop5",       [UPROBE_LEA] = "lea",   [UPROBE_ENDBR64] = "endbr64",
        [UPROBE_SUB] = "sub",         [UPROBE_MOV] = "mov",   [UPROBE_OTHER] = "another instruction",
    };
    return (unsigned)instruction < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[instruction] : NAMES[0];
}

/* --- names ---------------------------------------------------------------------------------------------- */

bool uprobe_symbol_is_hot(const char *symbol) {
    static const char *const BEGINNINGS[] = {
        "pthread_mutex_",    "pthread_rwlock_", "pthread_spin_", "pthread_cond_", "__pthread_mutex_",
        "__pthread_rwlock_", "__lll_",          "uv_mutex_",     "uv_rwlock_",
    };
    /* Called once in a lock's life. */
    static const char *const RARE[] = {"_init", "_destroy"};
    static const char *const NAMES[] = {
        "sem_wait",      "sem_trywait", "sem_timedwait", "sem_clockwait", "sem_post",
        "mtx_lock",      "mtx_trylock", "mtx_timedlock", "mtx_unlock",    "cnd_wait",
        "cnd_timedwait", "cnd_signal",  "cnd_broadcast",
    };
    size_t length = strcspn(symbol, "@");
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (strlen(NAMES[i]) == length && memcmp(symbol, NAMES[i], length) == 0)
            return true;
    for (size_t i = 0; i < sizeof(RARE) / sizeof(RARE[0]); i++) {
        size_t rare = strlen(RARE[i]);
        if (length >= rare && memcmp(symbol + length - rare, RARE[i], rare) == 0)
            return false;
    }
    for (size_t i = 0; i < sizeof(BEGINNINGS) / sizeof(BEGINNINGS[0]); i++)
        if (strncmp(symbol, BEGINNINGS[i], strlen(BEGINNINGS[i])) == 0)
            return true;
    return false;
}

/* --- the file ------------------------------------------------------------------------------------------- */

int uprobe_file_open(int fd, struct uprobe_file **ret_file) {
    GElf_Ehdr header;
    int error = -ENOEXEC;
    struct uprobe_file *file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    file->fd = fd;
    if (elf_version(EV_CURRENT) == EV_NONE)
        goto cleanup;
    /* Not mapped: whoever owns the file may cut it short. */
    file->elf = elf_begin(fd, ELF_C_READ, NULL);
    if (!file->elf || elf_kind(file->elf) != ELF_K_ELF || !gelf_getehdr(file->elf, &header) ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        (header.e_type != ET_EXEC && header.e_type != ET_DYN) ||
        elf_getphdrnum(file->elf, &file->segment_count) != 0 || file->segment_count > SEGMENTS_MAX)
        goto cleanup;
    for (size_t i = 0; i < file->segment_count; i++)
        if (!gelf_getphdr(file->elf, (int)i, &file->segments[i]))
            goto cleanup;
    *ret_file = file;
    return 0;

cleanup:
    uprobe_file_close(file);
    return error;
}

void uprobe_file_close(struct uprobe_file *file) {
    if (!file)
        return;
    elf_end(file->elf);
    free(file);
}

/* The first section of a type, of a sane size. */
static Elf_Scn *section_find(const struct uprobe_file *file, uint32_t type, GElf_Shdr *ret_header) {
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(file->elf, section)))
        if (gelf_getshdr(section, ret_header) && ret_header->sh_type == type &&
            ret_header->sh_size <= TABLE_BYTES_MAX)
            return section;
    return NULL;
}

/* Whether what SHT_GNU_verdef calls number is the wanted version. */
static bool version_is(const struct uprobe_file *file, unsigned number, const char *wanted) {
    GElf_Shdr header;
    Elf_Scn *section = section_find(file, SHT_GNU_verdef, &header);
    Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
    size_t at = 0;
    while (data && at <= INT32_MAX) {
        GElf_Verdef definition;
        GElf_Verdaux name;
        if (!gelf_getverdef(data, (int)at, &definition))
            return false;
        if (definition.vd_ndx == number) {
            const char *text = gelf_getverdaux(data, (int)(at + definition.vd_aux), &name)
                                   ? elf_strptr(file->elf, header.sh_link, name.vda_name)
                                   : NULL;
            return text && strcmp(text, wanted) == 0;
        }
        if (definition.vd_next == 0)
            return false;
        at += definition.vd_next;
    }
    return false;
}

/* In .symtab the linker writes the version behind the name, "@@" before the default one. */
static bool name_fits(const char *text, const char *symbol, size_t length, const char *version) {
    if (strncmp(text, symbol, length) != 0)
        return false;
    if (text[length] == '\0')
        return true;
    if (text[length] != '@')
        return false;
    bool is_default = text[length + 1] == '@';
    return version ? strcmp(text + length + (is_default ? 2 : 1), version) == 0 : is_default;
}

static int table_find(const struct uprobe_file *file, uint32_t type, const char *symbol,
                      uint64_t *ret_address) {
    size_t length = strcspn(symbol, "@");
    const char *version = symbol[length] == '@' ? symbol + length + 1 + (symbol[length + 1] == '@') : NULL;
    GElf_Shdr header, versions_header;
    Elf_Scn *section = section_find(file, type, &header);
    Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
    if (!data)
        return -ENOENT;
    Elf_Scn *versions_section =
        type == SHT_DYNSYM ? section_find(file, SHT_GNU_versym, &versions_header) : NULL;
    Elf_Data *versions = versions_section ? elf_getdata(versions_section, NULL) : NULL;
    uint64_t found = 0;
    bool found_global = false;
    int result = -ENOENT;
    GElf_Sym entry;
    for (int i = 0; gelf_getsym(data, i, &entry); i++) {
        int kind = GELF_ST_TYPE(entry.st_info);
        if ((kind != STT_FUNC && kind != STT_NOTYPE) || entry.st_shndx == SHN_UNDEF ||
            entry.st_shndx == SHN_ABS)
            continue;
        const char *text = elf_strptr(file->elf, header.sh_link, entry.st_name);
        if (!text || !name_fits(text, symbol, length, version))
            continue;
        GElf_Versym number;
        if (versions && gelf_getversym(versions, i, &number) &&
            (version ? !version_is(file, number & ~VERSION_HIDDEN, version) : (number & VERSION_HIDDEN) != 0))
            continue;
        if (version && !versions && text[length] == '\0')
            continue;
        bool global = GELF_ST_BIND(entry.st_info) != STB_LOCAL;
        if (result == -ENOENT || (global && !found_global)) {
            found = entry.st_value;
            found_global = global;
            result = 0;
        } else if (global == found_global && entry.st_value != found) {
            result = -ENOTUNIQ;
        }
    }
    if (result == 0)
        *ret_address = found;
    return result;
}

int uprobe_place_find(const struct uprobe_file *file, const char *symbol, struct uprobe_place *ret_place) {
    uint64_t address;
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    int result = table_find(file, SHT_DYNSYM, symbol, &address);
    if (result == -ENOENT)
        result = table_find(file, SHT_SYMTAB, symbol, &address);
    if (result != 0)
        return result;
    for (size_t i = 0; i < file->segment_count; i++) {
        const GElf_Phdr *segment = &file->segments[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) || address < segment->p_vaddr ||
            address - segment->p_vaddr >= segment->p_filesz)
            continue;
        uint64_t offset = segment->p_offset + (address - segment->p_vaddr);
        ssize_t count = offset <= INT64_MAX ? pread(file->fd, bytes, sizeof(bytes), (off_t)offset) : -1;
        if (count <= 0)
            return -ENOEXEC;
        *ret_place = (struct uprobe_place){offset, uprobe_instruction_decode(bytes, (size_t)count)};
        return 0;
    }
    return -ENOEXEC;
}
