/* The target of SQLite databases: onto live, locked, damaged, missing ones, and killed half-way. */
#include "base/mem.h"
#include "target/target.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../databases.h"
#include "../real_dir.h"

static char kept[PATH_MAX];
static enum target_event last;

static int set_up(void **state)
{
    (void)state;
    enter_dir();
    assert_int_equal(mkdir("r", 0755), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    leave_dir();
    return 0;
}

static void note(enum target_event what, const char *path, const char *old, const char *why,
                 void *arg)
{
    (void)path;
    (void)why;
    (void)arg;
    if (what == TARGET_ABOUT || what == TARGET_ABOUT_ATTRIBUTES)
        return;
    last = what;
    (void)snprintf(kept, sizeof(kept), "%s", old != NULL ? old : "");
}

/* A database with one number in it and enough pages that writing it takes a while. */
static void make(const char *path, const char *pragmas, int n)
{
    _cleanup_free_ char *sql =
        str_fmt("%s; CREATE TABLE c(n); INSERT INTO c VALUES(%d); CREATE TABLE pad(x);"
                "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 300)"
                "INSERT INTO pad SELECT hex(randomblob(500)) FROM k",
                pragmas, n);
    run(path, sql);
}

static int restore(const char *from, const char *name, const char *suffix, int busy_ms,
                   struct err *e)
{
    struct buf b = BUF_INIT(BUF_JSON);
    struct target_options o = {.root = "r", .keep_suffix = suffix, .event = note};
    struct target *t = NULL;
    struct target_file *f = NULL;
    assert_int_equal(file_read(from, &b, e), 0);
    struct node n = {.type = NODE_FILE,
                     .mode = 0600,
                     .size = b.len,
                     .uid = geteuid(),
                     .gid = getegid(),
                     .mtime = {1234567890, 0},
                     .atime = {1234567890, 0}};
    int rc = target_sqlite_new(&o, busy_ms, &t, e);
    if (rc == 0)
        rc = target_begin(t, name, &n, &f, e);
    if (rc == 0 && f != NULL) {
        rc = target_write(f, b.data, b.len, 0, e);
        assert_int_equal(rc, 0);
        rc = target_commit(f, e);
    }
    struct err ignored = ERR_INIT;
    if (t != NULL && target_finish(t, rc == 0 ? e : &ignored) != 0)
        rc = e->code;
    target_free(t);
    buf_release(&b);
    return rc;
}

static void must_restore(const char *from, const char *name, const char *suffix)
{
    struct err e = ERR_INIT;
    if (restore(from, name, suffix, 0, &e) != 0)
        fail_msg("%s", e.msg);
}

static void is_tidy(void)
{
    assert_int_not_equal(system("find . -name '.salvor-*' | grep -q ."), 0);
}

/* What a program that stays connected sees. Shared with its process. */
struct seen {
    volatile sqlite3_int64 before; /* the last number that it committed before the restore */
    volatile sqlite3_int64 after;  /* the first one afterwards */
    volatile int running;
};

static pid_t start_counter(const char *path, struct seen *seen)
{
    pid_t pid = fork_child();
    if (pid != 0) {
        while (!seen->running)
            (void)usleep(1000);
        return pid;
    }
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 30000);
    sqlite3_prepare_v2(db, "UPDATE c SET n = n + 1 RETURNING n", -1, &s, NULL);
    for (;;) {
        if (sqlite3_step(s) != SQLITE_ROW)
            _exit(1);
        sqlite3_int64 n = sqlite3_column_int64(s, 0);
        if (sqlite3_step(s) != SQLITE_DONE || sqlite3_reset(s) != SQLITE_OK)
            _exit(2);
        if (n >= 1000000)
            seen->before = n;
        else if (seen->after == 0)
            seen->after = n;
        seen->running = 1;
    }
}

static void stop(pid_t pid)
{
    int status = 0;
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it did not fail before */
}

