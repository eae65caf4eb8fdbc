/* SPDX-License-Identifier: MIT */
/* Whether the dynamic loader would load an agent into a program, told from its file alone. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "collector/launch.h"

#define PROGRAM_HEADERS_MAX 128
#define INTERPRETERS_MAX 4 /* the kernel's limit on scripts run by scripts */

/* Finds program as execvp does. Returns false if there is none. */
static bool program_find(const char *program, char path[PATH_MAX]) {
    if (strchr(program, '/')) {
        snprintf(path, PATH_MAX, "%s", program);
        return access(path, X_OK) == 0;
    }
    const char *search = getenv("PATH");
    if (!search)
        search = "/bin:/usr/bin";
    while (*search) {
        size_t length = strcspn(search, ":");
        struct stat status;
        if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, search, length ? "/" : "", program) <
                PATH_MAX &&
            stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0)
            return true;
        search += length + (search[length] == ':');
    }
    return false;
}

/* The first word after #!, in place. */
static bool script_interpreter(const char *start, size_t bytes, char path[PATH_MAX]) {
    char line[256];
    if (bytes < 3 || memcmp(start, "#!", 2) != 0)
        return false;
    size_t size = bytes - 2 < sizeof(line) - 1 ? bytes - 2 : sizeof(line) - 1;
    memcpy(line, start + 2, size);
    line[size] = '\0';
    line[strcspn(line, "\n")] = '\0';
    char *word = line + strspn(line, " \t");
    word[strcspn(word, " \t")] = '\0';
    snprintf(path, PATH_MAX, "%s", word);
    return path[0] != '\0';
}

static bool privileges_differ(int fd, const struct stat *status, const char *path, char *note, size_t bytes) {
    char capabilities[64];
    if ((status->st_mode & S_ISUID) && status->st_uid != geteuid()) {
        snprintf(note, bytes, "%s is setuid: the loader preloads nothing into it", path);
        return true;
    }
    if ((status->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status->st_gid != getegid()) {
        snprintf(note, bytes, "%s is setgid: the loader preloads nothing into it", path);
        return true;
    }
    if (geteuid() != 0 && fgetxattr(fd, "security.capability", capabilities, sizeof(capabilities)) > 0) {
        snprintf(note, bytes, "%s has file capabilities: the loader preloads nothing into it", path);
        return true;
    }
    return false;
}

/* A program without an interpreter (PT_INTERP) is started without the dynamic loader. */
static bool elf_refused(int fd, const unsigned char *start, size_t got, const char *path, char *note,
                        size_t bytes) {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    if (got < sizeof(header) || memcmp(start, ELFMAG, SELFMAG) != 0) {
        snprintf(note, bytes, "%s is no ELF program of this machine", path);
        return true;
    }
    if (start[EI_CLASS] != ELFCLASS64) {
        snprintf(note, bytes, "%s is a 32-bit program: the agent is 64-bit", path);
        return true;
    }
    memcpy(&header, start, sizeof(header));
    if (header.e_machine != EM_X86_64) {
        snprintf(note, bytes, "%s is a program of another machine", path);
        return true;
    }
    for (unsigned i = 0; i < header.e_phnum && i < PROGRAM_HEADERS_MAX; i++) {
        if (pread(fd, &segment, sizeof(segment),
                  (off_t)(header.e_phoff + (uint64_t)i * header.e_phentsize)) != (ssize_t)sizeof(segment))
            break;
        if (segment.p_type == PT_INTERP)
            return false;
    }
    snprintf(note, bytes, "%s is statically linked: nothing can be preloaded into it", path);
    return true;
}

bool preload_refused(const char *program, char *ret_note, size_t bytes) {
    char path[PATH_MAX], next[PATH_MAX];
    if (!program_find(program, path))
        return false;
    for (int depth = 0; depth < INTERPRETERS_MAX; depth++) {
        unsigned char start[256];
        struct stat status;
        bool refused = false;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            return false; /* executable but not readable: nothing can be told */
        ssize_t got = read(fd, start, sizeof(start));
        bool script = got > 0 && script_interpreter((const char *)start, (size_t)got, next);
        if (!script && got > 0 && fstat(fd, &status) == 0) {
            refused = privileges_differ(fd, &status, path, ret_note, bytes) ||
                      elf_refused(fd, start, (size_t)got, path, ret_note, bytes);
        }
        close(fd);
        if (!script)
            return refused;
        memcpy(path, next, sizeof(path));
    }
    return false;
}
