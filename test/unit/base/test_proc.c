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

/* ---- children beside us ---- */

static struct proc *start(const char *command, const struct proc_options *more)
{
    struct err e = ERR_INIT;
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    struct proc_options o = *more;
    o.argv = argv;
    struct proc *p = NULL;
    if (proc_start(&o, &p, &e) != 0)
        fail_msg("%s", e.msg);
    return p;
}

static void output_is_a_stream(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int before = open_descriptors();
    struct stream *s =
        proc_stream(start("head -c 3000000 /dev/zero", &(struct proc_options){0}), true);
    static char data[1 << 16];
    size_t total = 0, got = 1;
    while (got > 0) {
        assert_int_equal(stream_read(s, data, sizeof(data), &got, &e), 0);
        total += got;
    }
    assert_int_equal(total, 3000000);
    assert_int_equal(stream_read(s, data, sizeof(data), &got, &e), 0);
    assert_int_equal(got, 0);
    stream_close(s);
    assert_int_equal(open_descriptors(), before);
}

static void stream_ends_with_the_verdict(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    /* Far more complaints than a pipe holds, and than are kept. */
    const char *command = "echo out; yes complaint | head -c 300000 >&2;"
                          "echo 'tool: error: first' >&2; echo 'second' >&2; exit 3";
    struct proc *p = start(command, &(struct proc_options){.name = "tool"});
    _cleanup_(stream_closep) struct stream *s = proc_stream(p, true);
    char data[64];
    size_t got;
    assert_int_equal(stream_read(s, data, sizeof(data), &got, &e), 0);
    assert_int_equal(got, 4);
    assert_int_equal(proc_status(p), -1);
    assert_int_equal(stream_read(s, data, sizeof(data), &got, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "tool failed with exit status 3: complaint; "));
    assert_non_null(strstr(e.msg, "; error: first; second"));
    assert_true(strlen(e.msg) < 1000);
    assert_int_equal(proc_status(p), 3);
    _cleanup_free_ char *errors = proc_errors(p);
    assert_int_equal(strlen(errors), 8192);
    assert_non_null(strstr(errors, "tool: error: first\nsecond\n"));
}

static void closing_early_ends_the_group(void **state)
{
    _cleanup_free_ char *path = path_join(*state, "pid");
    _cleanup_free_ char *command = str_fmt("sleep 60 & echo $! > %s; echo x; wait", path);
    int before = open_descriptors();
    struct err e = ERR_INIT;
    struct stream *s = proc_stream(start(command, &(struct proc_options){0}), true);
    char byte;
    size_t got;
    assert_int_equal(stream_read(s, &byte, 1, &got, &e), 0);
    stream_close(s);
    assert_gone(path);
    assert_int_equal(open_descriptors(), before);
}

static void a_polite_end_comes_first(void **state)
{
    _cleanup_free_ char *path = path_join(*state, "told");
    _cleanup_free_ char *command =
        str_fmt("trap 'echo told > %s; exit' TERM; echo x; while :; do sleep 0.01; done", path);
    struct err e = ERR_INIT;
    struct stream *s = proc_stream(start(command, &(struct proc_options){.grace_ms = 5000}), true);
    char byte;
    size_t got;
    assert_int_equal(stream_read(s, &byte, 1, &got, &e), 0);
    stream_close(s);
    assert_int_equal(access(path, F_OK), 0);
}

static void input_is_fed(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(proc_freep) struct proc *p =
        start("test \"$(wc -c)\" = 4000000",
              &(struct proc_options){.in = PROC_IN_FEED, .out = PROC_OUT_NULL});
    static char zeros[1000000];
    for (int i = 0; i < 4; i++)
        assert_int_equal(proc_feed(p, zeros, sizeof(zeros), &e), 0);
    assert_int_equal(proc_wait(p, 0, &e), ERR_TIMEOUT);
    assert_true(e.retryable);
    proc_feed_end(p);
    assert_int_equal(proc_wait(p, -1, &e), 0);
    assert_int_equal(proc_wait(p, 0, &e), 0);
}

