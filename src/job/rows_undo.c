/* Takes rows that were put back out again: exactly those, in one transaction. They are locked
 * first, then looked at: one that was changed since, or that a row outside of the record refers to,
 * stays. So no ON DELETE CASCADE can reach a row that was not put back. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD = 100 }; /* rows that stay and are told one by one */

#define UNDO "pg_temp.salvor_undo_%zu"

struct undo {
    struct pg *pg;
    struct rows_record record;
    struct rows_table *table; /* of each of the record's, as it is now */
    struct rows_links links;
    struct rows_undone *out;
};

void rows_undone_release(struct rows_undone *u)
{
    str_list_release(&u->why);
    *u = (struct rows_undone){0};
}

static void undo_release(struct undo *u)
{
    pg_free(u->pg);
    for (size_t i = 0; u->table != NULL && i < u->record.n; i++)
        rows_table_release(&u->table[i]);
    free(u->table);
    rows_links_release(&u->links);
    rows_record_release(&u->record);
}

/* ---- the tables as they are now ---- */

static int no_column(const struct rows_table *t, const char *name, struct err *e)
{
    return err_set(e, ERR_CHANGED,
                   "%s has no column %s any more: whether its rows were changed since they were "
                   "put back cannot be told, so they stay",
                   t->sql, name);
}

static int adopt(struct rows_table *t, const struct rows_record_table *was, struct err *e)
{
    for (size_t i = 0; i < t->ncolumn; i++)
        t->column[i].common = str_list_has(&was->column, t->column[i].name);
    for (size_t i = 0; i < was->column.n; i++)
        if (rows_table_column(t, was->column.s[i]) == NULL)
            return no_column(t, was->column.s[i], e);
    t->nkey = 0;
    for (size_t i = 0; i < was->key.n; i++) {
        const struct rows_column *c = rows_table_column(t, was->key.s[i]);
        if (c == NULL || t->nkey == array_len(t->key))
            return no_column(t, was->key.s[i], e);
        t->key[t->nkey++] = (size_t)(c - t->column);
    }
    return 0;
}

static int prepare(struct undo *u, size_t i, struct err *e)
{
    const struct rows_record_table *was = &u->record.table[i];
    struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    int rc = rows_table_load(u->pg, was->schema, was->name, t, e);
    if (rc == 0)
        rc = adopt(t, was, e);
    if (rc < 0)
        return rc;
    buf_addf(&sql, "CREATE TEMP TABLE salvor_undo_%zu ON COMMIT DROP AS SELECT ", i);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, ", ''::text AS salvor_digest, NULL::text AS salvor_why FROM %s WITH NO DATA",
             t->sql);
    return pg_exec(u->pg, buf_str(&sql), e);
}

/* ---- the record's rows ---- */

static int begin_copy(struct undo *u, size_t i, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql, "COPY " UNDO " (", i);
    (void)rows_columns_sql(&sql, &u->table[i], ROWS_KEY, NULL);
    buf_adds(&sql, ", salvor_digest) FROM STDIN");
    return pg_copy_in(u->pg, buf_str(&sql), e);
}

/* Lines of one table stand together; *open is the table whose COPY is open. */
static int put_line(struct undo *u, const char *line, size_t len, size_t *open, struct err *e)
{
    char *end = NULL;
    unsigned long long i = strtoull(line, &end, 10);
    if (end == line || *end != '\t' || i >= u->record.n || len == 0 || line[len - 1] != '\n')
        return err_set(e, ERR_CORRUPT, "a line of the record of rows put back is damaged");
    int rc = 0;
    if (i != *open) {
        if (*open < u->record.n)
            rc = pg_copy_end(u->pg, e);
        *open = u->record.n;
        if (rc == 0)
            rc = begin_copy(u, (size_t)i, e);
        if (rc < 0)
            return rc;
        *open = (size_t)i;
    }
    size_t skip = (size_t)(end + 1 - line);
    return pg_copy_put(u->pg, line + skip, len - skip, e);
}

static int bring(struct undo *u, FILE *body, struct err *e)
{
    _cleanup_free_ char *line = NULL;
    size_t size = 0, open = u->record.n;
    int rc = 0;
    for (ssize_t len; rc == 0 && (len = getline(&line, &size, body)) > 0;)
        rc = put_line(u, line, (size_t)len, &open, e);
    if (rc == 0 && ferror(body))
        rc = err_sys(e, errno, "cannot read the record of rows put back");
    if (open == u->record.n)
        return rc;
    if (rc == 0)
        return pg_copy_end(u->pg, e);
    pg_copy_abort(u->pg, "the record cannot be read");
    return rc;
}

/* ---- what must stay ---- */

