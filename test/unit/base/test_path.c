/* Paths as text. */
#include "base/file.h"
#include "test/unit/unit.h"

static void check(char *got, const char *want)
{
    assert_string_equal(got, want);
    free(got);
}

static void join(void **state)
{
    (void)state;
    check(path_join("a", "b"), "a/b");
    check(path_join("a/", "/b"), "a/b");
    check(path_join("/", "b"), "/b");
    check(path_join("", "b"), "b");
    check(path_join("a", ""), "a");
    check(path_join("/", ""), "/");
    check(path_join("a//", "b/c"), "a/b/c");
}

static void base_and_dir(void **state)
{
    (void)state;
    assert_string_equal(path_base("/a/b"), "b");
    assert_string_equal(path_base("b"), "b");
    assert_string_equal(path_base("a/"), "");
    check(path_dir("/a/b"), "/a");
    check(path_dir("/a"), "/");
    check(path_dir("//a"), "/");
    check(path_dir("a//b"), "a");
    check(path_dir("b"), ".");
    check(path_dir("/"), "/");
    check(path_dir("a/"), "a");
}

static void absolute(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } c[] = {
        {"/", "/"},          {"//", "/"},          {"/a/b", "/a/b"},       {"/a//b/", "/a/b"},
        {"/./a/.", "/a"},    {"/a/../b", "/b"},    {"/../../a", "/a"},     {"/a/..", "/"},
        {"/a/b/../..", "/"}, {"/a/...", "/a/..."}, {"/.a/..b", "/.a/..b"}, {"/aa/bb/../c", "/aa/c"},
    };
    struct err e = ERR_INIT;
    char *out;
    for (size_t i = 0; i < array_len(c); i++) {
        assert_int_equal(path_absolute(c[i].in, &out, &e), 0);
        check(out, c[i].out);
    }
    _cleanup_free_ char *cwd = getcwd(NULL, 0);
    _cleanup_free_ char *want = path_join(cwd, "x");
    assert_int_equal(path_absolute("./y/../x", &out, &e), 0);
    check(out, want);
    assert_int_equal(path_absolute(".", &out, &e), 0);
    check(out, cwd);
    assert_int_equal(path_absolute("", &out, &e), ERR_USAGE);
    assert_null(out);
}

static void home(void **state)
{
    (void)state;
    (void)setenv("HOME", "/home/u", 1);
    check(path_expand_home("~/x"), "/home/u/x");
    check(path_expand_home("~"), "/home/u");
    check(path_expand_home("~v/x"), "~v/x");
    check(path_expand_home("a/~"), "a/~");
    (void)unsetenv("HOME");
    check(path_expand_home("~/x"), "~/x");
}

static void components(void **state)
{
    (void)state;
    assert_true(path_component_safe("a", 1));
    assert_true(path_component_safe("...", 3));
    assert_true(path_component_safe(".a", 2));
    assert_true(path_component_safe("\xff", 1));
    assert_false(path_component_safe("", 0));
    assert_false(path_component_safe(".", 1));
    assert_false(path_component_safe("..", 2));
    assert_false(path_component_safe("a/b", 3));
    assert_false(path_component_safe("a\0b", 3));
}

static void own_directories(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *out;
    (void)setenv("SALVOR_STATE_DIR", "/s/../t", 1);
    assert_int_equal(dir_state(&out, &e), 0);
    check(out, "/t");
    (void)unsetenv("SALVOR_STATE_DIR");
    (void)unsetenv("SALVOR_CACHE_DIR");
    (void)setenv("HOME", "/home/u", 1);
    (void)setenv("XDG_STATE_HOME", "/xdg", 1);
    (void)setenv("XDG_CACHE_HOME", "relative", 1);
    bool root = geteuid() == 0;
    assert_int_equal(dir_state(&out, &e), 0);
    check(out, root ? "/var/lib/salvor" : "/xdg/salvor");
    assert_int_equal(dir_cache(&out, &e), 0);
    check(out, root ? "/var/cache/salvor" : "/home/u/.cache/salvor");
    (void)unsetenv("HOME");
    if (!root) {
        assert_int_equal(dir_cache(&out, &e), ERR_USAGE);
        assert_non_null(strstr(e.msg, "SALVOR_CACHE_DIR"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(join), cmocka_unit_test(base_and_dir), cmocka_unit_test(absolute),
        cmocka_unit_test(home), cmocka_unit_test(components),   cmocka_unit_test(own_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
