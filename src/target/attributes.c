/* Attributes: owner, mode, extended attributes, ACLs and times, set in the order that keeps them:
 * a change of owner clears set-user bits and capabilities, and everything changes the times. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

void owner_ids_init(struct owner_ids *o, bool set)
{
    memset(o, 0, sizeof(*o));
    (void)pthread_mutex_init(&o->lock, NULL);
    o->set = set;
}

void owner_ids_release(struct owner_ids *o)
{
    for (size_t i = 0; i < o->nuser; i++)
        free(o->user[i].name);
    for (size_t i = 0; i < o->ngroup; i++)
        free(o->group[i].name);
    free(o->user);
    free(o->group);
    (void)pthread_mutex_destroy(&o->lock);
}

static struct owner_id look_up(const char *name, bool group)
{
    struct owner_id id = {.name = str_dup(name)};
    for (size_t size = 4096; size <= (1U << 20); size *= 4) {
        _cleanup_free_ char *text = mem_alloc(size);
        struct passwd pw, *user = NULL;
        struct group gr, *grp = NULL;
        int rc = group ? getgrnam_r(name, &gr, text, size, &grp)
                       : getpwnam_r(name, &pw, text, size, &user);
        if (rc == ERANGE)
            continue;
        id.known = user != NULL || grp != NULL;
        id.id = user != NULL ? user->pw_uid : grp != NULL ? grp->gr_gid : 0;
        break;
    }
    return id;
}

/* The number that a name has on this machine; the recorded one if the name is unknown here. */
static uint32_t id_here(struct owner_ids *o, const char *name, uint32_t number, bool group)
{
    if (name == NULL || *name == 0)
        return number;
    struct owner_id **list = group ? &o->group : &o->user;
    size_t *n = group ? &o->ngroup : &o->nuser;
    (void)pthread_mutex_lock(&o->lock);
    size_t i = 0;
    while (i < *n && strcmp((*list)[i].name, name) != 0)
        i++;
    if (i == *n) {
        mem_grow(list, *n, group ? &o->group_cap : &o->user_cap, sizeof(**list));
        (*list)[(*n)++] = look_up(name, group);
    }
    struct owner_id found = (*list)[i];
    (void)pthread_mutex_unlock(&o->lock);
    return found.known ? found.id : number;
}

/* One entry, by an open descriptor or, opened with O_PATH, through /proc. */
struct subject {
    int fd;
    bool by_path;
    char proc[32];
    struct stat st; /* as it is now */
    bool fresh;
    const char *what;
    char *why;
};

static void explain(const struct subject *s, const char *fmt, const char *detail, int sys)
{
    size_t used = strlen(s->why);
    if (used > 0)
        return; /* one reason is enough */
    int n = snprintf(s->why, WHY_MAX, fmt, detail);
    if (n > 0 && n < WHY_MAX && sys != 0)
        (void)snprintf(s->why + n, (size_t)(WHY_MAX - n), ": %s", strerror(sys));
}

/* Sets the owner as far as allowed; *whole tells whether it is what was recorded. */
static int set_owner(struct subject *s, const struct node *n, struct owner_ids *o, bool *whole,
                     struct err *e)
{
    uint32_t uid = id_here(o, n->user, n->uid, false), gid = id_here(o, n->group, n->gid, true);
    *whole = true;
    if (s->st.st_uid == uid && s->st.st_gid == gid)
        return 0;
    s->st.st_mode = 0; /* changing the owner may change it */
    if (o->set) {
        if (fchownat(s->fd, "", uid, gid, AT_EMPTY_PATH) == 0)
            return 0;
        if (errno != EPERM && errno != EINVAL && errno != ENOTSUP)
            return err_sys(e, errno, "cannot set the owner of %s", s->what);
        explain(s, "the owner%s could not be set", "", errno);
    } else if (fchownat(s->fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) == 0 && s->st.st_uid == uid) {
        return 0; /* a group that we are in */
    } else {
        explain(s, "the owner%s was not set", "", 0);
    }
    *whole = false;
    return 0;
}

static const struct node_xattr *find_xattr(const struct node *n, const char *name)
{
    for (size_t i = 0; i < n->nxattr; i++)
        if (strcmp(n->xattr[i].name, name) == 0)
            return &n->xattr[i];
    return NULL;
}

/* Whether it belongs to people: a system labels files on its own. */
static bool is_peoples(const char *name)
{
    return str_starts(name, "user.") || strcmp(name, ACL_ACCESS) == 0 ||
           strcmp(name, ACL_DEFAULT) == 0;
}

