/* Which rows cannot be put back, and why. Asked before anything is inserted, so that one row that
 * cannot come back does not keep the others from it, and each is told its own reason. */
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

int rows_touch(struct pg *p, const char *sql, uint64_t *n, struct err *e)
{
    _cleanup_free_ char *count = NULL;
    _cleanup_(buf_release) struct buf all = BUF_INIT(BUF_TEXT);
    buf_addf(&all, "WITH touched AS (%s RETURNING 1) SELECT count(*) FROM touched", sql);
    int rc = pg_value(p, buf_str(&all), NULL, 0, &count, e);
    *n = rc == 0 && count != NULL ? strtoull(count, NULL, 10) : 0;
    return rc == 0 ? cancel_check(e) : rc;
}

/* "(a, b)=(" || x.a || ', ' || x.b || ')' with literals quoted: names the values in a reason. */
static void values_sql(struct buf *out, const struct str_list *names, const char *alias)
{
    _cleanup_(buf_release) struct buf list = BUF_INIT(BUF_TEXT);
    buf_adds(&list, "(");
    for (size_t i = 0; i < names->n; i++)
        buf_addf(&list, "%s%s", i > 0 ? ", " : "", names->s[i]);
    buf_adds(&list, ")=(");
    pg_format(out, "%L || pg_catalog.concat_ws(', '", buf_str(&list));
    for (size_t i = 0; i < names->n; i++)
        pg_format(out, ", %I.%I", alias, names->s[i]);
    buf_adds(out, ") || ')'");
}

/* ---- rows that are there ---- */

static int mark_there(struct rows *r, size_t i, struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    uint64_t n = 0;
    buf_addf(&sql,
             "UPDATE " ROWS_PUT " AS p SET salvor_why = 'a row with this key is there' FROM %s AS "
             "b WHERE ",
             i, t->only);
    rows_same_key_sql(&sql, t, "b", "p");
    return rows_touch(r->production, buf_str(&sql), &n, e);
}

static int mark_unique(struct rows *r, size_t i, const char *index, const struct str_list *columns,
                       struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    uint64_t n = 0;
    for (size_t k = 0; k < columns->n; k++) {
        const struct rows_column *c = rows_table_column(t, columns->s[k]);
        if (c == NULL || !c->common)
            return 0;
    }
    buf_addf(&sql, "UPDATE " ROWS_PUT " AS p SET salvor_why = ", i);
    pg_format(&sql, "%L || ", "another row has the same ");
    values_sql(&sql, columns, "p");
    pg_format(&sql, " || %L FROM %s AS b WHERE p.salvor_why IS NULL", "", t->only);
    for (size_t k = 0; k < columns->n; k++)
        pg_format(&sql, " AND b.%I = p.%I", columns->s[k], columns->s[k]);
    int rc = rows_touch(r->production, buf_str(&sql), &n, e);
    return rc < 0 ? err_prefix(e, "index %s", index) : 0;
}

/* Every unique index over plain columns; others speak up when the rows are inserted. */
static int mark_all_unique(struct rows *r, size_t i, struct err *e)
{
    static const char sql[] =
        "SELECT c.relname, a.attname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid CROSS "
        "JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS u(attnum, place) JOIN pg_attribute a ON "
        "a.attrelid = x.indrelid AND a.attnum = u.attnum WHERE x.indrelid = $1::oid AND "
        "x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL AND u.place "
        "<= coalesce((to_jsonb(x) ->> 'indnkeyatts')::int, x.indnatts) ORDER BY 1, u.place";
    _cleanup_(pg_rows_freep) struct pg_rows *all = NULL;
    _cleanup_free_ char *oid = str_fmt("%u", r->set[i].table.oid);
    const char *params[] = {oid};
    int rc = pg_query(r->production, sql, params, 1, &all, e);
    size_t n = rc == 0 ? pg_rows_count(all) : 0;
    for (size_t from = 0, to; rc == 0 && from < n; from = to) {
        _cleanup_(str_list_release) struct str_list columns = {0};
        for (to = from; to < n && str_eq(pg_text(all, to, 0), pg_text(all, from, 0)); to++)
            str_list_add(&columns, pg_text(all, to, 1));
        rc = mark_unique(r, i, pg_text(all, from, 0), &columns, e);
    }
    return rc;
}

/* ---- rows that need others ---- */

static int mark_orphans(struct rows *r, const struct rows_link *l, size_t i, uint64_t *n,
                        struct err *e)
{
    const struct rows_set *parent = rows_set_of(r, l->parent);
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql, "UPDATE " ROWS_PUT " AS c SET salvor_why = ", i);
    const char *table = l->parent_sql + (str_starts(l->parent_sql, "ONLY ") ? 5 : 0);
    pg_format(&sql, "'it refers to a row of ' || %L || ' that is not there: ' || ", table);
    values_sql(&sql, &l->column, "c");
    pg_format(&sql, " || %L WHERE c.salvor_why IS NULL", "");
    for (size_t k = 0; k < l->column.n; k++)
        pg_format(&sql, " AND c.%I IS NOT NULL", l->column.s[k]);
    buf_addf(&sql, " AND NOT EXISTS (SELECT FROM %s AS p WHERE ", l->parent_sql);
    rows_link_sql(&sql, l, "p", "c");
    buf_adds(&sql, ")");
    if (parent != NULL && parent->missing > 0) {
        buf_addf(&sql,
                 " AND NOT EXISTS (SELECT FROM " ROWS_PUT " AS p WHERE p.salvor_why IS NULL AND ",
                 (size_t)(parent - r->set));
        rows_link_sql(&sql, l, "p", "c");
        buf_adds(&sql, ")");
    }
    return rows_touch(r->production, buf_str(&sql), n, e);
}

static bool can_ask(const struct rows *r, const struct rows_link *l, const struct rows_set *child)
{
    const struct rows_set *parent = rows_set_of(r, l->parent);
    for (size_t k = 0; k < l->column.n; k++) {
        const struct rows_column *c = rows_table_column(&child->table, l->column.s[k]);
        const struct rows_column *p =
            parent != NULL ? rows_table_column(&parent->table, l->references.s[k]) : NULL;
        if (c == NULL || !c->common || (p != NULL && !p->common))
            return false;
    }
    return true;
}

/* A row that stays out may be what another one needs: until nothing is added. */
static int mark_all_orphans(struct rows *r, struct err *e)
{
    int rc = 0;
    for (uint64_t found = 1; rc == 0 && found > 0;) {
        found = 0;
        for (size_t k = 0; rc == 0 && k < r->links.n; k++) {
            const struct rows_link *l = &r->links.l[k];
            const struct rows_set *child = rows_set_of(r, l->child);
            uint64_t n = 0;
            if (child == NULL || child->missing == 0 || !can_ask(r, l, child))
                continue;
            rc = mark_orphans(r, l, (size_t)(child - r->set), &n, e);
            found += n;
        }
    }
    return rc;
}

int rows_find_reasons(struct rows *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->nset; i++) {
        if (r->set[i].missing == 0)
            continue;
        rc = mark_there(r, i, e);
        if (rc == 0)
            rc = mark_all_unique(r, i, e);
    }
    return rc == 0 ? mark_all_orphans(r, e) : rc;
}
