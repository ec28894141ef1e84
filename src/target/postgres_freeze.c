/* No more writes for a while: a database's default_transaction_read_only, and what it was before. A
 * database is found again by its number, since a swap gives it another name. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include <string.h>

#define SETTING "default_transaction_read_only"

/* Its number, its name, and its own setting or NULL. */
#define FIND_SQL                                                                                   \
    "SELECT d.oid, d.datname, (SELECT pg_catalog.substr(c, pg_catalog.length('" SETTING            \
    "=') + 1) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c WHERE "       \
    "s.setdatabase = d.oid AND s.setrole = 0 AND pg_catalog.strpos(c, '" SETTING "=') = 1) "       \
    "FROM pg_catalog.pg_database d WHERE "

int target_postgres_unfrozen(const struct pg_server *s, const char *database, char **out,
                             struct err *e)
{
    _cleanup_(pg_freep) struct pg *beside = NULL;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = target_connect_beside(s, database, &beside, e);
    if (rc == 0)
        rc = pg_query(beside, FIND_SQL "d.datname = $1", &database, 1, &rows, e);
    if (rc == 0 && pg_rows_count(rows) == 0)
        rc = err_set(e, ERR_NOT_FOUND, "there is no database %s on %s", database, pg_where(beside));
    if (rc == 0)
        *out = pg_is_null(rows, 0, 2) ? str_dup(pg_text(rows, 0, 0))
                                      : str_fmt("%s=%s", pg_text(rows, 0, 0), pg_text(rows, 0, 2));
    return rc;
}

int target_postgres_freeze(const struct pg_server *s, const char *database, struct err *e)
{
    _cleanup_(pg_freep) struct pg *beside = NULL;
    int rc = target_connect_beside(s, database, &beside, e);
    if (rc == 0)
        rc = pg_execf(beside, e, "ALTER DATABASE %I SET " SETTING " = on", database);
    return rc < 0 ? rc : end_sessions(beside, database, database, e); /* they learn of it anew */
}

int target_postgres_thaw(const struct pg_server *s, const char *database, const char *unfrozen,
                         struct err *e)
{
    _cleanup_(pg_freep) struct pg *beside = NULL;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    size_t digits = strcspn(unfrozen, "=");
    const char *before = unfrozen[digits] == '=' ? unfrozen + digits + 1 : NULL;
    _cleanup_free_ char *number = str_ndup(unfrozen, digits);
    const char *param = number;
    int rc = target_connect_beside(s, database, &beside, e);
    if (rc == 0)
        rc = pg_query(beside, FIND_SQL "d.oid::text = $1", &param, 1, &rows, e);
    if (rc < 0 || pg_rows_count(rows) == 0) /* it was dropped */
        return rc;
    if (!str_eq(pg_text(rows, 0, 2), "on")) /* not as we left it: somebody else's business */
        return 0;
    const char *name = pg_text(rows, 0, 1);
    return before == NULL
               ? pg_execf(beside, e, "ALTER DATABASE %I RESET " SETTING, name)
               : pg_execf(beside, e, "ALTER DATABASE %I SET " SETTING " = %L", name, before);
}
