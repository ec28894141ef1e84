/* Replacing a database file that cannot be overwritten through SQLite: because it does not open, or
 * has another page size, or is not there at all.
 *
 * Everybody else is locked out by SQLite's own lock bytes and, where the system has them, by a
 * lease that is only granted while nobody has the file open: a process that holds the old file
 * would go on writing to what was moved aside. No crash leaves a journal beside a file that it does
 * not belong to, nor a file without its journal, where SQLite could open it. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/sqlite_int.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* https://sqlite.org/src/file/src/os.h and os_unix.c */
enum { LOCK_START = 0x40000000, LOCK_LENGTH = 512, SHM_START = 120, SHM_LENGTH = 9 };

/* SQLite's locks are not fair: against writers that come back at once only one who asks often gets
 * his turn. */
enum { POLL_US = 700 };

const char *const sqlite_beside[BESIDE] = {"-wal", "-shm", "-journal"};

int sqlite_locked(const struct install *x, long pid, bool open, struct err *e)
{
    char who[48] = "another process";
    if (pid > 0)
        (void)snprintf(who, sizeof(who), "process %ld", pid);
    (void)err_set(e, ERR_LOCKED,
                  "%s/%s has been %s by %s for %d s: nothing was changed; stop what uses it and "
                  "restore again",
                  x->where, x->name, open ? "kept open" : "locked", who, x->busy_ms / 1000);
    e->retryable = true;
    return ERR_LOCKED;
}

int sqlite_wait(const struct install *x, long pid, bool open, struct err *e)
{
    if (clock_since_boot(&clock_system) >= x->deadline)
        return sqlite_locked(x, pid, open, e);
    struct timespec pause = {0, POLL_US * 1000L};
    (void)nanosleep(&pause, NULL);
    return cancel_check(e);
}

int sqlite_sync_dir(const struct install *x, struct err *e)
{
    /* EINVAL: a file system that cannot sync directories. */
    if (fsync(x->dir) < 0 && errno != EINVAL)
        return err_sys(e, errno, "cannot sync directory %s", x->where);
    return 0;
}

/* ---- locking everybody out ---- */

static int lock_range(const struct install *x, int fd, off_t start, off_t len, struct err *e)
{
    for (;;) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
        if (fcntl(fd, F_SETLK, &l) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return err_sys(e, errno, "cannot lock %s/%s", x->where, x->name);
        l.l_type = F_WRLCK;
        long pid = fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK ? (long)l.l_pid : 0;
        int rc = sqlite_wait(x, pid, false, e);
        if (rc != 0)
            return rc;
    }
}

