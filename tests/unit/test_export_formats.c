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
    CHECK_EQ_INT(export_kind_find("cpu", &kind), -EINVAL);
    CHECK_EQ_INT(kind, MODEL_TREE_BLAME);
    CHECK_EQ_INT(export_kind_find("wait", &kind), 0);
    CHECK_EQ_INT(kind, MODEL_TREE_WAIT);

    struct export_options options = EXPORT_OPTIONS_DEFAULT;
    CHECK(options.filter.process == MODEL_NONE && options.filter.thread == MODEL_NONE &&
          options.filter.lock == MODEL_NONE);
    CHECK(!options.filter.include_idle && !options.inverted && !options.title);
    return check_summary();
}
