/* The ledger: what is written comes back; crashes, damage, other processes and other programs. */
#include "base/file.h"
#include "base/host.h"
#include "base/mem.h"
#include "history/ledger.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static char *dir, *path;
static struct err e;

static int setup(void **state)
{
    (void)state;
    char template[] = "/tmp/salvor-ledger-XXXXXX";
    if (mkdtemp(template) == NULL)
        return -1;
    dir = str_dup(template);
    path = path_join(dir, "state/ledger.db");
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

static void ok(int rc)
{
    if (rc != 0)
        fail_msg("%d %s", rc, e.msg);
}

static struct ledger *reopen(void)
{
    struct ledger *l = NULL;
    ok(ledger_open(path, &l, &e));
    return l;
}

static struct ledger_run new_run(const char *kind, const char *resource)
{
    struct ledger_run r = {.resource = str_dup(resource), .begun = {1700000000, 123456789}};
    (void)snprintf(r.kind, sizeof r.kind, "%s", kind);
    return r;
}

static int64_t begin(struct ledger *l, const char *kind, const char *resource)
{
    _cleanup_(ledger_run_release) struct ledger_run r = new_run(kind, resource);
    ok(ledger_begin(l, &r, &e));
    return r.id;
}

/* ---- counting what is there ---- */

struct seen {
    size_t n;
    int64_t id[16];
    char last[16];
    char message[128];
};

static int see(const struct ledger_run *r, void *arg, struct err *err)
{
    (void)err;
    struct seen *s = arg;
    if (s->n < array_len(s->id))
        s->id[s->n] = r->id;
    s->n++;
    (void)snprintf(s->last, sizeof s->last, "%s", r->result);
    (void)snprintf(s->message, sizeof s->message, "%s", r->message != NULL ? r->message : "");
    return 0;
}

static struct seen look(struct ledger *l, struct ledger_filter f)
{
    struct seen s = {0};
    ok(ledger_runs(l, &f, see, &s, &e));
    return s;
}

/* ---- runs ---- */

static int check_whole(const struct ledger_run *r, void *arg, struct err *err)
{
    (void)err;
    const struct ledger_run *w = arg;
    assert_int_equal(r->id, w->id);
    assert_string_equal(r->kind, w->kind);
    assert_string_equal(r->repository, w->repository);
    assert_string_equal(r->resource, w->resource);
    assert_string_equal(r->job, w->job);
    assert_string_equal(r->user, w->user);
    assert_string_equal(r->message, w->message);
    assert_string_equal(r->detail, w->detail);
    assert_string_equal(r->result, w->result);
    assert_memory_equal(&r->begun, &w->begun, sizeof r->begun);
    assert_memory_equal(&r->ended, &w->ended, sizeof r->ended);
    assert_true(r->has_tree && id_equal(&r->tree, &w->tree));
    assert_true(r->bytes == INT64_MAX && r->bytes_new == 2 && r->bytes_stored == 3 &&
                r->files == 4);
    return 0;
}

static void comes_back(void **state)
{
    (void)state;
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    _cleanup_(ledger_run_release) struct ledger_run r = new_run("backup", "app");
    ok(ledger_begin(l, &r, &e));
    assert_true(r.id > 0);
    assert_string_equal(r.result, "running");
    assert_string_equal(look(l, (struct ledger_filter){0}).last, "running");

    r.repository = str_dup("abcd");
    r.job = str_dup("daily");
    r.user = str_dup("joe");
    r.message = str_dup("it's \"quoted\"; \xff");
    r.detail = str_dup("{}");
    (void)snprintf(r.result, sizeof r.result, "partial");
    r.ended = (struct timespec){-5, 999999999}; /* a clock may be anywhere */
    r.has_tree = true;
    memset(r.tree.byte, 0xab, ID_SIZE);
    r.bytes = UINT64_MAX;
    r.bytes_new = 2, r.bytes_stored = 3, r.files = 4;
    ok(ledger_end(l, &r, &e));
    ok(ledger_runs(l, &(struct ledger_filter){0}, check_whole, &r, &e));

    r.id = 99;
    assert_int_equal(ledger_end(l, &r, &e), ERR_NOT_FOUND);
}

static int fail_at_once(const struct ledger_run *r, void *arg, struct err *err)
{
    (void)r;
    (*(int *)arg)++;
    return err_set(err, ERR_CANCELLED, "enough");
}

static int begin_another(const struct ledger_run *r, void *arg, struct err *err)
{
    (void)err;
    (void)begin(arg, r->kind, "another");
    return 0;
}

static void filters(void **state)
{
    (void)state;
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    int64_t a = begin(l, "backup", "a"), b = begin(l, "backup", "b"), c = begin(l, "verify", NULL);
    struct seen s = look(l, (struct ledger_filter){0});
    assert_true(s.n == 3 && s.id[0] == c && s.id[1] == b && s.id[2] == a);
    s = look(l, (struct ledger_filter){.kind = "backup"});
    assert_true(s.n == 2 && s.id[0] == b);
    s = look(l, (struct ledger_filter){.kind = "backup", .resource = "a", .result = "running"});
    assert_true(s.n == 1 && s.id[0] == a);
    assert_int_equal(look(l, (struct ledger_filter){.repository = "x"}).n, 0);
    s = look(l, (struct ledger_filter){.most = 2});
    assert_true(s.n == 2 && s.id[0] == c);

    int calls = 0;
    assert_int_equal(ledger_runs(l, &(struct ledger_filter){0}, fail_at_once, &calls, &e),
                     ERR_CANCELLED);
    assert_int_equal(calls, 1);
    /* Whoever is called may write. */
    ok(ledger_runs(l, &(struct ledger_filter){0}, begin_another, l, &e));
    assert_int_equal(look(l, (struct ledger_filter){.resource = "another"}).n, 3);
}

/* ---- restores ---- */

struct kept_seen {
    size_t n;
    char path[4][16];
    bool had[4], undone[4];
};

static int see_kept(const struct ledger_kept *k, void *arg, struct err *err)
{
    (void)err;
    struct kept_seen *s = arg;
    assert_true(s->n < 4);
    (void)snprintf(s->path[s->n], 16, "%s", k->path);
    s->had[s->n] = k->kept != NULL;
    s->undone[s->n++] = k->undone;
    return 0;
}

static void keeps(void **state)
{
    (void)state;
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    _cleanup_(ledger_run_release) struct ledger_run last;
    assert_int_equal(ledger_last_restore(l, NULL, &last, &e), ERR_NOT_FOUND);
    int64_t first = begin(l, "restore", "a"), second = begin(l, "restore", "b");
    (void)begin(l, "restore", "a"); /* kept nothing */
    char kind[] = "files", one[] = "/one", two[] = "/two", aside[] = "/two.pre-restore";
    ok(ledger_keep(l, first, &(struct ledger_kept){kind, one, NULL, false}, &e));
    ok(ledger_keep(l, first, &(struct ledger_kept){kind, two, aside, false}, &e));
    ok(ledger_keep(l, second, &(struct ledger_kept){kind, one, aside, false}, &e));
    assert_true(ledger_keep(l, 99, &(struct ledger_kept){kind, one, aside, false}, &e) != 0);

    ok(ledger_last_restore(l, NULL, &last, &e));
    assert_int_equal(last.id, second);
    ledger_run_release(&last);
    ok(ledger_last_restore(l, "a", &last, &e));
    assert_int_equal(last.id, first);
    ledger_run_release(&last);

    struct kept_seen s = {0};
    ok(ledger_kept_list(l, first, see_kept, &s, &e));
    assert_int_equal(s.n, 2);
    assert_string_equal(s.path[0], "/two");
    assert_string_equal(s.path[1], "/one");
    assert_true(s.had[0] && !s.had[1] && !s.undone[0]);

    struct ledger_kept about_one = {.kind = kind, .path = one};
    struct ledger_kept about_two = {.kind = kind, .path = two};
    ok(ledger_kept_undone(l, second, &about_one, &e));
    assert_int_equal(ledger_kept_undone(l, second, &about_two, &e), ERR_NOT_FOUND);
    ok(ledger_last_restore(l, NULL, &last, &e));
    assert_int_equal(last.id, first);
    ledger_run_release(&last);
    ok(ledger_kept_undone(l, first, &about_one, &e));
    char other[] = "attributes"; /* of the same path, and not undone with it */
    ok(ledger_keep(l, first, &(struct ledger_kept){other, two, aside, false}, &e));
    ok(ledger_kept_undone(l, first, &about_two, &e));
    ok(ledger_last_restore(l, "a", &last, &e));
    assert_int_equal(last.id, first);
    ledger_run_release(&last);
    about_two.kind = other;
    ok(ledger_kept_undone(l, first, &about_two, &e));
    assert_int_equal(ledger_last_restore(l, "a", &last, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "of a"));
}

/* ---- crashes ---- */

static void sql(const char *text)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void crashed_runs_are_closed(void **state)
{
    (void)state;
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    int64_t ours = begin(l, "backup", "ours");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger *own = NULL;
        struct ledger_run r = {.kind = "backup"};
        r.resource = str_dup("theirs");
        _exit(ledger_open(path, &own, &e) != 0 || ledger_begin(own, &r, &e) != 0);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);

    size_t n = 0;
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 1);
    struct seen s = look(l, (struct ledger_filter){.resource = "theirs"});
    assert_string_equal(s.last, "failed");
    assert_non_null(strstr(s.message, "killed"));
    assert_string_equal(look(l, (struct ledger_filter){.resource = "ours"}).last, "running");
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 0);

    /* The same number and another process; another boot of this machine. */
    sql("UPDATE run SET pid_start = pid_start + 1 WHERE resource = 'ours'");
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 1);
    (void)begin(l, "backup", "boot");
    sql("UPDATE run SET boot = 'another' WHERE resource = 'boot'");
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 1);

    /* Another machine on a shared directory: not before a week is over. */
    _cleanup_(ledger_run_release) struct ledger_run r = new_run("backup", "host");
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &r.begun), 0);
    ok(ledger_begin(l, &r, &e));
    sql("UPDATE run SET boot = 'another', host = 'another' WHERE resource = 'host'");
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 0);
    sql("UPDATE run SET begun = begun - 8 * 86400 * 1000000000 WHERE resource = 'host'");
    ok(ledger_close_crashed(l, &n, &e));
    assert_int_equal(n, 1);
    assert_true(ours > 0);
}