bool attributes_differ(const struct node *now, const struct node *n, struct owner_ids *o)
{
    if ((o->set && now->uid != id_here(o, n->user, n->uid, false)) ||
        now->gid != id_here(o, n->group, n->gid, true) ||
        (n->type != NODE_SYMLINK && now->mode != (n->mode & 07777)) ||
        timespec_compare(now->mtime, n->mtime) != 0)
        return true;
    for (size_t i = 0; i < n->nxattr; i++) {
        const struct node_xattr *is = find_xattr(now, n->xattr[i].name);
        if (is == NULL || is->len != n->xattr[i].len ||
            (is->len > 0 && memcmp(is->value, n->xattr[i].value, is->len) != 0))
            return true;
    }
    for (size_t i = 0; i < now->nxattr; i++)
        if (is_peoples(now->xattr[i].name) && find_xattr(n, now->xattr[i].name) == NULL)
            return true;
    return false;
}

static int remove_xattr(const struct subject *s, const char *name)
{
    return s->by_path ? removexattr(s->proc, name) : fremovexattr(s->fd, name);
}

/* Removes what the entry has and should not have. */
static void remove_others(const struct subject *s, const struct node *n)
{
    char list[4096];
    ssize_t len =
        s->by_path ? listxattr(s->proc, list, sizeof(list)) : flistxattr(s->fd, list, sizeof(list));
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1) {
        const char *name = list + at;
        if (is_peoples(name) && find_xattr(n, name) == NULL)
            (void)remove_xattr(s, name);
    }
}

static bool xattr_is(const struct subject *s, const struct node_xattr *x)
{
    _cleanup_free_ char *value = mem_alloc(x->len + 1);
    ssize_t len = s->by_path ? getxattr(s->proc, x->name, value, x->len + 1)
                             : fgetxattr(s->fd, x->name, value, x->len + 1);
    return len >= 0 && (size_t)len == x->len && (len == 0 || memcmp(value, x->value, x->len) == 0);
}

static int set_xattrs(const struct subject *s, const struct node *n, struct err *e)
{
    for (size_t i = 0; i < n->nxattr; i++) {
        const struct node_xattr *x = &n->xattr[i];
        if (!s->fresh && xattr_is(s, x))
            continue;
        const void *value = x->len > 0 ? (const void *)x->value : "";
        int rc = s->by_path ? setxattr(s->proc, x->name, value, x->len, 0)
                            : fsetxattr(s->fd, x->name, value, x->len, 0);
        if (rc == 0)
            continue;
        if (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EROFS)
            return err_sys(e, errno, "cannot set the attribute %s of %s", x->name, s->what);
        explain(s, "the attribute %s could not be set", x->name, errno);
    }
    return 0;
}

/* Owner first, then mode, then attributes. */
static int set_all(struct subject *s, const struct node *n, struct owner_ids *o, bool tidy,
                   struct err *e)
{
    bool whole = true;
    if (fstatat(s->fd, "", &s->st, AT_EMPTY_PATH) < 0)
        return err_sys(e, errno, "cannot look at %s", s->what);
    int rc = set_owner(s, n, o, &whole, e);
    if (rc != 0)
        return rc;
    /* A program that runs as its owner must not run as another one. */
    mode_t mode = n->mode & (whole || n->type == NODE_DIR ? 07777 : 01777);
    if (tidy)
        remove_others(s, n);
    bool set = n->type != NODE_SYMLINK && ((s->st.st_mode & 07777) != mode || s->st.st_mode == 0);
    if (set && (s->by_path ? chmod(s->proc, mode) : fchmod(s->fd, mode)) < 0) {
        if (errno != EPERM && errno != ENOTSUP)
            return err_sys(e, errno, "cannot set the mode of %s", s->what);
        explain(s, "the mode%s could not be set", "", errno);
    }
    return set_xattrs(s, n, e);
}

int attributes_set(int fd, const struct node *n, struct owner_ids *o, bool fresh, bool inherits,
                   char why[WHY_MAX], const char *what, struct err *e)
{
    struct subject s = {.fd = fd, .fresh = fresh, .what = what, .why = why};
    int rc = set_all(&s, n, o, !fresh || inherits, e);
    if (rc != 0)
        return rc;
    struct timespec times[2] = {n->atime, n->mtime};
    if (!fresh && timespec_compare(s.st.st_mtim, n->mtime) == 0)
        return 0;
    if (futimens(fd, times) < 0)
        explain(&s, "the times%s could not be set", "", errno);
    return 0;
}

int attributes_set_at(int dir, const char *name, const struct node *n, struct owner_ids *o,
                      char why[WHY_MAX], const char *what, struct err *e)
{
    _cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot look at %s", what);
    struct subject s = {.fd = fd, .by_path = true, .what = what, .why = why};
    (void)snprintf(s.proc, sizeof(s.proc), "/proc/self/fd/%d", fd);
    int rc = set_all(&s, n, o, true, e);
    if (rc != 0)
        return rc;
    struct timespec times[2] = {n->atime, n->mtime};
    if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        explain(&s, "the times%s could not be set", "", errno);
    return 0;
}
