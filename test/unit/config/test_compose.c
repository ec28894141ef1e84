/* Looking around, and the configuration that is written for what was found: it must load again. */
#include "fixture.h"

static const char magic[] = "SQLite format 3"; /* with its NUL */

static void look(struct config_found *f)
{
    if (config_look_around(fixture_dir, f, &e) != 0)
        fail_msg("%s", e.msg);
}

static struct config *compose_and_load(const struct config_found *f, const char *repository,
                                       const char *password_file)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    config_compose(f, "the \"app\" $x", repository, password_file, &text);
    struct config *c = load_text(buf_str(&text));
    assert_string_equal(c->name, "the \"app\" $x");
    assert_true(str_eq(c->repository.password.file, password_file));
    assert_int_equal(c->njob, 2);
    assert_true(c->keep.set);
    return c;
}

static void nothing(void **state)
{
    (void)state;
    _cleanup_(config_found_release) struct config_found f;
    look(&f);
    assert_true(f.sqlite.n + f.secrets.n + f.files.n + f.notes.n == 0);
    _cleanup_(config_freep) struct config *c = compose_and_load(&f, "/srv/backups", NULL);
    assert_int_equal(c->nresource, 1);
    const struct config_resource *r = config_resource_find(c, "files");
    assert_non_null(r);
    assert_string_equal(r->paths.s[0], fixture_dir);
    assert_true(str_list_has(&r->excludes, "node_modules"));
    assert_true(str_list_has(&r->excludes, "*.log"));
    assert_true(str_list_has(&r->excludes, "/srv/backups"));
    assert_true(r->exclude_caches && r->rpo > 0 && r->rto > 0);

    _cleanup_(config_freep) struct config *inside = compose_and_load(&f, "repo", "/etc/a \"b\"");
    _cleanup_free_ char *repo = path_join(fixture_dir, "repo");
    assert_true(str_list_has(&inside->resource[0].excludes, repo));
    assert_string_equal(inside->repository.url, repo);
    _cleanup_(config_freep) struct config *s3 = compose_and_load(&f, "s3:https://h/b", NULL);
    assert_string_equal(s3->repository.url, "s3:https://h/b");
}

static void a_lot(void **state)
{
    (void)state;
    put_file("app.db", magic, sizeof magic, 0600);
    put_file("data/app.sqlite3", magic, sizeof magic, 0600);
    put_file("data/a/b/deep.db", magic, sizeof magic, 0600);
    put_file("data/a/b/c/deeper.db", magic, sizeof magic, 0600);
    put_file("data/odd $name[1] \"x\".db", magic, sizeof magic, 0600);
    put_file("node_modules/x/cache.db", magic, sizeof magic, 0600);
    put_file(".git/x.db", magic, sizeof magic, 0600);
    put_file("named\xff.db", magic, sizeof magic, 0600);
    put_text_file("text.db", "this is no database at all");
    put_text_file("empty.sqlite", "");
    put_text_file(".env", "A=b\n"
                          "export DATABASE_URL=\"postgres://joe:hunter2@db.example.com/app?x\"\n");
    put_text_file(".env.example", "A=b\n");
    put_text_file("compose.yaml", "services: {}\n");
    put_text_file("uploads/x", "x");
    _cleanup_free_ char *key = str_fmt(".config/%s/api.key", path_base(fixture_dir));
    put_text_file(key, "x");
    (void)setenv("REDIS_URL", "redis://:hunter2@localhost:6379/0", 1);

    _cleanup_(config_found_release) struct config_found f;
    look(&f);
    assert_int_equal(f.sqlite.n, 4);
    assert_true(str_list_has(&f.sqlite, "app.db") && str_list_has(&f.sqlite, "data/app.sqlite3"));
    assert_true(str_list_has(&f.sqlite, "data/a/b/deep.db"));
    assert_true(str_list_has(&f.sqlite, "data/odd $name[1] \"x\".db"));
    assert_int_equal(f.secrets.n, 3);
    assert_true(str_list_has(&f.secrets, ".env") && str_list_has(&f.secrets, "compose.yaml"));
    assert_int_equal(f.files.n, 1);
    assert_int_equal(f.notes.n, 1);
    assert_string_equal(f.postgres, "db.example.com/app");
    assert_string_equal(f.env_file, ".env");
    assert_non_null(strstr(f.notes.s[0], "Redis (localhost:6379/0)"));

    _cleanup_(config_freep) struct config *c = compose_and_load(&f, "~/backups", NULL);
    assert_null(strstr(c->text, "hunter2"));
    assert_int_equal(c->nresource, 7);
    const struct config_resource *postgres = config_resource_find(c, "app-3");
    assert_non_null(postgres);
    assert_string_equal(postgres->postgres.url, "postgres://joe:hunter2@db.example.com/app?x");
    assert_non_null(config_resource_find(c, "app"));
    assert_non_null(config_resource_find(c, "app-2"));
    assert_non_null(config_resource_find(c, "uploads"));
    const struct config_resource *odd = config_resource_find(c, "odd-name-1-x");
    assert_non_null(odd);
    assert_true(str_ends(odd->paths.s[0], "/data/odd $name\\[1] \"x\".db"));
    const struct config_resource *secrets = config_resource_find(c, "secrets");
    assert_int_equal(secrets->paths.n, 3);
    for (size_t i = 0; i < secrets->paths.n; i++)
        assert_int_equal(access(secrets->paths.s[i], F_OK), 0);
    (void)unsetenv("REDIS_URL");

    /* What is only proposed must be right too, once its comment signs are taken away. */
    _cleanup_free_ char *text = str_dup(c->text);
    char *from = strstr(text, "  # files:"), *to = from;
    assert_non_null(from);
    for (bool proposal = true; *from != '\0'; from++, to++) {
        if (from == text || from[-1] == '\n') {
            proposal = proposal && str_starts(from, "  # ");
        }
        if (proposal && str_starts(from, "  # ") && (from == text || from[-1] == '\n')) {
            *to++ = ' ';
            *to++ = ' ';
            from += 4;
        }
        *to = *from;
    }
    *to = '\0';
    _cleanup_(config_freep) struct config *proposed = load_text(text);
    assert_int_equal(proposed->nresource, 8);
}

static void database_urls_of_sqlite(void **state)
{
    (void)state;
    put_file("odd/place.data", magic, sizeof magic, 0600);
    _cleanup_free_ char *absolute = path_join(fixture_dir, "odd/place.data");
    _cleanup_free_ char *four = str_fmt("sqlite:///%s", absolute); /* with the one of the path */
    const char *const urls[] = {"sqlite:///odd/place.data", "sqlite:odd/place.data",
                                "file:./odd/place.data?mode=rw", four};
    for (size_t i = 0; i < array_len(urls); i++) {
        (void)setenv("DATABASE_URL", urls[i], 1);
        _cleanup_(config_found_release) struct config_found f;
        look(&f);
        const char *expected = urls[i] == four ? absolute : "odd/place.data";
        if (!str_list_has(&f.sqlite, expected))
            fail_msg("%s: not found", urls[i]);
    }
    (void)setenv("DATABASE_URL", "sqlite:///nowhere.db", 1);
    _cleanup_(config_found_release) struct config_found f;
    look(&f);
    assert_int_equal(f.notes.n, 1);
    assert_non_null(strstr(f.notes.s[0], "not there yet"));
    (void)unsetenv("DATABASE_URL");
}

static void no_directory(void **state)
{
    (void)state;
    struct config_found f;
    assert_int_equal(config_look_around("nowhere", &f, &e), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_lot, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(database_urls_of_sqlite, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(no_directory, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
