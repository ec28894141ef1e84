/* Addresses of PostgreSQL servers. */
#include "client/postgres.h"
#include "test/unit/unit.h"

struct url_case {
    const char *in, *out, *dropped; /* `dropped` parted by spaces */
};

static void frameworks_are_understood(void **state)
{
    (void)state;
    static const struct url_case cases[] = {
        {"postgres://u@h/db", "postgresql://u@h/db", ""},
        {"  postgresql://u@h/db\n", "postgresql://u@h/db", ""},
        {"postgresql+asyncpg://u:p@h:5432/db", "postgresql://u:p@h:5432/db", "+asyncpg"},
        {"postgres+psycopg2://h/db?sslmode=require", "postgresql://h/db?sslmode=require",
         "+psycopg2"},
        {"jdbc:postgresql://h/db?user=u&password=p&ApplicationName=x",
         "postgresql://h/db?user=u&password=p", "jdbc: ApplicationName=x"},
        {"postgresql://h/db?schema=public", "postgresql://h/db", "schema=public"},
        {"postgresql://h/db?schema=public&sslmode=require&pgbouncer=true",
         "postgresql://h/db?sslmode=require", "schema=public pgbouncer=true"},
        {"postgresql://h/db?connection_limit=5&", "postgresql://h/db", "connection_limit=5"},
        {"postgresql://h/db?ssl=require", "postgresql://h/db?sslmode=require", "ssl=require"},
        {"postgresql://h/db?sslmode=no-verify", "postgresql://h/db?sslmode=require",
         "sslmode=no-verify"},
        {"postgis://h/db", "postgresql://h/db", "postgis"},
        {"postgres://%2Frun%2Fpg/db?host=/tmp", "postgresql://%2Frun%2Fpg/db?host=/tmp", ""},
        {"postgres://", "postgresql://", ""},
        {"", "", ""},
        {NULL, "", ""},
        {"host=/tmp dbname=a", "host=/tmp dbname=a", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct err e = ERR_INIT;
        _cleanup_(str_list_release) struct str_list dropped = {0};
        _cleanup_free_ char *out = NULL;
        if (pg_clean_url(cases[i].in, &out, &dropped, &e) != 0)
            fail_msg("%s: %s", cases[i].in, e.msg);
        assert_string_equal(out, cases[i].out);
        _cleanup_(buf_release) struct buf all = BUF_INIT(BUF_TEXT);
        for (size_t j = 0; j < dropped.n; j++)
            buf_addf(&all, "%s%s", j > 0 ? " " : "", dropped.s[j]);
        assert_string_equal(buf_str(&all), cases[i].dropped);
    }
}

static void parts_are_found(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    (void)unsetenv("PGHOST");
    (void)unsetenv("PGHOSTADDR");
    (void)unsetenv("PGPORT");
    (void)setenv("PGDATABASE", "fallback", 1);
    _cleanup_free_ char *database = NULL, *host = NULL, *port = NULL;
    assert_int_equal(pg_parse_url("postgres+x://u:p%40@db.example.com:6000/a%20b?schema=x",
                                  &database, &host, &port, &e),
                     0);
    assert_string_equal(database, "a b");
    assert_string_equal(host, "db.example.com");
    assert_string_equal(port, "6000");
    _cleanup_free_ char *other = NULL, *nowhere = NULL;
    assert_int_equal(pg_parse_url("postgres://", &other, &nowhere, NULL, &e), 0);
    assert_string_equal(other, "fallback");
    assert_null(nowhere);
}

static void bad_ones_do_not_show_the_password(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "postgres://u:geheim%zz@h/db",
        "postgres://u:geheim@h:port/db@geheim",
        "postgres://u:geh/geheim@h/db",
        "password=geheim host",
        "postgres://u:geheim@[::1/db",
        "password='geheim",
        "geheim",
        "mysql://u:geheim@h/db",
        "postgres://u:geheim%00@h/db",
        "postgres://u:geheim@h/db?sslmode",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct err e = ERR_INIT;
        _cleanup_free_ char *database = NULL;
        int rc = pg_parse_url(bad[i], &database, NULL, NULL, &e);
        if (rc == 0) /* libpq takes it: a host "h" of an odd port, say */
            continue;
        assert_int_equal(rc, ERR_USAGE);
        if (strstr(e.msg, "geheim") != NULL)
            fail_msg("%s", e.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frameworks_are_understood),
        cmocka_unit_test(parts_are_found),
        cmocka_unit_test(bad_ones_do_not_show_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
