/* Looking around in a directory for what a first configuration should name. */
#include "base/file.h"
#include "base/mem.h"
#include "config/config_int.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 3, MOST_ENTRIES = 20000 };

struct look {
    struct config_found *found;
    const char *top;
    size_t entries; /* seen so far, so that a look at / or a home ends */
};

static void close_dir(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool one_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, list[i]))
            return true;
    return false;
}

static bool is_skipped(const char *name)
{
    static const char *const skipped[] = {"node_modules", "venv",     "env",     "vendor",
                                          "__pycache__",  "target",   "build",   "dist",
                                          "cache",        "tmp",      "temp",    "logs",
                                          "log",          "proc",     "sys",     "dev",
                                          "lost+found",   "coverage", "backups", "backup"};
    return name[0] == '.' || one_of(name, skipped, array_len(skipped));
}

static bool is_database_name(const char *name)
{
    return str_ends(name, ".db") || str_ends(name, ".sqlite") || str_ends(name, ".sqlite3");
}

static bool is_secret_name(const char *name)
{
    static const char *const compose[] = {"docker-compose.yml", "docker-compose.yaml",
                                          "compose.yml", "compose.yaml"};
    if (str_starts(name, ".env.")) /* .env.production, but not what is only a pattern for it */
        return !str_ends(name, ".example") && !str_ends(name, ".sample") &&
               !str_ends(name, ".template") && !str_ends(name, ".dist");
    return str_eq(name, ".env") || one_of(name, compose, array_len(compose));
}

static bool is_upload_name(const char *name)
{
    static const char *const uploads[] = {"uploads", "media",       "storage",
                                          "files",   "attachments", "documents"};
    return one_of(name, uploads, array_len(uploads));
}

static void add_once(struct str_list *l, const char *path)
{
    if (utf8_valid(path, strlen(path)) && !str_list_has(l, path))
        str_list_add(l, path);
}

/* `below` is relative to the top, "" for itself. What cannot be read is passed over: this only
 * makes a proposal, except for the top itself. */
