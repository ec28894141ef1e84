/* Errors: messages put together, codes from errno, exit statuses and names. */
#include "unit.h"

#include "base/err.h"
#include <errno.h>
#include <string.h>

static void from_errno(void **state)
{
    static const struct {
        int sys, code;
        bool retryable;
        const char *msg;
    } table[] = {
        {ENOENT, ERR_NOT_FOUND, false, "cannot read /a: no such file or directory"},
        {EACCES, ERR_DENIED, false, "cannot read /a: permission denied"},
        {EPERM, ERR_DENIED, false, "cannot read /a: operation not permitted"},
        {EROFS, ERR_DENIED, false, "cannot read /a: read-only file system"},
        {ENOSPC, ERR_FULL, false, "cannot read /a: no space left on device"},
        {EDQUOT, ERR_FULL, false, "cannot read /a: disk quota exceeded"},
        {EFBIG, ERR_FULL, false, "cannot read /a: file too large"},
        {EEXIST, ERR_EXISTS, false, "cannot read /a: file exists"},
        {EISDIR, ERR_IO, false, "cannot read /a: is a directory"},
        {EIO, ERR_IO, true, "cannot read /a: input/output error"},
        {EINTR, ERR_IO, true, "cannot read /a: interrupted system call"},
        {EAGAIN, ERR_IO, true, "cannot read /a: resource temporarily unavailable"},
        {ESTALE, ERR_IO, true, "cannot read /a: stale file handle"},
        {ETIMEDOUT, ERR_IO, true, "cannot read /a: connection timed out"},
        {ECONNRESET, ERR_IO, true, "cannot read /a: connection reset by peer"},
        {EADV, ERR_IO, false, "cannot read /a: advertise error"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        struct err e = ERR_INIT;
        assert_int_equal(err_sys(&e, table[i].sys, "cannot read %s", "/a"), table[i].code);
        assert_int_equal(e.code, table[i].code);
        assert_int_equal(e.sys, table[i].sys);
        assert_int_equal(e.retryable, table[i].retryable);
        assert_string_equal(e.msg, table[i].msg);
    }
}

static void put_together(void **state)
{
    struct err e = ERR_INIT;
    (void)state;
    (void)err_sys(&e, EIO, "cannot read %s", "/a");
    assert_int_equal(err_prefix(&e, "resource %s", "app"), ERR_IO);
    assert_int_equal(err_hint(&e, "look at %s", "dmesg"), ERR_IO);
    assert_string_equal(e.msg, "resource app: cannot read /a: input/output error; look at dmesg");
    assert_true(e.retryable);
    /* Its own message may be an argument; what was known of the system is forgotten. */
    assert_int_equal(err_set(&e, ERR_PARTIAL, "partial: %s", e.msg), ERR_PARTIAL);
    assert_string_equal(e.msg,
                        "partial: resource app: cannot read /a: input/output error; look at dmesg");
    assert_int_equal(e.sys, 0);
    assert_false(e.retryable);
}

static void long_messages_are_cut(void **state)
{
    char text[3 * ERR_MESSAGE_MAX];
    struct err e = ERR_INIT;
    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)err_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
    (void)err_prefix(&e, "short");
    assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
    assert_memory_equal(e.msg, "short: xxx", 10);
    (void)err_hint(&e, "%s", text);
    (void)err_prefix(&e, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
    (void)err_sys(&e, EIO, "%s", text);
    assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
}

static void statuses_and_names(void **state)
{
    static const struct {
        int code, status;
        const char *name;
    } table[] = {
        {0, 0, "ok"},
        {ERR_INTERNAL, 1, "internal"},
        {ERR_USAGE, 2, "usage"},
        {ERR_NOT_FOUND, 1, "not_found"},
        {ERR_PARTIAL, 3, "partial"},
        {ERR_MISSED, 4, "missed"},
        {ERR_CORRUPT, 4, "corrupt"},
        {ERR_REFUSED, 5, "refused"},
        {ERR_LOCKED, 6, "locked"},
        {ERR_PASSPHRASE, 1, "passphrase"},
        {ERR_TIMEOUT, 1, "timeout"},
        {-999, 1, "internal"},
        {7, 1, "internal"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        assert_int_equal(err_exit_status(table[i].code), table[i].status);
        assert_string_equal(err_name(table[i].code), table[i].name);
    }
    for (int code = ERR_TIMEOUT; code < ERR_INTERNAL; code++)
        assert_string_not_equal(err_name(code), "internal"); /* none was forgotten */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_errno),
        cmocka_unit_test(put_together),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(statuses_and_names),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
