/* COPY with a PostgreSQL server, both ways, in constant memory. */
#include "base/mem.h"
#include "client/postgres_int.h"
#include <poll.h>
#include <string.h>

enum {
    PUT_MOST = 1 << 18,     /* handed to libpq at once: it keeps a copy until it is sent */
    MOVE_BYTES = 1 << 18,   /* from a stream at once */
    LISTEN_BYTES = 1 << 20, /* how much is sent before we listen for a complaint */
    ASK_BYTES = 256 << 20,  /* and before we ask anyway: sending, libpq may have heard it */
};

/* Sends a COPY statement and waits until the server is ready for it. */
static int begin(struct pg *p, const char *sql, ExecStatusType expected, struct err *e)
{
    int rc = pg_send(p, sql, NULL, 0, false, e);
    if (rc != 0)
        return rc;
    p->copied = 0;
    _cleanup_(pg_clear) PGresult *r = NULL;
    rc = pg_next(p, &r, e);
    if (rc != 0)
        return rc;
    if (r != NULL && PQresultStatus(r) == expected)
        return 0;
    if (r != NULL)
        pg_stop(p);
    return err_set(e, ERR_INTERNAL, "%s: a statement that is no COPY", p->where);
}

/* Takes in the verdict of the server at the end of a COPY. */
static int finish(struct pg *p, struct err *e)
{
    bool more = true;
    while (more) {
        _cleanup_(pg_clear) PGresult *r = NULL;
        int rc = pg_next(p, &r, e);
        if (rc != 0) {
            p->doing = PG_IDLE;
            return rc;
        }
        more = r != NULL;
        if (more)
            p->copied = strtoull(PQcmdTuples(r), NULL, 10);
    }
    p->doing = PG_IDLE;
    return 0;
}

uint64_t pg_copy_rows(const struct pg *p)
{
    return p->copied;
}

/* ---- out ---- */

struct copy_stream {
    struct stream stream; /* first: a struct stream * is one of these */
    struct pg *pg;
    char *row; /* what libpq gave and was not read yet, of `len` bytes from `at` */
    size_t len, at;
};

/* Fetches the next row; c->len is 0 at the end. With `wait` false, and at once, also when there is
 * none yet. */
static int fetch(struct copy_stream *c, bool wait, struct err *e)
{
    struct pg *p = c->pg;
    PQfreemem(c->row);
    c->row = NULL;
    c->len = c->at = 0;
    for (;;) {
        int n = PQgetCopyData(p->conn, &c->row, 1);
        if (n > 0)
            c->len = (size_t)n;
        else if (n < 0)
            return finish(p, e); /* also when it broke off: the verdict says so */
        if (n != 0 || !wait)
            return 0;
        int rc = pg_pause(p, 0, e);
        if (rc != 0)
            return rc;
    }
}

static int copy_stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    struct copy_stream *c = (struct copy_stream *)s;
    int rc = c->pg->doing == PG_COPY_OUT ? pg_interrupted(c->pg, e) : 0;
    while (rc == 0 && *got < len) {
        if (c->at == c->len && c->pg->doing == PG_COPY_OUT)
            rc = fetch(c, *got == 0, e);
        size_t n = c->len - c->at < len - *got ? c->len - c->at : len - *got;
        if (rc != 0 || n == 0)
            break;
        memcpy((char *)data + *got, c->row + c->at, n);
        c->at += n;
        *got += n;
    }
    return rc;
}

static void copy_stream_close(struct stream *s)
{
    struct copy_stream *c = (struct copy_stream *)s;
    if (c->pg->doing == PG_COPY_OUT)
        pg_stop(c->pg);
    PQfreemem(c->row);
    free(c);
}

int pg_copy_out(struct pg *p, const char *sql, struct stream **out, struct err *e)
{
    int rc = begin(p, sql, PGRES_COPY_OUT, e);
    if (rc != 0)
        return rc;
    p->doing = PG_COPY_OUT;
    struct copy_stream *c = mem_zero(sizeof(*c));
    c->stream.read = copy_stream_read;
    c->stream.close = copy_stream_close;
    c->pg = p;
    *out = &c->stream;
    return 0;
}

/* ---- in ---- */

