/* salvor test: restores a backup, or an archive that something else made, into something
 * throwaway, counts what came out, and deletes it again. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

struct args {
    const char *from_file, *passphrase_file, *snapshot, *at, *dir;
    bool partial;
};

static const struct option options[] = {
    {"from-file", 'f', OPTION_TEXT, offsetof(struct args, from_file), "FILE",
     "an archive of pg_dump or pg_dumpall instead"},
    {"passphrase-file", 0, OPTION_TEXT, offsetof(struct args, passphrase_file), "FILE",
     "opens an archive encrypted by gpg"},
    {"snapshot", 's', OPTION_TEXT, offsetof(struct args, snapshot), "ID",
     "this one (an id, a prefix, latest)"},
    {"at", 0, OPTION_TEXT, offsetof(struct args, at), "TIME",
     "as of then: 2026-11-20, 14:03, yesterday, 3h ago"},
    {"partial", 0, OPTION_FLAG, offsetof(struct args, partial), NULL,
     "partial snapshots count too"},
    {"dir", 0, OPTION_TEXT, offsetof(struct args, dir), "DIR",
     "restore below DIR, not $TMPDIR or /var/tmp"},
};

/* ---- telling ---- */

static void put_table(struct json_out *o, const struct test_table *t)
{
    json_begin_object(o);
    json_text(o, "database", t->database);
    json_text(o, "schema", t->schema);
    json_text(o, "name", t->name);
    json_u64(o, "rows", t->rows);
    json_key(o, "expected");
    if (t->expects)
        json_put_u64(o, t->expected);
    else
        json_put_null(o);
    json_u64(o, "bytes", t->bytes);
    json_end_object(o);
}

static int tell_json(const struct test_result *r, const char *what, bool good, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *o = &l.json;
    json_key(o, "test");
    json_begin_object(o);
    json_text(o, r->snapshot != NULL ? "resource" : "file", what);
    json_text(o, "snapshot", r->snapshot);
    json_bool(o, "good", good);
    json_text(o, "format", r->format);
    json_text(o, "layers", r->layers);
    json_text(o, "from", r->from);
    json_text(o, "program", r->program);
    json_text(o, "server", r->server);
    json_u64(o, "bytes", r->bytes);
    json_u64(o, "bytes_restored", r->bytes_now);
    json_u64(o, "files", r->files);
    json_u64(o, "rows", r->rows);
    json_double(o, "restore_seconds", (double)r->restoring / (double)NSEC_PER_SEC);
    json_double(o, "seconds", (double)r->duration / (double)NSEC_PER_SEC);
    json_list(o, "databases", &r->databases);
    json_list(o, "roles", &r->roles);
    json_list(o, "extensions", &r->extensions);
    json_list(o, "problems", &r->problems);
    json_list(o, "warnings", &r->warnings);
    json_key(o, "tables");
    json_begin_array(o);
    for (size_t i = 0; i < r->ntable; i++)
        put_table(o, &r->table[i]);
    json_end_array(o);
    json_end_object(o);
    return json_line_end(&l, e);
}

static void tell_tables(const struct test_result *r)
{
    static const char *const titles[] = {"DATABASE", "TABLE", ">ROWS", ">SIZE"};
    struct table t;
    table_init(&t, titles, array_len(titles));
    for (size_t i = 0; i < r->ntable; i++) {
        const struct test_table *x = &r->table[i];
        char size[24];
        _cleanup_free_ char *name = str_fmt("%s%s%s", x->schema != NULL ? x->schema : "",
                                            x->schema != NULL ? "." : "", x->name);
        _cleanup_free_ char *rows = x->expects && x->expected != x->rows
                                        ? str_fmt("%llu, not %llu", (unsigned long long)x->rows,
                                                  (unsigned long long)x->expected)
                                        : str_fmt("%llu", (unsigned long long)x->rows);
        table_add(&t, x->database);
        table_add(&t, name);
        table_add(&t, rows);
        table_add(&t, x->bytes > 0 ? size_human(x->bytes, size) : NULL);
    }
    table_print(&t, stdout);
    table_release(&t);
}

static void tell_list(const char *title, const struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        printf("%s%s", i == 0 ? title : ", ", "");
        print_safe(stdout, l->s[i]);
    }
    if (l->n > 0)
        printf("\n");
}

static void tell_origin(const struct test_result *r)
{
    char size[24], when[TIME_TEXT];
    printf("%s%s%s%s, %s", r->format, str_eq(r->layers, "") || r->layers == NULL ? "" : " (",
           r->layers != NULL ? r->layers : "",
           str_eq(r->layers, "") || r->layers == NULL ? "" : ")", size_human(r->bytes, size));
    if (r->snapshot != NULL)
        printf(", snapshot %.8s of %s", r->snapshot, time_format_human(r->time, false, when));
    if (r->from != NULL) {
        printf(", from %s", str_starts(r->from, "PostgreSQL") ? "" : "PostgreSQL ");
        print_safe(stdout, r->from);
    }
    printf("\n");
}

