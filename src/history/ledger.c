/* The ledger: what was done, when, by whom, and how it ended. Rows are read to the end before
 * anybody is called with them, so that nobody who is slow keeps others from writing. */
#include "history/ledger.h"
#include "base/clock.h"
#include "base/host.h"
#include "base/mem.h"
#include "history/ledger_int.h"
#include <stdio.h>
#include <string.h>

/* ---- runs ---- */

void ledger_run_release(struct ledger_run *r)
{
    free(r->repository);
    free(r->resource);
    free(r->job);
    free(r->message);
    free(r->user);
    free(r->detail);
    *r = (struct ledger_run){0};
}

/* What is known of a run when it begins, and may be known better at its end. */
static void bind_run(sqlite3_stmt *q, const struct ledger_run *r)
{
    query_text(q, ":repository", r->repository);
    query_text(q, ":resource", r->resource);
    query_text(q, ":job", r->job);
    query_text(q, ":user", r->user);
    query_i64(q, ":begun", time_to_ns(r->begun));
    query_text(q, ":detail", r->detail);
}

int ledger_begin(struct ledger *l, struct ledger_run *r, struct err *e)
{
    _cleanup_free_ char *host = host_name(), *boot = host_boot_id(), *space = host_pid_space();
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_run_begin, &q, e);
    if (rc != 0)
        return rc;
    query_text(q, ":kind", r->kind);
    bind_run(q, r);
    query_text(q, ":host", host);
    query_text(q, ":boot", boot);
    query_text(q, ":pid_space", space);
    query_i64(q, ":pid", getpid());
    query_u64(q, ":pid_start", host_process_start(getpid()));
    rc = query_run(l, q, NULL, e);
    if (rc != 0)
        return rc;
    r->id = sqlite3_last_insert_rowid(l->db);
    (void)snprintf(r->result, sizeof r->result, "running");
    return 0;
}

int ledger_end(struct ledger *l, const struct ledger_run *r, struct err *e)
{
    char tree[ID_HEX + 1];
    int changed = 0;
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_run_end, &q, e);
    if (rc != 0)
        return rc;
    query_i64(q, ":id", r->id);
    bind_run(q, r);
    query_i64(q, ":ended", time_to_ns(r->ended));
    query_text(q, ":result", r->result);
    query_text(q, ":message", r->message);
    query_text(q, ":tree", r->has_tree ? id_hex(&r->tree, tree) : NULL);
    query_u64(q, ":bytes", r->bytes);
    query_u64(q, ":bytes_new", r->bytes_new);
    query_u64(q, ":bytes_stored", r->bytes_stored);
    query_u64(q, ":files", r->files);
    rc = query_run(l, q, &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the ledger %s has no run %lld", l->path, (long long)r->id);
    return rc;
}

static uint64_t column_u64(sqlite3_stmt *q, int column)
{
    int64_t v = sqlite3_column_int64(q, column);
    return v > 0 ? (uint64_t)v : 0;
}

static void column_word(sqlite3_stmt *q, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    (void)snprintf(out, size, "%s", text != NULL ? text : "");
}

/* In the order of the columns of run_list.sql and run_last_restore.sql. */
static void read_run(sqlite3_stmt *q, struct ledger_run *r)
{
    *r = (struct ledger_run){.id = sqlite3_column_int64(q, 0)};
    column_word(q, 1, r->kind, sizeof r->kind);
    r->repository = query_column_text(q, 2);
    r->resource = query_column_text(q, 3);
    r->job = query_column_text(q, 4);
    r->user = query_column_text(q, 5);
    r->begun = time_from_ns(sqlite3_column_int64(q, 6));
    r->ended = time_from_ns(sqlite3_column_int64(q, 7));
    column_word(q, 8, r->result, sizeof r->result);
    r->message = query_column_text(q, 9);
    const char *tree = (const char *)sqlite3_column_text(q, 10);
    r->has_tree = tree != NULL && id_parse(tree, strlen(tree), &r->tree);
    r->bytes = column_u64(q, 11);
    r->bytes_new = column_u64(q, 12);
    r->bytes_stored = column_u64(q, 13);
    r->files = column_u64(q, 14);
    r->detail = query_column_text(q, 15);
}

struct runs {
    struct ledger_run *run;
    size_t n, cap;
};

static void runs_release(struct runs *s)
{
    for (size_t i = 0; i < s->n; i++)
        ledger_run_release(&s->run[i]);
    free(s->run);
}

int ledger_runs(struct ledger *l, const struct ledger_filter *f, ledger_run_fn *fn, void *arg,
                struct err *e)
{
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    _cleanup_(runs_release) struct runs found = {0};
    int rc = query_prepare(l, sql_run_list, &q, e);
    if (rc != 0)
        return rc;
    query_text(q, ":kind", f->kind);
    query_text(q, ":repository", f->repository);
    query_text(q, ":resource", f->resource);
    query_text(q, ":result", f->result);
    query_i64(q, ":most", f->most > 0 && f->most < INT64_MAX ? (int64_t)f->most : -1);
    for (bool row;;) {
        rc = query_step(l, q, &row, e);
        if (rc != 0)
            return rc;
        if (!row)
            break;
        mem_grow(&found.run, found.n, &found.cap, sizeof *found.run);
        read_run(q, &found.run[found.n++]);
    }
    query_finalize(&q);
    q = NULL;
    for (size_t i = 0; i < found.n && rc == 0; i++)
        rc = fn(&found.run[i], arg, e);
    return rc;
}

