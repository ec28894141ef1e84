/* A foreign archive into a new or empty database: built beside under a working name, as a backup of
 * our own is. */
#include "base/log.h"
#include "base/mem.h"
#include "target/foreign_int.h"
#include "target/postgres_int.h"

/* What is known of it, in the form in which backups of our own are described. The strings stay the
 * archive's. */
static void describe(const struct foreign_facts *f, struct postgres_manifest *m)
{
    *m = (struct postgres_manifest){.server_version = f->server_major * 10000,
                                    .database = f->database,
                                    .encoding = f->encoding,
                                    .roles = f->roles,
                                    .nextension = f->nextension};
    m->extension = mem_array(f->nextension + 1, sizeof *m->extension);
    for (size_t i = 0; i < f->nextension; i++) {
        m->extension[i].name = f->extension[i].name;
        m->extension[i].version = f->extension[i].version;
    }
}

static int see_that_it_fits(const struct postgres_restore *r, struct err *e)
{
    struct postgres_outlook look;
    int rc = target_postgres_look(r, &look, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < look.notes.n; i++)
        log_notice("%s", look.notes.s[i]);
    rc = target_postgres_ready(r, &look, e);
    if (rc == 0 && look.exists && !look.empty)
        rc = err_set(e, ERR_EXISTS,
                     "the database %s is not empty; restore under another name, or drop it",
                     r->database);
    postgres_outlook_release(&look);
    return rc;
}

static int build(struct foreign *a, const struct foreign_restore *o,
                 const struct postgres_restore *r, struct postgres_built *b, struct err *e)
{
    int rc = target_connect_beside(r->server, r->database, &b->beside, e);
    if (rc == 0)
        rc = working_claim(b->beside, &b->name, e);
    if (rc == 0)
        rc = pg_execf(b->beside, e, "CREATE DATABASE %I TEMPLATE template0 ENCODING %L", b->name,
                      r->manifest->encoding != NULL ? r->manifest->encoding : "UTF8");
    if (rc < 0)
        return rc;
    struct pg_server there = *r->server;
    there.database = b->name;
    struct foreign_load load = o->load;
    load.to = &there;
    rc = foreign_load(a, &load, e);
    return rc < 0 ? rc : target_postgres_publish(r, b, e);
}

int foreign_restore(struct foreign *a, const struct foreign_restore *o, struct err *e)
{
    const struct foreign_facts *f = foreign_facts(a);
    if (f->connects)
        return err_set(
            e, ERR_UNSUPPORTED,
            "%s makes its databases itself (pg_dumpall, or pg_dump --create): it goes to "
            "a server of its own with psql; `salvor test --from-file` tests it",
            a->path);
    struct postgres_manifest m;
    describe(f, &m);
    struct postgres_restore r = {.server = o->server,
                                 .database = o->database,
                                 .manifest = &m,
                                 .create_roles = o->create_roles,
                                 .without_roles = o->load.without_roles};
    struct postgres_built b = {.server = o->server};
    int rc = see_that_it_fits(&r, e);
    if (rc == 0 && !o->dry_run)
        rc = build(a, o, &r, &b, e);
    postgres_built_release(&b);
    free(m.extension);
    return rc;
}
