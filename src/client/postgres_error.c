/* What a PostgreSQL server complains of, as codes and words of this program. */
#include "base/mem.h"
#include "client/postgres_int.h"
#include <string.h>

/* By SQLSTATE or, two characters, by its class; the first that fits counts. */
static const struct meaning {
    const char *state;
    int code;
    bool retryable;
    const char *next; /* what to do, NULL where the server's words say enough */
} meanings[] = {
    {"08", ERR_IO, true, NULL},
    {"0A", ERR_UNSUPPORTED, false, NULL},
    {"22021", ERR_IO, false, "the data are not valid in the encoding of the database"},
    {"23505", ERR_EXISTS, false, NULL},
    {"25006", ERR_DENIED, false, "is it a standby, or set to default_transaction_read_only?"},
    {"28", ERR_DENIED, false, NULL},
    {"3D000", ERR_NOT_FOUND, false, NULL},
    {"3F000", ERR_NOT_FOUND, false, NULL},
    {"40001", ERR_CHANGED, true, NULL},
    {"40P01", ERR_LOCKED, true, NULL},
    {"42501", ERR_DENIED, false, "grant the right, or connect as the owner or a superuser"},
    {"42703", ERR_NOT_FOUND, false, NULL},
    {"42704", ERR_NOT_FOUND, false, NULL},
    {"42883", ERR_NOT_FOUND, false, NULL},
    {"42P01", ERR_NOT_FOUND, false, NULL},
    {"42710", ERR_EXISTS, false, NULL},
    {"42723", ERR_EXISTS, false, NULL},
    {"42P04", ERR_EXISTS, false, NULL},
    {"42P06", ERR_EXISTS, false, NULL},
    {"42P07", ERR_EXISTS, false, NULL},
    {"53100", ERR_FULL, false, "free space where the server keeps its data"},
    {"53200", ERR_IO, true, NULL},
    {"53300", ERR_IO, true, "end idle sessions (see pg_stat_activity), or raise max_connections"},
    {"53400", ERR_LIMIT, false, NULL},
    {"54", ERR_LIMIT, false, NULL},
    {"55006", ERR_LOCKED, true, NULL},
    {"55P03", ERR_LOCKED, true, NULL},
    {"57014", ERR_IO, true, "somebody on the server cancelled it, or a limit of time there did"},
    {"57P03", ERR_IO, true, "try again when it has started or recovered"},
    {"57P", ERR_IO, true, NULL},
    {"XX001", ERR_CORRUPT, false,
     "the server's files are damaged: keep a copy of them as they are"},
    {"XX002", ERR_CORRUPT, false, "an index is damaged: REINDEX rebuilds it"},
};

static const struct meaning *meaning_of(const char *sqlstate)
{
    for (size_t i = 0; i < array_len(meanings); i++) {
        if (str_starts(sqlstate, meanings[i].state))
            return &meanings[i];
    }
    return NULL;
}

int pg_code(const char *sqlstate, bool *retryable)
{
    const struct meaning *m = meaning_of(sqlstate);
    if (retryable != NULL)
        *retryable = m != NULL && m->retryable;
    return m != NULL ? m->code : ERR_IO;
}

static void set_error(const char *sqlstate, const struct buf *text, struct err *e)
{
    const struct meaning *m = meaning_of(sqlstate);
    bool retryable;
    (void)err_set(e, pg_code(sqlstate, &retryable), "%s", buf_str(text));
    e->retryable = retryable;
    if (m != NULL && m->next != NULL)
        (void)err_hint(e, "%s", m->next);
}

/* Appends a text of the server, its first line, if there is one. */
static void add_field(struct buf *out, const char *before, const char *text)
{
    size_t len = text != NULL ? strcspn(text, "\r\n") : 0;
    if (len == 0)
        return;
    if (len > 400)
        len = 400;
    else if (text[len - 1] == '.')
        len--;
    buf_adds(out, before);
    text_printable(text, len, out);
}

/* The connection broke: what libpq says of it, without the guess that it adds. */
static int lost(struct pg *p, struct err *e)
{
    p->lost = true;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    buf_addf(&text, "lost the connection to %s", p->where);
    add_field(&text, ": ", PQerrorMessage(p->conn));
    (void)err_set(e, ERR_IO, "%s", buf_str(&text));
    e->retryable = true;
    return e->code;
}

