/* Whole files, directories and full transfers. All descriptors are opened close-on-exec, and all
 * that a caller is told to be written has been synced. */
#include "base/file.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

/* Whether a transfer that failed with the present errno should be tried again. Standard input and
 * output may be non-blocking when they are shared with another program: then we wait. */
static bool again(int fd, short event)
{
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return false;
    struct pollfd p = {.fd = fd, .events = event};
    return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

int fd_write_all(int fd, const void *data, size_t len, const char *what, struct err *e)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && again(fd, POLLOUT))
            continue;
        if (n <= 0)
            return err_sys(e, n < 0 ? errno : EIO, "cannot write %s", what);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fd_pwrite_all(int fd, const void *data, size_t len, int64_t offset, const char *what,
                  struct err *e)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, offset);
        if (n < 0 && again(fd, POLLOUT))
            continue;
        if (n <= 0)
            return err_sys(e, n < 0 ? errno : EIO, "cannot write %s at byte %lld", what,
                           (long long)offset);
        p += n;
        len -= (size_t)n;
        offset += n;
    }
    return 0;
}

int fd_pread_all(int fd, void *data, size_t len, int64_t offset, size_t *got, const char *what,
                 struct err *e)
{
    char *p = data;
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(fd, p + *got, len - *got, offset + (int64_t)*got);
        if (n < 0 && again(fd, POLLIN))
            continue;
        if (n < 0)
            return err_sys(e, errno, "cannot read %s at byte %lld", what,
                           (long long)(offset + (int64_t)*got));
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

/* Appends what is left of `fd`. The chunk is wiped, since passphrases come this way. */
static int read_rest(int fd, const char *path, struct buf *out, struct err *e)
{
    char chunk[16384];
    int rc = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && again(fd, POLLIN))
            continue;
        if (n < 0)
            rc = err_sys(e, errno, "cannot read %s", path);
        if (n <= 0)
            break;
        if ((rc = buf_append(out, chunk, (size_t)n, e)) != 0) {
            if (rc == ERR_LIMIT)
                (void)err_set(e, rc, "cannot read %s: it is larger than the %zu bytes allowed here",
                              path, out->max);
            break;
        }
    }
    mem_wipe(chunk, sizeof(chunk));
    return rc;
}

int file_read(const char *path, struct buf *out, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_sys(e, errno, "cannot open %s", path);

    /* Memory in one piece where the size is known: growing would leave copies of a secret behind.
     * A size that does not fit is left to the reading, which knows what to say. */
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
        (uint64_t)st.st_size <= out->max - out->len) {
        int rc = buf_reserve(out, (size_t)st.st_size, e);
        if (rc != 0)
            return err_prefix(e, "cannot read %s", path);
    }

    size_t before = out->len;
    int rc = read_rest(fd, path, out, e);
    if (rc != 0 && out->len > before) {
        mem_wipe(out->data + before, out->len - before);
        out->len = before;
        out->data[before] = 0;
    }
    return rc;
}

