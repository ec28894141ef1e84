/* The target of files. In a directory that this restore made, a file is written under its own
 * name; elsewhere beside it under a temporary one, synced and renamed, so that what was there is
 * there until the new one is complete. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static struct files_target *files_of(struct target *t)
{
    return (struct files_target *)t;
}

static struct file *file_of(struct target_file *f)
{
    return (struct file *)f;
}

static void tell(struct files_target *t, enum target_event what, const char *path, const char *kept,
                 const char *why)
{
    if (t->event == NULL)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->event(what, path, kept, why, t->event_arg);
    (void)pthread_mutex_unlock(&t->lock);
}

void files_event(struct files_target *t, enum target_event what, const struct place *dir,
                 const char *name, const char *kept, const char *why)
{
    _cleanup_free_ char *path = place_path(&t->places, dir, name);
    _cleanup_free_ char *old = kept != NULL ? place_path(&t->places, dir, kept) : NULL;
    tell(t, what, path, old, why != NULL && *why != 0 ? why : NULL);
}

void files_about(const char *kept, void *arg)
{
    const struct files_entry *x = arg;
    if (x->dir->fresh && x->dir->path[0] != 0)
        return; /* the directory was announced, and with it all that comes into it */
    files_event(x->target, TARGET_ABOUT, x->dir, x->name, kept, NULL);
}

bool files_about_attributes(struct files_target *t, const struct place *dir, const char *name,
                            int fd, const struct node *n)
{
    _cleanup_(node_release) struct node now = {0};
    _cleanup_free_ char *path = place_path(&t->places, dir, name);
    struct err gone = ERR_INIT; /* whoever sets them will say so */
    if (former_read(fd, path, &now, &gone) != 0 || now.type != n->type)
        return false;
    bool differs = attributes_differ(&now, n, &t->owners);
    bool closed = now.type == NODE_DIR && (now.mode & 0300) != 0300; /* it is opened meanwhile */
    if ((differs || closed) && !t->places.dry_run) {
        _cleanup_free_ char *text = former_text(&now);
        tell(t, TARGET_ABOUT_ATTRIBUTES, path, text, NULL);
    }
    return differs;
}