/* Afterwards nobody can change these rows, or make others refer to them, until we are done. */
static int lock_rows(struct undo *u, size_t i, struct err *e)
{
    const struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql,
             "ANALYZE " UNDO "; SELECT count(*) FROM (SELECT 1 FROM %s AS b JOIN " UNDO " AS u ON ",
             i, t->only, i);
    rows_same_key_sql(&sql, t, "b", "u");
    buf_adds(&sql, " FOR UPDATE OF b) AS locked");
    return pg_exec(u->pg, buf_str(&sql), e);
}

static int mark_changed(struct undo *u, size_t i, struct err *e)
{
    const struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    uint64_t n = 0;
    buf_addf(&sql,
             "UPDATE " UNDO " AS u SET salvor_why = 'gone' WHERE NOT EXISTS (SELECT FROM %s "
             "AS b WHERE ",
             i, t->only);
    rows_same_key_sql(&sql, t, "b", "u");
    buf_adds(&sql, ")");
    int rc = rows_touch(u->pg, buf_str(&sql), &n, e);
    if (rc < 0)
        return rc;
    u->out->gone += n;
    buf_clear(&sql);
    buf_addf(&sql,
             "UPDATE " UNDO " AS u SET salvor_why = 'it was changed since' FROM %s AS b "
             "WHERE u.salvor_why IS NULL AND ",
             i, t->only);
    rows_same_key_sql(&sql, t, "b", "u");
    buf_adds(&sql, " AND u.salvor_digest <> ");
    rows_digest_sql(&sql, u->record.digest, t, ROWS_COMMON, "b");
    buf_adds(&sql, "::pg_catalog.text");
    return rows_touch(u->pg, buf_str(&sql), &n, e);
}

static size_t table_of(const struct undo *u, unsigned oid)
{
    size_t i = 0;
    while (i < u->record.n && u->table[i].oid != oid)
        i++;
    return i;
}

static int mark_link(struct undo *u, const struct rows_link *l, uint64_t *n, struct err *e)
{
    size_t i = table_of(u, l->parent), k = table_of(u, l->child);
    if (i == u->record.n)
        return 0;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql, "UPDATE " UNDO " AS u SET salvor_why = ", i);
    pg_format(&sql,
              "'rows of ' || %L || ' refer to it now' FROM %s AS p WHERE u.salvor_why IS "
              "NULL AND ",
              l->child_name, u->table[i].only);
    rows_same_key_sql(&sql, &u->table[i], "p", "u");
    buf_addf(&sql, " AND EXISTS (SELECT FROM %s AS c WHERE ", l->child_sql);
    rows_link_sql(&sql, l, "p", "c");
    if (k < u->record.n) {
        buf_addf(&sql, " AND NOT EXISTS (SELECT FROM " UNDO " AS x WHERE x.salvor_why IS NULL AND ",
                 k);
        rows_same_key_sql(&sql, &u->table[k], "x", "c");
        buf_adds(&sql, ")");
    }
    buf_adds(&sql, ")");
    return rows_touch(u->pg, buf_str(&sql), n, e);
}

/* A row that stays may refer to others, which must stay then too: until nothing is added. */
static int mark_referenced(struct undo *u, struct err *e)
{
    int rc = 0;
    for (uint64_t found = 1; rc == 0 && found > 0;) {
        found = 0;
        for (size_t k = 0; rc == 0 && k < u->links.n; k++) {
            uint64_t n = 0;
            rc = mark_link(u, &u->links.l[k], &n, e);
            found += n;
        }
    }
    return rc;
}

/* ---- removing ---- */

static int remove_rows(struct undo *u, size_t i, struct err *e)
{
    const struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql, "DELETE FROM %s AS b USING " UNDO " AS u WHERE u.salvor_why IS NULL AND ",
             t->only, i);
    rows_same_key_sql(&sql, t, "b", "u");
    return pg_exec(u->pg, buf_str(&sql), e);
}

/* A trigger can keep a row from being deleted: then nothing is. */
static int check_removed(struct undo *u, size_t i, struct err *e)
{
    const struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *left = NULL;
    buf_addf(&sql, "SELECT nullif(count(*), 0) FROM " UNDO " AS u JOIN %s AS b ON ", i, t->only);
    rows_same_key_sql(&sql, t, "b", "u");
    buf_adds(&sql, " WHERE u.salvor_why IS NULL");
    int rc = pg_value(u->pg, buf_str(&sql), NULL, 0, &left, e);
    if (rc == 0 && left != NULL)
        return err_set(e, ERR_CHANGED,
                       "%s rows of %s could not be removed: a trigger or rule keeps them; nothing "
                       "was changed",
                       left, t->sql);
    return rc;
}