static int look_into(struct look *look, const char *below, int depth, struct err *e)
{
    _cleanup_free_ char *path = path_join(look->top, below);
    _cleanup_(close_dir) DIR *dir = opendir(path);
    if (dir == NULL)
        return depth > 0 ? 0 : err_sys(e, errno, "cannot look around in %s", path);
    const struct dirent *d;
    while (look->entries < MOST_ENTRIES && (d = readdir(dir)) != NULL) {
        look->entries++;
        struct stat st;
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        _cleanup_free_ char *child = path_join(below, d->d_name);
        if (S_ISREG(st.st_mode) && is_database_name(d->d_name)) {
            _cleanup_free_ char *whole = path_join(path, d->d_name);
            if (file_is_sqlite(whole))
                add_once(&look->found->sqlite, child);
        } else if (S_ISREG(st.st_mode) && depth == 0 && is_secret_name(d->d_name)) {
            add_once(&look->found->secrets, child);
        } else if (S_ISDIR(st.st_mode) && !is_skipped(d->d_name)) {
            if (depth < 2 && is_upload_name(d->d_name))
                add_once(&look->found->files, child);
            int rc = depth < DEEPEST ? look_into(look, child, depth + 1, e) : 0;
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

/* Keys in ~/.config/<name of the directory>. */
static void look_for_keys(struct look *look)
{
    const char *home = getenv("HOME"), *name = path_base(look->top);
    if (home == NULL || home[0] != '/' || *name == '\0')
        return;
    _cleanup_free_ char *path = str_fmt("%s/.config/%s", home, name);
    _cleanup_(close_dir) DIR *dir = opendir(path);
    const struct dirent *d;
    while (dir != NULL && look->entries++ < MOST_ENTRIES && (d = readdir(dir)) != NULL) {
        struct stat st;
        if ((!str_ends(d->d_name, ".key") && !str_ends(d->d_name, ".pem")) ||
            fstatat(dirfd(dir), d->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        _cleanup_free_ char *key = str_fmt("~/.config/%s/%s", name, d->d_name);
        add_once(&look->found->secrets, key);
    }
}

/* ---- the application's own settings ---- */

/* "host/app" of "postgres://user:password@host/app?options": nothing secret is left. */
static char *url_place(const char *url)
{
    const char *p = strstr(url, "://");
    p = p != NULL ? p + 3 : url;
    size_t len = strcspn(p, "?#");
    for (size_t i = len; i > 0; i--)
        if (p[i - 1] == '@') {
            p += i;
            len -= i;
            break;
        }
    _cleanup_(buf_release) struct buf safe = BUF_INIT(BUF_TEXT);
    text_printable(p, len < 200 ? len : 200, &safe);
    return buf_take(&safe);
}

static void note_url(struct look *look, const char *variable, const char *url)
{
    static const char *const sqlite[] = {"sqlite:///", "sqlite3:///", "sqlite://",
                                         "sqlite:", "file:"};
    for (size_t i = 0; i < array_len(sqlite); i++) {
        if (!str_starts(url, sqlite[i]))
            continue;
        /* Programs differ in how many slashes begin an absolute path: the file decides. */
        const char *rest = url + strlen(sqlite[i]);
        _cleanup_free_ char *rel = str_ndup(rest, strcspn(rest, "?#"));
        _cleanup_free_ char *below = path_join(look->top, rel);
        _cleanup_free_ char *root = path_join("/", rel);
        const char *plain = str_starts(rel, "./") ? rel + 2 : rel;
        if (rel[0] != '/' && file_is_sqlite(below))
            add_once(&look->found->sqlite, plain);
        else if (file_is_sqlite(root))
            add_once(&look->found->sqlite, root);
        else
            str_list_add_take(&look->found->notes,
                              str_fmt("%s names an SQLite database that is not there yet: %s",
                                      variable, rel));
        return;
    }
    const char *kind = str_starts(url, "redis") ? "a Redis" : "a database";
    _cleanup_free_ char *place = url_place(url);
    if (is_postgres_url(url)) {
        look->found->postgres = take(place);
        return;
    }
    str_list_add_take(&look->found->notes,
                      str_fmt("%s names %s (%s), which this version of salvor does not back up yet",
                              variable, kind, place));
}

static void look_at_settings(struct look *look)
{
    static const char *const variables[] = {"DATABASE_URL", "REDIS_URL"};
    _cleanup_free_ char *path = path_join(look->top, ".env");
    _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(BUF_TEXT);
    struct err ignored;
    if (file_read(path, &text, &ignored) != 0)
        buf_clear(&text);
    for (size_t i = 0; i < array_len(variables); i++) {
        const char *value = getenv(variables[i]);
        _cleanup_free_ char *url =
            value != NULL ? str_dup(value) : env_file_value(buf_str(&text), variables[i]);
        if (url != NULL && *url != '\0')
            note_url(look, variables[i], url);
        if (i == 0 && look->found->postgres != NULL && value == NULL)
            look->found->env_file = str_dup(".env");
        if (url != NULL)
            mem_wipe(url, strlen(url));
    }
}

int config_look_around(const char *dir, struct config_found *out, struct err *e)
{
    *out = (struct config_found){0};
    _cleanup_free_ char *top = NULL;
    int rc = path_absolute(dir, &top, e);
    if (rc != 0)
        return rc;
    struct look look = {.found = out, .top = top};
    rc = look_into(&look, "", 0, e);
    if (rc != 0) {
        config_found_release(out);
        return rc;
    }
    if (look.entries >= MOST_ENTRIES)
        str_list_add_take(&out->notes, str_fmt("only the first %d files of %s were looked at",
                                               MOST_ENTRIES, top));
    look_for_keys(&look);
    look_at_settings(&look);
    str_list_sort(&out->sqlite);
    str_list_sort(&out->secrets);
    str_list_sort(&out->files);
    return 0;
}

void config_found_release(struct config_found *f)
{
    str_list_release(&f->sqlite);
    free(take(f->postgres));
    free(take(f->env_file));
    str_list_release(&f->secrets);
    str_list_release(&f->files);
    str_list_release(&f->notes);
}