static void live(const char *live_mode, const char *backup_mode)
{
    struct seen *seen =
        mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(seen != MAP_FAILED);
    make("backup.db", backup_mode, 5);
    make("r/app.db", live_mode, 1000000);
    pid_t pid = start_counter("r/app.db", seen);
    must_restore("backup.db", "app.db", ".pre-restore");
    for (int k = 0; k < 5000 && seen->after == 0; k++)
        (void)usleep(1000);
    stop(pid);
    assert_int_equal(last, TARGET_REPLACED);
    assert_string_equal(path_base(kept), "app.db.pre-restore");
    /* Not one commit is missing in what was kept, and the program went on with what was restored.
     */
    assert_int_equal(ask(kept, "SELECT n FROM c"), seen->before);
    assert_int_equal(seen->after, 6);
    check_ok(kept);
    check_ok("r/app.db");
    is_tidy();
    munmap(seen, sizeof(*seen));
}

static void test_live_wal(void **state)
{
    (void)state;
    live("PRAGMA journal_mode=wal", "");
}

static void test_live_rollback(void **state)
{
    (void)state;
    live("PRAGMA journal_mode=delete", "");
}

static void test_live_mixed(void **state)
{
    (void)state;
    live("PRAGMA journal_mode=delete", "PRAGMA journal_mode=wal");
}

static void test_live_page_size(void **state)
{
    (void)state;
    live("PRAGMA journal_mode=delete; PRAGMA page_size=1024", "PRAGMA page_size=8192");
    assert_int_equal(ask("r/app.db", "PRAGMA page_size"), 8192);
}

/* A WAL database keeps its page size: another one needs the file to be replaced. */
static void test_wal_page_size(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct seen *seen =
        mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make("backup.db", "PRAGMA page_size=8192", 5);
    make("r/app.db", "PRAGMA page_size=1024; PRAGMA journal_mode=wal", 1000000);
    pid_t pid = start_counter("r/app.db", seen);
    assert_int_equal(restore("backup.db", "app.db", ".pre-restore", 300, &e), ERR_LOCKED);
    stop(pid);
    seen->before = ask("r/app.db", "SELECT n FROM c");
    must_restore("backup.db", "app.db", ".pre-restore");
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);
    assert_int_equal(ask(kept, "SELECT n FROM c"), seen->before);
    is_tidy();
    munmap(seen, sizeof(*seen));
}

static void test_new(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct stat st;
    make("backup.db", "PRAGMA journal_mode=wal", 5);
    /* Journals of a database that is no more must not get into the new one. */
    assert_int_equal(file_write_atomic("r/app.db-wal", "old", 3, 0600, &e), 0);
    assert_int_equal(file_write_atomic("r/app.db-journal", "old", 3, 0600, &e), 0);
    must_restore("backup.db", "app.db", ".pre-restore");
    assert_int_equal(last, TARGET_CREATED);
    assert_int_equal(access("r/app.db-wal", F_OK), -1);
    assert_int_equal(access("r/app.db-journal", F_OK), -1);
    assert_int_equal(access("r/app.db.pre-restore-wal", F_OK), 0);
    assert_int_equal(stat("r/app.db", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_mtime, 1234567890);
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);
    /* An empty one. */
    assert_int_equal(file_write_atomic("empty.db", "", 0, 0600, &e), 0);
    must_restore("empty.db", "app.db", NULL);
    check_ok("r/app.db");
    assert_int_equal(ask("r/app.db", "SELECT count(*) FROM sqlite_schema"), 0);
    must_restore("backup.db", "app.db", NULL);
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);
    is_tidy();
}

static void spoil(const char *path)
{
    struct err e = ERR_INIT;
    char text[8192];
    memset(text, 'x', sizeof(text));
    assert_int_equal(file_write_atomic(path, text, sizeof(text), 0640, &e), 0);
}

