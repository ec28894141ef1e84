/* Directories of throwaway servers: what is swept, and what is not. */
#include "base/file.h"
#include "base/mem.h"
#include "sandbox/sandbox_int.h"
#include "test/unit/unit.h"

#include <string.h>
#include <sys/stat.h>
#include <utime.h>

static const struct sandbox_user me = {.uid = 0};
static char base[] = "/tmp/salvor-unit-XXXXXX";

static int make_base(void **state)
{
    (void)state;
    memcpy(base + sizeof base - 7, "XXXXXX", 6);
    return mkdtemp(base) == NULL;
}

static int remove_base(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    return dir_remove_all(base, &e);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void owned_ones_are_left_alone(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct sandbox_place p;
    assert_int_equal(sandbox_place_make(&p, base, &me, &e), 0);
    _cleanup_free_ char *dir = str_dup(p.dir);
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    sandbox_sweep(base);
    assert_true(exists(dir));
    /* Whoever owned it is gone. */
    (void)close(take_fd(&p.owner));
    sandbox_sweep(base);
    assert_false(exists(dir));
    sandbox_place_remove(&p);
}

static void strangers_are_left_alone(void **state)
{
    (void)state;
    _cleanup_free_ char *other = path_join(base, "other"),
                        *fresh = path_join(base, SANDBOX_PREFIX "fresh"),
                        *stale = path_join(base, SANDBOX_PREFIX "stale"),
                        *link = path_join(base, SANDBOX_PREFIX "link"),
                        *fifo = path_join(base, SANDBOX_PREFIX "fifo"),
                        *owner = path_join(base, SANDBOX_PREFIX "fifo/owner");
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(mkdir(fresh, 0700), 0);
    assert_int_equal(mkdir(stale, 0700), 0);
    assert_int_equal(mkdir(fifo, 0700), 0);
    assert_int_equal(mkfifo(owner, 0600), 0);
    assert_int_equal(symlink(other, link), 0);
    struct utimbuf old = {.actime = 1000, .modtime = 1000};
    assert_int_equal(utime(stale, &old), 0);
    sandbox_sweep(base);
    assert_true(exists(other));
    assert_true(exists(fresh)); /* is being made */
    assert_true(exists(link));
    assert_true(exists(fifo));
    assert_false(exists(stale));
}

static void a_long_path_gets_a_short_socket(void **state)
{
    (void)state;
    char name[101];
    memset(name, 'x', 100);
    name[100] = '\0';
    _cleanup_free_ char *deep = path_join(base, name);
    struct err e = ERR_INIT;
    struct sandbox_place p;
    assert_int_equal(mkdir(deep, 0700), 0);
    assert_int_equal(sandbox_place_make(&p, deep, &me, &e), 0);
    assert_true(strlen(p.socket_dir) <= SOCKET_PATH_MOST);
    assert_string_not_equal(p.socket_dir, p.dir);
    _cleanup_free_ char *dir = str_dup(p.dir), *socket = str_dup(p.socket_dir);
    sandbox_place_remove(&p);
    assert_false(exists(dir));
    assert_false(exists(socket));
}

/* A file that names some process must not have it killed. */
static void only_its_own_server_counts(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_free_ char *data = path_join(base, "data"), *file = path_join(data, "postmaster.pid"),
                        *text = str_fmt("%ld\n", (long)getpid());
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(sandbox_place_server(base), 0);
    assert_int_equal(file_write_atomic(file, text, strlen(text), 0600, &e), 0);
    assert_int_equal(sandbox_place_server(base), 0);
    assert_int_equal(file_write_atomic(file, "1\n", 2, 0600, &e), 0);
    assert_int_equal(sandbox_place_server(base), 0);
    assert_int_equal(file_write_atomic(file, "-1\n", 3, 0600, &e), 0);
    assert_int_equal(sandbox_place_server(base), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(owned_ones_are_left_alone, make_base, remove_base),
        cmocka_unit_test_setup_teardown(strangers_are_left_alone, make_base, remove_base),
        cmocka_unit_test_setup_teardown(a_long_path_gets_a_short_socket, make_base, remove_base),
        cmocka_unit_test_setup_teardown(only_its_own_server_counts, make_base, remove_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
