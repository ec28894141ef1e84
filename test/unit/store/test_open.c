/* Addresses of stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "store/store.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char directory[] = "/tmp/salvor-open-XXXXXX";

static int enter(void **state)
{
    (void)state;
    return mkdtemp(directory) != NULL && chdir(directory) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    struct err e = ERR_INIT;
    (void)state;
    return chdir("/") == 0 ? dir_remove_all(directory, &e) : -1;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void paths(void **state)
{
    static const struct {
        const char *address, *path;
    } cases[] = {
        {"./here", "here"},
        {"relative/deep", "relative/deep"},
        {"plain", "plain"},
        {"local:tagged", "tagged"},
        {"./with:colon", "with:colon"},
        {"slashes///", "slashes"},
        {"a/../b", "b"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(cases); i++) {
        struct err e = ERR_INIT;
        struct store *s = NULL;
        if (i + 1 < array_len(cases))
            assert_int_equal(store_open(cases[i].address, false, &s, &e), ERR_NOT_FOUND);
        else
            assert_int_equal(mkdir("a", 0700), 0);
        assert_int_equal(store_open(cases[i].address, true, &s, &e), 0);
        assert_true(is_directory(cases[i].path));
        assert_string_equal(store_properties(s)->kind, "local");
        _cleanup_free_ char *file = store_local_path(s, "x/y");
        assert_int_equal(file[0], '/');
        store_free(s);
        assert_int_equal(store_open(cases[i].address, false, &s, &e), 0);
        store_free(s);
    }
}

static void memory(void **state)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    (void)state;
    assert_int_equal(store_open("memory:", false, &s, &e), 0);
    assert_string_equal(store_properties(s)->kind, "memory");
    assert_string_equal(store_address(s), "memory:");
    assert_null(store_local_path(s, "x"));
    store_free(s);
    assert_int_equal(store_open("memory:/x", false, &s, &e), ERR_USAGE);
}

static void others(void **state)
{
    static const struct {
        const char *address;
        int code;
        const char *says, *keeps_secret;
    } cases[] = {
        {"", ERR_USAGE, "empty", NULL},
        {"local:", ERR_USAGE, "empty", NULL},
        {"s3:https://example.com/bucket", ERR_UNSUPPORTED, "s3", NULL},
        {"azure:container:/", ERR_UNSUPPORTED, "azure", NULL},
        {"sftp:me@host:/srv", ERR_UNSUPPORTED, "sftp", NULL},
        {"rest:https://me:hunter2@host/", ERR_UNSUPPORTED, "rest", "hunter2"},
        {"ftp://me:hunter2@host/", ERR_USAGE, "\"ftp:\"", "hunter2"},
        {"s33:x", ERR_USAGE, "memory:", NULL},
        {":x", ERR_USAGE, "local:", NULL},
        {"/nowhere/at/all", ERR_NOT_FOUND, "/nowhere/at/all", NULL},
        {"/dev/null", ERR_IO, "a directory, not a file", NULL},
    };
    (void)state;
    for (size_t i = 0; i < array_len(cases); i++) {
        struct err e = ERR_INIT;
        struct store *s = NULL;
        assert_int_equal(store_open(cases[i].address, false, &s, &e), cases[i].code);
        assert_null(s);
        assert_non_null(strstr(e.msg, cases[i].says));
        if (cases[i].keeps_secret != NULL)
            assert_null(strstr(e.msg, cases[i].keeps_secret));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(memory),
        cmocka_unit_test(others),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
