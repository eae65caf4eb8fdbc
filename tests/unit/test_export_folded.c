/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>

#include "test_export_tree.h"

struct parsed {
    uint64_t lines, sum, least;
    bool bad; /* a line that flamegraph.pl would ignore, or take for a differential */
};

/* "text 12" or "text 1.5" at the end, as flamegraph.pl's /^(.*)\s+?(\d+(?:\.\d*)?)$/ sees it. */
static char *number_at_end(char *line) {
    char *end = line + strlen(line), *digits = end;
    while (digits > line && isdigit((unsigned char)digits[-1]))
        digits--;
    if (digits > line + 1 && digits[-1] == '.' && isdigit((unsigned char)digits[-2])) {
        digits--;
        while (digits > line && isdigit((unsigned char)digits[-1]))
            digits--;
    }
    return digits < end && digits > line && isspace((unsigned char)digits[-1]) ? digits : NULL;
}

/* Takes the text apart in place. */
static struct parsed parse(char *text) {
    struct parsed parsed = {.least = UINT64_MAX};
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (!rest) { /* what follows the last line end */
            parsed.bad |= line[0] != '\0';
            break;
        }
        parsed.lines++;
        char *number = number_at_end(line);
        if (!number || number == line + 1 || strchr(number, '.')) {
            parsed.bad = true;
            continue;
        }
        uint64_t count = strtoull(number, NULL, 10);
        parsed.sum += count;
        if (count < parsed.least)
            parsed.least = count;
        number[-1] = '\0';
        if (number_at_end(line) || strstr(line, ";;") || line[0] == ';' || line[strlen(line) - 1] == ';')
            parsed.bad = true;
        for (char *byte = line; *byte != '\0'; byte++)
            parsed.bad |= iscntrl((unsigned char)*byte) != 0;
    }
    return parsed;
}

static struct export_flame flame_of(const struct tree *tree) {
    return (struct export_flame){.nodes = tree->nodes, .node_count = tree->node_count};
}

static void test_golden(void) {
    struct tree tree = TREE_OF(TREE_SERVER);
    struct export_flame flame = flame_of(&tree);
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), 0);
    check_golden("server.folded", text, bytes);
    struct parsed parsed = parse(text);
    CHECK(!parsed.bad);
    CHECK_EQ_U64(parsed.lines, 14);
    free(text);
    tree_release(&tree);
}

static void test_hostile_names(void) {
    struct tree tree = TREE_OF(TREE_HOSTILE);
    struct export_flame flame = flame_of(&tree);
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), 0);
    check_golden("hostile.folded", text, bytes);
    CHECK(strstr(text, "worker_3 4000\n") != NULL);
    CHECK(strstr(text, "lock_1.5 3000\n") != NULL);
    CHECK(strstr(text, "a:b c d 7000\n") != NULL);
    struct parsed parsed = parse(text);
    CHECK(!parsed.bad);
    CHECK_EQ_U64(parsed.lines, 12);
    CHECK_EQ_U64(parsed.sum, tree.nodes[0].total_ns / 1000);
    free(text);
    tree_release(&tree);
}

static void check_sum(const struct tree_row *rows, uint32_t row_count, uint64_t expected) {
    struct tree tree = tree_make(rows, row_count);
    struct export_flame flame = flame_of(&tree);
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), 0);
    struct parsed parsed = parse(text);
    CHECK(!parsed.bad);
    CHECK_EQ_U64(parsed.sum, expected);
    CHECK(parsed.least >= 1);
    free(text);
    tree_release(&tree);
}

static void test_sums(void) {
    /* Each is a third of a microsecond past: one of three is rounded up. */
    check_sum((struct tree_row[]){{.depth = 1, .function = "a", .self_ns = 1333},
                                  {.depth = 1, .function = "b", .self_ns = 1333},
                                  {.depth = 1, .function = "c", .self_ns = 1334}},
              3, 4);
    /* What waited for less than a microsecond is there, and paid for by the others. */
    check_sum((struct tree_row[]){{.depth = 1, .function = "a", .self_ns = 10600},
                                  {.depth = 1, .function = "b", .self_ns = 300},
                                  {.depth = 1, .function = "c", .self_ns = 100}},
              3, 12);
    check_sum((struct tree_row[]){{.depth = 1, .function = "a", .self_ns = 10600},
                                  {.depth = 1, .function = "b", .self_ns = 10700},
                                  {.depth = 1, .function = "c", .self_ns = 200}},
              3, 22);
    check_sum((struct tree_row[]){{.depth = 1, .function = "a", .self_ns = 1}}, 1, 1);
    check_sum((struct tree_row[]){{.depth = 1, .function = "a", .self_ns = 5000}}, 1, 5);

    enum { ROWS = 5000 };
    struct tree_row *rows = calloc(ROWS, sizeof(*rows));
    if (!rows)
        abort();
    uint64_t seed = 12345, total = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        rows[i] = (struct tree_row){.depth = 1 + i % 7, .function = "f", .self_ns = 1000 + (seed >> 40)};
        total += rows[i].self_ns;
    }
    check_sum(rows, ROWS, (total + 500) / 1000);
    free(rows);
}

/* Time of the root itself belongs to no stack, but is not lost. */
static void test_root(void) {
    struct model_tree_node root = {.total_ns = 3000, .self_ns = 3000, .count = 1};
    struct export_flame flame = {.nodes = &root, .node_count = 1};
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), 0);
    CHECK_STR(text, "[unknown] 3\n");
    free(text);
}

/* The kernel's frames are told from a program's that have the same name. */
static void test_kernel(void) {
    static const struct tree_row ROWS[] = {
        {.depth = 1, .function = "vfs_read", .module = "shop", .self_ns = 2000, .count = 1},
        {.depth = 2, .function = "do_syscall_64", .module = "[kernel]"},
        {.depth = 3, .function = "vfs_read", .module = "[kernel]", .self_ns = 7000, .count = 2},
        {.depth = 3, .label = "read", .self_ns = 3000, .count = 1},
    };
    struct tree tree = TREE_OF(ROWS);
    struct export_flame flame = flame_of(&tree);
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), 0);
    CHECK_STR(text,
              "vfs_read 2\nvfs_read;do_syscall_64_[k];vfs_read_[k] 7\nvfs_read;do_syscall_64_[k];read 3\n");
    free(text);
    tree_release(&tree);
}

static void test_failures(void) {
    struct export_flame flame = {0};
    char *text;
    size_t bytes;
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), -ENODATA);
    CHECK_EQ_U64(bytes, 0);
    free(text);
    struct model_tree_node root = {0};
    flame = (struct export_flame){.nodes = &root, .node_count = 1};
    CHECK_EQ_INT(write_to_memory(folded_write, &flame, &text, &bytes), -ENODATA);
    CHECK_EQ_U64(bytes, 0);
    free(text);

    struct tree tree = TREE_OF(TREE_SERVER);
    flame = flame_of(&tree);
    FILE *full = fopen("/dev/full", "w");
    if (CHECK(full != NULL)) {
        CHECK_EQ_INT(folded_write(&flame, full), -ENOSPC);
        fclose(full);
    }
    FILE *reader = fopen("/dev/null", "r");
    if (CHECK(reader != NULL)) {
        CHECK_EQ_INT(folded_write(&flame, reader), -EBADF);
        fclose(reader);
    }
    tree_release(&tree);
}

int main(void) {
    test_golden();
    test_hostile_names();
    test_sums();
    test_root();
    test_kernel();
    test_failures();
    return check_summary();
}
