/* Connecting to a PostgreSQL server: patient no longer than agreed, open to interruption, and
 * told apart from a pooler that pretends to be one. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "client/postgres_int.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

int64_t pg_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

char *pg_describe(PGconn *conn)
{
    const char *database = PQdb(conn), *host = PQhost(conn), *port = PQport(conn);
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    if (database == NULL || *database == 0)
        database = "a database";
    text_printable(database, strlen(database), &text);
    buf_adds(&text, " on ");
    if (host == NULL || *host == 0)
        host = "this machine";
    text_printable(host, strlen(host), &text);
    bool network = *host != '/' && *host != '@';
    if (port != NULL && *port != 0 && (network || strcmp(port, "5432") != 0))
        buf_addf(&text, ":%s", port);
    return buf_take(&text);
}

/* ---- the connection ---- */

static void finish(PGconn **conn)
{
    PQfinish(*conn);
}

/* Waits until libpq can go on, or is to be asked whether it can. */
static int await(PGconn *conn, PostgresPollingStatusType state, int64_t deadline, bool shielded,
                 struct err *e)
{
    _cleanup_free_ char *where = pg_describe(conn);
    for (;;) {
        if (!shielded && cancel_check(e) != 0)
            return err_prefix(e, "connecting to %s", where);
        int64_t left = deadline - pg_now_ms();
        if (left <= 0) {
            (void)err_set(e, ERR_TIMEOUT,
                          "cannot connect to %s: no answer in time; is the server reachable, and "
                          "are host and port right?",
                          where);
            e->retryable = true;
            return e->code;
        }
        struct pollfd fd = {.fd = PQsocket(conn),
                            .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int n = poll(&fd, 1, left < PG_SLICE_MS ? (int)left : PG_SLICE_MS);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(e, errno, "cannot connect to %s", where);
    }
}

/* As text, since libpq takes an empty value in an array for one that was not given, and looks into
 * the environment. */
static void put_option(struct buf *info, const char *key, const char *value)
{
    buf_addf(info, "%s='", key);
    for (const char *p = value; *p != 0; p++)
        buf_addf(info, "%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    buf_adds(info, "' ");
}

int pg_open(struct str_list *keys, struct str_list *values, unsigned seconds, bool shielded,
            PGconn **out, struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf info = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < keys->n; i++)
        put_option(&info, keys->s[i], values->s[i]);
    _cleanup_(finish) PGconn *conn = PQconnectStart(buf_str(&info));
    if (conn == NULL)
        return err_set(e, ERR_IO, "cannot connect to the database: out of memory");
    if (PQstatus(conn) == CONNECTION_BAD)
        return pg_connect_failed(conn, e);
    (void)PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* for the SQLSTATE */
    int64_t deadline = pg_now_ms() + (int64_t)seconds * 1000;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        int rc = await(conn, state, deadline, shielded, e);
        if (rc != 0)
            return rc;
        state = PQconnectPoll(conn);
        if (state == PGRES_POLLING_FAILED)
            return pg_connect_failed(conn, e);
    }
    (void)PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn, 1) != 0)
        return pg_connect_failed(conn, e);
    *out = take(conn);
    return 0;
}

/* ---- the session ---- */

