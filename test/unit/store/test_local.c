/* What is particular to a store in a directory: modes, unfinished files, strange entries, and file
 * systems that are full, read-only or not ours. The rest is in test/conform. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/store.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static const struct piece abc = {"abc", 3};

struct place {
    char directory[40];
    struct store *s; /* in <directory>/deep/er/store */
};

static int make(void **state)
{
    struct place *p = mem_zero(sizeof *p);
    struct err e = ERR_INIT;
    (void)strcpy(p->directory, "/tmp/salvor-local-XXXXXX");
    if (mkdtemp(p->directory) == NULL || chdir(p->directory) != 0)
        return -1;
    *state = p;
    return store_local_new("deep/er/store", true, &p->s, &e);
}

static int clear(void **state)
{
    struct place *p = *state;
    struct err e = ERR_INIT;
    store_free(p->s);
    int rc = chdir("/") == 0 ? dir_remove_all(p->directory, &e) : -1;
    free(p);
    return rc;
}

static struct store *store_of(void **state)
{
    return ((struct place *)*state)->s;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int count(const struct store_object *o, void *arg, struct err *e)
{
    (void)o;
    (void)e;
    ++*(size_t *)arg;
    return 0;
}

static size_t listed(struct store *s)
{
    struct err e = ERR_INIT;
    size_t n = 0;
    assert_int_equal(store_list(s, "", count, &n, &e), 0);
    return n;
}

static void modes(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    mode_t mask = umask(0);
    assert_int_equal(store_put(s, "data/ab/abc", PUT_NEW, &abc, 1, &e), 0);
    (void)umask(mask);
    assert_int_equal(mode_of("deep"), 0700);
    assert_int_equal(mode_of("deep/er"), 0700);
    assert_int_equal(mode_of("deep/er/store"), 0700);
    assert_int_equal(mode_of("deep/er/store/data"), 0700);
    assert_int_equal(mode_of("deep/er/store/data/ab"), 0700);
    assert_int_equal(mode_of("deep/er/store/data/ab/abc"), 0600);
}

static void what_restic_wrote_read_only_is_replaced(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    write_file("deep/er/store/config", "old");
    assert_int_equal(chmod("deep/er/store/config", 0400), 0);
    assert_int_equal(store_put(s, "config", PUT_NEW, &abc, 1, &e), ERR_EXISTS);
    assert_int_equal(store_put(s, "config", PUT_REPLACE, &abc, 1, &e), 0);
    assert_int_equal(chmod("deep/er/store/config", 0400), 0);
    assert_int_equal(store_remove(s, "config", &e), 0);
}

#define ID "deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef"

static void unfinished_files(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    static const char *const files[] = {
        "deep/er/store/salvor-tmp-00000000000000000001",
        "deep/er/store/data/ab/salvor-tmp-00000000000000000002",
        "deep/er/store/data/ab/" ID "-tmp-123456", /* restic's */
    };
    const struct timeval hour_ago[] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};
    size_t n;
    assert_int_equal(store_put(s, "data/ab/" ID, PUT_NEW, &abc, 1, &e), 0);
    for (size_t i = 0; i < array_len(files); i++)
        write_file(files[i], "half");
    assert_int_equal(listed(s), 1);
    assert_int_equal(store_clean(s, 3000, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(utimes(files[0], hour_ago), 0);
    assert_int_equal(utimes(files[2], hour_ago), 0);
    assert_int_equal(utimes("deep/er/store/data/ab/" ID, hour_ago), 0);
    assert_int_equal(store_clean(s, 3000, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(access(files[1], F_OK), 0);
    assert_int_equal(listed(s), 1);
}

static void strange_entries(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    uint64_t size;
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    assert_int_equal(store_put(s, "data/ab/abc", PUT_NEW, &abc, 1, &e), 0);
    assert_int_equal(mkdir("elsewhere", 0700), 0);
    write_file("elsewhere/x", "12345");
    assert_int_equal(mkdir("deep/er/store/lost+found", 0), 0); /* as on a disk of its own */
    write_file("deep/er/store/data/.x y.swp", "");
    assert_int_equal(mkfifo("deep/er/store/data/fifo", 0600), 0);
    assert_int_equal(symlink("../../../../elsewhere", "deep/er/store/data/cd"), 0);
    assert_int_equal(symlink("nowhere", "deep/er/store/data/dangling"), 0);
    assert_int_equal(listed(s), 2);
    assert_int_equal(store_get(s, "data/cd/x", 1, 3, &b, &e), 0);
    assert_string_equal(buf_str(&b), "234");

    assert_int_equal(store_get(s, "data/fifo", 0, STORE_TO_END, &b, &e), ERR_IO);
    assert_int_equal(store_stat(s, "data/fifo", &size, &e), ERR_IO);
    assert_int_equal(store_get(s, "data/dangling", 0, STORE_TO_END, &b, &e), ERR_NOT_FOUND);
    assert_true(store_put(s, "data/ab", PUT_REPLACE, &abc, 1, &e) < 0);
    assert_true(store_put(s, "data/ab/abc/x", PUT_REPLACE, &abc, 1, &e) < 0);
    assert_non_null(strstr(e.msg, "data/ab/abc/x"));
    assert_int_equal(listed(s), 2);

    size_t n = 0;
    assert_int_equal(symlink("..", "deep/er/store/data/up"), 0);
    assert_int_equal(store_list(s, "", count, &n, &e), ERR_LIMIT);
    assert_int_equal(store_list(s, "data/ab/", count, &n, &e), 0);
    assert_int_equal(rmdir("deep/er/store/lost+found"), 0);
}

/* Runs fn in a child of its own; its exit status. */
static int in_child(int (*fn)(struct store *s), struct store *s)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(fn(s));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* 0 if putting too much fails with `code` and these words and leaves nothing behind; else where it
 * went wrong. */
static int overfill(struct store *s, const char *words)
{
    struct err e = ERR_INIT;
    enum { MUCH = 4 << 20 };
    _cleanup_free_ char *much = mem_zero(MUCH);
    const struct piece p[] = {{much, 1000}, {much, MUCH - 1000}};
    uint64_t size;
    size_t n = 0;
    if (store_put(s, "data/ab/x", PUT_REPLACE, &abc, 1, &e) != 0)
        return 1;
    if (store_put(s, "data/ab/x", PUT_REPLACE, p, 2, &e) != ERR_FULL || e.retryable)
        return 2;
    if (strstr(e.msg, "data/ab/x") == NULL || strstr(e.msg, words) == NULL)
        return 3;
    if (store_stat(s, "data/ab/x", &size, &e) != 0 || size != 3)
        return 4; /* the old object is untouched */
    if (store_clean(s, -10, &n, &e) != 0 || n != 0)
        return 5; /* nothing unfinished is left */
    return store_put(s, "data/ab/y", PUT_NEW, p, 1, &e) == 0 ? 0 : 6;
}

static int limit_then_overfill(struct store *s)
{
    const struct rlimit limit = {1 << 20, 1 << 20};
    (void)signal(SIGXFSZ, SIG_IGN);
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? overfill(s, "ulimit") : 50;
}

static void a_limit_on_file_sizes(void **state)
{
    assert_int_equal(in_child(limit_then_overfill, store_of(state)), 0);
}

static bool write_proc(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Whether this process may mount, seen by itself alone. Who is not root becomes it in a user
 * namespace, where the system allows that. */
static bool may_mount(void)
{
    char uid[40], gid[40];
    (void)snprintf(uid, sizeof uid, "0 %u 1", (unsigned)geteuid());
    (void)snprintf(gid, sizeof gid, "0 %u 1", (unsigned)getegid());
    if (geteuid() != 0 &&
        (unshare(CLONE_NEWUSER) != 0 || !write_proc("/proc/self/setgroups", "deny") ||
         !write_proc("/proc/self/uid_map", uid) || !write_proc("/proc/self/gid_map", gid)))
        return false;
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* 77 where the system does not let us mount. */
static int mount_then_overfill(struct store *unused)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    (void)unused;
    if (!may_mount() || mount("tmpfs", "deep", "tmpfs", 0, "size=1m") != 0)
        return 77;
    if (store_local_new("deep/full", true, &s, &e) != 0)
        return 51;
    int rc = overfill(s, "free space");
    store_free(s);
    return rc;
}

static void a_full_disk(void **state)
{
    int rc = in_child(mount_then_overfill, store_of(state));
    if (rc == 77)
        skip();
    assert_int_equal(rc, 0);
}

static int mount_read_only(struct store *s)
{
    struct err e = ERR_INIT;
    (void)s;
    if (!may_mount() || mount("deep", "deep", NULL, MS_BIND, NULL) != 0 ||
        mount(NULL, "deep", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        return 77;
    struct store *again = NULL;
    if (store_local_new("deep/er/store", true, &again, &e) != 0)
        return 1;
    if (store_put(again, "data/x", PUT_NEW, &abc, 1, &e) != ERR_DENIED || e.retryable)
        return 2;
    if (strstr(e.msg, "read-only") == NULL)
        return 3;
    if (store_remove(again, "config", &e) != ERR_DENIED)
        return 4;
    store_free(again);
    return 0;
}

static void a_read_only_disk(void **state)
{
    struct err e = ERR_INIT;
    assert_int_equal(store_put(store_of(state), "config", PUT_NEW, &abc, 1, &e), 0);
    int rc = in_child(mount_read_only, store_of(state));
    if (rc == 77)
        skip();
    assert_int_equal(rc, 0);
}

static int as_nobody(struct store *s)
{
    struct err e = ERR_INIT;
    uint64_t size;
    size_t n = 0;
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    struct store *again = NULL;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    if (store_get(s, "data/ab/abc", 0, 3, &b, &e) != ERR_DENIED || e.retryable)
        return 1;
    if (strstr(e.msg, "user who owns") == NULL)
        return 2;
    if (store_put(s, "data/ab/new", PUT_NEW, &abc, 1, &e) != ERR_DENIED)
        return 3;
    if (store_remove(s, "data/ab/abc", &e) != ERR_DENIED)
        return 4;
    if (store_stat(s, "data/ab/abc", &size, &e) != ERR_DENIED)
        return 5;
    if (store_list(s, "data/", count, &n, &e) != ERR_DENIED)
        return 6;
    return store_local_new("deep/er/store", true, &again, &e) == ERR_DENIED ? 0 : 7;
}

static void not_ours(void **state)
{
    struct err e = ERR_INIT;
    assert_int_equal(store_put(store_of(state), "data/ab/abc", PUT_NEW, &abc, 1, &e), 0);
    if (geteuid() != 0) {
        assert_int_equal(chmod("deep/er/store/data", 0), 0);
        assert_int_equal(chmod("deep/er/store", 0), 0);
    }
    int rc = in_child(as_nobody, store_of(state));
    assert_int_equal(chmod("deep/er/store", 0700), 0);
    assert_int_equal(chmod("deep/er/store/data", 0700), 0);
    assert_int_equal(rc, 0);
}

static void the_directory_vanishes(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    assert_int_equal(store_put(s, "data/ab/abc", PUT_NEW, &abc, 1, &e), 0);
    assert_int_equal(dir_remove_all("deep", &e), 0);
    assert_true(store_put(s, "data/ab/abc", PUT_NEW, &abc, 1, &e) < 0);
    assert_int_equal(store_remove(s, "data/ab/abc", &e), ERR_NOT_FOUND);
    assert_int_equal(listed(s), 0);
    assert_int_equal(access("deep", F_OK), -1); /* nothing was made in its place */
}

static void what_cannot_be_opened(void **state)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    (void)state;
    write_file("file", "x");
    assert_int_equal(store_local_new("file", false, &s, &e), ERR_IO);
    assert_int_equal(store_local_new("file", true, &s, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "not a file"));
    assert_true(store_local_new("file/below", true, &s, &e) < 0);
    assert_int_equal(store_local_new("missing", false, &s, &e), ERR_NOT_FOUND);
    assert_int_equal(access("missing", F_OK), -1);
    assert_true(store_local_new("/proc/nothing/here", true, &s, &e) < 0);
    assert_null(s);
}

#define local_test(f) cmocka_unit_test_setup_teardown(f, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        local_test(modes),
        local_test(what_restic_wrote_read_only_is_replaced),
        local_test(unfinished_files),
        local_test(strange_entries),
        local_test(a_limit_on_file_sizes),
        local_test(a_full_disk),
        local_test(a_read_only_disk),
        local_test(not_ours),
        local_test(the_directory_vanishes),
        local_test(what_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
