/* SPDX-License-Identifier: MIT */
/* The report as JSON, for programs: docs/report-json.md says what is in it and what stays as it is. */
#ifndef WAITSCOPE_VIEWER_REPORT_JSON_H
#define WAITSCOPE_VIEWER_REPORT_JSON_H

#include <stdio.h>

#include "model/model.h"

/* Returns 0, -ENOMEM, or -EIO where the file took not all of it. Flushes, does not close. */
int report_json_print(const struct model *model, FILE *file);

#endif
