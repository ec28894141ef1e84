/* What is there after a restore: databases, tables, rows, and what does not work. */
#include "base/mem.h"
#include "base/work.h"
#include "job/test_int.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

void test_result_release(struct test_result *r)
{
    for (size_t i = 0; i < r->ntable; i++) {
        free(r->table[i].database);
        free(r->table[i].schema);
        free(r->table[i].name);
    }
    free(r->table);
    free(r->format);
    free(r->layers);
    free(r->from);
    free(r->program);
    free(r->server);
    free(r->snapshot);
    str_list_release(&r->databases);
    str_list_release(&r->roles);
    str_list_release(&r->extensions);
    str_list_release(&r->problems);
    str_list_release(&r->warnings);
    *r = (struct test_result){0};
}

static struct test_table *add_table(struct test_result *r, const char *database, const char *schema,
                                    const char *name)
{
    r->table = mem_resize(r->table, r->ntable + 1, sizeof *r->table);
    struct test_table *t = &r->table[r->ntable++];
    *t = (struct test_table){.database = str_dup(database),
                             .schema = str_dup(schema),
                             .name = str_dup(name)};
    return t;
}

/* ---- PostgreSQL ---- */

static int count_table(struct pg *p, struct test_table *t, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *rows = NULL;
    pg_format(&sql, "SELECT pg_catalog.count(*) FROM %I.%I", t->schema, t->name);
    int rc = pg_value(p, buf_str(&sql), NULL, 0, &rows, e);
    t->rows = rc == 0 ? strtoull(rows, NULL, 10) : 0;
    return rc;
}

/* A table that cannot be read is a problem of the backup, unless the server is gone. */
static int count_tables(struct pg *p, const char *database, struct test_result *out, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL, *unusable = NULL;
    int rc = pg_query(p, sql_test_tables, NULL, 0, &rows, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(rows); i++) {
        struct err why = ERR_INIT;
        rc = cancel_check(e);
        if (rc < 0)
            return rc;
        struct test_table *t = add_table(out, database, pg_text(rows, i, 0), pg_text(rows, i, 1));
        t->bytes = (uint64_t)pg_int(rows, i, 2);
        if (count_table(p, t, &why) == 0) {
            out->rows += t->rows;
            continue;
        }
        if (str_eq(pg_sqlstate(p), "")) {
            *e = why;
            return e->code;
        }
        /* Not filled ones cannot be read, and are reported below. */
        if (strcmp(pg_sqlstate(p), "55000") != 0)
            str_list_add_take(&out->problems, str_fmt("table %s.%s cannot be read: %s", t->schema,
                                                      t->name, why.msg));
    }
    if (rc == 0)
        rc = pg_query(p, sql_test_unusable, NULL, 0, &unusable, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(unusable); i++)
        str_list_add_take(&out->warnings, str_fmt("%s: %s", database, pg_text(unusable, i, 0)));
    return rc;
}

static int count_database(const struct pg_server *s, const char *name, struct test_result *out,
                          struct err *e)
{
    struct pg_server there = *s;
    there.database = name;
    _cleanup_(pg_freep) struct pg *p = NULL;
    size_t before = out->ntable;
    int rc = pg_connect(&there, &p, e);
    if (rc == 0)
        rc = count_tables(p, name, out, e);
    if (rc == 0 && (out->ntable > before || strcmp(name, "postgres") != 0))
        str_list_add(&out->databases, name);
    return rc;
}

int test_count_server(const struct pg_server *s, struct test_result *out, struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = NULL;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = pg_connect(s, &p, e);
    if (rc == 0)
        rc =
            pg_query(p,
                     "SELECT datname, pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database "
                     "WHERE datallowconn AND NOT datistemplate ORDER BY 1",
                     NULL, 0, &rows, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(rows); i++) {
        size_t databases = out->databases.n;
        rc = count_database(s, pg_text(rows, i, 0), out, e);
        if (out->databases.n > databases)
            out->bytes_now += (uint64_t)pg_int(rows, i, 1);
    }
    return rc;
}

/* ---- SQLite ---- */

static int sqlite_said(sqlite3 *db, const char *name, struct test_result *out)
{
    str_list_add_take(&out->problems, str_fmt("%s: %s", name, sqlite3_errmsg(db)));
    return 0;
}

static void check_integrity(sqlite3 *db, const char *name, struct test_result *out)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(3)", -1, &s, NULL) != SQLITE_OK)
        (void)sqlite_said(db, name, out);
    while (s != NULL && sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        if (text == NULL || strcmp(text, "ok") != 0)
            str_list_add_take(&out->problems, str_fmt("%s: PRAGMA integrity_check says: %s", name,
                                                      text != NULL ? text : "nothing"));
    }
    (void)sqlite3_finalize(s);
}

static void count_sqlite_table(sqlite3 *db, struct test_table *t, struct test_result *out)
{
    sqlite3_stmt *s = NULL;
    char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\"", t->name);
    if (sql != NULL && sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        t->rows = (uint64_t)sqlite3_column_int64(s, 0);
        out->rows += t->rows;
    } else {
        (void)sqlite_said(db, t->name, out);
    }
    (void)sqlite3_finalize(s);
    sqlite3_free(sql);
}

int test_count_sqlite(const char *path, const char *name, struct test_result *out, struct err *e)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    str_list_add(&out->databases, name);
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db,
                                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT "
                                "LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name",
                                -1, &s, NULL);
    if (rc != SQLITE_OK)
        (void)sqlite_said(db, name, out);
    else
        check_integrity(db, name, out);
    while (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(s, 0);
        if (table != NULL)
            count_sqlite_table(db, add_table(out, name, NULL, table), out);
    }
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return cancel_check(e);
}

/* ---- comparing ---- */

void test_expect(struct test_result *r, const char *database, const char *schema, const char *name,
                 uint64_t rows)
{
    for (size_t i = 0; i < r->ntable; i++) {
        struct test_table *t = &r->table[i];
        if ((database != NULL && !str_eq(t->database, database)) || !str_eq(t->schema, schema) ||
            !str_eq(t->name, name))
            continue;
        t->expects = true;
        t->expected = rows;
        if (t->rows != rows)
            str_list_add_take(&r->problems,
                              str_fmt("table %s has %llu rows, and had %llu in the backup", name,
                                      (unsigned long long)t->rows, (unsigned long long)rows));
        return;
    }
    str_list_add_take(&r->problems, str_fmt("table %s%s%s is missing", schema != NULL ? schema : "",
                                            schema != NULL ? "." : "", name));
}

int test_verdict(const struct test_result *r, const char *what, struct err *e)
{
    if (r->problems.n == 0)
        return 0;
    return err_set(e, ERR_CORRUPT, "%s was restored, but %s%s", what, r->problems.s[0],
                   r->problems.n > 1 ? "; ..." : "");
}