static bool exists(int dir, const char *name)
{
    struct stat st;
    return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- directories ---- */

static void finish_later(struct files_target *t, const char *path, const struct node *n, bool fresh)
{
    mem_grow(&t->dirs, t->ndirs, &t->dirs_cap, sizeof(*t->dirs));
    struct dir_later *d = &t->dirs[t->ndirs++];
    d->path = str_dup(path);
    d->fresh = fresh;
    node_copy(&d->node, n);
}

/* Something that is no directory is in the place of one: it goes aside, or away. */
static int clear_way(struct files_target *t, struct files_entry *x, char **kept, struct err *e)
{
    if (t->keep_suffix != NULL)
        return move_aside(x->dir->fd, x->name, t->keep_suffix, files_about, x, kept, e);
    files_about(NULL, x);
    return unlinkat(x->dir->fd, x->name, 0) == 0 ? 0
                                                 : err_sys(e, errno, "cannot remove %s", x->name);
}

int files_directory(struct target *target, const char *path, const struct node *n, struct err *e)
{
    struct files_target *t = files_of(target);
    _cleanup_(place_unrefp) struct place *parent = NULL;
    _cleanup_free_ char *kept = NULL;
    const char *name;
    int rc = places_of(&t->places, path, &parent, &name, e);
    if (rc != 0)
        return rc;
    struct files_entry entry = {t, parent, name};
    bool made = false, replaced = false, differs = false;
    if (exists(parent->fd, name)) /* now, since all that comes into it changes its times */
        differs = files_about_attributes(t, parent, name, -1, n);
    else if (!t->places.dry_run)
        files_about(NULL, &entry);
    rc = places_make(&t->places, path, &made, e);
    if (rc == ERR_EXISTS) {
        replaced = true;
        rc = t->places.dry_run ? 0 : clear_way(t, &entry, &kept, e);
        if (rc == 0 && !t->places.dry_run)
            rc = places_make(&t->places, path, &made, e);
    }
    if (rc != 0)
        return rc;
    if (!t->places.dry_run)
        finish_later(t, path, n, made);
    files_event(t,
                replaced  ? TARGET_REPLACED
                : made    ? TARGET_CREATED
                : differs ? TARGET_ATTRIBUTES
                          : TARGET_SAME,
                parent, name, kept, NULL);
    return 0;
}

/* ---- links, devices, pipes ---- */

static int make_special(int dir, const char *name, void *arg)
{
    const struct node *n = arg;
    switch (n->type) {
    case NODE_SYMLINK: return symlinkat(n->linktarget, dir, name);
    case NODE_FIFO: return mkfifoat(dir, name, 0600);
    case NODE_BLOCK: return mknodat(dir, name, S_IFBLK | 0600, (dev_t)n->rdev);
    case NODE_CHAR: return mknodat(dir, name, S_IFCHR | 0600, (dev_t)n->rdev);
    case NODE_INVALID:
    case NODE_FILE:
    case NODE_DIR:
    case NODE_SOCKET:
    case NODE_IRREGULAR: break;
    }
    errno = EINVAL;
    return -1;
}

/* Whether the entry is already what it should be, but for its attributes. */
static bool special_same(int dir, const char *name, const struct node *n)
{
    struct stat st;
    struct node there = {0};
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    node_from_stat(&there, &st);
    if (there.type != n->type || there.rdev != n->rdev)
        return false;
    if (n->type != NODE_SYMLINK)
        return true;
    size_t len = strlen(n->linktarget);
    _cleanup_free_ char *target = mem_alloc(len + 1);
    ssize_t got = readlinkat(dir, name, target, len + 1);
    return got >= 0 && (size_t)got == len && memcmp(target, n->linktarget, len) == 0;
}

static const char *cannot_make(const struct node *n)
{
    switch (n->type) {
    case NODE_SYMLINK: return n->linktarget == NULL ? "the link has no target" : NULL;
    case NODE_BLOCK:
    case NODE_CHAR: return geteuid() != 0 ? "only root can make devices" : NULL;
    case NODE_FIFO: return NULL;
    case NODE_SOCKET: return "a socket is made by its program";
    case NODE_INVALID:
    case NODE_FILE:
    case NODE_DIR:
    case NODE_IRREGULAR: break;
    }
    return "not a kind of entry that can be made here";
}

static int files_special(struct files_target *t, struct place *dir, const char *name,
                         const struct node *n, struct err *e)
{
    const char *cannot = cannot_make(n);
    if (cannot != NULL) {
        files_event(t, TARGET_SKIPPED, dir, name, NULL, cannot);
        return 0;
    }
    bool same = special_same(dir->fd, name, n), replaced = false;
    bool differs = same && files_about_attributes(t, dir, name, -1, n);
    char why[WHY_MAX] = "";
    _cleanup_free_ char *kept = NULL;
    _cleanup_free_ char *what = place_path(&t->places, dir, name);
    int rc = 0;
    if (t->places.dry_run) {
        replaced = exists(dir->fd, name);
    } else if (same) {
        rc = attributes_set_at(dir->fd, name, n, &t->owners, why, what, e);
    } else {
        char temp[TEMP_NAME];
        struct files_entry entry = {t, dir, name};
        struct node copy = *n; /* for its type and target only */
        if ((rc = temp_make(dir->fd, temp, make_special, &copy, e)) != 0)
            return e->sys == EPERM || e->sys == EOPNOTSUPP
                       ? (files_event(t, TARGET_SKIPPED, dir, name, NULL, e->msg), 0)
                       : err_prefix(e, "cannot make %s", what);
        rc = attributes_set_at(dir->fd, temp, n, &t->owners, why, what, e);
        if (rc == 0)
            rc = put_in_place(dir->fd, temp, name, t->keep_suffix, files_about, &entry, &replaced,
                              &kept, e);
        if (rc != 0)
            (void)unlinkat(dir->fd, temp, 0);
    }
    if (rc == 0)
        files_event(t,
                    differs    ? TARGET_ATTRIBUTES
                    : same     ? TARGET_SAME
                    : replaced ? TARGET_REPLACED
                               : TARGET_CREATED,
                    dir, name, kept, why);
    return rc;
}

/* ---- regular files ---- */

static void file_free(struct file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->old_fd >= 0)
        (void)close(f->old_fd);
    place_unref(f->dir);
    node_release(&f->node);
    write_back_free(f->back);
    (void)pthread_mutex_destroy(&f->lock);
    free(f->path);
    free(f);
}

