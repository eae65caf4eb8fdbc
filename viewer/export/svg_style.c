/* SPDX-License-Identifier: MIT */
/*
 * Hues are Okabe and Ito's colour-blind-safe set (jfly.uni-koeln.de/color), each as a range of
 * lightness in which a function has its own shade. Lightness differs between the categories too,
 * and the lock nodes are dark among light frames (light among dark ones), so that the picture
 * reads without any colour. Plain class rules rather than CSS variables: other programs than
 * browsers draw the file as well.
 */
#include "viewer/export/svg_style.h"

#include <fnmatch.h>
#include <stdio.h>

#define SHADES 5U

struct shades {
    uint32_t from, to; /* 0xrrggbb */
};

static const struct category {
    const char *name;
    char letter; /* of its class names */
    struct shades light, dark;
} CATEGORIES[SVG_CATEGORY_COUNT] = {
    [SVG_APPLICATION] = {"application", 'a', {0xffbd66, 0xf29a30}, {0xa85d08, 0x8a4a04}},
    [SVG_RUNTIME] = {"C/C++ runtime", 'r', {0xc4e4fa, 0x9dcff4}, {0x2a7ab8, 0x1e5f93}},
    [SVG_NODE] = {"Node.js, V8, libuv", 'n', {0x7fd0b2, 0x57bb97}, {0x0a6b4e, 0x064f39}},
    [SVG_LIBRARY] = {"other library", 'l', {0xfdf6a8, 0xf5ea74}, {0x877c1e, 0x716714}},
    [SVG_KERNEL] = {"kernel", 'k', {0xc98ab8, 0xb672a4}, {0x7a2f66, 0x602250}},
    [SVG_UNKNOWN] = {"unknown module", 'u', {0xe9e9e9, 0xdcdcdc}, {0x4c5057, 0x3d4147}},
    [SVG_LABEL] = {"lock", 'w', {0x2a3750, 0x2a3750}, {0xdfe5f0, 0xdfe5f0}},
    [SVG_ROOT] = {"all waits", 'z', {0xd5dbe6, 0xd5dbe6}, {0x3a4250, 0x3a4250}},
    [SVG_MERGED] = {"narrow frames, merged", 'm', {0xc3cad6, 0xc3cad6}, {0x4b5463, 0x4b5463}},
};

/* The first that fits, as fnmatch() patterns of a module's base name. */
static const struct {
    const char *pattern;
    enum svg_category category;
} MODULES[] = {
    {"libc.so*", SVG_RUNTIME},    {"libc-[0-9]*", SVG_RUNTIME}, {"libpthread[.-]*", SVG_RUNTIME},
    {"libm.so*", SVG_RUNTIME},    {"libm-[0-9]*", SVG_RUNTIME}, {"libdl[.-]*", SVG_RUNTIME},
    {"librt[.-]*", SVG_RUNTIME},  {"ld-*", SVG_RUNTIME},        {"libgcc_s[.-]*", SVG_RUNTIME},
    {"libstdc++*", SVG_RUNTIME},  {"libc++*", SVG_RUNTIME},     {"libatomic.so*", SVG_RUNTIME},
    {"libgomp.so*", SVG_RUNTIME}, {"libasan.so*", SVG_RUNTIME}, {"libtsan.so*", SVG_RUNTIME},
    {"node", SVG_NODE},           {"nodejs", SVG_NODE},         {"libnode.so*", SVG_NODE},
    {"libuv.so*", SVG_NODE},      {"libv8*", SVG_NODE},         {"[[]kernel*", SVG_KERNEL},
    {"vmlinux*", SVG_KERNEL},     {"[[]vdso]", SVG_KERNEL},     {"*.so", SVG_LIBRARY},
    {"*.so.*", SVG_LIBRARY},
};

/* Code of the C++ runtime's headers, compiled into whatever uses it. */
static const char *const RUNTIME_FUNCTIONS[] = {"std::*", "__gthread_*", "__gnu_cxx::*"};

const char *svg_category_name(enum svg_category category) {
    return CATEGORIES[category].name;
}

enum svg_category svg_category_of(const struct model_tree_node *node) {
    if (node->label)
        return SVG_LABEL;
    if (!node->frame)
        return SVG_ROOT;
    for (size_t i = 0; i < sizeof(RUNTIME_FUNCTIONS) / sizeof(RUNTIME_FUNCTIONS[0]); i++)
        if (fnmatch(RUNTIME_FUNCTIONS[i], node->frame->function, 0) == 0)
            return SVG_RUNTIME;
    const char *module = node->frame->module;
    if (!module || module[0] == '\0')
        return SVG_UNKNOWN;
    for (size_t i = 0; i < sizeof(MODULES) / sizeof(MODULES[0]); i++)
        if (fnmatch(MODULES[i].pattern, module, 0) == 0)
            return MODULES[i].category;
    return SVG_APPLICATION;
}

