/* Puts missing rows back, in one transaction of production: copied into temporary tables, sifted
 * (rows_reason.c), inserted parents first, and recorded for undo before the commit.
 *
 * The tables' triggers fire as for any other INSERT: counters and audit trails stay right, and
 * foreign keys are checked. They could be silenced by session_replication_role, but that needs a
 * superuser and switches the foreign keys off as well; whoever wants them silent has them disabled
 * by name for the length of the transaction. Sequences are not touched: what was deleted once came
 * from them. */
#include "base/file.h"
#include "base/host.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

struct apply {
    struct rows *rows;
    const struct rows_apply_options *options;
    struct rows_applied *out;
    struct ledger_run run;
    char *record;  /* path of what undo reads; NULL without ledger */
    bool recorded; /* the ledger knows of it */
    bool committing;
};

static bool idle(const struct rows_set *s)
{
    return s->missing == 0;
}

/* ---- bringing the rows over ---- */

static int refuse_rules(const struct rows *r, struct err *e)
{
    for (size_t i = 0; i < r->nset; i++)
        if (!idle(&r->set[i]) && r->set[i].table.has_rules)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s has rules that rewrite INSERT or UPDATE, so rows cannot be put "
                           "back without overwriting others; write them with --sql and look",
                           r->set[i].table.sql);
    return 0;
}

static int begin(struct rows *r, struct err *e)
{
    int rc = refuse_rules(r, e);
    if (rc == 0)
        rc = pg_exec(r->production, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", e);
    if (rc == 0)
        rc = pg_exec(r->production, "SET CONSTRAINTS ALL DEFERRED", e);
    return rc;
}

static int make_tables(struct rows *r, size_t i, struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    buf_addf(&sql, "CREATE TEMP TABLE salvor_put_%zu ON COMMIT DROP AS SELECT ", i);
    (void)rows_columns_sql(&sql, t, ROWS_COMMON, NULL);
    buf_addf(&sql, ", NULL::text AS salvor_why FROM %s WITH NO DATA; ", t->sql);
    buf_addf(&sql, "CREATE TEMP TABLE salvor_done_%zu ON COMMIT DROP AS SELECT ", i);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, " FROM %s WITH NO DATA", t->sql);
    int rc = pg_exec(r->production, buf_str(&sql), e);
    return rc == ERR_DENIED ? err_hint(e, "rows are put back by way of temporary tables: the role "
                                          "needs the TEMPORARY right on the database")
                            : rc;
}

static int bring(struct rows *r, size_t i, struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf columns = BUF_INIT(BUF_TEXT);
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT), in = BUF_INIT(BUF_TEXT);
    _cleanup_(stream_closep) struct stream *rows = NULL;
    buf_adds(&out, "COPY (SELECT ");
    (void)rows_columns_sql(&out, t, ROWS_COMMON, "b");
    buf_adds(&out, " FROM ");
    rows_set_sql(&out, &r->set[i]);
    buf_adds(&out, ") TO STDOUT");
    (void)rows_columns_sql(&columns, t, ROWS_COMMON, NULL);
    buf_addf(&in, "COPY " ROWS_PUT " (%s) FROM STDIN", i, buf_str(&columns));
    int rc = pg_copy_out(r->work, buf_str(&out), &rows, e);
    if (rc == 0)
        rc = pg_copy_in_stream(r->production, buf_str(&in), rows, e);
    stream_close(take(rows));
    _cleanup_free_ char *analyze = str_fmt("ANALYZE " ROWS_PUT, i);
    return rc == 0 ? pg_exec(r->production, analyze, e) : err_prefix(e, "rows of %s", t->sql);
}

/* ---- inserting ---- */

static int set_triggers(struct rows *r, bool enabled, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->nset; i++) {
        const struct rows_table *t = &r->set[i].table;
        for (size_t k = 0; rc == 0 && !idle(&r->set[i]) && k < t->triggers.n; k++)
            rc = pg_execf(r->production, e, "ALTER TABLE %s %s TRIGGER %I", t->sql,
                          !enabled                              ? "DISABLE"
                          : str_eq(t->trigger_states.s[k], "A") ? "ENABLE ALWAYS"
                                                                : "ENABLE",
                          t->triggers.s[k]);
    }
    return rc < 0 && !enabled
               ? err_hint(e, "--without-triggers needs the owner of the tables, and a moment in "
                             "which nobody writes to them")
               : rc;
}