static char *file_path(const struct file *f)
{
    return path_join(files_of(f->file.target)->places.root, f->path);
}

static int full_hint(struct err *e)
{
    if (e->code == ERR_FULL)
        return err_hint(e, "free some space and restore again");
    return e->code;
}

/* Makes what is written to, by its own name where nothing can be in its way. */
static int file_make(struct file *f, struct err *e)
{
    if (f->dir->fresh && !f->old && files_of(f->file.target)->hooks == NULL) {
        struct files_entry entry = {files_of(f->file.target), f->dir, f->name};
        files_about(NULL, &entry);
        f->fd =
            openat(f->dir->fd, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (f->fd >= 0)
            return 0;
        if (errno == EEXIST)
            f->old = true; /* twice in one directory: the last one counts */
    }
    int rc = temp_open(f->dir->fd, f->temp, &f->fd, e);
    if (rc == 0)
        return 0;
    f->temp[0] = 0;
    _cleanup_free_ char *path = file_path(f);
    (void)err_prefix(e, "cannot write %s", path);
    return full_hint(e);
}

static int ensure_made(struct file *f, struct err *e)
{
    (void)pthread_mutex_lock(&f->lock);
    int rc = f->fd >= 0 ? 0 : file_make(f, e);
    f->made = rc == 0;
    (void)pthread_mutex_unlock(&f->lock);
    return rc;
}

static void remove_unfinished(struct file *f)
{
    if (f->made)
        (void)unlinkat(f->dir->fd, f->temp[0] != 0 ? f->temp : f->name, 0);
}

static void file_abort(struct target_file *file)
{
    struct file *f = file_of(file);
    remove_unfinished(f);
    file_free(f);
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

int write_sparse(int fd, const void *data, size_t len, uint64_t offset, const char *what,
                 struct err *e)
{
    enum { HOLE = 65536 }; /* shorter runs of zeros cost more in extents than they save */
    const uint8_t *p = data;
    size_t from = 0, at = 0; /* [from, at) is to be written */
    while (at < len) {
        size_t n = HOLE - (size_t)((offset + at) % HOLE);
        if (n > len - at)
            n = len - at;
        if (n == HOLE && all_zero(p + at, n)) {
            int rc = fd_pwrite_all(fd, p + from, at - from, (int64_t)(offset + from), what, e);
            if (rc != 0)
                return rc;
            from = at + n;
        }
        at += n;
    }
    return fd_pwrite_all(fd, p + from, at - from, (int64_t)(offset + from), what, e);
}

static int file_write(struct target_file *file, const void *data, size_t len, uint64_t offset,
                      struct err *e)
{
    struct file *f = file_of(file);
    if (files_of(file->target)->places.dry_run)
        return 0;
    if (offset > f->node.size || len > f->node.size - offset)
        return err_set(e, ERR_CORRUPT, "%s has more bytes than the %llu that its entry says",
                       f->path, (unsigned long long)f->node.size);
    int rc = ensure_made(f, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *path = file_path(f);
    rc = write_sparse(f->fd, data, len, offset, path, e);
    if (rc < 0)
        return full_hint(e);
    write_back(f->back, f->fd, len, offset);
    return 0;
}

static int file_old_bytes(struct target_file *file, void *data, size_t len, uint64_t offset,
                          size_t *got, struct err *e)
{
    struct file *f = file_of(file);
    if (f->old_fd < 0 || offset >= file->old_size)
        return 0;
    return fd_pread_all(f->old_fd, data, len, (int64_t)offset, got, f->path, e);
}

/* Marks it as there, so that its other links can be made. */
static void note_done(struct files_target *t, const struct file *f)
{
    if (!f->first)
        return;
    (void)pthread_mutex_lock(&t->lock);
    struct link_first *l = links_find(&t->links, f->node.device_id, f->node.inode);
    if (l != NULL)
        l->done = true;
    (void)pthread_mutex_unlock(&t->lock);
}

static int file_same(struct target_file *file, struct err *e)
{
    struct file *f = file_of(file);
    struct files_target *t = files_of(file->target);
    enum target_event what = TARGET_SAME;
    char why[WHY_MAX] = "";
    int rc = 0;
    if (t->hooks != NULL && !t->hooks->plain(f)) {
        rc = err_set(e, ERR_CHANGED, "%s was written to while it was compared", f->path);
        e->retryable = true;
    } else if (f->old_fd < 0) {
        rc = err_set(e, ERR_INTERNAL, "%s is not there to be the same", f->path);
    } else if (files_about_attributes(t, f->dir, f->name, f->old_fd, &f->node)) {
        _cleanup_free_ char *path = file_path(f);
        what = TARGET_ATTRIBUTES;
        if (!t->places.dry_run)
            rc = attributes_set(f->old_fd, &f->node, &t->owners, false, true, why, path, e);
    }
    if (rc == 0) {
        note_done(t, f);
        files_event(t, what, f->dir, f->name, NULL, why);
    }
    file_free(f);
    return rc;
}

/* Everything up to being in place. */
static int complete(struct files_target *t, struct file *f, char why[WHY_MAX], bool *replaced,
                    char **kept, struct err *e)
{
    _cleanup_free_ char *path = file_path(f);
    struct stat st;
    int rc = ensure_made(f, e);
    if (rc != 0)
        return rc;
    if (fstat(f->fd, &st) < 0 ||
        ((uint64_t)st.st_size != f->node.size && ftruncate(f->fd, (off_t)f->node.size) < 0))
        return err_sys(e, errno, "cannot write %s", path);
    rc = attributes_set(f->fd, &f->node, &t->owners, true, f->dir->default_acl, why, path, e);
    if (rc != 0)
        return full_hint(e);
    if (f->temp[0] != 0 && (f->old || t->hooks != NULL) && fsync(f->fd) < 0)
        return err_sys(e, errno, "cannot sync %s", path);
    if (close(take_fd(&f->fd)) < 0)
        return err_sys(e, errno, "cannot write %s", path);
    if (f->temp[0] == 0)
        return 0;
    struct files_entry entry = {t, f->dir, f->name};
    if (t->hooks != NULL)
        rc = t->hooks->install(t, f, replaced, kept, e);
    else
        rc = put_in_place(f->dir->fd, f->temp, f->name, t->keep_suffix, files_about, &entry,
                          replaced, kept, e);
    return rc == 0 ? 0 : err_prefix(e, "cannot restore %s", path);
}

static int file_commit(struct target_file *file, struct err *e)
{
    struct file *f = file_of(file);
    struct files_target *t = files_of(file->target);
    char why[WHY_MAX] = "";
    bool replaced = f->old;
    _cleanup_free_ char *kept = NULL;
    int rc = t->places.dry_run ? 0 : complete(t, f, why, &replaced, &kept, e);
    if (rc == 0) {
        note_done(t, f);
        files_event(t, replaced ? TARGET_REPLACED : TARGET_CREATED, f->dir, f->name, kept, why);
    } else {
        remove_unfinished(f);
    }
    file_free(f);
    return rc;
}

/* Looks at what is there now. */
static int look_at_old(struct file *f, struct err *e)
{
    struct stat st;
    if (f->dir->fd < 0 || f->dir->fresh)
        return 0;
    if (fstatat(f->dir->fd, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot look at %s", f->path);
    f->old = true;
    if (!S_ISREG(st.st_mode))
        return 0;
    const struct files_hooks *hooks = files_of(f->file.target)->hooks;
    if (hooks != NULL && !hooks->plain(f))
        return 0;
    f->old_fd = openat(f->dir->fd, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (f->old_fd >= 0)
        f->file.old_size = (uint64_t)st.st_size;
    return 0;
}

/* Whether it is another name of a file that was announced; then it is left for the end. */
static bool is_later_link(struct files_target *t, const char *path, const struct node *n,
                          bool *first)
{
    if (n->links < 2 || t->hooks != NULL)
        return false;
    (void)pthread_mutex_lock(&t->lock);
    *first = links_find(&t->links, n->device_id, n->inode) == NULL;
    if (*first) {
        links_add(&t->links, n->device_id, n->inode, path);
    } else {
        mem_grow(&t->later, t->nlater, &t->later_cap, sizeof(*t->later));
        t->later[t->nlater++] = (struct link_later){str_dup(path), n->device_id, n->inode};
    }
    (void)pthread_mutex_unlock(&t->lock);
    return !*first;
}

static int begin_file(struct files_target *t, struct place *dir, const char *path,
                      const struct node *n, struct target_file **out, struct err *e)
{
    bool first = false;
    if (is_later_link(t, path, n, &first))
        return 0;
    struct file *f = mem_zero(sizeof(*f));
    f->file.target = &t->target;
    f->fd = f->old_fd = -1;
    f->first = first;
    (void)pthread_mutex_init(&f->lock, NULL);
    f->path = str_dup(path);
    f->name = path_base(f->path);
    f->dir = place_ref(dir);
    node_copy(&f->node, n);
    int rc = look_at_old(f, e);
    if (rc == 0 && n->size > 0) {
        if (t->hooks == NULL) /* these read again what they wrote */
            f->back = write_back_new(n->size);
        *out = &f->file;
        return 0;
    }
    if (rc != 0) {
        file_free(f);
        return rc;
    }
    return f->old_fd >= 0 && f->file.old_size == 0 ? file_same(&f->file, e)
                                                   : file_commit(&f->file, e);
}

static int files_begin(struct target *target, const char *path, const struct node *n,
                       struct target_file **out, struct err *e)
{
    struct files_target *t = files_of(target);
    _cleanup_(place_unrefp) struct place *dir = NULL;
    const char *name;
    int rc = places_of(&t->places, path, &dir, &name, e);
    if (rc != 0)
        return rc;
    return n->type == NODE_FILE ? begin_file(t, dir, path, n, out, e)
                                : files_special(t, dir, name, n, e);
}

/* ---- beginning and end ---- */

int files_target_init(struct files_target *t, const struct target_options *o, struct err *e)
{
    owner_ids_init(&t->owners, !o->no_owner && geteuid() == 0);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->keep_suffix = str_dup(o->keep_suffix);
    t->event = o->event;
    t->event_arg = o->event_arg;
    return places_init(&t->places, o->root, o->dry_run, e);
}

void files_target_release(struct files_target *t)
{
    places_release(&t->places);
    owner_ids_release(&t->owners);
    links_release(&t->links);
    for (size_t i = 0; i < t->nlater; i++)
        free(t->later[i].path);
    for (size_t i = 0; i < t->ndirs; i++) {
        free(t->dirs[i].path);
        node_release(&t->dirs[i].node);
    }
    free(t->later);
    free(t->dirs);
    free(t->keep_suffix);
    (void)pthread_mutex_destroy(&t->lock);
}

static void files_free(struct target *target)
{
    files_target_release(files_of(target));
    free(target);
}

const struct target_ops files_ops = {
    .directory = files_directory,
    .begin = files_begin,
    .old_bytes = file_old_bytes,
    .write = file_write,
    .same = file_same,
    .commit = file_commit,
    .abort = file_abort,
    .finish = files_finish,
    .free = files_free,
};

int target_files_new(const struct target_options *o, struct target **out, struct err *e)
{
    struct files_target *t = mem_zero(sizeof(*t));
    t->target.ops = &files_ops;
    int rc = files_target_init(t, o, e);
    if (rc != 0) {
        files_free(&t->target);
        return rc;
    }
    *out = &t->target;
    return 0;
}
