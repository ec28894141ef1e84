/* Finding pg_dump and its kin, among made-up installations. */
#include "base/file.h"
#include "base/mem.h"
#include "client/postgres_int.h"
#include "test/unit/unit.h"

/* A program that says it is of that version. */
static void install(const char *root, const char *directory, const char *name, const char *version)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *at = path_join(root, directory);
    _cleanup_free_ char *path = path_join(at, name);
    _cleanup_free_ char *text = str_fmt("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version);
    assert_int_equal(dir_make_all(at, 0700, &e), 0);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0700, &e), 0);
}

/* Looks below `root` for pg_dump; the path below it, or NULL with a message in *e. */
static char *find(const char *root, int major, bool exact, struct err *e)
{
    _cleanup_free_ char *pattern = path_join(root, "lib/*/bin");
    _cleanup_free_ char *path = path_join(root, "bin");
    const char *const patterns[] = {pattern, NULL};
    char *found = NULL;
    if (pg_program_among("pg_dump", major, exact, patterns, path, &found, e) != 0)
        return NULL;
    char *below = str_dup(found + strlen(root) + 1);
    free(found);
    return below;
}

static void lowest_that_fits_is_chosen(void **state)
{
    struct err e = ERR_INIT;
    install(*state, "lib/9.6/bin", "pg_dump", "9.6.24");
    install(*state, "lib/13/bin", "pg_dump", "13.2 (Debian 13.2-1)");
    install(*state, "lib/15/bin", "pg_dump", "15.18");
    install(*state, "lib/16/bin", "pg_dump", "16beta1");
    install(*state, "bin", "pg_dump", "14.0"); /* a wrapper: what is installed goes first */
    _cleanup_free_ char *a = find(*state, 14, false, &e);
    assert_string_equal(a, "lib/15/bin/pg_dump");
    _cleanup_free_ char *b = find(*state, 16, true, &e);
    assert_string_equal(b, "lib/16/bin/pg_dump");
    _cleanup_free_ char *c = find(*state, 14, true, &e);
    assert_string_equal(c, "bin/pg_dump");
    _cleanup_free_ char *d = find(*state, 9, false, &e);
    assert_string_equal(d, "lib/9.6/bin/pg_dump");
}

static void what_is_missing_is_said(void **state)
{
    struct err e = ERR_INIT;
    assert_null(find(*state, 15, false, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "none is installed"));
    assert_non_null(strstr(e.msg, "postgresql-client-15"));
    install(*state, "lib/13/bin", "pg_dump", "13.2");
    install(*state, "bin", "pg_dump", "nonsense");
    assert_null(find(*state, 15, false, &e));
    assert_non_null(strstr(e.msg, "found only version 13 ("));
    assert_non_null(strstr(e.msg, "15 or newer"));
}

static void bindir_is_believed(void **state)
{
    struct err e = ERR_INIT;
    install(*state, "b", "pg_dump", "15.1");
    _cleanup_free_ char *bindir = path_join(*state, "b");
    _cleanup_free_ char *found = NULL;
    assert_int_equal(pg_program("pg_dump", 15, true, bindir, &found, &e), 0);
    char *none = NULL;
    assert_int_equal(pg_program("pg_dump", 16, false, bindir, &none, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, bindir));
    assert_int_equal(pg_program("initdb", 15, false, bindir, &none, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "package postgresql-15"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        unit_dir_test(lowest_that_fits_is_chosen),
        unit_dir_test(what_is_missing_is_said),
        unit_dir_test(bindir_is_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
