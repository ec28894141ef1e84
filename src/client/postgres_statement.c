/* Statements on a PostgreSQL server: sent, waited for, and cancelled there when we are asked to
 * stop. Everything else of the client waits through pg_pause. */
#include "base/mem.h"
#include "base/work.h"
#include "client/postgres_int.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* ---- cancelling ---- */

static void *run_cancel(void *arg)
{
    PGcancel *c = arg;
    char text[256];
    (void)PQcancel(c, text, (int)sizeof(text)); /* should it fail, waiting for the end tells */
    PQfreeCancel(c);
    return NULL;
}

/* PQcancel connects on its own, and nothing limits how long that may take: so a thread does it. It
 * returns when the server has taken note, so that no later statement is hit. */
static bool send_cancel(struct pg *p)
{
    PGcancel *c = PQgetCancel(p->conn);
    if (c == NULL)
        return false;
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_cancel, c) != 0) {
        PQfreeCancel(c);
        return false;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PG_STOP_MS / 1000;
    if (pthread_timedjoin_np(thread, NULL, &until) == 0)
        return true;
    (void)pthread_detach(thread);
    return false;
}

/* Waits for `events` without asking about interruptions, and takes in what comes; false when it is
 * too late or the connection broke. */
static bool wait_by(struct pg *p, short events, int64_t until)
{
    int64_t left = until - pg_now_ms();
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = (short)(events | POLLIN)};
    if (left <= 0 || fd.fd < 0)
        return false;
    int n = poll(&fd, 1, left < PG_SLICE_MS ? (int)left : PG_SLICE_MS);
    return n <= 0 || (fd.revents & ~POLLOUT) == 0 || PQconsumeInput(p->conn) != 0;
}

static bool drain_copy(struct pg *p, int64_t until)
{
    for (;;) {
        char *row = NULL;
        int n = PQgetCopyData(p->conn, &row, 1);
        PQfreemem(row);
        if (n < 0)
            return true;
        if (n == 0 && !wait_by(p, POLLIN, until))
            return false;
    }
}

/* Ends a COPY from us, so that the server throws away what it got. */
static bool end_copy_in(struct pg *p, int64_t until)
{
    int rc;
    while ((rc = PQputCopyEnd(p->conn, "salvor has given up")) == 0) {
        if (!wait_by(p, POLLOUT, until))
            return false;
    }
    if (rc < 0) /* the server ended it before; its result says why */
        return true;
    while ((rc = PQflush(p->conn)) == 1) {
        if (!wait_by(p, POLLOUT, until))
            return false;
    }
    return rc == 0;
}

static bool drain_until(struct pg *p, int64_t until)
{
    for (;;) {
        while (PQisBusy(p->conn)) {
            if (!wait_by(p, POLLIN, until))
                return false;
        }
        _cleanup_(pg_clear) PGresult *r = PQgetResult(p->conn);
        if (r == NULL)
            return true;
        ExecStatusType status = PQresultStatus(r);
        if (status == PGRES_COPY_OUT && !drain_copy(p, until))
            return false;
        if (status == PGRES_COPY_IN && !end_copy_in(p, until))
            return false;
    }
}

void pg_drain(struct pg *p)
{
    if (!p->lost && !drain_until(p, pg_now_ms() + PG_STOP_MS))
        p->lost = true;
    p->doing = PG_IDLE;
}

void pg_stop(struct pg *p)
{
    if (p->lost) {
        p->doing = PG_IDLE;
        return;
    }
    int64_t until = pg_now_ms() + PG_STOP_MS;
    bool told = send_cancel(p);
    if (p->doing == PG_COPY_OUT)
        told = drain_copy(p, until) && told;
    else if (p->doing == PG_COPY_IN)
        told = end_copy_in(p, until) && told;
    if (!told || !drain_until(p, until))
        p->lost = true;
    p->doing = PG_IDLE;
}

int pg_interrupted(struct pg *p, struct err *e)
{
    int rc = p->shielded ? 0 : cancel_check(e);
    if (rc == 0)
        return 0;
    pg_stop(p);
    return err_prefix(e, "%s", p->where);
}

/* ---- sending and waiting ---- */

