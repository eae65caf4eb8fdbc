/* SPDX-License-Identifier: MIT */
/*
 * Which files' code a process has mapped, for names of addresses that no agent has told of. All in the files
 * is the target's: read by copy, bounded, believed only as far as it makes sense.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/kernel_internal.h"

#define MODULES_MAX 1024U
#define HEADERS_MAX 64U
#define NOTES_MAX 4096U
/* Between two looks at what is mapped, while nothing new is found: from the one, doubled up to the other. */
#define LOOK_AGAIN_MIN_NS 200000ULL
#define LOOK_AGAIN_MAX_NS 200000000ULL

static bool read_at(int fd, void *bytes, size_t size, uint64_t offset) {
    return pread(fd, bytes, size, (off_t)offset) == (ssize_t)size;
}

/* System V ABI, chapter 5, "Note Section"; NT_GNU_BUILD_ID. */
static void build_id_read(int fd, const Elf64_Phdr *header, struct kernel_module *module) {
    char notes[NOTES_MAX];
    size_t size = header->p_filesz < NOTES_MAX ? header->p_filesz : NOTES_MAX, at = 0;
    if (!read_at(fd, notes, size, header->p_offset))
        return;
    while (at + sizeof(Elf64_Nhdr) <= size) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof(note));
        size_t name = at + sizeof(note), description = name + (((size_t)note.n_namesz + 3) & ~(size_t)3);
        if (note.n_namesz > size || note.n_descsz > size || description + note.n_descsz > size)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0 &&
            note.n_descsz <= BUILD_ID_BYTES_MAX) {
            module->build_id_size = note.n_descsz;
            memcpy(module->build_id, notes + description, note.n_descsz);
            return;
        }
        at = description + (((size_t)note.n_descsz + 3) & ~(size_t)3);
    }
}

/* start and offset: of a mapping of code. Fills all but the path. */
static bool module_read(int fd, uint64_t start, uint64_t offset, struct kernel_module *module) {
    Elf64_Ehdr file;
    Elf64_Phdr headers[HEADERS_MAX];
    uint64_t low = UINT64_MAX, high = 0;
    bool found = false;
    if (!read_at(fd, &file, sizeof(file), 0) || memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 ||
        file.e_ident[EI_CLASS] != ELFCLASS64 || file.e_phentsize != sizeof(Elf64_Phdr) ||
        file.e_phnum > HEADERS_MAX || !read_at(fd, headers, file.e_phnum * sizeof(headers[0]), file.e_phoff))
        return false;
    for (unsigned i = 0; i < file.e_phnum; i++) {
        const Elf64_Phdr *header = &headers[i];
        if (header->p_type == PT_NOTE && module->build_id_size == 0)
            build_id_read(fd, header, module);
        if (header->p_type != PT_LOAD)
            continue;
        uint64_t address = header->p_vaddr & ~4095ULL, file_offset = header->p_offset & ~4095ULL;
        uint64_t end = header->p_vaddr + header->p_memsz; /* as the loader has it */
        if (address < low)
            low = address;
        if (end > high)
            high = end;
        if (offset >= file_offset && offset < header->p_offset + header->p_filesz &&
            (header->p_flags & PF_X)) {
            module->bias = start - (address + (offset - file_offset));
            found = true;
        }
    }
    module->start = module->bias + low;
    module->end = module->bias + high;
    return found && module->start <= start && module->end > start && module->end < 1ULL << 47;
}

static void mapping_take(struct kernel_process *process, const char *line) {
    unsigned long long start, end, offset, inode;
    char permissions[8], link[96];
    int path_at = 0;
    if (sscanf(line, "%llx-%llx %7s %llx %*s %llu %n", &start, &end, permissions, &offset, &inode, &path_at) <
            5 ||
        inode == 0 || !strchr(permissions, 'x') || kernel_module_find(process, start) ||
        process->module_count == MODULES_MAX)
        return;
    struct kernel_module *grown =
        realloc(process->modules, (process->module_count + 1) * sizeof(struct kernel_module));
    if (!grown)
        return;
    process->modules = grown;
    struct kernel_module module = {.path = strndup(line + path_at, strcspn(line + path_at, "\n"))};
    snprintf(link, sizeof(link), "/proc/%u/map_files/%llx-%llx", process->tgid, start, end);
    int fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == EPERM && module.path) { /* that takes CAP_CHECKPOINT_RESTORE */
        char name[4400];
        snprintf(name, sizeof(name), "/proc/%u/root%s", process->tgid, module.path);
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    if (module.path && fd >= 0 && module_read(fd, start, offset, &module))
        grown[process->module_count++] = module;
    else
        free(module.path);
    if (fd >= 0)
        close(fd);
}

bool kernel_modules_due(const struct kernel_process *process, uint64_t now) {
    return now - process->modules_ns >= process->modules_wait_ns;
}

/* A program that starts maps library after library, and its stacks are told once; a JIT's code is in no file
 * whenever that is looked up. */
void kernel_modules_read(struct kernel_process *process, uint64_t now, bool anew) {
    char path[64], line[4352];
    uint32_t before = process->module_count;
    if (anew)
        kernel_modules_clear(process);
    snprintf(path, sizeof(path), "/proc/%u/maps", process->tgid);
    process->modules_ns = now;
    FILE *maps = fopen(path, "re");
    while (maps && fgets(line, sizeof(line), maps))
        mapping_take(process, line);
    if (maps)
        fclose(maps);
    uint64_t longer = process->modules_wait_ns ? 2 * process->modules_wait_ns : LOOK_AGAIN_MIN_NS;
    if (process->module_count > before)
        longer = 0;
    process->modules_wait_ns = longer < LOOK_AGAIN_MAX_NS ? longer : LOOK_AGAIN_MAX_NS;
}

const struct kernel_module *kernel_module_find(const struct kernel_process *process, uint64_t pc) {
    for (uint32_t i = 0; i < process->module_count; i++)
        if (pc >= process->modules[i].start && pc < process->modules[i].end)
            return &process->modules[i];
    return NULL;
}

void kernel_modules_clear(struct kernel_process *process) {
    for (uint32_t i = 0; i < process->module_count; i++)
        free(process->modules[i].path);
    free(process->modules);
    process->modules = NULL;
    process->module_count = 0;
}
