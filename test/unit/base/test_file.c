/* Whole files and directories, on real ones. */
#include "base/file.h"
#include "base/mem.h"
#include "test/unit/unit.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static size_t entries(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n - 2;
}

static void put(const char *path, const char *text)
{
    struct err e = ERR_INIT;
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &e), 0);
}

static void written_is_read_back(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "a");
    mode_t before = umask(077);
    assert_int_equal(file_write_atomic(path, "old", 3, 0644, &e), 0);
    (void)umask(before);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);

    size_t big = 100000; /* several chunks */
    _cleanup_free_ char *data = mem_alloc(big);
    memset(data, 'x', big);
    assert_int_equal(file_write_atomic(path, data, big, 0600, &e), 0);
    assert_int_equal(entries(*state), 1);
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    buf_adds(&b, "<");
    assert_int_equal(file_read(path, &b, &e), 0);
    assert_int_equal(b.len, big + 1);
    assert_memory_equal(b.data + 1, data, big);
}

static void empty_file_gives_empty_text(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "a");
    put(path, "");
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read(path, &b, &e), 0);
    assert_string_equal(buf_str(&b), "");
}

static void cap_is_exact(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "a");
    put(path, "12345");
    _cleanup_(buf_release) struct buf b = BUF_INIT(5);
    assert_int_equal(file_read(path, &b, &e), 0);
    assert_string_equal(buf_str(&b), "12345");
    _cleanup_(buf_release) struct buf small = BUF_INIT(4);
    assert_int_equal(file_read(path, &small, &e), ERR_LIMIT);
    assert_int_equal(small.len, 0);
    assert_non_null(strstr(e.msg, path));
}

static void missing_file_is_not_found(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "none");
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read(path, &b, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(file_read(*state, &b, &e), ERR_IO); /* a directory */
}

static void failed_write_leaves_nothing(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "d");
    _cleanup_free_ char *below = path_join(path, "x");
    assert_int_equal(dir_make_all(below, 0700, &e), 0);
    assert_int_not_equal(file_write_atomic(path, "x", 1, 0600, &e), 0);
    assert_int_equal(entries(*state), 1);
    _cleanup_free_ char *lost = path_join(*state, "no/such/file");
    assert_int_equal(file_write_atomic(lost, "x", 1, 0600, &e), ERR_NOT_FOUND);
}

static void directories_are_made_with_parents(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "a/b//c/");
    assert_int_equal(dir_make_all(path, 0700, &e), 0);
    assert_int_equal(dir_make_all(path, 0700, &e), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(dir_make_all("/", 0700, &e), 0);
    assert_int_equal(dir_make_all(".", 0700, &e), 0);
    assert_int_not_equal(dir_make_all("", 0700, &e), 0);

    _cleanup_free_ char *file = path_join(*state, "file");
    _cleanup_free_ char *below = path_join(file, "x/y");
    put(file, "");
    assert_int_equal(dir_make_all(file, 0700, &e), ERR_EXISTS);
    assert_int_equal(dir_make_all(below, 0700, &e), ERR_EXISTS);
}

static void removal_does_not_follow_links(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *kept = path_join(*state, "kept");
    _cleanup_free_ char *kept_file = path_join(kept, "file");
    _cleanup_free_ char *gone = path_join(*state, "gone");
    _cleanup_free_ char *deep = path_join(gone, "a/b");
    _cleanup_free_ char *link = path_join(deep, "link");
    _cleanup_free_ char *file = path_join(deep, "file");
    assert_int_equal(dir_make_all(kept, 0700, &e), 0);
    assert_int_equal(dir_make_all(deep, 0700, &e), 0);
    put(kept_file, "x");
    put(file, "x");
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(chmod(deep, 0500), 0);

    assert_int_equal(dir_remove_all(gone, &e), 0);
    assert_int_equal(access(gone, F_OK), -1);
    assert_int_equal(access(kept_file, F_OK), 0);
    assert_int_equal(dir_remove_all(gone, &e), 0);

    _cleanup_free_ char *alias = path_join(*state, "alias");
    _cleanup_free_ char *slash = str_fmt("%s/", alias);
    assert_int_equal(symlink(kept, alias), 0);
    assert_int_not_equal(dir_remove_all(slash, &e), 0);
    assert_int_equal(access(kept_file, F_OK), 0);
}

static void removal_refuses_nonsense(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const char *const path[] = {"", "/", "//", ".", "x/..", "./"};
    for (size_t i = 0; i < array_len(path); i++)
        assert_int_equal(dir_remove_all(path[i], &e), ERR_REFUSED);
}

static void many_entries_are_removed(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *dir = path_join(*state, "many");
    assert_int_equal(dir_make_all(dir, 0700, &e), 0);
    for (int i = 0; i < 2000; i++) {
        _cleanup_free_ char *path = str_fmt("%s/%d", dir, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    assert_int_equal(dir_remove_all(dir, &e), 0);
    assert_int_equal(entries(*state), 0);
}

static void transfers_at_offsets(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "a");
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_pwrite_all(fd, "world", 5, 5, path, &e), 0);
    assert_int_equal(fd_write_all(fd, "hello", 5, path, &e), 0);
    char text[16];
    size_t got;
    assert_int_equal(fd_pread_all(fd, text, sizeof(text), 2, &got, path, &e), 0);
    assert_int_equal(got, 8);
    assert_memory_equal(text, "lloworld", 8);
    assert_int_equal(fd_pread_all(fd, text, sizeof(text), 100, &got, path, &e), 0);
    assert_int_equal(got, 0);
    assert_int_equal(fd_pread_all(-1, text, 1, 0, &got, "it", &e), ERR_IO);
    assert_int_equal(fd_write_all(-1, text, 1, "it", &e), ERR_IO);
}

static void full_device_is_said(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        skip();
    assert_int_equal(fd_write_all(fd, "x", 1, "/dev/full", &e), ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        unit_dir_test(written_is_read_back),
        unit_dir_test(empty_file_gives_empty_text),
        unit_dir_test(cap_is_exact),
        unit_dir_test(missing_file_is_not_found),
        unit_dir_test(failed_write_leaves_nothing),
        unit_dir_test(directories_are_made_with_parents),
        unit_dir_test(removal_does_not_follow_links),
        cmocka_unit_test(removal_refuses_nonsense),
        unit_dir_test(many_entries_are_removed),
        unit_dir_test(transfers_at_offsets),
        cmocka_unit_test(full_device_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
