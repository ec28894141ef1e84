/* Two databases compared: production and the backup are read in key order and merged. The places of
 * missing rows go to a temporary table in the backup's database, so that a million of them cost no
 * memory here. */
#include "base/mem.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- connecting ---- */

int rows_begin(struct rows *r, struct err *e)
{
    const struct rows_options *o = r->options;
    int rc = pg_connect(&o->production, &r->production, e);
    if (rc == 0)
        rc = pg_refuse_pooler(r->production, e);
    if (rc == 0)
        rc = rows_session(r->production, e);
    if (rc == 0)
        rc = pg_exec(r->production, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e);
    if (rc == 0)
        rc = rows_links_load(r->production, &r->links, e);
    if (rc < 0)
        return rc;
    r->set = mem_zero(sizeof *r->set);
    r->nset = r->cap = 1;
    return rows_table_load(r->production, o->schema, o->table, &r->set[0].table, e);
}

/* The sets are filled on one connection while the other reads; both must see the same rows. */
static int share_moment(struct rows *r, struct err *e)
{
    _cleanup_free_ char *moment = NULL;
    int rc = pg_exec(r->work, "BEGIN ISOLATION LEVEL REPEATABLE READ", e);
    if (rc == 0)
        rc = pg_value(r->work, "SELECT pg_export_snapshot()", NULL, 0, &moment, e);
    if (rc == 0)
        rc =
            pg_execf(r->backup, e,
                     "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT %L",
                     moment);
    return rc;
}

/* Text is ordered and digested as the servers hold it where both hold it alike. */
static int choose_digest(struct rows *r, struct err *e)
{
    _cleanup_free_ char *a = NULL, *b = NULL;
    int rc = pg_value(r->production, "SHOW server_encoding", NULL, 0, &a, e);
    if (rc == 0)
        rc = pg_value(r->backup, "SHOW server_encoding", NULL, 0, &b, e);
    if (rc < 0)
        return rc;
    r->plain_text = str_eq(a, b) && (str_eq(a, "UTF8") || str_eq(a, "SQL_ASCII"));
    enum rows_digest own[] = {rows_own_digest(r->production), rows_own_digest(r->backup)};
    r->digest = !r->plain_text ? ROWS_MD5_OF_UTF8 : own[0] == own[1] ? own[0] : ROWS_MD5;
    return 0;
}

int rows_use_backup(struct rows *r, const struct pg_server *backup, bool fixed, struct err *e)
{
    int rc = pg_connect(backup, &r->backup, e);
    if (rc == 0)
        rc = pg_connect(backup, &r->work, e);
    if (rc == 0)
        rc = rows_session(r->backup, e);
    if (rc == 0)
        rc = rows_session(r->work, e);
    if (rc == 0)
        rc = choose_digest(r, e);
    if (rc == 0 && fixed)
        rc = share_moment(r, e);
    r->fixed = fixed;
    return rc;
}

static void set_release(struct rows_set *s)
{
    rows_table_release(&s->table);
    free(s->source);
}

/* Sets are of one backup; production's description of the table that was asked for stays. */
void rows_leave_backup(struct rows *r)
{
    pg_free(take(r->backup));
    pg_free(take(r->work));
    for (size_t i = 1; i < r->nset; i++)
        set_release(&r->set[i]);
    if (r->nset > 0) {
        free(take(r->set[0].source));
        r->set[0].missing = r->set[0].there = 0;
        r->nset = 1;
    }
}

/* ---- the sets ---- */

int rows_set_make(struct rows *r, size_t i, struct err *e)
{
    struct rows_set *s = &r->set[i];
    _cleanup_(rows_table_release) struct rows_table backup = {0};
    int rc = rows_table_load(r->work, s->table.schema, s->table.name, &backup, e);
    if (rc < 0)
        return err_prefix(e, "the backup");
    rc = rows_table_match(&s->table, &backup, &r->report.notes, e);
    if (rc < 0)
        return rc;
    s->source = str_dup(backup.only);
    (void)snprintf(s->name, sizeof s->name, "pg_temp.salvor_set_%zu", i);
    return pg_execf(r->work, e,
                    "CREATE TEMP TABLE salvor_set_%d (n bigint GENERATED ALWAYS AS IDENTITY "
                    "PRIMARY KEY, rel oid NOT NULL, tid tid NOT NULL, state int NOT NULL, "
                    "UNIQUE (rel, tid))",
                    (int)i);
}

void rows_set_sql(struct buf *out, const struct rows_set *s)
{
    buf_addf(out,
             "%s AS b JOIN %s AS s ON s.rel = b.tableoid AND s.tid = b.ctid WHERE s.state = 1 "
             "ORDER BY ",
             s->source, s->name);
    (void)rows_columns_sql(out, &s->table, ROWS_KEY, "b");
}

/* ---- the merge ---- */

