/* Swapping names. One transaction renames both databases. The first rename locks the name: whoever
 * connects waits, and who is connected is ended from a second connection meanwhile; nothing has to
 * be switched off before, and so a kill at any point leaves everything as it was. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/postgres_int.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum {
    NAME_MOST = 63, /* bytes of a name on the server */
    LOOKS = 120,    /* for what became of a lost COMMIT: as long as a server may take to recover */
    LOOK_NS = 500 * 1000 * 1000,
    KICK_NS = 10 * 1000 * 1000,
};

/* Tells a session from all others that the server has or had. */
#define SESSION_SQL "pg_catalog.concat(pid, ' ', backend_start)"

/* ---- ending the sessions of a database ---- */

struct kicker {
    struct pg *p;
    const char *names[2];
    atomic_bool stop;
};

int end_sessions(struct pg *p, const char *a, const char *b, struct err *e)
{
    return pg_execf(p, e,
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
                    "WHERE datname IN (%L, %L) AND pid <> pg_catalog.pg_backend_pid() AND "
                    "backend_type NOT LIKE 'autovacuum%%'",
                    a, b);
}

static void *kick_on(void *arg)
{
    struct kicker *k = arg;
    while (!atomic_load(&k->stop)) {
        struct err e = ERR_INIT; /* the rename tells, by failing */
        (void)!end_sessions(k->p, k->names[0], k->names[1], &e);
        (void)nanosleep(&(struct timespec){.tv_nsec = KICK_NS}, NULL);
    }
    return NULL;
}

/* ---- names ---- */

