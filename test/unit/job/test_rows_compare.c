/* The merge of two cursors, and the order of keys, with cursors that are arrays. */
#include "base/mem.h"
#include "job/rows_int.h"

#include "../unit.h"

struct fake {
    const char *const (*row)[4]; /* up to 4 columns; ends with a NULL in the first */
    size_t columns, at, fail_at;
    size_t len[4];
};

static int fake_next(void *arg, struct pg_row *row, struct err *e)
{
    struct fake *f = arg;
    if (f->fail_at != 0 && f->at + 1 == f->fail_at)
        return err_set(e, ERR_IO, "the server is gone");
    *row = (struct pg_row){.n = 0};
    if (f->row[f->at][0] == NULL)
        return 0;
    for (size_t i = 0; i < f->columns; i++)
        f->len[i] = f->row[f->at][i] != NULL ? strlen(f->row[f->at][i]) : 0;
    *row = (struct pg_row){.text = f->row[f->at++], .len = f->len, .n = f->columns};
    return 0;
}

struct seen {
    char text[256];
};

static int see(struct seen *s, char kind, const struct pg_row *row)
{
    size_t len = strlen(s->text);
    (void)snprintf(s->text + len, sizeof s->text - len, "%c%s ", kind, row->text[0]);
    return 0;
}

static int missing(const struct pg_row *row, void *arg, struct err *e)
{
    return strcmp(row->text[0], "stop") == 0 ? err_set(e, ERR_FULL, "no room") : see(arg, '-', row);
}

static int changed(const struct pg_row *row, void *arg, struct err *e)
{
    (void)e;
    return see(arg, '~', row);
}

static int run(struct rows_merge *m, struct fake *b, struct fake *p, struct seen *s, struct err *e)
{
    struct rows_cursor backup = {fake_next, b, "the backup"};
    struct rows_cursor production = {fake_next, p, "production"};
    *s = (struct seen){""};
    m->missing = missing;
    m->changed = changed;
    m->arg = s;
    return rows_merge(m, &backup, &production, e);
}

static const enum key_class number[] = {KEY_NUMBER}, bytes[] = {KEY_BYTES};

static void tells_missing_changed_and_added(void **state)
{
    (void)state;
    static const char *const b[][4] = {{"1", "x"},   {"2", "x"},   {"9", "x"}, {"10", "x"},
                                       {"11", NULL}, {"12", NULL}, {NULL}};
    static const char *const p[][4] = {{"0", "x"},  {"1", "x"},  {"9", "y"}, {"11", NULL},
                                       {"12", "x"}, {"13", "x"}, {NULL}};
    struct fake fb = {.row = b, .columns = 2}, fp = {.row = p, .columns = 2};
    struct rows_merge m = {.class = number, .nkey = 1};
    struct seen s;
    struct err e = ERR_INIT;
    assert_int_equal(0, run(&m, &fb, &fp, &s, &e));
    assert_string_equal(s.text, "-2 ~9 -10 ~12 ");
    assert_int_equal(m.nbackup, 6);
    assert_int_equal(m.nproduction, 6);
    assert_int_equal(m.nmissing, 2);
    assert_int_equal(m.nchanged, 2);
    assert_int_equal(m.nadded, 2);
}

static void one_side_may_be_empty(void **state)
{
    (void)state;
    static const char *const none[][4] = {{NULL}};
    static const char *const some[][4] = {{"a", "x"}, {"b", "x"}, {NULL}};
    struct seen s;
    struct err e = ERR_INIT;
    struct rows_merge m = {.class = bytes, .nkey = 1};
    struct fake a = {.row = none, .columns = 2}, b = {.row = some, .columns = 2};
    assert_int_equal(0, run(&m, &b, &a, &s, &e));
    assert_string_equal(s.text, "-a -b ");
    a.at = b.at = 0;
    m = (struct rows_merge){.class = bytes, .nkey = 1};
    assert_int_equal(0, run(&m, &a, &b, &s, &e));
    assert_string_equal(s.text, "");
    assert_int_equal(m.nadded, 2);
    a.at = 0;
    m = (struct rows_merge){.class = bytes, .nkey = 1};
    assert_int_equal(0, run(&m, &a, &a, &s, &e));
    assert_int_equal(m.nbackup + m.nproduction + m.nadded, 0);
}

static void passes_over_what_is_not_wanted(void **state)
{
    (void)state;
    static const char *const b[][4] = {{"1", "x", "f"}, {"2", "x", "t"},  {"3", "x", "f"},
                                       {"4", "x", "t"}, {"5", "x", NULL}, {NULL}};
    static const char *const p[][4] = {{"3", "y"}, {"4", "y"}, {NULL}};
    struct fake fb = {.row = b, .columns = 3}, fp = {.row = p, .columns = 2};
    struct rows_merge m = {.class = number, .nkey = 1};
    struct seen s;
    struct err e = ERR_INIT;
    assert_int_equal(0, run(&m, &fb, &fp, &s, &e));
    assert_string_equal(s.text, "-2 ~4 ");
    assert_int_equal(m.nadded, 0);
}

