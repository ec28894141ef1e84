/* Overwriting a live database through the backup interface: open connections go on and see the
 * restored state with their next transaction, and SQLite's own journal makes it all or nothing.
 *
 * The write lock comes first and stays: nobody can commit between the copy that keeps the present
 * state and the moment when it is overwritten. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "target/sqlite_int.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

struct live {
    struct install *x;
    int raw; /* the file itself; closing it drops SQLite's locks, so it is closed last */
    sqlite3 *db, *fresh;
    sqlite3_backup *backup;
    bool wal;
};

static void live_release(struct live *l)
{
    if (l->backup != NULL)
        (void)sqlite3_backup_finish(l->backup);
    (void)sqlite3_close(l->db);
    (void)sqlite3_close(l->fresh);
    if (l->raw >= 0)
        (void)close(l->raw);
}

static char *uri_of(const char *where, const char *name, const char *parameters)
{
    _cleanup_free_ char *path = path_join(where, name);
    struct buf b = BUF_INIT(BUF_TEXT);
    buf_adds(&b, "file:");
    for (const char *p = path; *p != 0; p++) {
        if (strchr("%?#", *p) != NULL)
            buf_addf(&b, "%%%02x", (unsigned char)*p);
        else
            buf_add(&b, p, 1);
    }
    buf_addf(&b, "?%s", parameters);
    return buf_take(&b);
}

