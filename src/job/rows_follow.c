/* Follows foreign keys from missing rows to those that went with them: whoever referred to a row
 * that is gone is gone too, unless it is still there under its own key, pointing elsewhere. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 5000 }; /* rows that are asked for at once */

struct rows_set *rows_set_of(const struct rows *r, unsigned oid)
{
    for (size_t i = 0; i < r->nset; i++)
        if (r->set[i].table.oid == oid)
            return &r->set[i];
    return NULL;
}

/* ---- a table more ---- */

static int describe(struct rows *r, const struct rows_link *l, struct rows_table *t, struct err *e)
{
    int rc = rows_table_load(r->production, l->child_schema, l->child_name, t, e);
    if (rc == 0 && t->nkey == 0)
        rc = err_set(e, ERR_UNSUPPORTED, "%s has no key: what it has lost cannot be told", t->sql);
    if (rc == 0 && r->source != NULL)
        rc = rows_source_has(r, t->schema, t->name, e);
    return rc;
}

/* A table that cannot be followed is said, and does not keep the others from it. */
static int leave_out(struct rows *r, struct rows_set *s, int rc, struct err *e)
{
    if (rc != ERR_UNSUPPORTED && rc != ERR_NOT_FOUND)
        return rc;
    s->skipped = true;
    if (rc == ERR_UNSUPPORTED) /* not found: a table that is newer than the backup */
        str_list_add_take(&r->report.notes, str_fmt("not followed: %s", e->msg));
    *e = (struct err)ERR_INIT;
    return 0;
}

static int add_set(struct rows *r, const struct rows_link *l, struct err *e)
{
    mem_grow(&r->set, r->nset, &r->cap, sizeof *r->set);
    struct rows_set *s = &r->set[r->nset++];
    *s = (struct rows_set){.missing = 0};
    int rc = describe(r, l, &s->table, e);
    s->table.oid = l->child;
    return leave_out(r, s, rc, e);
}

/* Tables that refer to ones with missing rows. They are loaded together, since that may mean to
 * read the whole dump. */
static int add_sets(struct rows *r, struct err *e)
{
    _cleanup_(str_list_release) struct str_list names = {0};
    size_t first = r->nset;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->links.n; i++) {
        const struct rows_link *l = &r->links.l[i];
        const struct rows_set *parent = rows_set_of(r, l->parent);
        if (l->follows && parent != NULL && parent->missing > 0 && rows_set_of(r, l->child) == NULL)
            rc = add_set(r, l, e);
    }
    for (size_t i = first; rc == 0 && i < r->nset; i++)
        if (!r->set[i].skipped) {
            str_list_add(&names, r->set[i].table.schema);
            str_list_add(&names, r->set[i].table.name);
        }
    if (rc == 0 && names.n > 0 && r->source != NULL)
        rc = rows_source_load(r, &names, e);
    for (size_t i = first; rc == 0 && i < r->nset; i++)
        if (!r->set[i].skipped)
            rc = leave_out(r, &r->set[i], rows_set_make(r, i, e), e);
    return rc;
}

/* Whether the backup has the columns of a foreign key too. */
static bool has_columns(const struct rows_table *t, const struct str_list *names)
{
    for (size_t i = 0; i < names->n; i++) {
        const struct rows_column *c = rows_table_column(t, names->s[i]);
        if (c == NULL || !c->common)
            return false;
    }
    return true;
}

/* ---- the rows of one foreign key ---- */

/* Candidates: what the backup's child table has that refers to missing rows after place `mark`. */
static int add_candidates(struct rows *r, const struct rows_link *l, const struct rows_set *parent,
                          const struct rows_set *child, int64_t mark, int64_t *added, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *count = NULL;
    buf_addf(&sql,
             "WITH new AS (INSERT INTO %s (rel, tid, state) SELECT c.tableoid, c.ctid, 0 FROM %s "
             "AS s JOIN %s AS p ON s.rel = p.tableoid AND s.tid = p.ctid JOIN %s AS c ON ",
             child->name, parent->name, parent->source, child->source);
    rows_link_sql(&sql, l, "p", "c");
    buf_addf(&sql,
             " WHERE s.state = 1 AND s.n > %lld ON CONFLICT DO NOTHING RETURNING 1) SELECT "
             "count(*) FROM new",
             (long long)mark);
    int rc = pg_value(r->work, buf_str(&sql), NULL, 0, &count, e);
    *added = rc == 0 && count != NULL ? strtoll(count, NULL, 10) : 0;
    return rc;
}

