/* SPDX-License-Identifier: MIT */
#include "collector/unwind_rows.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/unwind_table.h"
#include "format/cfi.h"
#include "format/cfi_row.h"

/* No program has more; a file that says so is not to fill our memory. */
#define CODE_BYTES_MAX (1ULL << 30)
#define FRAME_BYTES_MAX (256U << 20)
#define ROWS_MAX (32U << 20)
#define PROGRAM_HEADERS_MAX 512U

/* --- the file ------------------------------------------------------------------------------------------ */

struct file {
    int fd;
    uint64_t bytes;
    Elf64_Ehdr header;
    Elf64_Phdr *segments;
    unsigned segment_count;
};

/* A piece of the file, one byte longer than asked for and ended by 0. NULL with *ret_error set. */
static void *file_piece(const struct file *file, uint64_t offset, uint64_t bytes, int *ret_error) {
    *ret_error = -ENOEXEC;
    if (offset > file->bytes || bytes > file->bytes - offset)
        return NULL;
    *ret_error = -ENOMEM;
    char *piece = malloc(bytes + 1);
    if (!piece)
        return NULL;
    for (uint64_t have = 0; have < bytes;) {
        ssize_t got = pread(file->fd, piece + have, bytes - have, (off_t)(offset + have));
        if (got <= 0) {
            *ret_error = got < 0 ? -errno : -ENOEXEC;
            free(piece);
            return NULL;
        }
        have += (uint64_t)got;
    }
    piece[bytes] = '\0';
    return piece;
}

static int file_open(int fd, struct file *ret_file) {
    struct stat status;
    int error;
    *ret_file = (struct file){.fd = fd};
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode) || status.st_size <= 0)
        return -ENOEXEC;
    ret_file->bytes = (uint64_t)status.st_size;
    Elf64_Ehdr *header = file_piece(ret_file, 0, sizeof(*header), &error);
    if (!header)
        return error;
    ret_file->header = *header;
    free(header);
    header = &ret_file->header;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64 ||
        (header->e_type != ET_EXEC && header->e_type != ET_DYN) ||
        header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum > PROGRAM_HEADERS_MAX)
        return -ENOEXEC;
    ret_file->segment_count = header->e_phnum;
    ret_file->segments = file_piece(ret_file, header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr), &error);
    return ret_file->segments ? 0 : error;
}

/* Where .eh_frame lies in the file and what its address is. */
struct frames {
    uint64_t offset, address, bytes;
};

/* Code that is written without call frame information and is alike everywhere: the row from an address on. */
struct known {
    uint64_t address;
    uint32_t row;
};
#define KNOWN_MAX 12U

struct knowns {
    struct known rows[KNOWN_MAX]; /* sorted once all are there */
    unsigned count;
};

static void known_add(struct knowns *knowns, uint64_t address, uint32_t row) {
    if (knowns->count < KNOWN_MAX)
        knowns->rows[knowns->count++] = (struct known){address, row};
}

/* _init and _fini (glibc's crti.S and crtn.S): [endbr64,] sub $8,%rsp, calls, add $8,%rsp, ret. */
static void known_add_init(const struct file *file, const Elf64_Shdr *section, struct knowns *knowns) {
    static const uint8_t mark[] = {0xf3, 0x0f, 0x1e, 0xfa}, enter[] = {0x48, 0x83, 0xec, 0x08},
                         leave[] = {0x48, 0x83, 0xc4, 0x08, 0xc3};
    uint64_t low = section->sh_addr, high = low + section->sh_size;
    size_t into = 0;
    int error;
    if (section->sh_size < sizeof(enter) + sizeof(leave) || section->sh_size > 4096 || high < low)
        return;
    const uint8_t *code = file_piece(file, section->sh_offset, section->sh_size, &error);
    if (!code)
        return;
    if (memcmp(code, mark, sizeof(mark)) == 0)
        into = sizeof(mark);
    if (into + sizeof(enter) + sizeof(leave) <= section->sh_size &&
        memcmp(code + into, enter, sizeof(enter)) == 0 &&
        memcmp(code + section->sh_size - sizeof(leave), leave, sizeof(leave)) == 0) {
        known_add(knowns, low, unwind_row_pack(UNWIND_ROW_RSP, 1, 0));
        known_add(knowns, low + into + sizeof(enter), unwind_row_pack(UNWIND_ROW_RSP, 2, 0));
        known_add(knowns, high - 1, unwind_row_pack(UNWIND_ROW_RSP, 1, 0));
        known_add(knowns, high, unwind_row_special(UNWIND_SPECIAL_NONE));
    }
    free((void *)code);
}