static int fail(const struct install *x, sqlite3 *db, int rc, const char *doing, struct err *e)
{
    int kind = rc & 0xff;
    int code = kind == SQLITE_FULL                               ? ERR_FULL
               : kind == SQLITE_NOTADB || kind == SQLITE_CORRUPT ? ERR_CORRUPT
               : kind == SQLITE_READONLY || kind == SQLITE_PERM  ? ERR_DENIED
                                                                 : ERR_IO;
    return err_set(e, code, "cannot %s %s/%s: %s", doing, x->where, x->name,
                   db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

static bool is_busy(int rc)
{
    return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

static int exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int sqlite_check(const char *where, const char *name, struct err *e)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    _cleanup_free_ char *uri = uri_of(where, name, "mode=ro&immutable=1");
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK)
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    int result = 0;
    if (rc == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(s, 0);
        if (said == NULL || strcmp(said, "ok") != 0)
            result = err_set(e, ERR_CORRUPT,
                             "the database in the backup is damaged: PRAGMA integrity_check says "
                             "\"%s\"; nothing was changed",
                             said != NULL ? said : "nothing");
    } else if (rc != SQLITE_ERROR) { /* that: it needs what only its application has */
        int code =
            (rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT ? ERR_CORRUPT : ERR_IO;
        result = err_set(e, code,
                         "the database in the backup cannot be checked: %s; nothing was "
                         "changed",
                         db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
    }
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return result;
}

/* Somebody who writes as fast as he can leaves gaps of microseconds: SQLite's own waiting, which
 * gets slower and slower, would hardly ever hit one. */
static int poll_lock(void *arg, int count)
{
    (void)arg;
    const struct timespec pause = {0, 300000};
    (void)nanosleep(&pause, NULL);
    return count < 300;
}

/* Whether a database opens and its first page makes sense. */
static int probe(const struct install *x, sqlite3 *db, struct err *e)
{
    int rc;
    while (is_busy(rc = exec(db, "SELECT count(*) FROM sqlite_schema"))) {
        int err = sqlite_wait(x, 0, false, e);
        if (err != 0)
            return err;
    }
    if (rc == SQLITE_OK)
        return 0;
    (void)fail(x, db, rc, "open", e);
    if (e->code == ERR_CORRUPT || rc == SQLITE_ERROR)
        e->code = ERR_UNSUPPORTED; /* it opens only as a file */
    return e->code;
}

static bool is_wal(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    bool wal = sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &s, NULL) == SQLITE_OK &&
               sqlite3_step(s) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    (void)sqlite3_finalize(s);
    return wal;
}

/* A file without a byte is an empty database, but the backup interface would be done with it before
 * it had locked anything: it gets its first page. */
static int write_first_page(const struct install *x, struct err *e)
{
    struct stat st;
    if (fstatat(x->dir, x->fresh, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size > 0)
        return 0;
    sqlite3 *db = NULL;
    _cleanup_free_ char *uri = uri_of(x->where, x->fresh, "mode=rw");
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK)
        rc = exec(db, "PRAGMA user_version = 1; PRAGMA user_version = 0");
    int result = rc == SQLITE_OK ? 0 : fail(x, db, rc, "write an empty database for", e);
    (void)sqlite3_close(db);
    return result;
}

static int open_both(struct live *l, struct err *e)
{
    const struct install *x = l->x;
    _cleanup_free_ char *live = uri_of(x->where, x->name, "mode=rw");
    int rc = sqlite3_open_v2(live, &l->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc != SQLITE_OK)
        return fail(x, l->db, rc, "open", e);
    (void)sqlite3_busy_handler(l->db, poll_lock, NULL);
    /* Until it is overwritten, looking at it changes nothing, even if it is damaged. */
    (void)sqlite3_db_config(l->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int err = probe(x, l->db, e);
    if (err == 0)
        err = write_first_page(x, e);
    if (err != 0)
        return err;
    l->wal = is_wal(l->db); /* the connection must not be used once the backup has begun */
    _cleanup_free_ char *fresh = uri_of(x->where, x->fresh, "mode=ro&immutable=1");
    rc = sqlite3_open_v2(fresh, &l->fresh, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc != SQLITE_OK)
        return fail(x, l->fresh, rc, "read what is to be restored to", e);
    return probe(x, l->fresh, e);
}

/* A whole database that is about to be replaced becomes one file: a crash leaves either the one or
 * the other under its name, with all that was committed. Returns the code of `e`. */
static int empty_wal(struct live *l, struct err *e)
{
    while (
        is_busy(sqlite3_wal_checkpoint_v2(l->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL))) {
        struct err why = ERR_INIT;
        if (sqlite_wait(l->x, 0, true, &why) != 0) {
            *e = why;
            break;
        }
    }
    return e->code;
}

/* Takes the lock that keeps all others from writing, without changing anything. */
static int lock(struct live *l, struct err *e)
{
    l->backup = sqlite3_backup_init(l->db, "main", l->fresh, "main");
    if (l->backup == NULL)
        return fail(l->x, l->db, sqlite3_errcode(l->db), "overwrite", e);
    int rc;
    while (is_busy(rc = sqlite3_backup_step(l->backup, 0))) {
        int err = sqlite_wait(l->x, 0, false, e);
        if (err != 0)
            return err;
    }
    if (rc == SQLITE_OK)
        return 0;
    (void)sqlite3_backup_finish(take(l->backup));
    (void)fail(l->x, l->db, rc, "overwrite", e);
    /* A WAL database cannot get another page size; a damaged one may fail only here. */
    if (rc == SQLITE_READONLY || e->code == ERR_CORRUPT)
        e->code = ERR_UNSUPPORTED;
    return rc == SQLITE_READONLY ? empty_wal(l, e) : e->code;
}

/* In WAL mode readers go on beside our lock: one of them copies. */
static int copy_by_reader(const struct install *x, const char *temp, struct err *e)
{
    sqlite3 *from = NULL, *to = NULL;
    _cleanup_free_ char *from_uri = uri_of(x->where, x->name, "mode=ro");
    _cleanup_free_ char *to_uri = uri_of(x->where, temp, "mode=rw");
    int rc = sqlite3_open_v2(from_uri, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_db_config(from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = sqlite3_open_v2(to_uri, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL);
    }
    if (rc == SQLITE_OK)
        rc = exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"); /* synced by us */
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    if (b != NULL) {
        while (is_busy(rc = sqlite3_backup_step(b, -1)))
            if (sqlite_wait(x, 0, false, e) != 0)
                break;
        int end = sqlite3_backup_finish(b);
        rc = rc == SQLITE_DONE ? end : rc;
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_errcode(to);
    }
    int result = 0;
    if (rc != SQLITE_OK)
        result = is_busy(rc) ? e->code : fail(x, to, rc, "keep a copy of", e);
    (void)sqlite3_close(to);
    (void)sqlite3_close(from);
    return result;
}

/* In rollback mode our lock is exclusive, and nothing has been written yet: the file is the present
 * state. */
static int copy_raw(struct live *l, int to, struct err *e)
{
    const struct install *x = l->x;
    l->raw = openat(x->dir, x->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (l->raw < 0)
        return err_sys(e, errno, "cannot open %s/%s", x->where, x->name);
    enum { CHUNK = 1 << 20 };
    _cleanup_free_ char *data = mem_alloc(CHUNK);
    int64_t at = 0;
    for (size_t got = 1; got > 0; at += (int64_t)got) {
        int rc = fd_pread_all(l->raw, data, CHUNK, at, &got, x->name, e);
        if (rc == 0)
            rc = fd_write_all(to, data, got, "the copy that is kept", e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Gives the synced copy the first name that is unused, also by journals. */
static int name_kept(struct install *x, const char *temp, struct err *e)
{
    for (unsigned n = 1; n < 10000; n++) {
        _cleanup_free_ char *to = aside_name(x->name, x->suffix, n);
        if (faccessat(x->dir, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (x->about != NULL)
            x->about(to, x->arg);
        if (rename_unused(x->dir, temp, to) == 0) {
            x->kept = take(to);
            return sqlite_sync_dir(x, e);
        }
        if (errno != EEXIST)
            return err_sys(e, errno, "cannot keep %s/%s as %s", x->where, x->name, to);
    }
    return err_set(e, ERR_EXISTS, "cannot keep %s/%s: too many of %s%s; remove some", x->where,
                   x->name, x->name, x->suffix);
}

/* Keeps the present state, durably, with the owner and mode that the database has. */
static int keep(struct live *l, struct err *e)
{
    struct install *x = l->x;
    char temp[TEMP_NAME];
    _cleanup_close_ int fd = -1;
    int rc = temp_open(x->dir, temp, &fd, e);
    if (rc != 0)
        return err_prefix(e, "cannot keep %s/%s", x->where, x->name);
    struct stat st;
    rc = l->wal ? copy_by_reader(x, temp, e) : copy_raw(l, fd, e);
    if (rc == 0 && (fstatat(x->dir, x->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0) ||
                    fchmod(fd, st.st_mode & 07777) < 0 || fsync(fd) < 0))
        rc = err_sys(e, errno, "cannot keep %s/%s", x->where, x->name);
    if (rc == 0)
        rc = name_kept(x, temp, e);
    if (rc != 0)
        (void)unlinkat(x->dir, temp, 0);
    return rc;
}

static int overwrite(struct live *l, struct err *e)
{
    int rc = sqlite3_backup_step(l->backup, -1);
    int end = sqlite3_backup_finish(take(l->backup));
    if (rc == SQLITE_DONE && end == SQLITE_OK) {
        (void)sqlite3_db_config(l->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        return 0;
    }
    return fail(l->x, l->db, rc != SQLITE_DONE ? rc : end, "overwrite", e);
}

int sqlite_overwrite(struct install *x, struct err *e)
{
    _cleanup_(live_release) struct live l = {.x = x, .raw = -1};
    int rc = open_both(&l, e);
    if (rc == 0)
        rc = lock(&l, e);
    if (rc == 0 && x->suffix != NULL)
        rc = keep(&l, e);
    else if (rc == 0 && x->about != NULL)
        x->about(NULL, x->arg);
    if (rc == 0)
        rc = overwrite(&l, e);
    if (rc != 0 && x->kept != NULL) { /* nothing was changed: there is nothing to keep */
        (void)unlinkat(x->dir, x->kept, 0);
        free(take(x->kept));
    }
    if (rc == 0)
        x->replaced = x->in_place = true;
    return rc;
}
