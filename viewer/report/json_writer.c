/* SPDX-License-Identifier: MIT */
#include "viewer/report/json_writer.h"

#include <inttypes.h>
#include <string.h>

#include "model/utf8.h"

/* Bytes at the beginning that stand for themselves. */
static size_t plain_bytes(const char *text, size_t size) {
    size_t i = 0;
    while (i < size && text[i] >= 0x20 && text[i] < 0x7f && text[i] != '"' && text[i] != '\\')
        i++;
    return i;
}

static void write_text(FILE *file, const char *text) {
    size_t size = strlen(text);
    putc('"', file);
    for (size_t i = 0; i < size;) {
        size_t plain = plain_bytes(text + i, size - i);
        if (plain > 0) {
            fwrite(text + i, 1, plain, file);
            i += plain;
            continue;
        }
        unsigned char byte = (unsigned char)text[i];
        size_t bytes = utf8_character(text + i, size - i);
        if (bytes == 0)
            fputs("\xef\xbf\xbd", file);
        else if (byte == '"' || byte == '\\')
            fprintf(file, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            fprintf(file, "\\u%04x", byte);
        else
            fwrite(text + i, 1, bytes, file);
        i += bytes ? bytes : 1;
    }
    putc('"', file);
}

static void write_break(struct json_writer *writer) {
    if (writer->inline_depth != 0 || writer->depth == 0)
        return;
    putc('\n', writer->file);
    for (unsigned i = 0; i < writer->depth; i++)
        fputs("  ", writer->file);
}

/* What goes before a value: a comma, a line break, its key. */
static void write_lead(struct json_writer *writer, const char *key) {
    if (writer->begun[writer->depth])
        fputs(writer->inline_depth != 0 ? ", " : ",", writer->file);
    writer->begun[writer->depth] = true;
    write_break(writer);
    if (key) {
        write_text(writer->file, key);
        fputs(": ", writer->file);
    }
}

void json_begin(struct json_writer *writer, FILE *file) {
    *writer = (struct json_writer){.file = file};
}

void json_end(struct json_writer *writer) {
    putc('\n', writer->file);
}

static void container_begin(struct json_writer *writer, const char *key, enum json_layout layout,
                            char bracket) {
    write_lead(writer, key);
    putc(bracket, writer->file);
    if (writer->depth < JSON_DEPTH_MAX)
        writer->depth++;
    writer->begun[writer->depth] = false;
    if (layout == JSON_INLINE && writer->inline_depth == 0)
        writer->inline_depth = writer->depth;
}

static void container_end(struct json_writer *writer, char bracket) {
    bool empty = !writer->begun[writer->depth], was_inline = writer->inline_depth != 0;
    if (writer->inline_depth == writer->depth)
        writer->inline_depth = 0;
    if (writer->depth > 0)
        writer->depth--;
    if (!empty && !was_inline) {
        if (writer->depth == 0)
            putc('\n', writer->file);
        write_break(writer);
    }
    putc(bracket, writer->file);
}

void json_object_begin(struct json_writer *writer, const char *key, enum json_layout layout) {
    container_begin(writer, key, layout, '{');
}

void json_object_end(struct json_writer *writer) {
    container_end(writer, '}');
}

void json_array_begin(struct json_writer *writer, const char *key, enum json_layout layout) {
    container_begin(writer, key, layout, '[');
}

void json_array_end(struct json_writer *writer) {
    container_end(writer, ']');
}

void json_string(struct json_writer *writer, const char *key, const char *value) {
    write_lead(writer, key);
    if (value)
        write_text(writer->file, value);
    else
        fputs("null", writer->file);
}

void json_number(struct json_writer *writer, const char *key, uint64_t value) {
    write_lead(writer, key);
    fprintf(writer->file, "%" PRIu64, value);
}

void json_boolean(struct json_writer *writer, const char *key, bool value) {
    write_lead(writer, key);
    fputs(value ? "true" : "false", writer->file);
}

void json_null(struct json_writer *writer, const char *key) {
    json_string(writer, key, NULL);
}
