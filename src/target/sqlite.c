/* The target of SQLite databases: files that are built beside, checked, and installed so that a
 * live database stays usable and no old journal ever meets a new file. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "target/sqlite_int.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { BUSY_MS = 30000 };

struct sqlite_target {
    struct files_target files;
    int busy_ms;
};

/* ---- installing ---- */

int sqlite_install(struct install *x, struct err *e)
{
    struct stat st;
    if (fstatat(x->dir, x->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return err_sys(e, errno, "cannot look at %s/%s", x->where, x->name);
        int rc = sqlite_place_new(x, e);
        if (rc != ERR_EXISTS)
            return rc;
        if (fstatat(x->dir, x->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(e, errno, "cannot look at %s/%s", x->where, x->name);
    }
    if (sqlite_is_shut(x))
        return sqlite_replace(x, e);
    if (!S_ISREG(st.st_mode)) /* a link or a directory: nobody's database by this name */
        return put_in_place(x->dir, x->fresh, x->name, x->suffix, x->about, x->arg, &x->replaced,
                            &x->kept, e);
    int rc = sqlite_overwrite(x, e);
    if (rc == ERR_UNSUPPORTED)
        return sqlite_replace(x, e);
    if (rc == 0)
        (void)unlinkat(x->dir, x->fresh, 0);
    return rc;
}

int sqlite_set_aside(struct install *x, struct err *e)
{
    x->fresh = NULL;
    return sqlite_replace(x, e);
}

/* The path of an open directory, without links. */
static char *path_of_fd(int dir)
{
    char proc[48], path[PATH_MAX];
    (void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dir);
    ssize_t n = readlink(proc, path, sizeof(path) - 1);
    return n > 0 && path[0] == '/' ? str_ndup(path, (size_t)n) : NULL;
}

static struct install install_of(int dir, const char *where, const char *name, const char *fresh,
                                 const char *suffix, int busy_ms)
{
    return (struct install){
        .dir = dir,
        .where = where,
        .name = name,
        .fresh = fresh,
        .suffix = suffix,
        .busy_ms = busy_ms,
        .deadline = clock_since_boot(&clock_system) + (int64_t)busy_ms * 1000000,
    };
}

/* ---- the target ---- */

/* Whether what is there is nothing but its file: no journal holds a part of it. */
static bool is_plain(const struct file *f)
{
    return !sqlite_has_journal(f->dir->fd, f->name);
}

/* A database that stays where it is gets owner and mode, also of the journals beside it; its times
 * are those of the restore. */
static int set_attributes(struct files_target *t, const struct file *f, struct err *e)
{
    char why[WHY_MAX] = "";
    static const char *const part[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < array_len(part); i++) {
        _cleanup_free_ char *name = str_fmt("%s%s", f->name, part[i]);
        struct stat st;
        _cleanup_close_ int fd =
            openat(f->dir->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
            continue;
        struct node n = f->node;
        n.mtime = st.st_mtim;
        n.atime = st.st_atim;
        (void)files_about_attributes(t, f->dir, name, fd, &n);
        int rc = attributes_set(fd, &n, &t->owners, false, false, why, name, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int install(struct files_target *t, struct file *f, bool *replaced, char **kept,
                   struct err *e)
{
    _cleanup_free_ char *where = path_of_fd(f->dir->fd);
    if (where == NULL)
        where = path_join(t->places.root, f->dir->path);
    int rc = sqlite_check(where, f->temp, e);
    if (rc != 0)
        return rc;
    if (f->old_fd >= 0) /* it would pass for somebody who has the database open */
        (void)close(take_fd(&f->old_fd));
    struct files_entry entry = {t, f->dir, f->name};
    struct install x = install_of(f->dir->fd, where, f->name, f->temp, t->keep_suffix,
                                  ((struct sqlite_target *)t)->busy_ms);
    x.about = files_about;
    x.arg = &entry;
    rc = sqlite_install(&x, e);
    *replaced = x.replaced;
    *kept = x.kept;
    return rc == 0 && x.in_place ? set_attributes(t, f, e) : rc;
}

static const struct files_hooks hooks = {.plain = is_plain, .install = install};

int target_sqlite_new(const struct target_options *o, int busy_ms, struct target **out,
                      struct err *e)
{
    struct sqlite_target *t = mem_zero(sizeof(*t));
    t->files.target.ops = &files_ops;
    t->files.hooks = &hooks;
    t->busy_ms = busy_ms > 0 ? busy_ms : BUSY_MS;
    int rc = files_target_init(&t->files, o, e);
    if (rc != 0) {
        target_free(&t->files.target);
        return rc;
    }
    *out = &t->files.target;
    return 0;
}

/* ---- taking it back ---- */

static bool is_whole(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    bool whole = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL) == SQLITE_OK &&
                 sqlite3_step(s) == SQLITE_ROW &&
                 strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
    (void)sqlite3_finalize(s);
    return whole;
}

/* A kept database that has journals of its own becomes one file; a damaged one stays as it is. */
static void fold_journals(const char *kept)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(kept, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
        (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        if (is_whole(db))
            (void)sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    }
    (void)sqlite3_close(db);
}

static int put_kept_back(struct install *x, const char *kept, struct err *e)
{
    struct stat st;
    if (sqlite_has_journal(x->dir, x->fresh))
        fold_journals(kept);
    /* What is there may be open; but only a database that is one file can be written into it. */
    bool whole = sqlite_has_journal(x->dir, x->fresh) &&
                 fstatat(x->dir, x->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
    return whole ? sqlite_replace(x, e) : sqlite_install(x, e);
}

int sqlite_put_back(const char *path, const char *kept, const char *aside_suffix, char **aside,
                    struct err *e)
{
    _cleanup_free_ char *dir_name = path_dir(path);
    _cleanup_free_ char *where = realpath(dir_name, NULL);
    _cleanup_close_ int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *aside = NULL;
    if (where == NULL || dir < 0)
        return err_sys(e, errno, "cannot put %s back: cannot open its directory", path);
    struct install x = install_of(dir, where, path_base(path), NULL, aside_suffix, BUSY_MS);
    struct stat st;
    int rc;
    if (kept != NULL) {
        _cleanup_free_ char *kept_dir = path_dir(kept);
        x.fresh = path_base(kept);
        if (strcmp(kept_dir, dir_name) != 0)
            return err_set(e, ERR_USAGE, "cannot put %s back: %s is in another directory", path,
                           kept);
        if (fstatat(dir, x.fresh, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(e, errno, "cannot put %s back: cannot use the kept file %s", path, kept);
        rc = sqlite_settle(&x, e);
        if (rc == 0 && sqlite_is_same(dir, x.fresh, x.name) && !sqlite_has_journal(dir, x.fresh))
            /* A crash came before anything was changed. */
            return unlinkat(dir, x.fresh, 0) == 0 ? 0 : err_sys(e, errno, "cannot remove %s", kept);
        if (rc == 0)
            rc = put_kept_back(&x, kept, e);
    } else {
        rc = faccessat(dir, x.name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : sqlite_set_aside(&x, e);
    }
    if (x.kept != NULL)
        *aside = path_join(dir_name, x.kept);
    free(x.kept);
    return rc == 0 ? 0 : err_prefix(e, "cannot put %s back", path);
}
