/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "viewer/export/text.h"

static void check_time(uint64_t ns, const char *expected) {
    char text[TEXT_TIME_BYTES];
    text_time(ns, text);
    CHECK_STR(text, expected);
}

static void check_share(uint64_t part, uint64_t whole, const char *expected) {
    char text[TEXT_SHARE_BYTES];
    text_share(part, whole, text);
    CHECK_STR(text, expected);
}

static void check_clean(const char *name, const char *expected) {
    char clean[256];
    size_t length = 0;
    uint32_t character;
    while ((character = text_next(&name)) != 0 && length + 5 < sizeof(clean))
        length += text_encode(character, &clean[length]);
    clean[length] = '\0';
    CHECK_STR(clean, expected);
}

int main(void) {
    check_time(0, "0");
    check_time(1, "1 ns");
    check_time(999, "999 ns");
    check_time(1000, "1.00 µs");
    check_time(12345, "12.3 µs");
    check_time(999499, "999 µs");
    check_time(999500, "1.00 ms");
    check_time(999499999, "999 ms");
    check_time(999500000, "1.00 s");
    check_time(9994999999, "9.99 s");
    check_time(9995000000, "10.0 s");
    check_time(125400000000, "125 s");
    check_time(UINT64_MAX, "18446744074 s");

    check_share(0, 0, "0 %");
    check_share(0, 5, "0 %");
    check_share(1, 100000, "< 0.01 %");
    check_share(1, 10000, "0.01 %");
    check_share(451, 10000, "4.51 %");
    check_share(99949, 100000, "99.9 %");
    check_share(99951, 100000, "100 %");
    check_share(7, 7, "100 %");
    check_share(UINT64_MAX, 1, "> 999 %");

    check_clean("plain name(int*)", "plain name(int*)");
    check_clean("ä鎖🔒", "ä鎖🔒");
    check_clean("a\tb\nc\rd", "a b c d");
    check_clean("\x01|\x1b|\x7f|\xc2\x85", "�|�|�|�");
    check_clean("\xff|\x80|\xc3", "�|�|�");
    check_clean("\xc0\xaf|\xe0\x80\x80", "��|���");           /* overlong */
    check_clean("\xed\xa0\x80|\xf4\x90\x80\x80", "���|����"); /* a surrogate; past U+10FFFF */
    check_clean("\xe2\x82", "��");                            /* cut short by the end */
    check_clean("\xef\xbf\xbe|\xef\xbf\xbf|\xf0\x9f\xbf\xbe", "�|�|�");
    check_clean("\xe2\x80\xae|\xe2\x81\xa6|\xef\xbb\xbf", "�|�|�");

    CHECK_EQ_INT(text_width(""), 0);
    CHECK_EQ_INT(text_width("abc"), 3);
    CHECK_EQ_INT(text_width("鎖🔒"), 4);
    CHECK_EQ_INT(text_width("e\xcc\x81"), 1);
    CHECK_STR(text_base_name("/a/b/c.c"), "c.c");
    CHECK_STR(text_base_name("c.c"), "c.c");
    CHECK_STR(text_base_name("/a/"), "/a/");
    return check_summary();
}