static int exists(struct pg *p, const char *name, bool *yes, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc =
        pg_query(p, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", &name, 1, &rows, e);
    *yes = rc == 0 && pg_rows_count(rows) > 0;
    return rc;
}

int target_postgres_spare_name(const struct pg_server *s, const char *database, const char *word,
                               struct timespec when, char **out, struct err *e)
{
    char stamp[32];
    struct tm tm;
    (void)gmtime_r(&when.tv_sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &tm);
    _cleanup_(pg_freep) struct pg *beside = NULL;
    int rc = target_connect_beside(s, database, &beside, e);
    for (unsigned n = 1; rc == 0; n++) {
        _cleanup_free_ char *tail =
            n == 1 ? str_fmt("_%s_%s", word, stamp) : str_fmt("_%s_%s_%u", word, stamp, n);
        size_t room = NAME_MOST - strlen(tail), len = strlen(database);
        if (len > room)
            for (len = room; len > 0 && ((unsigned char)database[len] & 0xc0) == 0x80;)
                len--;
        _cleanup_free_ char *name = str_fmt("%.*s%s", (int)len, database, tail);
        bool taken = false;
        rc = exists(beside, name, &taken, e);
        if (rc == 0 && !taken) {
            *out = take(name);
            return 0;
        }
    }
    return rc;
}

/* ---- the swap ---- */

/* Who is still there when the rename gives up, and why that may be. */
static int name_holders(struct pg *p, const char *database, struct err *e)
{
    _cleanup_(str_list_release) struct str_list who = {0};
    _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
    struct err ignored = ERR_INIT;
    (void)!target_query_list(p,
                             "SELECT pg_catalog.concat(usename, ' from ', "
                             "coalesce(client_addr::text, 'the socket'), ' (', application_name, "
                             "', process ', pid, ')') FROM pg_catalog.pg_stat_activity WHERE "
                             "datname = $1",
                             &database, 1, &who, &ignored);
    target_name_some(&who, &names);
    return err_set(
        e, ERR_LOCKED,
        "the database %s is still in use%s%s; nothing was changed; restore as a role that "
        "may end these sessions (pg_signal_backend, for those of superusers a superuser)",
        database, who.n > 0 ? " by " : "", buf_str(&names));
}

/* The session of a lost COMMIT is ended first, lest it is carried out after the look. */
static int look_anew(struct postgres_built *b, const char *good, const char *session, bool *done,
                     struct err *e)
{
    struct pg_server s = *b->server;
    s.shielded = true; /* an interruption may be why */
    int rc = 0;
    for (unsigned n = 0; n < LOOKS; n++) {
        _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
        bool there = false;
        *e = (struct err)ERR_INIT;
        pg_free(take(b->beside));
        rc = target_connect_beside(&s, good, &b->beside, e);
        if (rc == 0)
            rc = pg_query(b->beside,
                          "SELECT pg_catalog.pg_terminate_backend(pid) FROM "
                          "pg_catalog.pg_stat_activity WHERE " SESSION_SQL " = $1",
                          &session, 1, &rows, e);
        if (rc == 0 && pg_rows_count(rows) > 0)
            rc = err_set(e, ERR_LOCKED, "the session that was lost does not end");
        if (rc == 0)
            rc = exists(b->beside, b->name, &there, e);
        if (rc == 0) {
            *done = !there;
            pg_shield(b->beside, b->server->shielded);
            return 0;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    pg_free(take(b->beside));
    return rc;
}

int built_commit(struct postgres_built *b, const char *good, struct err *e)
{
    _cleanup_free_ char *session = NULL;
    struct err why = ERR_INIT;
    bool done = false;
    int rc = pg_value(b->beside,
                      "SELECT " SESSION_SQL " FROM pg_catalog.pg_stat_activity WHERE pid = "
                      "pg_catalog.pg_backend_pid()",
                      NULL, 0, &session, e);
    if (rc < 0 || (rc = pg_exec(b->beside, "COMMIT", e)) == 0)
        return rc;
    if (look_anew(b, good, session, &done, &why) < 0) {
        b->unsure = true;
        return err_hint(e,
                        "whether %s was renamed to %s before that, nobody can see: %s; look when "
                        "the server answers",
                        b->name, good, why.msg);
    }
    if (!done)
        return rc;
    log_notice("the names are swapped, though the server's answer was lost: %s", e->msg);
    *e = (struct err)ERR_INIT;
    return 0;
}

static int rename_both(struct postgres_built *b, const char *good, const char *kept, struct err *e)
{
    struct pg *p = b->beside;
    int rc = pg_exec(p, "BEGIN; SET LOCAL lock_timeout = '1500ms'", e);
    if (rc == 0 && kept != NULL)
        rc = pg_execf(p, e, "ALTER DATABASE %I RENAME TO %I", good, kept);
    if (rc == 0)
        rc = built_take_name(b, good, e);
    if (rc == 0)
        return built_commit(b, good, e);
    bool in_use = strcmp(pg_sqlstate(p), "55006") == 0;
    struct err ignored = ERR_INIT;
    (void)!pg_exec(p, "ROLLBACK", &ignored);
    return in_use ? name_holders(p, good, e) : rc;
}

/* Sessions of roles that are not ours to end show little of themselves. The rename would wait for
 * them, and everybody who connects behind it. */
static int refuse_foreign(struct pg *p, const char *database, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = pg_query(p,
                      "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND "
                      "backend_type IS NULL",
                      &database, 1, &rows, e);
    return rc == 0 && pg_rows_count(rows) > 0 ? name_holders(p, database, e) : rc;
}

/* `b` gets the name `good`; what has it becomes `kept`, or NULL where there is none. */
static int swap(struct postgres_built *b, const char *good, const char *kept, struct err *e)
{
    struct kicker k = {.names = {good, b->name}};
    _cleanup_(pg_freep) struct pg *second = NULL;
    int rc = target_connect_beside(b->server, good, &second, e);
    if (rc < 0)
        return rc;
    k.p = second;
    rc = end_sessions(second, good, b->name, e);
    if (rc < 0)
        return err_prefix(e, "the sessions of %s cannot be ended", good);
    rc = refuse_foreign(second, good, e);
    if (rc < 0)
        return rc;
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, kick_on, &k);
    if (failed != 0)
        return err_sys(e, failed, "cannot start a thread");
    rc = rename_both(b, good, kept, e);
    atomic_store(&k.stop, true);
    (void)pthread_join(thread, NULL);
    if (rc == 0)
        b->named = true;
    return rc;
}

int target_postgres_swap(const struct postgres_restore *r, struct postgres_built *b,
                         const char *kept, struct err *e)
{
    struct postgres_outlook o;
    int rc = target_postgres_look(r, &o, e);
    if (rc < 0)
        return rc;
    if (o.in_the_way.n > 0) {
        _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
        target_name_some(&o.in_the_way, &names);
        rc = err_set(e, ERR_REFUSED,
                     "%s cannot be swapped while it has %s: they would stay with the old one; end "
                     "them first, or restore under another name with --to",
                     r->database, buf_str(&names));
    }
    bool there = o.exists;
    postgres_outlook_release(&o);
    return rc < 0 ? rc : swap(b, r->database, there ? kept : NULL, e);
}

int target_postgres_put_back(const struct pg_server *s, const char *good, const char *kept,
                             const char *aside, struct err *e)
{
    _cleanup_(postgres_built_release) struct postgres_built b = {.server = s, .keep_comment = true};
    const char *from = kept != NULL ? kept : good;
    bool there = false, taken = false;
    int rc = target_connect_beside(s, good, &b.beside, e);
    if (rc == ERR_NOT_FOUND)
        rc = e->code = ERR_IO; /* only what is looked for here is called missing */
    if (rc == 0)
        rc = exists(b.beside, from, &there, e);
    if (rc == 0 && !there)
        rc = err_set(e, ERR_NOT_FOUND, "there is no database %s on %s", from, pg_where(b.beside));
    if (rc == 0)
        rc = exists(b.beside, good, &taken, e);
    if (rc < 0)
        return rc;
    b.name = str_dup(from);
    b.named = true; /* it is not ours to drop */
    return kept != NULL ? swap(&b, good, taken ? aside : NULL, e) : swap(&b, aside, NULL, e);
}
