/* Dispatch: what every target has in common, whatever it writes. */
#include "base/file.h"
#include "target/sqlite_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int target_directory(struct target *t, const char *path, const struct node *n, struct err *e)
{
    return t->ops->directory(t, path, n, e);
}

int target_begin(struct target *t, const char *path, const struct node *n, struct target_file **out,
                 struct err *e)
{
    *out = NULL;
    return t->ops->begin(t, path, n, out, e);
}

int target_old_bytes(struct target_file *f, void *data, size_t len, uint64_t offset, size_t *got,
                     struct err *e)
{
    *got = 0;
    return f->target->ops->old_bytes(f, data, len, offset, got, e);
}

uint64_t target_old_size(const struct target_file *f)
{
    return f->old_size;
}

int target_write(struct target_file *f, const void *data, size_t len, uint64_t offset,
                 struct err *e)
{
    return f->target->ops->write(f, data, len, offset, e);
}

int target_same(struct target_file *f, struct err *e)
{
    return f->target->ops->same(f, e);
}

int target_commit(struct target_file *f, struct err *e)
{
    return f->target->ops->commit(f, e);
}

void target_abort(struct target_file *f)
{
    if (f != NULL)
        f->target->ops->abort(f);
}

int target_finish(struct target *t, struct err *e)
{
    return t->ops->finish(t, e);
}

void target_free(struct target *t)
{
    if (t != NULL)
        t->ops->free(t);
}

void target_freep(struct target **t)
{
    target_free(*t);
}

int target_is_empty(const char *path, bool *empty, struct err *e)
{
    *empty = true;
    DIR *d = opendir(path);
    if (d == NULL) {
        int sys = errno;
        struct stat st;
        if (sys == ENOENT)
            return 0;
        *empty = false;
        bool is_there = lstat(path, &st) == 0; /* else a part of the path is no directory */
        return sys == ENOTDIR && is_there ? 0 : err_sys(e, sys, "cannot restore to %s", path);
    }
    struct dirent *entry;
    while ((errno = 0, entry = readdir(d)) != NULL && *empty)
        *empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    int sys = entry == NULL ? errno : 0;
    (void)closedir(d);
    return sys == 0 ? 0 : err_sys(e, sys, "cannot list %s", path);
}

int target_put_back(const char *kind, const char *path, const char *kept, const char *aside_suffix,
                    char **aside, struct err *e)
{
    *aside = NULL;
    if (strcmp(kind, TARGET_KIND_ATTRIBUTES) == 0)
        return former_put_back(path, kept != NULL ? kept : "", e);
    struct stat now, old;
    bool there = fstatat(AT_FDCWD, path, &now, AT_SYMLINK_NOFOLLOW) == 0;
    if (kept == NULL && !there && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* announced, but a crash came before it was made */
    if (strcmp(kind, "files") == 0 && there && kept != NULL &&
        fstatat(AT_FDCWD, kept, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_dev == now.st_dev &&
        old.st_ino == now.st_ino) /* kept, but a crash came before it was replaced */
        return unlink(kept) == 0 ? 0 : err_sys(e, errno, "cannot remove %s", kept);
    if (strcmp(kind, "files") == 0)
        return files_put_back(path, kept, aside_suffix, aside, e);
    if (strcmp(kind, "sqlite") == 0)
        return sqlite_put_back(path, kept, aside_suffix, aside, e);
    return err_set(e, ERR_UNSUPPORTED, "cannot take a restore of kind \"%s\" back", kind);
}
