/* Private to the history room: a SQLite connection with errors that people understand, and the
 * statements, which live in sql/ and are embedded at build. */
#ifndef SALVOR_HISTORY_LEDGER_INT_H
#define SALVOR_HISTORY_LEDGER_INT_H

#include "history/ledger.h"
#include <sqlite3.h>

struct ledger {
    sqlite3 *db;
    char *path;
};

extern const char sql_schema_1[], sql_run_begin[], sql_run_end[], sql_run_list[], sql_run_running[],
    sql_run_crashed[], sql_run_last_restore[], sql_kept_add[], sql_kept_list[], sql_kept_undone[];

/* Another process may hold the file while it writes a row; nobody holds it longer. */
enum { LEDGER_BUSY_MS = 30000 };

/* ---- ledger_open.c ---- */

/* Turns the connection's last failure into an error: "cannot <what> the ledger <path>: ...". */
int ledger_fail(const struct ledger *l, const char *what, struct err *e);

/* ---- query.c: one statement; columns and parameters go by name and order ---- */

_warn_unused_ int query_prepare(struct ledger *l, const char *sql, sqlite3_stmt **out,
                                struct err *e);
void query_finalize(sqlite3_stmt **q);
/* The text must live until the statement is done. NULL is NULL. */
void query_text(sqlite3_stmt *q, const char *name, const char *value);
void query_i64(sqlite3_stmt *q, const char *name, int64_t value);
void query_u64(sqlite3_stmt *q, const char *name, uint64_t value); /* saturates */
/* 0 and *row says whether there is one. */
_warn_unused_ int query_step(struct ledger *l, sqlite3_stmt *q, bool *row, struct err *e);
/* For statements that give no rows; *changed may be NULL. */
_warn_unused_ int query_run(struct ledger *l, sqlite3_stmt *q, int *changed, struct err *e);
char *query_column_text(sqlite3_stmt *q, int column); /* a copy, NULL for NULL */

int64_t time_to_ns(struct timespec t); /* saturates */
struct timespec time_from_ns(int64_t ns);

#endif