/* Writes rows until it is killed; tells the number of each that is surely written. */
static _Noreturn void write_forever(int out)
{
    struct ledger *l = NULL;
    if (ledger_open(path, &l, &e) != 0)
        _exit(1);
    for (;;) {
        struct ledger_run r = {.kind = "backup"};
        if (ledger_begin(l, &r, &e) != 0)
            _exit(1);
        (void)snprintf(r.result, sizeof r.result, "done");
        if (ledger_end(l, &r, &e) != 0 || write(out, &r.id, sizeof r.id) != sizeof r.id)
            _exit(1);
    }
}

static void survives_kills(void **state)
{
    (void)state;
    int64_t id = 0, newest = 0;
    for (int round = 0; round < 20; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            write_forever(fds[1]);
        (void)close(fds[1]);
        for (int rows = 0; rows <= round % 5; rows++) {
            assert_int_equal(read(fds[0], &id, sizeof id), sizeof id);
            newest = id;
        }
        (void)usleep((unsigned)round * 137);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(fds[0], &id, sizeof id) == sizeof id)
            newest = id;
        (void)close(fds[0]);

        _cleanup_(ledger_freep) struct ledger *l = reopen();
        size_t n = 0;
        ok(ledger_close_crashed(l, &n, &e));
        assert_true(n <= 1);
        /* All that was told to be written is there, and no file was set aside. */
        struct seen s = look(l, (struct ledger_filter){.most = 1});
        assert_true(s.n == 1 && s.id[0] >= newest);
        s = look(l, (struct ledger_filter){.result = "done"});
        assert_true(s.n >= 1);
    }
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    struct seen all = look(l, (struct ledger_filter){0});
    assert_true((int64_t)all.n == all.id[0]);
}

