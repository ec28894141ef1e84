/* Data, side by side: each split table over a connection of its own, straight out of the
 * repository, and what is in the dump through pg_restore. A table goes into one COPY transaction
 * that empties it first: then the server may write its rows frozen, and where its settings allow,
 * without a log. (Two connections into one table are not faster than one: they wait for each
 * other.)
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/postgres_int.h"

#include <stdlib.h>
#include <string.h>

struct load {
    const struct archive *archive;
    const struct postgres_restore *restore;
    const char *database;
    const struct load_choice *choice;
};

struct load_item {
    const struct postgres_table *table; /* NULL: the dump */
    uint64_t bytes;
};

static int copy_part(const struct load *l, struct pg *p, const char *sql, const char *path,
                     uint64_t *rows, struct err *e)
{
    const struct target_content *c = l->restore->content;
    _cleanup_(stream_closep) struct stream *in = NULL;
    int rc = c->open(c->arg, path, &in, e);
    if (rc == 0)
        rc = pg_copy_in_stream(p, sql, in, e);
    if (rc == 0)
        *rows += pg_copy_rows(p);
    return rc;
}

static int copy_table(const struct load *l, struct pg *p, const struct postgres_table *t,
                      struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    const char *schema = l->choice->schema != NULL ? l->choice->schema : t->schema;
    postgres_copy_sql(t, schema, &sql);
    /* Parts are in the encoding of the database that they came from. */
    if (l->restore->manifest->encoding != NULL)
        pg_format(&sql, " WITH (FREEZE, ENCODING %L)", l->restore->manifest->encoding);
    else
        buf_adds(&sql, " WITH (FREEZE)");
    uint64_t rows = 0;
    int rc = pg_exec(p, "SET synchronous_commit = off; SET default_transaction_read_only = off", e);
    if (rc == 0)
        rc = pg_execf(p, e, "BEGIN; TRUNCATE ONLY %I.%I", schema, t->name);
    for (unsigned i = 1; rc == 0 && i <= t->parts; i++) {
        _cleanup_free_ char *path = postgres_part_path(t->split, i);
        rc = copy_part(l, p, buf_str(&sql), path, &rows, e);
    }
    if (rc == 0 && t->has_rows && rows != t->rows)
        rc = err_set(e, ERR_CORRUPT,
                     "%llu rows came, but the backup says that there were %llu; `salvor verify` "
                     "tells whether the snapshot is whole",
                     (unsigned long long)rows, (unsigned long long)t->rows);
    if (rc == 0)
        rc = pg_exec(p, "COMMIT", e);
    return rc < 0 ? err_prefix(e, "table %s.%s", t->schema, t->name) : 0;
}

static int load_item(void *item, void *arg, struct err *e)
{
    const struct load *l = arg;
    const struct load_item *i = item;
    _cleanup_(pg_freep) struct pg *p = NULL;
    int rc = target_connect(l->restore->server, l->database, &p, e);
    if (rc < 0)
        return rc;
    if (i->table != NULL)
        return copy_table(l, p, i->table, e);
    return archive_restore(l->archive, ARCHIVE_DATA, p, l->choice->lines, e);
}

static int by_bytes(const void *a, const void *b)
{
    const struct load_item *x = a, *y = b;
    return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

static uint64_t size_of(const struct target_content *c, const char *path)
{
    for (size_t i = 0; i < c->nfile; i++)
        if (strcmp(c->file[i].path, path) == 0)
            return c->file[i].size;
    return 0;
}

int load_data(const struct archive *a, const char *database, const struct load_choice *c,
              struct err *e)
{
    const struct postgres_restore *r = a->restore;
    const struct postgres_manifest *m = r->manifest;
    struct load l = {.archive = a, .restore = r, .database = database, .choice = c};
    _cleanup_free_ struct load_item *item = mem_array(m->ntable + 1, sizeof *item);
    size_t n = 0;
    if (c->dump)
        item[n++] = (struct load_item){.bytes = size_of(r->content, m->dump)};
    for (size_t i = 0; i < m->ntable; i++)
        if (c->split && m->table[i].split > 0 && (c->table == NULL || c->table[i]))
            item[n++] = (struct load_item){.table = &m->table[i], .bytes = m->table[i].bytes};
    qsort(item, n, sizeof *item, by_bytes); /* the longest first, so that none is left over */

    if (n == 0)
        return 0;
    struct pool *pool = pool_new(r->workers < n ? r->workers : n, n, load_item, NULL, &l);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = pool_submit(pool, &item[i], e);
    struct err why = ERR_INIT;
    if (pool_wait(pool, &why) < 0) {
        *e = why;
        rc = e->code;
    }
    pool_free(pool);
    return rc;
}

/* ---- statistics ---- */

/* Without statistics a database is slow, not lost: an expression of CREATE STATISTICS may fail. */
static int analyze_item(void *item, void *arg, struct err *e)
{
    const struct load *l = arg;
    _cleanup_(pg_freep) struct pg *p = NULL;
    int rc = target_connect(l->restore->server, l->database, &p, e);
    if (rc < 0 || (rc = pg_exec(p, item, e)) == 0 || rc == ERR_CANCELLED ||
        str_eq(pg_sqlstate(p), ""))
        return rc;
    log_warning("%s: ANALYZE failed, so that some statistics are missing: %s", pg_where(p), e->msg);
    *e = (struct err)ERR_INIT;
    return 0;
}

int analyze_all(const struct postgres_restore *r, struct pg *p, struct err *e)
{
    struct load l = {.restore = r, .database = pg_database(p)};
    _cleanup_(str_list_release) struct str_list sql = {0};
    /* A root takes its partitions along. Large tables one by one, the longest first; small ones a
     * hundred at a time. */
    int rc = target_query_list(
        p,
        "SELECT pg_catalog.string_agg(pg_catalog.format('ANALYZE %I.%I', nspname, relname), '; ') "
        "FROM (SELECT n.nspname, c.relname, c.relkind <> 'p' AS leaf, s.bytes, CASE WHEN "
        "s.bytes > 8000000 OR c.relkind = 'p' THEN c.oid::bigint ELSE - "
        "(pg_catalog.row_number() OVER (ORDER BY s.bytes) / 100) END AS batch FROM "
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, "
        "LATERAL (SELECT pg_catalog.pg_relation_size(c.oid) AS bytes) AS s WHERE "
        "c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relispopulated AND n.nspname "
        "NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't') AS tables GROUP BY "
        "batch ORDER BY pg_catalog.bool_and(leaf), pg_catalog.sum(bytes) DESC",
        NULL, 0, &sql, e);
    if (rc < 0)
        return rc;
    struct pool *pool = pool_new(r->workers, r->workers, analyze_item, NULL, &l);
    for (size_t i = 0; rc == 0 && i < sql.n; i++)
        rc = pool_submit(pool, sql.s[i], e);
    struct err why = ERR_INIT;
    if (pool_wait(pool, &why) < 0) {
        *e = why;
        rc = e->code;
    }
    pool_free(pool);
    return rc;
}
