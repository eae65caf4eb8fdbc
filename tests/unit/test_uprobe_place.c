/* SPDX-License-Identifier: MIT */
/* Where a probe would go: instructions, names, this program's own file, and damaged copies of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "collector/uprobe_place.h"

#define DAMAGED_COPIES 3000U
#define HEADERS_BYTES 4096U

static void instructions_check(void) {
    static const struct {
        uint8_t bytes[8];
        size_t count;
        enum uprobe_instruction instruction;
        bool cheap;
    } CASES[] = {
        {{0x55}, 1, UPROBE_PUSH, true},
        {{0x41, 0x57}, 2, UPROBE_PUSH, true},
        {{0x41}, 1, UPROBE_OTHER, false},
        {{0x66, 0x50}, 2, UPROBE_OTHER, false},
        {{0x90}, 1, UPROBE_NOP, true},
        {{0xf3, 0x90}, 2, UPROBE_OTHER, false},
        {{0x0f, 0x1f, 0x44, 0, 0}, 5, UPROBE_NOP5, true},
        {{0x0f, 0x1f, 0x44, 0, 0}, 4, UPROBE_OTHER, false},
        {{0x0f, 0x1f, 0x40, 0}, 8, UPROBE_OTHER, false},
        {{0xf3, 0x0f, 0x1e, 0xfa}, 4, UPROBE_ENDBR64, false},
        {{0x48, 0x8d, 0x07}, 3, UPROBE_LEA, false},
        {{0x4c, 0x8d, 0x54, 0x24}, 8, UPROBE_LEA, false},
        {{0x48, 0x83, 0xec, 0x18}, 4, UPROBE_SUB, false},
        {{0x89, 0xf8}, 2, UPROBE_MOV, false},
        {{0xc3}, 1, UPROBE_OTHER, false},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        CHECK_EQ_INT(uprobe_instruction_decode(CASES[i].bytes, CASES[i].count), CASES[i].instruction);
        CHECK_EQ_INT(uprobe_instruction_is_cheap(CASES[i].instruction, 6, 18), CASES[i].cheap);
    }
    CHECK(!uprobe_instruction_is_cheap(UPROBE_NOP5, 6, 1) && uprobe_instruction_is_cheap(UPROBE_NOP5, 7, 0));
}

static void names_check(void) {
    CHECK(uprobe_symbol_is_hot("pthread_mutex_lock"));
    CHECK(uprobe_symbol_is_hot("pthread_cond_wait@@GLIBC_2.3.2"));
    CHECK(uprobe_symbol_is_hot("sem_post@GLIBC_2.34"));
    CHECK(!uprobe_symbol_is_hot("pthread_mutex_init"));
    CHECK(!uprobe_symbol_is_hot("pthread_rwlock_destroy@GLIBC_2.2.5"));
    CHECK(!uprobe_symbol_is_hot("sem_posted"));
    CHECK(!uprobe_symbol_is_hot("pthread_create"));
}

void uprobe_place_target(void);
__asm__(".pushsection .text\n.globl uprobe_place_target\n.type uprobe_place_target, @function\n"
        "uprobe_place_target:\npush %r15\npop %r15\nret\n.size uprobe_place_target, .-uprobe_place_target\n"
        ".popsection");

static void file_check(int fd) {
    struct uprobe_file *file;
    struct uprobe_place place;
    uint8_t bytes[4];
    if (!CHECK_EQ_INT(uprobe_file_open(fd, &file), 0))
        return;
    if (CHECK_EQ_INT(uprobe_place_find(file, "uprobe_place_target", &place), 0)) {
        CHECK_EQ_INT(place.first, UPROBE_PUSH);
        CHECK(pread(fd, bytes, 4, (off_t)place.offset) == 4);
        CHECK_MEM(bytes, (const uint8_t *)(uintptr_t)uprobe_place_target, 4);
    }
    CHECK_EQ_INT(uprobe_place_find(file, "uprobe_place_targe", &place), -ENOENT);
    CHECK_EQ_INT(uprobe_place_find(file, "", &place), -ENOENT);
    CHECK_EQ_INT(uprobe_place_find(file, "main@GLIBC_2.2.5", &place), -ENOENT);
    CHECK_EQ_INT(uprobe_place_find(file, "pread", &place), -ENOENT); /* another file's */
    uprobe_file_close(file);
    uprobe_file_close(NULL);
}

/* Any answer will do, as long as there is one. */
static void damaged_check(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size);
    unsigned opened = 0, found = 0;
    int fd = memfd_create("damaged", MFD_CLOEXEC);
    if (!CHECK(copy && fd >= 0 && size > HEADERS_BYTES && write(fd, bytes, size) == (ssize_t)size))
        return;
    memcpy(copy, bytes, size);
    srand(5);
    for (unsigned i = 0; i < DAMAGED_COPIES; i++) {
        struct uprobe_file *file;
        struct uprobe_place place;
        /* The ELF header, the segments, and the section headers at the end. */
        size_t at = i % 2 ? (size_t)rand() % HEADERS_BYTES : size - 1 - (size_t)rand() % HEADERS_BYTES;
        uint8_t value = (uint8_t)rand();
        off_t cut = i % 10 ? (off_t)size : (off_t)((size_t)rand() % size);
        CHECK(pwrite(fd, &value, 1, (off_t)at) == 1 && ftruncate(fd, cut) == 0);
        if (uprobe_file_open(fd, &file) == 0) {
            opened++;
            found += uprobe_place_find(file, "uprobe_place_target", &place) == 0;
            uprobe_place_find(file, "uprobe_place_target@NOWHERE", &place);
            uprobe_file_close(file);
        }
        if (i % 4 == 3) /* up to four damages add up */
            CHECK(pwrite(fd, copy, size, 0) == (ssize_t)size);
    }
    CHECK(opened > 0 && opened < DAMAGED_COPIES && found > 0 && found < opened);
    printf("of %u damaged copies %u could be opened, in %u the function was found\n", DAMAGED_COPIES, opened,
           found);
    close(fd);
    free(copy);
}

int main(void) {
    instructions_check();
    names_check();
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    file_check(fd);
    uint8_t *bytes = size > 0 ? malloc((size_t)size) : NULL;
    if (CHECK(bytes && pread(fd, bytes, (size_t)size, 0) == size))
        damaged_check(bytes, (size_t)size);
    free(bytes);
    close(fd);
    return check_summary();
}
