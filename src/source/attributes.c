/* Attributes: from a directory entry to the node that the repository keeps. */
#include "base/log.h"
#include "base/mem.h"
#include "source/files_int.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/xattr.h>

void owner_names_init(struct owner_names *o)
{
    memset(o, 0, sizeof(*o));
    (void)pthread_mutex_init(&o->lock, NULL);
}

void owner_names_release(struct owner_names *o)
{
    for (size_t i = 0; i < o->nuser; i++)
        free(o->user[i].name);
    for (size_t i = 0; i < o->ngroup; i++)
        free(o->group[i].name);
    free(o->user);
    free(o->group);
    (void)pthread_mutex_destroy(&o->lock);
}

/* Asks the system; the buffer grows for groups with many members. */
static char *look_up(uint32_t id, bool group)
{
    char *name = NULL;
    for (size_t size = 4096; size <= (1U << 20) && name == NULL; size *= 4) {
        _cleanup_free_ char *text = mem_alloc(size);
        struct passwd pw, *user = NULL;
        struct group gr, *grp = NULL;
        int rc =
            group ? getgrgid_r(id, &gr, text, size, &grp) : getpwuid_r(id, &pw, text, size, &user);
        if (rc == ERANGE)
            continue;
        name = str_dup(user != NULL ? user->pw_name : grp != NULL ? grp->gr_name : "");
    }
    return name != NULL ? name : str_dup("");
}

/* The name of `id`, owned by the cache. */
static const char *cached(struct owner_name **list, size_t *n, size_t *cap, uint32_t id, bool group)
{
    for (size_t i = 0; i < *n; i++) {
        if ((*list)[i].id != id)
            continue;
        if (i > 0) { /* the one that is asked for most is found first */
            struct owner_name up = (*list)[i];
            (*list)[i] = (*list)[i - 1];
            (*list)[i - 1] = up;
            i--;
        }
        return (*list)[i].name;
    }
    mem_grow(list, *n, cap, sizeof(**list));
    (*list)[*n] = (struct owner_name){.id = id, .name = look_up(id, group)};
    return (*list)[(*n)++].name;
}

void attributes_from_stat(struct node *n, const struct stat *st, struct owner_names *o)
{
    node_from_stat(n, st);
    n->atime = n->mtime;
    free(n->user);
    free(n->group);
    (void)pthread_mutex_lock(&o->lock);
    n->user = str_dup(cached(&o->user, &o->nuser, &o->user_cap, n->uid, false));
    n->group = str_dup(cached(&o->group, &o->ngroup, &o->group_cap, n->gid, true));
    (void)pthread_mutex_unlock(&o->lock);
}

/* Linux's own limits; they bound what is allocated here. */
enum { LIST_FIRST = 2048, LIST_MAX = 65536, VALUE_MAX = 65536 };

static void clear_xattrs(struct node *n)
{
    for (size_t i = 0; i < n->nxattr; i++) {
        free(n->xattr[i].name);
        free(n->xattr[i].value);
    }
    free(n->xattr);
    n->xattr = NULL;
    n->nxattr = 0;
}

/* The value of one attribute into `x`; false if it is gone or cannot be read. */
static bool read_value(int fd, const char *path, const char *name, struct node_xattr *x,
                       const char *what)
{
    for (size_t size = 256; size <= VALUE_MAX; size = size < VALUE_MAX ? VALUE_MAX : size + 1) {
        _cleanup_free_ uint8_t *value = mem_alloc(size);
        ssize_t len =
            fd >= 0 ? fgetxattr(fd, name, value, size) : lgetxattr(path, name, value, size);
        if (len >= 0) {
            *x = (struct node_xattr){.name = str_dup(name),
                                     .value = mem_dup(value, (size_t)len),
                                     .len = (size_t)len};
            return true;
        }
        if (errno != ERANGE)
            break;
    }
    if (errno != ENODATA && errno != ENOENT && errno != EACCES)
        log_warning("cannot read the attribute %s of %s: %s", name, what, strerror(errno));
    return false;
}

void attributes_read_xattrs(struct node *n, int fd, const char *path, const char *what)
{
    char first[LIST_FIRST];
    _cleanup_free_ char *more = NULL;
    char *list = first;
    clear_xattrs(n);
    ssize_t len =
        fd >= 0 ? flistxattr(fd, first, sizeof(first)) : llistxattr(path, first, sizeof(first));
    if (len < 0 && errno == ERANGE) {
        list = more = mem_alloc(LIST_MAX);
        len = fd >= 0 ? flistxattr(fd, more, LIST_MAX) : llistxattr(path, more, LIST_MAX);
    }
    if (len < 0 && errno != ENOTSUP && errno != ENOENT)
        log_warning("cannot list the attributes of %s: %s", what, strerror(errno));
    size_t cap = 0;
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1) {
        mem_grow(&n->xattr, n->nxattr, &cap, sizeof(*n->xattr));
        if (read_value(fd, path, list + at, &n->xattr[n->nxattr], what))
            n->nxattr++;
    }
}
