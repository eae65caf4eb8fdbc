/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "check.h"
#include "viewer/export/export.h"

int main(void) {
    unsigned count = 0;
    for (const struct export_format *format = export_formats; format->name; format++, count++) {
        CHECK(export_format_find(format->name) == format); /* so no name is there twice */
        CHECK(format->extension[0] != '\0' && !strchr(format->extension, '.'));
        CHECK(format->description[0] != '\0');
        CHECK(format->write != NULL);
    }
    CHECK(count > 0);
    CHECK(export_format_find("svg") != NULL);
    CHECK(export_format_find("folded") != NULL);
    CHECK(export_format_find("") == NULL);
    CHECK(export_format_find("SVG") == NULL);

    enum model_tree_kind kind = MODEL_TREE_WAIT;
    CHECK_EQ_INT(export_kind_find("blame", &kind), 0);
    CHECK_EQ_INT(kind, MODEL_TREE_BLAME);
    CHECK_EQ_INT(export_kind_find("CPU", &kind), -EINVAL);
    CHECK_EQ_INT(kind, MODEL_TREE_BLAME);
    static const char *const NAMES[MODEL_TREE_COUNT] = {"wait", "blame", "cpu", "offcpu", "offwake"};
    for (unsigned i = 0; i < MODEL_TREE_COUNT; i++) {
        CHECK_EQ_INT(export_kind_find(NAMES[i], &kind), 0);
        CHECK_EQ_INT(kind, i);
    }

    struct export_options options = EXPORT_OPTIONS_DEFAULT;
    CHECK(options.filter.process == MODEL_NONE && options.filter.thread == MODEL_NONE &&
          options.filter.lock == MODEL_NONE);
    CHECK(!options.filter.include_idle && !options.inverted && !options.title);
    return check_summary();
}