static int insert(struct rows *r, size_t i, struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf columns = BUF_INIT(BUF_TEXT), sql = BUF_INIT(BUF_TEXT);
    (void)rows_columns_sql(&columns, t, ROWS_COMMON, NULL);
    buf_addf(&sql,
             "WITH done AS (INSERT INTO %s (%s) %s SELECT %s FROM " ROWS_PUT
             " WHERE salvor_why IS NULL ORDER BY ",
             t->sql, buf_str(&columns),
             pg_version(r->production) >= 100000 ? "OVERRIDING SYSTEM VALUE" : "",
             buf_str(&columns), i);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, "%s RETURNING ", t->deferrable ? "" : " ON CONFLICT DO NOTHING");
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, ") INSERT INTO " ROWS_DONE " SELECT * FROM done; ANALYZE " ROWS_DONE, i, i);
    int rc = pg_exec(r->production, buf_str(&sql), e);
    return rc < 0 ? err_prefix(e, "%s", t->sql) : cancel_check(e);
}

/* What the server left out by itself, and what came out other than it went in. */
static int look_after(struct apply *a, size_t i, struct err *e)
{
    struct rows *r = a->rows;
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *count = NULL;
    uint64_t n = 0;
    buf_addf(&sql,
             "UPDATE " ROWS_PUT " AS p SET salvor_why = 'the server left it out: another unique or "
             "exclusion constraint is in the way, or a trigger' WHERE salvor_why IS NULL AND NOT "
             "EXISTS (SELECT FROM " ROWS_DONE " AS d WHERE ",
             i, i);
    rows_same_key_sql(&sql, t, "d", "p");
    buf_adds(&sql, ")");
    int rc = rows_touch(r->production, buf_str(&sql), &n, e);
    if (rc < 0)
        return rc;
    buf_clear(&sql);
    buf_addf(&sql, "SELECT count(*) FROM " ROWS_PUT " AS p JOIN %s AS b ON ", i, t->only);
    rows_same_key_sql(&sql, t, "b", "p");
    buf_adds(&sql, " WHERE p.salvor_why IS NULL AND ");
    rows_digest_sql(&sql, rows_own_digest(r->production), t, ROWS_COMMON, "b");
    buf_adds(&sql, " <> ");
    rows_digest_sql(&sql, rows_own_digest(r->production), t, ROWS_COMMON, "p");
    rc = pg_value(r->production, buf_str(&sql), NULL, 0, &count, e);
    a->out->altered += rc == 0 && count != NULL ? strtoull(count, NULL, 10) : 0;
    return rc;
}

/* ---- what is told ---- */

static void skip_row(const struct apply *a, const struct rows_table *t, const struct pg_row *row)
{
    _cleanup_(buf_release) struct buf key = BUF_INIT(BUF_JSON);
    buf_adds(&key, "(");
    for (size_t i = 0; i < t->nkey; i++)
        buf_addf(&key, "%s%s", i > 0 ? ", " : "", t->column[t->key[i]].name);
    buf_adds(&key, ")=(");
    for (size_t i = 0; i < t->nkey && i < row->n; i++)
        buf_addf(&key, "%s%s", i > 0 ? ", " : "", row->text[i] != NULL ? row->text[i] : "");
    buf_adds(&key, ")");
    if (a->options->skipped != NULL && row->n > t->nkey)
        a->options->skipped(t->sql, buf_str(&key), row->text[t->nkey], a->options->arg);
}

static int tell_skipped(struct apply *a, size_t i, struct err *e)
{
    struct rows *r = a->rows;
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    struct pg_row row = {.n = 0};
    buf_adds(&sql, "SELECT ");
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    buf_addf(&sql, ", salvor_why FROM " ROWS_PUT " WHERE salvor_why IS NOT NULL ORDER BY ", i);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, NULL);
    int rc = pg_rows_begin(r->production, buf_str(&sql), e);
    while (rc == 0 && (rc = pg_rows_next(r->production, &row, e)) == 0 && row.n > 0) {
        skip_row(a, t, &row);
        a->out->skipped++;
    }
    pg_rows_end(r->production);
    return rc;
}

static int count_done(struct apply *a, size_t i, struct err *e)
{
    _cleanup_free_ char *sql = str_fmt("SELECT count(*) FROM " ROWS_DONE, i);
    _cleanup_free_ char *count = NULL;
    int rc = pg_value(a->rows->production, sql, NULL, 0, &count, e);
    a->out->put_back += rc == 0 && count != NULL ? strtoull(count, NULL, 10) : 0;
    return rc;
}

/* ---- the record, for undo ---- */

