/* Testing an archive that salvor did not make: looked through, restored into a throwaway server,
 * counted. */
#include "base/log.h"
#include "base/mem.h"
#include "job/test_int.h"
#include "target/foreign.h"

#include <stdlib.h>

static void phase(const struct test_archive *o, const char *what)
{
    if (o->progress != NULL)
        atomic_store(&o->progress->phase, what);
}

static void note_facts(const struct foreign_facts *f, struct test_result *out)
{
    out->format = str_dup(foreign_format_name(f->format));
    out->layers = str_dup(f->layers);
    out->from = str_dup(f->server);
    out->program = str_dup(f->program);
    out->bytes = f->bytes;
    for (size_t i = 0; i < f->roles.n; i++)
        str_list_add(&out->roles, f->roles.s[i]);
    for (size_t i = 0; i < f->nextension; i++)
        str_list_add(&out->extensions, f->extension[i].name);
}

static int start_server(const struct test_archive *o, const struct foreign_facts *f,
                        struct sandbox **out, struct err *e)
{
    struct sandbox_extension *x = mem_array(f->nextension + 1, sizeof *x);
    for (size_t i = 0; i < f->nextension; i++)
        x[i] = (struct sandbox_extension){f->extension[i].name, f->extension[i].version};
    struct sandbox_postgres s = {
        .major = f->server_major,
        .or_newer = true,
        .dir = o->dir,
        .extensions = x,
        .nextensions = f->nextension,
    };
    int rc = sandbox_postgres_start(&s, out, e);
    free(x);
    if (rc == ERR_NOT_FOUND && f->server_major > 0)
        return err_prefix(e, "%s comes from PostgreSQL %s", o->path, f->server);
    return rc;
}

static int load(const struct test_archive *o, struct foreign *a, const struct sandbox *s,
                struct test_result *out, struct err *e)
{
    const struct foreign_facts *f = foreign_facts(a);
    struct foreign_restore r = {
        .server = sandbox_server(s),
        .database = f->database != NULL ? f->database : "restored",
        .create_roles = true,
        .load = {.one_transaction = true, .warnings = &out->warnings},
    };
    r.load.become = sandbox_user(s, &r.load.uid, &r.load.gid);
    phase(o, "restoring");
    struct timespec begun = clock_wall(&clock_system);
    int rc;
    if (f->connects) {
        r.load.to = sandbox_server(s);
        rc = foreign_load(a, &r.load, e);
    } else {
        rc = foreign_restore(a, &r, e);
    }
    out->restoring = timespec_diff(clock_wall(&clock_system), begun);
    return rc;
}

static int test(const struct test_archive *o, struct test_result *out, struct err *e)
{
    _cleanup_(sandbox_freep) struct sandbox *scratch = NULL, *s = NULL;
    _cleanup_(foreign_freep) struct foreign *a = NULL;
    phase(o, "looking through");
    int rc = sandbox_directory_start(o->dir, &scratch, e);
    if (rc < 0)
        return rc;
    struct foreign_options how = {.gpg_passphrase_file = o->passphrase_file,
                                  .scratch = sandbox_dir(scratch)};
    rc = foreign_open(o->path, &how, &a, e);
    if (rc < 0)
        return rc;
    note_facts(foreign_facts(a), out);
    phase(o, "starting a server");
    rc = start_server(o, foreign_facts(a), &s, e);
    if (rc < 0)
        return rc;
    out->server = str_fmt("%d", sandbox_major(s));
    rc = load(o, a, s, out, e);
    phase(o, "counting");
    if (rc == 0)
        rc = test_count_server(sandbox_server(s), out, e);
    if (rc < 0)
        return sandbox_explain(s, e);
    if (out->ntable == 0)
        str_list_add(&out->warnings, "there is no table in it");
    return test_verdict(out, o->path, e);
}

int job_test_archive(const struct test_archive *o, struct test_result *out, struct err *e)
{
    *out = (struct test_result){0};
    struct timespec begun = clock_wall(&clock_system);
    int rc = test(o, out, e);
    out->duration = timespec_diff(clock_wall(&clock_system), begun);
    return rc;
}
