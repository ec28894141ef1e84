/* The JSON writer against what Go's encoding/json (1.19 to 1.21) writes for the same values. */
#include "unit.h"

#include "base/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define S(text) text, sizeof(text) - 1

static void strings_as_go_writes_them(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } table[] = {
        {S(""), "\"\""},
        {S("plain.txt"), "\"plain.txt\""},
        {S("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {S("\n\r\t"), "\"\\n\\r\\t\""},
        {S("\b\f\v\a"), "\"\\u0008\\u000c\\u000b\\u0007\""},
        {S("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\""},
        {S("<a href='x'>&"), "\"\\u003ca href='x'\\u003e\\u0026\""},
        {S("\u2028\u2029\u2027\u202a"), "\"\\u2028\\u2029\u2027\u202a\""},
        {S("h\u00e9llo \u4e16 \U0001f600"), "\"h\u00e9llo \u4e16 \U0001f600\""},
        {S("\ufffd"), "\"\ufffd\""}, /* a real one stays as it is */
        {S("a\xff"
           "b"),
         "\"a\\ufffdb\""},
        {S("\xc3"), "\"\\ufffd\""},
        {S("\xe2\x82"), "\"\\ufffd\\ufffd\""},
        {S("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
        {S("\xc0\xaf"), "\"\\ufffd\\ufffd\""},            /* overlong */
        {S("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {S("\xf0\x9f\x98("), "\"\\ufffd\\ufffd\\ufffd(\""},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
        struct json_out j;
        struct err e = ERR_INIT;
        json_out_init(&j, &b);
        json_put_string(&j, table[i].in, table[i].len);
        assert_int_equal(json_out_finish(&j, &e), 0);
        assert_string_equal(buf_str(&b), table[i].out);
    }
}

static void write_all(struct json_out *j)
{
    struct id id = {{0xab, 0xcd}};
    json_begin_object(j);
    json_text(j, "name", "a");
    json_text(j, "k<", NULL);
    json_u64(j, "u", UINT64_MAX);
    json_i64(j, "i", INT64_MIN);
    json_bool(j, "yes", true);
    json_bool(j, "no", false);
    json_id(j, "id", &id);
    json_key(j, "data");
    json_put_base64(j, "\xff\xfe", 2);
    json_key(j, "none");
    json_begin_array(j);
    json_end_array(j);
    json_key(j, "list");
    json_begin_array(j);
    json_put_u64(j, 0);
    json_begin_object(j);
    json_end_object(j);
    json_put_null(j);
    json_end_array(j);
    json_time(j, "time", (struct timespec){1700000000, 120000000});
    json_end_object(j);
}

#define ZEROS "000000000000000000000000000000000000000000000000000000000000"

static void structure(void **state)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    struct json_out j;
    struct err e = ERR_INIT;
    (void)state;
    json_out_init(&j, &b);
    write_all(&j);
    assert_int_equal(json_out_finish(&j, &e), 0);
    assert_string_equal(
        buf_str(&b),
        "{\"name\":\"a\",\"k\\u003c\":null,\"u\":18446744073709551615,\"i\":-9223372036854775808,"
        "\"yes\":true,\"no\":false,\"id\":\"abcd" ZEROS "\",\"data\":\"//4=\",\"none\":[],"
        "\"list\":[0,{},null],\"time\":\"2023-11-15T03:43:20.12+05:30\"}");

    buf_clear(&b);
    json_out_init(&j, &b);
    j.pretty = true;
    write_all(&j);
    assert_int_equal(json_out_finish(&j, &e), 0);
    assert_string_equal(buf_str(&b), "{\n"
                                     "  \"name\": \"a\",\n"
                                     "  \"k\\u003c\": null,\n"
                                     "  \"u\": 18446744073709551615,\n"
                                     "  \"i\": -9223372036854775808,\n"
                                     "  \"yes\": true,\n"
                                     "  \"no\": false,\n"
                                     "  \"id\": \"abcd" ZEROS "\",\n"
                                     "  \"data\": \"//4=\",\n"
                                     "  \"none\": [],\n"
                                     "  \"list\": [\n"
                                     "    0,\n"
                                     "    {},\n"
                                     "    null\n"
                                     "  ],\n"
                                     "  \"time\": \"2023-11-15T03:43:20.12+05:30\"\n"
                                     "}");
}

static void doubles(void **state)
{
    static const struct {
        double in;
        const char *out;
    } table[] = {
        {0, "0"},
        {-0.0, "0"},
        {1.5, "1.5"},
        {100, "100"},
        {1234567, "1234567"},
        {0.1, "0.1"},
        {-0.0000001, "0"},
        {2.0 / 3, "0.666667"},
        {-3.25, "-3.25"},
        {1e20, "100000000000000000000"},
        {NAN, "null"},
        {HUGE_VAL, "null"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
        struct json_out j;
        json_out_init(&j, &b);
        json_put_double(&j, table[i].in);
        assert_string_equal(buf_str(&b), table[i].out);
    }
}

static void every_cap_fails_cleanly(void **state)
{
    _cleanup_(buf_release) struct buf whole = BUF_INIT(BUF_TEXT);
    struct json_out j;
    struct err e = ERR_INIT;
    (void)state;
    json_out_init(&j, &whole);
    write_all(&j);
    for (size_t cap = 0; cap < whole.len; cap++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(cap);
        json_out_init(&j, &b);
        write_all(&j);
        assert_int_equal(json_out_finish(&j, &e), ERR_LIMIT);
    }
}

static void wrong_nesting(void **state)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    struct json_out j;
    struct err e = ERR_INIT;
    (void)state;
    json_out_init(&j, &b);
    for (int i = 0; i < 32; i++)
        json_begin_array(&j);
    for (int i = 0; i < 32; i++)
        json_end_array(&j);
    assert_int_equal(json_out_finish(&j, &e), 0);
    json_out_init(&j, &b);
    for (int i = 0; i < 33; i++)
        json_begin_array(&j);
    for (int i = 0; i < 33; i++)
        json_end_array(&j);
    assert_int_equal(json_out_finish(&j, &e), ERR_LIMIT);
    json_out_init(&j, &b);
    json_begin_array(&j);
    assert_int_equal(json_out_finish(&j, &e), ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_as_go_writes_them),
        cmocka_unit_test(structure),
        cmocka_unit_test(doubles),
        cmocka_unit_test(every_cap_fails_cleanly),
        cmocka_unit_test(wrong_nesting),
    };
    (void)setenv("TZ", "IST-5:30", 1);
    return cmocka_run_group_tests_name("json_out", tests, NULL, NULL);
}
