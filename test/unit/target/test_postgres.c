/* What of restoring a PostgreSQL database needs no server: reading the manifest, cutting SQL, and
 * giving a database another name in it. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include "../unit.h"

static void test_split(void **state)
{
    (void)state;
    struct str_list l = {0};
    statements_split("-- a comment; with a semicolon\n"
                     "SET x = 'a;b''c';\n"
                     "\\connect app\n"
                     "ALTER DATABASE \"o;d\"\"d\" SET s TO E'\\';';\n"
                     "DO $tag$ begin; end; $tag$; SELECT $1;\n"
                     "last one",
                     &l);
    assert_int_equal(l.n, 5);
    assert_string_equal(l.s[0], "SET x = 'a;b''c'");
    assert_string_equal(l.s[1], "ALTER DATABASE \"o;d\"\"d\" SET s TO E'\\';'");
    assert_string_equal(l.s[2], "DO $tag$ begin; end; $tag$");
    assert_string_equal(l.s[3], "SELECT $1");
    assert_string_equal(l.s[4], "last one");
    str_list_release(&l);
    statements_split("'never closed; $$", &l);
    assert_int_equal(l.n, 1);
    str_list_release(&l);
    statements_split("", &l);
    assert_int_equal(l.n, 0);
}

static void check_rename(const char *from, const char *want)
{
    _cleanup_free_ char *to = statement_rename_database(from, "new one");
    if (want == NULL)
        assert_null(to);
    else
        assert_string_equal(to, want);
}

static void test_rename(void **state)
{
    (void)state;
    check_rename("CREATE DATABASE app WITH TEMPLATE = template0",
                 "CREATE DATABASE \"new one\" WITH TEMPLATE = template0");
    check_rename("ALTER DATABASE \"a DATABASE b\" SET x TO 'DATABASE y'",
                 "ALTER DATABASE \"new one\" SET x TO 'DATABASE y'");
    check_rename("ALTER ROLE \"DATABASE x\" IN DATABASE app SET y TO 'z'",
                 "ALTER ROLE \"DATABASE x\" IN DATABASE \"new one\" SET y TO 'z'");
    check_rename("GRANT CONNECT,TEMPORARY ON DATABASE app TO app",
                 "GRANT CONNECT,TEMPORARY ON DATABASE \"new one\" TO app");
    check_rename("SELECT pg_catalog.set_config('search_path', 'DATABASE x', false)", NULL);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(statement_names("app;", "app"));
    assert_true(statement_names("app WITH LOGIN", "app"));
    assert_false(statement_names("apps", "app"));
    assert_true(statement_names("\"a\"\"b c\" WITH", "a\"b c"));
    assert_false(statement_names("\"a\"\"b c\" WITH", "a\"b"));
    assert_false(statement_names("\"ab\"", "abc"));
    assert_false(statement_names("", "a"));
}

static const char manifest[] =
    "{\"server_version\":150018,\"database\":\"app\",\"dump\":\"app.dump\",\"bytes\":12,"
    "\"icu_locale\":null,\"later\":[{}],\"roles\":[\"app\",\"o'\"],"
    "\"extensions\":[{\"name\":\"hstore\",\"version\":\"1.8\",\"schema\":\"public\"}],"
    "\"tables\":[{\"schema\":\"s\",\"name\":\"t\",\"kind\":\"r\",\"rows\":5,\"split\":2,\"parts\":3,"
    "\"columns\":[\"a\",\"B c\"],\"key\":[\"a\"]},{\"schema\":\"s\",\"name\":\"f\",\"kind\":\"f\"}]}";

static void test_manifest(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct postgres_manifest m;
    assert_int_equal(postgres_manifest_parse(manifest, &m, &e), 0);
    assert_int_equal(m.server_version, 150018);
    assert_null(m.icu_locale);
    assert_int_equal(m.roles.n, 2);
    assert_string_equal(m.extension[0].version, "1.8");
    const struct postgres_table *t = postgres_manifest_table(&m, "s", "t");
    assert_non_null(t);
    assert_true(t->has_rows && t->rows == 5 && t->split == 2 && t->parts == 3);
    assert_false(postgres_manifest_table(&m, "s", "f")->has_rows);
    assert_null(postgres_manifest_table(&m, "t", "s"));
    struct buf sql = BUF_INIT(BUF_TEXT);
    postgres_copy_sql(t, "o p", &sql);
    assert_string_equal(buf_str(&sql), "COPY \"o p\".\"t\" (\"a\", \"B c\") FROM STDIN");
    buf_release(&sql);
    char *path = postgres_part_path(t->split, t->parts);
    assert_string_equal(path, "data/0002/0003.copy");
    free(path);
    postgres_manifest_release(&m);
}

static void test_bad_manifest(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"database\":\"a\",\"dump\":\"d\",\"tables\":[{\"name\":\"t\"}]}",
        ("{\"database\":\"a\",\"dump\":\"d\",\"tables\":[{\"schema\":\"s\",\"name\":\"t\","
         "\"split\":99999999999}]}"),
        "{\"database\":\"a\",\"dump\":\"d\",\"extensions\":[{}]}"};
    for (size_t i = 0; i < array_len(bad); i++) {
        struct err e = ERR_INIT;
        struct postgres_manifest m;
        assert_int_equal(postgres_manifest_parse(bad[i], &m, &e), ERR_CORRUPT);
        assert_null(m.table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_bad_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
