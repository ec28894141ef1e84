/* Looking before leaping: what a restore is going to meet on a server. Nothing is changed here. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include <string.h>
#include <sys/statvfs.h>

void postgres_outlook_release(struct postgres_outlook *o)
{
    str_list_release(&o->outfit);
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

/* Anything that somebody made: not what comes with every database (its number is below 16384) or
 * with an extension ('e'), nor what belongs to something else ('i', indexes) or to a session. */
static const struct {
    const char *table, *but;
} catalogues[] = {
    {"pg_class", "relkind NOT IN ('i', 'I', 't') AND relpersistence <> 't'"},
    {"pg_namespace", "nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp_'"},
    {"pg_proc", "true"},
    {"pg_type", "true"},
    {"pg_largeobject_metadata", "true"},
    {"pg_foreign_data_wrapper", "true"},
    {"pg_foreign_server", "true"},
    {"pg_publication", "true"},
    {"pg_event_trigger", "true"},
    {"pg_language", "true"},
    {"pg_cast", "true"},
    {"pg_transform", "true"},
    {"pg_operator", "true"},
    {"pg_opfamily", "true"},
    {"pg_am", "true"},
    {"pg_collation", "true"},
    {"pg_conversion", "true"},
    {"pg_statistic_ext", "true"},
    {"pg_ts_config", "true"},
    {"pg_ts_dict", "true"},
    {"pg_ts_parser", "true"},
    {"pg_ts_template", "true"},
};

static int holds_nothing(struct pg *in, bool *empty, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *anything = NULL;
    for (size_t i = 0; i < array_len(catalogues); i++)
        buf_addf(&sql,
                 "%s EXISTS (SELECT 1 FROM pg_catalog.%s c WHERE c.oid >= 16384 AND %s AND NOT "
                 "EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = "
                 "'pg_catalog.%s'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i')))",
                 i == 0 ? "SELECT" : " OR", catalogues[i].table, catalogues[i].but,
                 catalogues[i].table);
    int rc = pg_value(in, buf_str(&sql), NULL, 0, &anything, e);
    *empty = rc == 0 && str_eq(anything, "f");
    return rc;
}

int database_empty(const struct pg_server *s, const char *database, bool *empty, struct err *e)
{
    _cleanup_(pg_freep) struct pg *in = NULL;
    int rc = target_connect(s, database, &in, e);
    return rc < 0 ? rc : holds_nothing(in, empty, e);
}

/* What a database has beside its contents; without them an empty one can matter to somebody. */
static const char outfit_sql[] =
    "SELECT 'the owner ' || pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE "
    "datname = pg_catalog.current_database()"
    " UNION ALL SELECT 'the rights ' || datacl::text FROM pg_catalog.pg_database WHERE datname = "
    "pg_catalog.current_database() AND datacl IS NOT NULL"
    " UNION ALL SELECT 'the tablespace ' || spcname FROM pg_catalog.pg_database d JOIN "
    "pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE datname = "
    "pg_catalog.current_database() AND spcname <> 'pg_default'"
    " UNION ALL SELECT 'the limit of ' || datconnlimit || ' connections' FROM "
    "pg_catalog.pg_database WHERE datname = pg_catalog.current_database() AND datconnlimit <> -1"
    " UNION ALL SELECT 'the setting ' || s FROM (SELECT pg_catalog.unnest(setconfig) AS s FROM "
    "pg_catalog.pg_db_role_setting r JOIN pg_catalog.pg_database d ON d.oid = r.setdatabase WHERE "
    "datname = pg_catalog.current_database()) x"
    " UNION ALL SELECT 'the extension ' || extname FROM pg_catalog.pg_extension WHERE extname <> "
    "'plpgsql'"
    " UNION ALL SELECT DISTINCT 'default privileges of ' || "
    "pg_catalog.pg_get_userbyid(defaclrole) FROM pg_catalog.pg_default_acl";

/* One that is broken is what a restore in place is for: it counts as not empty, and is kept. */
static int look_inside(const struct postgres_restore *r, struct postgres_outlook *out,
                       struct err *e)
{
    _cleanup_(pg_freep) struct pg *in = NULL;
    int rc = target_connect(r->server, r->database, &in, e);
    out->empty = false;
    if (rc == 0)
        rc = holds_nothing(in, &out->empty, e);
    if (rc == 0 && out->empty)
        rc = target_query_list(in, outfit_sql, NULL, 0, &out->outfit, e);
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
