/* Opening the ledger: making it, bringing its schema up to date, and setting a damaged one aside.
 * It keeps a rollback journal rather than a write-ahead log: one file, and each row is on the disk
 * when its call returns. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "history/ledger_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* "Salv": tells a ledger from other people's databases. */
enum { APPLICATION_ID = 0x53616c76 };

/* Entry N brings the schema from version N to N + 1. */
static const char *const migrations[] = {sql_schema_1};
enum { SCHEMA_VERSION = array_len(migrations) };

static const char *const state_hint =
    "backups go on without it, but status, forecasts and undo need it; run salvor as the owner of "
    "that directory, or set SALVOR_STATE_DIR to one that it may write";

int ledger_fail(const struct ledger *l, const char *what, struct err *e)
{
    int code = sqlite3_errcode(l->db);
    const char *why = sqlite3_errmsg(l->db);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        (void)err_set(e, ERR_LOCKED,
                      "cannot %s the ledger %s: another process has held it for %d s", what,
                      l->path, LEDGER_BUSY_MS / 1000);
        e->retryable = true;
        return e->code;
    case SQLITE_FULL:
        return err_set(e, ERR_FULL, "cannot %s the ledger %s: no space is left on its disk", what,
                       l->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(
            e, ERR_CORRUPT,
            "cannot %s the ledger %s: it is damaged (%s); the next command sets it aside "
            "and begins a new one",
            what, l->path, why);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
        (void)err_set(e, ERR_DENIED, "cannot %s the ledger %s: %s", what, l->path, why);
        return err_hint(e, "%s", state_hint);
    case SQLITE_IOERR: {
        int sys = sqlite3_system_errno(l->db);
        return err_sys(e, sys != 0 ? sys : EIO, "cannot %s the ledger %s", what, l->path);
    }
    default: return err_set(e, ERR_INTERNAL, "cannot %s the ledger %s: %s", what, l->path, why);
    }
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    (void)sqlite3_close_v2(l->db);
    free(l->path);
    free(l);
}

void ledger_freep(struct ledger **l)
{
    ledger_free(*l);
}

static int execute(struct ledger *l, const char *sql, struct err *e)
{
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : ledger_fail(l, "open", e);
}

/* The first column of the first row. */
static int ask(struct ledger *l, const char *sql, int64_t *out, struct err *e)
{
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    bool row = false;
    int rc = query_prepare(l, sql, &q, e);
    if (rc == 0)
        rc = query_step(l, q, &row, e);
    *out = rc == 0 && row ? sqlite3_column_int64(q, 0) : 0;
    return rc;
}

/* Inside a transaction: other processes may be opening it too. */
static int migrate(struct ledger *l, struct err *e)
{
    int64_t version = 0, owner = 0, tables = 0;
    int rc = ask(l, "PRAGMA user_version", &version, e);
    if (rc == 0)
        rc = ask(l, "PRAGMA application_id", &owner, e);
    if (rc == 0)
        rc = ask(l, "SELECT count(*) FROM sqlite_master", &tables, e);
    if (rc != 0)
        return rc;
    if (owner != APPLICATION_ID && (version != 0 || tables != 0))
        return err_set(e, ERR_REFUSED,
                       "%s is a database of another program, not salvor's ledger; move one of the "
                       "two, or set SALVOR_STATE_DIR to another directory",
                       l->path);
    if (version > SCHEMA_VERSION)
        return err_set(e, ERR_UNSUPPORTED,
                       "the ledger %s was written by a newer salvor (schema %lld, this one knows "
                       "%d); update salvor, or set SALVOR_STATE_DIR to another directory",
                       l->path, (long long)version, SCHEMA_VERSION);
    if (version < 0)
        return err_set(e, ERR_CORRUPT, "the ledger %s is damaged: its schema is %lld", l->path,
                       (long long)version);
    if (version == SCHEMA_VERSION)
        return 0;
    for (; version < SCHEMA_VERSION && rc == 0; version++)
        rc = execute(l, migrations[version], e);
    _cleanup_free_ char *mark = str_fmt("PRAGMA application_id = %d; PRAGMA user_version = %d",
                                        APPLICATION_ID, SCHEMA_VERSION);
    return rc != 0 ? rc : execute(l, mark, e);
}

static int check_sound(struct ledger *l, struct err *e)
{
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    bool row = false;
    int rc = query_prepare(l, "PRAGMA quick_check(1)", &q, e);
    if (rc == 0)
        rc = query_step(l, q, &row, e);
    if (rc != 0 || !row)
        return rc;
    const char *verdict = (const char *)sqlite3_column_text(q, 0);
    if (str_eq(verdict, "ok"))
        return 0;
    return err_set(e, ERR_CORRUPT, "the ledger %s is damaged: %s", l->path,
                   verdict != NULL ? verdict : "it cannot be checked");
}