/* One element of an array in the server's text form. */
static void add_element(struct buf *out, const char *text)
{
    buf_adds(out, out->len > 1 ? ",\"" : "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_adds(out, "\\");
        buf_add(out, text, 1);
    }
    buf_adds(out, "\"");
}

static void lookup_sql(const struct rows_table *t, struct buf *out)
{
    buf_adds(out, "SELECT v.n FROM unnest($1::bigint[]");
    for (size_t i = 0; i < t->nkey; i++)
        buf_addf(out, ", $%zu::text[]", i + 2);
    buf_adds(out, ") AS v(n");
    for (size_t i = 0; i < t->nkey; i++)
        buf_addf(out, ", k%zu", i);
    buf_addf(out, ") JOIN %s AS b ON ", t->only);
    for (size_t i = 0; i < t->nkey; i++) {
        const struct rows_column *c = &t->column[t->key[i]];
        pg_format(out, i > 0 ? " AND b.%I = v.k%d::%s" : "b.%I = v.k%d::%s", c->name, (int)i,
                  c->type);
    }
}

/* Which of the candidates production still has: their numbers as an array. */
static int look_up(struct rows *r, const struct rows_table *t, const struct pg_rows *page,
                   struct buf *there, struct err *e)
{
    struct buf column[array_len(t->key) + 1];
    const char *params[array_len(column)];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(pg_rows_freep) struct pg_rows *found = NULL;
    for (size_t c = 0; c <= t->nkey; c++) {
        buf_init(&column[c], BUF_JSON);
        buf_adds(&column[c], "{");
        for (size_t i = 0; i < pg_rows_count(page); i++)
            add_element(&column[c], pg_text(page, i, (int)c));
        buf_adds(&column[c], "}");
        params[c] = buf_str(&column[c]);
    }
    lookup_sql(t, &sql);
    int rc = pg_query(r->production, buf_str(&sql), params, t->nkey + 1, &found, e);
    buf_adds(there, "{");
    for (size_t i = 0; rc == 0 && i < pg_rows_count(found); i++)
        add_element(there, pg_text(found, i, 0));
    buf_adds(there, "}");
    for (size_t c = 0; c <= t->nkey; c++)
        buf_release(&column[c]);
    return rc;
}

static int resolve_page(struct rows *r, struct rows_set *s, int64_t *last, bool *more,
                        struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(buf_release) struct buf there = BUF_INIT(BUF_TEXT);
    _cleanup_(pg_rows_freep) struct pg_rows *page = NULL;
    _cleanup_free_ char *count = NULL;
    buf_adds(&sql, "SELECT s.n, ");
    (void)rows_columns_sql(&sql, &s->table, ROWS_KEY, "b");
    buf_addf(&sql,
             " FROM (SELECT * FROM %s WHERE state = 0 AND n > %lld ORDER BY n LIMIT %d) AS s JOIN "
             "%s AS b ON s.rel = b.tableoid AND s.tid = b.ctid ORDER BY s.n",
             s->name, (long long)*last, BATCH, s->source);
    int rc = pg_query(r->work, buf_str(&sql), NULL, 0, &page, e);
    *more = rc == 0 && pg_rows_count(page) > 0;
    if (!*more)
        return rc;
    rc = look_up(r, &s->table, page, &there, e);
    if (rc < 0)
        return rc;
    int64_t after = *last;
    *last = pg_int(page, pg_rows_count(page) - 1, 0);
    buf_clear(&sql);
    buf_addf(
        &sql,
        "WITH x AS (UPDATE %s SET state = CASE WHEN n = ANY ($1::bigint[]) THEN 2 ELSE 1 END "
        "WHERE state = 0 AND n > %lld AND n <= %lld RETURNING state) SELECT count(*) FROM x WHERE state = 2",
        s->name, (long long)after, (long long)*last);
    const char *params[] = {buf_str(&there)};
    rc = pg_value(r->work, buf_str(&sql), params, 1, &count, e);
    if (rc < 0)
        return rc;
    uint64_t still = strtoull(count != NULL ? count : "0", NULL, 10);
    s->there += still;
    s->missing += pg_rows_count(page) - still;
    return cancel_check(e);
}

