/* A PostgreSQL server as its clients see it: connections, statements, COPY both ways, and the
 * server's own programs (pg_dump and its kin). A connection is used by one thread at a time.
 *
 * Errors carry the server's words, its SQLSTATE in brackets and what to do next; never a password.
 * A connection that breaks is ERR_IO; a wrong password, an unknown role or a missing right
 * ERR_DENIED; a database that is not there ERR_NOT_FOUND; a lock that was not to be had in time
 * ERR_LOCKED, naming who holds it where that can be seen; no space on the server ERR_FULL; an
 * interruption (base/work.h) ERR_CANCELLED, after the statement was cancelled on the server. */
#ifndef SALVOR_CLIENT_POSTGRES_H
#define SALVOR_CLIENT_POSTGRES_H

#include "base/stream.h"
#include "base/text.h"

struct pg;

/* ---- connecting ---- */

/* Where a server is. All strings are the caller's and may be NULL. */
struct pg_server {
    const char *url; /* postgres://, postgresql:// or "host=... dbname=..."; NULL or "": the PG*
                        variables alone. They also fill in what it leaves out, as does the
                        password file */
    const char *database; /* instead of the one that it names */
    const char *bindir;   /* where pg_dump and its kin are; NULL: found by pg_program */
    unsigned lock_ms;     /* how long one statement waits for a lock; 0: 30,000 */
    unsigned connect_s;   /* how long connecting may take; 0: 15 */
    bool shielded;        /* see pg_shield */
};

/* What frameworks add to an address and libpq refuses is taken out: "+asyncpg", "+psycopg2" and the
 * like after the scheme, jdbc: before it, and parameters that libpq does not know (?schema=public,
 * ?pgbouncer=true, ?connection_limit=5). `dropped` gets each, for a notice; it may be NULL. */
_warn_unused_ int pg_clean_url(const char *url, char **out, struct str_list *dropped,
                               struct err *e);
/* The database, host and port that an address means with the PG* variables; each the caller's to
 * free, NULL when it leaves it open. The pointers may be NULL. */
_warn_unused_ int pg_parse_url(const char *url, char **database, char **host, char **port,
                               struct err *e);

/* Connects, says once a process what was dropped from the address, and sets the session up: UTC,
 * ISO dates, the server's own text forms at full precision, an empty search_path, client encoding
 * UTF8, no statement or idle timeouts, lock_timeout, synchronize_seqscans off, row_security off (so
 * that a policy makes a query fail rather than hide rows), application_name salvor. SQL_ASCII
 * databases keep SQL_ASCII. Through a pooler nothing is set up, since the next client would find
 * it: pg_refuse_pooler. */
_warn_unused_ int pg_connect(const struct pg_server *s, struct pg **out, struct err *e);
void pg_free(struct pg *p); /* NULL is allowed; an open transaction is rolled back */
void pg_freep(struct pg **p);
/* While it is on, the connection takes no notice of interruptions: for cleaning up after one. */
void pg_shield(struct pg *p, bool on);

int pg_version(const struct pg *p);          /* 150018 for 15.18 */
const char *pg_database(const struct pg *p); /* in this connection's encoding */
const char *pg_user(const struct pg *p);
const char *pg_where(const struct pg *p);    /* "app on db.example.com:5432", for messages */
const char *pg_sqlstate(const struct pg *p); /* of the last statement that failed, "" if none */
/* A pooler such as PgBouncer hands each transaction to another session: dumps and swaps need one
 * session. ERR_REFUSED, naming the pooler, when there is one between (its cancel key is not the
 * server's). */
_warn_unused_ int pg_refuse_pooler(struct pg *p, struct err *e);

/* ---- statements ---- */

/* One or more statements; results are thrown away. */
_warn_unused_ int pg_exec(struct pg *p, const char *sql, struct err *e);
/* Built by format: %s plain text, %I a quoted identifier, %L a quoted literal (NULL gives NULL), %d
 * int, %lld long long, %llu unsigned long long, %%. Nothing else. */