static int open_sound(struct ledger *l, struct err *e)
{
    int rc = sqlite3_open_v2(l->path, &l->db, SQLITE_OPEN_READWRITE, NULL);
    if (l->db == NULL)
        return err_set(e, ERR_INTERNAL, "cannot open the ledger %s: out of memory", l->path);
    if (rc != SQLITE_OK)
        return ledger_fail(l, "open", e);
    (void)sqlite3_extended_result_codes(l->db, 1);
    (void)sqlite3_busy_timeout(l->db, LEDGER_BUSY_MS);
    rc = execute(l,
                 "PRAGMA trusted_schema = OFF; PRAGMA synchronous = EXTRA; "
                 "PRAGMA foreign_keys = ON; PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE",
                 e);
    if (rc == 0)
        rc = migrate(l, e);
    if (rc == 0)
        rc = check_sound(l, e);
    return rc != 0 ? rc : execute(l, "COMMIT", e);
}

static void ledger_close(struct ledger *l)
{
    (void)sqlite3_close_v2(take(l->db)); /* rolls back what was not committed */
}

/* The file, mode 600, before SQLite would make it by the umask. Whatever is wrong with the
 * directory is said here, by the system's own words. */
static int make_file(const char *path, struct err *e)
{
    _cleanup_free_ char *dir = path_dir(path);
    int rc = dir_make_all(dir, 0700, e);
    if (rc != 0)
        return err_hint(e, "%s", state_hint);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) /* closing it drops no lock: nobody else has it yet */
        return close(fd) == 0 ? 0 : err_sys(e, errno, "cannot make the ledger %s", path);
    if (errno != EEXIST) {
        (void)err_sys(e, errno, "cannot make the ledger %s", path);
        return err_hint(e, "%s", state_hint);
    }
    if (access(path, R_OK | W_OK) == 0 && access(dir, W_OK | X_OK) == 0)
        return 0;
    (void)err_sys(e, errno, "cannot write the ledger %s", path);
    return err_hint(e, "%s", state_hint);
}

/* Moves the file and what belongs to it to <path>.damaged-<time>. The journal goes first: left
 * beside a new file it would be played back into it. */
static int set_aside(const char *path, struct err *e)
{
    static const char *const parts[] = {"-journal", "-wal", "-shm", ""};
    long long when = clock_wall(&clock_system).tv_sec;
    _cleanup_free_ char *aside = str_fmt("%s.damaged-%lld", path, when);
    while (access(aside, F_OK) == 0) { /* never over an earlier one */
        free(aside);
        aside = str_fmt("%s.damaged-%lld", path, ++when);
    }
    for (size_t i = 0; i < array_len(parts); i++) {
        _cleanup_free_ char *from = str_fmt("%s%s", path, parts[i]);
        _cleanup_free_ char *to = str_fmt("%s%s", aside, parts[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return err_sys(e, errno, "cannot set the damaged ledger aside as %s", to);
    }
    _cleanup_free_ char *dir = path_dir(path);
    int rc = dir_sync(dir, e);
    if (rc == 0)
        log_warning("the ledger %s is damaged; it was set aside as %s and a new one is begun. No "
                    "backup is lost: what matters is in the repository",
                    path, aside);
    return rc;
}

/* Only one process sets it aside, and not the new one that another has just begun. */
static int replace(struct ledger *l, struct err *e)
{
    _cleanup_free_ char *dir = path_dir(l->path);
    _cleanup_close_ int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return err_sys(e, errno, "cannot open %s", dir);
    while (flock(lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return err_sys(e, errno, "cannot lock %s", dir);
    int rc = open_sound(l, e);
    if (rc != ERR_CORRUPT)
        return rc;
    ledger_close(l);
    rc = set_aside(l->path, e);
    if (rc == 0)
        rc = make_file(l->path, e);
    return rc != 0 ? rc : open_sound(l, e);
}

int ledger_open(const char *path, struct ledger **out, struct err *e)
{
    *out = NULL;
    _cleanup_(ledger_freep) struct ledger *l = mem_zero(sizeof *l);
    l->path = str_dup(path);
    int rc = make_file(path, e);
    if (rc == 0)
        rc = open_sound(l, e);
    if (rc == ERR_CORRUPT) {
        ledger_close(l);
        rc = replace(l, e);
    }
    if (rc == 0)
        *out = take(l);
    return rc;
}
