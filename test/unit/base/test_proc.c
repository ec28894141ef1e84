/* Child processes. */
#include "base/file.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/work.h"
#include "test/unit/unit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        (void)closedir(d);
    return n;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void output_is_appended(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const char *const argv[] = {"echo", "a b", "$HOME", NULL};
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    buf_adds(&out, "> ");
    int before = open_descriptors();
    assert_int_equal(proc_capture(argv, 10000, &out, &e), 0);
    assert_string_equal(buf_str(&out), "> a b $HOME\n");
    assert_int_equal(open_descriptors(), before);
}

static void long_output_arrives_whole(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    assert_int_equal(proc_capture_shell("head -c 500000 /dev/zero", -1, &out, &e), 0);
    assert_int_equal(out.len, 500000);
}

static void failure_is_told(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    buf_adds(&out, "x");
    assert_int_equal(proc_capture_shell("echo secret; exit 3", 10000, &out, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "status 3"));
    assert_null(strstr(e.msg, "secret"));
    assert_string_equal(buf_str(&out), "x");
    assert_int_equal(proc_capture_shell("kill -TERM $$", 10000, &out, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "signal 15"));
    const char *const none[] = {"no-such-program-here", NULL};
    assert_int_equal(proc_capture(none, 10000, &out, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "no-such-program-here"));
}

static void too_much_is_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(10);
    int before = open_descriptors();
    assert_int_equal(proc_capture_shell("yes", 10000, &out, &e), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    assert_int_equal(open_descriptors(), before);
}

/* Reads the number that the child wrote, and waits until no such process is left. */
static void assert_gone(const char *path)
{
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read(path, &text, &e), 0);
    pid_t pid = (pid_t)atoi(buf_str(&text));
    assert_true(pid > 1);
    /* It may stay a zombie until init, if there is one, has reaped it. */
    _cleanup_free_ char *stat = str_fmt("/proc/%d/stat", (int)pid);
    for (int i = 0; i < 200; i++) {
        buf_clear(&text);
        if (file_read(stat, &text, &e) != 0 || strstr(buf_str(&text), ") Z ") != NULL)
            return;
        (void)usleep(10000);
    }
    fail_msg("process %d is still there", (int)pid);
}

static void timeout_kills_the_group(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "pid");
    _cleanup_free_ char *command = str_fmt("trap '' TERM; sleep 60 & echo $! > %s; wait", path);
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    int before = open_descriptors();
    int64_t start = now_ms();
    assert_int_equal(proc_capture_shell(command, 300, &out, &e), ERR_TIMEOUT);
    assert_true(now_ms() - start < 5000);
    assert_gone(path);
    assert_int_equal(open_descriptors(), before);
    /* The same when its output has ended long before. */
    assert_int_equal(proc_capture_shell("exec >&-; sleep 60", 200, &out, &e), ERR_TIMEOUT);
}

static void background_child_is_not_waited_for(void **state)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *path = path_join(*state, "pid");
    _cleanup_free_ char *command = str_fmt("sleep 60 & echo $! > %s; echo done", path);
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    assert_int_equal(proc_capture_shell(command, 30000, &out, &e), 0);
    assert_string_equal(buf_str(&out), "done\n");
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read(path, &text, &e), 0);
    (void)kill((pid_t)atoi(buf_str(&text)), SIGKILL);
}

static void nothing_is_inherited(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int leaky = open("/dev/null", O_RDONLY); /* as a library might */
    assert_true(leaky > 2);
    (void)signal(SIGPIPE, SIG_IGN);
    sigset_t block, before;
    (void)sigemptyset(&block);
    (void)sigaddset(&block, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &block, &before);
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *command =
        str_fmt("test -e /proc/self/fd/%d && echo leaked; cat; readlink /proc/self/fd/0;"
                "grep -E '^Sig(Blk|Ign)' /proc/self/status",
                leaky);
    assert_int_equal(proc_capture_shell(command, 10000, &out, &e), 0);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)close(leaky);
    assert_null(strstr(buf_str(&out), "leaked"));
    assert_non_null(strstr(buf_str(&out), "/dev/null\n"));
    assert_non_null(strstr(buf_str(&out), "SigBlk:\t0000000000000000"));
    const char *ignored = strstr(buf_str(&out), "SigIgn:\t");
    assert_non_null(ignored);
    assert_int_equal(strtoull(ignored + 8, NULL, 16) & (1ULL << (SIGPIPE - 1)), 0);
}

static void interruption_ends_it(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    cancel_requested = 1;
    int rc = proc_capture_shell("sleep 60", 30000, &out, &e);
    cancel_requested = 0;
    assert_int_equal(rc, ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_appended),   cmocka_unit_test(long_output_arrives_whole),
        cmocka_unit_test(failure_is_told),      cmocka_unit_test(too_much_is_refused),
        unit_dir_test(timeout_kills_the_group), unit_dir_test(background_child_is_not_waited_for),
        cmocka_unit_test(nothing_is_inherited), cmocka_unit_test(interruption_ends_it),
    };
    (void)setenv("PATH", "/usr/bin:/bin", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
