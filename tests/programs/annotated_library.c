/* SPDX-License-Identifier: MIT */
#include "annotated_library.h"

#include <waitscope.h>

void annotated_library_work(void) {
    waitscope_region_begin("in a library");
    waitscope_region_end();
}
