/* A table as the catalogue describes it, and what two descriptions of it have in common. The key is
 * the primary key, else a unique index over columns that are never NULL. */
#include "base/log.h"
#include "base/mem.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

void rows_table_release(struct rows_table *t)
{
    for (size_t i = 0; i < t->ncolumn; i++) {
        free(t->column[i].name);
        free(t->column[i].type);
        free(t->column[i].base);
    }
    free(t->column);
    free(t->schema);
    free(t->name);
    free(t->sql);
    free(t->only);
    str_list_release(&t->triggers);
    str_list_release(&t->trigger_states);
    *t = (struct rows_table){0};
}

int rows_session(struct pg *p, struct err *e)
{
    return pg_execf(p, e,
                    "SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; SET IntervalStyle = "
                    "'postgres'; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET "
                    "lc_monetary = 'C'; SET extra_float_digits = %d",
                    pg_version(p) >= 120000 ? 1 : 3);
}

/* ---- finding it ---- */

static int no_such_table(struct pg *p, const char *schema, const char *name, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *all = NULL;
    struct err ignored = ERR_INIT;
    _cleanup_(str_list_release) struct str_list names = {0};
    static const char sql[] =
        "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> "
        "'information_schema' LIMIT 5000";
    if (pg_query(p, sql, NULL, 0, &all, &ignored) == 0)
        for (size_t i = 0; i < pg_rows_count(all); i++)
            str_list_add(&names, pg_text(all, i, 0));
    const char *nearest = text_nearest(name, (const char *const *)names.s, names.n);
    (void)err_set(e, ERR_NOT_FOUND, "%s has no table %s%s%s", pg_where(p),
                  schema != NULL ? schema : "", schema != NULL ? "." : "", name);
    if (nearest != NULL && !str_eq(nearest, name))
        return err_hint(e, "did you mean %s?", nearest);
    return err_hint(e, "if it was dropped, `salvor restore --table` brings it back");
}

static int one_of_several(const struct pg_rows *r, const char *name, struct err *e)
{
    _cleanup_(buf_release) struct buf list = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < pg_rows_count(r) && i < 10; i++)
        buf_addf(&list, "%s%s", i > 0 ? ", " : "", pg_text(r, i, 0));
    return err_set(e, ERR_USAGE,
                   "several schemas have a table %s (%s); say which with --schema, or as "
                   "--table SCHEMA.%s",
                   name, buf_str(&list), name);
}

static int find_table(struct pg *p, const char *schema, const char *name, struct rows_table *t,
                      struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    static const char sql[] =
        "SELECT n.nspname, c.relname, c.oid, c.relkind, EXISTS (SELECT FROM pg_rewrite w "
        "WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '3')), EXISTS (SELECT FROM pg_index i WHERE "
        "i.indrelid = c.oid AND NOT i.indimmediate), quote_ident(n.nspname) || "
        "'.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ "
        "'^pg_(toast|temp)' AND CASE WHEN $1::text IS NOT NULL THEN n.nspname = $1 AND c.relname "
        "= $2::text ELSE n.nspname NOT IN ('pg_catalog', 'information_schema') AND (c.relname = $2 "
        "OR n.nspname || '.' || c.relname = $2) END ORDER BY c.relname = $2 DESC, 1";
    const char *params[] = {schema, name};
    int rc = pg_query(p, sql, params, 2, &r, e);
    if (rc < 0)
        return rc;
    if (pg_rows_count(r) == 0)
        return no_such_table(p, schema, name, e);
    if (pg_rows_count(r) > 1)
        return one_of_several(r, name, e);
    t->schema = str_dup(pg_text(r, 0, 0));
    t->name = str_dup(pg_text(r, 0, 1));
    t->oid = (unsigned)pg_int(r, 0, 2);
    t->kind = pg_text(r, 0, 3)[0];
    t->has_rules = pg_bool(r, 0, 4);
    t->deferrable = pg_bool(r, 0, 5);
    t->sql = str_dup(pg_text(r, 0, 6));
    t->only = t->kind == 'r' ? str_fmt("ONLY %s", t->sql) : str_dup(t->sql);
    if (t->kind != 'r' && t->kind != 'p')
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is a %s, not a table: name the table that its rows come from", t->sql,
                       t->kind == 'f' ? "foreign table" : "view");
    return 0;
}

