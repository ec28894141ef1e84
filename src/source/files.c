/* The source of files: what was chosen, and its bytes, read one state at a time. Files are opened
 * on any thread by their path, without following a link, and checked to be what was listed. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

struct file_stream {
    struct stream stream;
    int fd;
    struct stat before;
    uint64_t left; /* of the size it had; growth is for the verdict to see */
    char *path;
};

/* Opens an absolute path of any length without following a link in its last part. */
static int open_long(const char *path, int flags)
{
    _cleanup_close_ int dir = -1;
    while (strlen(path) >= PATH_MAX) {
        char part[PATH_MAX];
        size_t len = PATH_MAX - 1;
        while (len > 0 && path[len] != '/')
            len--;
        if (len == 0) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(part, path, len);
        part[len] = 0;
        int fd = openat(dir >= 0 ? dir : AT_FDCWD, part, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return -1;
        if (dir >= 0)
            (void)close(dir);
        dir = fd;
        path += len + 1;
    }
    return openat(dir >= 0 ? dir : AT_FDCWD, path, flags);
}

/* ---- bytes ---- */

static bool files_unchanged(const struct source_item *i, const struct node *before)
{
    const struct node *n = &i->node;
    return n->type == NODE_FILE && before->type == NODE_FILE && n->size == before->size &&
           n->inode == before->inode && timespec_compare(n->mtime, before->mtime) == 0 &&
           timespec_compare(n->ctime, before->ctime) == 0;
}

static int stream_read_file(struct stream *stream, void *data, size_t len, size_t *got,
                            struct err *e)
{
    struct file_stream *s = (struct file_stream *)stream;
    ssize_t n = 0;
    if (len > s->left)
        len = (size_t)s->left;
    if (len == 0)
        return 0;
    do
        n = read(s->fd, data, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_sys(e, errno, "cannot read %s", s->path);
    s->left = n > 0 ? s->left - (uint64_t)n : 0;
    *got = (size_t)n;
    return 0;
}

static void stream_close_file(struct stream *stream)
{
    struct file_stream *s = (struct file_stream *)stream;
    (void)close(s->fd);
    free(s->path);
    free(s);
}

/* A file that was changed within the present tick of the kernel's clock could be changed again
 * without its times telling; so the tick is waited for (4 ms). */
static int stat_settled(int fd, struct stat *st)
{
    for (int tries = 0; tries < 10; tries++) {
        struct timespec now, pause = {0, 2000000};
        if (fstat(fd, st) < 0)
            return -1;
        if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0 ||
            timespec_compare(st->st_ctim, now) < 0)
            break;
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static int files_open(const struct source_item *i, struct stream **out, struct err *e)
{
    struct files_source *s = files_of(i->source);
    _cleanup_free_ char *path = path_join(s->base, i->path);
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    _cleanup_close_ int fd = open_long(path, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM)
        fd = open_long(path, flags);
    if (fd < 0) {
        int sys = errno == ELOOP || errno == ENXIO ? ENOENT : errno; /* something else by now */
        return err_sys(e, sys, "cannot open %s", path);
    }
    struct stat st;
    if (stat_settled(fd, &st) < 0)
        return err_sys(e, errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_NOT_FOUND, "cannot read %s: it was replaced by something else", path);
    if (st.st_size > (1 << 20))
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);

    struct file_stream *f = mem_zero(sizeof(*f));
    f->stream.read = stream_read_file;
    f->stream.close = stream_close_file;
    f->fd = take_fd(&fd);
    f->before = st;
    f->left = (uint64_t)st.st_size;
    f->path = take(path);
    *out = &f->stream;
    return 0;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && timespec_compare(a->st_mtim, b->st_mtim) == 0 &&
           timespec_compare(a->st_ctim, b->st_ctim) == 0;
}

static int files_verdict(struct source_item *i, struct stream *stream, uint64_t bytes_read,
                         struct err *e)
{
    struct file_stream *f = (struct file_stream *)stream;
    struct files_source *s = files_of(i->source);
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return err_sys(e, errno, "cannot look at %s", f->path);
    if (!same_state(&st, &f->before) || (uint64_t)st.st_size != bytes_read) {
        (void)err_set(e, ERR_CHANGED, "%s changed while it was read", f->path);
        e->retryable = true;
        return ERR_CHANGED;
    }
    if (st.st_ino != i->node.inode || timespec_compare(st.st_ctim, i->node.ctime) != 0) {
        attributes_from_stat(&i->node, &st, &s->owners);
        node_read_xattrs(&i->node, f->fd, NULL, f->path);
    }
    return 0;
}

/* ---- the rest ---- */

static void put_path(struct json_out *j, const char *key, const char *path)
{
    json_text(j, key, path);
    if (utf8_valid(path, strlen(path)))
        return;
    _cleanup_free_ char *exact = str_fmt("%s_bytes", key); /* JSON holds no other bytes */
    json_key(j, exact);
    json_put_base64(j, path, strlen(path));
}

static int files_describe(struct source *source, struct json_out *j, struct err *e)
{
    (void)e;
    const struct files_source *s = files_of(source);
    put_path(j, "base", s->base);
    json_key(j, "paths");
    json_begin_array(j);
    for (size_t i = 0; i < s->paths.n; i++)
        json_put_text(j, s->paths.s[i]);
    json_end_array(j);
    json_u64(j, "files", s->files);
    json_u64(j, "directories", s->directories);
    json_u64(j, "others", s->others);
    json_u64(j, "bytes", s->bytes);
    json_u64(j, "sockets_left_out", s->sockets);
    json_u64(j, "excluded", s->excluded);
    json_key(j, "excludes");
    json_begin_array(j);
    for (size_t i = 0; i < s->exclude_words.n; i++)
        json_put_text(j, s->exclude_words.s[i]);
    json_end_array(j);
    return 0;
}

static void files_free(struct source *source)
{
    struct files_source *s = files_of(source);
    files_walk_release(s);
    str_list_release(&s->paths);
    excludes_release(&s->excludes);
    str_list_release(&s->exclude_words);
    owner_names_release(&s->owners);
    free(s->base);
    free(s);
}

static const struct source_ops files_ops = {
    .next = files_walk,
    .unchanged = files_unchanged,
    .open = files_open,
    .verdict = files_verdict,
    .describe = files_describe,
    .free = files_free,
};

/* A link to a directory is backed up as what it is, which may not be what was meant. */
static void warn_of_link(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        log_warning("%s is a symbolic link: only the link is backed up; "
                    "name the directory that it leads to if that is meant",
                    path);
}

static int choose(struct files_source *s, const struct source_files_options *o, struct err *e)
{
    int rc = excludes_init(&s->excludes, o->excludes, o->nexcludes, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < o->nexcludes; i++)
        str_list_add(&s->exclude_words, o->excludes[i]);
    for (size_t i = 0; i < o->npaths; i++)
        if ((rc = choose_paths(o->paths[i], &s->excludes, &s->paths, e)) != 0)
            return rc;
    if (s->paths.n == 0)
        return err_set(e, ERR_USAGE, "no path to back up was given");
    choose_tidy(&s->paths);
    for (size_t i = 0; i < s->paths.n; i++)
        warn_of_link(s->paths.s[i]);
    s->base = choose_base(&s->paths);
    return 0;
}

int source_files_new(const struct source_files_options *o, struct source **out, struct err *e)
{
    struct files_source *s = mem_zero(sizeof(*s));
    s->source.ops = &files_ops;
    s->one_file_system = o->one_file_system;
    s->exclude_caches = o->exclude_caches;
    owner_names_init(&s->owners);
    int rc = choose(s, o, e);
    if (rc != 0) {
        files_free(&s->source);
        return rc;
    }
    *out = &s->source;
    return 0;
}