int pg_pause(struct pg *p, short events, struct err *e)
{
    if (p->lost)
        return pg_fail(p, NULL, e);
    int rc = pg_interrupted(p, e);
    if (rc != 0)
        return rc;
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = (short)(events | POLLIN)};
    int n = fd.fd < 0 ? 0 : poll(&fd, 1, PG_SLICE_MS);
    if (n < 0 && errno != EINTR)
        return err_sys(e, errno, "cannot wait for %s", p->where);
    bool input = n > 0 && (fd.revents & ~POLLOUT) != 0;
    if (fd.fd < 0 || (input && PQconsumeInput(p->conn) == 0))
        p->lost = true; /* what is there already can be read still; the next pause fails */
    p->heard = p->heard || input;
    return 0;
}

int pg_flush(struct pg *p, struct err *e)
{
    int left;
    while ((left = PQflush(p->conn)) == 1) {
        int rc = pg_pause(p, POLLOUT, e);
        if (rc != 0)
            return rc;
    }
    return left < 0 ? pg_fail(p, NULL, e) : 0;
}

int pg_send(struct pg *p, const char *sql, const char *const *params, size_t n, bool single,
            struct err *e)
{
    if (p->lost) {
        *p->sqlstate = 0;
        return err_set(e, ERR_IO, "the connection to %s is lost", p->where);
    }
    if (p->doing != PG_IDLE)
        return err_set(e, ERR_INTERNAL, "%s: asked while it answers", p->where);
    int rc = p->shielded ? 0 : cancel_check(e);
    if (rc != 0)
        return err_prefix(e, "%s", p->where);
    *p->sqlstate = 0;
    free(p->blockers);
    p->blockers = NULL;
    int ok = n > 0 || single ? PQsendQueryParams(p->conn, sql, (int)n, NULL, params, NULL, NULL, 0)
                             : PQsendQuery(p->conn, sql);
    if (ok == 0 || (single && PQsetSingleRowMode(p->conn) == 0))
        return pg_fail(p, NULL, e);
    return pg_flush(p, e);
}

/* Waits for an answer. One that takes long may be waiting for a lock: looking aside in less than
 * half the time that it may, we see who holds it before the server gives up. */
static int await_answer(struct pg *p, struct err *e)
{
    int64_t every = (int64_t)p->lock_ms * 45 / 100;
    int64_t look = pg_now_ms() + every;
    while (PQisBusy(p->conn) && !p->lost) {
        int rc = pg_pause(p, 0, e);
        if (rc != 0)
            return rc;
        if (p->doing == PG_IDLE && every > 0 && pg_now_ms() >= look && PQisBusy(p->conn)) {
            pg_look_for_blockers(p);
            look = pg_now_ms() + every;
        }
    }
    return 0;
}

/* A COPY that nobody asked for, among the statements of pg_exec. */
static int refuse_copy(struct pg *p, struct err *e)
{
    pg_stop(p);
    return err_set(e, ERR_INTERNAL, "%s: COPY among plain statements", p->where);
}

int pg_next(struct pg *p, PGresult **out, struct err *e)
{
    *out = NULL;
    int rc = await_answer(p, e);
    if (rc != 0)
        return rc;
    _cleanup_(pg_clear) PGresult *r = PQgetResult(p->conn);
    ExecStatusType status = r != NULL ? PQresultStatus(r) : PGRES_EMPTY_QUERY;
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE ||
        status == PGRES_NONFATAL_ERROR) {
        rc = pg_fail(p, r, e);
        pg_drain(p);
        return rc;
    }
    if (r == NULL && PQstatus(p->conn) == CONNECTION_BAD)
        return pg_fail(p, NULL, e);
    *out = take(r);
    return 0;
}

int pg_exec(struct pg *p, const char *sql, struct err *e)
{
    int rc = pg_send(p, sql, NULL, 0, false, e);
    bool more = rc == 0;
    while (more) {
        _cleanup_(pg_clear) PGresult *r = NULL;
        rc = pg_next(p, &r, e);
        if (rc != 0)
            return rc;
        more = r != NULL;
        ExecStatusType status = more ? PQresultStatus(r) : PGRES_EMPTY_QUERY;
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
            return refuse_copy(p, e);
    }
    return rc;
}

int pg_execf(struct pg *p, struct err *e, const char *fmt, ...)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_JSON);
    va_list args;
    va_start(args, fmt);
    pg_vformat(&sql, fmt, args);
    va_end(args);
    return pg_exec(p, buf_str(&sql), e);
}