static void test_corrupt(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    make("backup.db", "PRAGMA journal_mode=wal", 5);
    spoil("r/app.db");
    assert_int_equal(file_write_atomic("r/app.db-wal", "old", 3, 0600, &e), 0);
    assert_int_equal(file_write_atomic("r/app.db-shm", "old", 3, 0600, &e), 0);

    /* Refused while somebody has it open, lock or none. */
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        (void)!open("r/app.db", O_RDWR);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(restore("backup.db", "app.db", ".pre-restore", 200, &e), ERR_LOCKED);
    assert_int_equal(access("r/app.db-wal", F_OK), 0);
    assert_int_equal(access("r/app.db.pre-restore", F_OK), -1);
    stop(pid);
    close(ready[0]);
    close(ready[1]);

    must_restore("backup.db", "app.db", ".pre-restore");
    assert_int_equal(last, TARGET_REPLACED);
    assert_int_equal(access("r/app.db.pre-restore-wal", F_OK), 0);
    assert_int_equal(access("r/app.db.pre-restore-shm", F_OK), 0);
    assert_int_equal(access("r/app.db-wal", F_OK), -1);
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);

    /* And back: the broken one with its log, as it was. */
    _cleanup_free_ char *path = path_join(dir, "r/app.db");
    _cleanup_free_ char *old = str_dup(kept);
    char *aside = NULL;
    if (target_put_back("sqlite", path, old, ".undone", &aside, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(ask(aside, "SELECT n FROM c"), 5);
    free(aside);
    struct buf b = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read("r/app.db", &b, &e), 0);
    assert_int_equal(b.data[0], 'x');
    buf_release(&b);
    is_tidy();
}

static void test_locked(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    make("backup.db", "", 5);
    make("r/app.db", "", 7);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        sqlite3 *db = NULL;
        sqlite3_open("r/app.db", &db);
        sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(restore("backup.db", "app.db", ".pre-restore", 300, &e), ERR_LOCKED);
    assert_true(e.retryable);
    stop(pid);
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 7);
    assert_int_equal(access("r/app.db.pre-restore", F_OK), -1);
    is_tidy();
    close(ready[0]);
    close(ready[1]);
}

static void test_bad_backup(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    make("r/app.db", "", 7);
    spoil("backup.db");
    assert_int_equal(restore("backup.db", "app.db", ".pre-restore", 0, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "nothing was changed"));
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 7);
    assert_int_equal(access("r/app.db.pre-restore", F_OK), -1);
    is_tidy();
}

static void test_put_back(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *aside = NULL;
    make("backup.db", "", 5);
    make("r/app.db", "PRAGMA journal_mode=wal", 7);
    must_restore("backup.db", "app.db", ".pre-restore");
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);
    _cleanup_free_ char *path = path_join(dir, "r/app.db");
    _cleanup_free_ char *old = str_dup(kept);
    if (target_put_back("sqlite", path, old, ".undone", &aside, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 7);
    assert_int_equal(ask(aside, "SELECT n FROM c"), 5);
    assert_int_equal(access(old, F_OK), -1);
    free(aside);
    /* One that the restore created goes aside. */
    assert_int_equal(target_put_back("sqlite", path, NULL, ".undone", &aside, &e), 0);
    assert_string_equal(path_base(aside), "app.db.undone-2");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(ask(aside, "SELECT n FROM c"), 7);
    free(aside);
    assert_int_equal(target_put_back("sqlite", path, old, ".undone", &aside, &e), ERR_NOT_FOUND);
    is_tidy();
}

/* The same bytes count as the same only while no log holds more. */
static void test_same(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    make("r/app.db", "PRAGMA journal_mode=wal", 7);
    struct stat st;
    assert_int_equal(stat("r/app.db", &st), 0);
    struct target_options o = {.root = "r", .event = note};
    struct target *t = NULL;
    struct target_file *f = NULL;
    struct node n = {.type = NODE_FILE,
                     .mode = 0640,
                     .size = (uint64_t)st.st_size,
                     .uid = geteuid(),
                     .gid = getegid(),
                     .mtime = {1, 0},
                     .atime = {1, 0}};
    assert_int_equal(target_sqlite_new(&o, 0, &t, &e), 0);
    assert_int_equal(target_begin(t, "app.db", &n, &f, &e), 0);
    assert_int_equal(target_old_size(f), n.size);
    assert_int_equal(target_same(f, &e), 0);
    assert_int_equal(last, TARGET_ATTRIBUTES);
    assert_int_equal(file_write_atomic("r/app.db-wal", "log", 3, 0600, &e), 0);
    assert_int_equal(target_begin(t, "app.db", &n, &f, &e), 0);
    assert_int_equal(target_old_size(f), 0);
    target_abort(f);
    target_free(t);
}

