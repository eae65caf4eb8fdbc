/* SPDX-License-Identifier: MIT */
/* What the files of the JSON report share. */
#ifndef WAITSCOPE_VIEWER_REPORT_JSON_PART_H
#define WAITSCOPE_VIEWER_REPORT_JSON_PART_H

#include "model/model.h"
#include "viewer/report/json_writer.h"

/* "running" and its like, by enum model_state. */
extern const char *const JSON_STATE_NAMES[MODEL_STATE_COUNT];

/* A list of frames; NULL: an empty one. */
void json_stack(struct json_writer *json, const char *key, const struct model_stack *stack);
/* The members of a thread, of a lock and of the whole that come from the scheduler; nothing where it told
 * nothing. */
void json_thread_schedule(struct json_writer *json, const struct model *model,
                          const struct model_schedule *schedule);
void json_lock_holders(struct json_writer *json, const struct model *model, const struct model_lock *lock);
void json_kernel(struct json_writer *json, const struct model *model);
void json_stack_ends(struct json_writer *json, const struct model *model,
                     uint64_t (*ends)(const struct model *, enum model_stack_end));

#endif
