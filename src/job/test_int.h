/* Parts of a restore test. */
#ifndef SALVOR_JOB_TEST_INT_H
#define SALVOR_JOB_TEST_INT_H

#include "job/job_int.h"
#include "sandbox/sandbox.h"

extern const char sql_test_tables[], sql_test_unusable[];

/* ---- test_count.c: what is there after a restore ---- */

/* The databases of a server, their tables and rows. */
_warn_unused_ int test_count_server(const struct pg_server *s, struct test_result *out,
                                    struct err *e);
/* The tables of a SQLite database, after PRAGMA integrity_check; `name` is what it is called. */
_warn_unused_ int test_count_sqlite(const char *path, const char *name, struct test_result *out,
                                    struct err *e);
/* Notes what a backup says a table has, and what is wrong with it. The table is found by database
 * (NULL: any), schema and name. */
void test_expect(struct test_result *r, const char *database, const char *schema, const char *name,
                 uint64_t rows);
/* The last word: ERR_CORRUPT when there are problems. */
_warn_unused_ int test_verdict(const struct test_result *r, const char *what, struct err *e);

#endif