/* Nothing can be opened or made by the name: its journals are on their way. */
static bool is_shut(const char *path)
{
    struct stat st;
    sqlite3 *db = NULL;
    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode))
        return false;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_CANTOPEN);
    sqlite3_close(db);
    return true;
}

/* Killed at any moment: the database is the old or the new one, whole. A broken one may be neither,
 * but then it does not open, and the next restore goes on. */
static void killed(const char *mode, bool corrupt)
{
    make("backup.db", "", 5);
    unsigned seed = (unsigned)getpid();
    print_message("seed %u\n", seed);
    int old = 0, new = 0;
    const char *more = getenv("SALVOR_TEST_KILLS");
    int kills = more != NULL ? atoi(more) : 12;
    for (int k = 0; k < kills; k++) {
        assert_int_equal(system("rm -rf r/* r/.salvor-*"), 0);
        make("r/app.db", mode, 7);
        if (corrupt) {
            /* It keeps a log that would break the new one. */
            pid_t crash = fork_child();
            if (crash == 0) {
                sqlite3 *db = NULL;
                sqlite3_open("r/app.db", &db);
                sqlite3_exec(db, "UPDATE c SET n = 8", NULL, NULL, NULL);
                raise(SIGKILL);
            }
            assert_int_equal(waitpid(crash, NULL, 0), crash);
            int fd = open("r/app.db", O_WRONLY);
            assert_int_equal(pwrite(fd, "broken", 6, 0), 6);
            close(fd);
        }
        pid_t pid = fork_child();
        if (pid == 0) {
            struct err e = ERR_INIT;
            _exit(restore("backup.db", "app.db", ".pre-restore", 0, &e) == 0 ? 0 : 1);
        }
        (void)usleep((useconds_t)(rand_r(&seed) % (k % 4 > 0 ? 12000 : 60000)));
        (void)kill(pid, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        struct buf b = BUF_INIT(BUF_JSON);
        struct err e = ERR_INIT;
        bool shut = is_shut("r/app.db");
        bool broken = shut;
        if (!shut) {
            assert_int_equal(file_read("r/app.db", &b, &e), 0); /* it is never without a file */
            broken = memcmp(b.data, "broken", 6) == 0;
            buf_release(&b);
        }
        assert_true(corrupt || !broken);
        if (!broken)
            check_ok("r/app.db");
        sqlite3_int64 n = broken ? 7 : ask("r/app.db", "SELECT n FROM c");
        assert_true(n == 5 || n == 7);
        if (n == 5 && access("r/app.db.pre-restore", F_OK) != 0)
            fail_msg("replaced, but not kept");
        *(n == 5 ? &new : &old) += 1;
        /* And once more, to the end. */
        must_restore("backup.db", "app.db", ".pre-restore");
        assert_int_equal(ask("r/app.db", "SELECT n FROM c"), 5);
    }
    print_message("%d old, %d new\n", old, new);
}

static void test_killed_wal(void **state)
{
    (void)state;
    killed("PRAGMA journal_mode=wal", false);
}

static void test_killed_rollback(void **state)
{
    (void)state;
    killed("PRAGMA journal_mode=delete", false);
}

static void test_killed_corrupt(void **state)
{
    (void)state;
    killed("PRAGMA journal_mode=wal", true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_live_wal),        TEST(test_live_rollback),  TEST(test_live_mixed),
        TEST(test_live_page_size),  TEST(test_wal_page_size),  TEST(test_new),
        TEST(test_corrupt),         TEST(test_locked),         TEST(test_bad_backup),
        TEST(test_put_back),        TEST(test_same),           TEST(test_killed_wal),
        TEST(test_killed_rollback), TEST(test_killed_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