static unsigned shade_count(const struct category *category) {
    return category->light.from == category->light.to ? 1 : SHADES;
}

void svg_class_name(enum svg_category category, const char *function, char ret_name[SVG_CLASS_BYTES]) {
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (; *function != '\0'; function++)
        hash = (hash ^ (unsigned char)*function) * 16777619U;
    unsigned shade = (hash ^ hash >> 16) % shade_count(&CATEGORIES[category]);
    snprintf(ret_name, SVG_CLASS_BYTES, "%c%u", CATEGORIES[category].letter, shade);
}

static uint32_t shade_mix(const struct shades *shades, unsigned step) {
    uint32_t colour = 0;
    for (unsigned shift = 0; shift <= 16; shift += 8) {
        uint32_t from = shades->from >> shift & 0xff, to = shades->to >> shift & 0xff;
        colour |= (from * (SHADES - 1 - step) + to * step) / (SHADES - 1) << shift;
    }
    return colour;
}

static void put_fills(struct output *out, bool dark) {
    for (unsigned i = 0; i < SVG_CATEGORY_COUNT; i++) {
        const struct category *category = &CATEGORIES[i];
        for (unsigned step = 0; step < shade_count(category); step++)
            output_format(out, ".%c%u>rect{fill:#%06x}\n", category->letter, step,
                          shade_mix(dark ? &category->dark : &category->light, step));
    }
}

/* clang-format off */
static const char BASE[] =
    "svg{background:#fff}\n"
    "text,input{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace;"
    "font-size:12px}\n"
    "text{fill:#18202e;white-space:pre}\n"
    ".page{fill:#fff}\n"
    ".heading{font:600 18px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    ".quiet{fill:#5a6474}\n"
    ".strong{font-weight:700}\n"
    "#legend rect{stroke:#0003;stroke-width:.5}\n"
    "#frames text{pointer-events:none}\n"
    ".w0>text{fill:#fff;font-weight:700}\n"
    ".m0>text{font-style:italic}\n"
    /* From here on only what the script sets. */
    ".live #frames>g{cursor:pointer}\n"
    "#frames>g:focus{outline:none}\n"
    "#frames>g:hover>rect,#frames>g:focus>rect{stroke:#18202e;stroke-width:1.5}\n"
    "#frames>g:focus-visible>rect{stroke-width:2.5}\n"
    "#frames>.off{display:none}\n"
    "#frames>.up>rect{opacity:.4}\n"
    "#frames>.up>text{fill:#18202e;font-weight:400;opacity:.75}\n"
    ".searching #frames>g:not(.hit)>rect{opacity:.25}\n"
    ".searching #frames>g:not(.hit)>text{fill:#18202e;font-weight:400;opacity:.6}\n"
    ".searching #frames>.hit>rect{fill:#6a1fd0;stroke:#6a1fd0;opacity:1}\n"
    ".searching #frames>.hit>text{fill:#fff;opacity:1}\n"
    "#tip{pointer-events:none}\n"
    "#tip rect{fill:#fff;stroke:#5a6474;filter:drop-shadow(0 2px 5px #0005)}\n"
    ".button{cursor:pointer}\n"
    ".button rect{fill:#eef1f6;stroke:#aab2c0}\n"
    ".button:focus{outline:none}\n"
    ".button:hover rect,.button:focus rect{stroke:#18202e;stroke-width:1.5}\n"
    "input{box-sizing:border-box;width:100%;height:100%;padding:0 8px;border:1px solid #aab2c0;"
    "border-radius:4px;background:#fff;color:#18202e}\n";

static const char DARK[] =
    "svg{background:#14171c}\n"
    "text{fill:#eef1f6}\n"
    ".page{fill:#14171c}\n"
    ".quiet{fill:#a3adbc}\n"
    "#legend rect{stroke:#fff4}\n"
    ".w0>text{fill:#14171c}\n"
    "#frames>g:hover>rect,#frames>g:focus>rect{stroke:#fff}\n"
    "#frames>.up>text,.searching #frames>g:not(.hit)>text{fill:#eef1f6}\n"
    ".searching #frames>.hit>rect{fill:#ffe14d;stroke:#ffe14d}\n"
    ".searching #frames>.hit>text{fill:#14171c}\n"
    "#tip rect{fill:#232830;stroke:#7b8494}\n"
    ".button rect{fill:#232830;stroke:#566070}\n"
    ".button:hover rect,.button:focus rect{stroke:#fff}\n"
    "input{border-color:#566070;background:#1c2027;color:#eef1f6;color-scheme:dark}\n";
/* clang-format on */

void svg_style_put(struct output *out) {
    put_fills(out, false);
    output_text(out, BASE);
    output_text(out, "@media (prefers-color-scheme:dark){\n");
    put_fills(out, true);
    output_text(out, DARK);
    output_text(out, "}\n");
}
