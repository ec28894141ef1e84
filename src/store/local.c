/* A store in a directory, laid out as restic's local repositories are. An object is written to an
 * unfinished file beside its place, synced, and renamed; then the directory is synced. All is
 * reached from one descriptor of the directory, so that a disk that is unmounted meanwhile is never
 * taken for an empty store. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

struct local {
    struct store base;
    char *path; /* absolute, without links */
    int root;
    atomic_bool warned; /* that PUT_NEW is not race-free on this file system */
};

enum { UNFINISHED_MAX = 40 };

static struct local *local_of(struct store *s)
{
    return (struct local *)s;
}

/* "cannot <verb> <name> in <store>: <why>", and what to do about it. */
static int fail(const struct local *l, int sys, const char *verb, const char *name, struct err *e)
{
    int rc = err_sys(e, sys, "cannot %s %s in %s", verb, name, l->base.address);
    if (sys == EFBIG)
        return err_hint(e, "raise the limit on file sizes (ulimit -f)");
    if (sys == EROFS)
        return err_hint(e, "the file system is mounted read-only");
    if (rc == ERR_FULL)
        return err_hint(e, "free space on its file system or raise the quota");
    if (rc == ERR_DENIED)
        return err_hint(e, "run as the user who owns the repository");
    return rc;
}

/* The same for what should be there: a file where a directory should be means that it is not. */
static int fail_present(const struct local *l, int sys, const char *verb, const char *name,
                        struct err *e)
{
    if (sys == ENOENT || sys == ENOTDIR || sys == EISDIR)
        return store_not_found(&l->base, name, e);
    return fail(l, sys, verb, name, e);
}

/* ---- directories ---- */

