/* What the files of the PostgreSQL client share. */
#ifndef SALVOR_CLIENT_POSTGRES_INT_H
#define SALVOR_CLIENT_POSTGRES_INT_H

#include "client/postgres.h"
#include <libpq-fe.h>
#include <stdarg.h>

enum {
    PG_SLICE_MS = 100, /* how late an interruption may be noticed */
    PG_STOP_MS = 5000, /* how long a server may take to cancel a statement */
};

enum pg_doing { PG_IDLE, PG_ROWS, PG_COPY_OUT, PG_COPY_IN };

struct pg {
    PGconn *conn;
    struct str_list keys, values; /* as handed to libpq; values hold the password */
    char *database, *user, *where;
    char *pooler; /* what is between us and the server, for a message; NULL if nothing is */
    int version;
    unsigned lock_ms;
    bool shielded;
    bool lost; /* nothing more can be asked */
    char sqlstate[6];
    char *blockers; /* who held the lock that the statement waited for, NULL if nobody was seen */
    enum pg_doing doing;
    uint64_t copied;  /* rows of the last COPY */
    size_t put;       /* bytes of this one since we last listened */
    size_t listen_at; /* after so many */
    size_t unasked;   /* bytes since we asked whether the server is at work still */
    bool heard;       /* something came from the server since then */
    unsigned notices; /* that the server has sent */
    PGresult *row;    /* of pg_rows_next, and its columns */
    bool fresh;       /* it was not handed out yet */
    const char **text;
    size_t *len;
    int columns;
};

int64_t pg_now_ms(void);

static inline void pg_clear(PGresult **r)
{
    PQclear(*r);
}

/* ---- postgres_url.c ---- */

/* What to hand to PQconnectdbParams for `url`: names and values of what it says. `dropped` as for
 * pg_clean_url. No message shows the password. */
_warn_unused_ int pg_url_options(const char *url, struct str_list *keys, struct str_list *values,
                                 struct str_list *dropped, struct err *e);
/* Sets an option, or replaces it where it is there. */
void pg_option_set(struct str_list *keys, struct str_list *values, const char *key,
                   const char *value);
const char *pg_option(const struct str_list *keys, const struct str_list *values, const char *key);

/* ---- postgres_connect.c ---- */

/* A connection with these options and nothing set up, for pg_connect and for a look from aside. */
_warn_unused_ int pg_open(struct str_list *keys, struct str_list *values, unsigned seconds,
                          bool shielded, PGconn **out, struct err *e);
char *pg_describe(PGconn *conn); /* "app on db:5432"; the caller frees */

/* ---- postgres_error.c ---- */

/* The code that an SQLSTATE stands for. */
int pg_code(const char *sqlstate, bool *retryable);
/* Says what a result, or the connection if `r` is NULL, complains of. */
int pg_fail(struct pg *p, const PGresult *r, struct err *e);
/* The same for a connection that was not made. */
int pg_connect_failed(PGconn *conn, struct err *e);

/* ---- postgres_statement.c ---- */

/* Sends a statement; its results are to be asked for until there is none. With `single`, rows come
 * one by one. */
_warn_unused_ int pg_send(struct pg *p, const char *sql, const char *const *params, size_t n,
                          bool single, struct err *e);
/* The next result, NULL when there is none; a failed one is an error, after which the connection
 * is idle again. */
_warn_unused_ int pg_next(struct pg *p, PGresult **out, struct err *e);
/* Waits until something can be read or, with POLLOUT in `events`, written; takes in what is there.
 * ERR_CANCELLED after the statement was ended. */
_warn_unused_ int pg_pause(struct pg *p, short events, struct err *e);
/* Sends all that libpq holds back. */
_warn_unused_ int pg_flush(struct pg *p, struct err *e);
/* Cancels what the server is doing and takes in what it still says; afterwards it is idle or lost.
 */
void pg_stop(struct pg *p);
/* Takes in results until there is none. */
void pg_drain(struct pg *p);
/* 0, or ERR_CANCELLED after the statement was ended. */
_warn_unused_ int pg_interrupted(struct pg *p, struct err *e);

/* ---- postgres_aside.c ---- */

/* Asks the server from a second connection who blocks this one; remembers it in p->blockers. */
void pg_look_for_blockers(struct pg *p);
/* After ERR_LOCKED: appends who blocks, as far as it can be seen. `message` is the server's. */
void pg_tell_blockers(struct pg *p, const char *message, struct err *e);
/* Whether the statement that this connection is feeding has ended on the server. */
bool pg_has_given_up(struct pg *p);

/* ---- postgres_program.c ---- */

/* pg_program with the places given: shell patterns of directories, and a PATH. */
_warn_unused_ int pg_program_among(const char *name, int major, bool exact,
                                   const char *const *patterns, const char *path, char **out,
                                   struct err *e);

/* ---- postgres_format.c ---- */

void pg_vformat(struct buf *out, const char *fmt, va_list args);

#endif
