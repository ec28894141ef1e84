/* Building a database beside, under a working name: definitions, data, indexes and keys, counts,
 * statistics, settings; then giving it its name. What fails on the way is dropped. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/postgres_int.h"

#include <string.h>

static void phase(const struct postgres_restore *r, const char *what)
{
    if (r->phase != NULL)
        r->phase(what, r->arg);
}

/* ---- beginning ---- */

static int drop_abandoned(const struct postgres_restore *r, struct pg *beside, struct err *e)
{
    _cleanup_(str_list_release) struct str_list names = {0};
    int rc = working_abandoned(beside, &names, e);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        struct err why = ERR_INIT;
        if (working_drop(r->server, beside, names.s[i], &why) < 0)
            log_warning("%s is left of a restore that did not end: %s", names.s[i], why.msg);
        else
            log_notice("dropped %s, left of a restore that did not end", names.s[i]);
    }
    return rc;
}

/* " TABLESPACE x" at the end names one that is not there. */
static char *without_tablespace(const char *statement)
{
    const char *at = strstr(statement, " TABLESPACE = ");
    return at != NULL ? str_ndup(statement, (size_t)(at - statement)) : str_dup(statement);
}

static int create_database(const struct postgres_restore *r, struct pg *beside,
                           const struct str_list *properties, const char *name, struct err *e)
{
    for (size_t i = 0; i < properties->n; i++) {
        if (!str_starts(properties->s[i], "CREATE DATABASE "))
            continue;
        _cleanup_free_ char *sql = r->without_tablespaces ? without_tablespace(properties->s[i])
                                                          : str_dup(properties->s[i]);
        int rc = pg_exec(beside, sql, e);
        if (rc == ERR_DENIED)
            err_hint(e, "the role that restores must be allowed to: ALTER ROLE ... CREATEDB");
        if (rc < 0)
            return err_prefix(e, "cannot create a database for %s", r->database);
        return pg_execf(beside, e, "COMMENT ON DATABASE %I IS %L", name,
                        "salvor restores into this database; when it is not at it any more, it may "
                        "be dropped");
    }
    return err_set(e, ERR_CORRUPT, "the dump does not say how its database was created");
}

/* ALTER DATABASE x SET ..., ALTER ROLE y IN DATABASE x SET ... */
static bool is_setting(const char *sql, const char *name)
{
    _cleanup_free_ char *begin = str_fmt("ALTER DATABASE \"%s\" SET ", name);
    return str_starts(sql, begin) || str_starts(sql, "ALTER ROLE ");
}

/* The settings before there are data, since values (money) and expressions may depend on them;
 * afterwards owner, rights, limits; the comment comes with the name. What cannot be had is said: a
 * database without one of its settings is better than none. */
static void apply_properties(const struct postgres_restore *r, struct pg *beside,
                             struct postgres_built *b, const struct str_list *properties,
                             bool settings)
{
    for (size_t i = 0; i < properties->n; i++) {
        const char *sql = properties->s[i];
        if (str_starts(sql, "CREATE DATABASE ") || is_setting(sql, b->name) != settings ||
            (r->without_roles && !str_starts(sql, "COMMENT ") &&
             (strstr(sql, " OWNER TO ") != NULL || !str_starts(sql, "ALTER DATABASE "))))
            continue;
        struct err why = ERR_INIT;
        if (str_starts(sql, "COMMENT ON DATABASE "))
            str_list_add(&b->comment, sql);
        else if (pg_exec(beside, sql, &why) < 0)
            log_warning("%s: not set: %s: %s", r->database, sql, why.msg);
    }
}

/* ---- checking ---- */

int check_count(struct pg *p, const struct postgres_table *t, const char *schema, struct err *e)
{
    if (!t->has_rows || t->split > 0 || (t->kind != 'r' && t->kind != 'u'))
        return 0;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *count = NULL;
    pg_format(&sql, "SELECT pg_catalog.count(*) FROM ONLY %I.%I",
              schema != NULL ? schema : t->schema, t->name);
    int rc = pg_value(p, buf_str(&sql), NULL, 0, &count, e);
    if (rc == 0 && strtoull(count, NULL, 10) != t->rows)
        rc = err_set(e, ERR_CORRUPT, "table %s.%s has %s rows now, and had %llu in the backup",
                     t->schema, t->name, count, (unsigned long long)t->rows);
    return rc;
}

