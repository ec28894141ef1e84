/* The two consents of an unattended restore: each alone is not enough (O5). */
#include "test/unit/unit.h"

#include "cli/cli.h"
#include <fcntl.h>
#include <string.h>

static const char consent[] = "SALVOR_ALLOW_UNATTENDED_RESTORE";

static int confirm(bool target_empty, bool yes, const char *value, struct err *e)
{
    char name[] = "app", root[] = "/srv/app";
    struct restore_plan p = {.resource = name, .root = root, .target_empty = target_empty};
    if (value != NULL)
        (void)setenv(consent, value, 1);
    else
        (void)unsetenv(consent);
    return confirm_restore(&p, yes, false, e);
}

static void nothing_replaced_needs_no_consent(void **state)
{
    struct err e = ERR_INIT;
    (void)state;
    assert_int_equal(confirm(true, false, NULL, &e), 0);
}

static void both_are_needed(void **state)
{
    struct err e = ERR_INIT;
    (void)state;
    assert_int_equal(confirm(false, true, "1", &e), 0);
    assert_int_equal(confirm(false, false, NULL, &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "(both are missing)"));
    assert_int_equal(confirm(false, false, "1", &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "(--yes is missing)"));
    assert_int_equal(confirm(false, true, NULL, &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "(the variable is missing)"));
    assert_int_equal(confirm(false, true, "true", &e), ERR_REFUSED);
    assert_int_equal(err_exit_status(ERR_REFUSED), 5);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_replaced_needs_no_consent),
        cmocka_unit_test(both_are_needed),
    };
    int none = open("/dev/null", O_RDONLY); /* no terminal, wherever the test is run */
    if (none < 0 || dup2(none, STDIN_FILENO) < 0)
        return 1;
    (void)close(none);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
