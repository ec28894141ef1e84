/* The JSON reader: values, strings with every escape, malformed documents, sticky errors. */
#include "unit.h"

#include "base/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each test copies its input to memory of exactly that size, so that the address sanitizer sees a
 * read past its end. */
static char *exact(const char *s, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, s, len);
    return copy;
}

static void strings(void **state)
{
    static const struct {
        const char *in, *out;
        size_t len;
    } table[] = {
        {"\"\"", "", 0},
        {"  \"abc\" ", "abc", 3},
        {"\"0123456789abcdef0123456789abcdef\"", "0123456789abcdef0123456789abcdef", 32},
        {"\"01234567\\n\"", "01234567\n", 9},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\u00e9\u20ac", 6},
        {"\"\\ud83d\\ude00\"", "\U0001f600", 4},
        {"\"\\uD83D\\uDE00x\"", "\U0001f600x", 5},
        {"\"\\udbff\\udfff\"", "\U0010ffff", 4},
        {"\"\\ud83d\"", "\ufffd", 3},
        {"\"\\ude00\"", "\ufffd", 3},
        {"\"\\ud83dx\"", "\ufffdx", 4},
        {"\"\\ud83d\\n\"", "\ufffd\n", 4},
        {"\"\\ud83d\\ud83d\\ude00\"", "\ufffd\U0001f600", 7},
        {"\"\\ude00\\ud83d\"", "\ufffd\ufffd", 6},
        {"\"\\u0000x\"", "\0x", 2},
        {"\"h\u00e9llo \u4e16\U0001f600\"", "h\u00e9llo \u4e16\U0001f600", 14},
        {"\"\x7f\"", "\x7f", 1},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_free_ char *in = exact(table[i].in, strlen(table[i].in));
        struct json_in j;
        struct err e = ERR_INIT;
        size_t len;
        json_in_init(&j, in, strlen(table[i].in));
        const char *s = json_get_string(&j, &len);
        assert_int_equal(len, table[i].len);
        assert_memory_equal(s, table[i].out, len + 1);
        assert_int_equal(json_in_finish(&j, "test", &e), 0);
    }
}

static const char *const malformed[] = {
    "",
    " ",
    "{",
    "}",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1}",
    "{]",
    "{1:2}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{\"a\":1 \"b\":2}",
    "{,\"a\":1}",
    "{a:1}",
    "{'a':1}",
    "\"",
    "\"abc",
    "\"abcdefgh",
    "\"\\",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\u123",
    "\"\\u+123\"",
    "\"a\nb\"",
    "\"a\x01\"",
    "\"01234567\x1f\"",
    "\"\xff\"",
    "\"\xc3\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "\"\xf8\x88\x80\x80\x80\"",
    "01",
    "-",
    "-01",
    "+1",
    ".5",
    "1.",
    "1.e3",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "Infinity",
    "NaN",
    "nul",
    "nulll",
    "tru",
    "True",
    "falsey",
    "null null",
    "1 2",
    "{} {}",
    "[] ,",
    "\xef\xbb\xbf{}",
    "// x\n1",
    "/* x */ 1",
    "\v1",
};

static void malformed_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_len(malformed); i++) {
        size_t len = strlen(malformed[i]);
        _cleanup_free_ char *in = exact(malformed[i], len);
        struct json_in j;
        struct err e = ERR_INIT;
        json_in_init(&j, in, len);
        json_skip(&j);
        if (json_in_finish(&j, "test", &e) != ERR_CORRUPT)
            fail_msg("accepted: %s", malformed[i]);
        assert_memory_equal(e.msg, "test: ", 6);
    }
}

#define DOCUMENT                                                                                   \
    "{\"time\":\"2026-11-20T02:00:07.5+02:00\",\"n\":[1,-2,3.5e2,true,false,null],"                \
    "\"deep\":{\"a\":[[{\"b\":\"\\u00e9\"}]]},\"s\":\"\xc3\xa9 text\"}"

