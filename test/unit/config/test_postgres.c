/* PostgreSQL resources: keys, addresses, names of databases. */
#include "fixture.h"

static struct config_resource resource(struct config **c, const char *keys)
{
    _cleanup_free_ char *text = str_fmt("resources:\n  db:\n    type: postgres\n%s", keys);
    *c = load_text(text);
    return (*c)->resource[0];
}

static void keys(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c = NULL;
    (void)setenv("APP_URL", "postgres://app:hunter2@db.example.com/app", 1);
    struct config_postgres p = resource(&c, "    url: ${APP_URL}\n    globals: without_passwords\n"
                                            "    split: 1MiB\n    lock_timeout: 5s\n"
                                            "    pg_bindir: /usr/lib/postgresql/15/bin\n")
                                   .postgres;
    assert_string_equal(p.url, "postgres://app:hunter2@db.example.com/app");
    assert_int_equal(p.globals, GLOBALS_WITHOUT_PASSWORDS);
    assert_int_equal(p.split, 1 << 20);
    assert_int_equal(p.lock_timeout, INT64_C(5000000000));
    assert_string_equal(p.bindir, "/usr/lib/postgresql/15/bin");
    assert_false(p.several || p.all);
    (void)unsetenv("APP_URL");
}

static void databases(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        size_t n;
        bool all, several;
    } tests[] = {
        {"", 0, false, false},
        {"    databases: app\n", 1, false, false},
        {"    databases: [app]\n", 1, false, true},
        {"    databases: [app, \"Odd, name\"]\n", 2, false, true},
        {"    databases: all\n", 0, true, true},
        {"    databases: [all]\n", 0, true, true},
    };
    for (size_t i = 0; i < array_len(tests); i++) {
        _cleanup_(config_freep) struct config *c = NULL;
        struct config_postgres p = resource(&c, tests[i].keys).postgres;
        assert_int_equal(p.databases.n, tests[i].n);
        assert_int_equal(p.all, tests[i].all);
        assert_int_equal(p.several, tests[i].several);
    }
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *part;
    } tests[] = {
        {"resources: { a: { type: postgres, url: \"postgres://me:hunter2@h/db\" } }\n", "1:40",
         "place of the password"},
        {"resources: { a: { type: postgres, url: \"postgres://h/db?password=x\" } }\n", "1:40",
         "place of the password"},
        {"resources: { a: { type: postgres, url: \"host=h password=x\" } }\n", "1:40",
         "place of the password"},
        {"resources: { a: { type: postgres, url: localhost } }\n", "1:40", "an address such as"},
        {"resources: { a: { type: postgres, urll: x } }\n", "1:35", "did you mean \"url\"?"},
        {"resources: { a: { type: postgres, database: x } }\n", "1:35",
         "did you mean \"databases\"?"},
        {"resources: { a: { type: postgres, databases: [] } }\n", "1:46", "it is empty"},
        {"resources: { a: { type: postgres, databases: [a, a] } }\n", "1:46", "twice"},
        {"resources: { a: { type: postgres, globals: without } }\n", "1:44", "expected auto"},
        {"resources: { a: { type: postgres, globals: with_password } }\n", "1:44",
         "did you mean \"with_passwords\"?"},
        {"resources: { a: { type: postgres, path: x } }\n", "1:17", "named by url"},
        {"resources: { a: { type: postgres, exclude: x } }\n", "1:17", "for files only"},
        {"resources: { a: { type: files, path: x, databases: all } }\n", "1:17",
         "for postgres only"},
        {"resources: { a: { type: sqlite, path: x, url: \"${NO_SUCH_ONE}\" } }\n", "1:17",
         "for postgres only"},
        {"resources: { a: { type: postgress } }\n", "1:25", "did you mean \"postgres\"?"},
    };
    for (size_t i = 0; i < array_len(tests); i++)
        refuse_text(tests[i].text, tests[i].place, tests[i].part);
}

/* Whoever restores the .env must be able to read the configuration without it. */
static void variable_that_is_not_set(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c = NULL;
    struct config_postgres p =
        resource(&c, "    url: ${NO_SUCH_ONE}\nenv_file: gone.env\n").postgres;
    assert_null(p.url);
    assert_non_null(strstr(p.unset, "no variable NO_SUCH_ONE"));
}