/* Writes, syncs and closes the temporary file. */
static int fill_temp(int *fd, const char *temp, const void *data, size_t len, mode_t mode,
                     const char *path, struct err *e)
{
    int rc = fd_write_all(*fd, data, len, path, e);
    if (rc != 0)
        return rc;
    if (fchmod(*fd, mode) < 0)
        return err_sys(e, errno, "cannot set the mode of %s", temp);
    if (fsync(*fd) < 0)
        return err_sys(e, errno, "cannot sync %s", path);
    if (close(take_fd(fd)) < 0)
        return err_sys(e, errno, "cannot write %s", path);
    if (rename(temp, path) < 0)
        return err_sys(e, errno, "cannot rename %s to %s", temp, path);
    return 0;
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    _cleanup_free_ char *dir = path_dir(path);
    _cleanup_free_ char *temp = path_join(dir, FILE_TEMP_PREFIX "XXXXXX");
    /* Mode 0600 until it is complete: nobody else sees a secret in between. */
    _cleanup_close_ int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot write %s: cannot make a temporary file in %s", path, dir);
    int rc = fill_temp(&fd, temp, data, len, mode, path, e);
    if (rc != 0) {
        (void)unlink(temp);
        return rc;
    }
    return dir_sync(dir, e);
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int dir_make_all(const char *path, mode_t mode, struct err *e)
{
    /* From the leaf upwards, so that parents that we may not even look at do not matter. */
    if (mkdir(path, mode) == 0 || (errno != ENOENT && is_dir(path)))
        return 0;
    int sys = errno;
    if (sys == EEXIST || sys == ENOTDIR)
        return err_set(e, ERR_EXISTS, "cannot make directory %s: a file is in the way", path);
    _cleanup_free_ char *parent = path_dir(path);
    if (sys != ENOENT || *path == 0 || strcmp(parent, path) == 0)
        return err_sys(e, sys, "cannot make directory %s", path);

    int rc = dir_make_all(parent, mode, e);
    if (rc != 0)
        return rc;
    /* It may be there by now: a trailing slash, "..", or somebody else made it. */
    if (mkdir(path, mode) == 0 || (errno == EEXIST && is_dir(path)))
        return 0;
    return err_sys(e, errno, "cannot make directory %s", path);
}

static void close_dir(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static int remove_below(int parent, const char *name, const char *path, dev_t dev, struct err *e);

/* Removes what is in `dir`, one pass; *removed counts. */
static int remove_entries(DIR *dir, const char *path, dev_t dev, size_t *removed, struct err *e)
{
    struct dirent *d;
    *removed = 0;
    while ((errno = 0, d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        _cleanup_free_ char *child = path_join(path, d->d_name);
        int fd = dirfd(dir);
        if (d->d_type == DT_DIR || (unlinkat(fd, d->d_name, 0) < 0 && errno != ENOENT)) {
            /* Unlinking a directory fails with EISDIR or EPERM: d_type need not be known. */
            struct stat st;
            int sys = errno;
            if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
                return err_sys(e, sys, "cannot remove %s", child);
            int rc = remove_below(fd, d->d_name, child, dev, e);
            if (rc != 0)
                return rc;
        }
        (*removed)++;
    }
    return errno == 0 ? 0 : err_sys(e, errno, "cannot list %s", path);
}

/* Removes directory `name` in `parent`; `dev` is the file system to stay on, 0 to take its own. */
static int remove_below(int parent, const char *name, const char *path, dev_t dev, struct err *e)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot remove %s", path);
    _cleanup_(close_dir) DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int sys = errno;
        (void)close(fd);
        return err_sys(e, sys, "cannot remove %s", path);
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, errno, "cannot remove %s", path);
    if (dev != 0 && st.st_dev != dev)
        return err_set(e, ERR_REFUSED, "will not remove %s: another file system is mounted there",
                       path);
    /* A restored tree may hold directories that their owner may not write to. */
    if ((st.st_mode & S_IWUSR) == 0)
        (void)fchmod(fd, 0700);

    /* Some file systems skip entries of a directory that shrinks while it is listed. */
    size_t removed = 1;
    for (int pass = 0; pass < 100 && removed > 0; pass++) {
        rewinddir(dir);
        int rc = remove_entries(dir, path, st.st_dev, &removed, e);
        if (rc != 0)
            return rc;
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_sys(e, errno, "cannot remove %s", path);
    return 0;
}

int dir_remove_all(const char *path, struct err *e)
{
    /* "link/" would follow the link. */
    _cleanup_free_ char *name = str_dup(path);
    for (size_t n = strlen(name); n > 0 && name[n - 1] == '/'; n--)
        name[n - 1] = 0;
    const char *last = path_base(name);
    if (strcmp(last, "") == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return err_set(e, ERR_REFUSED, "will not remove \"%s\"", path);
    return remove_below(AT_FDCWD, name, name, 0, e);
}

int dir_sync(const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot open directory %s", path);
    /* EINVAL: a file system that cannot sync directories, such as some network ones. */
    if (fsync(fd) < 0 && errno != EINVAL)
        return err_sys(e, errno, "cannot sync directory %s", path);
    return 0;
}