/* Those of split tables were counted as they came; materialised views were made anew. */
static int check_counts(const struct postgres_restore *r, struct pg *p, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->manifest->ntable; i++)
        rc = check_count(p, &r->manifest->table[i], NULL, e);
    return rc;
}

/* ---- the whole ---- */

static int fill(const struct postgres_restore *r, const struct archive *a, const char *name,
                struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = NULL;
    int rc = target_connect(r->server, name, &p, e);
    phase(r, "definitions");
    if (rc == 0)
        rc = archive_restore(a, ARCHIVE_PRE_DATA, p, NULL, e);
    phase(r, "data");
    if (rc == 0)
        rc = load_data(a, name, &(struct load_choice){.dump = true, .split = true}, e);
    phase(r, "indexes");
    if (rc == 0)
        rc = archive_restore(a, ARCHIVE_POST_DATA, p, NULL, e);
    phase(r, "checking");
    if (rc == 0)
        rc = check_counts(r, p, e);
    phase(r, "statistics");
    return rc < 0 ? rc : analyze_all(r, p, e);
}

int build_begin(const struct postgres_restore *r, struct archive *a, struct postgres_built *b,
                struct str_list *properties, struct err *e)
{
    _cleanup_(str_list_release) struct str_list own = {0};
    if (properties == NULL)
        properties = &own;
    int rc = archive_open(a, r, pg_version(b->beside) / 10000, e);
    if (rc == 0)
        rc = drop_abandoned(r, b->beside, e);
    if (rc == 0)
        rc = working_claim(b->beside, &b->name, e);
    if (rc == 0)
        rc = archive_properties(a, b->name, properties, e);
    return rc < 0 ? rc : create_database(r, b->beside, properties, b->name, e);
}

static int build(const struct postgres_restore *r, struct postgres_built *b, struct err *e)
{
    _cleanup_(archive_close) struct archive a = {0};
    _cleanup_(str_list_release) struct str_list properties = {0};
    int rc = build_begin(r, &a, b, &properties, e);
    if (rc == 0) {
        apply_properties(r, b->beside, b, &properties, true);
        rc = fill(r, &a, b->name, e);
    }
    if (rc == 0)
        apply_properties(r, b->beside, b, &properties, false);
    return rc;
}

int build_prepare(const struct postgres_restore *r, struct postgres_restore *own, struct pg *beside,
                  struct err *e)
{
    struct postgres_outlook o;
    *own = *r;
    own->workers = r->workers > 0 ? r->workers : (unsigned)cpu_count();
    int rc = working_alone(beside, r->database, e);
    if (rc == 0)
        rc = target_postgres_look(r, &o, e);
    if (rc < 0)
        return rc;
    rc = target_postgres_ready(r, &o, e);
    if (rc == 0 && o.missing_tablespaces.n > 0) {
        _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
        target_name_some(&o.missing_tablespaces, &names);
        log_warning("the server lacks the tablespace%s %s: what was there goes to the default one",
                    o.missing_tablespaces.n == 1 ? "" : "s", buf_str(&names));
        own->without_tablespaces = true;
    }
    if (rc == 0 && o.missing_roles.n > 0 && r->create_roles)
        rc = roles_create(r, beside, &o.missing_roles, e);
    postgres_outlook_release(&o);
    return rc;
}

int target_postgres_build(const struct postgres_restore *r, struct postgres_built *out,
                          struct err *e)
{
    struct postgres_restore own;
    *out = (struct postgres_built){.server = r->server};
    int rc = target_connect_beside(r->server, r->database, &out->beside, e);
    if (rc == 0)
        rc = build_prepare(r, &own, out->beside, e);
    if (rc == 0)
        rc = build(&own, out, e);
    if (rc < 0)
        postgres_built_release(out);
    return rc;
}

/* Also after an interruption, and when the connection is what broke. */
static void drop_built(struct postgres_built *b)
{
    struct pg_server s = *b->server;
    struct err why = ERR_INIT;
    s.shielded = true;
    if (b->beside != NULL) {
        pg_shield(b->beside, true);
        if (working_drop(&s, b->beside, b->name, &why) == 0)
            return;
    }
    pg_free(take(b->beside));
    why = (struct err)ERR_INIT;
    int rc = target_connect_beside(&s, b->name, &b->beside, &why);
    if (rc == 0)
        rc = working_drop(&s, b->beside, b->name, &why);
    if (rc < 0)
        log_warning("%s; the next restore drops it", why.msg);
}