int ledger_last_restore(struct ledger *l, const char *resource, struct ledger_run *out,
                        struct err *e)
{
    *out = (struct ledger_run){0};
    bool row = false;
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_run_last_restore, &q, e);
    if (rc != 0)
        return rc;
    query_text(q, ":resource", resource);
    rc = query_step(l, q, &row, e);
    if (rc != 0)
        return rc;
    if (!row)
        return err_set(e, ERR_NOT_FOUND, "there is no restore in place%s%s to take back",
                       resource != NULL ? " of " : "", resource != NULL ? resource : "");
    read_run(q, out);
    return 0;
}

/* ---- runs that a crash left behind ---- */

struct self {
    char *host, *boot, *pid_space;
    struct timespec now;
};

static void self_release(struct self *s)
{
    free(s->host);
    free(s->boot);
    free(s->pid_space);
}

/* Whether the process of the run in this row is surely gone. A ledger may lie on a shared
 * directory: of processes that we cannot see we only know that nothing runs for a week. */
static bool is_gone(sqlite3_stmt *q, const struct self *self)
{
    const char *host = (const char *)sqlite3_column_text(q, 1);
    const char *boot = (const char *)sqlite3_column_text(q, 2);
    const char *space = (const char *)sqlite3_column_text(q, 3);
    int64_t pid = sqlite3_column_int64(q, 4);
    uint64_t start = column_u64(q, 5);
    struct timespec begun = time_from_ns(sqlite3_column_int64(q, 6));
    const int64_t week = 7 * 86400 * NSEC_PER_SEC;

    bool same_boot = str_eq(boot, self->boot);
    if (same_boot && str_eq(space, self->pid_space)) {
        uint64_t now = pid > 0 && pid <= INT32_MAX ? host_process_start((pid_t)pid) : 0;
        return now == 0 || (start != 0 && now != start);
    }
    if (!same_boot && str_eq(host, self->host))
        return true; /* this machine has been restarted since */
    return timespec_diff(self->now, begun) > week;
}

/* Appends the ids of those that are gone. */
static int find_gone(struct ledger *l, const struct self *self, int64_t **ids, size_t *n,
                     struct err *e)
{
    size_t cap = 0;
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_run_running, &q, e);
    for (bool row = true; rc == 0;) {
        rc = query_step(l, q, &row, e);
        if (rc != 0 || !row)
            break;
        if (!is_gone(q, self))
            continue;
        mem_grow(ids, *n, &cap, sizeof **ids);
        (*ids)[(*n)++] = sqlite3_column_int64(q, 0);
    }
    return rc;
}

int ledger_close_crashed(struct ledger *l, size_t *n, struct err *e)
{
    *n = 0;
    _cleanup_free_ int64_t *ids = NULL;
    size_t found = 0;
    _cleanup_(self_release) struct self self = {host_name(), host_boot_id(), host_pid_space(),
                                                clock_wall(&clock_system)};
    int rc = find_gone(l, &self, &ids, &found, e);
    for (size_t i = 0; i < found && rc == 0; i++) {
        int changed = 0;
        _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
        rc = query_prepare(l, sql_run_crashed, &q, e);
        if (rc != 0)
            return rc;
        query_i64(q, ":id", ids[i]);
        rc = query_run(l, q, &changed, e);
        *n += changed > 0;
    }
    return rc;
}

/* ---- what restores in place have kept ---- */

int ledger_keep(struct ledger *l, int64_t run, const struct ledger_kept *k, struct err *e)
{
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_kept_add, &q, e);
    if (rc != 0)
        return rc;
    query_i64(q, ":run", run);
    query_text(q, ":kind", k->kind);
    query_text(q, ":path", k->path);
    query_text(q, ":kept", k->kept);
    query_i64(q, ":undone", k->undone);
    return query_run(l, q, NULL, e);
}

struct kept_rows {
    struct ledger_kept *kept;
    size_t n, cap;
};

static void kept_release(struct kept_rows *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->kept[i].kind);
        free(s->kept[i].path);
        free(s->kept[i].kept);
    }
    free(s->kept);
}

int ledger_kept_list(struct ledger *l, int64_t run, ledger_kept_fn *fn, void *arg, struct err *e)
{
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    _cleanup_(kept_release) struct kept_rows found = {0};
    int rc = query_prepare(l, sql_kept_list, &q, e);
    if (rc != 0)
        return rc;
    query_i64(q, ":run", run);
    for (bool row;;) {
        rc = query_step(l, q, &row, e);
        if (rc != 0)
            return rc;
        if (!row)
            break;
        mem_grow(&found.kept, found.n, &found.cap, sizeof *found.kept);
        found.kept[found.n++] = (struct ledger_kept){
            .kind = query_column_text(q, 0),
            .path = query_column_text(q, 1),
            .kept = query_column_text(q, 2),
            .undone = sqlite3_column_int(q, 3) != 0,
        };
    }
    query_finalize(&q);
    q = NULL;
    for (size_t i = 0; i < found.n && rc == 0; i++)
        rc = fn(&found.kept[i], arg, e);
    return rc;
}

int ledger_kept_undone(struct ledger *l, int64_t run, const struct ledger_kept *k, struct err *e)
{
    int changed = 0;
    _cleanup_(query_finalize) sqlite3_stmt *q = NULL;
    int rc = query_prepare(l, sql_kept_undone, &q, e);
    if (rc != 0)
        return rc;
    query_i64(q, ":run", run);
    query_text(q, ":kind", k->kind);
    query_text(q, ":path", k->path);
    rc = query_run(l, q, &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the ledger %s knows nothing that run %lld kept of %s",
                     l->path, (long long)run, k->path);
    return rc;
}
