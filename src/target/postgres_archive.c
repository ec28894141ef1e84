/* The dump of a snapshot, by its own program. pg_restore takes the definitions and the data from
 * its standard input, so that the dump is never copied; only its beginning, which tells what is in
 * it, is kept in a private directory, since several workers cannot share a pipe. */
#include "base/file.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/work.h"
#include "target/postgres_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
    BITE = 256 << 10,
    LIST_MOST = 256 << 20,    /* bytes of a table of contents that we are ready to read */
    MAINTENANCE_MEMORY = 256, /* MiB for each index that is built */
};

/* ---- feeding ---- */

/* Gives the dump to a child until it has enough; `copy`, if not below 0, gets the same bytes. */
static int feed(const struct archive *a, struct proc *child, int copy, struct err *e)
{
    const struct target_content *c = a->restore->content;
    _cleanup_(stream_closep) struct stream *in = NULL;
    _cleanup_free_ char *data = mem_alloc(BITE);
    int rc = c->open(c->arg, a->restore->manifest->dump, &in, e);
    for (size_t got = 1; rc == 0 && got > 0;) {
        rc = stream_read(in, data, BITE, &got, e);
        if (rc == 0 && copy >= 0 && got > 0)
            rc = fd_write_all(copy, data, got, a->head, e);
        struct err closed = ERR_INIT;
        if (rc == 0 && got > 0 && proc_feed(child, data, got, &closed) < 0) {
            if (closed.code == ERR_CANCELLED) {
                *e = closed;
                return e->code;
            }
            break; /* it has what it wants, or failed: its end tells */
        }
    }
    proc_feed_end(child);
    return rc;
}

/* What a server says through pg_restore has a code of its own. */
static int judge(struct proc *child, struct err *e)
{
    int rc = proc_wait(child, -1, e);
    if (rc == ERR_IO && strstr(e->msg, "No space left on device") != NULL)
        rc = e->code = ERR_FULL;
    return rc;
}

/* ---- opening ---- */

static int make_dir(struct archive *a, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = path_join(tmp != NULL && *tmp != '\0' ? tmp : "/tmp", FILE_TEMP_PREFIX "XXXXXX");
    if (mkdtemp(dir) == NULL) {
        int rc = err_sys(e, errno, "cannot make %s for the dump's table of contents", dir);
        free(dir);
        return err_hint(e, "set TMPDIR to a directory that can be written"), rc;
    }
    a->dir = dir;
    a->head = path_join(dir, "head");
    return 0;
}

static int create(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : err_sys(e, errno, "cannot create %s", path);
}

static int read_list(struct archive *a, struct err *e)
{
    _cleanup_free_ char *path = path_join(a->dir, "list");
    _cleanup_close_ int head = -1, list = -1;
    if ((head = create(a->head, e)) < 0 || (list = create(path, e)) < 0)
        return e->code;
    const char *argv[] = {a->program, "--list", "--create", NULL};
    struct proc_options o = {.argv = argv, .in = PROC_IN_FEED, .out = PROC_OUT_FD, .out_fd = list};
    _cleanup_(proc_freep) struct proc *child = NULL;
    int rc = proc_start(&o, &child, e);
    if (rc == 0)
        rc = feed(a, child, head, e);
    if (rc == 0)
        rc = judge(child, e);
    if (rc < 0)
        return err_prefix(e, "the dump's table of contents");
    _cleanup_(buf_release) struct buf text = BUF_INIT(LIST_MOST);
    rc = file_read(path, &text, e);
    if (rc == 0)
        a->list = buf_take(&text);
    return rc;
}

int archive_open(struct archive *a, const struct postgres_restore *r, int major, struct err *e)
{
    *a = (struct archive){.restore = r};
    int dumped = r->manifest->server_version / 10000;
    int rc = pg_program("pg_restore", major > dumped ? major : dumped, false, r->server->bindir,
                        &a->program, e);
    if (rc == 0)
        rc = make_dir(a, e);
    if (rc == 0)
        rc = read_list(a, e);
    if (rc < 0)
        archive_close(a);
    return rc;
}

void archive_close(struct archive *a)
{
    struct err ignored = ERR_INIT;
    if (a->dir != NULL)
        (void)!dir_remove_all(a->dir, &ignored);
    free(a->program);
    free(a->dir);
    free(a->head);
    free(a->list);
    *a = (struct archive){0};
}

/* ---- parts of it ---- */

int archive_choose(const struct archive *a, archive_line_fn *wanted, void *arg, char **path,
                   struct err *e)
{
    _cleanup_free_ char *name = path_join(a->dir, "chosen.XXXXXX");
    _cleanup_(buf_release) struct buf text = BUF_INIT(LIST_MOST);
    for (const char *p = a->list; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        _cleanup_free_ char *line = str_ndup(p, len);
        if (*line != ';' && wanted(line, arg) && buf_printf(&text, e, "%s\n", line) < 0)
            return e->code;
        p += len + (p[len] == '\n');
    }
    _cleanup_close_ int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot create %s", name);
    int rc = fd_write_all(fd, text.data, text.len, name, e);
    if (rc == 0)
        *path = take(name);
    return rc;
}