static void keys_of_two_columns(void **state)
{
    (void)state;
    static const enum key_class both[] = {KEY_BYTES, KEY_NUMBER};
    static const char *const b[][4] = {{"a", "2", "x"}, {"a", "10", "x"}, {"b", "1", "x"}, {NULL}};
    static const char *const p[][4] = {{"a", "2", "x"}, {"b", "1", "x"}, {"b", "2", "x"}, {NULL}};
    struct fake fb = {.row = b, .columns = 3}, fp = {.row = p, .columns = 3};
    struct rows_merge m = {.class = both, .nkey = 2};
    struct seen s;
    struct err e = ERR_INIT;
    /* The third column of these rows is the digest; there is none after it. */
    assert_int_equal(0, run(&m, &fb, &fp, &s, &e));
    assert_string_equal(s.text, "-a ");
    assert_int_equal(m.nadded, 1);
}

static void refuses_what_is_out_of_order(void **state)
{
    (void)state;
    static const char *const ordered[][4] = {{"1", "x"}, {"2", "x"}, {"3", "x"}, {NULL}};
    static const char *const wrong[][4] = {{"1", "x"}, {"3", "x"}, {"2", "x"}, {NULL}};
    static const char *const twice[][4] = {{"1", "x"}, {"1", "x"}, {NULL}};
    static const char *const null[][4] = {{"1", "x"}, {"", "x"}, {NULL}};
    const char *const(*bad[])[4] = {wrong, twice, null};
    for (size_t i = 0; i < array_len(bad); i++) {
        for (int side = 0; side < 2; side++) {
            struct fake good = {.row = ordered, .columns = 2}, odd = {.row = bad[i], .columns = 2};
            struct rows_merge m = {.class = number, .nkey = 1};
            struct seen s;
            struct err e = ERR_INIT;
            assert_int_equal(ERR_UNSUPPORTED, side == 0 ? run(&m, &good, &odd, &s, &e)
                                                        : run(&m, &odd, &good, &s, &e));
            assert_non_null(strstr(e.msg, side == 0 ? "production" : "the backup"));
        }
    }
}

static void errors_end_it(void **state)
{
    (void)state;
    static const char *const b[][4] = {{"a", "x"}, {"stop", "x"}, {"z", "x"}, {NULL}};
    static const char *const p[][4] = {{"a", "x"}, {NULL}};
    struct seen s;
    for (size_t at = 1; at <= 4; at++) {
        struct fake fb = {.row = b, .columns = 2, .fail_at = at};
        struct fake fp = {.row = p, .columns = 2};
        struct rows_merge m = {.class = bytes, .nkey = 1};
        struct err e = ERR_INIT;
        assert_int_equal(at <= 2 ? ERR_IO : ERR_FULL, run(&m, &fb, &fp, &s, &e));
    }
}

/* ---- the order of keys ---- */

static void in_order(enum key_class c, const char *const *key, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            int order = key_compare(c, key[i], strlen(key[i]), key[k], strlen(key[k]));
            if ((order < 0) != (i < k) || (order > 0) != (i > k))
                fail_msg("%s and %s: %d", key[i], key[k], order);
        }
}

static void numbers_in_order(void **state)
{
    (void)state;
    static const char *const key[] = {"-Infinity",
                                      "-99999999999999999999.5",
                                      "-9223372036854775808",
                                      "-10",
                                      "-9.5",
                                      "-9",
                                      "-0.01",
                                      "0",
                                      "0.001",
                                      "0.01",
                                      "0.5",
                                      "1",
                                      "1.05",
                                      "1.5",
                                      "9",
                                      "10",
                                      "9223372036854775807",
                                      "9223372036854775808",
                                      "Infinity",
                                      "NaN"};
    static const char *const same[][2] = {
        {"1.0", "1.00"}, {"0", "0.00"}, {"-0.0", "0"}, {"-1.50", "-1.5"}, {"NaN", "NaN"}};
    in_order(KEY_NUMBER, key, array_len(key));
    for (size_t i = 0; i < array_len(same); i++)
        assert_int_equal(0, key_compare(KEY_NUMBER, same[i][0], strlen(same[i][0]), same[i][1],
                                        strlen(same[i][1])));
}

static void times_in_order(void **state)
{
    (void)state;
    static const char *const key[] = {"-infinity",
                                      "4713-01-01 00:00:00 BC",
                                      "0044-03-15 00:00:00 BC",
                                      "0044-03-15 12:00:00 BC",
                                      "0001-12-31 00:00:00 BC",
                                      "0001-01-01 00:00:00",
                                      "1999-12-31 23:59:59.999999",
                                      "2026-11-21 08:30:00",
                                      "2026-11-21 08:30:00.5",
                                      "2026-11-21 08:30:00.55",
                                      "9999-12-31 00:00:00",
                                      "10000-01-01 00:00:00",
                                      "294276-12-31 23:59:59",
                                      "infinity"};
    static const char *const zoned[] = {"2026-11-21 08:30:00+00", "2026-11-21 08:30:00.05+00",
                                        "2026-11-21 08:30:00.5+00", "2026-11-21 08:30:01+00"};
    in_order(KEY_TIME, key, array_len(key));
    in_order(KEY_TIME, zoned, array_len(zoned));
}

static void bytes_in_order(void **state)
{
    (void)state;
    static const char *const key[] = {
        "", " ", "A", "Z", "a", "a ", "aa", "b", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    in_order(KEY_BYTES, key, array_len(key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_missing_changed_and_added),
        cmocka_unit_test(one_side_may_be_empty),
        cmocka_unit_test(passes_over_what_is_not_wanted),
        cmocka_unit_test(keys_of_two_columns),
        cmocka_unit_test(refuses_what_is_out_of_order),
        cmocka_unit_test(errors_end_it),
        cmocka_unit_test(numbers_in_order),
        cmocka_unit_test(times_in_order),
        cmocka_unit_test(bytes_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
