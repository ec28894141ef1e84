/* One snapshot for every session that reads a database, and proof that no table was emptied or
 * rewritten between the moment of the snapshot and the lock on the table: such a table would look
 * empty. So every table is locked first, then the snapshot is taken, and what it shows is compared
 * with what is locked. The locks are the weakest that there are: they stop ALTER, DROP and
 * TRUNCATE, never rows.
 *
 * Somebody who wants to alter a table waits for the leader, and whoever comes next waits behind
 * him. Our own other sessions must not: they would wait for ever. They take their locks at once or
 * not at all, and then everything begins anew, which lets him through. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "source/postgres_int.h"
#include <time.h>

enum {
    ATTEMPTS = 8,
    PAUSE_MS = 100, /* before the second one; doubles */
    BATCH = 200,    /* tables that are locked by one statement */
};

void snapshot_end(struct pg_snapshot *s)
{
    for (size_t i = 0; i < s->nworkers; i++)
        pg_free(take(s->worker[i]));
    s->nworkers = 0;
    free(take(s->id));
}

/* ---- locks ---- */

static bool is_lockable(const struct pg_table *t)
{
    return t->kind == 'r' || t->kind == 'u' || t->kind == 'p';
}

/* `split`: only the tables that are read in parts, and without waiting. */
static int lock_tables(struct pg *p, const struct pg_catalog *c, bool split, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_JSON);
    int rc = 0;
    for (size_t i = 0, n = 0; i <= c->n && rc == 0; i++) {
        const struct pg_table *t = &c->table[i];
        if (n == BATCH || (i == c->n && n > 0)) {
            pg_format(&sql, " IN ACCESS SHARE MODE%s", split ? " NOWAIT" : "");
            rc = pg_exec(p, buf_str(&sql), e);
            buf_clear(&sql);
            n = 0;
        }
        if (i == c->n || !is_lockable(t) || (split && t->split == 0))
            continue;
        pg_format(&sql, "%s ONLY %I.%I", n++ == 0 ? "LOCK TABLE" : ",", t->schema, t->name);
    }
    return rc;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* ERR_CHANGED when the snapshot has a table that is not locked. */
static int compare_with_locks(const struct pg_catalog *c, const struct pg_rows *locked,
                              struct err *e)
{
    size_t n = pg_rows_count(locked);
    _cleanup_free_ int64_t *oid = mem_array(n + 1, sizeof *oid);
    for (size_t i = 0; i < n; i++)
        oid[i] = pg_int(locked, i, 0);
    for (size_t i = 0; i < c->n; i++)
        if (is_lockable(&c->table[i]) &&
            bsearch(&c->table[i].oid, oid, n, sizeof *oid, by_number) == NULL)
            return err_set(e, ERR_CHANGED, "the table %s.%s appeared meanwhile", c->table[i].schema,
                           c->table[i].name);
    return 0;
}

/* ---- beginning ---- */

/* ERR_CHANGED: to be tried again. */
static int lead(struct pg_snapshot *s, struct pg_catalog *c, uint64_t split, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *locked = NULL;
    int rc = catalog_tables(c, s->leader, e);
    if (rc == 0)
        rc = catalog_check_rights(c, s->leader, e);
    if (rc == 0)
        rc = pg_exec(s->leader, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e);
    if (rc < 0)
        return rc;
    rc = lock_tables(s->leader, c, false, e);
    if (rc == ERR_NOT_FOUND || (rc < 0 && str_eq(pg_sqlstate(s->leader), "42P01")) ||
        (rc < 0 && str_eq(pg_sqlstate(s->leader), "3F000")))
        return e->code = ERR_CHANGED;
    if (rc == 0)
        rc = pg_value(s->leader, "SELECT pg_export_snapshot()", NULL, 0, &s->id, e);
    if (rc == 0)
        rc = pg_query(s->leader, sql_pg_locked, NULL, 0, &locked, e);
    if (rc == 0)
        rc = catalog_tables(c, s->leader, e);
    if (rc == 0)
        rc = compare_with_locks(c, locked, e);
    return rc < 0 ? rc : catalog_facts(c, s->leader, split, e);
}

static int join(struct pg_snapshot *s, const struct pg_catalog *c, struct pg *p, struct err *e)
{
    int rc = pg_exec(p, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e);
    if (rc == 0)
        rc = pg_execf(p, e, "SET TRANSACTION SNAPSHOT %L", s->id);
    if (rc == 0) /* the bytes as the server has them; plans that read nothing but their range */
        rc = pg_execf(p, e,
                      "SET LOCAL client_encoding = %L; SET LOCAL intervalstyle = postgres; "
                      "SET LOCAL enable_seqscan = off; SET LOCAL enable_tidscan = on; "
                      "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off",
                      c->encoding);
    return rc == 0 ? lock_tables(p, c, true, e) : rc;
}

/* As many as there are processors, or parts; fewer where the server has no more connections. */
static int begin_workers(struct pg_snapshot *s, const struct pg_catalog *c, struct err *e)
{
    size_t parts = 0, want = cpu_count() < PG_WORKERS_MOST ? cpu_count() : PG_WORKERS_MOST;
    for (size_t i = 0; i < c->n; i++)
        parts += c->table[i].split > 0 ? c->table[i].parts : 0;
    while (s->nworkers < want && s->nworkers < parts) {
        struct pg *p = NULL;
        int rc = pg_connect(&s->server, &p, e);
        if (rc < 0 && s->nworkers > 0 && rc != ERR_CANCELLED) {
            log_notice("reading with %zu connection%s: %s", s->nworkers,
                       s->nworkers == 1 ? "" : "s", e->msg);
            return 0;
        }
        if (rc < 0)
            return rc;
        s->worker[s->nworkers++] = p;
        rc = join(s, c, p, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int pause_ms(int ms, struct err *e)
{
    for (; ms > 0; ms -= 50) {
        int rc = cancel_check(e);
        if (rc < 0)
            return rc;
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return 0;
}

/* Adds who it is that waits for one of our tables. */
static int name_queued(struct pg_snapshot *s, struct err *e)
{
    _cleanup_free_ char *who = NULL;
    struct err ignored = ERR_INIT;
    if (pg_value(s->leader, sql_pg_queued, NULL, 0, &who, &ignored) == 0 && who != NULL)
        return err_set(e, ERR_LOCKED,
                       "somebody waits to alter or empty the table %s, and everybody behind him "
                       "waits too, this backup among them; try again when that is done",
                       who);
    return e->code;
}

int snapshot_begin(struct pg_snapshot *s, struct pg_catalog *c, uint64_t split,
                   snapshot_began_fn *began, void *arg, struct err *e)
{
    for (int attempt = 1, ms = PAUSE_MS;; attempt++, ms *= 2) {
        int rc = lead(s, c, split, e);
        bool again = rc == ERR_CHANGED;
        if (rc == 0) {
            rc = begin_workers(s, c, e);
            if (rc == 0)
                rc = began(arg, e);
            if (rc < 0 && rc != ERR_CANCELLED)
                rc = name_queued(s, e);
            again = rc == ERR_LOCKED;
        }
        if (rc == 0)
            return 0;
        snapshot_end(s);
        if (!again || attempt == ATTEMPTS)
            return rc;
        log_debug("the snapshot is taken again: %s", e->msg);
        rc = pg_exec(s->leader, "ROLLBACK", e);
        if (rc == 0)
            rc = pause_ms(ms, e);
        if (rc < 0)
            return rc;
        *e = (struct err)ERR_INIT;
    }
}
