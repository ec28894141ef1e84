/* Quoting of names, beside what Go's strconv says of them. */
#include "base/buf.h"
#include "repo/tree_int.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Quoted as restic 0.14 (Go 1.19) wrote these very names. */
static const struct {
    const char *plain, *quoted;
} both_ways[] = {
    {"plain", "plain"},
    {"with space", "with space"},
    {"'single' `tick` <&> a%b", "'single' `tick` <&> a%b"},
    {"quote\"x", "quote\\\"x"},
    {"back\\slash", "back\\\\slash"},
    {"\a\b\f\n\r\t\v", "\\a\\b\\f\\n\\r\\t\\v"},
    {"\x01"
     "ctl\x7f",
     "\\x01ctl\\x7f"},
    {"bad\xff\xfeutf", "bad\\xff\\xfeutf"},
    {"\xe0\xb8", "\\xe0\\xb8"},
    {"\xed\xa0\x80sur", "\\xed\\xa0\\x80sur"},
    {"\xc0\xaf", "\\xc0\\xaf"},
    {"caf\xc3\xa9", "caf\xc3\xa9"},
    {"\xef\xbf\xbdrepl", "\xef\xbf\xbdrepl"},
    {"\xc2\x80", "\\u0080"},
    {"\xc2\xa0nbsp", "\\u00a0nbsp"},
    {"\xc2\xadshy", "\\u00adshy"},
    {"\xe2\x80\xa8ls", "\\u2028ls"},
    {"\xe3\x80\x80ideo", "\\u3000ideo"},
    {"\xef\xbb\xbf"
     "bom",
     "\\ufeffbom"},
    {"\xee\x80\x80private", "\\ue000private"},
    {"\xf0\x9f\x98\x80 emoji", "\xf0\x9f\x98\x80 emoji"},
    {"\xf0\x9f\xab\xa0 of Unicode 14", "\\U0001fae0 of Unicode 14"},
    {"\xf3\xa0\x80\x81tag", "\\U000e0001tag"},
    {"\xf4\x8f\xbf\xbf", "\\U0010ffff"},
    {"", ""},
};

static void quotes_as_go(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < array_len(both_ways); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(4096);
        assert_int_equal(0, quote(both_ways[i].plain, strlen(both_ways[i].plain), &b, &e));
        assert_string_equal(buf_str(&b), both_ways[i].quoted);
        assert_int_equal(0, unquote(both_ways[i].quoted, strlen(both_ways[i].quoted), &b, &e));
        assert_string_equal(buf_str(&b), both_ways[i].plain);
    }
}

static void unquotes_what_go_accepts(void **state)
{
    (void)state;
    static const struct {
        const char *quoted, *plain;
    } good[] = {
        {"\\101\\377", "A\xff"},
        {"\\x4a\\x4A", "JJ"},
        {"\\u00e9\\U0001F600", "\xc3\xa9\xf0\x9f\x98\x80"},
        {"it's", "it's"},
        {"\xff", "\xef\xbf\xbd"}, /* as Go: a bare invalid byte is U+FFFD */
        {"tab\t", "tab\t"},
    };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < array_len(good); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(4096);
        assert_int_equal(0, unquote(good[i].quoted, strlen(good[i].quoted), &b, &e));
        assert_string_equal(buf_str(&b), good[i].plain);
    }
    static const char *const bad[] = {
        "\\",    "a\\",   "\\'",     "\"",      "a\nb",        "\\x4",
        "\\xg0", "\\u12", "\\ud800", "\\udfff", "\\U00110000", "\\U1234567",
        "\\400", "\\18",  "\\8",     "\\z",     "\\0",
    };
    for (size_t i = 0; i < array_len(bad); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(4096);
        assert_int_equal(ERR_CORRUPT, unquote(bad[i], strlen(bad[i]), &b, &e));
    }
}

static void every_byte_survives(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    unsigned seed = 7;
    for (int round = 0; round < 2000; round++) {
        char name[40];
        for (size_t i = 0; i < sizeof name; i++) {
            seed = seed * 1103515245 + 12345;
            name[i] = (char)(seed >> 16);
        }
        _cleanup_(buf_release) struct buf q = BUF_INIT(4096), b = BUF_INIT(4096);
        assert_int_equal(0, quote(name, sizeof name, &q, &e));
        assert_int_equal(0, unquote(buf_str(&q), q.len, &b, &e));
        assert_int_equal(b.len, sizeof name);
        assert_memory_equal(b.data, name, sizeof name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_as_go),
        cmocka_unit_test(unquotes_what_go_accepts),
        cmocka_unit_test(every_byte_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
