/* Looking before leaping: what a restore is going to meet on a server. Nothing is changed here. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include <string.h>
#include <sys/statvfs.h>

void postgres_outlook_release(struct postgres_outlook *o)
{
    str_list_release(&o->sessions);
    str_list_release(&o->missing_roles);
    str_list_release(&o->missing_extensions);
    str_list_release(&o->missing_tablespaces);
    str_list_release(&o->in_the_way);
    str_list_release(&o->abandoned);
    str_list_release(&o->notes);
    free(o->no_space);
    free(o->unseen);
    *o = (struct postgres_outlook){0};
}

/* ---- the server ---- */

static int look_at_version(const struct postgres_restore *r, struct pg *p,
                           struct postgres_outlook *out, struct err *e)
{
    out->version = pg_version(p);
    int from = r->manifest->server_version / 10000, here = out->version / 10000;
    if (here < from)
        return err_set(
            e, ERR_REFUSED,
            "%s is PostgreSQL %d, older than %d, from which the backup was taken: it may "
            "not understand all of it; restore into PostgreSQL %d or newer",
            pg_where(p), here, from, from);
    _cleanup_free_ char *replica = NULL;
    int rc = pg_value(p, "SELECT pg_catalog.pg_is_in_recovery()::text", NULL, 0, &replica, e);
    if (rc == 0 && str_eq(replica, "true"))
        rc = err_set(e, ERR_REFUSED,
                     "%s is a standby and can only be read; restore into its primary", pg_where(p));
    return rc;
}

/* `sql` finds a row for each name that the server has. */
static int missing(struct pg *p, const char *sql, const struct str_list *wanted,
                   struct str_list *out, struct err *e)
{
    for (size_t i = 0; i < wanted->n; i++) {
        const char *name = wanted->s[i];
        _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
        int rc = pg_query(p, sql, &name, 1, &rows, e);
        if (rc < 0)
            return rc;
        if (pg_rows_count(rows) == 0)
            str_list_add(out, name);
    }
    return 0;
}

static int look_at_extensions(const struct postgres_restore *r, struct pg *p,
                              struct postgres_outlook *out, struct err *e)
{
    for (size_t i = 0; i < r->manifest->nextension; i++) {
        const struct postgres_extension *x = &r->manifest->extension[i];
        const char *name = x->name;
        _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
        int rc = pg_query(p,
                          "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE "
                          "name = $1",
                          &name, 1, &rows, e);
        if (rc < 0)
            return rc;
        if (pg_rows_count(rows) == 0)
            str_list_add_take(&out->missing_extensions, x->version != NULL
                                                            ? str_fmt("%s %s", x->name, x->version)
                                                            : str_dup(x->name));
        else if (x->version != NULL && !str_eq(x->version, pg_text(rows, 0, 0)))
            str_list_add_take(&out->notes, str_fmt("extension %s is %s here, %s in the backup",
                                                   x->name, pg_text(rows, 0, 0), x->version));
    }
    return 0;
}

static int look_at_needs(const struct postgres_restore *r, struct pg *p,
                         struct postgres_outlook *out, struct err *e)
{
    int rc = 0;
    if (!r->without_roles)
        rc = missing(p, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &r->manifest->roles,
                     &out->missing_roles, e);
    if (rc == 0)
        rc = missing(p, "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = $1",
                     &r->manifest->tablespaces, &out->missing_tablespaces, e);
    if (rc == 0)
        rc = look_at_extensions(r, p, out, e);
    return rc;
}

/* Space can be seen only where the server's disk is ours too. The size that the database had may be
 * mostly bloat, so that only a clear lack is refused. */
static void look_at_space(const struct postgres_restore *r, struct pg *p,
                          struct postgres_outlook *out)
{
    _cleanup_free_ char *dir = NULL;
    struct err ignored = ERR_INIT;
    struct statvfs fs;
    if (pg_value(p,
                 "SELECT CASE WHEN pg_catalog.inet_server_addr() IS NULL THEN "
                 "pg_catalog.current_setting('data_directory', true) END",
                 NULL, 0, &dir, &ignored) < 0 ||
        dir == NULL || statvfs(dir, &fs) < 0 || r->some_tables)
        return;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize, need = r->manifest->bytes;
    char has[24], wants[24];
    if (free_bytes < need / 2)
        out->no_space = str_fmt(
            "%s has %s free in %s, and the database had %s; make room there, or restore into "
            "another server with --to",
            pg_where(p), size_human(free_bytes, has), dir, size_human(need, wants));
    else if (free_bytes < need)
        str_list_add_take(&out->notes,
                          str_fmt("%s has only %s free, and the database had %s", dir,
                                  size_human(free_bytes, has), size_human(need, wants)));
}

/* ---- the database that is there ---- */

/* Anything that somebody made: not what comes with every database or with an extension. */
static const char anything_sql[] =
    "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
    "c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND "
    "d.objid = c.oid AND d.deptype = 'e'))"
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_proc c JOIN pg_catalog.pg_namespace n ON n.oid = "
    "c.pronamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND "
    "d.objid = c.oid AND d.deptype = 'e'))"
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_type c JOIN pg_catalog.pg_namespace n ON n.oid = "
    "c.typnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS "
    "(SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass AND "
    "d.objid = c.oid AND d.deptype IN ('e', 'i')))"
    " OR EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata)";

