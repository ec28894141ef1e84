/* Connections to the server that something is restored into, and the databases there that are being
 * built. Such a database has a name of our own, and as long as its builder lives, he holds an
 * advisory lock on that name: what nobody holds was abandoned. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include <string.h>

enum {
    CLAIM = 0x5a17041, /* first half of the advisory locks' keys; the second is the name's hash */
    NAMED_MOST = 10,
};

int target_connect(const struct pg_server *s, const char *database, struct pg **out, struct err *e)
{
    struct pg_server there = *s;
    there.database = database;
    return pg_connect(&there, out, e);
}

int target_connect_beside(const struct pg_server *s, const char *but, struct pg **out,
                          struct err *e)
{
    static const char *const names[] = {"postgres", "template1"};
    int rc = ERR_NOT_FOUND;
    for (size_t i = 0; i < array_len(names); i++) {
        if (str_eq(names[i], but))
            continue;
        struct err why = ERR_INIT;
        rc = target_connect(s, names[i], out, &why);
        if (rc == 0)
            return 0;
        *e = why;
        if (rc != ERR_NOT_FOUND && rc != ERR_DENIED)
            return rc;
    }
    return err_hint(e, "a database beside the restored one is needed to connect to, such as "
                       "\"postgres\"");
}

int target_query_list(struct pg *p, const char *sql, const char *const *params, size_t n,
                      struct str_list *out, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = pg_query(p, sql, params, n, &rows, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(rows); i++)
        str_list_add(out, pg_text(rows, i, 0));
    return rc;
}

void target_name_some(const struct str_list *l, struct buf *out)
{
    for (size_t i = 0; i < l->n && i < NAMED_MOST; i++) {
        if (i > 0)
            buf_adds(out, i + 1 == l->n ? " and " : ", ");
        text_printable(l->s[i], strlen(l->s[i]), out);
    }
    if (l->n > NAMED_MOST)
        buf_addf(out, " and %zu more", l->n - NAMED_MOST);
}

int working_abandoned(struct pg *beside, struct str_list *out, struct err *e)
{
    _cleanup_free_ char *sql = str_fmt(
        "SELECT d.datname FROM pg_catalog.pg_database d"
        " WHERE d.datname ~ '^" WORKING_PREFIX "[0-9a-f]{12}$' AND NOT EXISTS ("
        "SELECT 1 FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted"
        " AND l.classid = %d AND l.objid = (pg_catalog.hashtext(d.datname)::bigint & 4294967295)"
        "::oid) ORDER BY 1",
        CLAIM);
    return target_query_list(beside, sql, NULL, 0, out, e);
}

int working_claim(struct pg *beside, char **name, struct err *e)
{
    _cleanup_free_ char *hex = NULL;
    int rc = pg_value(beside,
                      "SELECT pg_catalog.substr(pg_catalog.md5(pg_catalog.random()::text || "
                      "pg_catalog.clock_timestamp()::text || pg_catalog.pg_backend_pid()::text), "
                      "1, 12)",
                      NULL, 0, &hex, e);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *own = str_fmt(WORKING_PREFIX "%s", hex);
    rc = pg_execf(beside, e, "SELECT pg_catalog.pg_advisory_lock(%d, pg_catalog.hashtext(%L))",
                  (int)CLAIM, own);
    if (rc == 0)
        *name = take(own);
    return rc;
}

int working_alone(struct pg *beside, const char *database, struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *got = NULL;
    pg_format(&sql, "SELECT pg_catalog.pg_try_advisory_lock(%d, pg_catalog.hashtext(%L))",
              (int)CLAIM + 1, database);
    int rc = pg_value(beside, buf_str(&sql), NULL, 0, &got, e);
    if (rc == 0 && !str_eq(got, "t"))
        rc = err_set(e, ERR_LOCKED, "another restore into %s on %s is under way; wait for its end",
                     database, pg_where(beside));
    return rc;
}

/* A database with a subscription cannot be dropped, and a restored one must not take the slot of
 * the original with it. */
static int drop_subscriptions(const struct pg_server *s, struct pg *beside, const char *name,
                              struct err *e)
{
    _cleanup_(str_list_release) struct str_list subs = {0};
    _cleanup_(pg_freep) struct pg *in = NULL;
    int rc = target_query_list(beside,
                               "SELECT s.subname FROM pg_catalog.pg_subscription s JOIN "
                               "pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1",
                               &name, 1, &subs, e);
    if (rc < 0) { /* not permitted to see them, and so without any of our own */
        *e = (struct err)ERR_INIT;
        return 0;
    }
    if (subs.n > 0)
        rc = target_connect(s, name, &in, e);
    for (size_t i = 0; rc == 0 && i < subs.n; i++)
        rc = pg_execf(in, e,
                      "ALTER SUBSCRIPTION %I DISABLE; ALTER SUBSCRIPTION %I SET (slot_name = NONE);"
                      "DROP SUBSCRIPTION %I",
                      subs.s[i], subs.s[i], subs.s[i]);
    return rc;
}

int working_drop(const struct pg_server *s, struct pg *beside, const char *name, struct err *e)
{
    int rc = drop_subscriptions(s, beside, name, e);
    if (rc == 0) /* what salvor's own workers left; nobody else knows the name */
        rc = pg_execf(beside, e,
                      "SELECT pg_catalog.pg_terminate_backend(pid) FROM "
                      "pg_catalog.pg_stat_activity WHERE datname = %L",
                      name);
    if (rc == 0)
        rc = pg_execf(beside, e, "DROP DATABASE IF EXISTS %I", name);
    return rc < 0 ? err_prefix(e, "the unfinished database %s could not be dropped", name) : 0;
}

/* ---- an address that can be written down ---- */

static void percent(const char *text, struct buf *out)
{
    for (const char *p = text; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-_.", *p) != NULL;
        buf_addf(out, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
}

static const char *variable(const struct str_list *env, const char *name)
{
    for (size_t i = 0; i < env->n; i++)
        if (str_starts(env->s[i], name))
            return env->s[i] + strlen(name);
    return "";
}

int target_postgres_address(const struct pg_server *s, const char *database, char **out,
                            struct err *e)
{
    _cleanup_(pg_freep) struct pg *beside = NULL;
    struct str_list env = {0};
    int rc = target_connect_beside(s, database, &beside, e);
    if (rc < 0)
        return rc;
    pg_environment(beside, &env);
    struct buf text = BUF_INIT(BUF_TEXT);
    buf_adds(&text, "postgresql://");
    percent(pg_user(beside), &text);
    buf_adds(&text, "@/");
    percent(database, &text);
    buf_adds(&text, "?host=");
    percent(variable(&env, "PGHOST="), &text);
    buf_adds(&text, "&port=");
    percent(variable(&env, "PGPORT="), &text);
    *out = buf_take(&text);
    pg_environment_release(&env);
    return 0;
}
