/* Addresses of PostgreSQL servers: what frameworks write is made what libpq reads. */
#include "base/mem.h"
#include "client/postgres_int.h"
#include <ctype.h>
#include <string.h>

/* ---- parameters ---- */

/* Decodes %XX up to `len` bytes; NULL when it is not that. */
static char *decode(const char *s, size_t len)
{
    char *out = mem_alloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            if (i + 2 >= len || !hex_decode(s + i + 1, 2, &c) || c == 0) {
                free(out);
                return NULL;
            }
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return out;
}

static bool libpq_knows(const char *key)
{
    bool known = false;
    PQconninfoOption *all = PQconndefaults();
    for (PQconninfoOption *o = all; o != NULL && o->keyword != NULL && !known; o++)
        known = strcmp(o->keyword, key) == 0;
    PQconninfoFree(all);
    return known;
}

/* What a parameter means in libpq's words, NULL for nothing: ssl=require is asyncpg's way of
 * saying it, sslmode=no-verify is node-postgres'. */
static char *translate(const char *key, const char *value)
{
    static const char *const modes[] = {"disable", "allow",     "prefer",
                                        "require", "verify-ca", "verify-full"};
    if (strcmp(key, "ssl") == 0) {
        for (size_t i = 0; i < array_len(modes); i++) {
            if (strcmp(value, modes[i]) == 0)
                return str_fmt("sslmode=%s", value);
        }
        bool on = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
        bool off = strcmp(value, "false") == 0 || strcmp(value, "0") == 0;
        return str_dup(on ? "sslmode=require" : off ? "sslmode=disable" : NULL);
    }
    if (strcmp(key, "sslmode") == 0 && strcmp(value, "no-verify") == 0)
        return str_dup("sslmode=require");
    return NULL;
}

/* Adds one parameter of `len` bytes to `out`, as it is, translated, or not at all. */
static void add_parameter(const char *s, size_t len, bool *any, struct buf *out,
                          struct str_list *dropped)
{
    const char *equals = memchr(s, '=', len);
    size_t key_len = equals != NULL ? (size_t)(equals - s) : len;
    _cleanup_free_ char *key = decode(s, key_len);
    _cleanup_free_ char *value = equals != NULL ? decode(equals + 1, len - key_len - 1) : NULL;
    _cleanup_free_ char *plain = str_ndup(s, len);
    _cleanup_free_ char *other = key != NULL && value != NULL ? translate(key, value) : NULL;
    bool keep = other == NULL && key != NULL && libpq_knows(key);
    if (!keep && dropped != NULL)
        str_list_add(dropped, plain);
    if (!keep && other == NULL)
        return;
    buf_addf(out, "%c%s", *any ? '&' : '?', keep ? plain : other);
    *any = true;
}

/* ---- the scheme ---- */

/* Skips the scheme, whatever a framework calls it; NULL when `s` does not begin with one. */
static const char *skip_scheme(const char *s, struct str_list *dropped)
{
    static const char *const ours[] = {"postgresql", "postgres"};
    static const char *const theirs[] = {"pgsql", "psql", "postgis"};
    const char *end = strstr(s, "://");
    if (end == NULL)
        return NULL;
    size_t base = strcspn(s, "+:");
    bool known = false, usual = false;
    for (size_t i = 0; i < array_len(ours); i++)
        usual = usual || (base == strlen(ours[i]) && strncasecmp(s, ours[i], base) == 0);
    for (size_t i = 0; i < array_len(theirs); i++)
        known = known || (base == strlen(theirs[i]) && strncasecmp(s, theirs[i], base) == 0);
    for (const char *c = s; c < end; c++) {
        if (!isalnum((unsigned char)*c) && strchr("+-._", *c) == NULL)
            return NULL;
    }
    if (!usual && !known)
        return NULL;
    const char *odd = usual ? s + base : s; /* "+asyncpg", or a name of its own */
    if (odd < end && dropped != NULL)
        str_list_add_take(dropped, str_ndup(odd, (size_t)(end - odd)));
    return end + 3;
}

static char *trimmed(const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        len--;
    return str_ndup(s, len);
}

