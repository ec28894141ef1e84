/* Finding the server's programs in the version that is wanted: distributions keep each major
 * version in a directory of its own. */
#include "base/mem.h"
#include "base/proc.h"
#include "client/postgres_int.h"
#include <glob.h>
#include <string.h>

enum { VERSION_MS = 10000 };

static const char *const installed[] = {"/usr/lib/postgresql/*/bin",
                                        "/usr/pgsql-*/bin",
                                        "/usr/local/pgsql/bin",
                                        "/usr/libexec/postgresql*",
                                        "/opt/homebrew/opt/postgresql@*/bin",
                                        "/usr/local/opt/postgresql@*/bin",
                                        "/opt/homebrew/bin",
                                        NULL};

struct candidate {
    char *path;
    int major; /* 0 while it was not asked */
};

struct candidates {
    struct candidate *c;
    size_t n, cap;
};

static void candidates_release(struct candidates *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->c[i].path);
    free(l->c);
}

/* Asks a program for its major version; 0 when it gives none: "pg_dump (PostgreSQL) 15.18". */
static int ask_version(const char *path)
{
    struct err ignored = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    const char *const argv[] = {path, "--version", NULL};
    if (proc_capture(argv, VERSION_MS, &out, &ignored) != 0)
        return 0;
    const char *text = strstr(buf_str(&out), "(PostgreSQL) ");
    long major = text != NULL ? strtol(text + strlen("(PostgreSQL) "), NULL, 10) : 0;
    return major > 0 && major < 1000 ? (int)major : 0;
}

static void add_candidate(struct candidates *l, const char *directory, const char *name)
{
    _cleanup_free_ char *path = str_fmt("%s/%s", directory, name);
    if (access(path, X_OK) != 0)
        return;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->c[i].path, path) == 0)
            return;
    }
    mem_grow(&l->c, l->n, &l->cap, sizeof(*l->c));
    l->c[l->n++] = (struct candidate){.path = take(path)};
}

static void add_pattern(struct candidates *l, const char *pattern, const char *name)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            add_candidate(l, found.gl_pathv[i], name);
    }
    globfree(&found);
}

static void add_path(struct candidates *l, const char *path, const char *name)
{
    _cleanup_free_ char *copy = str_dup(path != NULL ? path : "");
    for (char *save, *d = strtok_r(copy, ":", &save); d != NULL; d = strtok_r(NULL, ":", &save)) {
        if (*d == '/') /* others would depend on where we work */
            add_candidate(l, d, name);
    }
}

/* The lowest that fits, so that what is restored with it later need not be newer than needed. */
static const struct candidate *choose(struct candidates *l, int major, bool exact)
{
    const struct candidate *best = NULL;
    for (size_t i = 0; i < l->n; i++) {
        struct candidate *c = &l->c[i];
        if (c->major == 0)
            c->major = ask_version(c->path);
        bool fits = exact ? c->major == major : c->major >= major && c->major > 0;
        if (fits && (best == NULL || c->major < best->major))
            best = c;
    }
    return best;
}

static bool is_server_program(const char *name)
{
    static const char *const server[] = {"initdb", "pg_ctl", "postgres", "pg_controldata"};
    for (size_t i = 0; i < array_len(server); i++) {
        if (strcmp(name, server[i]) == 0)
            return true;
    }
    return false;
}

static int none_fits(const struct candidates *l, const char *name, int major, bool exact,
                     const char *bindir, struct err *e)
{
    _cleanup_(buf_release) struct buf found = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < l->n && found.len < 300; i++) {
        buf_adds(&found, i > 0 ? ", " : "found only ");
        if (l->c[i].major > 0)
            buf_addf(&found, "version %d (%s)", l->c[i].major, l->c[i].path);
        else
            buf_addf(&found, "%s, which does not tell its version", l->c[i].path);
    }
    (void)err_set(e, ERR_NOT_FOUND, "there is no %s of PostgreSQL %d%s%s%s: %s", name, major,
                  exact ? "" : " or newer", bindir != NULL ? " in " : "",
                  bindir != NULL ? bindir : "", l->n > 0 ? buf_str(&found) : "none is installed");
    return err_hint(e,
                    "install the package postgresql-%s%d (Debian and Ubuntu; older and newer "
                    "versions are at apt.postgresql.org), or set pg_bindir",
                    is_server_program(name) ? "" : "client-", major);
}

static int answer(struct candidates *l, const char *name, int major, bool exact, const char *bindir,
                  char **out, struct err *e)
{
    const struct candidate *best = choose(l, major, exact);
    if (best == NULL)
        return none_fits(l, name, major, exact, bindir, e);
    *out = str_dup(best->path);
    return 0;
}

int pg_program_among(const char *name, int major, bool exact, const char *const *patterns,
                     const char *path, char **out, struct err *e)
{
    _cleanup_(candidates_release) struct candidates l = {0};
    for (size_t i = 0; patterns[i] != NULL; i++)
        add_pattern(&l, patterns[i], name);
    if (choose(&l, major, exact) == NULL) /* Debian's in PATH only chooses among those above */
        add_path(&l, path, name);
    return answer(&l, name, major, exact, NULL, out, e);
}

int pg_program(const char *name, int major, bool exact, const char *bindir, char **out,
               struct err *e)
{
    if (bindir == NULL || *bindir == 0)
        return pg_program_among(name, major, exact, installed, getenv("PATH"), out, e);
    _cleanup_(candidates_release) struct candidates l = {0};
    add_candidate(&l, bindir, name);
    return answer(&l, name, major, exact, bindir, out, e);
}
