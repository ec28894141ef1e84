/* Finding the configuration and reading its secrets. */
#include "fixture.h"

#include "base/log.h"

static void finds(void **state)
{
    (void)state;
    char *found = NULL;
    (void)unlink("salvor.yaml");
    if (access("/etc/salvor/salvor.yaml", F_OK) != 0) {
        assert_int_equal(config_find(NULL, &found, &e), ERR_NOT_FOUND);
        assert_null(found);
        assert_non_null(strstr(e.msg, "salvor init"));
    }
    put_text_file(".config/salvor/salvor.yaml", "name: a\n");
    assert_int_equal(config_find(NULL, &found, &e), 0);
    assert_true(str_ends(found, "/.config/salvor/salvor.yaml"));
    free(take(found));
    put_text_file("salvor.yaml", "name: a\n");
    assert_int_equal(config_find(NULL, &found, &e), 0);
    assert_string_equal(found, "salvor.yaml");
    free(take(found));

    (void)setenv("SALVOR_CONFIG", "other.yaml", 1);
    assert_int_equal(config_find(NULL, &found, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "$SALVOR_CONFIG"));
    put_text_file("other.yaml", "name: a\n");
    assert_int_equal(config_find(NULL, &found, &e), 0);
    assert_string_equal(found, "other.yaml");
    free(take(found));
    assert_int_equal(config_find("third.yaml", &found, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "third.yaml"));
    assert_int_equal(config_find("", &found, &e), ERR_USAGE);
    (void)unsetenv("SALVOR_CONFIG");
}

static void expect_secret(struct config_secret s, const char *expected)
{
    _cleanup_(buf_wipe_release) struct buf out = BUF_INIT(BUF_TEXT);
    if (config_secret_read(&s, &out, &e) != 0)
        fail_msg("%s", e.msg);
    assert_string_equal(buf_str(&out), expected);
}

static void expect_no_secret(struct config_secret s, int code, const char *part)
{
    _cleanup_(buf_wipe_release) struct buf out = BUF_INIT(BUF_TEXT);
    assert_int_equal(config_secret_read(&s, &out, &e), code);
    assert_non_null(strstr(e.msg, part));
    assert_int_equal(out.len, 0);
}

static void secrets(void **state)
{
    (void)state;
    char file[] = "password", command[] = "printf ' from command\\nurl: x\\n'", value[] = " as is ";
    put_text_file(file, "first line \r\nsecond\n");
    expect_secret((struct config_secret){.file = file}, "first line");
    put_text_file(file, "\xEF\xBB\xBFpass phrase");
    expect_secret((struct config_secret){.file = file}, "pass phrase");
    expect_secret((struct config_secret){.command = command}, "from command");
    expect_secret((struct config_secret){.value = value}, value);

    expect_no_secret((struct config_secret){0}, ERR_NOT_FOUND, "no secret");
    put_text_file(file, "\nsecond\n");
    expect_no_secret((struct config_secret){.file = file}, ERR_USAGE, "password is empty");
    put_file(file, "a\0b", 3, 0600);
    expect_no_secret((struct config_secret){.file = file}, ERR_USAGE, "NUL");
    (void)unlink(file);
    expect_no_secret((struct config_secret){.file = file}, ERR_USAGE, "password");
    char failing[] = "exit 3", silent[] = "true";
    expect_no_secret((struct config_secret){.command = failing}, ERR_IO, "3");
    expect_no_secret((struct config_secret){.command = silent}, ERR_USAGE, "empty");

    /* Longer than any passphrase: a mistake, and told so. */
    _cleanup_free_ char *large = mem_zero(100000);
    memset(large, 'x', 99999);
    put_text_file(file, large);
    expect_no_secret((struct config_secret){.file = file}, ERR_LIMIT, "password");
}

static void types(void **state)
{
    (void)state;
    assert_string_equal(resource_type_name(RESOURCE_FILES), "files");
    assert_string_equal(resource_type_name(RESOURCE_SQLITE), "sqlite");
    assert_string_equal(resource_type_name(RESOURCE_STREAM), "stream");
    config_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds),
        cmocka_unit_test(secrets),
        cmocka_unit_test(types),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