static void skipped_whole_and_cut(void **state)
{
    const char *text = DOCUMENT;
    struct json_in j;
    struct err e = ERR_INIT;
    (void)state;
    for (size_t len = 0; len <= strlen(text); len++) {
        _cleanup_free_ char *in = exact(text, len);
        json_in_init(&j, in, len);
        json_skip(&j);
        int rc = json_in_finish(&j, "test", &e);
        assert_int_equal(rc, len < strlen(text) ? ERR_CORRUPT : 0);
    }
}

static void every_altered_byte_ends(void **state)
{
    (void)state;
    size_t len = strlen(DOCUMENT);
    for (size_t at = 0; at < len; at++) {
        for (int c = 0; c < 256; c++) {
            _cleanup_free_ char *in = exact(DOCUMENT, len);
            struct json_in j;
            struct err e = ERR_INIT;
            const char *key;
            in[at] = (char)c;
            json_in_init(&j, in, len);
            json_object(&j);
            while ((key = json_next_key(&j)) != NULL) {
                if (strcmp(key, "time") == 0)
                    (void)json_get_time(&j);
                else if (strcmp(key, "s") == 0)
                    (void)json_get_string(&j, NULL);
                else
                    json_skip(&j);
            }
            int rc = json_in_finish(&j, "test", &e); /* either is right; it ends */
            assert_true(rc == 0 || rc == ERR_CORRUPT);
        }
    }
}

static void nesting(void **state)
{
    static const int depths[] = {1, 63, 64, 65, 100000};
    (void)state;
    for (size_t i = 0; i < array_len(depths); i++) {
        for (int objects = 0; objects < 2; objects++) {
            _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_JSON);
            struct json_in j;
            struct err e = ERR_INIT;
            for (int k = 0; k < depths[i]; k++)
                buf_adds(&b, objects ? "{\"a\":" : "[");
            buf_adds(&b, "1");
            for (int k = 0; k < depths[i]; k++)
                buf_adds(&b, objects ? "}" : "]");
            json_in_init(&j, b.data, b.len);
            json_skip(&j);
            assert_int_equal(json_in_finish(&j, "test", &e), depths[i] > 64 ? ERR_CORRUPT : 0);
        }
    }
}