/* ld.so's first function is written without call frame information, and whoever comes to it is at the start.
 */
#define ENTRY_BYTES 256U
static void known_add_entry(const struct file *file, struct knowns *knowns) {
    if (file->header.e_entry == 0 || file->header.e_entry > UINT64_MAX - ENTRY_BYTES)
        return;
    known_add(knowns, file->header.e_entry, unwind_row_special(UNWIND_SPECIAL_END));
    known_add(knowns, file->header.e_entry + ENTRY_BYTES, unwind_row_special(UNWIND_SPECIAL_NONE));
}

static int known_compare(const void *left, const void *right) {
    const struct known *a = left, *b = right;
    return (a->address > b->address) - (a->address < b->address);
}

/* Finds .eh_frame, and what code is known without it. */
static bool frames_by_section(const struct file *file, struct frames *ret_frames, struct knowns *knowns) {
    const Elf64_Ehdr *header = &file->header;
    int error;
    bool found = false;
    char *names = NULL;
    if (header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shstrndx >= header->e_shnum)
        return false;
    Elf64_Shdr *sections = file_piece(file, header->e_shoff, header->e_shnum * sizeof(Elf64_Shdr), &error);
    if (!sections)
        return false;
    const Elf64_Shdr *strings = &sections[header->e_shstrndx];
    if (strings->sh_size < FRAME_BYTES_MAX)
        names = file_piece(file, strings->sh_offset, strings->sh_size, &error);
    for (unsigned i = 0; names && i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &sections[i];
        if (section->sh_type == SHT_NOBITS || !(section->sh_flags & SHF_ALLOC) ||
            section->sh_name >= strings->sh_size)
            continue;
        const char *name = names + section->sh_name;
        if (!found && strcmp(name, ".eh_frame") == 0) {
            *ret_frames = (struct frames){section->sh_offset, section->sh_addr, section->sh_size};
            found = true;
        } else if (strcmp(name, ".init") == 0 || strcmp(name, ".fini") == 0) {
            known_add_init(file, section, knowns);
        }
    }
    free(names);
    free(sections);
    return found;
}

/* Without sections: .eh_frame_hdr says where .eh_frame begins, and it ends with a length of 0. */
static bool frames_by_segment(const struct file *file, struct frames *ret_frames) {
    uint64_t address = 0;
    int error;
    for (unsigned i = 0; i < file->segment_count; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type != PT_GNU_EH_FRAME)
            continue;
        uint8_t *header = file_piece(file, segment->p_offset, 12, &error);
        if (!header)
            return false;
        struct cfi_cursor cursor = {header + 4, header + 12};
        address = cfi_read_encoded(&cursor, header[1], segment->p_vaddr - (uint64_t)(uintptr_t)header);
        free(header);
    }
    for (unsigned i = 0; address && i < file->segment_count; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type != PT_LOAD || address < segment->p_vaddr ||
            address - segment->p_vaddr >= segment->p_filesz)
            continue;
        uint64_t into = address - segment->p_vaddr;
        *ret_frames = (struct frames){segment->p_offset + into, address, segment->p_filesz - into};
        return true;
    }
    return false;
}

/* --- rows ---------------------------------------------------------------------------------------------- */

struct collecting {
    struct unwind_rows *rows;
    struct knowns knowns;
    uint64_t end; /* of what has a row */
    int error;
};