/* ---- its columns and its key ---- */

static int load_columns(struct pg *p, struct rows_table *t, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    _cleanup_free_ char *oid = str_fmt("%u", t->oid);
    const char *params[] = {oid};
    /* Fields that not every version has are read through to_jsonb: NULL where there are none. */
    static const char sql[] =
        "WITH RECURSIVE up(att, oid, base) AS (SELECT a.attnum, t.oid, t.typbasetype FROM "
        "pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1::oid UNION ALL "
        "SELECT up.att, t.oid, t.typbasetype FROM up JOIN pg_type t ON t.oid = up.base) "
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN b.typnamespace = "
        "'pg_catalog'::regnamespace THEN b.typname ELSE '' END, a.attcollation IN (950, 951) OR "
        "a.attcollation = 100 AND d.datcollate IN ('C', 'POSIX') AND "
        "coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c', a.attnotnull, a.atthasdef OR "
        "coalesce(to_jsonb(a) ->> 'attidentity', '') <> '' OR t.typdefault IS NOT NULL, "
        "coalesce(to_jsonb(a) ->> 'attgenerated', '') <> '' "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN up ON up.att = a.attnum AND "
        "up.base = 0 JOIN pg_type b ON b.oid = up.oid, pg_database d WHERE a.attrelid = $1::oid "
        "AND a.attnum > 0 AND NOT a.attisdropped AND d.datname = current_database() ORDER BY "
        "a.attnum";
    int rc = pg_query(p, sql, params, 1, &r, e);
    if (rc < 0)
        return rc;
    t->ncolumn = pg_rows_count(r);
    t->column = mem_array(t->ncolumn + 1, sizeof *t->column);
    for (size_t i = 0; i < t->ncolumn; i++) {
        struct rows_column *c = &t->column[i];
        *c = (struct rows_column){.name = str_dup(pg_text(r, i, 0)),
                                  .type = str_dup(pg_text(r, i, 1)),
                                  .base = str_dup(pg_text(r, i, 2)),
                                  .in_c = pg_bool(r, i, 3),
                                  .not_null = pg_bool(r, i, 4),
                                  .filled = pg_bool(r, i, 5),
                                  .generated = pg_bool(r, i, 6),
                                  .common = !pg_bool(r, i, 6),
                                  .same_type = true};
    }
    return 0;
}

static int add_key(struct rows_table *t, const char *column, struct err *e)
{
    if (t->nkey == array_len(t->key))
        return err_set(e, ERR_LIMIT, "the key of %s has more than %zu columns", t->sql,
                       array_len(t->key));
    for (size_t i = 0; i < t->ncolumn; i++)
        if (str_eq(t->column[i].name, column)) {
            t->key[t->nkey++] = i;
            return 0;
        }
    return err_set(e, ERR_INTERNAL, "the key of %s has an unknown column %s", t->sql, column);
}

static int load_key(struct pg *p, struct rows_table *t, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    _cleanup_free_ char *oid = str_fmt("%u", t->oid);
    const char *params[] = {oid};
    static const char sql[] =
        "SELECT a.attname FROM (SELECT i.indrelid, i.indkey, coalesce((to_jsonb(i) ->> "
        "'indnkeyatts')::int, i.indnatts) AS n FROM pg_index i WHERE i.indrelid = $1::oid AND "
        "i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT "
        "EXISTS (SELECT FROM unnest(i.indkey) AS k JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = k WHERE NOT a.attnotnull) ORDER BY i.indisprimary DESC, i.indimmediate "
        "DESC, i.indnatts, i.indexrelid LIMIT 1) AS x CROSS JOIN LATERAL unnest(x.indkey) WITH "
        "ORDINALITY AS u(attnum, place) JOIN pg_attribute a ON a.attrelid = x.indrelid AND "
        "a.attnum = u.attnum WHERE u.place <= x.n ORDER BY u.place";
    int rc = pg_query(p, sql, params, 1, &r, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(r); i++)
        rc = add_key(t, pg_text(r, i, 0), e);
    return rc;
}

