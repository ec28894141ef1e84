/* Choosing: from the paths and globs that a person wrote to a sorted list of absolute paths. */
#include "base/file.h"
#include "base/mem.h"
#include "source/files_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

bool has_glob(const char *text)
{
    return strpbrk(text, "*?[\\") != NULL;
}

struct expansion {
    const struct excludes *excludes;
    struct str_list *out;
    struct err *e;
};

static void close_dir(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static int expand(struct expansion *x, const char *dir, const char *rest);

/* One name that fits the present part of the pattern; `next` is what comes after that part. */
static int expand_child(struct expansion *x, const char *dir, const char *name, const char *next)
{
    _cleanup_free_ char *path = path_join(dir, name);
    struct stat st;
    if (*next != 0)
        return expand(x, path, next);
    if (lstat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : err_sys(x->e, errno, "cannot look at %s", path);
    if (x->excludes != NULL &&
        (excludes_match(x->excludes, path, name, false) ||
         (S_ISDIR(st.st_mode) && excludes_match(x->excludes, path, name, true))))
        return 0;
    str_list_add(x->out, path);
    return 0;
}

static bool is_real_dir(int fd, const struct dirent *d)
{
    struct stat st;
    if (d->d_type != DT_UNKNOWN)
        return d->d_type == DT_DIR;
    return fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Follows a pattern part by part; only parts with wildcards list directories. */
static int expand(struct expansion *x, const char *dir, const char *rest)
{
    size_t len = strcspn(rest, "/");
    _cleanup_free_ char *part = str_ndup(rest, len);
    const char *next = rest + len + strspn(rest + len, "/");
    if (!has_glob(part))
        return expand_child(x, dir, part, next);

    bool deep = strcmp(part, "**") == 0;
    if (deep && *next != 0) {
        int rc = expand(x, dir, next);
        if (rc != 0)
            return rc;
    }
    _cleanup_(close_dir) DIR *d = opendir(dir);
    if (d == NULL)
        return errno == ENOENT || errno == ENOTDIR ? 0
                                                   : err_sys(x->e, errno, "cannot list %s", dir);
    struct dirent *entry;
    while ((errno = 0, entry = readdir(d)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (name[0] == '.' && part[0] != '.'))
            continue;
        int rc = 0;
        if (deep && *next != 0) {
            _cleanup_free_ char *child = path_join(dir, name);
            if (is_real_dir(dirfd(d), entry))
                rc = expand(x, child, rest);
        } else if (deep || glob_match(part, name)) {
            rc = expand_child(x, dir, name, next);
        }
        if (rc != 0)
            return rc;
    }
    return errno == 0 ? 0 : err_sys(x->e, errno, "cannot list %s", dir);
}

/* The same path with links in its directories resolved, but not in its last part. */
static int resolve_parent(const char *path, char **out, struct err *e)
{
    _cleanup_free_ char *dir = path_dir(path);
    _cleanup_free_ char *real = realpath(dir, NULL);
    if (real == NULL)
        return err_sys(e, errno, "cannot look at %s", path);
    *out = path_join(real, path_base(path));
    return 0;
}

int choose_paths(const char *pattern, const struct excludes *x, struct str_list *out, struct err *e)
{
    _cleanup_free_ char *home = path_expand_home(pattern);
    _cleanup_free_ char *path = NULL;
    int rc = path_absolute(home, &path, e);
    if (rc != 0)
        return rc;

    _cleanup_(str_list_release) struct str_list found = {0};
    struct stat st;
    if (lstat(path, &st) == 0) {
        str_list_add(&found, path); /* as it stands, whatever characters are in it */
    } else if (errno != ENOENT && errno != ENOTDIR) {
        return err_sys(e, errno, "cannot back up %s", path);
    } else if (!has_glob(path)) {
        return err_set(e, ERR_NOT_FOUND, "cannot back up %s: there is nothing of that name", path);
    } else {
        struct expansion ex = {.excludes = x, .out = &found, .e = e};
        if ((rc = expand(&ex, "/", path + 1)) != 0)
            return rc;
        if (found.n == 0)
            return err_set(e, ERR_NOT_FOUND, "cannot back up %s: nothing matches it", path);
    }
    for (size_t i = 0; i < found.n; i++) {
        char *real = NULL;
        if ((rc = resolve_parent(found.s[i], &real, e)) != 0)
            return rc;
        str_list_add_take(out, real);
    }
    return 0;
}

/* Compares paths as trees are ordered: a slash sorts before every other byte. */
static int compare_paths(const void *va, const void *vb)
{
    const unsigned char *a = *(const unsigned char *const *)va;
    const unsigned char *b = *(const unsigned char *const *)vb;
    while (*a != 0 && *a == *b)
        a++, b++;
    int ca = *a == '/' ? 1 : *a == 0 ? 0 : *a + 1;
    int cb = *b == '/' ? 1 : *b == 0 ? 0 : *b + 1;
    return ca - cb;
}

static bool is_inside(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (len > 0 && dir[len - 1] == '/')
        len--;
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == 0);
}

void choose_tidy(struct str_list *paths)
{
    if (paths->n == 0)
        return;
    qsort(paths->s, paths->n, sizeof(*paths->s), compare_paths);
    size_t kept = 1;
    for (size_t i = 1; i < paths->n; i++) {
        if (is_inside(paths->s[i], paths->s[kept - 1]))
            free(paths->s[i]);
        else
            paths->s[kept++] = paths->s[i];
    }
    paths->n = kept;
}

char *choose_base(const struct str_list *paths)
{
    char *base = path_dir(paths->s[0]);
    for (size_t i = 1; i < paths->n; i++) {
        while (!is_inside(paths->s[i], base)) {
            char *up = path_dir(base);
            free(base);
            base = up;
        }
    }
    return base;
}
