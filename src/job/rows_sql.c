/* The SQL that tables, keys and foreign keys turn into. */
#include "base/mem.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

static bool one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(word, list[i]))
            return true;
    return false;
}

enum key_class rows_key_class(const struct rows_column *c)
{
    static const char *const number[] = {"int2", "int4", "int8", "oid", "numeric"};
    static const char *const time[] = {"date", "timestamp", "timestamptz"};
    if (one_of(c->base, number, array_len(number)))
        return KEY_NUMBER;
    return one_of(c->base, time, array_len(time)) ? KEY_TIME : KEY_BYTES;
}

static void add_column(struct buf *out, const struct rows_column *c, const char *alias)
{
    if (alias != NULL)
        pg_format(out, "%I.%I", alias, c->name);
    else
        pg_format(out, "%I", c->name);
}

void rows_key_sql(struct buf *out, const struct rows_column *c, const char *alias, bool plain)
{
    static const char *const native[] = {"uuid", "bytea", "bool"};
    static const char *const text[] = {"text", "varchar"};
    bool as_it_is = rows_key_class(c) != KEY_BYTES || one_of(c->base, native, array_len(native)) ||
                    (plain && c->in_c && one_of(c->base, text, array_len(text)));
    if (as_it_is) { /* an index on it serves */
        add_column(out, c, alias);
        return;
    }
    if (!plain)
        buf_adds(out, "pg_catalog.convert_to(");
    add_column(out, c, alias);
    buf_adds(out,
             plain ? "::pg_catalog.text COLLATE pg_catalog.\"C\"" : "::pg_catalog.text, 'UTF8')");
}

static bool is_key(const struct rows_table *t, size_t column)
{
    for (size_t i = 0; i < t->nkey; i++)
        if (t->key[i] == column)
            return true;
    return false;
}

static bool is_among(const struct rows_table *t, size_t i, enum rows_which which)
{
    const struct rows_column *c = &t->column[i];
    switch (which) {
    case ROWS_KEY: return is_key(t, i);
    case ROWS_COMMON: return c->common;
    case ROWS_COMPARED: return c->common && c->same_type && !is_key(t, i);
    case ROWS_STORED: return !c->generated;
    }
    return false;
}

size_t rows_columns_sql(struct buf *out, const struct rows_table *t, enum rows_which which,
                        const char *alias)
{
    size_t n = 0;
    if (which == ROWS_KEY) {
        for (; n < t->nkey; n++) {
            buf_adds(out, n > 0 ? ", " : "");
            add_column(out, &t->column[t->key[n]], alias);
        }
        return n;
    }
    for (size_t i = 0; i < t->ncolumn; i++)
        if (is_among(t, i, which)) {
            buf_adds(out, n++ > 0 ? ", " : "");
            add_column(out, &t->column[i], alias);
        }
    return n;
}

void rows_same_key_sql(struct buf *out, const struct rows_table *t, const char *a, const char *b)
{
    for (size_t i = 0; i < t->nkey; i++) {
        buf_adds(out, i > 0 ? " AND " : "");
        add_column(out, &t->column[t->key[i]], a);
        buf_adds(out, " = ");
        add_column(out, &t->column[t->key[i]], b);
    }
}

enum rows_digest rows_own_digest(const struct pg *p)
{
    return pg_version(p) >= 110000 ? ROWS_HASH : ROWS_MD5;
}

void rows_digest_sql(struct buf *out, enum rows_digest d, const struct rows_table *t,
                     enum rows_which which, const char *alias)
{
    _cleanup_(buf_release) struct buf list = BUF_INIT(BUF_TEXT);
    if (rows_columns_sql(&list, t, which, alias) == 0) {
        buf_adds(out, "''");
        return;
    }
    if (d == ROWS_HASH)
        buf_addf(out,
                 "pg_catalog.hashtextextended(ROW(%s)::pg_catalog.text COLLATE pg_catalog.\"C\", "
                 "0)",
                 buf_str(&list));
    else if (d == ROWS_MD5)
        buf_addf(out, "pg_catalog.md5(ROW(%s)::pg_catalog.text)", buf_str(&list));
    else
        buf_addf(out, "pg_catalog.md5(pg_catalog.convert_to(ROW(%s)::pg_catalog.text, 'UTF8'))",
                 buf_str(&list));
}

