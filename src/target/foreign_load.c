/* Restoring a foreign archive: SQL is fed to psql line by line, the others are pg_restore's. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/foreign_int.h"

#include <string.h>
#include <sys/random.h>

extern char **environ;

/* ---- the environment ---- */

static bool programs_need(const char *entry)
{
    static const char *const names[] = {"PATH=", "HOME=", "TMPDIR=", "TZ=", "LANG=", "USER="};
    for (size_t i = 0; i < array_len(names); i++)
        if (str_starts(entry, names[i]))
            return true;
    return false;
}

void foreign_environment(const struct pg *p, struct str_list *list, const char ***env)
{
    for (char **v = environ; *v != NULL; v++)
        if (!programs_need(*v))
            str_list_add_take(list, str_ndup(*v, strcspn(*v, "=")));
    str_list_add(list, "LC_MESSAGES=C");
    pg_environment(p, list);
    *env = mem_array(list->n + 1, sizeof **env);
    for (size_t i = 0; i < list->n; i++)
        (*env)[i] = list->s[i];
}

/* ---- what must be there before ---- */

static int make_roles(struct pg *p, const struct foreign *a, struct err *e)
{
    const struct str_list *roles = &a->facts.roles;
    for (size_t i = 0; i < roles->n; i++) {
        _cleanup_free_ char *one = NULL;
        const char *name = roles->s[i];
        int rc =
            pg_value(p, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &name, 1, &one, e);
        if (rc == ERR_NOT_FOUND) {
            *e = (struct err)ERR_INIT;
            rc = pg_execf(p, e, "CREATE ROLE %I", name);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- what the programs say ---- */

/* Collects warnings; *error gets the first error with what belongs to it. */
static void sort_out(const char *said, struct str_list *warnings, char **error)
{
    _cleanup_(buf_release) struct buf first = BUF_INIT(BUF_TEXT);
    for (const char *p = said; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
        _cleanup_(buf_release) struct buf line = BUF_INIT(BUF_TEXT);
        text_printable(p, strcspn(p, "\n"), &line);
        const char *text = buf_str(&line);
        bool is_error = strstr(text, "ERROR:") != NULL || strstr(text, "FATAL:") != NULL ||
                        strstr(text, "error:") != NULL;
        bool belongs = str_starts(text, "DETAIL:") || str_starts(text, "HINT:");
        if (first.len == 0 ? is_error : belongs && first.len < 600)
            buf_addf(&first, "%s%s", first.len > 0 ? "; " : "", text);
        else if (warnings != NULL && strstr(text, "WARNING:") != NULL && warnings->n < 100)
            str_list_add(warnings, strstr(text, "WARNING:") + strlen("WARNING:  "));
    }
    *error = first.len > 0 ? buf_take(&first) : NULL;
}

static int code_of(const char *said)
{
    if (strstr(said, "No space left") != NULL)
        return ERR_FULL;
    if (strstr(said, "permission denied") != NULL || strstr(said, "must be superuser") != NULL)
        return ERR_DENIED;
    return ERR_IO;
}

struct feed {
    const struct foreign *archive;
    struct proc *psql;
    struct buf out;
    bool without_roles;
    char key[33];      /* of \restrict; "" if psql has it not */
    uint64_t *connect; /* lines of the file for which psql was given three */
    size_t nconnect, cap;
};

/* The line of the file that psql's line `n` came from. */
static uint64_t file_line(const struct feed *f, uint64_t n)
{
    uint64_t added = 0;
    for (size_t i = 0; i < f->nconnect && n > f->connect[i] + added; i++, added += 2)
        if (n <= f->connect[i] + added + 2)
            return f->connect[i];
    return n - added;
}

/* `f` of psql; NULL of another program. */
static int load_failed(const struct foreign *a, struct proc *p, const struct foreign_load *l,
                       const struct feed *f, struct err *e)
{
    if (e->code != ERR_IO)
        return e->code;
    struct err ignored = ERR_INIT;
    if (proc_wait(p, 10000, &ignored) == ERR_CANCELLED) {
        *e = ignored;
        return e->code;
    }
    _cleanup_free_ char *said = proc_errors(p), *error = NULL;
    sort_out(said, l->warnings, &error);
    const char *where = error != NULL ? strstr(error, "<stdin>:") : NULL;
    if (where != NULL && f != NULL) {
        char *rest;
        uint64_t line = file_line(f, strtoull(where + 8, &rest, 10));
        return err_set(e, code_of(said), "%s, line %llu%s", a->path, (unsigned long long)line,
                       rest);
    }
    if (a->plain != NULL && foreign_damaged(a, error != NULL ? error : said, e) < 0)
        return e->code;
    if (error != NULL)
        return err_set(e, code_of(said), "%s: %s", a->path, error);
    return err_prefix(e, "%s", a->path);
}

/* ---- SQL ---- */

/* Whether psql has \restrict: with it, no command in the file reaches psql at all. */
static bool has_restrict(const char *psql)
{
    const char *argv[] = {psql, "--version", NULL};
    _cleanup_(buf_release) struct buf out = BUF_INIT(4096);
    struct err ignored = ERR_INIT;
    if (proc_capture(argv, 10000, &out, &ignored) < 0)
        return false;
    const char *p = strstr(buf_str(&out), ") ");
    char *end = NULL;
    long major = p != NULL ? strtol(p + 2, &end, 10) : 0;
    long minor = end != NULL && *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    static const int since[] = {[13] = 22, [14] = 19, [15] = 14, [16] = 10, [17] = 6};
    if (major < 13)
        return false;
    return major >= (long)array_len(since) || minor >= since[major];
}

static int feed_flush(struct feed *f, size_t least, struct err *e)
{
    if (f->out.len <= least)
        return 0;
    int rc = proc_feed(f->psql, f->out.data, f->out.len, e);
    buf_clear(&f->out);
    return rc;
}

/* To a database of the same server, and to no other place, whatever its name. The commands have a
 * line each: newer versions of psql take the rest of the line for the key. */
static void put_connect(struct feed *f, const char *name, uint64_t line)
{
    if (f->key[0] != '\0') {
        mem_grow(&f->connect, f->nconnect, &f->cap, sizeof *f->connect);
        f->connect[f->nconnect++] = line;
        buf_addf(&f->out, "\\unrestrict %s\n", f->key);
    }
    buf_adds(&f->out, "\\connect -reuse-previous=on \"dbname='");
    for (const char *p = name; *p != '\0'; p++)
        buf_addf(&f->out, "%s%c", *p == '\\' || *p == '\'' || *p == '"' ? "\\" : "", *p);
    buf_adds(&f->out, "'\"\n");
    if (f->key[0] != '\0')
        buf_addf(&f->out, "\\restrict %s\n", f->key);
}

/* CREATE ROLE postgres, which every pg_dumpall has. */
static bool makes_own_role(const struct pg *p, const struct sql_piece *piece)
{
    _cleanup_free_ char *line = str_ndup(piece->text, piece->len);
    _cleanup_free_ char *plain = str_fmt("CREATE ROLE %s;\n", pg_user(p));
    _cleanup_free_ char *quoted = str_fmt("CREATE ROLE \"%s\";\n", pg_user(p));
    return strcmp(line, plain) == 0 || strcmp(line, quoted) == 0;
}

static int feed_all(struct feed *f, struct stream *s, const struct pg *p, struct err *e)
{
    struct foreign_facts again = {0};
    _cleanup_(sql_scan_release) struct sql_scan scan;
    sql_scan_init(&scan, &again);
    _cleanup_(sql_lines_release) struct sql_lines lines = {.from = s};
    struct sql_piece piece;
    bool got = true;
    int rc = 0;
    while (rc == 0) {
        rc = sql_lines_next(&lines, &piece, &got, e);
        if (rc < 0 || !got)
            break;
        bool copy = scan.in_copy;
        enum sql_line what = sql_scan_piece(&scan, &piece);
        if (what == SQL_FORBIDDEN)
            rc = err_set(e, ERR_CHANGED, "%s changed while it was read", f->archive->path);
        else if (what == SQL_CONNECT)
            put_connect(f, scan.connect, scan.lines);
        else if (what == SQL_DROPPED || (f->without_roles && scan.rights && !copy) ||
                 (!copy && piece.first && str_starts(piece.text, "CREATE ROLE ") &&
                  makes_own_role(p, &piece)))
            buf_adds(&f->out, "\n"); /* so that line numbers stay */
        else
            rc = buf_append(&f->out, piece.text, piece.len, e);
        if (rc == 0)
            rc = feed_flush(f, 1 << 17, e);
    }
    foreign_facts_release(&again);
    return rc < 0 ? rc : feed_flush(f, 0, e);
}

static void make_key(char key[33])
{
    uint8_t random[16];
    key[0] = '\0';
    if (getrandom(random, sizeof random, 0) == (ssize_t)sizeof random)
        hex_encode(random, sizeof random, key);
}

static int load_sql(struct foreign *a, const struct foreign_load *l, struct pg *p,
                    const char *const *env, struct err *e)
{
    _cleanup_free_ char *psql = NULL, *restrict_key = NULL;
    int rc = pg_program("psql", 0, false, a->bindir, &psql, e);
    if (rc < 0)
        return rc;
    _cleanup_(proc_freep) struct proc *child = NULL;
    struct feed f = {.archive = a,
                     .without_roles = l->without_roles,
                     .out = BUF_INIT(BUF_TEXT * 4)};
    if (has_restrict(psql))
        make_key(f.key);
    const char *argv[16];
    size_t n = 0;
    argv[n++] = psql;
    argv[n++] = "-Xq";
    argv[n++] = "--set=ON_ERROR_STOP=1";
    if (l->one_transaction && !a->facts.connects && !a->facts.transactions)
        argv[n++] = "--single-transaction";
    if (f.key[0] != '\0') {
        restrict_key = str_fmt("\\restrict %s", f.key);
        argv[n++] = "-c";
        argv[n++] = restrict_key;
    }
    argv[n++] = "-f";
    argv[n++] = "-";
    argv[n] = NULL;
    struct proc_options o = {.argv = argv,
                             .env = env,
                             .dir = "/",
                             .in = PROC_IN_FEED,
                             .out = PROC_OUT_NULL,
                             .become = l->become,
                             .uid = l->uid,
                             .gid = l->gid};
    struct stream *s = NULL;
    rc = foreign_stream(a, &s, e);
    if (rc == 0 && (rc = proc_start(&o, &child, e)) < 0)
        stream_close(s);
    if (rc < 0)
        return rc;
    f.psql = child;
    rc = feed_all(&f, s, p, e);
    buf_release(&f.out);
    if (rc == 0) {
        proc_feed_end(child);
        rc = proc_wait(child, -1, e);
    }
    if (rc < 0)
        rc = load_failed(a, child, l, &f, e);
    free(f.connect);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *said = proc_errors(child), *error = NULL;
    sort_out(said, l->warnings, &error);
    return 0;
}

/* ---- the others ---- */

static int load_dump(struct foreign *a, const struct foreign_load *l, struct pg *p,
                     const char *const *env, struct err *e)
{
    _cleanup_free_ char *jobs = str_fmt("--jobs=%zu", l->jobs > 0 ? (size_t)l->jobs : cpu_count());
    bool parallel = a->facts.format != FOREIGN_TAR;
    /* Not by its name alone, which could be taken for an address. */
    _cleanup_(buf_release) struct buf name = BUF_INIT(BUF_TEXT);
    buf_adds(&name, "--dbname=dbname='");
    for (const char *c = pg_database(p); *c != '\0'; c++)
        buf_addf(&name, "%s%c", *c == '\\' || *c == '\'' ? "\\" : "", *c);
    buf_adds(&name, "'");
    const char *argv[] = {a->pg_restore,
                          "--exit-on-error",
                          buf_str(&name),
                          parallel ? jobs : "--no-password",
                          l->without_roles ? "--no-owner" : "--no-password",
                          l->without_roles ? "--no-privileges" : "--no-password",
                          a->plain,
                          NULL};
    struct proc_options o = {.argv = argv, .env = env, .out = PROC_OUT_NULL, .grace_ms = 5000};
    _cleanup_(proc_freep) struct proc *child = NULL;
    int rc = proc_start(&o, &child, e);
    if (rc == 0)
        rc = proc_wait(child, -1, e);
    if (rc < 0)
        return child != NULL ? load_failed(a, child, l, NULL, e) : rc;
    _cleanup_free_ char *said = proc_errors(child), *error = NULL;
    sort_out(said, l->warnings, &error);
    return 0;
}

int foreign_load(struct foreign *a, const struct foreign_load *l, struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = NULL;
    _cleanup_(pg_environment_release) struct str_list list = {0};
    _cleanup_free_ const char **env = NULL;
    int rc = pg_connect(l->to, &p, e);
    if (rc == 0)
        rc = l->without_roles ? 0 : make_roles(p, a, e);
    if (rc < 0)
        return rc;
    foreign_environment(p, &list, &env);
    return a->facts.format == FOREIGN_SQL ? load_sql(a, l, p, env, e) : load_dump(a, l, p, env, e);
}