static int record(struct apply *a, struct err *e)
{
    struct rows *r = a->rows;
    struct job *j = r->job;
    if (j == NULL || j->ledger == NULL || a->run.id == 0 || a->out->put_back == 0)
        return 0;
    _cleanup_free_ char *name = str_fmt("rows-%lld.undo", (long long)a->run.id);
    a->record = path_join(j->state_dir, name);
    int rc = rows_record_write(r, a->record, e);
    if (rc < 0)
        return err_hint(e, "rows are put back only with a record by which they can be taken out "
                           "again");
    _cleanup_free_ char *what = str_fmt("%s %s", pg_where(r->production), r->set[0].table.sql);
    char kind[] = ROWS_KIND;
    struct ledger_kept k = {.kind = kind, .path = what, .kept = a->record};
    rc = ledger_keep(j->ledger, a->run.id, &k, e);
    a->recorded = rc == 0;
    return rc;
}

/* Of a transaction that did not happen. */
static void forget_record(struct apply *a)
{
    struct err ignored = ERR_INIT;
    _cleanup_free_ char *what =
        str_fmt("%s %s", pg_where(a->rows->production), a->rows->set[0].table.sql);
    char kind[] = ROWS_KIND;
    const struct ledger_kept k = {.kind = kind, .path = what};
    if (a->recorded && ledger_kept_undone(a->rows->job->ledger, a->run.id, &k, &ignored) < 0)
        log_warning("the ledger still has an undo of rows that were not put back: %s", ignored.msg);
    if (a->record != NULL)
        (void)unlink(a->record);
}

/* ---- all of it ---- */

typedef int step_fn(struct rows *r, size_t i, struct err *e);

static int each_set(struct rows *r, step_fn *step, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->nset; i++)
        if (!idle(&r->set[i]))
            rc = step(r, i, e);
    return rc;
}

static int put_back(struct apply *a, struct err *e)
{
    struct rows *r = a->rows;
    bool silent = a->options->without_triggers;
    int rc = begin(r, e);
    if (rc == 0)
        rc = each_set(r, make_tables, e);
    if (rc == 0)
        rc = each_set(r, bring, e);
    if (rc == 0 && silent)
        rc = set_triggers(r, false, e);
    if (rc == 0)
        rc = rows_find_reasons(r, e);
    if (rc == 0)
        rc = each_set(r, insert, e);
    if (rc == 0) /* what was deferred is checked now, where it can still be told */
        rc = pg_exec(r->production, "SET CONSTRAINTS ALL IMMEDIATE", e);
    if (rc == 0 && silent)
        rc = set_triggers(r, true, e);
    for (size_t i = 0; rc == 0 && i < r->nset; i++) {
        if (idle(&r->set[i]))
            continue;
        rc = look_after(a, i, e);
        if (rc == 0)
            rc = count_done(a, i, e);
    }
    return rc == 0 ? record(a, e) : rc;
}

static int finish(struct apply *a, struct err *e)
{
    struct rows *r = a->rows;
    for (size_t i = 0; i < r->nset; i++) {
        int rc = idle(&r->set[i]) ? 0 : tell_skipped(a, i, e);
        if (rc < 0)
            return rc;
    }
    a->committing = true;
    return pg_exec(r->production, "COMMIT", e);
}

static int carry_out(struct apply *a, struct err *e)
{
    int rc = put_back(a, e);
    if (rc == 0)
        rc = finish(a, e);
    if (rc == 0 || (a->committing && rc == ERR_IO)) {
        if (rc < 0)
            (void)err_hint(e, "whether the rows are back is not known: run salvor rows again; "
                              "salvor undo takes out what came back");
        return rc;
    }
    struct err ignored = ERR_INIT;
    pg_shield(a->rows->production, true);
    if (pg_exec(a->rows->production, "ROLLBACK", &ignored) < 0)
        log_debug("rolling back: %s", ignored.msg); /* the server does so when we are gone */
    pg_shield(a->rows->production, false);
    forget_record(a);
    return err_hint(e, "nothing was changed in production");
}

int rows_apply(struct rows *r, const struct rows_apply_options *o, struct rows_applied *out,
               struct err *e)
{
    *out = (struct rows_applied){0};
    struct apply a = {.rows = r, .options = o, .out = out};
    if (r->job != NULL)
        record_begin(r->job, &a.run, "rows", r->options->resource, NULL);
    int rc = carry_out(&a, e);
    if (rc < 0)
        *out = (struct rows_applied){.skipped = 0};
    out->run = a.recorded && rc == 0 ? a.run.id : 0;
    if (rc == 0 && out->skipped > 0)
        rc = err_set(
            e, ERR_PARTIAL,
            "%llu of %llu rows were not put back, for the reasons above; where a row that they refer to is "
            "missing, look for it in its own table first (salvor rows --table)",
            (unsigned long long)out->skipped, (unsigned long long)(out->skipped + out->put_back));
    if (r->job != NULL) {
        a.run.files = out->put_back;
        record_end(r->job, &a.run, rc, e);
    }
    free(a.record);
    return rc;
}
