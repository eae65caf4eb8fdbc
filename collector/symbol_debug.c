/* SPDX-License-Identifier: MIT */
/*
 * Separate debug files, in the places that GDB documents ("Debugging Information in Separate
 * Files"): <root>/.build-id/xx/yyyy.debug, then by .gnu_debuglink beside the file, in .debug/ beside
 * it, and below <root>. A build id must be equal and a link's CRC must match.
 */
#include "collector/symbol_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct symbol_image *load_by_id(const struct symbolizer *symbolizer, bool supplement,
                                       const unsigned char *id, size_t id_size, char **ret_path) {
    char hex[2 * SYMBOL_BUILD_ID_MAX + 1];
    if (id_size < 2)
        return NULL;
    for (size_t i = 0; i < id_size; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    for (size_t i = 0; symbolizer->roots[i]; i++) {
        char *path;
        struct symbol_image *image;
        if (asprintf(&path, "%s/.build-id/%.2s/%s.debug", symbolizer->roots[i], hex, hex + 2) < 0)
            return NULL;
        if (symbol_image_load(path, supplement, NULL, &image) == 0) {
            if (image->build_id_size == id_size && memcmp(image->build_id, id, id_size) == 0) {
                *ret_path = path;
                return image;
            }
            symbol_image_free(image);
        }
        free(path);
    }
    return NULL;
}

static struct symbol_image *load_by_crc(const char *root, const char *directory, const char *between,
                                        const char *name, uint32_t crc, char **ret_path) {
    char *path;
    struct symbol_image *image;
    if (asprintf(&path, "%s%s%s/%s", root, directory, between, name) < 0)
        return NULL;
    if (symbol_image_load(path, false, &crc, &image) == 0) {
        *ret_path = path;
        return image;
    }
    free(path);
    return NULL;
}

/* The directory of path with symbolic links resolved (/lib is one), as debug trees are laid out;
 * caller frees. */
static char *directory_of(const char *path, bool resolve) {
    char *whole = resolve ? realpath(path, NULL) : strdup(path);
    if (!whole)
        return NULL;
    char *slash = strrchr(whole, '/');
    if (slash)
        *slash = '\0';
    else
        strcpy(whole, *whole ? "." : "");
    return whole;
}

static struct symbol_image *load_by_link(const struct symbolizer *symbolizer,
                                         const struct symbol_image *image, const char *directory,
                                         char **ret_path) {
    const char *name = image->debuglink;
    uint32_t crc = image->debuglink_crc;
    struct symbol_image *debug = load_by_crc("", directory, "", name, crc, ret_path);
    if (!debug)
        debug = load_by_crc("", directory, "/.debug", name, crc, ret_path);
    for (size_t i = 0; !debug && symbolizer->roots[i]; i++)
        debug = load_by_crc(symbolizer->roots[i], directory, "", name, crc, ret_path);
    return debug;
}

struct symbol_image *symbol_debug_find(const struct symbolizer *symbolizer, const struct symbol_image *image,
                                       const char *path, char **ret_path) {
    struct symbol_image *debug =
        load_by_id(symbolizer, false, image->build_id, image->build_id_size, ret_path);
    if (debug || !image->debuglink || strchr(image->debuglink, '/'))
        return debug;
    for (int resolve = 0; resolve < 2 && !debug; resolve++) {
        char *directory = directory_of(path, resolve);
        if (directory)
            debug = load_by_link(symbolizer, image, directory, ret_path);
        free(directory);
    }
    return debug;
}

struct symbol_image *symbol_debug_alt(const struct symbolizer *symbolizer, const struct symbol_image *image,
                                      const char *path) {
    if (!image->altlink)
        return NULL;
    char *found_path = NULL;
    struct symbol_image *alt =
        load_by_id(symbolizer, true, image->altlink_id, image->altlink_id_size, &found_path);
    free(found_path);
    if (alt)
        return alt;

    char *name = NULL;
    char *directory = directory_of(path, true);
    if (image->altlink[0] == '/')
        name = strdup(image->altlink);
    else if (directory && asprintf(&name, "%s/%s", directory, image->altlink) < 0)
        name = NULL;
    free(directory);
    if (name && symbol_image_load(name, true, NULL, &alt) == 0 &&
        (alt->build_id_size != image->altlink_id_size ||
         memcmp(alt->build_id, image->altlink_id, alt->build_id_size) != 0)) {
        symbol_image_free(alt);
        alt = NULL;
    }
    free(name);
    return alt;
}
