/* Text: UTF-8, encodings, glob patterns, near misses, sizes, terminals. */
#include "unit.h"

#include "base/text.h"
#include <string.h>

static void lists_and_comparisons(void **state)
{
    _cleanup_(str_list_release) struct str_list l = {0};
    (void)state;
    str_list_sort(&l);
    str_list_add(&l, "b");
    str_list_add(&l, "\xff");
    str_list_add(&l, "a");
    str_list_sort(&l);
    assert_string_equal(l.s[0], "a");
    assert_string_equal(l.s[2], "\xff");
    assert_true(str_list_has(&l, "b"));
    assert_false(str_list_has(&l, "c"));
    assert_true(str_eq(NULL, NULL) && str_eq("a", "a"));
    assert_false(str_eq(NULL, "") || str_eq("", NULL) || str_eq("a", "b"));
    assert_true(str_starts("abc", "ab") && str_starts("abc", "") && !str_starts("a", "ab"));
    assert_true(str_ends("abc", "bc") && str_ends("abc", "") && !str_ends("c", "bc"));
}

static void utf8(void **state)
{
    static const struct {
        const char *s;
        bool valid;
    } table[] = {
        {"", true},
        {"plain text, longer than eight", true},
        {"h\u00e9 \u20ac \U0001f600 \U0010ffff", true},
        {"\ufffd", true},
        {"\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xe2\x82", false},
        {"12345678\xff", false},
        {"1234567\xc3", false},
        {"\xc3(", false},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++)
        assert_int_equal(utf8_valid(table[i].s, strlen(table[i].s)), table[i].valid);
    size_t size;
    assert_int_equal(utf8_decode("\U0001f600", 4, &size), 0x1f600);
    assert_int_equal(size, 4);
    assert_int_equal(utf8_decode("\U0001f600", 3, &size), 0xfffd);
    assert_int_equal(size, 1);
    assert_int_equal(utf8_decode("\u00e9", 2, &size), 0xe9);
    assert_int_equal(utf8_decode("\u20ac", 3, &size), 0x20ac);
    assert_int_equal(size, 3);
}

static void encodings(void **state)
{
    static const struct {
        const char *plain, *coded;
    } table[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}}; /* RFC 4648, section 10 */
    static const char *const wrong[] = {"Z",    "Zg",   "Zg=",      "Zh==",   "Zm9=",
                                        "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-v",
                                        "Zm_v", "=Zg=", "Zg=v"};
    struct err e = ERR_INIT;
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_(buf_release) struct buf a = BUF_INIT(100), b = BUF_INIT(strlen(table[i].plain));
        base64_encode(table[i].plain, strlen(table[i].plain), &a);
        assert_string_equal(buf_str(&a), table[i].coded);
        assert_int_equal(base64_decode(buf_str(&a), a.len, &b, &e), 0);
        assert_string_equal(buf_str(&b), table[i].plain);
    }
    for (size_t i = 0; i < array_len(wrong); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(100);
        assert_int_equal(base64_decode(wrong[i], strlen(wrong[i]), &b, &e), ERR_CORRUPT);
        assert_int_equal(b.len, 0);
    }
    uint8_t bytes[2000], back[2000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    _cleanup_(buf_release) struct buf coded = BUF_INIT(BUF_TEXT), plain = BUF_INIT(BUF_TEXT);
    base64_encode(bytes, sizeof bytes, &coded);
    assert_int_equal(base64_decode(buf_str(&coded), coded.len, &plain, &e), 0);
    assert_int_equal(plain.len, sizeof bytes);
    assert_memory_equal(plain.data, bytes, sizeof bytes);

    char hex[2 * sizeof bytes + 1];
    hex_encode(bytes, sizeof bytes, hex);
    assert_true(hex_decode(hex, strlen(hex), back));
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_true(hex_decode("aBcD", 4, back));
    assert_memory_equal(back, "\xab\xcd", 2);
    assert_false(hex_decode("abc", 3, back) || hex_decode("0g", 2, back) ||
                 hex_decode("-1", 2, back));
}