static void env_file(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c = NULL;
    put_text_file(".env", "A=1\nexport DATABASE_URL='postgres://joe:hunter2@h/app' # here\n");
    struct config_postgres p = resource(&c, "    url: ${DATABASE_URL}\nenv_file: .env\n").postgres;
    assert_string_equal(p.url, "postgres://joe:hunter2@h/app");
    config_free(take(c));
    (void)setenv("DATABASE_URL", "postgres://h/other", 1);
    p = resource(&c, "    url: ${DATABASE_URL}\nenv_file: .env\n").postgres;
    assert_string_equal(p.url, "postgres://h/other");
    (void)unsetenv("DATABASE_URL");
}

static void address(const char *text, const char *name, const char *url, const char *database)
{
    struct config_resource r;
    if (config_resource_from_address(text, NULL, &r, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    assert_int_equal(r.type, RESOURCE_POSTGRES);
    assert_string_equal(r.name, name);
    assert_true(str_eq(r.postgres.url, url));
    assert_true(str_eq(r.postgres.databases.n > 0 ? r.postgres.databases.s[0] : NULL, database));
    config_resource_release(&r);
}

static void addresses(void **state)
{
    (void)state;
    static const char *const urls[][2] = {
        {"postgres://localhost/app", "app"},
        {"postgresql://joe@[::1]:5433/My%20App?sslmode=require", "my-app"},
        {"postgresql+asyncpg://h/app?schema=public", "app"},
        {"jdbc:postgresql://h/app", "app"},
        {"postgresql:///app?host=/run/x", "app"},
        {"postgres://h", "postgres"},
        {"postgres://h/", "postgres"},
    };
    (void)unsetenv("PGDATABASE");
    for (size_t i = 0; i < array_len(urls); i++)
        address(urls[i][0], urls[i][1], urls[i][0], NULL);
    address("postgres:app", "app", NULL, "app");
    (void)setenv("PGDATABASE", "other", 1);
    address("postgres:", "other", NULL, "other");
    address("postgres://h", "other", "postgres://h", NULL);
    (void)unsetenv("PGDATABASE");
    struct config_resource r;
    assert_int_equal(config_resource_from_address("postgres:###", NULL, &r, &e), ERR_USAGE);
}

static void names_of_databases(void **state)
{
    (void)state;
    static const char *const tests[][2] = {
        {"app", "app"},
        {"My.App_1-x", "My.App_1-x"},
        {"a b/%,\xc3\xa4", "a%20b%2F%25%2C%C3%A4"},
    };
    for (size_t i = 0; i < array_len(tests); i++) {
        _cleanup_free_ char *part = text_encode_name(tests[i][0]);
        _cleanup_free_ char *back = text_decode_name(part);
        assert_string_equal(part, tests[i][1]);
        assert_string_equal(back, tests[i][0]);
    }
    assert_null(text_decode_name(""));
    assert_null(text_decode_name("a%2"));
    assert_null(text_decode_name("a b"));
}

static void belongs_to(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c =
        load_text("resources:\n  one: { type: postgres }\n"
                  "  server: { type: postgres, databases: all, keep: { tags: [x] } }\n");
    assert_ptr_equal(config_resource_of(c, "one"), &c->resource[0]);
    assert_ptr_equal(config_resource_of(c, "server"), &c->resource[1]);
    assert_ptr_equal(config_resource_of(c, "server.app.x"), &c->resource[1]);
    assert_null(config_resource_of(c, "one.app"));
    assert_null(config_resource_of(c, "serve.app"));
    assert_null(config_resource_find(c, "server.app"));
    struct config_resource r;
    config_resource_database(&c->resource[1], "My App", &r);
    assert_string_equal(r.name, "server.My%20App");
    assert_string_equal(r.postgres.databases.s[0], "My App");
    assert_false(r.postgres.several || r.postgres.all);
    config_resource_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(databases),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(variable_that_is_not_set),
        cmocka_unit_test(env_file),
        cmocka_unit_test(addresses),
        cmocka_unit_test(names_of_databases),
        cmocka_unit_test(belongs_to),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
