/* SPDX-License-Identifier: MIT */
/*
 * The reports of one recording against files in tests/golden/report. After a change that is meant, run
 * this program with --update and read the difference before it is committed.
 */
#include "check.h"
#include "model/utf8.h"
#include "model/words.h"
#include "model_scene.h"
#include "schedule_scene.h"
#include "viewer/report/json.h"
#include "viewer/report/json_writer.h"
#include "viewer/report/page.h"
#include "viewer/report/text.h"

static bool update;

static char *read_all(FILE *file, size_t *ret_size) {
    char *bytes = NULL;
    size_t size = 0, got;
    rewind(file);
    do {
        bytes = realloc(bytes, size + 65536);
        got = bytes ? fread(bytes + size, 1, 65535, file) : 0;
        size += got;
    } while (got > 0);
    if (!bytes)
        abort();
    bytes[size] = '\0';
    *ret_size = size;
    return bytes;
}

/* The size of the trace's file depends on the version of zstd: its digits become '#'. */
static void mask_file_size(char *text) {
    static const struct {
        const char *mark;
        bool before; /* the number is before the mark, not behind it */
    } MARKS[] = {{"\"file_bytes\": ", false}, {" bytes/event", true}, {".trace (", false}};
    for (size_t i = 0; i < sizeof(MARKS) / sizeof(MARKS[0]); i++) {
        char *at = strstr(text, MARKS[i].mark), *from = at, *to = at;
        if (!at)
            continue;
        if (MARKS[i].before)
            while (from > text && strchr("0123456789.", from[-1]))
                from--;
        else
            for (from = to = at + strlen(MARKS[i].mark); *to && strchr("0123456789.", *to);)
                to++;
        if (to == from)
            continue;
        *from = '#';
        memmove(from + 1, to, strlen(to) + 1);
    }
}

static void print_first_difference(const char *path, const char *have, const char *want) {
    unsigned line = 1;
    size_t start = 0;
    for (size_t i = 0; have[i] && want && have[i] == want[i]; i++)
        if (have[i] == '\n') {
            line++;
            start = i + 1;
        }
    fprintf(stderr, "%s:%u: have \"%.*s\"\n", path, line, (int)strcspn(have + start, "\n"), have + start);
}

static void check_golden(const char *name, FILE *made) {
    char path[1024];
    size_t have_size, want_size = 0;
    snprintf(path, sizeof(path), "%s/tests/golden/report/%s", TEST_SOURCE_DIR, name);
    char *have = read_all(made, &have_size);
    fclose(made);
    mask_file_size(have);
    have_size = strlen(have);
    if (update) {
        FILE *file = fopen(path, "w");
        CHECK(file != NULL && fwrite(have, 1, have_size, file) == have_size);
        if (file)
            fclose(file);
    }
    FILE *file = fopen(path, "r");
    char *want = file ? read_all(file, &want_size) : NULL;
    if (file)
        fclose(file);
    if (!CHECK(want != NULL && want_size == have_size && memcmp(want, have, have_size) == 0))
        print_first_difference(path, have, want);
    free(have);
    free(want);
}

/* No line past the width, no escape code without colour. */
static void check_shape(FILE *file, unsigned width, unsigned max_lines) {
    char line[4096];
    unsigned lines = 0;
    rewind(file);
    for (; fgets(line, sizeof(line), file); lines++) {
        line[strcspn(line, "\n")] = '\0';
        if (!CHECK(utf8_width(line) <= width))
            fprintf(stderr, "too long: %s\n", line);
        CHECK(!strchr(line, '\033'));
    }
    CHECK(max_lines == 0 || lines <= max_lines);
}

/* What the scheduler tells is in both reports. */
static void check_schedule(void) {
    struct model *model = schedule_scene_open();
    if (!CHECK(model != NULL))
        return;
    FILE *file = tmpfile();
    CHECK_EQ_INT(report_text_print(model, file, NULL), 0);
    check_shape(file, 80, 0);
    check_golden("shop.txt", file);
    file = tmpfile();
    CHECK_EQ_INT(report_text_print(model, file, &(struct report_options){.width = 60}), 0);
    check_shape(file, 60, 0);
    check_golden("shop-60.txt", file);
    file = tmpfile();
    CHECK_EQ_INT(report_json_print(model, file), 0);
    check_golden("shop.json", file);
    model_free(model);
}

static void check_words(void) {
    static const char *const FUNCTIONS[][2] = {
        {"db_query", "db_query"},
        {"void f<int>(int, long) const", "void f<int>"},
        {"node::(anonymous namespace)::PlatformWorkerThread(void*)",
         "node::(anonymous namespace)::PlatformWorkerThread"},
        {"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()"},
        {"f(void (*)(int)) [clone .cold]", "f"},
        {"main::{lambda(int)#1}", "main::{lambda(int)#1}"},
        {"S::operator()", "S::operator()"},
        {"(anonymous namespace)", "(anonymous namespace)"},
        {")", ")"},
        {"", ""},
    };
    char text[128];
    for (size_t i = 0; i < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); i++)
        CHECK_STR(words_function(FUNCTIONS[i][0], text, sizeof(text)), FUNCTIONS[i][1]);
    CHECK_STR(words_time(999, text, sizeof(text)), "999 ns");
    CHECK_STR(words_time(1849999999, text, sizeof(text)), "1.8 s");
    CHECK_STR(words_time(999600, text, sizeof(text)), "1.0 ms");
    CHECK_STR(words_time(200000000000, text, sizeof(text)), "3 min 20 s");
    CHECK_STR(words_count(1234567, text, sizeof(text)), "1 234 567");
    CHECK_STR(words_count(UINT64_MAX, text, sizeof(text)), "18 446 744 073 709 551 615");
    CHECK_STR(words_share(1, 100000, text, sizeof(text)), "<0.1 %");
    CHECK_STR(words_share(1, 0, text, sizeof(text)), "-");
    CHECK_STR(words_bytes(1536, text, sizeof(text)), "1.5 KiB");
}