static void select_sql(const struct rows *r, bool backup, struct buf *out)
{
    const struct rows_set *s = &r->set[0];
    _cleanup_(buf_release) struct buf key = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < s->table.nkey; i++) {
        buf_adds(&key, i > 0 ? ", " : "");
        rows_key_sql(&key, &s->table.column[s->table.key[i]], NULL, r->plain_text);
    }
    buf_addf(out, "SELECT %s, ", buf_str(&key));
    rows_digest_sql(out, r->digest, &s->table, ROWS_COMPARED, NULL);
    /* The condition stands on lines of its own: a comment in it must not swallow what follows. */
    if (backup)
        buf_addf(out, ", (\n%s\n) IS TRUE, tableoid, ctid",
                 r->options->where != NULL ? r->options->where : "true");
    buf_addf(out, " FROM %s ORDER BY %s", backup ? s->source : s->table.only, buf_str(&key));
}

struct merging {
    struct rows *rows;
    struct str_list changes; /* tableoid and ctid of the first ones */
    size_t place;            /* of tableoid and ctid in the backup's rows */
};

static int missing_row(const struct pg_row *row, void *arg, struct err *e)
{
    struct merging *m = arg;
    if (row->n < m->place + 2)
        return err_set(e, ERR_INTERNAL, "the backup gives %zu columns", row->n);
    char line[96];
    int len =
        snprintf(line, sizeof line, "%s\t%s\t1\n", row->text[m->place], row->text[m->place + 1]);
    return pg_copy_put(m->rows->work, line, (size_t)len, e);
}

static int changed_row(const struct pg_row *row, void *arg, struct err *e)
{
    (void)e;
    struct merging *m = arg;
    if (m->changes.n / 2 < m->rows->options->samples && row->n >= m->place + 2) {
        str_list_add(&m->changes, row->text[m->place]);
        str_list_add(&m->changes, row->text[m->place + 1]);
    }
    return 0;
}

static int next_row(void *arg, struct pg_row *row, struct err *e)
{
    return pg_rows_next(arg, row, e);
}

static int begin_reading(struct rows *r, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    int rc = 0;
    /* What a person writes after --where may use the names of its table's schema. */
    if (r->options->where != NULL)
        rc = pg_execf(r->backup, e, "SET search_path = %I, public", r->set[0].table.schema);
    select_sql(r, true, &sql);
    if (rc == 0)
        rc = pg_rows_begin(r->backup, buf_str(&sql), e);
    if (rc < 0)
        return r->options->where != NULL && rc != ERR_CANCELLED
                   ? err_prefix(e, "the backup, with --where")
                   : err_prefix(e, "the backup");
    buf_clear(&sql);
    select_sql(r, false, &sql);
    return pg_rows_begin(r->production, buf_str(&sql), e);
}

static int merge(struct rows *r, struct merging *m, struct err *e)
{
    const struct rows_table *t = &r->set[0].table;
    enum key_class class[array_len(t->key)];
    for (size_t i = 0; i < t->nkey; i++)
        class[i] = rows_key_class(&t->column[t->key[i]]);
    struct rows_merge merge = {
        .class = class, .nkey = t->nkey, .missing = missing_row, .changed = changed_row, .arg = m};
    struct rows_cursor b = {next_row, r->backup, "the backup"};
    struct rows_cursor p = {next_row, r->production, "production"};
    m->place = t->nkey + 2;
    int rc = begin_reading(r, e);
    if (rc == 0)
        rc = rows_merge(&merge, &b, &p, e);
    pg_rows_end(r->backup);
    pg_rows_end(r->production);
    struct rows_found *f = &r->report.table[0];
    f->backup = merge.nbackup;
    f->production = merge.nproduction;
    f->changed = merge.nchanged;
    f->added = merge.nadded;
    r->set[0].missing = merge.nmissing;
    return rc;
}

int rows_compare_table(struct rows *r, struct err *e)
{
    struct merging m = {.rows = r};
    rows_report_clear(&r->report);
    r->report.table = mem_zero(sizeof *r->report.table);
    r->report.n = 1;
    int rc = rows_set_make(r, 0, e);
    if (rc == 0)
        rc = pg_copy_in(r->work, "COPY pg_temp.salvor_set_0 (rel, tid, state) FROM STDIN", e);
    if (rc < 0)
        return rc;
    rc = merge(r, &m, e);
    if (rc < 0)
        pg_copy_abort(r->work, "the comparison failed");
    else
        rc = pg_copy_end(r->work, e);
    if (rc == 0)
        rc = pg_exec(r->work, "ANALYZE pg_temp.salvor_set_0", e);
    if (rc == 0)
        rc = rows_sample_changes(r, &m.changes, e);
    str_list_release(&m.changes);
    return rc;
}

void rows_free(struct rows *r)
{
    if (r == NULL)
        return;
    rows_source_free(r);
    rows_leave_backup(r);
    if (r->nset > 0)
        set_release(&r->set[0]);
    free(r->set);
    pg_free(r->production);
    rows_links_release(&r->links);
    rows_report_clear(&r->report);
    free(r->report.of);
    snapshot_release(&r->report.snapshot);
    snapshot_release(&r->report.next);
    free(r);
}

void rows_freep(struct rows **r)
{
    rows_free(*r);
}

const char *rows_where(const struct rows *r)
{
    return pg_where(r->production);
}

const struct rows_report *rows_report(const struct rows *r)
{
    return &r->report;
}
