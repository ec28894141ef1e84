/* Every call to the store fails once, in every way: the work fails loudly or is done, and the next
 * run converges. A killed backup goes on where it was. */
#include "fixture.h"

#include <signal.h>

static int back_up(struct world *w, struct err *e)
{
    return world_try_backup(w, NULL, e);
}

static int restore(struct world *w, struct err *e)
{
    int rc = world_try_restore(w, "out", (struct restore_options){0}, NULL, e);
    /* Success must mean success. */
    return rc == 0 && !world_same(w, "data", "out/data") ? ERR_INTERNAL : rc;
}

static int forget(struct world *w, struct err *e)
{
    struct config_keep keep = {.set = true, .last = 1};
    struct forget_result r;
    return job_forget(w->job, &(struct forget_options){.keep = &keep}, &r, e);
}

static int verify(struct world *w, struct err *e)
{
    struct verify_result r;
    return job_verify(w->job, &(struct verify_options){.read_share = 1}, &r, e);
}

typedef int work_fn(struct world *w, struct err *e);

/* Does it in a process of its own, which is dead afterwards, as is its lock. 0, 1 (it failed), or
 * 9 (it was killed). */
static int in_child(struct world *w, work_fn *work)
{
    job_free(take(w->job)); /* its threads do not survive the fork */
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err e = ERR_INIT;
        int rc = world_try_open(w, &e);
        if (rc == 0)
            rc = work(w, &e);
        job_free(take(w->job)); /* counts the calls */
        if (rc < 0 && (e.msg[0] == '\0' || rc == ERR_INTERNAL))
            _exit(2); /* a failure that says nothing */
        _exit(rc < 0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return 9;
    }
    assert_true(WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status);
}

static unsigned long calls(struct world *w)
{
    _cleanup_free_ char *path = str_fmt("%s/calls", w->dir);
    unsigned long n = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &n), 1);
    (void)fclose(f);
    return n;
}

/* Fails the nth call of `work` for each n, and then does it undisturbed. */
static void each_call(struct world *w, const char *kind, work_fn *work, work_fn *before)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *count = str_fmt("%s/calls", w->dir);
    /* The decorator for retries waits: of these only every third. */
    unsigned step = strcmp(kind, "transient") == 0 || strcmp(kind, "lost-reply") == 0 ? 3 : 1;
    for (unsigned long n = 1;; n += step) {
        _cleanup_free_ char *fault = str_fmt("%lu:%s", n, kind);
        if (before != NULL) {
            world_open(w);
            assert_ok(before(w, &e));
        }
        (void)sh(w, "rm -rf out calls");
        (void)setenv("SALVOR_STORE_FAULT", fault, 1);
        (void)setenv("SALVOR_STORE_FAULT_CALLS", count, 1);
        int ended = in_child(w, work);
        (void)unsetenv("SALVOR_STORE_FAULT");
        (void)unsetenv("SALVOR_STORE_FAULT_CALLS");
        world_open(w);
        int rc = work(w, &e);
        if (rc < 0)
            print_error("after %s of call %lu: %s\n", kind, n, e.msg);
        assert_int_equal(rc, 0);
        assert_ok(forget(w, &e)); /* else each run had one more snapshot to read */
        if (ended == 0 && calls(w) < n) {
            assert_true(n > 3);
            break;
        }
    }
    assert_ok(verify(w, &e));
    (void)sh(w, "rm -rf out");
    assert_ok(restore(w, &e));
}

static const char *const kinds[] = {"transient",  "final", "short",
                                    "lost-reply", "crash", "crash-after"};

static void fill(struct world *w)
{
    assert_int_equal(sh(w, "mkdir data/d && for i in $(seq 20); do echo $i > data/d/$i; done && "
                           "head -c 2000000 /dev/urandom > data/big"),
                     0);
}

static void test_backup(void **state)
{
    struct world *w = *state;
    fill(w);
    for (size_t i = 0; i < array_len(kinds); i++)
        each_call(w, kinds[i], back_up, NULL);
}

static void test_restore(void **state)
{
    struct world *w = *state;
    fill(w);
    world_backup(w);
    for (size_t i = 0; i < array_len(kinds); i++)
        each_call(w, kinds[i], restore, NULL);
}

static void test_forget(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    fill(w);
    world_backup(w);
    for (size_t i = 0; i < array_len(kinds); i++) {
        each_call(w, kinds[i], forget, back_up);
        assert_ok(job_load_snapshots(w->job, &e));
        assert_int_equal(w->job->snapshots.n, 1);
    }
}

/* Killed at some moments of the upload, in turn: what is in the store is not uploaded again. */
static void test_resume(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "head -c 70000000 /dev/urandom > data/big"), 0);
    for (unsigned n = 10; sh(w, "test -n \"$(find repo -path '*/data/*' -type f)\"") != 0; n += 2) {
        _cleanup_free_ char *fault = str_fmt("%u:crash-after", n);
        assert_true(n < 100);
        (void)setenv("SALVOR_STORE_FAULT", fault, 1);
        assert_int_equal(in_child(w, back_up), 9);
        (void)unsetenv("SALVOR_STORE_FAULT");
    }
    world_open(w);
    struct backup_result r;
    assert_ok(world_try_backup(w, &r, &e));
    assert_true(r.bytes_resumed > 10000000);
    assert_true(r.bytes_resumed + r.bytes_stored < 72000000);
    backup_result_release(&r);
    assert_int_equal(sh(w, "test $(find repo/data -type f ! -name '*-tmp-*' -printf '%%s\\n' | "
                           "awk '{n += $1} END {print n}') -lt 73000000"),
                     0);
    assert_ok(verify(w, &e));
    world_restore(w, "out");
    assert_true(world_same(w, "data", "out/data"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(test_backup),
        world_test(test_restore),
        world_test(test_forget),
        world_test(test_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
