/* Writes missing rows to files: as SQL that anyone can read, change and run, or as CSV. */
#include "base/file.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- SQL ---- */

static int put_text(struct rows_file *f, const char *text, struct err *e)
{
    return rows_file_put(f, text, strlen(text), e);
}

static int put_head(struct rows_file *f, struct err *e)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    buf_adds(&b, "-- Rows that the backup has and production lacked. They are put back where there "
                 "is none\n-- with the same key; rows that are there stay as they are.\n");
    buf_adds(&b, "BEGIN;\n");
    buf_adds(&b, "SET LOCAL client_encoding = 'UTF8';\nSET LOCAL DateStyle = 'ISO, YMD';\nSET "
                 "LOCAL IntervalStyle = 'postgres';\nSET LOCAL search_path = '';\nSET CONSTRAINTS "
                 "ALL DEFERRED;\n");
    return rows_file_put(f, b.data, b.len, e);
}

/* The head of an INSERT, and a query that gives the values of each row in brackets. */
static void insert_sql(const struct rows_set *s, struct buf *head, struct buf *values)
{
    const struct rows_table *t = &s->table;
    bool first = true;
    buf_addf(head, "INSERT INTO %s (", t->sql);
    (void)rows_columns_sql(head, t, ROWS_COMMON, NULL);
    buf_adds(head, ") OVERRIDING SYSTEM VALUE VALUES ");
    buf_adds(values, "SELECT '('");
    for (size_t i = 0; i < t->ncolumn; i++)
        if (t->column[i].common) {
            pg_format(values, " || %L || pg_catalog.quote_nullable(b.%I::pg_catalog.text)",
                      first ? "" : ", ", t->column[i].name);
            first = false;
        }
    buf_adds(values, " || ')' FROM ");
    rows_set_sql(values, s);
}

/* Rows that refer to rows of their own table may come in any order inside of one statement only. */
static bool refers_to_itself(const struct rows *r, const struct rows_set *s)
{
    for (size_t i = 0; i < r->links.n; i++)
        if (r->links.l[i].child == s->table.oid && r->links.l[i].parent == s->table.oid)
            return true;
    return false;
}

static int put_inserts(struct rows *r, const struct rows_set *s, struct rows_file *f, struct err *e)
{
    const char *end = s->table.deferrable ? ";\n" : " ON CONFLICT DO NOTHING;\n";
    _cleanup_(buf_release) struct buf head = BUF_INIT(BUF_TEXT), sql = BUF_INIT(BUF_TEXT);
    struct pg_row row = {.n = 0};
    bool one = refers_to_itself(r, s);
    insert_sql(s, &head, &sql);
    int rc = pg_rows_begin(r->work, buf_str(&sql), e);
    for (uint64_t n = 0; rc == 0; n++) {
        rc = pg_rows_next(r->work, &row, e);
        if (rc < 0 || row.n == 0)
            break;
        rc = put_text(f, one && n > 0 ? ",\n" : buf_str(&head), e);
        if (rc == 0)
            rc = rows_file_put(f, row.text[0], row.len[0], e);
        if (rc == 0 && !one)
            rc = put_text(f, end, e);
        if (rc == 0 && n % 1024 == 0)
            rc = cancel_check(e);
    }
    pg_rows_end(r->work);
    return rc == 0 && one ? put_text(f, end, e) : rc;
}

int rows_write_sql(struct rows *r, const char *path, struct err *e)
{
    _cleanup_(rows_file_release) struct rows_file f = {.fd = -1};
    int rc = rows_file_open(&f, path, e);
    if (rc == 0)
        rc = put_head(&f, e);
    for (size_t i = 0; rc == 0 && i < r->nset; i++)
        if (r->set[i].missing > 0)
            rc = put_inserts(r, &r->set[i], &f, e);
    if (rc == 0)
        rc = put_text(&f, "COMMIT;\n", e);
    return rc == 0 ? rows_file_commit(&f, e) : rc;
}

/* ---- CSV ---- */

static int write_csv(struct rows *r, const struct rows_set *s, const char *path, struct err *e)
{
    _cleanup_(rows_file_release) struct rows_file f = {.fd = -1};
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(stream_closep) struct stream *rows = NULL;
    int rc = rows_file_open(&f, path, e);
    buf_adds(&sql, "COPY (SELECT ");
    (void)rows_columns_sql(&sql, &s->table, ROWS_COMMON, "b");
    buf_adds(&sql, " FROM ");
    rows_set_sql(&sql, s);
    buf_adds(&sql, ") TO STDOUT (FORMAT csv, HEADER)");
    if (rc == 0)
        rc = pg_copy_out(r->work, buf_str(&sql), &rows, e);
    if (rc == 0)
        rc = rows_file_put_stream(&f, rows, e);
    return rc == 0 ? rows_file_commit(&f, e) : rc;
}

/* "missing.csv" gives "missing.public.comments.csv"; what a file name should not have becomes "_",
 * with the set's number against two of one name. */
static char *csv_name(const char *path, const struct rows_set *s, size_t i)
{
    size_t stem = strlen(path) - (str_ends(path, ".csv") ? 4 : 0);
    _cleanup_free_ char *table = str_fmt("%s.%s", s->table.schema, s->table.name);
    bool odd = false;
    for (char *p = table; *p != '\0'; p++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", *p) ==
            NULL) {
            *p = '_';
            odd = true;
        }
    if (odd)
        return str_fmt("%.*s.%s-%zu.csv", (int)stem, path, table, i);
    return str_fmt("%.*s.%s.csv", (int)stem, path, table);
}

int rows_write_csv(struct rows *r, const char *path, struct str_list *files, struct err *e)
{
    size_t more = 0;
    for (size_t i = 1; i < r->nset; i++)
        more += r->set[i].missing > 0;
    if (strcmp(path, "-") == 0 && more > 0)
        return err_set(e, ERR_USAGE,
                       "%zu other table%s lost rows too, and CSV holds one table: name a file, use "
                       "--sql, or leave them out with --alone",
                       more, more == 1 ? "" : "s");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->nset; i++) {
        if (i > 0 && r->set[i].missing == 0)
            continue;
        char *name = i == 0 ? str_dup(path) : csv_name(path, &r->set[i], i);
        rc = write_csv(r, &r->set[i], name, e);
        str_list_add_take(files, name);
    }
    return rc;
}
