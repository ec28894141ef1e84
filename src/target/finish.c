/* The end of a restore of files: the other names of hard-linked files, then the attributes of
 * directories from the inside out (making something in one changes its times), then the disk. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct link_source {
    int dir;
    const char *name;
};

static int make_link(int dir, const char *name, void *arg)
{
    const struct link_source *from = arg;
    return linkat(from->dir, from->name, dir, name, 0);
}

/* Where there are no hard links, a copy has at least the bytes. */
static int copy_file(const struct link_source *from, int dir, char temp[TEMP_NAME], struct err *e)
{
    _cleanup_close_ int in = openat(from->dir, from->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_close_ int out = -1;
    struct stat st;
    if (in < 0 || fstat(in, &st) < 0)
        return err_sys(e, errno, "cannot open %s", from->name);
    int rc = temp_open(dir, temp, &out, e);
    if (rc != 0)
        return rc;
    enum { CHUNK = 1 << 20 };
    _cleanup_free_ char *data = mem_alloc(CHUNK);
    int64_t at = 0;
    for (size_t got = 1; rc == 0 && got > 0; at += (int64_t)got)
        if ((rc = fd_pread_all(in, data, CHUNK, at, &got, from->name, e)) == 0)
            rc = write_sparse(out, data, got, (uint64_t)at, from->name, e);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (rc == 0 && (ftruncate(out, st.st_size) < 0 || fchmod(out, st.st_mode & 0777) < 0 ||
                    futimens(out, times) < 0))
        rc = err_sys(e, errno, "cannot copy %s", from->name);
    if (rc != 0)
        (void)unlinkat(dir, temp, 0);
    return rc;
}

static bool same_file(int dir_a, const char *a, int dir_b, const char *b)
{
    struct stat sa, sb;
    return dir_a >= 0 && dir_b >= 0 && fstatat(dir_a, a, &sa, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(dir_b, b, &sb, AT_SYMLINK_NOFOLLOW) == 0 && sa.st_ino == sb.st_ino &&
           sa.st_dev == sb.st_dev;
}

static int link_one(struct files_target *t, const struct link_later *l, struct err *e)
{
    const struct link_first *known = links_find(&t->links, l->device, l->inode);
    _cleanup_(place_unrefp) struct place *dir = NULL;
    _cleanup_(place_unrefp) struct place *first = NULL;
    struct link_source from;
    const char *name;
    int rc = places_of(&t->places, known->path, &first, &from.name, e);
    if (rc == 0)
        rc = places_of(&t->places, l->path, &dir, &name, e);
    if (rc != 0)
        return rc;
    from.dir = first->fd;
    if (!known->done) {
        _cleanup_free_ char *why =
            str_fmt("%s, which it is a link to, was not restored", known->path);
        files_event(t, TARGET_SKIPPED, dir, name, NULL, why);
        return 0;
    }
    struct stat st;
    bool replaced = dir->fd >= 0 && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    bool same = same_file(first->fd, from.name, dir->fd, name);
    const char *why = NULL;
    _cleanup_free_ char *kept = NULL;
    char temp[TEMP_NAME];
    if (!t->places.dry_run && !same) {
        rc = temp_make(dir->fd, temp, make_link, &from, e);
        if (rc != 0 && (e->sys == EPERM || e->sys == EMLINK || e->sys == EXDEV ||
                        e->sys == EOPNOTSUPP || e->sys == ENOSYS)) {
            why = "made as a copy: hard links are not possible here";
            rc = copy_file(&from, dir->fd, temp, e);
        }
        if (rc != 0)
            return err_prefix(e, "cannot link %s/%s", t->places.root, l->path);
        struct files_entry entry = {t, dir, name};
        rc = put_in_place(dir->fd, temp, name, t->keep_suffix, files_about, &entry, &replaced,
                          &kept, e);
        if (rc != 0) {
            (void)unlinkat(dir->fd, temp, 0);
            return err_prefix(e, "cannot restore %s/%s", t->places.root, l->path);
        }
    }
    files_event(t,
                same       ? TARGET_SAME
                : replaced ? TARGET_REPLACED
                           : TARGET_CREATED,
                dir, name, kept, why);
    return 0;
}

static int finish_dir(struct files_target *t, const struct dir_later *d, struct err *e)
{
    _cleanup_(place_unrefp) struct place *dir = NULL;
    int rc = places_open(&t->places, d->path, &dir, e);
    if (rc != 0)
        return rc;
    char why[WHY_MAX] = "";
    _cleanup_free_ char *what = path_join(t->places.root, d->path);
    rc = attributes_set(dir->fd, &d->node, &t->owners, d->fresh, true, why, what, e);
    if (rc == 0 && *why != 0 && !t->noticed) {
        t->noticed = true; /* it has the same reason everywhere */
        log_notice("%s: %s (directories like it are not named again)", what, why);
    }
    return rc;
}

/* The first error is told, but all the rest is done. */
static void keep_first(int *first, int rc, struct err *e, const struct err *now)
{
    if (*first != 0 || rc == 0)
        return;
    *first = rc;
    *e = *now;
}

int files_finish(struct target *target, struct err *e)
{
    struct files_target *t = (struct files_target *)target;
    struct err now = ERR_INIT;
    int first = 0;
    for (size_t i = 0; i < t->nlater; i++)
        keep_first(&first, link_one(t, &t->later[i], &now), e, &now);
    for (size_t i = t->ndirs; i-- > 0;)
        keep_first(&first, finish_dir(t, &t->dirs[i], &now), e, &now);
    if (!t->places.dry_run)
        keep_first(&first, places_sync(&t->places, &now), e, &now);
    return first;
}
