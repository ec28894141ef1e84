/* Paths as text, and the directories of salvor itself. */
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <string.h>

char *path_join(const char *a, const char *b)
{
    size_t len = strlen(a);
    if (len == 0)
        return str_dup(b);
    while (len > 0 && a[len - 1] == '/')
        len--;
    while (*b == '/')
        b++;
    if (*b == 0)
        return len > 0 ? str_ndup(a, len) : str_dup("/");
    return str_fmt("%.*s/%s", (int)len, a, b);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

char *path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return str_dup(".");
    while (slash > path && slash[-1] == '/')
        slash--;
    return slash > path ? str_ndup(path, (size_t)(slash - path)) : str_dup("/");
}

/* Rewrites an absolute path in place without empty parts, "." and "..". */
static void clean(char *path)
{
    char *to = path;
    const char *from = path;
    while (*from != 0) {
        while (*from == '/')
            from++;
        size_t len = strcspn(from, "/");
        if (len == 2 && from[0] == '.' && from[1] == '.') {
            while (to > path && *--to != '/') {
            }
        } else if (len > 0 && !(len == 1 && from[0] == '.')) {
            *to++ = '/'; /* never overtakes `from`: a slash was there */
            memmove(to, from, len);
            to += len;
        }
        from += len;
    }
    if (to == path)
        *to++ = '/';
    *to = 0;
}

int path_absolute(const char *path, char **out, struct err *e)
{
    *out = NULL;
    if (*path == 0)
        return err_set(e, ERR_USAGE, "a path is empty");
    if (*path == '/') {
        *out = str_dup(path);
    } else {
        _cleanup_free_ char *cwd = getcwd(NULL, 0);
        if (cwd == NULL || *cwd != '/') {
            (void)err_sys(e, cwd == NULL ? errno : ENOENT,
                          "cannot make %s absolute: no working directory", path);
            return e->code = ERR_IO;
        }
        *out = path_join(cwd, path);
    }
    clean(*out);
    return 0;
}

char *path_expand_home(const char *path)
{
    const char *home = getenv("HOME");
    if (path[0] != '~' || (path[1] != 0 && path[1] != '/') || home == NULL || *home == 0)
        return str_dup(path);
    return path_join(home, path + 1);
}

bool path_component_safe(const char *name, size_t len)
{
    if (len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
        return false;
    return memchr(name, '/', len) == NULL && memchr(name, 0, len) == NULL;
}

/* $own, else `system` for root, else $xdg/salvor, else ~/<home>/salvor. */
static int own_dir(const char *what, const char *own, const char *system, const char *xdg,
                   const char *home, char **out, struct err *e)
{
    const char *v = getenv(own);
    if (v != NULL && *v != 0)
        return path_absolute(v, out, e);
    *out = NULL;
    if (geteuid() == 0) {
        *out = str_dup(system);
        return 0;
    }
    v = getenv(xdg);
    if (v != NULL && *v == '/') { /* the XDG specification ignores relative ones */
        *out = path_join(v, "salvor");
        return 0;
    }
    v = getenv("HOME");
    if (v == NULL || *v != '/')
        return err_set(e, ERR_USAGE,
                       "no place for salvor's %s: HOME is not set; set %s to a "
                       "directory",
                       what, own);
    _cleanup_free_ char *base = path_join(v, home);
    *out = path_join(base, "salvor");
    return 0;
}

int dir_state(char **out, struct err *e)
{
    return own_dir("state", "SALVOR_STATE_DIR", "/var/lib/salvor", "XDG_STATE_HOME", ".local/state",
                   out, e);
}

int dir_cache(char **out, struct err *e)
{
    return own_dir("cache", "SALVOR_CACHE_DIR", "/var/cache/salvor", "XDG_CACHE_HOME", ".cache",
                   out, e);
}
