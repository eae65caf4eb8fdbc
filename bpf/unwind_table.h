/* SPDX-License-Identifier: MIT */
/*
 * The layout of the unwind tables, which the collector writes and the unwinder (unwind.bpf.h) reads, and of
 * what comes out.
 *
 * A process has a table of ranges, its mapped code. A range leads to the index of pages: an entry for each
 * 512 bytes of code. An entry leads to the page's rows, sorted by where they begin; where there is one row
 * only it stands in the entry itself, and pages with equal rows share them. A file has hundreds of thousands
 * of rows and a hundred kinds of them, so most are stored as a code into a list of the file's own. Entries,
 * rows and tables lie in three arrays of chunks, which are made as they are needed.
 *
 * Order of writing: rows, then entries, then a table that leads to them, then the process' table number. What
 * a program may still read is not written again before it cannot read it any more.
 */
#ifndef WAITSCOPE_BPF_UNWIND_TABLE_H
#define WAITSCOPE_BPF_UNWIND_TABLE_H

#include <linux/types.h>

#define UNWIND_PAGE_BITS 9         /* 512 bytes of code */
#define UNWIND_CHUNK_PAGES_BITS 16 /* entries in a chunk: 512 KiB */
#define UNWIND_CHUNK_ROWS_BITS 18  /* units of 16 bits in a chunk: 512 KiB */
#define UNWIND_CHUNK_TABLES_BITS 5
#define UNWIND_CHUNKS_MAX 256U /* of each of the three arrays */
#define UNWIND_PROCESSES_MAX 8192U
#define UNWIND_RANGES_BITS 8
#define UNWIND_RANGES_MAX (1U << UNWIND_RANGES_BITS)
#define UNWIND_FRAMES_MAX 128U

/* --- rows ---------------------------------------------------------------------------------------------- */

/*
 * bits 23..31 where in its page the row begins, 21..22 type, 6..20 value, 0..5 rbp is saved at CFA + 8 times
 * this, signed; 0: it is unchanged. The return address is at CFA - 8, the caller's rsp is the CFA.
 */
enum unwind_row_type {
    UNWIND_ROW_RSP = 0,     /* CFA = rsp + 8 * value */
    UNWIND_ROW_RBP = 1,     /* CFA = rbp + 8 * value */
    UNWIND_ROW_MEMORY = 2,  /* value is signed, 14 bits; with UNWIND_ROW_REALIGNED the CFA is what lies at
                               rbp + 8 * value and rbp is what lies at rbp; without it the CFA is 8 more than
                               what lies at rsp + 8 * value */
    UNWIND_ROW_SPECIAL = 3, /* value is one of enum unwind_row_special */
};
#define UNWIND_ROW_OFFSET_SHIFT 23
#define UNWIND_ROW_TYPE_SHIFT 21
#define UNWIND_ROW_VALUE_SHIFT 6
#define UNWIND_ROW_VALUE_MAX 0x7fff
#define UNWIND_ROW_REALIGNED 0x4000 /* the bit above a signed value */
#define UNWIND_ROW_MEMORY_BITS 14
#define UNWIND_ROW_BP_BITS 6
#define UNWIND_ROW_BP_MIN (-32)
#define UNWIND_ROW_BP_MAX 31

enum unwind_row_special {
    UNWIND_SPECIAL_NONE,        /* code of which its file says nothing */
    UNWIND_SPECIAL_END,         /* a thread's first function */
    UNWIND_SPECIAL_PLT,         /* CFA = rsp + 8, 16 past the push in the entry's second half */
    UNWIND_SPECIAL_SIGNAL,      /* the kernel's signal frame at rsp */
    UNWIND_SPECIAL_UNSUPPORTED, /* its file says more than a row can */
    UNWIND_SPECIAL_UNMAPPED,    /* never in a table: the address is in no range */
    UNWIND_SPECIAL_BROKEN,      /* never in a table: a chunk is missing */
};

static inline __u32 unwind_row_pack(enum unwind_row_type type, __u32 value, int bp) {
    return (__u32)type << UNWIND_ROW_TYPE_SHIFT | (value & UNWIND_ROW_VALUE_MAX) << UNWIND_ROW_VALUE_SHIFT |
           ((__u32)bp & ((1U << UNWIND_ROW_BP_BITS) - 1));
}
static inline __u32 unwind_row_special(enum unwind_row_special special) {
    return unwind_row_pack(UNWIND_ROW_SPECIAL, special, 0);
}