static int follow_link(struct rows *r, const struct rows_link *l, int64_t *mark, bool *grew,
                       struct err *e)
{
    int64_t added = 0, last = 0;
    const struct rows_set *parent = rows_set_of(r, l->parent);
    if (!l->follows || parent == NULL || parent->missing == 0)
        return 0;
    struct rows_set *child = rows_set_of(r, l->child);
    if (child == NULL || child->skipped || !has_columns(&parent->table, &l->references) ||
        !has_columns(&child->table, &l->column))
        return 0;
    _cleanup_free_ char *top = NULL;
    _cleanup_free_ char *sql = str_fmt("SELECT coalesce(max(n), 0) FROM %s", parent->name);
    int rc = pg_value(r->work, sql, NULL, 0, &top, e);
    int64_t upto = rc == 0 && top != NULL ? strtoll(top, NULL, 10) : 0;
    if (rc < 0 || upto <= *mark)
        return rc;
    rc = add_candidates(r, l, parent, child, *mark, &added, e);
    *mark = upto;
    *grew = *grew || added > 0;
    for (bool more = added > 0; rc == 0 && more;)
        rc = resolve_page(r, child, &last, &more, e);
    if (rc == 0 && added > 0)
        rc = pg_execf(r->work, e, "ANALYZE %s", child->name);
    return rc;
}

/* ---- the order in which they can be put back ---- */

static bool waits(const struct rows *r, const bool *placed, size_t i)
{
    for (size_t k = 0; k < r->links.n; k++) {
        const struct rows_link *l = &r->links.l[k];
        if (l->child != r->set[i].table.oid || l->parent == l->child)
            continue;
        const struct rows_set *parent = rows_set_of(r, l->parent);
        if (parent != NULL && !placed[parent - r->set])
            return true;
    }
    return false;
}

/* The next one whose parents are placed; in a circle, the one that was found first. */
static size_t next_set(const struct rows *r, const bool *placed)
{
    size_t first = r->nset;
    for (size_t i = 1; i < r->nset; i++) {
        if (placed[i])
            continue;
        if (!waits(r, placed, i))
            return i;
        if (first == r->nset)
            first = i;
    }
    return first;
}

static void sort_sets(struct rows *r)
{
    struct rows_set *sorted = mem_array(r->nset, sizeof *sorted);
    bool *placed = mem_array(r->nset, sizeof *placed);
    sorted[0] = r->set[0];
    placed[0] = true;
    for (size_t n = 1; n < r->nset; n++) {
        size_t next = next_set(r, placed);
        sorted[n] = r->set[next];
        placed[next] = true;
    }
    free(placed);
    free(r->set);
    r->set = sorted;
    r->cap = r->nset;
}

/* Rows that lost their reference are there: they stay as they are, and that is said. */
static void note_emptied(struct rows *r)
{
    for (size_t i = 0; i < r->links.n; i++) {
        const struct rows_link *l = &r->links.l[i];
        const struct rows_set *parent = rows_set_of(r, l->parent);
        if (!l->follows && parent != NULL && parent->missing > 0)
            str_list_add_take(&r->report.notes,
                              str_fmt("rows of %s.%s that referred to missing rows of %s are "
                                      "there, without that reference (foreign key %s): they stay "
                                      "so",
                                      l->child_schema, l->child_name, parent->table.sql, l->name));
    }
}

int rows_follow(struct rows *r, struct err *e)
{
    int64_t *mark = mem_array(r->links.n + 1, sizeof *mark);
    int rc = 0;
    for (bool grew = !r->options->alone; rc == 0 && grew;) {
        grew = false;
        rc = add_sets(r, e);
        for (size_t i = 0; rc == 0 && i < r->links.n; i++)
            rc = follow_link(r, &r->links.l[i], &mark[i], &grew, e);
    }
    free(mark);
    if (rc == 0) {
        note_emptied(r);
        sort_sets(r);
    }
    return rc;
}
