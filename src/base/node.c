/* Nodes: their words, their memory, and what the system says of them. */
#include "base/node.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static const char *const type_name[] = {
    [NODE_INVALID] = "",        [NODE_FILE] = "file",     [NODE_DIR] = "dir",
    [NODE_SYMLINK] = "symlink", [NODE_BLOCK] = "dev",     [NODE_CHAR] = "chardev",
    [NODE_FIFO] = "fifo",       [NODE_SOCKET] = "socket", [NODE_IRREGULAR] = "irregular",
};

const char *node_type_name(enum node_type t)
{
    return (size_t)t < array_len(type_name) ? type_name[t] : "";
}

enum node_type node_type_parse(const char *name)
{
    for (size_t t = NODE_FILE; t < array_len(type_name); t++)
        if (strcmp(name, type_name[t]) == 0)
            return (enum node_type)t;
    return NODE_INVALID;
}

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

void node_release(struct node *n)
{
    free(n->name);
    free(n->user);
    free(n->group);
    free(n->linktarget);
    clear_xattrs(n);
    free(n->content);
    free(n->extra);
    free(n->error);
    *n = (struct node){0};
}

void node_copy(struct node *to, const struct node *from)
{
    struct node n = *from;
    n.name = str_dup(from->name);
    n.user = str_dup(from->user);
    n.group = str_dup(from->group);
    n.linktarget = str_dup(from->linktarget);
    n.extra = str_dup(from->extra);
    n.error = str_dup(from->error);
    n.xattr = NULL;
    if (from->nxattr > 0) {
        n.xattr = mem_array(from->nxattr, sizeof(*n.xattr));
        for (size_t i = 0; i < from->nxattr; i++) {
            n.xattr[i].name = str_dup(from->xattr[i].name);
            n.xattr[i].len = from->xattr[i].len;
            if (from->xattr[i].len > 0)
                n.xattr[i].value = mem_dup(from->xattr[i].value, from->xattr[i].len);
        }
    }
    n.content = NULL;
    if (from->ncontent > 0) {
        n.content = mem_array(from->ncontent, sizeof(*n.content));
        memcpy(n.content, from->content, from->ncontent * sizeof(*n.content));
    }
    *to = n;
}

static enum node_type type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return NODE_FILE;
    case S_IFDIR: return NODE_DIR;
    case S_IFLNK: return NODE_SYMLINK;
    case S_IFBLK: return NODE_BLOCK;
    case S_IFCHR: return NODE_CHAR;
    case S_IFIFO: return NODE_FIFO;
    case S_IFSOCK: return NODE_SOCKET;
    default: return NODE_IRREGULAR;
    }
}

void node_from_stat(struct node *n, const struct stat *st)
{
    n->type = type_of(st->st_mode);
    n->mode = st->st_mode & 07777;
    n->mtime = st->st_mtim;
    n->atime = st->st_atim;
    n->ctime = st->st_ctim;
    n->uid = st->st_uid;
    n->gid = st->st_gid;
    n->inode = st->st_ino;
    n->device_id = st->st_dev;

    /* restic keeps a size of files only, links of what can sensibly be linked, and a device number
     * of devices: anything else would change the tree's id. */
    bool device = n->type == NODE_BLOCK || n->type == NODE_CHAR;
    bool links = device || n->type == NODE_FILE || n->type == NODE_SYMLINK;
    n->size = n->type == NODE_FILE ? (uint64_t)st->st_size : 0;
    n->links = links ? st->st_nlink : 0;
    n->rdev = device ? st->st_rdev : 0;
}

/* Linux's own limits; they bound what is allocated here. */
enum { LIST_FIRST = 2048, LIST_MAX = 65536, VALUE_MAX = 65536 };

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

void node_read_xattrs(struct node *n, int fd, const char *path, const char *what)
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
