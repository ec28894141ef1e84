/* One SQL statement: preparing it, binding by name, stepping. */
#include "base/clock.h"
#include "base/mem.h"
#include "history/ledger_int.h"
#include <string.h>

int query_prepare(struct ledger *l, const char *sql, sqlite3_stmt **out, struct err *e)
{
    if (sqlite3_prepare_v2(l->db, sql, -1, out, NULL) != SQLITE_OK)
        return ledger_fail(l, "use", e);
    return 0;
}

void query_finalize(sqlite3_stmt **q)
{
    (void)sqlite3_finalize(*q); /* its failure was told by the step before */
}

/* Binding fails only without memory or for a name that is not there, and then the row is refused by
 * the columns that must not be NULL or the tests notice. */
void query_text(sqlite3_stmt *q, const char *name, const char *value)
{
    (void)sqlite3_bind_text(q, sqlite3_bind_parameter_index(q, name), value, -1, SQLITE_STATIC);
}

void query_i64(sqlite3_stmt *q, const char *name, int64_t value)
{
    (void)sqlite3_bind_int64(q, sqlite3_bind_parameter_index(q, name), value);
}

void query_u64(sqlite3_stmt *q, const char *name, uint64_t value)
{
    query_i64(q, name, value < INT64_MAX ? (int64_t)value : INT64_MAX);
}

int query_step(struct ledger *l, sqlite3_stmt *q, bool *row, struct err *e)
{
    int rc = sqlite3_step(q);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : ledger_fail(l, "use", e);
}

int query_run(struct ledger *l, sqlite3_stmt *q, int *changed, struct err *e)
{
    bool row;
    int rc = query_step(l, q, &row, e);
    if (rc == 0 && changed != NULL)
        *changed = sqlite3_changes(l->db);
    return rc;
}

char *query_column_text(sqlite3_stmt *q, int column)
{
    return str_dup((const char *)sqlite3_column_text(q, column));
}

int64_t time_to_ns(struct timespec t)
{
    return timespec_diff(t, (struct timespec){0});
}

struct timespec time_from_ns(int64_t ns)
{
    return timespec_add((struct timespec){0}, ns);
}
