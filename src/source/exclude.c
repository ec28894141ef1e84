/* Exclude patterns: what a source of files leaves out. */
#include "base/file.h"
#include "base/mem.h"
#include "source/files_int.h"
#include <limits.h>
#include <string.h>

/* Resolves links in the part of an anchored pattern that is literal, as far as it exists. */
static char *resolve_literal(const char *pattern)
{
    size_t literal = strcspn(pattern, "*?[\\");
    if (pattern[literal] != 0)
        while (literal > 0 && pattern[literal - 1] != '/')
            literal--;
    for (size_t cut = literal; cut > 1; cut--) {
        if (pattern[cut] != '/' && pattern[cut] != 0 && pattern[cut - 1] != '/')
            continue;
        _cleanup_free_ char *dir = str_ndup(pattern, cut);
        _cleanup_free_ char *parent = path_dir(dir);
        /* The last literal part may be a link that is meant itself. */
        const char *which = pattern[cut] == 0 ? parent : dir;
        _cleanup_free_ char *real = realpath(which, NULL);
        if (real != NULL)
            return path_join(real, pattern + strlen(which));
    }
    return str_dup(pattern);
}

int excludes_init(struct excludes *x, const char *const *patterns, size_t n, struct err *e)
{
    memset(x, 0, sizeof(*x));
    x->list = mem_array(n > 0 ? n : 1, sizeof(*x->list));
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *p = path_expand_home(patterns[i]);
        size_t len = strlen(p);
        struct exclude *to = &x->list[x->n];
        while (len > 1 && p[len - 1] == '/') {
            to->dir_only = x->any_dir_only = true;
            p[--len] = 0;
        }
        if (len == 0 || strcmp(p, "/") == 0) {
            excludes_release(x);
            return err_set(e, ERR_USAGE, "the exclude pattern \"%s\" would leave out everything",
                           patterns[i]);
        }
        const char *from = str_starts(p, "./") ? p + 2 : p;
        to->anchored = *from == '/';
        to->slash = strchr(from, '/') != NULL;
        to->plain = !has_glob(from);
        to->pattern = to->anchored ? resolve_literal(from) : str_dup(from);
        x->n++;
    }
    return 0;
}

void excludes_release(struct excludes *x)
{
    for (size_t i = 0; i < x->n; i++)
        free(x->list[i].pattern);
    free(x->list);
    memset(x, 0, sizeof(*x));
}

static bool matches(const struct exclude *x, const char *text)
{
    return x->plain ? strcmp(x->pattern, text) == 0 : glob_match(x->pattern, text);
}

bool excludes_match(const struct excludes *x, const char *path, const char *name, bool is_dir)
{
    if (is_dir && !x->any_dir_only)
        return false;
    for (size_t i = 0; i < x->n; i++) {
        const struct exclude *p = &x->list[i];
        if (p->dir_only != is_dir)
            continue;
        if (!p->slash) {
            if (matches(p, name))
                return true;
        } else if (p->anchored) {
            if (matches(p, path))
                return true;
        } else {
            for (const char *at = path; at != NULL; at = strchr(at, '/'))
                if (matches(p, *at == '/' ? ++at : at))
                    return true;
        }
    }
    return false;
}