int pg_clean_url(const char *url, char **out, struct str_list *dropped, struct err *e)
{
    _cleanup_free_ char *all = trimmed(url != NULL ? url : "");
    const char *s = all;
    if (strncasecmp(s, "jdbc:", 5) == 0) {
        if (dropped != NULL)
            str_list_add(dropped, "jdbc:");
        s += 5;
    }
    const char *rest = skip_scheme(s, dropped);
    if (rest == NULL && strstr(s, "://") != NULL && strchr(s, '=') == NULL)
        return err_set(e, ERR_USAGE,
                       "\"%.*s://...\" is no address of a PostgreSQL server; it begins with "
                       "postgres:// or postgresql://",
                       (int)strcspn(s, ":"), s);
    if (rest == NULL) {
        *out = str_dup(s);
        return 0;
    }
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    size_t len = strcspn(rest, "?");
    buf_adds(&text, "postgresql://");
    if (strlen(rest) >= BUF_TEXT / 4)
        return err_set(e, ERR_USAGE, "the address of a PostgreSQL server is too long");
    buf_add(&text, rest, len);
    bool any = false;
    for (const char *q = rest + len; *q != 0;) {
        q++;
        size_t n = strcspn(q, "&");
        if (n > 0)
            add_parameter(q, n, &any, &text, dropped);
        q += n;
    }
    *out = buf_take(&text);
    return 0;
}

/* ---- what it says ---- */

static size_t option_index(const struct str_list *keys, const char *key)
{
    size_t i = 0;
    while (i < keys->n && strcmp(keys->s[i], key) != 0)
        i++;
    return i;
}

const char *pg_option(const struct str_list *keys, const struct str_list *values, const char *key)
{
    size_t i = option_index(keys, key);
    return i < keys->n ? values->s[i] : NULL;
}

void pg_option_set(struct str_list *keys, struct str_list *values, const char *key,
                   const char *value)
{
    size_t i = option_index(keys, key);
    if (i == keys->n) {
        str_list_add(keys, key);
        str_list_add(values, value);
        return;
    }
    mem_wipe(values->s[i], strlen(values->s[i]));
    free(values->s[i]);
    values->s[i] = str_dup(value);
}

/* libpq quotes what it does not understand, which may be the password: only what comes before the
 * quotation is told. */
static int misunderstood(const char *url, char *message, struct err *e)
{
    size_t len = message != NULL ? strcspn(message, "\"\n") : 0;
    while (len > 0 && strchr(": ", message[len - 1]) != NULL)
        len--;
    (void)err_set(e, ERR_USAGE, "the address of a PostgreSQL server cannot be understood%s%.*s",
                  len > 0 ? ": " : "", (int)len, message != NULL ? message : "");
    PQfreemem(message);
    if (strstr(url, "://") != NULL)
        return err_hint(e, "in a user name or password, the characters %% @ : / ? # must be "
                           "written %%25 %%40 %%3A %%2F %%3F %%23");
    return err_hint(e, "write postgres://USER@HOST:PORT/DATABASE");
}

int pg_url_options(const char *url, struct str_list *keys, struct str_list *values,
                   struct str_list *dropped, struct err *e)
{
    _cleanup_free_ char *clean = NULL;
    int rc = pg_clean_url(url, &clean, dropped, e);
    if (rc != 0)
        return rc;
    char *message = NULL;
    PQconninfoOption *all = PQconninfoParse(clean, &message);
    rc = all == NULL ? misunderstood(clean, message, e) : 0;
    for (PQconninfoOption *o = all; o != NULL && o->keyword != NULL; o++) {
        if (o->val != NULL)
            pg_option_set(keys, values, o->keyword, o->val);
    }
    PQconninfoFree(all);
    mem_wipe(clean, strlen(clean));
    return rc;
}

/* The option, or what stands in for it in the environment; a copy. */
static char *option_or(const struct str_list *keys, const struct str_list *values, const char *key,
                       const char *variable)
{
    const char *value = pg_option(keys, values, key);
    if (value == NULL || *value == 0)
        value = getenv(variable);
    return value == NULL || *value == 0 ? NULL : str_dup(value);
}

int pg_parse_url(const char *url, char **database, char **host, char **port, struct err *e)
{
    _cleanup_(str_list_release) struct str_list keys = {0};
    _cleanup_(str_list_release) struct str_list values = {0};
    int rc = pg_url_options(url, &keys, &values, NULL, e);
    if (rc != 0)
        return rc;
    if (database != NULL)
        *database = option_or(&keys, &values, "dbname", "PGDATABASE");
    if (host != NULL && (*host = option_or(&keys, &values, "host", "PGHOST")) == NULL)
        *host = option_or(&keys, &values, "hostaddr", "PGHOSTADDR");
    if (port != NULL)
        *port = option_or(&keys, &values, "port", "PGPORT");
    return 0;
}
