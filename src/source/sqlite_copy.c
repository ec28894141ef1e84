/* Copying a live database. Nearly always the online backup interface does it, on a connection that
 * cannot write and does not checkpoint when it closes. Two cases would leave something beside the
 * original or fail: nobody has a WAL database open (then there is nothing but the file), and
 * somebody died while he wrote (then SQLite would have to recover: it does so on copies of the
 * file and its journal). Both are accepted only if nothing changed meanwhile. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/work.h"
#include "source/sqlite_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#define COPY_PREFIX ".salvor-sqlite-"
enum { SWEEP_AGE = 60, POLL_MS = 20 };

/* SQLite's lock bytes: https://sqlite.org/src/file/src/os.h */
enum { PENDING_BYTE = 0x40000000, LOCK_BYTES = 512 };

struct copying {
    const char *path;
    char *temp; /* the copy's name while it has one */
    int busy_ms;
    int64_t deadline;
};

/* ---- words ---- */

char *sqlite_uri(const char *path, const char *parameters)
{
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

int sqlite_err(struct err *e, sqlite3 *db, int rc, const char *doing, const char *path)
{
    int code = ERR_IO;
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: code = ERR_LOCKED; break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: code = ERR_CORRUPT; break;
    case SQLITE_FULL: code = ERR_FULL; break;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY: code = ERR_DENIED; break;
    default: break;
    }
    return err_set(e, code, "cannot %s %s: %s", doing, path,
                   db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

/* Whose lock keeps us waiting; "" if it cannot be told. */
static void name_holder(const char *path, char out[64])
{
    out[0] = 0;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct flock l = {.l_type = F_WRLCK,
                      .l_whence = SEEK_SET,
                      .l_start = PENDING_BYTE,
                      .l_len = LOCK_BYTES};
    if (fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK && l.l_pid > 0)
        (void)snprintf(out, 64, " (process %ld)", (long)l.l_pid);
}

static int locked(const struct copying *w, struct err *e)
{
    char holder[64];
    name_holder(w->path, holder);
    (void)err_set(e, ERR_LOCKED,
                  "cannot back up %s: it is locked for %d s by another process%s; try again when "
                  "that is done",
                  w->path, w->busy_ms / 1000, holder);
    e->retryable = true;
    return ERR_LOCKED;
}

/* Waits a little before the next try; an error when the time is over. */
static int wait_more(const struct copying *w, struct err *e)
{
    if (clock_since_boot(&clock_system) >= w->deadline)
        return locked(w, e);
    struct timespec pause = {0, POLL_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
    return cancel_check(e);
}

/* ---- what is there ---- */

struct beside {
    bool wal_format; /* by the header */
    bool wal, shm, journal;
    bool written; /* somebody holds a lock to write */
    struct stat st, wal_st, journal_st;
};

static bool stat_beside(const char *path, const char *suffix, struct stat *st)
{
    _cleanup_free_ char *name = str_fmt("%s%s", path, suffix);
    return stat(name, st) == 0;
}

static bool looks_encrypted(const uint8_t *data, size_t len)
{
    bool seen[256] = {false};
    int distinct = 0;
    for (size_t i = 0; i < len; i++) {
        distinct += !seen[data[i]];
        seen[data[i]] = true;
    }
    return len >= 1024 && distinct > 200;
}

static int check_header(const uint8_t *head, size_t len, const char *path, struct err *e)
{
    if (len == 0 || (len >= 100 && memcmp(head, "SQLite format 3", 16) == 0))
        return 0;
    if (looks_encrypted(head, len))
        return err_set(e, ERR_CORRUPT,
                       "cannot back up %s: it is not a SQLite database, or it is encrypted "
                       "(SQLCipher or the like); an encrypted one can be backed up as a file "
                       "(type: files) while nothing writes to it",
                       path);
    return err_set(e, ERR_CORRUPT, "cannot back up %s: it is not a SQLite database", path);
}

/* A journal that would be rolled back: in some modes one that is done stays, its head zeroed. */
static bool is_hot(const char *path, struct stat *st)
{
    _cleanup_free_ char *name = str_fmt("%s-journal", path);
    _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char first = 0;
    return fd >= 0 && fstat(fd, st) == 0 && pread(fd, &first, 1, 0) == 1 && first != 0;
}

/* Closing this descriptor would drop the locks of a connection of ours: there is none yet. */
static int look(struct beside *b, const char *path, struct err *e)
{
    uint8_t head[4096];
    size_t got = 0;
    memset(b, 0, sizeof(*b));
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &b->st) < 0)
        return err_sys(e, errno, "cannot open %s", path);
    if (!S_ISREG(b->st.st_mode))
        return err_set(e, ERR_CORRUPT, "cannot back up %s: it is not a file", path);
    int rc = fd_pread_all(fd, head, sizeof(head), 0, &got, path, e);
    if (rc == 0)
        rc = check_header(head, got, path, e);
    if (rc != 0)
        return rc;
    b->wal_format = got >= 100 && head[18] == 2;
    b->wal = stat_beside(path, "-wal", &b->wal_st);
    b->journal = is_hot(path, &b->journal_st);
    struct stat ignored;
    b->shm = stat_beside(path, "-shm", &ignored);
    struct flock l = {.l_type = F_RDLCK,
                      .l_whence = SEEK_SET,
                      .l_start = PENDING_BYTE,
                      .l_len = LOCK_BYTES};
    b->written = fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;
    return 0;
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           timespec_compare(a->st_mtim, b->st_mtim) == 0 &&
           timespec_compare(a->st_ctim, b->st_ctim) == 0;
}

/* Whether file and journals are still what they were, none newer than the clock can tell. */
static bool undisturbed(const struct beside *before, const char *path)
{
    struct beside now;
    struct err ignored = ERR_INIT;
    if (look(&now, path, &ignored) != 0)
        return false;
    return now.wal == before->wal && now.shm == before->shm && now.journal == before->journal &&
           !now.written && same_stat(&now.st, &before->st) &&
           (!now.wal || same_stat(&now.wal_st, &before->wal_st)) &&
           (!now.journal || same_stat(&now.journal_st, &before->journal_st));
}

/* ---- copying ---- */

/* Somebody who writes as fast as he can leaves gaps of microseconds: SQLite's own waiting, which
 * gets slower and slower, would hardly ever hit one. */
static int poll_lock(void *arg, int count)
{
    (void)arg;
    const struct timespec pause = {0, 300000};
    (void)nanosleep(&pause, NULL);
    return count < 300;
}

/* All pages in one step: stepping in parts starts over with every write of somebody else. */
static int copy_pages(const struct copying *w, const char *uri, int flags, struct err *e)
{
    _cleanup_(sqlite_close_p) sqlite3 *from = NULL;
    _cleanup_(sqlite_close_p) sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(uri, &from, flags | SQLITE_OPEN_URI, NULL);
    if (rc != SQLITE_OK)
        return sqlite_err(e, from, rc, "open", w->path);
    (void)sqlite3_db_config(from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_busy_handler(from, poll_lock, NULL);
    rc = sqlite3_open_v2(w->temp, &to, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) /* of the copy nothing needs to outlive a crash */
        rc = sqlite3_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return sqlite_err(e, to, rc, "write the copy", w->temp);

    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (b == NULL)
        return sqlite_err(e, to, sqlite3_errcode(to), "copy", w->path);
    int err = 0;
    while ((rc = sqlite3_backup_step(b, -1)) == SQLITE_BUSY || rc == SQLITE_LOCKED)
        if ((err = wait_more(w, e)) != 0)
            break;
    int end = sqlite3_backup_finish(b);
    if (err != 0)
        return err;
    if (rc != SQLITE_DONE || end != SQLITE_OK) {
        int failed = rc != SQLITE_DONE ? rc : end;
        if ((failed & 0xff) == SQLITE_FULL || (failed & 0xff) == SQLITE_IOERR)
            return sqlite_err(e, to, failed, "write a copy of", w->path);
        return sqlite_err(e, to, failed, "copy", w->path);
    }
    return 0;
}

static int copy_raw(const char *from, const char *to, struct err *e)
{
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (in < 0)
        return err_sys(e, errno, "cannot open %s", from);
    _cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return err_sys(e, errno, "cannot write %s", to);
    enum { CHUNK = 1 << 20 };
    _cleanup_free_ char *data = mem_alloc(CHUNK);
    int64_t at = 0;
    for (size_t got = 1; got > 0; at += (int64_t)got) {
        int rc = fd_pread_all(in, data, CHUNK, at, &got, from, e);
        if (rc == 0)
            rc = fd_write_all(out, data, got, to, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Recovers copies of the file and of what lies beside it, then copies from there. */
static int copy_recovered(const struct copying *w, const struct beside *b, struct err *e)
{
    static const char *const suffix[] = {"-wal", "-journal"};
    const bool wanted[] = {b->wal, b->journal};
    _cleanup_free_ char *raw = str_fmt("%s.raw", w->temp);
    int rc = copy_raw(w->path, raw, e);
    for (size_t i = 0; rc == 0 && i < array_len(suffix); i++) {
        _cleanup_free_ char *from = str_fmt("%s%s", w->path, suffix[i]);
        _cleanup_free_ char *to = str_fmt("%s%s", raw, suffix[i]);
        if (wanted[i])
            rc = copy_raw(from, to, e);
    }
    if (rc == 0) {
        _cleanup_free_ char *uri = sqlite_uri(raw, "mode=rw");
        rc = copy_pages(w, uri, SQLITE_OPEN_READWRITE, e);
    }
    static const char *const all[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < array_len(all); i++) {
        _cleanup_free_ char *name = str_fmt("%s%s", raw, all[i]);
        (void)unlink(name);
    }
    return rc;
}

/* Times of files tell nothing within one tick of the kernel's clock: changes that are younger are
 * waited for. */
static void let_settle(const struct beside *b)
{
    const struct timespec pause = {0, 2000000};
    struct timespec now;
    for (int tries = 0; tries < 10; tries++) {
        (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (timespec_compare(b->st.st_ctim, now) < 0 &&
            (!b->wal || timespec_compare(b->wal_st.st_ctim, now) < 0) &&
            (!b->journal || timespec_compare(b->journal_st.st_ctim, now) < 0))
            return;
        (void)nanosleep(&pause, NULL);
    }
}

/* One try; *again if somebody came in between. */
static int try_copy(const struct copying *w, struct sqlite_copy *c, bool *again, struct err *e)
{
    struct beside b;
    *again = false;
    int rc = look(&b, w->path, e);
    if (rc != 0)
        return rc;
    c->st = b.st;
    c->wal = b.wal_format;
    bool idle_wal = b.wal_format && !b.wal && !b.shm && !b.journal && !b.written;
    bool left = !b.written && ((b.wal_format && b.wal && !b.shm && b.wal_st.st_size > 0) ||
                               (!b.wal_format && b.journal));
    if (!idle_wal && !left) {
        _cleanup_free_ char *uri = sqlite_uri(w->path, "mode=ro");
        rc = copy_pages(w, uri, SQLITE_OPEN_READONLY, e);
        /* Died since we looked, or in a directory where SQLite may not recover. */
        if (rc != ERR_DENIED && rc != ERR_IO)
            return rc;
        struct err why = *e;
        if (!look(&b, w->path, e) && !b.written && (b.wal || b.journal) && undisturbed(&b, w->path))
            left = true;
        if (!left) {
            *e = why;
            return rc;
        }
    }
    let_settle(&b);
    if (left) {
        rc = copy_recovered(w, &b, e);
    } else {
        _cleanup_free_ char *uri = sqlite_uri(w->path, "mode=ro&immutable=1");
        rc = copy_pages(w, uri, SQLITE_OPEN_READONLY, e);
    }
    *again = !undisturbed(&b, w->path);
    return *again ? 0 : rc;
}

/* ---- the copy's file ---- */

void sqlite_copy_sweep(const char *temp_dir)
{
    DIR *d = opendir(temp_dir);
    if (d == NULL)
        return;
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        struct stat st;
        if (!str_starts(entry->d_name, COPY_PREFIX))
            continue;
        _cleanup_close_ int fd =
            openat(dirfd(d), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        /* The lock is its maker's, who takes it right after making it. */
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
            st.st_mtime + SWEEP_AGE < time(NULL) && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(d), entry->d_name, 0);
    }
    (void)closedir(d);
}

static int check_room(const char *temp_dir, const char *path, struct err *e)
{
    struct statvfs fs;
    struct stat st;
    char need[24], have[24];
    if (stat(path, &st) < 0 || statvfs(temp_dir, &fs) < 0)
        return 0; /* told better by what comes next */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if ((uint64_t)st.st_size <= room)
        return 0;
    return err_set(e, ERR_FULL,
                   "cannot copy %s: it has %s and %s has only %s left; free some space or set "
                   "TMPDIR to a directory with more",
                   path, size_human((uint64_t)st.st_size, need), temp_dir, size_human(room, have));
}

static int fill(struct copying *w, struct sqlite_copy *c, bool count_rows, struct err *e)
{
    bool again = true;
    while (again) {
        int rc = try_copy(w, c, &again, e);
        if (rc == 0 && again)
            rc = wait_more(w, e);
        if (rc != 0)
            return rc;
    }
    struct stat st;
    if (fstat(c->fd, &st) < 0)
        return err_sys(e, errno, "cannot look at %s", w->temp);
    c->bytes = (uint64_t)st.st_size;
    return sqlite_inspect(c, w->temp, w->path, count_rows, e);
}

int sqlite_copy_make(struct sqlite_copy *c, const char *path, const char *temp_dir, int busy_ms,
                     bool count_rows, struct err *e)
{
    memset(c, 0, sizeof(*c));
    c->fd = -1;
    int rc = check_room(temp_dir, path, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *temp = path_join(temp_dir, COPY_PREFIX "XXXXXX");
    c->fd = mkostemp(temp, O_CLOEXEC);
    if (c->fd < 0)
        return err_sys(e, errno, "cannot make a copy of %s in %s", path, temp_dir);
    (void)flock(c->fd, LOCK_EX | LOCK_NB);
    struct copying w = {.path = path, .temp = temp, .busy_ms = busy_ms};
    w.deadline = clock_since_boot(&clock_system) + (int64_t)busy_ms * 1000000;
    rc = fill(&w, c, count_rows, e);
    (void)unlink(temp);
    if (rc != 0)
        sqlite_copy_release(c);
    return rc;
}

void sqlite_copy_release(struct sqlite_copy *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    for (size_t i = 0; i < c->ntables; i++)
        free(c->table[i].name);
    free(c->table);
    free(c->unchecked);
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}