/* EINVAL and ENOTSUP: a file system that cannot sync directories, such as some network ones. */
static int sync_fd(int fd)
{
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

/* Makes a directory with its parents and syncs where it is named; 0 or an errno. */
static int make_dirs(int at, const char *path)
{
    int sys = mkdirat(at, path, 0700) == 0 ? 0 : errno;
    if (sys == EEXIST)
        return 0; /* if it is no directory, opening it will say so */
    _cleanup_free_ char *parent = path_dir(path);
    if (sys == ENOENT && strcmp(parent, ".") != 0 && strcmp(parent, path) != 0) {
        sys = make_dirs(at, parent);
        if (sys == 0 && mkdirat(at, path, 0700) != 0)
            sys = errno;
        if (sys == EEXIST)
            return 0;
    }
    if (sys != 0)
        return sys;
    _cleanup_close_ int fd = openat(at, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sys = fd < 0 ? errno : sync_fd(fd);
    if (sys != 0)
        (void)unlinkat(at, path, AT_REMOVEDIR); /* or the next try would trust that it is durable */
    return sys;
}

/* Opens the directory that holds `name`; -1 with errno. */
static int open_parent(const struct local *l, const char *name, bool create)
{
    _cleanup_free_ char *dir = path_dir(name);
    int fd = openat(l->root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || !create)
        return fd;
    int sys = make_dirs(l->root, dir);
    if (sys != 0) {
        errno = sys;
        return -1;
    }
    return openat(l->root, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ---- put ---- */

/* Makes an unfinished file. Its name does not begin with that of the object, or restic would take
 * it for a second match when a person types the first digits of an id. */
static int create_unfinished(int dir, char name[UNFINISHED_MAX])
{
    int fd = -1;
    for (int tries = 0; fd < 0 && tries < 100; tries++) {
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
            return -1;
        (void)snprintf(name, UNFINISHED_MAX, "salvor-tmp-%020" PRIu64, number);
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST && errno != EINTR)
            break;
    }
    return fd;
}

/* Writes all pieces, many at a time; 0 or an errno. */
static int write_pieces(int fd, const struct piece *pieces, size_t npieces)
{
    struct iovec part[64];
    size_t skip = 0; /* bytes of the first piece that are written already */
    while (npieces > 0) {
        int n = 0;
        for (size_t i = 0; i < npieces && n < (int)array_len(part); i++, n++) {
            const char *from = pieces[i].data;
            size_t done = i == 0 ? skip : 0;
            from = done > 0 ? from + done : from;
            /* writev only reads, but its struct does not say so. */
            part[n] = (struct iovec){(void *)(uintptr_t)from, pieces[i].len - done};
        }
        ssize_t wrote = writev(fd, part, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return errno;
        size_t left = (size_t)wrote + skip;
        size_t before = npieces;
        while (npieces > 0 && left >= pieces->len) {
            left -= pieces->len;
            pieces++;
            npieces--;
        }
        skip = left;
        if (wrote == 0 && npieces == before)
            return EIO; /* neither progress nor a reason */
    }
    return 0;
}

/* Writes, syncs and closes; 0 or an errno. */
static int fill(int fd, const struct piece *pieces, size_t npieces)
{
    struct stat st;
    int sys = write_pieces(fd, pieces, npieces);
    if (sys == 0 && fsync(fd) != 0)
        sys = errno;
    if (sys == 0 && fstat(fd, &st) != 0)
        sys = errno;
    if (sys == 0 && (uint64_t)st.st_size != store_pieces_size(pieces, npieces))
        sys = EIO;
    if (close(fd) != 0 && sys == 0)
        sys = errno; /* network file systems report here that the disk is full */
    return sys;
}

/* Gives the finished file its name; 0 or an errno. */
static int publish(struct local *l, int dir, const char *from, const char *name,
                   enum store_put_mode mode)
{
    struct stat st;
    if (mode == PUT_NEW) {
        if (renameat2(dir, from, dir, name, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOSYS)
            return errno;
        /* NFS cannot do that, but it has links. */
        if (linkat(dir, from, dir, name, 0) == 0) {
            (void)unlinkat(dir, from, 0);
            return 0;
        }
        if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP)
            return errno;
        if (!atomic_exchange(&l->warned, true))
            log_warning("the file system of %s cannot make a file without perhaps replacing "
                        "another; let only one program write to it at a time",
                        l->base.address);
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return EEXIST;
    }
    return renameat(dir, from, dir, name) == 0 ? 0 : errno;
}

static int local_put(struct store *s, const char *name, enum store_put_mode mode,
                     const struct piece *pieces, size_t npieces, struct err *e)
{
    struct local *l = local_of(s);
    char unfinished[UNFINISHED_MAX];
    _cleanup_close_ int dir = open_parent(l, name, true);
    if (dir < 0)
        return fail(l, errno, "store", name, e);
    int fd = create_unfinished(dir, unfinished);
    if (fd < 0)
        return fail(l, errno, "store", name, e);
    int sys = fill(fd, pieces, npieces);
    if (sys == 0)
        sys = publish(l, dir, unfinished, path_base(name), mode);
    if (sys != 0) {
        (void)unlinkat(dir, unfinished, 0);
        return sys == EEXIST ? store_exists(s, name, e) : fail(l, sys, "store", name, e);
    }
    sys = sync_fd(dir);
    if (sys == 0)
        return 0;
    /* After a failed sync the system may have forgotten what it did not write: trying the same
     * again would succeed and prove nothing. */
    (void)fail(l, sys, "sync the directory of", name, e);
    e->retryable = false;
    return e->code;
}

/* ---- get and stat ---- */

/* Opens an object; -1 with errno. O_NONBLOCK: a FIFO in its place must not make us wait. */
static int open_object(const struct local *l, const char *name, uint64_t *size)
{
    struct stat st;
    _cleanup_close_ int fd = openat(l->root, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return -1;
    }
    *size = (uint64_t)st.st_size;
    return take_fd(&fd);
}

static int local_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                     struct buf *out, struct err *e)
{
    struct local *l = local_of(s);
    uint64_t size;
    size_t got;
    _cleanup_close_ int fd = open_object(l, name, &size);
    if (fd < 0)
        return fail_present(l, errno, "read", name, e);
    int rc = store_check_range(s, name, size, offset, &len, e);
    if (rc < 0)
        return rc;
    rc = buf_reserve(out, len, e);
    if (rc < 0)
        return err_prefix(e, "cannot read %s in %s", name, s->address);
    if (len == 0)
        return 0;
    rc = fd_pread_all(fd, out->data + out->len, len, (int64_t)offset, &got, name, e);
    if (rc < 0)
        return err_prefix(e, "store %s", s->address);
    if (got < len) /* it shrank after we asked for its size */
        return store_check_range(s, name, offset + got, offset, &len, e);
    out->len += len;
    out->data[out->len] = '\0';
    return 0;
}

static int local_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    struct local *l = local_of(s);
    struct stat st;
    if (fstatat(l->root, name, &st, 0) != 0)
        return fail_present(l, errno, "look at", name, e);
    if (!S_ISREG(st.st_mode))
        return fail_present(l, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "look at", name, e);
    *size = (uint64_t)st.st_size;
    return 0;
}

/* ---- list, clean, remove ---- */

/* A walk through all regular files below a directory. */
struct walk {
    const struct local *l;
    struct buf path; /* of what is being looked at, from the root; a directory with its slash */
    int (*visit)(struct walk *w, int dir, const char *name, const struct stat *st, struct err *e);
    store_list_fn *fn;
    void *arg;
    int64_t before; /* clean: removes what was last written before this second */
    size_t cleaned;
};

static void close_dir(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static int walk(struct walk *w, int parent, const char *name, unsigned depth, struct err *e);

/* Entries may vanish at any moment: then they are not there. */
static int walk_entry(struct walk *w, int dir, const struct dirent *d, unsigned depth,
                      struct err *e)
{
    struct stat st;
    size_t before = w->path.len;
    int rc = buf_append(&w->path, d->d_name, strlen(d->d_name), e);
    if (rc < 0)
        return rc;
    if (d->d_type == DT_DIR)
        st.st_mode = S_IFDIR;
    else if (fstatat(dir, d->d_name, &st, 0) != 0)
        rc = errno == ENOENT ? 1 : fail(w->l, errno, "look at", buf_str(&w->path), e);
    if (rc == 0 && S_ISREG(st.st_mode)) {
        rc = w->visit(w, dir, d->d_name, &st, e);
    } else if (rc == 0 && S_ISDIR(st.st_mode)) {
        rc = buf_append(&w->path, "/", 1, e);
        if (rc == 0)
            rc = walk(w, dir, d->d_name, depth + 1, e);
    } else if (rc > 0) {
        rc = 0;
    }
    w->path.len = before;
    w->path.data[before] = '\0';
    return rc;
}

static int walk(struct walk *w, int parent, const char *name, unsigned depth, struct err *e)
{
    if (depth > STORE_DEPTH_MAX)
        return err_set(e, ERR_LIMIT,
                       "directories in %s are nested too deep at %.100s...; does a link point to "
                       "its own parent?",
                       w->l->base.address, buf_str(&w->path));
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return fail(w->l, errno, "list", depth > 0 ? buf_str(&w->path) : "all", e);
    _cleanup_(close_dir) DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int sys = errno;
        (void)close(fd);
        return fail(w->l, sys, "list", buf_str(&w->path), e);
    }
    const struct dirent *d;
    while ((errno = 0, d = readdir(dir)) != NULL) {
        if (!store_part_plain(d->d_name, strlen(d->d_name)))
            continue; /* "lost+found" and the like are no objects */
        int rc = walk_entry(w, dirfd(dir), d, depth, e);
        if (rc != 0)
            return rc;
    }
    return errno == 0 ? 0 : fail(w->l, errno, "list", buf_str(&w->path), e);
}

static int visit_list(struct walk *w, int dir, const char *name, const struct stat *st,
                      struct err *e)
{
    (void)dir;
    if (store_part_unfinished(name, strlen(name)))
        return 0;
    const struct store_object o = {buf_str(&w->path), (uint64_t)st->st_size};
    return w->fn(&o, w->arg, e);
}

static int local_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg,
                      struct err *e)
{
    struct local *l = local_of(s);
    struct walk w = {.l = l, .path = BUF_INIT(BUF_TEXT), .visit = visit_list, .fn = fn, .arg = arg};
    int rc = buf_append(&w.path, prefix, strlen(prefix), e);
    if (rc == 0)
        rc = walk(&w, l->root, *prefix != '\0' ? prefix : ".", 0, e);
    buf_release(&w.path);
    return rc;
}

static int visit_clean(struct walk *w, int dir, const char *name, const struct stat *st,
                       struct err *e)
{
    if (!store_part_unfinished(name, strlen(name)) || st->st_mtime >= w->before)
        return 0;
    if (unlinkat(dir, name, 0) == 0)
        w->cleaned++;
    else if (errno != ENOENT)
        return fail(w->l, errno, "remove unfinished", buf_str(&w->path), e);
    return 0;
}

static int local_clean(struct store *s, int64_t age_s, size_t *n, struct err *e)
{
    struct local *l = local_of(s);
    struct walk w = {.l = l, .path = BUF_INIT(BUF_TEXT), .visit = visit_clean};
    w.before = (int64_t)time(NULL) - age_s;
    int rc = walk(&w, l->root, ".", 0, e);
    *n = w.cleaned;
    buf_release(&w.path);
    return rc;
}

static int local_remove(struct store *s, const char *name, struct err *e)
{
    struct local *l = local_of(s);
    _cleanup_close_ int dir = open_parent(l, name, false);
    if (dir < 0)
        return fail_present(l, errno, "remove", name, e);
    if (unlinkat(dir, path_base(name), 0) != 0)
        return fail_present(l, errno, "remove", name, e);
    int sys = sync_fd(dir);
    if (sys == 0)
        return 0;
    (void)fail(l, sys, "sync the directory of", name, e);
    e->retryable = false; /* as in local_put */
    return e->code;
}

/* ---- open and close ---- */

static char *local_local_path(struct store *s, const char *name)
{
    return path_join(local_of(s)->path, name);
}

static void local_free(struct store *s)
{
    struct local *l = local_of(s);
    if (l->root >= 0)
        (void)close(l->root);
    free(l->path);
    free(l);
}

static const struct store_ops local_ops = {
    .put = local_put,
    .get = local_get,
    .stat = local_stat,
    .list = local_list,
    .remove = local_remove,
    .clean = local_clean,
    .local_path = local_local_path,
    .free = local_free,
};

int store_local_new(const char *path, bool create, struct store **out, struct err *e)
{
    _cleanup_free_ char *dir = path_join(path, ""); /* without slashes at its end */
    int sys = create ? make_dirs(AT_FDCWD, dir) : 0;
    if (sys != 0)
        return err_sys(e, sys, "cannot make the directory %s", path);
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *real = root >= 0 ? realpath(dir, NULL) : NULL;
    if (real == NULL) {
        (void)err_sys(e, errno, "cannot open the store %s", path);
        if (e->code == ERR_DENIED)
            return err_hint(e, "run as the user who owns the repository");
        return e->sys == ENOTDIR ? err_hint(e, "a store is a directory, not a file") : e->code;
    }
    struct local *l = mem_zero(sizeof *l);
    l->base.ops = &local_ops;
    l->base.address = str_dup(path);
    l->base.properties = (struct store_properties){
        .kind = "local",
        .conditional_put = true,
        .immediate_listing = true,
        .local_files = true,
        .connections = 4, /* most of a put is waiting for syncs */
        .min_range_gap = 128 * 1024,
    };
    l->path = take(real);
    l->root = take_fd(&root);
    *out = &l->base;
    return 0;
}