static void check_writer(void) {
    FILE *file = tmpfile();
    struct json_writer json;
    size_t size;
    json_begin(&json, file);
    json_object_begin(&json, NULL, JSON_LINES);
    json_string(&json, "a\"b", "x\\\x01\xff\xc3\xa4\xed\xa0\x80");
    json_array_begin(&json, "list", JSON_INLINE);
    json_number(&json, NULL, UINT64_MAX);
    json_object_begin(&json, NULL, JSON_LINES);
    json_boolean(&json, "t", true);
    json_null(&json, "n");
    json_object_end(&json);
    json_array_end(&json);
    json_array_begin(&json, "empty", JSON_LINES);
    json_array_end(&json);
    json_object_end(&json);
    json_end(&json);
    char *text = read_all(file, &size);
    CHECK_STR(text,
              "{\n"
              "  \"a\\\"b\": \"x\\\\\\u0001\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\n"
              "  \"list\": [18446744073709551615, {\"t\": true, \"n\": null}],\n"
              "  \"empty\": []\n"
              "}\n");
    free(text);
    fclose(file);
}

/* What does not fit loses what says least. */
static void check_cuts(void) {
    static const struct {
        const char *name;
        unsigned width;
        const char *expected;
    } NAMES[] = {
        {"pool_get", 8, "pool_get"},
        {"pool_get_any", 8, "pool_ge…"},
        {"node::TaskQueue<v8::Task>::Push", 25, "node::TaskQueue<…>::Push"},
        {"node::inspector::TaskQueue<v8::Task>::Push", 22, "node::…::Push"},
        {"node::inspector::TaskQueue<v8::Task>::Push", 30, "node::…::TaskQueue<…>::Push"},
        {"condition from v8::internal::Isolate", 22, "condition …::Isolate"},
        {"a_long_namespace::inner::Push", 12, "…::Push"},
        {"operator<<", 8, "operato…"},
        {"a::operator->", 12, "…::operator…"},
        {"", 5, ""},
    };
    char text[256], here[4096];
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        page_cut_name(NAMES[i].name, NAMES[i].width, text, sizeof(text));
        CHECK_STR(text, NAMES[i].expected);
        CHECK(utf8_width(text) <= NAMES[i].width);
    }
    page_place("f", "/a/build/out/../deps/uv.c", 7, 40, text, sizeof(text));
    CHECK_STR(text, "f (/a/build/deps/uv.c:7)");
    page_place("f", "/a/long/path/to/deps/uv.c", 7, 18, text, sizeof(text));
    CHECK_STR(text, "f (…/deps/uv.c:7)");
    if (CHECK(getcwd(here, sizeof(here) - 16) != NULL)) {
        page_place("f", strcat(here, "/src/x.c"), 7, 40, text, sizeof(text));
        CHECK_STR(text, "f (src/x.c:7)");
    }
}

int main(int argc, char **argv) {
    update = argc > 1 && strcmp(argv[1], "--update") == 0;
    struct model *model = model_scene_open();
    if (!CHECK(model != NULL))
        return check_summary();

    FILE *file = tmpfile();
    CHECK_EQ_INT(report_text_print(model, file, NULL), 0);
    check_shape(file, 80, 0);
    check_golden("bank.txt", file);

    file = tmpfile();
    CHECK_EQ_INT(report_text_print(model, file,
                                   &(struct report_options){.width = 60, .top_locks = 1, .show_idle = true}),
                 0);
    check_shape(file, 60, 0);
    check_golden("bank-60-idle.txt", file);

    file = tmpfile();
    CHECK_EQ_INT(report_text_print(model, file, &(struct report_options){.color = true}), 0);
    check_golden("bank-color.txt", file);

    file = tmpfile();
    CHECK_EQ_INT(
        report_summary_print(model, file, "waitscope.bank.100.trace", &(struct report_options){.width = 80}),
        0);
    check_shape(file, 80, 8);
    check_golden("bank-summary.txt", file);

    file = tmpfile();
    CHECK_EQ_INT(
        report_summary_print(model, file, "waitscope.bank.100.trace", &(struct report_options){.width = 0}),
        0);
    check_golden("bank-summary-uncut.txt", file);

    file = tmpfile();
    CHECK_EQ_INT(report_json_print(model, file), 0);
    check_golden("bank.json", file);
    model_free(model);
    check_schedule();
    check_writer();
    check_words();
    check_cuts();

    file = fopen("/dev/full", "w");
    model = model_scene_open();
    CHECK_EQ_INT(report_json_print(model, file), -5);
    fclose(file);
    model_free(model);
    return check_summary();
}
