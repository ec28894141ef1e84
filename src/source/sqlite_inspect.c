/* What a copy of a database says of itself. The copy is ours alone and does not change, so it is
 * opened as immutable: nothing appears beside it, whatever its journal mode. */
#include "base/mem.h"
#include "source/sqlite_int.h"
#include <string.h>

static int prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out)
{
    return sqlite3_prepare_v2(db, sql, -1, out, NULL);
}

static uint32_t number(sqlite3 *db, const char *sql)
{
    _cleanup_(sqlite_finalize_p) sqlite3_stmt *s = NULL;
    if (prepare(db, sql, &s) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        return 0;
    return (uint32_t)sqlite3_column_int64(s, 0);
}

/* "ok", or what is wrong first. A schema that needs functions or collations that only its
 * application has cannot be checked in full: that is no damage. */
static int check_integrity(struct sqlite_copy *c, sqlite3 *db, const char *path, struct err *e)
{
    _cleanup_(sqlite_finalize_p) sqlite3_stmt *s = NULL;
    int rc = prepare(db, "PRAGMA integrity_check(1)", &s);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ERROR) {
        c->unchecked = str_dup(sqlite3_errmsg(db));
        return 0;
    }
    if (rc != SQLITE_ROW)
        return sqlite_err(e, db, rc, "check", path);
    const char *said = (const char *)sqlite3_column_text(s, 0);
    if (said != NULL && strcmp(said, "ok") == 0)
        return 0;
    return err_set(e, ERR_CORRUPT,
                   "%s is damaged: PRAGMA integrity_check says \"%s\"; restore it from the newest "
                   "backup, or repair it with sqlite3's .recover",
                   path, said != NULL ? said : "nothing");
}

static int64_t count_rows(sqlite3 *db, const char *table)
{
    char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\"", table);
    if (sql == NULL)
        return -1;
    _cleanup_(sqlite_finalize_p) sqlite3_stmt *s = NULL;
    int rc = prepare(db, sql, &s);
    sqlite3_free(sql);
    if (rc != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        return -1; /* a virtual table of a module that only its application has */
    return sqlite3_column_int64(s, 0);
}

static void digest(uint64_t *h, const unsigned char *text)
{
    for (; text != NULL && *text != 0; text++)
        *h = (*h ^ *text) * UINT64_C(0x100000001b3);
    *h = (*h ^ 0xff) * UINT64_C(0x100000001b3);
}

static int read_schema(struct sqlite_copy *c, sqlite3 *db, const char *path, bool count,
                       struct err *e)
{
    _cleanup_(sqlite_finalize_p) sqlite3_stmt *s = NULL;
    int rc = prepare(db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 2, 1", &s);
    c->schema_digest = UINT64_C(0xcbf29ce484222325);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        for (int i = 0; i < 4; i++)
            digest(&c->schema_digest, sqlite3_column_text(s, i));
        const char *type = (const char *)sqlite3_column_text(s, 0);
        const char *name = (const char *)sqlite3_column_text(s, 1);
        if (type == NULL || name == NULL || strcmp(type, "table") != 0 ||
            strncmp(name, "sqlite_", 7) == 0)
            continue;
        mem_grow(&c->table, c->ntables, &c->cap, sizeof(*c->table));
        c->table[c->ntables++] =
            (struct sqlite_table){str_dup(name), count ? count_rows(db, name) : -1};
    }
    return rc == SQLITE_DONE ? 0 : sqlite_err(e, db, rc, "read the schema of", path);
}

int sqlite_inspect(struct sqlite_copy *c, const char *copy, const char *path, bool count,
                   struct err *e)
{
    _cleanup_(sqlite_close_p) sqlite3 *db = NULL;
    _cleanup_free_ char *uri = sqlite_uri(copy, "mode=ro&immutable=1");
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc != SQLITE_OK)
        return sqlite_err(e, db, rc, "open the copy of", path);
    /* A schema is not to be trusted: it could call functions. */
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if ((rc = check_integrity(c, db, path, e)) != 0)
        return rc;
    c->page_size = number(db, "PRAGMA page_size");
    c->user_version = number(db, "PRAGMA user_version");
    c->application_id = number(db, "PRAGMA application_id");
    return read_schema(c, db, path, count, e);
}