static void one_that_does_not_listen_says_why(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, was;
    (void)sigaction(SIGPIPE, &ignore, &was);
    struct proc_options o = {.in = PROC_IN_FEED, .out = PROC_OUT_NULL, .name = "psql"};
    _cleanup_(proc_freep) struct proc *p =
        start("exec <&-; echo 'psql: no such table' >&2; exit 2", &o);
    static char zeros[4000000];
    int rc = proc_feed(p, zeros, sizeof(zeros), &e);
    (void)sigaction(SIGPIPE, &was, NULL);
    assert_int_equal(rc, ERR_IO);
    assert_string_equal(e.msg, "psql failed with exit status 2: no such table");
}

static void surroundings_are_as_asked(void **state)
{
    struct err e = ERR_INIT;
    (void)setenv("SALVOR_TEST_A", "ours", 1);
    (void)setenv("SALVOR_TEST_B", "ours", 1);
    const char *const env[] = {"SALVOR_TEST_A=x", "SALVOR_TEST_A=new", "SALVOR_TEST_B", NULL};
    _cleanup_free_ char *path = path_join(*state, "in");
    assert_int_equal(file_write_atomic(path, "from a file", 11, 0600, &e), 0);
    _cleanup_close_ int in = open(path, O_RDONLY | O_CLOEXEC);
    struct proc_options o = {.env = env, .dir = *state, .in = PROC_IN_FD, .in_fd = in};
    struct stream *s =
        proc_stream(start("echo $SALVOR_TEST_A/${SALVOR_TEST_B-none}; cat; cat in; pwd", &o), true);
    char data[512] = "";
    size_t got;
    assert_int_equal(stream_read_full(s, data, sizeof(data) - 1, &got, &e), 0);
    stream_close(s);
    _cleanup_free_ char *expected = str_fmt("new/none\nfrom a filefrom a file%s\n", (char *)*state);
    assert_string_equal(data, expected);
    const char *const argv[] = {"true", NULL};
    o = (struct proc_options){.argv = argv, .dir = "/no/such/place"};
    struct proc *p;
    assert_int_equal(proc_start(&o, &p, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "/no/such/place"));
}

static void root_becomes_another(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct err e = ERR_INIT;
    struct proc_options o = {.become = true, .uid = 65534, .gid = 65534};
    _cleanup_(stream_closep) struct stream *s =
        proc_stream(start("id -u; id -g; id -G; grep CapEff /proc/self/status", &o), true);
    char data[512] = "";
    size_t got;
    assert_int_equal(stream_read_full(s, data, sizeof(data) - 1, &got, &e), 0);
    assert_string_equal(data, "65534\n65534\n65534\nCapEff:\t0000000000000000\n");
}

static void a_stream_can_be_interrupted(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(stream_closep) struct stream *s =
        proc_stream(start("sleep 60", &(struct proc_options){0}), true);
    char byte;
    size_t got;
    cancel_requested = 1;
    int rc = stream_read(s, &byte, 1, &got, &e);
    cancel_requested = 0;
    assert_int_equal(rc, ERR_CANCELLED);
    struct proc_options o = {.timeout_ms = 100};
    struct stream *late = proc_stream(start("sleep 60", &o), true);
    assert_int_equal(stream_read(late, &byte, 1, &got, &e), ERR_TIMEOUT);
    stream_close(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_appended),
        cmocka_unit_test(long_output_arrives_whole),
        cmocka_unit_test(failure_is_told),
        cmocka_unit_test(too_much_is_refused),
        unit_dir_test(timeout_kills_the_group),
        unit_dir_test(background_child_is_not_waited_for),
        cmocka_unit_test(nothing_is_inherited),
        cmocka_unit_test(interruption_ends_it),
        cmocka_unit_test(output_is_a_stream),
        cmocka_unit_test(stream_ends_with_the_verdict),
        unit_dir_test(closing_early_ends_the_group),
        unit_dir_test(a_polite_end_comes_first),
        cmocka_unit_test(input_is_fed),
        cmocka_unit_test(one_that_does_not_listen_says_why),
        unit_dir_test(surroundings_are_as_asked),
        cmocka_unit_test(root_becomes_another),
        cmocka_unit_test(a_stream_can_be_interrupted),
    };
    (void)setenv("PATH", "/usr/bin:/bin", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