/* "3362; 1262 16385 DATABASE - app app", "3364; 0 0 ACL - DATABASE app app" */
static bool about_database(const char *line, void *arg)
{
    (void)arg;
    const char *p = strchr(line, ';');
    for (int i = 0; p != NULL && i < 3; i++)
        p = strchr(p + 1, ' ');
    if (p == NULL)
        return false;
    static const char *const begin[] = {" DATABASE - ", " DATABASE PROPERTIES - ",
                                        " ACL - DATABASE ", " COMMENT - DATABASE ",
                                        " SECURITY LABEL - DATABASE "};
    for (size_t i = 0; i < array_len(begin); i++)
        if (str_starts(p, begin[i]))
            return true;
    return false;
}

int archive_properties(const struct archive *a, const char *name, struct str_list *out,
                       struct err *e)
{
    _cleanup_free_ char *chosen = NULL;
    _cleanup_(buf_release) struct buf text = BUF_INIT(LIST_MOST);
    int rc = archive_choose(a, about_database, NULL, &chosen, e);
    if (rc < 0)
        return rc;
    const char *argv[] = {a->program, "--create", "-L", chosen, "-f", "-", a->head, NULL};
    rc = proc_capture(argv, -1, &text, e);
    if (rc < 0)
        return rc;
    _cleanup_(str_list_release) struct str_list all = {0};
    statements_split(buf_str(&text), &all);
    for (size_t i = 0; i < all.n; i++) {
        char *renamed = statement_rename_database(all.s[i], name);
        if (renamed != NULL)
            str_list_add_take(out, renamed);
    }
    return 0;
}

/* ---- into a server ---- */

/* The environment of a connection, with what makes loading faster and is safe where the database
 * has no good name yet. */
static int environment(struct pg *to, struct str_list *out, struct err *e)
{
    _cleanup_free_ char *own = NULL;
    int rc = pg_value(to, "SELECT pg_size_bytes(current_setting('maintenance_work_mem')) / 1048576",
                      NULL, 0, &own, e);
    if (rc < 0)
        return rc;
    long mib = strtol(own != NULL ? own : "0", NULL, 10);
    pg_environment(to, out);
    /* Settings of the database hold already, and two of them must not. */
    char *more = str_fmt("-c default_transaction_read_only=off -c statement_timeout=0 "
                         "-c synchronous_commit=off -c maintenance_work_mem=%ldMB",
                         mib > MAINTENANCE_MEMORY ? mib : (long)MAINTENANCE_MEMORY);
    bool had = false;
    for (size_t i = 0; i < out->n && !had; i++)
        if (str_starts(out->s[i], "PGOPTIONS=")) {
            char *both = str_fmt("%s %s", out->s[i], more);
            free(out->s[i]);
            out->s[i] = both;
            had = true;
        }
    if (!had)
        str_list_add_take(out, str_fmt("PGOPTIONS=%s", more));
    free(more);
    return 0;
}

/* name -> dbname='name', as libpq wants it quoted. */
static char *conninfo(const char *database)
{
    struct buf text = BUF_INIT(BUF_TEXT);
    buf_adds(&text, "dbname='");
    for (const char *p = database; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            buf_adds(&text, "\\");
        buf_add(&text, p, 1);
    }
    buf_adds(&text, "'");
    return buf_take(&text);
}

int archive_restore(const struct archive *a, enum archive_section section, struct pg *to,
                    const char *chosen, struct err *e)
{
    static const char *const names[] = {
        [ARCHIVE_PRE_DATA] = "--section=pre-data",
        [ARCHIVE_DATA] = "--section=data",
        [ARCHIVE_POST_DATA] = "--section=post-data",
    };
    const struct postgres_restore *r = a->restore;
    _cleanup_(pg_environment_release) struct str_list env = {0};
    int rc = environment(to, &env, e);
    if (rc < 0)
        return rc;

    _cleanup_free_ char *database = conninfo(pg_database(to));
    _cleanup_free_ char *jobs = str_fmt("--jobs=%u", r->workers);
    const char *argv[16] = {a->program, names[section], "-d", database};
    size_t n = 4;
    if (!a->lenient)
        argv[n++] = "--exit-on-error";
    if (r->without_roles) {
        argv[n++] = "--no-owner";
        argv[n++] = "--no-privileges";
    }
    if (r->without_tablespaces)
        argv[n++] = "--no-tablespaces";
    if (chosen != NULL) {
        argv[n++] = "-L";
        argv[n++] = chosen;
    }
    bool feeding = section == ARCHIVE_DATA && !a->whole;
    if (section == ARCHIVE_POST_DATA && r->workers > 1)
        argv[n++] = jobs;
    if (!feeding)
        argv[n++] = a->head;
    _cleanup_free_ const char **variables = mem_array(env.n + 1, sizeof *variables);
    for (size_t i = 0; i < env.n; i++)
        variables[i] = env.s[i];
    struct proc_options o = {.argv = argv,
                             .env = variables,
                             .in = feeding ? PROC_IN_FEED : PROC_IN_NULL,
                             .out = PROC_OUT_NULL};
    _cleanup_(proc_freep) struct proc *child = NULL;
    rc = proc_start(&o, &child, e);
    if (rc == 0 && feeding)
        rc = feed(a, child, -1, e);
    return rc < 0 ? rc : judge(child, e);
}