static void whole_numbers(void **state)
{
    static const struct {
        const char *in;
        bool u_ok, i_ok;
        uint64_t u;
        int64_t i;
    } table[] = {
        {"0", true, true, 0, 0},
        {"42", true, true, 42, 42},
        {"-0", false, true, 0, 0},
        {"-1", false, true, 0, -1},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", true, false, (uint64_t)INT64_MAX + 1, 0},
        {"-9223372036854775808", false, true, 0, INT64_MIN},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", true, false, UINT64_MAX, 0},
        {"18446744073709551616", false, false, 0, 0},
        {"99999999999999999999999999999999999999", false, false, 0, 0},
        {"1.0", false, false, 0, 0},
        {"1e3", false, false, 0, 0},
        {"00", false, false, 0, 0},
        {"--1", false, false, 0, 0},
        {"-", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
        {"", false, false, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_free_ char *in = exact(table[i].in, strlen(table[i].in));
        struct json_in j;
        struct err e = ERR_INIT;
        json_in_init(&j, in, strlen(table[i].in));
        assert_true(json_get_u64(&j) == table[i].u);
        assert_int_equal(json_in_finish(&j, "test", &e) == 0, table[i].u_ok);
        json_in_init(&j, in, strlen(table[i].in));
        assert_true(json_get_i64(&j) == table[i].i);
        assert_int_equal(json_in_finish(&j, "test", &e) == 0, table[i].i_ok);
    }
}

static void doubles(void **state)
{
    _cleanup_(buf_release) struct buf digits = BUF_INIT(BUF_TEXT);
    struct json_in j;
    struct err e = ERR_INIT;
    (void)state;
    json_in_init(&j, "[1.5,-2e-3,1E+2,0,1e400]", 24);
    json_array(&j);
    double expected[] = {1.5, -0.002, 100, 0};
    for (size_t i = 0; i < array_len(expected); i++) {
        assert_true(json_next_item(&j));
        assert_true(json_get_double(&j) == expected[i]);
    }
    assert_true(json_next_item(&j));
    assert_true(json_get_double(&j) == 0);
    assert_int_equal(json_in_finish(&j, "test", &e), ERR_CORRUPT);
    assert_string_equal(e.msg, "test: a number is too large at byte 18");
    for (int i = 0; i < 5000; i++)
        buf_adds(&digits, "9");
    json_in_init(&j, digits.data, digits.len);
    (void)json_get_double(&j);
    assert_int_equal(json_in_finish(&j, "test", &e), ERR_CORRUPT);
}

#define HEX "00ff10a9b8c7d6e5f4031221304f5e6d7c8b9aafbecdd0e1f2031425364758ab"

static void values_in_order(void **state)
{
    static const char text[] = " { \"id\" : \"" HEX "\" ,\n\t\"esc\":\"\\u0030" /* 0 */
                               "0ff10a9b8c7d6e5f4031221304f5e6d7c8b9aafbecdd0e1f2031425364758ab\","
                               "\"t\":\"2026-11-20T02:00:07.5+02:00\",\"b\":\"//4=\",\"x\":null,"
                               "\"y\":null,\"k\\u0065y\":\"copy\",\"yes\":true,\"no\":false,"
                               "\"in\":{\"skip\":[{}]},\"empty\":[],\"none\":{}}\r\n";
    _cleanup_(buf_release) struct buf bytes = BUF_INIT(2);
    struct json_in j;
    struct err e = ERR_INIT;
    char hex[ID_HEX + 1];
    (void)state;
    json_in_init(&j, text, sizeof text - 1);
    json_object(&j);
    assert_string_equal(json_next_key(&j), "id");
    struct id id = json_get_id(&j);
    assert_string_equal(id_hex(&id, hex), HEX);
    assert_string_equal(json_next_key(&j), "esc");
    struct id same = json_get_id(&j);
    assert_true(id_equal(&id, &same));
    assert_string_equal(json_next_key(&j), "t");
    assert_int_equal(json_peek(&j), '"');
    struct timespec t = json_get_time(&j);
    assert_int_equal(t.tv_sec, 1795132807);
    assert_int_equal(t.tv_nsec, 500000000);
    assert_string_equal(json_next_key(&j), "b");
    json_get_base64(&j, &bytes);
    assert_int_equal(bytes.len, 2);
    assert_memory_equal(bytes.data, "\xff\xfe", 2);
    assert_string_equal(json_next_key(&j), "x");
    assert_null(json_get_text(&j));
    assert_string_equal(json_next_key(&j), "y");
    assert_true(json_is_null(&j));
    const char *key = json_next_key(&j);
    _cleanup_free_ char *copy = json_get_text(&j);
    assert_string_equal(copy, "copy");
    assert_string_equal(key, "key"); /* still there after the value */
    assert_string_equal(json_next_key(&j), "yes");
    assert_true(json_get_bool(&j));
    assert_string_equal(json_next_key(&j), "no");
    assert_false(json_get_bool(&j));
    key = json_next_key(&j);
    json_skip(&j);
    assert_string_equal(key, "in"); /* skipping leaves it alone */
    assert_string_equal(json_next_key(&j), "empty");
    json_array(&j);
    assert_false(json_next_item(&j));
    assert_string_equal(json_next_key(&j), "none");
    json_object(&j);
    assert_null(json_next_key(&j));
    assert_null(json_next_key(&j));
    assert_int_equal(json_in_finish(&j, "test", &e), 0);
}

static void first_error_stays(void **state)
{
    struct json_in j;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf bytes = BUF_INIT(100);
    size_t len = 7;
    (void)state;
    json_in_init(&j, "{\"a\":1,\"b\":2}", 13);
    json_object(&j);
    assert_string_equal(json_next_key(&j), "a");
    assert_string_equal(json_get_string(&j, &len), ""); /* it is a number */
    assert_int_equal(len, 0);
    assert_null(json_next_key(&j));
    assert_false(json_next_item(&j));
    assert_int_equal(json_peek(&j), 0);
    assert_false(json_is_null(&j));
    assert_false(json_get_bool(&j));
    assert_int_equal(json_get_u64(&j), 0);
    assert_int_equal(json_get_i64(&j), 0);
    assert_true(json_get_double(&j) == 0);
    assert_null(json_get_text(&j));
    struct id id = json_get_id(&j);
    assert_true(id_is_zero(&id));
    assert_int_equal(json_get_time(&j).tv_sec, 0);
    json_get_base64(&j, &bytes);
    json_object(&j);
    json_array(&j);
    json_skip(&j);
    json_in_fail(&j, "another");
    assert_int_equal(json_in_finish(&j, "snapshot 1234", &e), ERR_CORRUPT);
    assert_string_equal(e.msg, "snapshot 1234: a string was expected at byte 5");
}

static void wrong_contents(void **state)
{
    static const struct {
        const char *in;
        char kind; /* which reader */
    } table[] = {
        {"\"" HEX "0\"", 'i'}, {"\"00\"", 'i'},       {"1", 'i'},        {"\"2026-11-20\"", 't'},
        {"null", 't'},         {"\"/4=\"", 'b'},      {"\"/_8=\"", 'b'}, {"\"AAAAAAAA\"", 'b'},
        {"\"a\\u0000\"", 'x'}, {"\"a\\u0000\"", 's'}, {"1", 'o'},        {"{}", 'a'},
        {"[1", 'a'},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_free_ char *in = exact(table[i].in, strlen(table[i].in));
        _cleanup_(buf_release) struct buf bytes = BUF_INIT(4);
        struct json_in j;
        struct err e = ERR_INIT;
        json_in_init(&j, in, strlen(table[i].in));
        switch (table[i].kind) {
        case 'i': (void)json_get_id(&j); break;
        case 't': (void)json_get_time(&j); break;
        case 'b': json_get_base64(&j, &bytes); break;
        case 'x': assert_null(json_get_text(&j)); break;
        case 's': (void)json_get_string(&j, NULL); break;
        case 'o': json_object(&j); break;
        default: json_array(&j);
        }
        assert_int_equal(json_in_finish(&j, "test", &e), ERR_CORRUPT);
    }
}

static void keys_with_nul_are_no_other_key(void **state)
{
    struct json_in j;
    struct err e = ERR_INIT;
    (void)state;
    json_in_init(&j, "{\"time\\u0000x\":1}", 17);
    json_object(&j);
    assert_null(json_next_key(&j));
    assert_int_equal(json_in_finish(&j, "test", &e), ERR_CORRUPT);
}

static void what_go_wrote_comes_back(void **state)
{
    char all[256];
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    struct json_out out;
    struct json_in in;
    struct err e = ERR_INIT;
    size_t len;
    (void)state;
    for (int i = 0; i < 128; i++)
        all[i] = (char)i;
    json_out_init(&out, &b);
    json_put_string(&out, all, 128);
    json_in_init(&in, b.data, b.len);
    const char *s = json_get_string(&in, &len);
    assert_int_equal(len, 128);
    assert_memory_equal(s, all, 128);
    assert_int_equal(json_in_finish(&in, "test", &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(malformed_is_found),
        cmocka_unit_test(skipped_whole_and_cut),
        cmocka_unit_test(every_altered_byte_ends),
        cmocka_unit_test(nesting),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(doubles),
        cmocka_unit_test(values_in_order),
        cmocka_unit_test(first_error_stays),
        cmocka_unit_test(wrong_contents),
        cmocka_unit_test(keys_with_nul_are_no_other_key),
        cmocka_unit_test(what_go_wrote_comes_back),
    };
    return cmocka_run_group_tests_name("json_in", tests, NULL, NULL);
}