/* One that is broken is what a restore in place is for: it counts as not empty, and is kept. */
static int look_inside(const struct postgres_restore *r, struct postgres_outlook *out,
                       struct err *e)
{
    _cleanup_(pg_freep) struct pg *in = NULL;
    _cleanup_free_ char *anything = NULL;
    int rc = target_connect(r->server, r->database, &in, e);
    if (rc == 0)
        rc = pg_value(in, anything_sql, NULL, 0, &anything, e);
    out->empty = rc == 0 && str_eq(anything, "f");
    if (rc == 0 || rc == ERR_CANCELLED || rc == ERR_TIMEOUT)
        return rc;
    out->unseen = str_dup(e->msg);
    str_list_add_take(&out->notes,
                      str_fmt("the one that is there cannot be looked into: %s", e->msg));
    *e = (struct err)ERR_INIT;
    return 0;
}

static int look_in_the_way(const struct postgres_restore *r, struct pg *beside,
                           struct postgres_outlook *out, struct err *e)
{
    const char *name = r->database;
    int rc = target_query_list(beside,
                               "SELECT 'the logical replication slot ' || slot_name FROM "
                               "pg_catalog.pg_replication_slots WHERE database = $1 UNION ALL "
                               "SELECT 'the prepared transaction ' || gid FROM "
                               "pg_catalog.pg_prepared_xacts WHERE database = $1",
                               &name, 1, &out->in_the_way, e);
    struct err denied = ERR_INIT; /* only a superuser sees them; only he could have made any */
    if (rc == 0)
        (void)!target_query_list(beside,
                                 "SELECT 'the subscription ' || subname FROM "
                                 "pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON "
                                 "d.oid = s.subdbid WHERE d.datname = $1",
                                 &name, 1, &out->in_the_way, &denied);
    return rc;
}

static int look_at_database(const struct postgres_restore *r, struct pg *beside,
                            struct postgres_outlook *out, struct err *e)
{
    const char *name = r->database;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = pg_query(beside,
                      "SELECT pg_catalog.pg_database_size(oid), datallowconn, datistemplate FROM "
                      "pg_catalog.pg_database WHERE datname = $1",
                      &name, 1, &rows, e);
    if (rc < 0 || pg_rows_count(rows) == 0)
        return rc;
    out->exists = true;
    out->old_bytes = (uint64_t)pg_int(rows, 0, 0);
    if (pg_bool(rows, 0, 2))
        return err_set(e, ERR_REFUSED,
                       "%s on %s is a template database; nothing is restored over it", name,
                       pg_where(beside));
    if (!pg_bool(rows, 0, 1))
        return err_set(e, ERR_REFUSED,
                       "%s on %s allows no connections, so nobody can see what is in it; to allow "
                       "them: ALTER DATABASE %s ALLOW_CONNECTIONS true",
                       name, pg_where(beside), name);
    rc = target_query_list(
        beside,
        "SELECT pg_catalog.concat(usename, ' from ', coalesce(client_addr::text, 'the socket'),"
        " ' (', application_name, '), ', state) FROM pg_catalog.pg_stat_activity WHERE "
        "datname = $1 AND backend_type = 'client backend' ORDER BY backend_start",
        &name, 1, &out->sessions, e);
    if (rc == 0)
        rc = look_inside(r, out, e);
    return rc < 0 || out->empty ? rc : look_in_the_way(r, beside, out, e);
}

int target_postgres_look(const struct postgres_restore *r, struct postgres_outlook *out,
                         struct err *e)
{
    *out = (struct postgres_outlook){.empty = true};
    _cleanup_(pg_freep) struct pg *beside = NULL;
    int rc = target_connect_beside(r->server, r->database, &beside, e);
    if (rc == 0)
        rc = pg_refuse_pooler(beside, e);
    if (rc == 0)
        rc = look_at_version(r, beside, out, e);
    if (rc == 0)
        rc = look_at_needs(r, beside, out, e);
    if (rc == 0) {
        look_at_space(r, beside, out);
        rc = look_at_database(r, beside, out, e);
    }
    if (rc == 0)
        rc = working_abandoned(beside, &out->abandoned, e);
    if (rc < 0)
        postgres_outlook_release(out);
    return rc;
}

int target_postgres_ready(const struct postgres_restore *r, const struct postgres_outlook *o,
                          struct err *e)
{
    _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
    if (o->no_space != NULL)
        return err_set(e, ERR_FULL, "%s", o->no_space);
    if (o->missing_extensions.n > 0) {
        target_name_some(&o->missing_extensions, &names);
        return err_set(
            e, ERR_REFUSED,
            "the server lacks the extension%s %s, which the backup uses; install %s there "
            "(on Debian a package postgresql-%d-...) and try again; nothing was touched",
            o->missing_extensions.n == 1 ? "" : "s", buf_str(&names),
            o->missing_extensions.n == 1 ? "it" : "them", o->version / 10000);
    }
    if (o->missing_roles.n > 0 && !r->create_roles && !r->without_roles) {
        target_name_some(&o->missing_roles, &names);
        return err_set(e, ERR_REFUSED,
                       "the server lacks the role%s %s, which own things or have rights in the "
                       "backup; --create-roles makes them, --without-roles restores without owners "
                       "and rights; nothing was touched",
                       o->missing_roles.n == 1 ? "" : "s", buf_str(&names));
    }
    return 0;
}
