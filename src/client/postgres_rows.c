/* Rows of a PostgreSQL server: whole results for catalogues, one by one for data. */
#include "base/mem.h"
#include "client/postgres_int.h"
#include <string.h>

/* ---- whole results ---- */

struct pg_rows {
    PGresult *result;
};

int pg_query(struct pg *p, const char *sql, const char *const *params, size_t n,
             struct pg_rows **out, struct err *e)
{
    int rc = pg_send(p, sql, params, n, false, e);
    if (rc != 0)
        return rc;
    _cleanup_(pg_clear) PGresult *first = NULL;
    rc = pg_next(p, &first, e);
    if (rc != 0)
        return rc;
    ExecStatusType status = first != NULL ? PQresultStatus(first) : PGRES_EMPTY_QUERY;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
        pg_stop(p);
        return err_set(e, ERR_INTERNAL, "%s: COPY where rows are wanted", p->where);
    }
    for (bool more = first != NULL; more;) { /* of several statements, the first one's rows */
        _cleanup_(pg_clear) PGresult *r = NULL;
        rc = pg_next(p, &r, e);
        if (rc != 0)
            return rc;
        more = r != NULL;
    }
    struct pg_rows *rows = mem_zero(sizeof(*rows));
    rows->result = take(first);
    *out = rows;
    return 0;
}

size_t pg_rows_count(const struct pg_rows *r)
{
    return (size_t)PQntuples(r->result);
}

static bool inside(const struct pg_rows *r, size_t row, int column)
{
    return row < pg_rows_count(r) && column >= 0 && column < PQnfields(r->result);
}

bool pg_is_null(const struct pg_rows *r, size_t row, int column)
{
    return !inside(r, row, column) || PQgetisnull(r->result, (int)row, column) != 0;
}

const char *pg_text(const struct pg_rows *r, size_t row, int column)
{
    return inside(r, row, column) ? PQgetvalue(r->result, (int)row, column) : "";
}

int64_t pg_int(const struct pg_rows *r, size_t row, int column)
{
    return strtoll(pg_text(r, row, column), NULL, 10);
}

bool pg_bool(const struct pg_rows *r, size_t row, int column)
{
    return *pg_text(r, row, column) == 't';
}

void pg_rows_free(struct pg_rows *r)
{
    if (r == NULL)
        return;
    PQclear(r->result);
    free(r);
}

void pg_rows_freep(struct pg_rows **r)
{
    pg_rows_free(*r);
}

int pg_value(struct pg *p, const char *sql, const char *const *params, size_t n, char **out,
             struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p, sql, params, n, &r, e);
    if (rc != 0)
        return rc;
    if (pg_rows_count(r) == 0)
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such row", p->where);
    *out = pg_is_null(r, 0, 0) ? NULL : str_dup(pg_text(r, 0, 0));
    return 0;
}

/* ---- one by one ---- */

int pg_rows_begin(struct pg *p, const char *sql, struct err *e)
{
    int rc = pg_send(p, sql, NULL, 0, true, e);
    if (rc != 0)
        return rc;
    /* The first answer is waited for here, with an eye on locks: it says what kind it is. */
    _cleanup_(pg_clear) PGresult *r = NULL;
    rc = pg_next(p, &r, e);
    if (rc != 0)
        return rc;
    ExecStatusType status = r != NULL ? PQresultStatus(r) : PGRES_EMPTY_QUERY;
    if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK) {
        if (r != NULL)
            pg_stop(p);
        return err_set(e, ERR_INTERNAL, "%s: a statement that gives no rows", p->where);
    }
    p->columns = PQnfields(r);
    free(p->text);
    free(p->len);
    p->text = mem_array((size_t)p->columns + 1, sizeof(*p->text));
    p->len = mem_array((size_t)p->columns + 1, sizeof(*p->len));
    p->row = take(r);
    p->fresh = true;
    p->doing = PG_ROWS;
    return 0;
}

int pg_rows_next(struct pg *p, struct pg_row *row, struct err *e)
{
    *row = (struct pg_row){.text = p->text, .len = p->len};
    if (p->doing != PG_ROWS)
        return 0;
    int rc = pg_interrupted(p, e);
    if (rc == 0 && !p->fresh) {
        PQclear(p->row);
        p->row = NULL;
        rc = pg_next(p, &p->row, e);
    }
    if (rc != 0)
        return rc;
    p->fresh = false;
    if (p->row == NULL || PQresultStatus(p->row) != PGRES_SINGLE_TUPLE) { /* the end */
        pg_drain(p);
        return p->lost ? pg_fail(p, NULL, e) : 0;
    }
    for (int i = 0; i < p->columns; i++) {
        bool null = PQgetisnull(p->row, 0, i) != 0;
        p->text[i] = null ? NULL : PQgetvalue(p->row, 0, i);
        p->len[i] = null ? 0 : (size_t)PQgetlength(p->row, 0, i);
    }
    row->n = (size_t)p->columns;
    return 0;
}

void pg_rows_end(struct pg *p)
{
    PQclear(p->row);
    p->row = NULL;
    if (p->doing == PG_ROWS)
        pg_stop(p);
}

int pg_each(struct pg *p, const char *sql, pg_row_fn *fn, void *arg, struct err *e)
{
    int rc = pg_rows_begin(p, sql, e);
    if (rc != 0)
        return rc;
    struct pg_row row;
    while ((rc = pg_rows_next(p, &row, e)) == 0 && row.n > 0) {
        rc = fn(&row, arg, e);
        if (rc < 0)
            break;
    }
    pg_rows_end(p);
    return rc;
}
