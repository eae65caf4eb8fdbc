/* SPDX-License-Identifier: MIT */
#include "collector/unwind_maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A process has at most vm.max_map_count mappings, 65 530 by default, of some 100 bytes. */
#define MAPS_BYTES_MAX (256U << 20)

/* All of the file at once. Empty: there is no memory any more, or an exec has replaced it since it was
 * opened. */
static int maps_load_once(const char *path, char **ret_text) {
    size_t room = 64 << 10, have = 0;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    char *text = malloc(room + 1);
    while (text && (got = read(fd, text + have, room - have)) > 0) {
        have += (size_t)got;
        if (have < room)
            continue;
        char *larger = room < MAPS_BYTES_MAX ? realloc(text, 2 * room + 1) : NULL;
        if (!larger) {
            free(text);
            text = NULL;
        } else {
            text = larger;
            room *= 2;
        }
    }
    int error = !text ? -ENOMEM : got < 0 ? -errno : have == 0 ? -ESRCH : 0;
    close(fd);
    if (error < 0) {
        free(text);
        return error;
    }
    text[have] = '\0';
    *ret_text = text;
    return 0;
}

/* The second look is at what exec has put there. */
static int maps_load(pid_t pid, char **ret_text) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    int error = maps_load_once(path, ret_text);
    return error == -ESRCH ? maps_load_once(path, ret_text) : error;
}

/* By what can be told of the mapping the file is opened: the mapping itself, which leads to the file even if
 * it was removed or the process is in another root; without the capability for that its path in the process'
 * root, if that is still the same file. Returns false where the mapping is gone meanwhile. */
static bool file_find(pid_t pid, const char *name, uint64_t inode, struct unwind_mapping *mapping) {
    struct stat status;
    snprintf(mapping->path, sizeof(mapping->path), "/proc/%d/map_files/%llx-%llx", pid,
             (unsigned long long)mapping->low, (unsigned long long)mapping->high);
    if (stat(mapping->path, &status) < 0) {
        if (errno == ENOENT || errno == ESRCH)
            return false;
        snprintf(mapping->path, sizeof(mapping->path), "/proc/%d/root%s", pid, name);
        if (stat(mapping->path, &status) < 0 || status.st_ino != inode) {
            mapping->path[0] = '\0';
            mapping->file = (struct unwind_file){.inode = inode};
            return true;
        }
    }
    mapping->file = (struct unwind_file){.device = status.st_dev,
                                         .inode = status.st_ino,
                                         .bytes = (uint64_t)status.st_size,
                                         .changed = status.st_ctim};
    return true;
}

/* proc(5): "low-high perms offset major:minor inode      path". Returns whether it is a mapping of code. */
static bool line_parse(pid_t pid, const char *line, struct unwind_mapping *ret_mapping) {
    unsigned long long low, high, offset, inode;
    char *at;
    low = strtoull(line, &at, 16);
    if (*at++ != '-')
        return false;
    high = strtoull(at, &at, 16);
    if (at[0] != ' ' || at[1] == '\0' || at[2] == '\0' || at[3] != 'x')
        return false;
    at += strcspn(at + 1, " ") + 1;
    offset = strtoull(at, &at, 16);
    if (*at++ != ' ')
        return false;
    at += strcspn(at, " ");
    inode = strtoull(at, &at, 10);
    at += strspn(at, " ");
    if (low >= high || low >> 47)
        return false;
    ret_mapping->low = low;
    ret_mapping->high = high;
    ret_mapping->offset = offset;
    if (inode == 0) {
        ret_mapping->kind = strcmp(at, "[vdso]") == 0 ? UNWIND_MAPPING_VDSO : UNWIND_MAPPING_ANONYMOUS;
        ret_mapping->path[0] = '\0';
        return strcmp(at, "[vsyscall]") != 0;
    }
    ret_mapping->kind = UNWIND_MAPPING_FILE;
    return file_find(pid, at, inode, ret_mapping);
}

int unwind_maps_read(pid_t pid, int (*call)(void *argument, const struct unwind_mapping *mapping),
                     void *argument) {
    struct unwind_mapping mapping;
    char *text = NULL;
    int result = maps_load(pid, &text);
    if (result < 0)
        return result;
    for (char *line = text, *next; *line && result == 0; line = next) {
        char *end = strchrnul(line, '\n');
        next = *end ? end + 1 : end;
        *end = '\0';
        if (line_parse(pid, line, &mapping))
            result = call(argument, &mapping);
    }
    free(text);
    return result;
}

bool unwind_maps_gone(pid_t pid) {
    char *text = NULL;
    int error = maps_load(pid, &text);
    free(text);
    return error == -ESRCH;
}