void postgres_built_release(struct postgres_built *b)
{
    if (b->name != NULL && !b->named)
        drop_built(b);
    pg_free(b->beside);
    free(b->name);
    str_list_release(&b->comment);
    *b = (struct postgres_built){0};
}

/* The empty one had its name until now: only now nobody can put anything into it any more. It has
 * no name of ours, so that no later restore drops it unseen when this one is killed here. */
static int drop_empty(const struct postgres_restore *r, struct postgres_built *b, const char *spare,
                      struct err *e)
{
    bool empty = false;
    struct err why = ERR_INIT;
    int rc = database_empty(r->server, spare, &empty, e);
    if (rc == 0 && empty) {
        if (pg_execf(b->beside, &why, "DROP DATABASE %I", spare) < 0)
            log_warning("the empty database that was there is left as %s: %s", spare, why.msg);
        return 0;
    }
    if (rc == 0)
        rc = err_set(e, ERR_EXISTS,
                     "the database %s on %s was empty, and meanwhile somebody made something in "
                     "it; restore under another name",
                     r->database, pg_where(b->beside));
    struct pg_server s = *r->server;
    s.shielded = true; /* an interruption may be why */
    if (target_postgres_put_back(&s, r->database, spare, b->name, &why) < 0)
        return err_hint(e, "it is kept as %s, since it could not be put back: %s", spare, why.msg);
    b->named = false;
    return rc;
}

int target_postgres_publish(const struct postgres_restore *r, struct postgres_built *b,
                            struct err *e)
{
    _cleanup_free_ char *spare = NULL;
    struct postgres_outlook o;
    int rc = target_postgres_look(r, &o, e);
    if (rc < 0)
        return rc;
    bool exists = o.exists, empty = o.empty;
    size_t sessions = o.sessions.n;
    postgres_outlook_release(&o);
    if (exists && !empty)
        return err_set(e, ERR_EXISTS,
                       "the database %s on %s is not empty; restore under another name, or drop it",
                       r->database, pg_where(b->beside));
    if (sessions > 0)
        return err_set(e, ERR_LOCKED, "the empty database %s on %s is in use by %zu session%s",
                       r->database, pg_where(b->beside), sessions, sessions == 1 ? "" : "s");
    if (exists)
        rc = target_postgres_spare_name(r->server, r->database, "empty", clock_wall(&clock_system),
                                        &spare, e);
    if (rc == 0)
        rc = pg_exec(b->beside, "BEGIN", e);
    if (rc == 0 && exists)
        rc = pg_execf(b->beside, e, "ALTER DATABASE %I RENAME TO %I", r->database, spare);
    if (rc == 0)
        rc = built_take_name(b, r->database, e);
    if (rc == 0) {
        rc = built_commit(b, r->database, e);
    } else {
        struct err ignored = ERR_INIT;
        (void)!pg_exec(b->beside, "ROLLBACK", &ignored);
    }
    if (rc < 0)
        return err_prefix(e, "%s is restored, but cannot get its name", r->database);
    b->named = true;
    return exists ? drop_empty(r, b, spare, e) : 0;
}

int built_take_name(struct postgres_built *b, const char *name, struct err *e)
{
    int rc = pg_execf(b->beside, e, "ALTER DATABASE %I RENAME TO %I", b->name, name);
    if (rc == 0 && !b->keep_comment)
        rc = pg_execf(b->beside, e, "COMMENT ON DATABASE %I IS NULL", name);
    for (size_t i = 0; rc == 0 && i < b->comment.n; i++) {
        _cleanup_free_ char *sql = statement_rename_database(b->comment.s[i], name);
        rc = pg_exec(b->beside, sql, e);
    }
    return rc;
}

int target_postgres_new(const struct postgres_restore *r, struct err *e)
{
    _cleanup_(postgres_built_release) struct postgres_built b = {0};
    struct postgres_outlook o;
    int rc = target_postgres_look(r, &o, e);
    if (rc == 0) {
        if (o.exists && !o.empty)
            rc = err_set(e, ERR_EXISTS,
                         "the database %s is there already and not empty; restore under another "
                         "name",
                         r->database);
        postgres_outlook_release(&o);
    }
    if (rc == 0)
        rc = target_postgres_build(r, &b, e);
    return rc < 0 ? rc : target_postgres_publish(r, &b, e);
}
