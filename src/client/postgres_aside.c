/* What only a second connection can tell of the first one, which waits or is at work: who holds the
 * lock that it waits for, and whether the server has given up long ago. It is a kindness: where it
 * cannot be seen, nothing is said. */
#include "base/log.h"
#include "base/mem.h"
#include "client/postgres_int.h"
#include "client/postgres_sql.h"
#include <string.h>

enum { ASIDE_S = 3 }; /* how long connecting aside may take */

/* Opens a second connection of a short life. */
static struct pg *aside(struct pg *p)
{
    struct err ignored = ERR_INIT;
    struct pg *q = mem_zero(sizeof(*q));
    q->shielded = p->shielded;
    q->where = str_dup(p->where);
    q->version = p->version;
    if (pg_open(&p->keys, &p->values, ASIDE_S, p->shielded, &q->conn, &ignored) == 0 &&
        pg_exec(q, "SET statement_timeout = 3000; SET search_path = ''; SET TimeZone = 'UTC'",
                &ignored) == 0)
        return q;
    pg_free(q);
    return NULL;
}

/* One line a session: what the statement gives as text, joined; NULL for none. */
static char *ask_aside(struct pg *p, const char *sql, const char *const *params, size_t n)
{
    _cleanup_(pg_freep) struct pg *q = aside(p);
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    struct err ignored = ERR_INIT;
    if (q == NULL || pg_query(q, sql, params, n, &r, &ignored) != 0 || pg_rows_count(r) == 0)
        return NULL;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < pg_rows_count(r); i++) {
        const char *line = pg_text(r, i, 0);
        buf_adds(&text, i > 0 ? ", and " : "");
        text_printable(line, strlen(line), &text);
    }
    return buf_take(&text);
}

void pg_look_for_blockers(struct pg *p)
{
    _cleanup_free_ char *us = str_fmt("%d", PQbackendPID(p->conn));
    const char *const params[] = {us};
    char *found = p->pooler == NULL ? ask_aside(p, sql_blockers, params, 1) : NULL;
    if (found == NULL)
        return;
    if (p->blockers == NULL || strcmp(p->blockers, found) != 0)
        log_notice("%s: waiting for a lock held by %s", p->where, found);
    free(p->blockers);
    p->blockers = found;
}

/* The first thing that a message quotes, whatever its language: of NOWAIT, the relation. */
static char *quoted(const char *message)
{
    const char *from = message != NULL ? strchr(message, '"') : NULL;
    const char *to = from != NULL ? strchr(from + 1, '"') : NULL;
    return to != NULL ? str_ndup(from + 1, (size_t)(to - from - 1)) : NULL;
}

void pg_tell_blockers(struct pg *p, const char *message, struct err *e)
{
    if (p->blockers == NULL && p->pooler == NULL && !p->lost && strcmp(p->sqlstate, "55P03") == 0) {
        _cleanup_free_ char *us = str_fmt("%d", PQbackendPID(p->conn));
        _cleanup_free_ char *relation = quoted(message);
        const char *const params[] = {us, relation};
        p->blockers = ask_aside(p, sql_lock_holders, params, 2);
    }
    if (p->blockers != NULL)
        (void)err_hint(e, "the lock is held by %s", p->blockers);
}

bool pg_has_given_up(struct pg *p)
{
    _cleanup_free_ char *us = str_fmt("%d", PQbackendPID(p->conn));
    const char *const params[] = {us};
    _cleanup_free_ char *at_work = p->pooler == NULL ? ask_aside(p, sql_at_work, params, 1) : NULL;
    return at_work != NULL && strcmp(at_work, "f") == 0;
}
