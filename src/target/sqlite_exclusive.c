/* Replacing a database file that cannot be overwritten through SQLite: because it does not open, or
 * has another page size, or is not there at all.
 *
 * Everybody else is locked out by SQLite's own lock bytes and, where the system has them, by a
 * lease that is only granted while nobody has the file open: a process that holds the old file
 * would go on writing to what was moved aside. Journals go aside and the directory is synced
 * before the new file takes the name, so that no crash leaves an old journal beside a new file,
 * which SQLite would play into it. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/sqlite_int.h"
#include <errno.h>
#include <fcntl.h>
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

/* The first name that neither a file nor a journal has. */
static char *choose_kept(const struct install *x)
{
    for (unsigned n = 1;; n++) {
        char *name = aside_name(x->name, x->suffix, n);
        bool used = is_there(x->dir, name);
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

/* The steps, in the order that a crash between any two of them does no harm. */
static int replace(struct install *x, const char *kept, bool linked, struct err *e)
{
    int rc = move_beside(x, x->name, kept, e);
    if (rc == 0)
        rc = sqlite_sync_dir(x, e);
    if (rc == 0 && kept != NULL && !linked && renameat(x->dir, x->name, x->dir, kept) < 0)
        rc = err_sys(e, errno, "cannot keep %s/%s as %s", x->where, x->name, kept);
    if (rc == 0 && renameat(x->dir, x->fresh, x->dir, x->name) < 0) {
        rc = err_sys(e, errno, "cannot rename %s/%s to %s", x->where, x->fresh, x->name);
        if (kept != NULL && !linked)
            (void)renameat(x->dir, kept, x->dir, x->name);
    }
    return rc;
}

/* Takes back what `replace` did before it failed. */
static void give_back(const struct install *x, const char *kept, bool linked)
{
    struct err ignored = ERR_INIT;
    if (kept != NULL && move_beside(x, kept, x->name, &ignored) == 0 && linked)
        (void)unlinkat(x->dir, kept, 0);
}

/* Without a new one: the file goes first, since SQLite discards journals beside no file. */
static int set_aside(struct install *x, const char *kept, struct err *e)
{
    if (renameat(x->dir, x->name, x->dir, kept) < 0)
        return err_sys(e, errno, "cannot move %s/%s aside", x->where, x->name);
    return move_beside(x, x->name, kept, e);
}

int sqlite_replace(struct install *x, struct err *e)
{
    _cleanup_close_ int fd = -1;
    _cleanup_close_ int shm = -1;
    int rc = open_locked(x, &fd, &shm, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *kept = x->suffix != NULL ? choose_kept(x) : NULL;
    if (x->about != NULL)
        x->about(kept, x->arg);
    if (x->fresh == NULL) {
        rc = set_aside(x, kept, e);
    } else {
        bool linked = kept != NULL && linkat(x->dir, x->name, x->dir, kept, 0) == 0;
        rc = replace(x, kept, linked, e);
        if (rc != 0)
            give_back(x, kept, linked);
    }
    if (rc != 0)
        return rc;
    x->replaced = true;
    x->kept = take(kept);
    return sqlite_sync_dir(x, e);
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
    if (rename_unused(x->dir, x->fresh, x->name) < 0)
        return err_sys(e, errno, "cannot rename %s/%s to %s", x->where, x->fresh, x->name);
    return sqlite_sync_dir(x, e);
}
