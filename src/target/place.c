/* Places: the directories below a target's root. Every part of a path is opened on its own and
 * never through a link, so that nothing in the root and nothing in a repository leads outside. */
#include "base/file.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

struct place *place_ref(struct place *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void place_unref(struct place *p)
{
    if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    if (p->fd >= 0)
        (void)close(p->fd);
    free(p->path);
    free(p);
}

void place_unrefp(struct place **p)
{
    place_unref(*p);
}

char *place_path(const struct places *ps, const struct place *p, const char *name)
{
    _cleanup_free_ char *dir = path_join(ps->root, p->path);
    return path_join(dir, name);
}

/* Remembers one descriptor for each file system, to sync it at the end. */
static void note_device(struct places *ps, int fd)
{
    struct stat st;
    if (fd < 0 || ps->dry_run || fstat(fd, &st) < 0)
        return;
    for (size_t i = 0; i < ps->ndevice; i++)
        if (ps->device[i].device == st.st_dev)
            return;
    mem_grow(&ps->device, ps->ndevice, &ps->device_cap, sizeof(*ps->device));
    ps->device[ps->ndevice++] = (struct place_device){st.st_dev, fcntl(fd, F_DUPFD_CLOEXEC, 0)};
}

static void push(struct places *ps, char *path, int fd, bool fresh)
{
    struct place *p = mem_zero(sizeof(*p));
    atomic_init(&p->refs, 1);
    p->fd = fd;
    p->fresh = fresh;
    p->default_acl = fd >= 0 && fgetxattr(fd, "system.posix_acl_default", NULL, 0) >= 0;
    p->path = path;
    mem_grow(&ps->stack, ps->depth, &ps->cap, sizeof(struct place *));
    ps->stack[ps->depth++] = p;
    note_device(ps, fd);
}

int places_init(struct places *ps, const char *root, bool dry_run, struct err *e)
{
    memset(ps, 0, sizeof(*ps));
    ps->dry_run = dry_run;
    int rc = path_absolute(root, &ps->root, e);
    bool empty = true;
    if (rc == 0 && !dry_run)
        rc = dir_make_all(ps->root, 0700, e);
    if (rc != 0)
        return rc;
    int fd = open(ps->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR)
        return err_set(e, ERR_EXISTS, "cannot restore to %s: it is not a directory", ps->root);
    if (fd < 0 && !(dry_run && errno == ENOENT))
        return err_sys(e, errno, "cannot open directory %s", ps->root);
    if (fd >= 0 && (rc = target_is_empty(ps->root, &empty, e)) != 0) {
        (void)close(fd);
        return rc;
    }
    push(ps, str_dup(""), fd, empty);
    return 0;
}

void places_release(struct places *ps)
{
    while (ps->depth > 0)
        place_unref(ps->stack[--ps->depth]);
    free(ps->stack);
    for (size_t i = 0; i < ps->ndevice; i++)
        (void)close(ps->device[i].fd);
    free(ps->device);
    free(ps->root);
    memset(ps, 0, sizeof(*ps));
}

mode_t place_open_up(int fd)
{
    struct stat st;
    if (geteuid() == 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() ||
        (st.st_mode & 0300) == 0300 || fchmod(fd, (st.st_mode & 07777) | 0700) < 0)
        return 0;
    return st.st_mode & 07777;
}

/* Opens or makes the directory `name` in the one on top of the stack and pushes it. */
static int descend(struct places *ps, const char *path, size_t len, const char *name, bool *made,
                   struct err *e)
{
    struct place *top = ps->stack[ps->depth - 1];
    _cleanup_free_ char *below = str_ndup(path, len);
    *made = false;
    if (top->fd < 0) { /* a dry run, and not even the parent is there */
        *made = true;
        push(ps, take(below), -1, true);
        return 0;
    }
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(top->fd, name, flags);
    if (fd < 0 && errno == ENOENT) {
        *made = true;
        if (!ps->dry_run) {
            if (mkdirat(top->fd, name, 0700) < 0 && errno != EEXIST)
                return err_sys(e, errno, "cannot make directory %s/%s", ps->root, below);
            fd = openat(top->fd, name, flags);
        }
    }
    if (fd < 0 && !(*made && ps->dry_run)) {
        if (errno == ENOTDIR || errno == ELOOP)
            return err_set(e, ERR_EXISTS,
                           "cannot make directory %s/%s: something that is not a directory is in "
                           "its place; move it away",
                           ps->root, below);
        return err_sys(e, errno, "cannot open directory %s/%s", ps->root, below);
    }
    if (fd >= 0 && !*made && !ps->dry_run)
        (void)place_open_up(fd);
    push(ps, take(below), fd, *made);
    return 0;
}

/* Whether the first `len` bytes of path are the directory `p` or something in it. */
static bool leads_through(const struct place *p, const char *path, size_t len)
{
    size_t own = strlen(p->path);
    return own == 0 ||
           (own <= len && memcmp(p->path, path, own) == 0 && (own == len || path[own] == '/'));
}

/* Every part is checked before anything is made. */
static int check_path(const struct places *ps, const char *path, struct err *e)
{
    for (const char *p = path;; p++) {
        size_t len = strcspn(p, "/");
        if (!path_component_safe(p, len))
            return err_set(e, ERR_REFUSED, "will not restore \"%s\": it leads out of %s", path,
                           ps->root);
        p += len;
        if (*p == 0)
            return 0;
    }
}

static int go_to(struct places *ps, const char *path, size_t len, bool *made, struct err *e)
{
    *made = false;
    while (ps->depth > 1 && !leads_through(ps->stack[ps->depth - 1], path, len))
        place_unref(ps->stack[--ps->depth]);
    size_t at = strlen(ps->stack[ps->depth - 1]->path);
    while (at < len) {
        at += path[at] == '/';
        size_t n = strcspn(path + at, "/");
        if (n > len - at)
            n = len - at;
        _cleanup_free_ char *name = str_ndup(path + at, n);
        at += n;
        int rc = descend(ps, path, at, name, made, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int places_of(struct places *ps, const char *path, struct place **dir, const char **name,
              struct err *e)
{
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    *dir = NULL;
    bool made;
    int rc = check_path(ps, path, e);
    if (rc == 0)
        rc = go_to(ps, path, slash != NULL ? (size_t)(slash - path) : 0, &made, e);
    if (rc == 0)
        *dir = place_ref(ps->stack[ps->depth - 1]);
    return rc;
}

int places_open(struct places *ps, const char *path, struct place **dir, struct err *e)
{
    bool made;
    *dir = NULL;
    int rc = places_make(ps, path, &made, e);
    if (rc == 0)
        *dir = place_ref(ps->stack[ps->depth - 1]);
    return rc;
}

int places_make(struct places *ps, const char *path, bool *made, struct err *e)
{
    int rc = check_path(ps, path, e);
    return rc == 0 ? go_to(ps, path, strlen(path), made, e) : rc;
}

int places_sync(struct places *ps, struct err *e)
{
    for (size_t i = 0; i < ps->ndevice; i++)
        if (syncfs(ps->device[i].fd) < 0)
            return err_sys(e, errno, "cannot sync %s", ps->root);
    return 0;
}