static bool row_append(struct collecting *collecting, uint64_t address, uint32_t row) {
    struct unwind_rows *rows = collecting->rows;
    if (rows->count && rows->low + rows->rows[rows->count - 1].distance == address)
        rows->count--; /* said better now */
    if (rows->count && rows->rows[rows->count - 1].row == row)
        return true;
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : 4096;
        struct unwind_row_at *larger = room <= ROWS_MAX ? realloc(rows->rows, room * sizeof(*larger)) : NULL;
        if (!larger) {
            collecting->error = room <= ROWS_MAX ? -ENOMEM : -EFBIG;
            return false;
        }
        rows->rows = larger;
        rows->room = room;
    }
    rows->rows[rows->count++] = (struct unwind_row_at){(uint32_t)(address - rows->low), row};
    return true;
}

/* Code up to high of which nothing is said: what is known all the same, and else no row. */
static bool gap_append(struct collecting *collecting, uint64_t high) {
    const struct knowns *knowns = &collecting->knowns;
    uint64_t low = collecting->end;
    if (!row_append(collecting, low, unwind_row_special(UNWIND_SPECIAL_NONE)))
        return false;
    for (unsigned i = 0; i < knowns->count; i++)
        if (knowns->rows[i].address >= low && knowns->rows[i].address < high &&
            !row_append(collecting, knowns->rows[i].address, knowns->rows[i].row))
            return false;
    return true;
}

/* A row as the unwinder in the kernel reads it. */
static uint32_t row_pack(const struct cfi_row *row) {
    uint32_t value = (uint32_t)row->cfa;
    bool bp_fits = row->bp >= UNWIND_ROW_BP_MIN && row->bp <= UNWIND_ROW_BP_MAX;
    bool memory_fits = row->cfa >= -(UNWIND_ROW_REALIGNED / 2) && row->cfa < UNWIND_ROW_REALIGNED / 2;
    switch (row->kind) {
    case CFI_ROW_RSP:
    case CFI_ROW_RBP:
        if (row->cfa < 0 || row->cfa > UNWIND_ROW_VALUE_MAX || !bp_fits)
            break;
        return unwind_row_pack(row->kind == CFI_ROW_RSP ? UNWIND_ROW_RSP : UNWIND_ROW_RBP, value, row->bp);
    case CFI_ROW_DEREFERENCE:
        if (!memory_fits)
            break;
        return unwind_row_pack(UNWIND_ROW_MEMORY, (value & (UNWIND_ROW_REALIGNED - 1)) | UNWIND_ROW_REALIGNED,
                               0);
    case CFI_ROW_SAVED_RSP:
        if (!memory_fits || !bp_fits)
            break;
        return unwind_row_pack(UNWIND_ROW_MEMORY, value & (UNWIND_ROW_REALIGNED - 1), row->bp);
    case CFI_ROW_END:
        return unwind_row_special(UNWIND_SPECIAL_END);
    case CFI_ROW_PLT:
        return unwind_row_special(UNWIND_SPECIAL_PLT);
    case CFI_ROW_SIGNAL:
        return unwind_row_special(UNWIND_SPECIAL_SIGNAL);
    }
    return unwind_row_special(UNWIND_SPECIAL_UNSUPPORTED);
}

static void range_collect(void *argument, uint64_t low, uint64_t high, const struct cfi *cfi) {
    struct collecting *collecting = argument;
    struct cfi_row row = {.kind = CFI_ROW_FULL};
    if (low < collecting->end) /* said by another description already */
        low = collecting->end;
    if (high > collecting->rows->high)
        high = collecting->rows->high;
    if (low >= high || collecting->error)
        return;
    if (low > collecting->end && !gap_append(collecting, low))
        return;
    if (cfi)
        row = cfi_row_of(cfi);
    uint32_t packed = row_pack(&row);
    if (!row_append(collecting, low, packed))
        return;
    collecting->rows->unsupported += packed == unwind_row_special(UNWIND_SPECIAL_UNSUPPORTED);
    collecting->end = high;
}

struct description_at {
    uint64_t start;
    const uint8_t *entry;
};

static int description_compare(const void *left, const void *right) {
    const struct description_at *a = left, *b = right;
    return a->start != b->start ? (a->start > b->start) - (a->start < b->start)
                                : (a->entry > b->entry) - (a->entry < b->entry);
}

