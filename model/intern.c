/* SPDX-License-Identifier: MIT */
/* Strings, frames and stacks of a model, each kept once. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/internal.h"
#include "model/utf8.h"

struct string_key {
    const char *bytes;
    size_t size;
};

static bool string_equal(const void *context, uint32_t index, const void *key) {
    const struct string_key *wanted = key;
    const char *have = ((const struct model *)context)->strings[index];
    return strlen(have) == wanted->size && memcmp(have, wanted->bytes, wanted->size) == 0;
}

static const char *intern_clean(struct model *model, const char *bytes, size_t size) {
    struct string_key key = {bytes, size};
    uint64_t hash = hash_bytes(bytes, size, 0);
    uint32_t index = hash_set_find(&model->string_set, hash, string_equal, model, &key);
    if (index != UINT32_MAX)
        return model->strings[index];
    if (array_reserve(&model->strings, model->string_count, &model->string_room, sizeof(*model->strings)) < 0)
        return NULL;
    char *copy = arena_alloc(&model->arena, size + 1);
    if (!copy || hash_set_add(&model->string_set, hash, model->string_count) < 0)
        return NULL;
    memcpy(copy, bytes, size);
    copy[size] = '\0';
    model->strings[model->string_count++] = copy;
    return copy;
}

const char *intern_string(struct model *model, const char *bytes, size_t size) {
    if (size == 0)
        return intern_clean(model, "", 0);
    if (utf8_is_clean(bytes, size))
        return intern_clean(model, bytes, size);
    char buffer[1024];
    /* Cut into pieces that surely fit: a byte becomes at most three. */
    if (size <= sizeof(buffer) / 3)
        return intern_clean(model, buffer, utf8_clean(bytes, size, buffer));
    struct arena arena = {0};
    char *cleaned = arena_alloc(&arena, size * 3);
    const char *text = cleaned ? intern_clean(model, cleaned, utf8_clean(bytes, size, cleaned)) : NULL;
    arena_free(&arena);
    return text;
}

const char *intern_format(struct model *model, const char *format, ...) {
    char buffer[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    if (size < 0)
        size = 0;
    return intern_string(model, buffer, (size_t)size < sizeof(buffer) ? (size_t)size : sizeof(buffer) - 1);
}

static bool frame_equal(const void *context, uint32_t index, const void *key) {
    const struct model_frame *have = &((const struct model *)context)->frames[index]->frame, *wanted = key;
    return have->function == wanted->function && have->file == wanted->file && have->line == wanted->line &&
           have->module == wanted->module && have->inlined == wanted->inlined;
}

const struct model_frame *intern_frame(struct model *model, const struct model_frame *frame) {
    uint64_t hash = hash_mix((uintptr_t)frame->function);
    hash = hash_mix(hash ^ (uintptr_t)frame->file);
    hash = hash_mix(hash ^ (uintptr_t)frame->module);
    hash = hash_mix(hash ^ (uint64_t)frame->line << 1 ^ frame->inlined);
    uint32_t index = hash_set_find(&model->frame_set, hash, frame_equal, model, frame);
    if (index != UINT32_MAX)
        return &model->frames[index]->frame;
    if (array_reserve(&model->frames, model->frame_count, &model->frame_room, sizeof(*model->frames)) < 0)
        return NULL;
    struct frame_entry *entry = arena_alloc(&model->arena, sizeof(*entry));
    if (!entry || hash_set_add(&model->frame_set, hash, model->frame_count) < 0)
        return NULL;
    *entry = (struct frame_entry){.frame = *frame, .stack = MODEL_NONE};
    entry->nature = (uint8_t)frame_nature_of(frame);
    model->frames[model->frame_count++] = entry;
    return &entry->frame;
}

static bool stack_equal(const void *context, uint32_t index, const void *key) {
    const struct model_stack *have = &((const struct model *)context)->stacks[index], *wanted = key;
    return have->frame_count == wanted->frame_count &&
           memcmp(have->frames, wanted->frames, wanted->frame_count * sizeof(*wanted->frames)) == 0;
}

uint32_t model_stack_intern(struct model *model, const struct model_frame *const *frames, uint32_t count,
                            uint32_t flags) {
    struct model_stack key = {.frame_count = count, .frames = frames, .flags = flags};
    uint64_t hash = hash_bytes(frames, count * sizeof(*frames), 1);
    uint32_t index = hash_set_find(&model->stack_set, hash, stack_equal, model, &key);
    if (index != UINT32_MAX) {
        model->stacks[index].flags |= flags;
        return index;
    }
    if (array_reserve(&model->stacks, model->stack_count, &model->stack_room, sizeof(*model->stacks)) < 0)
        return MODEL_NONE;
    const struct model_frame **copy = arena_alloc(&model->arena, count * sizeof(*copy));
    if (!copy || hash_set_add(&model->stack_set, hash, model->stack_count) < 0)
        return MODEL_NONE;
    memcpy(copy, frames, count * sizeof(*copy));
    key.frames = copy;
    model->stacks[model->stack_count] = key;
    return model->stack_count++;
}

uint32_t intern_stand_in(struct model *model, const char *text) {
    struct model_frame frame = {.function = intern_string(model, text, strlen(text))};
    const struct model_frame *interned = frame.function ? intern_frame(model, &frame) : NULL;
    return interned ? model_stack_intern(model, &interned, 1, 0) : MODEL_NONE;
}
