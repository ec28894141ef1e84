/* The source of SQLite databases, with other processes that write, crash or lock meanwhile. */
#include "base/mem.h"
#include "source/source.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../databases.h"
#include "../real_dir.h"

static int set_up(void **state)
{
    (void)state;
    enter_dir();
    assert_int_equal(mkdir("tmp", 0700), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    leave_dir();
    return 0;
}

static int open_source(const char *path, int busy_ms, struct source **s, struct err *e)
{
    struct source_sqlite_options o = {.paths = &path,
                                      .npaths = 1,
                                      .temp_dir = "tmp",
                                      .busy_ms = busy_ms};
    return source_sqlite_new(&o, s, e);
}

static void save(struct source_item *i, const char *to)
{
    struct err e = ERR_INIT;
    struct stream *st = NULL;
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(source_open(i, &st, &e), 0);
    char data[65536];
    uint64_t bytes = 0;
    for (size_t got = 1; got > 0; bytes += got) {
        assert_int_equal(stream_read(st, data, sizeof(data), &got, &e), 0);
        assert_int_equal(fd_write_all(fd, data, got, to, &e), 0);
    }
    assert_int_equal(source_verdict(i, st, bytes, &e), 0);
    stream_close(st);
    close(fd);
}

/* Backs up one database into the file `to`; what describe says is *told. */
static int back_up(const char *path, const char *to, int busy_ms, char **told, struct err *e)
{
    struct source *s = NULL;
    int rc = open_source(path, busy_ms, &s, e);
    if (rc != 0)
        return rc;
    struct source_item i;
    for (bool end = false; !end && rc == 0;) {
        if ((rc = source_next(s, &i, e)) != 0)
            break;
        end = i.step == SOURCE_END;
        assert_int_not_equal(i.step, SOURCE_PROBLEM);
        if (i.step == SOURCE_LEAF)
            save(&i, to);
        source_item_release(&i);
    }
    if (rc == 0 && told != NULL) {
        struct buf b = BUF_INIT(BUF_TEXT);
        struct json_out j;
        json_out_init(&j, &b);
        json_begin_object(&j);
        assert_int_equal(source_describe(s, &j, e), 0);
        json_end_object(&j);
        *told = buf_take(&b);
    }
    source_free(s);
    return rc;
}

static void must_back_up(const char *path, const char *to)
{
    struct err e = ERR_INIT;
    if (back_up(path, to, 0, NULL, &e) != 0)
        fail_msg("%s", e.msg);
}

static size_t entries(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

static const char accounts[] =
    "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, pad TEXT);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
    "INSERT INTO account SELECT i, 100, hex(randomblob(100)) FROM n;";

/* Moves money between accounts as fast as it can until it is killed. */
static pid_t start_writer(const char *path)
{
    pid_t pid = fork_child();
    if (pid != 0)
        return pid;
    sqlite3 *db = NULL;
    sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 30000);
    for (;;)
        if (sqlite3_exec(db,
                         "BEGIN IMMEDIATE;"
                         "UPDATE account SET balance = balance - 7, pad = hex(randomblob(100))"
                         " WHERE id = 1 + abs(random()) % 500;"
                         "UPDATE account SET balance = balance + 7 WHERE id = 501;"
                         "COMMIT",
                         NULL, NULL, NULL) != SQLITE_OK)
            _exit(1);
}

static void stop(pid_t pid)
{
    int status = 0;
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it did not fail before */
}

static void live(const char *mode)
{
    _cleanup_free_ char *sql = str_fmt("PRAGMA journal_mode=%s;%s", mode, accounts);
    run("live.db", sql);
    pid_t writer[2] = {start_writer("live.db"), start_writer("live.db")};
    (void)usleep(50000);
    for (int k = 0; k < 5; k++) {
        must_back_up("live.db", "copy.db");
        check_ok("copy.db");
        assert_int_equal(ask("copy.db", "SELECT sum(balance) FROM account"), 100000);
        assert_int_equal(unlink("copy.db"), 0);
    }
    stop(writer[0]);
    stop(writer[1]);
    /* They died while they wrote: there may be a hot journal or a log. */
    must_back_up("live.db", "copy.db");
    check_ok("copy.db");
    assert_int_equal(ask("copy.db", "SELECT sum(balance) FROM account"), 100000);
    assert_int_equal(entries("tmp"), 0);
}

static void test_live_wal(void **state)
{
    (void)state;
    live("wal");
}

static void test_live_rollback(void **state)
{
    (void)state;
    live("delete");
}

static void test_live_persist(void **state)
{
    (void)state;
    live("persist");
}

static void test_no_trace(void **state)
{
    (void)state;
    run("idle.db", "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    struct stat before, after;
    assert_int_equal(stat("idle.db", &before), 0);
    must_back_up("idle.db", "copy.db");
    assert_int_equal(stat("idle.db", &after), 0);
    assert_int_equal(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
    assert_int_equal(access("idle.db-wal", F_OK), -1);
    assert_int_equal(access("idle.db-shm", F_OK), -1);
    assert_int_equal(ask("copy.db", "SELECT x FROM t"), 1);
    check_ok("copy.db");
}

/* A process that dies with everything in the log: none of it may be missing, nor checkpointed. */
static void test_crashed_wal(void **state)
{
    (void)state;
    run("c.db", "PRAGMA journal_mode=wal; CREATE TABLE t(x)");
    pid_t pid = fork_child();
    if (pid == 0) {
        sqlite3 *db = NULL;
        sqlite3_open("c.db", &db);
        sqlite3_exec(db, "INSERT INTO t VALUES(42)", NULL, NULL, NULL);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int shm = 1; shm >= 0; shm--) {
        struct stat before, after;
        assert_int_equal(stat("c.db-wal", &before), 0);
        assert_true(before.st_size > 0);
        must_back_up("c.db", "copy.db");
        assert_int_equal(ask("copy.db", "SELECT x FROM t"), 42);
        assert_int_equal(stat("c.db-wal", &after), 0);
        assert_int_equal(before.st_size, after.st_size);
        assert_int_equal(unlink("copy.db"), 0);
        (void)unlink("c.db-shm"); /* as after a copy of the files, or a restart */
    }
    assert_int_equal(access("c.db-shm", F_OK), -1);
    assert_int_equal(entries("tmp"), 0);
}

static void test_page_sizes(void **state)
{
    (void)state;
    for (int size = 512; size <= 65536; size *= 2) {
        _cleanup_free_ char *sql = str_fmt("PRAGMA page_size=%d; PRAGMA journal_mode=%s; %s", size,
                                           size % 3 == 1 ? "wal" : "delete", accounts);
        run("p.db", sql);
        must_back_up("p.db", "copy.db");
        check_ok("copy.db");
        assert_int_equal(ask("copy.db", "PRAGMA page_size"), size);
        assert_int_equal(ask("copy.db", "SELECT sum(balance) FROM account"), 100000);
        (void)unlink("p.db");
        (void)unlink("copy.db");
    }
}

static void test_repeatable(void **state)
{
    (void)state;
    run("r.db", accounts);
    must_back_up("r.db", "one.db");
    must_back_up("r.db", "two.db");
    struct buf a = BUF_INIT(BUF_JSON), b = BUF_INIT(BUF_JSON);
    struct err e = ERR_INIT;
    assert_int_equal(file_read("one.db", &a, &e) | file_read("two.db", &b, &e), 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len); /* nothing new to store */
    buf_release(&a);
    buf_release(&b);
}

static void test_empty(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(file_write_atomic("e.db", "", 0, 0640, &e), 0);
    must_back_up("e.db", "copy.db");
    check_ok("copy.db");
}

static void test_describe(void **state)
{
    (void)state;
    run("d.db", "PRAGMA user_version=7; PRAGMA application_id=99;"
                "CREATE TABLE a(x); INSERT INTO a VALUES(1),(2); CREATE TABLE \"b \"\"q\"(y);"
                "CREATE VIEW v AS SELECT 1");
    struct err e = ERR_INIT;
    _cleanup_free_ char *told = NULL;
    assert_int_equal(back_up("d.db", "copy.db", 0, &told, &e), 0);
    assert_non_null(strstr(told, "\"path\":\"d.db\""));
    assert_non_null(strstr(told, "\"page_size\":4096,\"journal_mode\":\"rollback\","
                                 "\"user_version\":7,\"application_id\":99"));
    assert_non_null(strstr(told, "\"integrity_check\":\"ok\",\"tables\":[{\"name\":\"a\",\"rows\":"
                                 "2},{\"name\":\"b \\\"q\",\"rows\":0}]"));
}

static void expect(const char *path, int busy_ms, int code, const char *word)
{
    struct err e = ERR_INIT;
    assert_int_equal(back_up(path, "copy.db", busy_ms, NULL, &e), code);
    if (strstr(e.msg, word) == NULL || strstr(e.msg, path) == NULL)
        fail_msg("%s", e.msg);
    assert_int_equal(entries("tmp"), 0);
}

static void test_bad(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char text[8192];
    memset(text, 'x', sizeof(text));
    assert_int_equal(file_write_atomic("text.db", text, sizeof(text), 0600, &e), 0);
    expect("text.db", 0, ERR_CORRUPT, "not a SQLite database");
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
    assert_int_equal(file_write_atomic("cipher.db", text, sizeof(text), 0600, &e), 0);
    expect("cipher.db", 0, ERR_CORRUPT, "encrypted");
    expect("none.db", 0, ERR_NOT_FOUND, "nothing of that name");
    expect("tmp", 0, ERR_USAGE, "directory");

    /* Damage inside is found on the copy. */
    run("bad.db", accounts);
    int fd = open("bad.db", O_WRONLY);
    assert_int_equal(pwrite(fd, text, 4096, 8 * 4096), 4096);
    close(fd);
    expect("bad.db", 0, ERR_CORRUPT, "damaged");
    /* Cut off. */
    run("cut.db", accounts);
    assert_int_equal(truncate("cut.db", 10 * 4096), 0);
    expect("cut.db", 0, ERR_CORRUPT, "cut.db");
}

static void test_locked(void **state)
{
    (void)state;
    run("l.db", accounts);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        sqlite3 *db = NULL;
        sqlite3_open("l.db", &db);
        sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    _cleanup_free_ char *holder = str_fmt("process %ld", (long)pid);
    expect("l.db", 300, ERR_LOCKED, holder);
    stop(pid);
    must_back_up("l.db", "copy.db");
    close(ready[0]);
    close(ready[1]);
}

static void test_several(void **state)
{
    (void)state;
    assert_int_equal(mkdir("data", 0755), 0);
    run("data/a.db", accounts);
    run("data/b.db", accounts);
    struct err e = ERR_INIT;
    assert_int_equal(file_write_atomic("data/c.db", "nonsense", 8, 0600, &e), 0);
    assert_int_equal(chmod("data/a.db", 0640), 0);
    struct source *s = NULL;
    assert_int_equal(open_source("data/*.db", 0, &s, &e), 0);
    static const char *const want[] = {"a.db", "b.db", "c.db", NULL};
    struct source_item i;
    for (size_t k = 0; k < array_len(want); k++) {
        assert_int_equal(source_next(s, &i, &e), 0);
        if (want[k] == NULL) {
            assert_int_equal(i.step, SOURCE_END);
            break;
        }
        assert_string_equal(i.path, want[k]);
        assert_int_equal(i.step, k == 2 ? SOURCE_PROBLEM : SOURCE_LEAF);
        if (k == 0) {
            assert_int_equal(i.node.mode, 0640);
            assert_int_equal(i.cut.piece, 256 * 1024);
            assert_true(i.node.size > 0 && i.has_bytes);
        }
        source_item_release(&i);
    }
    source_item_release(&i);
    source_free(s);
}

/* A database that needs what only its application has is backed up even so. */
static int order(void *arg, int na, const void *a, int nb, const void *b)
{
    (void)arg;
    int n = na < nb ? na : nb, c = memcmp(a, b, (size_t)n);
    return -(c != 0 ? c : na - nb);
}

static void test_own_collation(void **state)
{
    (void)state;
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open("own.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_create_collation(db, "mine", SQLITE_UTF8, NULL, order), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TABLE t(x TEXT COLLATE mine); CREATE INDEX i ON t(x);"
                                  "INSERT INTO t VALUES('a'),('b')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    struct err e = ERR_INIT;
    _cleanup_free_ char *told = NULL;
    assert_int_equal(back_up("own.db", "copy.db", 0, &told, &e), 0);
    assert_non_null(strstr(told, "mine"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_live_wal),      TEST(test_live_rollback), TEST(test_live_persist),
        TEST(test_no_trace),      TEST(test_crashed_wal),   TEST(test_page_sizes),
        TEST(test_repeatable),    TEST(test_empty),         TEST(test_describe),
        TEST(test_bad),           TEST(test_locked),        TEST(test_several),
        TEST(test_own_collation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