static int count_removable(struct undo *u, size_t i, struct err *e)
{
    _cleanup_free_ char *sql = str_fmt("SELECT count(*) FROM " UNDO " WHERE salvor_why IS NULL", i);
    _cleanup_free_ char *count = NULL;
    int rc = pg_value(u->pg, sql, NULL, 0, &count, e);
    u->out->removed += rc == 0 && count != NULL ? strtoull(count, NULL, 10) : 0;
    return rc;
}

static int tell_kept(struct undo *u, size_t i, struct err *e)
{
    const struct rows_table *t = &u->table[i];
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    struct pg_row row = {.n = 0};
    buf_adds(&sql, "SELECT salvor_why, pg_catalog.concat_ws(', ', ");
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, ") FROM " UNDO " WHERE salvor_why <> 'gone' ORDER BY ", i);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    int rc = pg_rows_begin(u->pg, buf_str(&sql), e);
    while (rc == 0 && (rc = pg_rows_next(u->pg, &row, e)) == 0 && row.n > 1)
        if (u->out->kept++ < TOLD)
            str_list_add_take(&u->out->why,
                              str_fmt("%s (%s): %s", t->sql, row.text[1], row.text[0]));
    pg_rows_end(u->pg);
    return rc;
}

/* ---- all of it ---- */

static int decide(struct undo *u, FILE *body, struct err *e)
{
    int rc = pg_exec(u->pg,
                     "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET CONSTRAINTS ALL "
                     "DEFERRED",
                     e);
    for (size_t i = 0; rc == 0 && i < u->record.n; i++)
        rc = prepare(u, i, e);
    if (rc == 0)
        rc = bring(u, body, e);
    for (size_t i = 0; rc == 0 && i < u->record.n; i++)
        rc = lock_rows(u, i, e);
    for (size_t i = 0; rc == 0 && i < u->record.n; i++)
        rc = mark_changed(u, i, e);
    if (rc == 0)
        rc = mark_referenced(u, e);
    for (size_t i = 0; rc == 0 && i < u->record.n; i++) {
        rc = count_removable(u, i, e);
        if (rc == 0)
            rc = tell_kept(u, i, e);
    }
    return rc;
}

static int carry_out(struct undo *u, struct err *e)
{
    int rc = 0;
    for (size_t i = u->record.n; rc == 0 && i-- > 0;)
        rc = remove_rows(u, i, e);
    if (rc == 0)
        rc = pg_exec(u->pg, "SET CONSTRAINTS ALL IMMEDIATE", e);
    for (size_t i = 0; rc == 0 && i < u->record.n; i++)
        rc = check_removed(u, i, e);
    return rc;
}

static int connect(struct undo *u, const struct config *config, const char *resource, struct err *e)
{
    struct pg_server s = {.url = u->record.server};
    _cleanup_free_ char *database = NULL;
    struct err none = ERR_INIT;
    if (u->record.configured && config != NULL && resource != NULL &&
        rows_production(config, resource, &s, &database, &none) < 0)
        log_debug("connecting as the record says: %s", none.msg);
    int rc = pg_connect(&s, &u->pg, e);
    if (rc == 0 && !str_eq(pg_database(u->pg), u->record.database))
        rc = err_set(e, ERR_REFUSED, "the rows were put back into database %s, and this is %s",
                     u->record.database, pg_where(u->pg));
    if (rc == 0)
        rc = pg_refuse_pooler(u->pg, e);
    if (rc == 0)
        rc = rows_session(u->pg, e);
    return rc == 0 ? rows_links_load(u->pg, &u->links, e) : rc;
}

static int verdict(const struct rows_undone *out, struct err *e)
{
    if (out->kept == 0)
        return 0;
    bool all = out->removed == 0 && out->gone == 0;
    return err_set(e, all ? ERR_REFUSED : ERR_PARTIAL,
                   "of the rows that were put back, %llu must stay, changed or referred to since: "
                   "%s%s",
                   (unsigned long long)out->kept, out->why.n > 0 ? out->why.s[0] : "",
                   out->kept > 1 ? "; ..." : "");
}

int rows_undo(const struct config *config, const char *resource, const char *record, bool dry_run,
              struct rows_undone *out, struct err *e)
{
    *out = (struct rows_undone){0};
    _cleanup_(undo_release) struct undo u = {.out = out};
    _cleanup_fclose_ FILE *body = NULL;
    int rc = rows_record_read(record, &u.record, &body, e);
    if (rc < 0)
        return rc;
    u.table = mem_array(u.record.n, sizeof *u.table);
    rc = connect(&u, config, resource, e);
    if (rc == 0)
        rc = decide(&u, body, e);
    if (rc == 0 && !dry_run)
        rc = carry_out(&u, e);
    if (rc == 0)
        rc = pg_exec(u.pg, dry_run ? "ROLLBACK" : "COMMIT", e);
    return rc == 0 ? verdict(out, e) : rc;
}
