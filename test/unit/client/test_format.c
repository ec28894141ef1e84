/* SQL from parts. */
#include "client/postgres.h"
#include "test/unit/unit.h"

static void assert_sql(const struct buf *b, const char *expected)
{
    assert_string_equal(buf_str(b), expected);
}

static void parts_are_quoted(void **state)
{
    (void)state;
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    pg_format(&b, "SELECT %I FROM %I.%I WHERE %s = %L", "a\"b", "S", "", "x", "it's");
    assert_sql(&b, "SELECT \"a\"\"b\" FROM \"S\".\"\" WHERE x = 'it''s'");
}

static void backslashes_hold_in_any_setting(void **state)
{
    (void)state;
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    pg_format(&b, "%L %L %L", "\\'; DROP", "", NULL);
    assert_sql(&b, "E'\\\\''; DROP' '' NULL");
}

static void numbers_are_written(void **state)
{
    (void)state;
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    pg_format(&b, "%d %lld %llu 100%% LIKE 'a%%'", -5, -5000000000LL, 18446744073709551615ULL);
    assert_sql(&b, "-5 -5000000000 18446744073709551615 100% LIKE 'a%'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_quoted),
        cmocka_unit_test(backslashes_hold_in_any_setting),
        cmocka_unit_test(numbers_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