static void several_processes_at_once(void **state)
{
    (void)state;
    enum { PROCESSES = 4, ROWS = 15 };
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] != 0)
            continue;
        struct ledger *l = NULL; /* all of them may be the first */
        if (ledger_open(path, &l, &e) != 0)
            _exit(1);
        for (int k = 0; k < ROWS; k++) {
            struct ledger_run r = {.kind = "backup", .result = "done"};
            if (ledger_begin(l, &r, &e) != 0 || ledger_end(l, &r, &e) != 0)
                _exit(2);
        }
        ledger_free(l);
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = 1;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    assert_int_equal(look(l, (struct ledger_filter){0}).n, PROCESSES * ROWS);
}

/* ---- damage, and what is not ours ---- */

static size_t files_aside(void)
{
    _cleanup_free_ char *command =
        str_fmt("ls %s/state/ledger.db.damaged-* 2>/dev/null | wc -l", dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    unsigned n = 0;
    assert_int_equal(fscanf(f, "%u", &n), 1);
    (void)pclose(f);
    return n;
}

static void overwrite(off_t at, const char *data, size_t len)
{
    _cleanup_close_ int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    ok(fd_pwrite_all(fd, data, len, at, path, &e));
}

static void damaged_is_set_aside(void **state)
{
    (void)state;
    char noise[4096];
    memset(noise, 0x5a, sizeof noise);
    ledger_free(reopen());
    static const off_t where[] = {0, 4096};
    for (size_t i = 0; i < array_len(where); i++) {
        struct ledger *l = reopen();
        (void)begin(l, "backup", "a");
        ledger_free(l);
        overwrite(where[i], noise, sizeof noise);
        l = reopen();
        assert_int_equal(look(l, (struct ledger_filter){0}).n, 0);
        (void)begin(l, "backup", "a");
        ledger_free(l);
        assert_int_equal(files_aside(), 1);
        _cleanup_free_ char *command = str_fmt("rm -f %s/state/*.damaged-*", dir);
        assert_int_equal(system(command), 0);
    }
    /* Text instead of a database, and a file that was cut. */
    ok(file_write_atomic(path, "hello, world, this is text", 26, 0600, &e));
    ledger_free(reopen());
    assert_int_equal(files_aside(), 1);
    assert_int_equal(truncate(path, 5000), 0);
    ledger_free(reopen());
    assert_int_equal(files_aside(), 2); /* not over each other, though within one second */
    /* An empty one is what a crash right after its making leaves. */
    assert_int_equal(truncate(path, 0), 0);
    _cleanup_(ledger_freep) struct ledger *l = reopen();
    (void)begin(l, "backup", "a");
}

static void newer_and_foreign_are_left_alone(void **state)
{
    (void)state;
    struct ledger *l = reopen();
    (void)begin(l, "backup", "a");
    ledger_free(take(l));
    sql("PRAGMA user_version = 1000");
    assert_int_equal(ledger_open(path, &l, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "newer salvor"));
    assert_null(l);
    sql("PRAGMA user_version = 1");
    ledger_free(reopen());

    assert_int_equal(unlink(path), 0);
    sql("CREATE TABLE theirs (a)");
    assert_int_equal(ledger_open(path, &l, &e), ERR_REFUSED);
    assert_non_null(strstr(e.msg, "another program"));
    sql("SELECT a FROM theirs");
    assert_int_equal(files_aside(), 0);
}

static void unwritable_directory(void **state)
{
    (void)state;
    struct ledger *l = NULL;
    _cleanup_free_ char *below = path_join(dir, "file/ledger.db"), *file = path_join(dir, "file");
    ok(file_write_atomic(file, "x", 1, 0600, &e));
    assert_int_equal(ledger_open(below, &l, &e), ERR_EXISTS);
    assert_non_null(strstr(e.msg, "SALVOR_STATE_DIR"));
    /* A file system that nobody may write. */
    int rc = ledger_open("/proc/salvor/ledger.db", &l, &e);
    assert_true(rc != 0 && rc != ERR_INTERNAL && rc != ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "SALVOR_STATE_DIR"));
    if (geteuid() == 0)
        return; /* root may write anywhere */
    ledger_free(reopen());
    _cleanup_free_ char *parent = path_dir(path);
    assert_int_equal(chmod(parent, 0500), 0);
    assert_int_equal(ledger_open(path, &l, &e), ERR_DENIED);
    assert_int_equal(unlink(path), -1);
    assert_int_equal(chmod(parent, 0700), 0);
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(ledger_open(path, &l, &e), ERR_DENIED);
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(filters, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps, setup, teardown),
        cmocka_unit_test_setup_teardown(crashed_runs_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_kills, setup, teardown),
        cmocka_unit_test_setup_teardown(several_processes_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_is_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(newer_and_foreign_are_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(unwritable_directory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