/*
 * A row in short: bits 7..15 where in its page it begins, 0..6 a code, the number of its row in the file's
 * list of codes. A page with a row that has no code has all of them in full.
 */
#define UNWIND_CODE_BITS 7
#define UNWIND_CODES_MAX (1U << UNWIND_CODE_BITS)

/* An entry of the index. With no count the lower half is the page's one row, else the unit of its first. A
 * row in full takes two units and begins at an even one. */
#define UNWIND_PAGE_COUNT_SHIFT 32
#define UNWIND_PAGE_FULL (1ULL << 63)

/* --- processes ----------------------------------------------------------------------------------------- */

struct unwind_range {
    __u64 low, high; /* addresses, multiples of the machine's page */
    __u32 page;      /* index of the entry for low */
    __u32 codes;     /* unit of the first of the file's codes, rows in full */
};

/* The number of a table without ranges: of a process whose code is not known yet. */
#define UNWIND_TABLE_EMPTY 0U

enum {
    UNWIND_TABLE_JIT = 1, /* code in no range is a JIT's and has frame pointers */
};

struct unwind_table {
    __u32 count;
    __u32 generation; /* never 0, and no two tables have the same */
    __u32 flags;
    __u32 reserved;
    struct unwind_range ranges[UNWIND_RANGES_MAX]; /* sorted, apart */
};

/* --- stacks -------------------------------------------------------------------------------------------- */

/* How a stack ended. */
enum unwind_end {
    UNWIND_END_START,         /* at the thread's start: the stack is complete */
    UNWIND_END_CUT,           /* it has more than UNWIND_FRAMES_MAX frames */
    UNWIND_END_UNMAPPED,      /* in code that is in no table (yet) */
    UNWIND_END_NO_ROWS,       /* in code of which its file says nothing */
    UNWIND_END_UNSUPPORTED,   /* in code of which its file says more than a row can */
    UNWIND_END_CFA,           /* the next frame would not lie above this one */
    UNWIND_END_READ,          /* the stack could not be read */
    UNWIND_END_FRAME_POINTER, /* rbp points to no frame */
    UNWIND_END_BROKEN,        /* a table led nowhere */
    UNWIND_END_EXEC,          /* the program is being replaced by another */
    UNWIND_END_NOT_64_BIT,    /* no stack was taken: a 32-bit program */
    UNWIND_END_NO_USER,       /* no stack was taken: no user memory any more */
    UNWIND_END_BUSY,          /* no stack was taken: the buffers of this CPU were in use */
    UNWIND_ENDS,
};

enum {
    UNWIND_STACK_FRAME_POINTER = 1, /* some frames were found by frame pointers, in code without rows */
    UNWIND_STACK_SIGNAL = 2,        /* there is a signal frame in it: the next address is no return address */
};

struct unwind_stack_taken {
    __u64 hash;  /* as of format/stack_hash.h, over frames */
    __u16 count; /* of frames, at least 1 */
    __u8 end;    /* enum unwind_end */
    __u8 flags;
    __u16 misses;                    /* frames whose row was not in the cache */
    __u16 windows;                   /* times the stack was read */
    __u64 frames[UNWIND_FRAMES_MAX]; /* leaf first: the interrupted pc, then return addresses */
};

struct unwind_counters {
    __u64 ends[UNWIND_ENDS];
    __u64 forks_lost; /* children whose table could not be entered */
};

/* --- memory of the unwinder that only it touches; here for the sizes of the maps --------------------------
 */

#define UNWIND_WINDOW_WORDS 512U
#define UNWIND_LEVELS 3U /* of programs that interrupt each other on a CPU */
#define UNWIND_CACHE_BITS 11

struct unwind_walk {
    __u64 pc, sp, bp;
    __u64 is_return; /* pc is a return address: its call is at pc - 1 */
    __u64 low, high; /* the range the last miss was in */
    __u32 page, codes;
    __u32 table, generation, table_flags, reserved;
    __u64 leaf;    /* no frame was left yet */
    __u64 cloning; /* the leaf is behind clone()'s system call, in the caller */
    __u64 factor;  /* of the next frame in the hash */
    __u64 busy;
    __u64 cached; /* this level may use the cache */
    struct unwind_stack_taken stack;
    __u64 window_base, window_bytes;
    __u64 window[UNWIND_WINDOW_WORDS];
};

struct unwind_cache_entry {
    __u64 pc;
    __u32 generation, row;
};
struct unwind_cache {
    struct unwind_cache_entry entries[1U << UNWIND_CACHE_BITS];
};

#endif