/* Granted while no one else has the file open; who opens it now waits until we are done. */
static int take_lease(const struct install *x, int fd, struct err *e)
{
    (void)fcntl(fd, F_SETSIG, SIGURG); /* somebody waits: nothing to do, and not SIGIO's death */
    while (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
        if (errno != EAGAIN)
            return 0; /* not our file, or a file system without leases: the lock must do */
        int rc = sqlite_wait(x, 0, true, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int open_locked(const struct install *x, int *fd, int *shm, struct err *e)
{
    int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    _cleanup_free_ char *shm_name = str_fmt("%s-shm", x->name);
    *fd = openat(x->dir, x->name, flags);
    if (*fd < 0)
        return err_sys(e, errno, "cannot open %s/%s", x->where, x->name);
    int rc = lock_range(x, *fd, LOCK_START, LOCK_LENGTH, e);
    *shm = rc == 0 ? openat(x->dir, shm_name, flags) : -1;
    if (rc == 0 && *shm >= 0)
        rc = lock_range(x, *shm, SHM_START, SHM_LENGTH, e);
    return rc == 0 ? take_lease(x, *fd, e) : rc;
}

/* ---- moving ---- */

static bool is_there(int dir, const char *name)
{
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool sqlite_is_same(int dir, const char *a, const char *b)
{
    struct stat x, y;
    return fstatat(dir, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(dir, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_ino == y.st_ino &&
           x.st_dev == y.st_dev;
}

/* The first name that neither a file nor a journal has, unless the file is the database itself:
 * then a crash came just after it got that name. */
static char *choose_kept(const struct install *x)
{
    for (unsigned n = 1;; n++) {
        char *name = aside_name(x->name, x->suffix, n);
        bool used = is_there(x->dir, name) && !sqlite_is_same(x->dir, name, x->name);
        for (size_t i = 0; i < BESIDE; i++) {
            _cleanup_free_ char *beside = str_fmt("%s%s", name, sqlite_beside[i]);
            used = used || is_there(x->dir, beside);
        }
        if (!used || n == 10000)
            return name;
        free(name);
    }
}

/* Renames the journals of `from` to those of `to`; removes them if `to` is NULL. */
static int move_beside(const struct install *x, const char *from, const char *to, struct err *e)
{
    for (size_t i = 0; i < BESIDE; i++) {
        _cleanup_free_ char *a = str_fmt("%s%s", from, sqlite_beside[i]);
        _cleanup_free_ char *b = to != NULL ? str_fmt("%s%s", to, sqlite_beside[i]) : NULL;
        int rc = b != NULL ? renameat(x->dir, a, x->dir, b) : unlinkat(x->dir, a, 0);
        if (rc < 0 && errno != ENOENT)
            return err_sys(e, errno, "cannot move %s/%s aside", x->where, a);
    }
    return 0;
}

static bool any_beside(const struct install *x)
{
    bool any = false;
    for (size_t i = 0; i < BESIDE; i++) {
        _cleanup_free_ char *name = str_fmt("%s%s", x->name, sqlite_beside[i]);
        any = any || is_there(x->dir, name);
    }
    return any;
}

bool sqlite_has_journal(int dir, const char *name)
{
    struct stat st;
    for (size_t i = 0; i < BESIDE; i++) {
        _cleanup_free_ char *beside = str_fmt("%s%s", name, sqlite_beside[i]);
        if (strcmp(sqlite_beside[i], "-shm") != 0 &&
            fstatat(dir, beside, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
            return true;
    }
    return false;
}

/* ---- shutting ----
 *
 * A file and its journals cannot be exchanged in one step, and whoever opens the database between
 * two steps, after a crash, would play the journals of one into the other, or go on without them.
 * So meanwhile its name is shut: a link into a directory that does not exist, by which nothing can
 * be opened nor made. To people it says what to do, and to us whose journals lie beside it. */

#define SHUT "salvor was cut off here, so restore again, or take it back by salvor undo/"

/* The owner of the journals, which the caller frees; NULL if the name is not shut. */
static char *shut_for(const struct install *x)
{
    char to[sizeof(SHUT) + NAME_MAX];
    const size_t len = sizeof(SHUT) - 1;
    ssize_t n = readlinkat(x->dir, x->name, to, sizeof(to));
    bool shut = n > (ssize_t)len && n < (ssize_t)sizeof(to) && memcmp(to, SHUT, len) == 0;
    return shut ? str_ndup(to + len, (size_t)n - len) : NULL;
}

bool sqlite_is_shut(const struct install *x)
{
    _cleanup_free_ char *owner = shut_for(x);
    return owner != NULL;
}

static int make_link(int dir, const char *name, void *to)
{
    return symlinkat(to, dir, name);
}

/* Puts the link in the place of what has the name now. */
static int shut(const struct install *x, const char *owner, struct err *e)
{
    char temp[TEMP_NAME];
    _cleanup_free_ char *to = str_fmt("%s%s", SHUT, owner);
    int rc = temp_make(x->dir, temp, make_link, to, e);
    if (rc == 0 && renameat(x->dir, temp, x->dir, x->name) < 0) {
        rc = err_sys(e, errno, "cannot rename %s/%s to %s", x->where, temp, x->name);
        (void)unlinkat(x->dir, temp, 0);
    }
    return rc == 0 ? sqlite_sync_dir(x, e) : rc;
}

int sqlite_settle(const struct install *x, struct err *e)
{
    _cleanup_free_ char *owner = shut_for(x);
    int rc = owner != NULL ? move_beside(x, x->name, owner, e) : 0;
    return rc == 0 && owner != NULL ? sqlite_sync_dir(x, e) : rc;
}

/* ---- replacing ---- */

struct change {
    struct install *x;
    char *aside;  /* what the old database is called afterwards; NULL: there is none */
    bool linked;  /* it has that name already, */
    bool shut;    /* and the other one is shut */
    bool brought; /* the journals of x->fresh have been moved */
};

/* What is not to be kept is held under a temporary name until its successor is there. */
static bool is_hold(const char *aside)
{
    return aside != NULL && strncmp(aside, FILE_TEMP_PREFIX, sizeof(FILE_TEMP_PREFIX) - 1) == 0;
}

static int make_hold(int dir, const char *name, void *old)
{
    return linkat(dir, old, dir, name, 0);
}

/* Gives the old database its name aside, and shuts the other one if there are journals to move.
 * Where the file system has no links, there is no help against a crash. */
static int prepare(struct change *c, struct err *e)
{
    struct install *x = c->x;
    char hold[TEMP_NAME];
    struct err no_links = ERR_INIT;
    if (x->suffix != NULL) {
        c->aside = choose_kept(x);
        if (x->about != NULL)
            x->about(c->aside, x->arg);
        c->linked = sqlite_is_same(x->dir, x->name, c->aside) ||
                    linkat(x->dir, x->name, x->dir, c->aside, 0) == 0;
    } else {
        if (x->about != NULL)
            x->about(NULL, x->arg);
        c->linked = temp_make(x->dir, hold, make_hold, (void *)(uintptr_t)x->name, &no_links) == 0;
        c->aside = c->linked ? str_dup(hold) : NULL;
    }
    bool journals = sqlite_has_journal(x->dir, x->name) ||
                    (x->fresh != NULL && sqlite_has_journal(x->dir, x->fresh));
    if (!c->linked || !journals)
        return 0;
    struct err why = ERR_INIT;
    int rc = shut(x, c->aside, &why);
    c->shut = sqlite_is_shut(x);
    if (rc == 0 || why.sys == EPERM || why.sys == EOPNOTSUPP || why.sys == ENOSYS)
        return 0;
    *e = why;
    return rc;
}

/* The steps, in the order that a crash between any two of them does no harm. */
static int carry_out(struct change *c, struct err *e)
{
    struct install *x = c->x;
    int rc = move_beside(x, x->name, c->aside, e);
    if (rc == 0 && x->fresh != NULL && sqlite_has_journal(x->dir, x->fresh)) {
        rc = c->shut ? shut(x, x->fresh, e) : 0;
        c->brought = rc == 0;
        rc = rc == 0 ? move_beside(x, x->fresh, x->name, e) : rc;
    }
    if (rc == 0)
        rc = sqlite_sync_dir(x, e);
    if (rc == 0 && c->aside != NULL && !c->linked &&
        renameat(x->dir, x->name, x->dir, c->aside) < 0)
        rc = err_sys(e, errno, "cannot keep %s/%s as %s", x->where, x->name, c->aside);
    if (rc != 0)
        return rc;
    if (x->fresh != NULL && renameat(x->dir, x->fresh, x->dir, x->name) < 0) {
        rc = err_sys(e, errno, "cannot rename %s/%s to %s", x->where, x->fresh, x->name);
        if (c->aside != NULL && !c->linked)
            (void)renameat(x->dir, c->aside, x->dir, x->name);
    } else if (x->fresh == NULL && c->linked && unlinkat(x->dir, x->name, 0) < 0) {
        rc = err_sys(e, errno, "cannot move %s/%s aside", x->where, x->name);
    }
    return rc;
}

/* Takes back what was done before it failed, as far as that can be. */
static void give_back(const struct change *c)
{
    const struct install *x = c->x;
    struct err ignored = ERR_INIT;
    if (c->brought && move_beside(x, x->name, x->fresh, &ignored) < 0)
        return;
    if (c->aside == NULL || move_beside(x, c->aside, x->name, &ignored) < 0)
        return;
    if (c->shut)
        (void)renameat(x->dir, c->aside, x->dir, x->name);
    else if (c->linked)
        (void)unlinkat(x->dir, c->aside, 0);
}

/* What a crash has left shut: the old database lies aside, with its journals. */
static int go_on(struct change *c, struct err *e)
{
    struct install *x = c->x;
    int rc = sqlite_settle(x, e);
    _cleanup_free_ char *owner = shut_for(x);
    c->linked = c->shut = true;
    if (rc == 0 && owner != NULL && is_there(x->dir, owner) && !str_eq(owner, x->fresh))
        c->aside = take(owner);
    if (rc == 0 && x->about != NULL)
        x->about(c->aside, x->arg);
    return rc;
}

int sqlite_replace(struct install *x, struct err *e)
{
    _cleanup_close_ int fd = -1;
    _cleanup_close_ int shm = -1;
    struct change c = {.x = x};
    bool was_shut = sqlite_is_shut(x);
    int rc = was_shut ? go_on(&c, e) : open_locked(x, &fd, &shm, e);
    if (rc == 0 && !was_shut)
        rc = prepare(&c, e);
    if (rc == 0)
        rc = carry_out(&c, e);
    if (rc != 0 && !was_shut)
        give_back(&c);
    if (rc == 0) {
        x->replaced = true;
        rc = sqlite_sync_dir(x, e);
    }
    if (rc == 0 && x->suffix == NULL && is_hold(c.aside)) {
        (void)unlinkat(x->dir, c.aside, 0);
        rc = move_beside(x, c.aside, NULL, e);
    } else if (rc == 0) {
        x->kept = take(c.aside);
    }
    free(c.aside);
    return rc;
}

int sqlite_place_new(struct install *x, struct err *e)
{
    if (x->about != NULL)
        x->about(NULL, x->arg);
    if (any_beside(x)) {
        _cleanup_free_ char *kept = x->suffix != NULL ? choose_kept(x) : NULL;
        int rc = move_beside(x, x->name, kept, e);
        if (rc == 0)
            rc = sqlite_sync_dir(x, e);
        if (rc != 0)
            return rc;
    }
    if (sqlite_has_journal(x->dir, x->fresh)) {
        _cleanup_free_ char *to = str_fmt("%s%s", SHUT, x->fresh);
        if (symlinkat(to, x->dir, x->name) == 0)
            return sqlite_replace(x, e);
    }
    if (rename_unused(x->dir, x->fresh, x->name) < 0)
        return err_sys(e, errno, "cannot rename %s/%s to %s", x->where, x->fresh, x->name);
    return sqlite_sync_dir(x, e);
}