static int load_triggers(struct pg *p, struct rows_table *t, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    _cleanup_free_ char *oid = str_fmt("%u", t->oid);
    const char *params[] = {oid};
    int rc = pg_query(p,
                      "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = $1::oid AND NOT "
                      "tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 4 <> 0 ORDER BY 1",
                      params, 1, &r, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(r); i++) {
        str_list_add(&t->triggers, pg_text(r, i, 0));
        str_list_add(&t->trigger_states, pg_text(r, i, 1));
    }
    return rc;
}

int rows_table_load(struct pg *p, const char *schema, const char *name, struct rows_table *out,
                    struct err *e)
{
    *out = (struct rows_table){0};
    int rc = find_table(p, schema, name, out, e);
    if (rc == 0)
        rc = load_columns(p, out, e);
    if (rc == 0)
        rc = load_key(p, out, e);
    if (rc == 0)
        rc = load_triggers(p, out, e);
    if (rc < 0)
        rows_table_release(out);
    return rc;
}

/* ---- two of them ---- */

struct rows_column *rows_table_column(const struct rows_table *t, const char *name)
{
    for (size_t i = 0; i < t->ncolumn; i++)
        if (str_eq(t->column[i].name, name))
            return &t->column[i];
    return NULL;
}

static bool in_key(const struct rows_table *t, size_t column)
{
    for (size_t i = 0; i < t->nkey; i++)
        if (t->key[i] == column)
            return true;
    return false;
}

/* Whether keys of the one can be compared with keys of the other. */
static bool same_order(const struct rows_column *a, const struct rows_column *b)
{
    bool texts = (str_eq(a->base, "text") || str_eq(a->base, "varchar")) &&
                 (str_eq(b->base, "text") || str_eq(b->base, "varchar"));
    return a->same_type || texts ||
           (rows_key_class(a) == KEY_NUMBER && rows_key_class(b) == KEY_NUMBER);
}

static int match_column(struct rows_table *p, size_t i, const struct rows_column *old,
                        struct str_list *notes, struct err *e)
{
    struct rows_column *c = &p->column[i];
    c->common = old != NULL && !c->generated;
    c->same_type = old != NULL && str_eq(c->type, old->type);
    if (in_key(p, i) && (old == NULL || !same_order(c, old)))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: column %s of the key %s, so rows cannot be told apart by it; restore "
                       "the table beside (salvor restore --table) and compare by hand",
                       p->sql, c->name,
                       old == NULL ? "is not in the backup" : "has another type in the backup");
    if (c->generated)
        return 0;
    if (old == NULL && c->not_null && !c->filled)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: column %s is not in the backup, and must have a value that nothing "
                       "gives by default; restore the table beside (salvor restore --table), or "
                       "give the column a default",
                       p->sql, c->name);
    if (old == NULL)
        str_list_add_take(notes, str_fmt("%s: column %s is newer than the backup: rows put back "
                                         "get its default",
                                         p->sql, c->name));
    else if (!c->same_type)
        str_list_add_take(notes, str_fmt("%s: column %s is %s now and was %s: not compared, put "
                                         "back by its text",
                                         p->sql, c->name, c->type, old->type));
    return 0;
}

int rows_table_match(struct rows_table *production, const struct rows_table *backup,
                     struct str_list *notes, struct err *e)
{
    if (production->nkey == 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s has neither a primary key nor a unique index over columns that are "
                       "never NULL: its rows cannot be told apart; restore the table beside "
                       "(salvor restore --table)",
                       production->sql);
    for (size_t i = 0; i < production->ncolumn; i++) {
        int rc = match_column(production, i, rows_table_column(backup, production->column[i].name),
                              notes, e);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < backup->ncolumn; i++)
        if (rows_table_column(production, backup->column[i].name) == NULL)
            str_list_add_take(notes, str_fmt("%s: column %s of the backup is no more: its values "
                                             "are left out",
                                             production->sql, backup->column[i].name));
    return 0;
}