static void globs(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool match;
    } table[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "a/b", false},
        {"", "", true},
        {"*", "", true},
        {"*.db", "app.db", true},
        {"*.db", "dir/app.db", false},
        {"*.db", "app.dbx", false},
        {"*/*.db", "dir/app.db", true},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"?", "x", true},
        {"?", "\u00e9", true},
        {"??", "\u00e9", false},
        {"*??", "\u00e9", false},
        {"?", "/", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[^a-c]x", "ax", false},
        {"[]a]", "]", true},
        {"[a-]", "-", true},
        {"[\\]]", "]", true},
        {"[\u00e0-\u00ff]", "\u00e9", true},
        {"[abc", "[abc", true},
        {"[", "[", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\", "\\", true},
        {"**", "a", true},
        {"**", "a/b/c", true},
        {"**/*.db", "app.db", true},
        {"**/*.db", "a/b/app.db", true},
        {"**/*.db", "a/b/app.dbx", false},
        {"a/**", "a", false},
        {"a/**", "a/b", true},
        {"a/**", "a/b/c", true},
        {"a/**/b", "a/b", true},
        {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "a/x/y/c", false},
        {"a/**/b", "a", false},
        {"a/**/b/**/c", "a/b/b/x/c", true},
        {"**/node_modules/**", "x/node_modules/y/z", true},
        {"**/node_modules/**", "x/node_modules", false},
        {"a**b", "aXb", true},
        {"a**b", "aX/b", false},
        {"/etc/*", "/etc/passwd", true},
        {"**/x", "/x", true},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++)
        if (glob_match(table[i].pattern, table[i].path) != table[i].match)
            fail_msg("%s against %s", table[i].pattern, table[i].path);
}

/* Patterns that take exponential time where every star is tried again. */
static void globs_end(void **state)
{
    char path[8001];
    (void)state;
    for (size_t i = 0; i < sizeof path - 1; i++)
        path[i] = i % 2 ? '/' : 'a';
    path[sizeof path - 1] = '\0';
    assert_false(glob_match("**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b/x", path));
    memset(path, 'a', sizeof path - 1);
    assert_false(glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", path));
}

static void near_misses(void **state)
{
    static const char *const words[] = {"repository", "resources", "mirrors", "jobs", "at", "x"};
    static const struct {
        const char *word, *nearest;
    } table[] = {
        {"repositroy", "repository"},
        {"ressource", "resources"},
        {"mirors", "mirrors"},
        {"job", "jobs"},
        {"ta", "at"},
        {"jobs", "jobs"},
        {"y", NULL},
        {"", NULL},
        {"something", NULL},
        {"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", NULL},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        const char *got = text_nearest(table[i].word, words, array_len(words));
        assert_true(str_eq(got, table[i].nearest));
    }
    assert_null(text_nearest("a", NULL, 0));
}

static void sizes_written(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *out;
    } table[] = {
        {0, "0 B"},
        {512, "512 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1288490189, "1.2 GiB"},
        {1048575, "1.0 MiB"},
        {UINT64_C(1) << 40, "1.0 TiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    char out[24];
    (void)state;
    for (size_t i = 0; i < array_len(table); i++)
        assert_string_equal(size_human(table[i].bytes, out), table[i].out);
}

static void sizes_read(void **state)
{
    static const struct {
        const char *in;
        bool good;
        uint64_t bytes;
    } table[] = {
        {"4096", true, 4096},
        {"0", true, 0},
        {"10MiB", true, 10485760},
        {"1.5 GiB", true, 1610612736},
        {"64k", true, 65536},
        {"64K", true, 65536},
        {"2M", true, 2097152},
        {"10MB", true, 10000000},
        {"1kB", true, 1000},
        {"1KB", true, 1000},
        {"1KiB", true, 1024},
        {"7 B", true, 7},
        {"0.5KiB", true, 512},
        {"0.1MB", true, 100000},
        {"15EiB", true, UINT64_C(15) << 60},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"16EiB", false, 0},
        {"", false, 0},
        {"B", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1.", false, 0},
        {".5M", false, 0},
        {"1X", false, 0},
        {"1MiBs", false, 0},
        {"1Mi", false, 0},
        {"1M 2", false, 0},
        {"0x10", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        uint64_t bytes = 0;
        if (size_parse(table[i].in, &bytes) != table[i].good || bytes != table[i].bytes)
            fail_msg("%s", table[i].in);
    }
}

static void terminals(void **state)
{
    static const char in[] = "a\x1b[2J\n\u00e9\xff\x7f\xc2\x9b\0\u20ac";
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    (void)state;
    text_printable(in, sizeof in - 1, &b);
    assert_string_equal(buf_str(&b), "a\\x1b[2J\\x0a\u00e9\\xff\\x7f\\xc2\\x9b\\x00\u20ac");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_comparisons),
        cmocka_unit_test(utf8),
        cmocka_unit_test(encodings),
        cmocka_unit_test(globs),
        cmocka_unit_test(globs_end),
        cmocka_unit_test(near_misses),
        cmocka_unit_test(sizes_written),
        cmocka_unit_test(sizes_read),
        cmocka_unit_test(terminals),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