/* Says once a process what was left out of an address. */
static void tell_dropped(const struct str_list *dropped)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct str_list told; /* for the life of the process */
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < dropped->n; i++) {
        if (str_list_has(&told, dropped->s[i]))
            continue;
        str_list_add(&told, dropped->s[i]);
        log_notice("the database address says \"%s\", which only a framework understands: ignored",
                   dropped->s[i]);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void on_notice(void *arg, const PGresult *r)
{
    struct pg *p = arg;
    p->notices++;
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    if (text == NULL)
        return;
    _cleanup_(buf_release) struct buf line = BUF_INIT(BUF_TEXT);
    text_printable(text, strlen(text), &line);
    bool warning = severity != NULL && strcmp(severity, "WARNING") == 0;
    log_line(warning ? LOG_WARNING : LOG_DEBUG, "%s: %s", p->where, buf_str(&line));
}

/* A pooler makes up the number of the session, since ours is handed from one to another. */
static int look_for_pooler(struct pg *p, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p,
                      "SELECT pg_catalog.pg_backend_pid(),"
                      " pg_catalog.host(pg_catalog.inet_server_addr()),"
                      " coalesce(pg_catalog.inet_server_port()::pg_catalog.text,"
                      " pg_catalog.current_setting('port'))",
                      NULL, 0, &r, e);
    if (rc != 0)
        return rc;
    if (pg_rows_count(r) == 0 || pg_int(r, 0, 0) == PQbackendPID(p->conn))
        return 0;
    p->pooler = pg_is_null(r, 0, 1)
                    ? str_fmt("port %s on its machine", pg_text(r, 0, 2))
                    : str_fmt("host %s, port %s", pg_text(r, 0, 1), pg_text(r, 0, 2));
    return 0;
}

/* Not through a pooler: there the next client would find our settings. */
static int set_up(struct pg *p, struct err *e)
{
    const char *encoding = PQparameterStatus(p->conn, "server_encoding");
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    bool ascii = encoding != NULL && strcmp(encoding, "SQL_ASCII") == 0;
    pg_format(&sql,
              "SET client_encoding = %L; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD';"
              "SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;"
              "SET bytea_output = 'hex'; SET standard_conforming_strings = on;"
              "SET synchronize_seqscans = off; SET row_security = off;"
              "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
              "SET lock_timeout = %d; SET search_path = '';",
              ascii ? "SQL_ASCII" : "UTF8", (int)p->lock_ms);
    if (p->version >= 140000)
        buf_adds(&sql, "SET idle_session_timeout = 0;");
    if (p->version >= 170000)
        buf_adds(&sql, "SET transaction_timeout = 0;");
    return pg_exec(p, buf_str(&sql), e);
}

/* A server that vanishes without a word is noticed within two minutes, not two hours. */
static void watch_the_line(struct str_list *keys, struct str_list *values)
{
    static const char *const defaults[][2] = {{"keepalives_idle", "30"},
                                              {"keepalives_interval", "10"},
                                              {"keepalives_count", "6"},
                                              {"tcp_user_timeout", "120000"}};
    for (size_t i = 0; i < array_len(defaults); i++) {
        if (pg_option(keys, values, defaults[i][0]) == NULL)
            pg_option_set(keys, values, defaults[i][0], defaults[i][1]);
    }
}

int pg_connect(const struct pg_server *s, struct pg **out, struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = mem_zero(sizeof(*p));
    _cleanup_(str_list_release) struct str_list dropped = {0};
    p->lock_ms = s->lock_ms != 0 ? s->lock_ms : 30000;
    p->shielded = s->shielded;
    int rc = pg_url_options(s->url, &p->keys, &p->values, &dropped, e);
    if (rc != 0)
        return rc;
    tell_dropped(&dropped);
    if (s->database != NULL)
        pg_option_set(&p->keys, &p->values, "dbname", s->database);
    pg_option_set(&p->keys, &p->values, "application_name", "salvor");
    /* PGHOSTADDR belongs to the PGHOST beside it: it must not lead away from a host that is named.
     */
    if (pg_option(&p->keys, &p->values, "host") != NULL &&
        pg_option(&p->keys, &p->values, "hostaddr") == NULL)
        pg_option_set(&p->keys, &p->values, "hostaddr", "");
    watch_the_line(&p->keys, &p->values);
    unsigned seconds = s->connect_s != 0 ? s->connect_s : 15;
    rc = pg_open(&p->keys, &p->values, seconds, p->shielded, &p->conn, e);
    if (rc != 0)
        return rc;
    p->version = PQserverVersion(p->conn);
    p->database = str_dup(PQdb(p->conn));
    p->user = str_dup(PQuser(p->conn));
    p->where = pg_describe(p->conn);
    (void)PQsetNoticeReceiver(p->conn, on_notice, p);
    rc = look_for_pooler(p, e);
    if (rc == 0 && p->pooler == NULL)
        rc = set_up(p, e);
    if (rc != 0)
        return err_prefix(e, "cannot set up a session");
    *out = take(p);
    return 0;
}