static void tell_text(const struct test_result *r, bool good)
{
    char size[24], took[32], all[32];
    tell_origin(r);
    if (r->ntable > 0)
        tell_tables(r);
    tell_list("roles       ", &r->roles);
    tell_list("extensions  ", &r->extensions);
    for (size_t i = 0; i < r->warnings.n; i++)
        log_warning("%s", r->warnings.s[i]);
    for (size_t i = 0; i < r->problems.n; i++)
        log_line(LOG_ERROR, "problem: %s", r->problems.s[i]);
    if (!good)
        return;
    printf("good: ");
    if (r->ntable > 0 || r->server != NULL)
        printf("%zu table%s with %llu row%s", r->ntable, r->ntable == 1 ? "" : "s",
               (unsigned long long)r->rows, r->rows == 1 ? "" : "s");
    else
        printf("%llu file%s", (unsigned long long)r->files, r->files == 1 ? "" : "s");
    printf(", %s", size_human(r->bytes_now, size));
    if (r->server != NULL)
        printf(", restored into PostgreSQL %s", r->server);
    printf(" in %s (%s in all)\n", duration_human(r->restoring, took),
           duration_human(r->duration, all));
}

/* What there is to tell, whether it was good or has problems; other failures tell themselves. */
static int tell(const struct cli *c, const struct test_result *r, const char *what, int rc,
                struct err *e)
{
    if (rc < 0 && r->problems.n == 0)
        return rc;
    struct err printing = ERR_INIT;
    if (!c->json)
        tell_text(r, rc == 0);
    else if (tell_json(r, what, rc == 0, &printing) < 0)
        *e = printing;
    return printing.code != 0 ? printing.code : rc;
}

/* ---- doing ---- */

static int test_file(struct cli *c, const struct args *a, struct err *e)
{
    struct progress p = {.phase = "looking through"};
    _cleanup_(test_result_release) struct test_result r = {.format = NULL};
    struct test_archive o = {.path = a->from_file,
                             .passphrase_file = a->passphrase_file,
                             .dir = a->dir,
                             .progress = &p};
    struct bar *bar = bar_start(c, &p, "test");
    int rc = job_test_archive(&o, &r, e);
    bar_stop(bar);
    return tell(c, &r, a->from_file, rc, e);
}

static int test_snapshot(struct cli *c, const struct args *a, const char *word, struct err *e)
{
    _cleanup_(job_freep) struct job *j = NULL;
    _cleanup_(test_result_release) struct test_result r = {.format = NULL};
    _cleanup_free_ char *resource = NULL;
    struct snapshot_query q = {.which = a->snapshot,
                               .has_at = a->at != NULL,
                               .partial_too = a->partial};
    if (a->at != NULL && !time_parse_human(a->at, clock_wall(&clock_system), &q.at))
        return err_set(e, ERR_USAGE,
                       "--at: \"%s\" is no time; write 2026-11-20, \"2026-11-20 14:03\", 14:03, "
                       "yesterday or \"3h ago\"",
                       a->at);
    int rc = cli_open(c, &j, e);
    if (rc == 0 && word != NULL)
        rc = cli_resource_name(c, word, &resource, e);
    if (rc < 0)
        return rc;
    struct bar *bar = bar_start(c, &j->progress, word != NULL ? word : "test");
    rc = job_test(j, resource, &q, a->dir, &r, e);
    bar_stop(bar);
    return tell(c, &r, resource, rc, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    if (a->from_file != NULL && (n > 0 || a->snapshot != NULL || a->at != NULL))
        return err_set(
            e, ERR_USAGE,
            "--from-file tests a file; a resource, --snapshot and --at do not go with it");
    if (a->at != NULL && a->snapshot != NULL)
        return err_set(e, ERR_USAGE, "--at and --snapshot exclude each other");
    if (a->from_file == NULL && n == 0 && a->snapshot == NULL)
        return err_set(e, ERR_USAGE,
                       "test what? name a resource (`salvor list` shows them), --snapshot ID, or "
                       "--from-file FILE");
    if (a->from_file != NULL)
        return test_file(c, a, e);
    return test_snapshot(c, a, n > 0 ? word[0] : NULL, e);
}

const struct command cmd_test = {
    .name = "test",
    .words = "[RESOURCE]",
    .summary = "restore a backup into something throwaway, and count",
    COMMAND_OPTIONS(options, struct args),
    .least = 0,
    .most = 1,
    .run = run,
};
