/* SPDX-License-Identifier: MIT */
/*
 * Folded stacks, as stackcollapse-*.pl write them: "root;caller;leaf 123", one line for each stack
 * that waited itself, in microseconds.
 *
 * flamegraph.pl and difffolded.pl take a line apart with /^(.*)\s+?(\d+(?:\.\d*)?)$/, twice: a second
 * number before the count would be read as the first column of a differential. So a name that ends
 * in a space and a number ("worker 3") gets '_' for that space; ';' becomes ':' as in
 * stackcollapse-perf.pl, and the kernel's functions end in "_[k]" as with its --kernel.
 *
 * Counts are nanoseconds rounded down or up to a microsecond, never further off, and at least 1, so
 * that no stack that waited disappears. Which are rounded up is chosen by the largest remainder, so
 * that the counts sum to the rounded total; only where the stacks below one microsecond are more
 * than the rest can make up for is the sum larger, by less than 1 µs for each of those.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "viewer/export/flame.h"
#include "viewer/export/output.h"
#include "viewer/export/text.h"

#define NS_PER_COUNT 1000U

/* Which remainders are rounded up: all above `limit`, and the first `ties` that equal it. */
struct folded_rounding {
    uint32_t limit;
    uint64_t ties;
};

static struct folded_rounding folded_rounding_choose(const struct export_flame *flame) {
    uint64_t nodes_of[NS_PER_COUNT] = {0}; /* by remainder */
    uint64_t lost = 0;                     /* ns, if all were rounded down */
    uint64_t forced = 0;                   /* stacks that are rounded up whatever is chosen */
    for (uint32_t i = 0; i < flame->node_count; i++) {
        uint64_t self = flame->nodes[i].self_ns;
        lost += self % NS_PER_COUNT;
        if (self >= NS_PER_COUNT)
            nodes_of[self % NS_PER_COUNT]++;
        else if (self > 0)
            forced++;
    }
    uint64_t wanted = (lost + NS_PER_COUNT / 2) / NS_PER_COUNT;
    uint64_t up = wanted > forced ? wanted - forced : 0;
    struct folded_rounding rounding = {.limit = NS_PER_COUNT, .ties = 0};
    while (up > 0 && rounding.limit > 1) {
        rounding.limit--;
        rounding.ties = up < nodes_of[rounding.limit] ? up : nodes_of[rounding.limit];
        up -= rounding.ties;
    }
    return rounding;
}

static uint64_t folded_count(struct folded_rounding *rounding, uint64_t self_ns) {
    uint64_t count = self_ns / NS_PER_COUNT, remainder = self_ns % NS_PER_COUNT;
    if (count == 0)
        return 1;
    if (remainder > rounding->limit)
        return count + 1;
    if (remainder == rounding->limit && rounding->ties > 0) {
        rounding->ties--;
        return count + 1;
    }
    return count;
}

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

/* The space of a trailing " 12" or " 1.5", NULL if the name does not end so. */
static char *folded_number_at_end(char *name, size_t length) {
    size_t digits = length;
    while (digits > 0 && is_digit(name[digits - 1]))
        digits--;
    if (digits > 1 && name[digits - 1] == '.' && is_digit(name[digits - 2])) {
        digits--;
        while (digits > 0 && is_digit(name[digits - 1]))
            digits--;
    }
    return digits < length && digits > 0 && name[digits - 1] == ' ' ? &name[digits - 1] : NULL;
}

/* Names longer than this are cut: a frame of folded stacks is a label, and hostile ones have no end. */
#define NAME_BYTES 4096

static bool is_kernel(const struct model_frame *frame) {
    return frame && frame->module && strncmp(frame->module, "[kernel", strlen("[kernel")) == 0;
}

static void folded_put_name(struct output *out, const struct model_tree_node *node) {
    const char *name = export_node_name(node);
    char clean[NAME_BYTES];
    size_t length = 0;
    uint32_t character;
    while (length + 4 <= sizeof(clean) && (character = text_next(&name)) != 0) {
        if (character == ';')
            character = ':';
        if (character == ' ' && (length == 0 || clean[length - 1] == ' '))
            continue;
        length += text_encode(character, &clean[length]);
    }
    while (length > 0 && clean[length - 1] == ' ')
        length--;
    char *space = folded_number_at_end(clean, length);
    if (space)
        *space = '_';
    if (length > 0)
        output_bytes(out, clean, length);
    else
        output_text(out, "[unknown]");
    if (is_kernel(node->frame))
        output_text(out, "_[k]");
}

static void folded_put_stack(struct output *out, const struct model_tree_node *nodes, uint32_t node,
                             uint32_t *path) {
    uint32_t depth = 0;
    for (uint32_t i = node; i != 0; i = nodes[i].parent)
        path[depth++] = i;
    if (depth == 0) /* time that no stack is known for */
        output_text(out, "[unknown]");
    while (depth > 0) {
        folded_put_name(out, &nodes[path[--depth]]);
        if (depth > 0)
            output_text(out, ";");
    }
}

int folded_write(const struct export_flame *flame, FILE *file) {
    if (export_flame_is_empty(flame))
        return -ENODATA;
    uint32_t deepest = 0;
    for (uint32_t i = 0; i < flame->node_count; i++)
        if (flame->nodes[i].depth > deepest)
            deepest = flame->nodes[i].depth;
    uint32_t *path = malloc(((size_t)deepest + 1) * sizeof(*path));
    if (!path)
        return -ENOMEM;

    struct folded_rounding rounding = folded_rounding_choose(flame);
    struct output out = {.file = file};
    for (uint32_t i = 0; i < flame->node_count && out.error == 0; i++) {
        uint64_t self = flame->nodes[i].self_ns;
        if (self == 0)
            continue;
        folded_put_stack(&out, flame->nodes, i, path);
        output_format(&out, " %" PRIu64 "\n", folded_count(&rounding, self));
    }
    free(path);
    return output_finish(&out);
}