/* ---- foreign keys ---- */

static void link_release(struct rows_link *l)
{
    free(l->name);
    free(l->child_schema);
    free(l->child_name);
    free(l->child_sql);
    free(l->parent_sql);
    str_list_release(&l->column);
    str_list_release(&l->references);
    str_list_release(&l->op);
}

void rows_links_release(struct rows_links *l)
{
    for (size_t i = 0; i < l->n; i++)
        link_release(&l->l[i]);
    free(l->l);
    *l = (struct rows_links){0};
}

int rows_links_load(struct pg *p, struct rows_links *out, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    /* One row for each column; those that partitions inherit are said by their root. */
    static const char sql[] =
        "SELECT c.oid, c.conname, c.conrelid, c.confrelid, n.nspname, t.relname, c.confdeltype, "
        "a.attname, b.attname, 'OPERATOR(' || quote_ident(o.nspname) || '.' || q.oprname || ')', "
        "CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || quote_ident(n.nspname) || '.' || "
        "quote_ident(t.relname), CASE f.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || "
        "quote_ident(fn.nspname) || '.' || quote_ident(f.relname) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = "
        "t.relnamespace JOIN pg_class f ON f.oid = c.confrelid JOIN pg_namespace fn ON fn.oid = "
        "f.relnamespace CROSS JOIN LATERAL unnest(c.conkey, c.confkey, c.conpfeqop) WITH "
        "ORDINALITY AS u(x, y, op, place) JOIN pg_attribute a ON a.attrelid = c.conrelid AND "
        "a.attnum = u.x JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = u.y JOIN "
        "pg_operator q ON q.oid = u.op JOIN pg_namespace o ON o.oid = q.oprnamespace WHERE "
        "c.contype = 'f' AND coalesce(to_jsonb(c) ->> 'conparentid', '0') = '0' ORDER BY c.oid, "
        "u.place";
    int rc = pg_query(p, sql, NULL, 0, &r, e);
    int64_t last = 0;
    for (size_t i = 0; rc == 0 && i < pg_rows_count(r); i++) {
        if (pg_int(r, i, 0) != last || out->n == 0) {
            mem_grow(&out->l, out->n, &out->cap, sizeof *out->l);
            char action = pg_text(r, i, 6)[0];
            out->l[out->n++] = (struct rows_link){.name = str_dup(pg_text(r, i, 1)),
                                                  .child = (unsigned)pg_int(r, i, 2),
                                                  .parent = (unsigned)pg_int(r, i, 3),
                                                  .child_schema = str_dup(pg_text(r, i, 4)),
                                                  .child_name = str_dup(pg_text(r, i, 5)),
                                                  .child_sql = str_dup(pg_text(r, i, 10)),
                                                  .parent_sql = str_dup(pg_text(r, i, 11)),
                                                  .follows = action != 'n' && action != 'd'};
            last = pg_int(r, i, 0);
        }
        struct rows_link *l = &out->l[out->n - 1];
        str_list_add(&l->column, pg_text(r, i, 7));
        str_list_add(&l->references, pg_text(r, i, 8));
        str_list_add(&l->op, pg_text(r, i, 9));
    }
    return rc;
}

void rows_link_sql(struct buf *out, const struct rows_link *l, const char *parent,
                   const char *child)
{
    for (size_t i = 0; i < l->column.n; i++) {
        buf_adds(out, i > 0 ? " AND " : "");
        pg_format(out, "%I.%I %s %I.%I", parent, l->references.s[i], l->op.s[i], child,
                  l->column.s[i]);
    }
}
