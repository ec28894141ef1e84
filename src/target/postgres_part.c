/* Single tables of a snapshot, on a throwaway server: all definitions, since a table may need types
 * and functions from anywhere, and then the rows of the tables that are asked for. Split tables
 * come straight from the repository; for others the dump is read through. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/postgres_int.h"

#include <stdlib.h>
#include <string.h>

struct postgres_part {
    struct postgres_restore restore;
    struct archive archive;
    struct pg *pg; /* connected to the database */
    bool made;
    char *why;              /* what could not be defined; NULL: nothing */
    struct str_list loaded; /* "schema.table" */
};

/* ---- making it ---- */

/* Byte order makes sorting by text keys cheap, and needs no locale of the source's. */
static int create_database(struct postgres_part *p, struct err *e)
{
    const struct postgres_restore *r = &p->restore;
    const char *encoding = r->manifest->encoding;
    _cleanup_(pg_freep) struct pg *beside = NULL;
    int rc = target_connect_beside(r->server, r->database, &beside, e);
    if (rc == 0)
        rc = pg_execf(beside, e,
                      "CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE 'C' LC_CTYPE "
                      "'C'",
                      r->database, encoding != NULL ? encoding : "UTF8");
    p->made = rc == 0;
    if (rc == 0)
        rc = target_connect(r->server, r->database, &p->pg, e);
    return rc;
}

static int define(struct postgres_part *p, struct err *e)
{
    int rc = archive_restore(&p->archive, ARCHIVE_PRE_DATA, p->pg, NULL, e);
    if (rc != ERR_IO)
        return rc;
    log_debug("%s", e->msg);
    p->why = str_dup(e->msg);
    *e = (struct err)ERR_INIT;
    return 0;
}

int target_postgres_part_new(const struct postgres_restore *r, struct postgres_part **out,
                             struct err *e)
{
    struct postgres_part *p = mem_zero(sizeof *p);
    p->restore = *r;
    p->restore.without_roles = p->restore.without_tablespaces = true;
    if (p->restore.workers == 0)
        p->restore.workers = (unsigned)cpu_count();
    int rc = create_database(p, e);
    if (rc == 0)
        rc = archive_open(&p->archive, &p->restore, pg_version(p->pg) / 10000, e);
    if (rc == 0) {
        p->archive.lenient = true;
        rc = define(p, e);
    }
    if (rc == 0)
        *out = p;
    else
        target_postgres_part_free(p);
    return rc;
}

void target_postgres_part_free(struct postgres_part *p)
{
    if (p == NULL)
        return;
    struct err why = ERR_INIT;
    struct pg *beside = NULL;
    pg_free(take(p->pg));
    if (p->made) {
        struct pg_server s = *p->restore.server;
        s.shielded = true;
        if (target_connect_beside(&s, p->restore.database, &beside, &why) < 0 ||
            working_drop(&s, beside, p->restore.database, &why) < 0)
            log_debug("%s: %s", p->restore.database, why.msg); /* it goes with the server */
        pg_free(beside);
    }
    archive_close(&p->archive);
    str_list_release(&p->loaded);
    free(p->why);
    free(p);
}

/* ---- rows ---- */

/* The table, or all partitions below it, as "schema", "table" in turn. */
static int tables_below(struct postgres_part *p, const char *schema, const char *table,
                        struct str_list *out, struct err *e)
{
    static const char sql[] =
        "WITH RECURSIVE part(oid) AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 UNION ALL SELECT i.inhrelid FROM "
        "part JOIN pg_class c ON c.oid = part.oid AND c.relkind = 'p' JOIN pg_inherits i ON "
        "i.inhparent = part.oid) SELECT n.nspname, c.relname, c.relkind FROM part JOIN pg_class c "
        "ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace";
    const char *params[] = {schema, table};
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p->pg, sql, params, 2, &r, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < pg_rows_count(r); i++) {
        if (pg_text(r, i, 2)[0] != 'r')
            continue;
        str_list_add(out, pg_text(r, i, 0));
        str_list_add(out, pg_text(r, i, 1));
    }
    return 0;
}

/* "3362; 0 16390 TABLE DATA public posts app" */
static bool is_data_of(const char *line, void *arg)
{
    const struct str_list *tables = arg;
    const char *p = strstr(line, " TABLE DATA ");
    for (size_t i = 0; p != NULL && i + 1 < tables->n; i += 2) {
        _cleanup_free_ char *want = str_fmt(" TABLE DATA %s %s ", tables->s[i], tables->s[i + 1]);
        if (str_starts(p, want))
            return true;
    }
    return false;
}

/* Splits of the wanted tables go into `split`, the others stay in `dumped`. */
static void sort_out(struct postgres_part *p, const struct str_list *tables,
                     struct postgres_table *split, size_t *nsplit, struct str_list *dumped)
{
    for (size_t i = 0; i + 1 < tables->n; i += 2) {
        _cleanup_free_ char *name = str_fmt("%s.%s", tables->s[i], tables->s[i + 1]);
        if (str_list_has(&p->loaded, name))
            continue;
        str_list_add(&p->loaded, name);
        const struct postgres_table *t =
            postgres_manifest_table(p->restore.manifest, tables->s[i], tables->s[i + 1]);
        if (t != NULL && t->split > 0) {
            split[(*nsplit)++] = *t;
            continue;
        }
        str_list_add(dumped, tables->s[i]);
        str_list_add(dumped, tables->s[i + 1]);
    }
}

int target_postgres_part_has(struct postgres_part *p, const char *schema, const char *table,
                             struct err *e)
{
    const char *params[] = {schema, table};
    _cleanup_free_ char *one = NULL;
    int rc = pg_value(p->pg,
                      "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                      "WHERE n.nspname = $1 AND c.relname = $2",
                      params, 2, &one, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (postgres_manifest_table(p->restore.manifest, schema, table) == NULL)
        return err_set(e, ERR_NOT_FOUND, "the backup has no table %s.%s", schema, table);
    return err_set(e, ERR_UNSUPPORTED, "table %s.%s cannot be made here: %s", schema, table,
                   p->why != NULL ? p->why : "the dump does not define it");
}

int target_postgres_part_load(struct postgres_part *p, const struct str_list *names, struct err *e)
{
    _cleanup_(str_list_release) struct str_list tables = {0}, dumped = {0};
    _cleanup_free_ char *chosen = NULL;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i + 1 < names->n; i += 2)
        rc = tables_below(p, names->s[i], names->s[i + 1], &tables, e);
    if (rc < 0)
        return rc;
    struct postgres_manifest manifest = *p->restore.manifest;
    struct postgres_restore restore = p->restore;
    struct archive archive = p->archive;
    _cleanup_free_ struct postgres_table *split = mem_array(tables.n + 1, sizeof *split);
    manifest.table = split;
    manifest.ntable = 0;
    restore.manifest = &manifest;
    archive.restore = &restore;
    archive.lenient = false;
    sort_out(p, &tables, split, &manifest.ntable, &dumped);
    if (dumped.n > 0)
        rc = archive_choose(&archive, is_data_of, &dumped, &chosen, e);
    if (rc == 0)
        rc =
            load_data(&archive, p->restore.database,
                      &(struct load_choice){.dump = chosen != NULL, .lines = chosen, .split = true},
                      e);
    return rc;
}
