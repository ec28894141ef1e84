/* salvor restore --from-file: an archive that something else made, into a new or empty database. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "client/postgres.h"
#include "sandbox/sandbox.h"
#include "target/foreign.h"

#include <string.h>

/* postgres:NAME is a database on the server that the PG* variables name. */
static int read_address(const char *to, const struct foreign_facts *f, struct pg_server *server,
                        char **database, struct err *e)
{
    bool name_only = str_starts(to, "postgres:") && !str_starts(to, "postgres://");
    if (name_only) {
        *database = str_dup(to + strlen("postgres:"));
        return **database != '\0' ? 0 : err_set(e, ERR_USAGE, "--to %s: which database?", to);
    }
    server->url = to;
    _cleanup_free_ char *url = NULL;
    int rc = pg_clean_url(to, &url, NULL, e);
    if (rc == 0)
        rc = pg_parse_url(url, database, NULL, NULL, e);
    if (rc == 0 && *database == NULL)
        *database = str_dup(f->database);
    if (rc == 0 && *database == NULL)
        rc = err_set(e, ERR_USAGE,
                     "--to names no database, and the archive does not tell what it was called; "
                     "write postgres://HOST/NAME");
    return rc;
}

static void tell_plan(const struct cli *c, const struct from_file *o, const struct foreign_facts *f,
                      const char *database)
{
    char size[24];
    if (c->json)
        return;
    printf("restore of  ");
    print_safe(stdout, o->path);
    printf(" (%s%s%s, %s%s%s)\ninto        the new or empty database ",
           foreign_format_name(f->format), *f->layers != '\0' ? ", " : "", f->layers,
           size_human(f->bytes, size), f->server != NULL ? ", from PostgreSQL " : "",
           f->server != NULL ? f->server : "");
    print_safe(stdout, database);
    printf("\n");
    (void)fflush(stdout);
}

static int tell_result(const struct cli *c, const struct from_file *o,
                       const struct foreign_facts *f, const char *database, int64_t took,
                       struct err *e)
{
    char text[32];
    if (!c->json) {
        printf("%s %s in %s\n", o->dry_run ? "would be:" : "done:", database,
               duration_human(took, text));
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "restore");
    json_begin_object(&l.json);
    json_text(&l.json, "file", o->path);
    json_text(&l.json, "format", foreign_format_name(f->format));
    json_text(&l.json, "layers", f->layers);
    json_text(&l.json, "from", f->server);
    json_text(&l.json, "database", database);
    json_u64(&l.json, "bytes", f->bytes);
    json_list(&l.json, "roles", &f->roles);
    json_double(&l.json, "seconds", (double)took / (double)NSEC_PER_SEC);
    json_bool(&l.json, "dry_run", o->dry_run);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

static int load(struct cli *c, struct foreign *a, const struct from_file *o, struct progress *p,
                struct err *e)
{
    const struct foreign_facts *f = foreign_facts(a);
    struct pg_server server = {.url = NULL};
    _cleanup_free_ char *database = NULL;
    _cleanup_(str_list_release) struct str_list warnings = {0};
    int rc = read_address(o->to, f, &server, &database, e);
    if (rc < 0)
        return rc;
    tell_plan(c, o, f, database);
    struct foreign_restore r = {.server = &server,
                                .database = database,
                                .create_roles = o->create_roles,
                                .dry_run = o->dry_run,
                                .load = {.without_roles = o->without_roles, .warnings = &warnings}};
    atomic_store(&p->phase, "restoring");
    struct timespec begun = clock_wall(&clock_system);
    rc = foreign_restore(a, &r, e);
    int64_t took = timespec_diff(clock_wall(&clock_system), begun);
    for (size_t i = 0; i < warnings.n; i++)
        log_warning("%s", warnings.s[i]);
    return rc < 0 ? rc : tell_result(c, o, f, database, took, e);
}

int restore_from_file(struct cli *c, const struct from_file *o, struct err *e)
{
    if (o->to == NULL)
        return err_set(e, ERR_USAGE,
                       "--from-file needs --to: the address of a new or empty database, such as "
                       "postgres://HOST/NAME; `salvor test --from-file` only tests it");
    struct progress p = {.phase = "looking through"};
    _cleanup_(sandbox_freep) struct sandbox *scratch = NULL;
    _cleanup_(foreign_freep) struct foreign *a = NULL;
    int rc = sandbox_directory_start(NULL, &scratch, e);
    if (rc < 0)
        return rc;
    struct foreign_options how = {.gpg_passphrase_file = o->passphrase_file,
                                  .scratch = sandbox_dir(scratch)};
    struct bar *bar = bar_start(c, &p, "restore");
    rc = foreign_open(o->path, &how, &a, e);
    if (rc == 0)
        rc = load(c, a, o, &p, e);
    bar_stop(bar);
    return rc;
}