/* All descriptions by their start, NULL with *ret_error set. */
static struct description_at *descriptions_sort(const struct cfi_memory *memory, size_t *ret_count) {
    struct description_at *all = NULL;
    size_t count = 0, room = 0;
    bool sorted = true;
    struct cfi_description description;
    for (const uint8_t *entry = memory->start; entry; entry = cfi_entry_next(memory, entry)) {
        if (cfi_description_read(memory, entry, &description) < 0 || description.bytes == 0)
            continue;
        if (count == room) {
            room = room ? room * 2 : 1024;
            struct description_at *larger = realloc(all, room * sizeof(*all));
            if (!larger) {
                free(all);
                return NULL;
            }
            all = larger;
        }
        sorted = sorted && (count == 0 || all[count - 1].start <= description.start);
        all[count++] = (struct description_at){description.start, entry};
    }
    if (!sorted)
        qsort(all, count, sizeof(*all), description_compare);
    *ret_count = count;
    return all ? all : calloc(1, sizeof(*all));
}

static int rows_collect(const struct file *file, struct unwind_rows *rows) {
    struct frames frames;
    struct collecting collecting = {.rows = rows, .end = rows->low};
    size_t count;
    int error;
    known_add_entry(file, &collecting.knowns);
    if (!frames_by_section(file, &frames, &collecting.knowns) && !frames_by_segment(file, &frames))
        return 0;
    qsort(collecting.knowns.rows, collecting.knowns.count, sizeof(collecting.knowns.rows[0]), known_compare);
    if (frames.bytes > FRAME_BYTES_MAX)
        return -EFBIG;
    uint8_t *bytes = file_piece(file, frames.offset, frames.bytes, &error);
    if (!bytes)
        return error;
    struct cfi_memory memory = {bytes, bytes + frames.bytes, frames.address - (uint64_t)(uintptr_t)bytes};
    struct description_at *all = descriptions_sort(&memory, &count);
    error = all ? 0 : -ENOMEM;
    for (size_t i = 0; all && i < count && !collecting.error; i++) {
        struct cfi_description description;
        if (all[i].start >= rows->low && cfi_description_read(&memory, all[i].entry, &description) == 0)
            cfi_ranges(&description, range_collect, &collecting);
    }
    if (all && !collecting.error && collecting.end < rows->high)
        gap_append(&collecting, rows->high);
    free(all);
    free(bytes);
    return error ? error : collecting.error;
}

static int segments_find(const struct file *file, struct unwind_rows *rows) {
    rows->low = UINT64_MAX;
    for (unsigned i = 0; i < file->segment_count; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) || segment->p_filesz == 0)
            continue;
        if (segment->p_offset > file->bytes || segment->p_filesz > file->bytes - segment->p_offset ||
            segment->p_vaddr % 4096 != segment->p_offset % 4096 || segment->p_vaddr >> 47)
            return -ENOEXEC;
        if (rows->segment_count == UNWIND_SEGMENTS_MAX)
            return -EFBIG;
        rows->segments[rows->segment_count++] =
            (struct unwind_segment){segment->p_offset, segment->p_vaddr, segment->p_filesz};
        uint64_t high = (segment->p_vaddr + segment->p_filesz + 4095) & ~4095ULL;
        rows->low = segment->p_vaddr < rows->low ? segment->p_vaddr & ~4095ULL : rows->low;
        rows->high = high > rows->high ? high : rows->high;
    }
    if (rows->segment_count == 0)
        return -ENOEXEC;
    return rows->high - rows->low > CODE_BYTES_MAX ? -EFBIG : 0;
}

int unwind_rows_read(int fd, struct unwind_rows *ret_rows) {
    struct file file;
    struct unwind_rows rows = {0};
    int error = file_open(fd, &file);
    if (error == 0)
        error = segments_find(&file, &rows);
    if (error == 0)
        error = rows_collect(&file, &rows);
    free(file.segments);
    if (error < 0) {
        unwind_rows_free(&rows);
        return error;
    }
    *ret_rows = rows;
    return 0;
}

void unwind_rows_free(struct unwind_rows *rows) {
    free(rows->rows);
    *rows = (struct unwind_rows){0};
}