int pg_fail(struct pg *p, const PGresult *r, struct err *e)
{
    const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    (void)snprintf(p->sqlstate, sizeof(p->sqlstate), "%s", state != NULL ? state : "");
    if (PQstatus(p->conn) == CONNECTION_BAD)
        p->lost = true;
    if (state == NULL && p->lost)
        return lost(p, e);
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    buf_adds(&text, p->where);
    if (state == NULL) { /* libpq's own complaint */
        add_field(&text, ": ", r != NULL ? PQresultErrorMessage(r) : PQerrorMessage(p->conn));
        return err_set(e, ERR_IO, "%s", buf_str(&text));
    }
    const char *primary = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *context = PQresultErrorField(r, PG_DIAG_CONTEXT);
    add_field(&text, ": ", primary);
    buf_addf(&text, " [%s]", state);
    add_field(&text, "; ", PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL));
    if (context != NULL && str_starts(context, "COPY "))
        add_field(&text, "; ", context);
    add_field(&text, "; ", PQresultErrorField(r, PG_DIAG_MESSAGE_HINT));
    set_error(state, &text, e);
    if (e->code == ERR_LOCKED)
        pg_tell_blockers(p, primary, e);
    return e->code;
}

/* ---- connections that were not made ---- */

/* Finds "FATAL:  28P01: text" in a line; the text, and the state in *state. */
static const char *find_state(const char *line, char state[6])
{
    for (const char *c = strstr(line, ":  "); c != NULL; c = strstr(c + 1, ":  ")) {
        const char *s = c + 3;
        if (strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && str_starts(s + 5, ": ")) {
            memcpy(state, s, 5);
            state[5] = 0;
            return s + 7;
        }
    }
    return NULL;
}

/* The lines that say something, each once: libpq tells every address and way that it tried, and
 * with each "connection to server at ..., port ... failed: ", which we say better. */
static void gather(char *message, struct buf *out, char state[6])
{
    _cleanup_(str_list_release) struct str_list said = {0};
    for (char *save, *line = strtok_r(message, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        const char *text = line;
        if (str_starts(line, "LOCATION:") || *line == '\t')
            continue;
        const char *failed =
            str_starts(line, "connection to server ") ? strstr(line, "failed: ") : NULL;
        if (failed != NULL)
            text = failed + strlen("failed: ");
        const char *server = find_state(line, state);
        if (server != NULL)
            text = server;
        if (*text == 0 || str_list_has(&said, text) || said.n >= 4)
            continue;
        str_list_add(&said, text);
        buf_adds(out, said.n > 1 ? "; " : ": ");
        text_printable(text, strlen(text), out);
    }
    if (*state != 0)
        buf_addf(out, " [%s]", state);
}

static int advise(PGconn *conn, const char *text, struct err *e)
{
    if (PQconnectionNeedsPassword(conn)) {
        e->code = ERR_DENIED;
        return err_hint(e, "it wants a password: give it in the address, by PGPASSWORD or in the "
                           "password file (~/.pgpass, mode 0600)");
    }
    if (e->code == ERR_DENIED && PQconnectionUsedPassword(conn))
        return err_hint(e, "check the user and the password that it was given");
    if (e->code == ERR_DENIED)
        return err_hint(e, "pg_hba.conf on the server decides who may connect from where");
    if (e->code == ERR_NOT_FOUND)
        return err_hint(e, "check the name of the database in the address");
    if (strstr(text, "certificate") != NULL)
        return err_hint(e, "sslrootcert must name the authority that signed the server's "
                           "certificate, and the host must be the one that it names");
    static const char *const absent[] = {"Connection refused", "No such file", "timed out",
                                         "Connection reset", "closed the connection"};
    for (size_t i = 0; i < array_len(absent); i++) {
        if (strstr(text, absent[i]) != NULL) {
            e->retryable = true;
            return err_hint(e, "is the server running, and are host and port right?");
        }
    }
    return e->code;
}

int pg_connect_failed(PGconn *conn, struct err *e)
{
    _cleanup_free_ char *message = str_dup(PQerrorMessage(conn));
    _cleanup_free_ char *where = pg_describe(conn);
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    const char *user = PQuser(conn);
    buf_addf(&text, "cannot connect to %s", where);
    if (user != NULL && *user != 0) {
        buf_adds(&text, " as ");
        text_printable(user, strlen(user), &text);
    }
    char state[6] = "";
    gather(message, &text, state);
    set_error(state, &text, e);
    return advise(conn, buf_str(&text), e);
}