int pg_refuse_pooler(struct pg *p, struct err *e)
{
    if (p->pooler == NULL)
        return 0;
    return err_set(e, ERR_REFUSED,
                   "%s is a pooler such as PgBouncer, which hands every transaction to another "
                   "session of the server; give the address of the server itself (%s)",
                   p->where, p->pooler);
}

void pg_environment_release(struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem_wipe(l->s[i], strlen(l->s[i]));
    str_list_release(l);
}

void pg_free(struct pg *p)
{
    if (p == NULL)
        return;
    PQclear(p->row);
    if (p->conn != NULL && !p->lost && PQtransactionStatus(p->conn) == PQTRANS_ACTIVE)
        pg_stop(p);
    PQfinish(p->conn);
    pg_environment_release(&p->values);
    str_list_release(&p->keys);
    free(p->database);
    free(p->user);
    free(p->where);
    free(p->pooler);
    free(p->blockers);
    free(p->text);
    free(p->len);
    free(p);
}

void pg_freep(struct pg **p)
{
    pg_free(*p);
}

void pg_shield(struct pg *p, bool on)
{
    p->shielded = on;
}

int pg_version(const struct pg *p)
{
    return p->version;
}

const char *pg_database(const struct pg *p)
{
    return p->database;
}

const char *pg_user(const struct pg *p)
{
    return p->user;
}

const char *pg_where(const struct pg *p)
{
    return p->where;
}

const char *pg_sqlstate(const struct pg *p)
{
    return p->sqlstate;
}

/* ---- the environment of the server's programs ---- */

/* Children must meet the same server with the same rights: what is not settled here is not to be
 * filled in from elsewhere. */
void pg_environment(const struct pg *p, struct str_list *out)
{
    static const char *const not_theirs[] = {"PGSERVICE",        "PGSERVICEFILE",
                                             "PGCLIENTENCODING", "PGTZ",
                                             "PGDATESTYLE",      "PGGEQO",
                                             "PGHOSTADDR",       "PGTARGETSESSIONATTRS"};
    for (size_t i = 0; i < array_len(not_theirs); i++)
        str_list_add(out, not_theirs[i]);
    PQconninfoOption *all = PQconninfo(p->conn);
    for (PQconninfoOption *o = all; o != NULL && o->keyword != NULL; o++) {
        bool named = o->envvar != NULL && o->val != NULL && *o->val != 0;
        for (size_t i = 0; named && i < array_len(not_theirs); i++)
            named = strcmp(o->envvar, not_theirs[i]) != 0;
        if (named)
            str_list_add_take(out, str_fmt("%s=%s", o->envvar, o->val));
    }
    PQconninfoFree(all);
    const char *address = PQhostaddr(p->conn), *password = PQpass(p->conn);
    str_list_add_take(out, str_fmt("PGHOST=%s", PQhost(p->conn)));
    str_list_add_take(out, str_fmt("PGPORT=%s", PQport(p->conn)));
    str_list_add_take(out, str_fmt("PGUSER=%s", p->user));
    str_list_add_take(out, str_fmt("PGDATABASE=%s", p->database));
    if (*PQhost(p->conn) != '/' && address != NULL && *address != 0)
        str_list_add_take(out, str_fmt("PGHOSTADDR=%s", address));
    if (password != NULL && *password != 0)
        str_list_add_take(out, str_fmt("PGPASSWORD=%s", password));
    mem_grow(&out->s, out->n, &out->cap, sizeof(*out->s));
    out->s[out->n] = NULL;
}