_warn_unused_ int pg_execf(struct pg *p, struct err *e, const char *fmt, ...);
void pg_format(struct buf *out, const char *fmt, ...); /* the same into text */

struct pg_rows; /* a whole result in memory: for catalogues, not for data */
/* `params` are texts or NULL; all are typed by the server. */
_warn_unused_ int pg_query(struct pg *p, const char *sql, const char *const *params, size_t n,
                           struct pg_rows **out, struct err *e);
size_t pg_rows_count(const struct pg_rows *r);
bool pg_is_null(const struct pg_rows *r, size_t row, int column);
const char *pg_text(const struct pg_rows *r, size_t row, int column); /* "" for NULL */
int64_t pg_int(const struct pg_rows *r, size_t row, int column);      /* 0 for NULL */
bool pg_bool(const struct pg_rows *r, size_t row, int column);
void pg_rows_free(struct pg_rows *r);
void pg_rows_freep(struct pg_rows **r);
/* One value; ERR_NOT_FOUND when there is no row. The caller frees *out; NULL for NULL. */
_warn_unused_ int pg_value(struct pg *p, const char *sql, const char *const *params, size_t n,
                           char **out, struct err *e);

/* Rows one by one in constant memory. `text[i]` is NULL for NULL; valid during the call. A
 * negative return of fn (with *e) ends it and is handed on. */
struct pg_row {
    const char *const *text;
    const size_t *len;
    size_t n;
};
typedef int pg_row_fn(const struct pg_row *row, void *arg, struct err *e);
_warn_unused_ int pg_each(struct pg *p, const char *sql, pg_row_fn *fn, void *arg, struct err *e);
/* The same as a cursor in this program: pulled, so that two servers can be compared. */
_warn_unused_ int pg_rows_begin(struct pg *p, const char *sql, struct err *e);
/* *row is valid until the next call; row->n is 0 at the end. */
_warn_unused_ int pg_rows_next(struct pg *p, struct pg_row *row, struct err *e);
void pg_rows_end(struct pg *p); /* also half-way: the statement is cancelled */

/* ---- COPY ---- */

/* "COPY ... TO STDOUT" as a stream. Reading to its end checks that the server finished well.
 * Closing it early cancels the statement. While it is open, nothing else may be asked of p. */
_warn_unused_ int pg_copy_out(struct pg *p, const char *sql, struct stream **out, struct err *e);
uint64_t pg_copy_rows(const struct pg *p); /* of the last COPY that finished, either way */
/* "COPY ... FROM STDIN". */
_warn_unused_ int pg_copy_in(struct pg *p, const char *sql, struct err *e);
_warn_unused_ int pg_copy_put(struct pg *p, const void *data, size_t len, struct err *e);
_warn_unused_ int pg_copy_end(struct pg *p, struct err *e);
void pg_copy_abort(struct pg *p, const char *why);
/* All of a stream into one COPY. */
_warn_unused_ int pg_copy_in_stream(struct pg *p, const char *sql, struct stream *from,
                                    struct err *e);

/* ---- the server's programs ---- */

/* The path of "pg_dump", "pg_restore", "psql", "initdb", "pg_ctl", "postgres", "pg_dumpall" of at
 * least `major` (exactly it where `exact`), from bindir if given, else the lowest that fits of
 * /usr/lib/postgresql/N/bin, /usr/pgsql-N/bin, /opt/homebrew and PATH. ERR_NOT_FOUND says which
 * versions were found, and what to install. */
_warn_unused_ int pg_program(const char *name, int major, bool exact, const char *bindir,
                             char **out, struct err *e);
/* What makes a child meet this connection's server, for proc_options.env: "NAME=value" of PGHOST,
 * PGPORT, PGUSER, PGDATABASE, PGPASSWORD, the TLS settings, PGAPPNAME and PGOPTIONS, and "NAME" of
 * what would lead it astray. out->s ends with a NULL beyond out->n. Wipe it after use:
 * pg_environment_release. */
void pg_environment(const struct pg *p, struct str_list *out);
void pg_environment_release(struct str_list *l);

#endif
