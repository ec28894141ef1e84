/* The signing key: where it comes from, and what its signatures are worth. */
#include "base/file.h"
#include "base/mem.h"
#include "history/signing.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static char *dir, *path;
static struct err e;
static const char manifest[] = "{\"schema\":1}";

static int setup(void **state)
{
    (void)state;
    char template[] = "/tmp/salvor-signing-XXXXXX";
    if (mkdtemp(template) == NULL)
        return -1;
    dir = str_dup(template);
    path = path_join(dir, "state/signing.key");
    (void)unsetenv("SALVOR_SIGNING_KEY");
    (void)unsetenv("SALVOR_SIGNING_KEY_FILE");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int rc = dir_remove_all(dir, &e);
    free(take(dir));
    free(take(path));
    return rc;
}

static void load(struct signing *s, const char *given, bool make)
{
    if (signing_load(s, given, path, make, &e) != 0)
        fail_msg("%s", e.msg);
}

static int check(const struct signing *s, const char *data, const char *sig)
{
    return signing_check(s, data, strlen(data), sig, strlen(sig), &e);
}

static void made_once(void **state)
{
    (void)state;
    _cleanup_(signing_release) struct signing none = {0}, a = {0}, b = {0};
    load(&none, NULL, false);
    assert_false(none.has_key);
    assert_int_equal(none.trusted.n, 0);
    assert_int_equal(access(path, F_OK), -1);

    load(&a, NULL, true);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    load(&b, NULL, true);
    assert_true(a.has_key && b.has_key);
    assert_memory_equal(a.key.secret, b.key.secret, SIGN_SECRET);
    assert_int_equal(a.trusted.n, 1);
    assert_string_equal(a.trusted.s[0], b.trusted.s[0]);
}

static void made_by_several_at_once(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child != 0)
            continue;
        struct signing s;
        bool fine = signing_load(&s, NULL, path, true, &e) == 0 &&
                    write(fds[1], s.key.public, SIGN_PUBLIC) == SIGN_PUBLIC;
        _exit(!fine);
    }
    uint8_t first[SIGN_PUBLIC], other[SIGN_PUBLIC];
    for (int i = 0; i < 4; i++) {
        int status = 1;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_int_equal(read(fds[0], i == 0 ? first : other, SIGN_PUBLIC), SIGN_PUBLIC);
        if (i > 0)
            assert_memory_equal(first, other, SIGN_PUBLIC);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void given_in_order(void **state)
{
    (void)state;
    /* RFC 8032, 7.1, test 1 */
    static const char secret[] = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    static const char public[] = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    static const char second[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    _cleanup_free_ char *file = path_join(dir, "own.key");
    assert_int_equal(file_write_atomic(file, secret, strlen(secret), 0600, &e), 0);

    struct signing s;
    (void)setenv("SALVOR_SIGNING_KEY_FILE", file, 1);
    load(&s, NULL, true);
    assert_string_equal(s.trusted.s[0], public);
    signing_release(&s);
    (void)setenv("SALVOR_SIGNING_KEY", second, 1);
    load(&s, NULL, true);
    assert_string_not_equal(s.trusted.s[0], public);
    signing_release(&s);
    _cleanup_free_ char *line = str_fmt(" %s\n", secret);
    load(&s, line, true);
    assert_string_equal(s.trusted.s[0], public);
    signing_release(&s);
    assert_int_equal(access(path, F_OK), -1); /* none was made meanwhile */

    (void)unsetenv("SALVOR_SIGNING_KEY");
    assert_int_equal(chmod(file, 0640), 0);
    assert_int_equal(signing_load(&s, NULL, path, true, &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "chmod 600"));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(signing_load(&s, NULL, path, true, &e), ERR_NOT_FOUND);
    assert_false(s.has_key);
}

static void no_keys(void **state)
{
    (void)state;
    struct signing s;
    static const char *const bad[] = {"", "x",
                                      "AAECAwQ=", "hunter2hunter2hunter2hunter2hunter2hunt",
                                      "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=AAAA"};
    for (size_t i = 0; i < array_len(bad); i++) {
        assert_int_equal(signing_load(&s, bad[i], path, true, &e), ERR_USAGE);
        assert_null(strstr(e.msg, "hunter2"));
        assert_non_null(strstr(e.msg, "32 bytes"));
    }
    _cleanup_free_ char *parent = path_dir(path);
    assert_int_equal(dir_make_all(parent, 0700, &e), 0);
    assert_int_equal(file_write_atomic(path, "", 0, 0600, &e), 0);
    assert_int_equal(signing_load(&s, NULL, path, true, &e), ERR_USAGE);
    assert_int_equal(signing_load(&s, NULL, dir, true, &e), ERR_USAGE); /* a directory */
    assert_int_equal(signing_load(&s, NULL, NULL, true, &e), ERR_NOT_FOUND);
    assert_int_equal(signing_load(&s, NULL, NULL, false, &e), 0);
    _cleanup_free_ char *below = str_fmt("%s/x", path);
    assert_true(signing_load(&s, NULL, below, true, &e) != 0); /* a file in the way */
}

static void signatures(void **state)
{
    (void)state;
    _cleanup_(signing_release) struct signing ours = {0}, theirs = {0}, reader = {0};
    _cleanup_(buf_release) struct buf sig = BUF_INIT(BUF_TEXT), other = BUF_INIT(BUF_TEXT);
    load(&ours, NULL, true);
    load(&theirs, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", true);
    assert_int_equal(signing_sign(&reader, "x", 1, &sig, &e), ERR_USAGE);
    assert_int_equal(signing_sign(&ours, manifest, strlen(manifest), &sig, &e), 0);
    assert_int_equal(signing_sign(&theirs, manifest, strlen(manifest), &other, &e), 0);
    assert_true(str_starts(buf_str(&sig), "salvor-ed25519 ") && str_ends(buf_str(&sig), "\n"));

    assert_int_equal(check(&ours, manifest, buf_str(&sig)), 0);
    assert_int_equal(check(&ours, "{\"schema\":2}", buf_str(&sig)), ERR_CORRUPT);
    assert_int_equal(check(&ours, manifest, buf_str(&other)), ERR_REFUSED);
    assert_non_null(strstr(e.msg, theirs.trusted.s[0]));
    _cleanup_free_ char *pin = str_fmt(" %s\n", theirs.trusted.s[0]);
    signing_trust(&ours, pin);
    signing_trust(&ours, pin);
    assert_int_equal(ours.trusted.n, 2);
    assert_int_equal(check(&ours, manifest, buf_str(&other)), 0);
    /* Who has no key of his own can check. */
    signing_trust(&reader, ours.trusted.s[0]);
    assert_int_equal(check(&reader, manifest, buf_str(&sig)), 0);

    /* No beginning of it and no altered byte passes. */
    for (size_t i = 0; i < sig.len - 1; i++) {
        assert_int_equal(signing_check(&ours, manifest, strlen(manifest), buf_str(&sig), i, &e),
                         ERR_CORRUPT);
        sig.data[i] ^= 1;
        assert_int_not_equal(check(&ours, manifest, buf_str(&sig)), 0);
        sig.data[i] ^= 1;
    }
    buf_adds(&sig, "x");
    assert_int_equal(check(&ours, manifest, buf_str(&sig)), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(made_by_several_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(given_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(no_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(signatures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