int pg_copy_in(struct pg *p, const char *sql, struct err *e)
{
    int rc = begin(p, sql, PGRES_COPY_IN, e);
    if (rc == 0)
        p->doing = PG_COPY_IN;
    p->put = p->unasked = 0;
    p->listen_at = LISTEN_BYTES;
    p->heard = false;
    return rc;
}

/* The server ended the COPY before we did: its result says why. */
static int ended_early(struct pg *p, struct err *e)
{
    int rc = finish(p, e);
    return rc != 0 ? rc : pg_fail(p, NULL, e);
}

/* libpq hears of a failed COPY only at its end, and a server that failed takes all that we send and
 * throws it away: that could be hours. So where something comes that is no notice, we ask. */
static int listen_to(struct pg *p, struct err *e)
{
    p->unasked += p->put;
    p->put = 0;
    struct pollfd fd = {.fd = PQsocket(p->conn), .events = POLLIN};
    if (poll(&fd, 1, 0) > 0)
        p->heard = PQconsumeInput(p->conn) != 0; /* if not, sending will say so */
    unsigned notices = p->notices;
    (void)PQisBusy(p->conn); /* takes the notices in what we heard */
    bool only_notices = notices != p->notices;
    if (only_notices)
        p->heard = false;
    if (!p->heard && p->unasked < ASK_BYTES)
        return 0;
    p->unasked = 0;
    if (!pg_has_given_up(p)) { /* or not yet */
        p->listen_at *= p->heard ? 2 : 1;
        return 0;
    }
    (void)PQputCopyEnd(p->conn, "salvor has seen the error"); /* the server ignores it */
    return ended_early(p, e);
}

int pg_copy_put(struct pg *p, const void *data, size_t len, struct err *e)
{
    const char *at = data;
    if (p->doing != PG_COPY_IN)
        return err_set(e, ERR_INTERNAL, "%s: data without a COPY", p->where);
    int rc = pg_interrupted(p, e);
    while (rc == 0 && len > 0) {
        int piece = len < PUT_MOST ? (int)len : PUT_MOST;
        int taken = PQputCopyData(p->conn, at, piece);
        if (taken < 0)
            return ended_early(p, e);
        if (taken > 0) {
            at += piece;
            len -= (size_t)piece;
        }
        rc = pg_flush(p, e);
        if (rc == 0 && taken == 0)
            rc = pg_pause(p, POLLOUT, e);
        p->put += taken > 0 ? (size_t)piece : 0;
        if (rc == 0 && p->put >= p->listen_at)
            rc = listen_to(p, e);
    }
    if (rc != 0)
        p->doing = PG_IDLE;
    return rc;
}

int pg_copy_end(struct pg *p, struct err *e)
{
    if (p->doing != PG_COPY_IN)
        return err_set(e, ERR_INTERNAL, "%s: the end of a COPY that was not begun", p->where);
    int taken, rc = pg_interrupted(p, e); /* before, not after, it is the server's */
    if (rc != 0)
        return rc;
    while ((taken = PQputCopyEnd(p->conn, NULL)) == 0) {
        rc = pg_pause(p, POLLOUT, e);
        if (rc != 0)
            return rc;
    }
    rc = taken > 0 ? pg_flush(p, e) : 0;
    return rc != 0 ? rc : finish(p, e);
}

void pg_copy_abort(struct pg *p, const char *why)
{
    if (p->doing != PG_COPY_IN)
        return;
    (void)PQputCopyEnd(p->conn, why);
    while (!p->lost && PQflush(p->conn) == 1) {
        struct err ignored = ERR_INIT;
        if (pg_pause(p, POLLOUT, &ignored) != 0)
            return;
    }
    pg_drain(p);
}

int pg_copy_in_stream(struct pg *p, const char *sql, struct stream *from, struct err *e)
{
    int rc = pg_copy_in(p, sql, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *piece = mem_alloc(MOVE_BYTES);
    size_t got = 1;
    while (rc == 0 && got > 0) {
        rc = stream_read_full(from, piece, MOVE_BYTES, &got, e);
        if (rc != 0)
            pg_copy_abort(p, e->msg);
        else
            rc = pg_copy_put(p, piece, got, e);
    }
    return rc != 0 ? rc : pg_copy_end(p, e);
}
