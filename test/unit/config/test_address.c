/* Resources on the spot. */
#include "fixture.h"

static void expect(const char *address, const char *given, enum resource_type type,
                   const char *name, const char *path)
{
    struct config_resource r;
    if (config_resource_from_address(address, given, &r, &e) != 0)
        fail_msg("%s: %s", address, e.msg);
    assert_int_equal(r.type, type);
    assert_string_equal(r.name, name);
    if (path != NULL) {
        _cleanup_free_ char *whole = path[0] == '/' ? str_dup(path) : path_join(fixture_dir, path);
        assert_int_equal(r.paths.n, 1);
        assert_string_equal(r.paths.s[0], whole);
    }
    assert_int_equal(r.rpo_grace, -1);
    config_resource_release(&r);
}

static void refuse(const char *address, const char *name, const char *part)
{
    struct config_resource r;
    if (config_resource_from_address(address, name, &r, &e) != ERR_USAGE)
        fail_msg("accepted: %s", address);
    if (strstr(e.msg, part) == NULL)
        fail_msg("%s\nexpected: %s", e.msg, part);
    assert_null(r.name);
}

static void addresses(void **state)
{
    (void)state;
    expect("sqlite:data/app.db", NULL, RESOURCE_SQLITE, "app", "data/app.db");
    expect("sqlite:/srv/My App.sqlite3", NULL, RESOURCE_SQLITE, "my-app", "/srv/My App.sqlite3");
    expect("sqlite:data/*.db", NULL, RESOURCE_SQLITE, "data", "data/*.db");
    expect("./etc", NULL, RESOURCE_FILES, "etc", "etc");
    expect("./etc/", NULL, RESOURCE_FILES, "etc", "etc");
    expect("etc/x", NULL, RESOURCE_FILES, "x", "etc/x");
    expect("/etc/hosts", NULL, RESOURCE_FILES, "hosts", "/etc/hosts");
    expect("files:~/x", NULL, RESOURCE_FILES, "x", "x");
    expect(".env", NULL, RESOURCE_FILES, "env", ".env");
    expect("./.env.production", NULL, RESOURCE_FILES, "env", ".env.production");
    expect("./archive.tar.gz", NULL, RESOURCE_FILES, "archive-tar", "archive.tar.gz");
    expect("/", NULL, RESOURCE_FILES, "root", "/");
    expect("./a:b", NULL, RESOURCE_FILES, "a-b", "a:b");
    expect("./\xc3\xa4\xc3\xb6-x_", NULL, RESOURCE_FILES, "x", "\xc3\xa4\xc3\xb6-x_");
    expect("./etc", "settings", RESOURCE_FILES, "settings", "etc");
    expect("-", "dump", RESOURCE_STREAM, "dump", NULL);
    /* A name as long as a path may be. */
    _cleanup_free_ char *longest = str_fmt("./%0200d", 1);
    _cleanup_free_ char *name = str_fmt("%064d", 0);
    expect(longest, NULL, RESOURCE_FILES, name, longest + 2);
}

static void what_is_there_is_no_pattern(void **state)
{
    (void)state;
    put_text_file("a[1]*.txt", "x");
    expect("./a[1]*.txt", NULL, RESOURCE_FILES, "a-1", "a\\[1]\\*.txt");
    expect("./b[1]*.txt", NULL, RESOURCE_FILES, "b-1", "b[1]*.txt");
}

static void refused(void **state)
{
    (void)state;
    refuse("etc", NULL, "./etc");
    refuse("", NULL, "neither");
    refuse("-", NULL, "--name");
    refuse("sqlite:", NULL, "after sqlite: comes a path");
    refuse("foo:bar", NULL, "no kind of resource");
    refuse("redis://localhost", NULL, "not supported by this version");
    refuse("./etc", "My Name", "cannot be the name");
    refuse("./etc", "all", "cannot be the name");
    refuse("./etc", "", "cannot be the name");
    refuse("./all", NULL, "--name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(what_is_there_is_no_pattern),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
