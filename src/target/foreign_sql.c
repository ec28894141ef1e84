/* Reading SQL as psql would: which lines begin outside of quotes, comments and COPY data, what they
 * name that must be there before, and which of them are commands to psql itself. */
#include "base/mem.h"
#include "target/foreign_int.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* ---- names ---- */

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* Reads a name as SQL writes it; NULL if there is none. The caller frees it. */
static char *read_name(const char **p)
{
    const char *s = skip_blanks(*p);
    _cleanup_(buf_release) struct buf out = BUF_INIT(4096);
    if (*s == '"') {
        for (s++; *s != '\0'; s++) {
            if (*s == '"' && s[1] != '"')
                break;
            s += *s == '"';
            buf_addf(&out, "%c", *s);
            if (out.len > 1000)
                return NULL;
        }
        s += *s == '"';
    } else {
        size_t n = strcspn(s, " \t,;()");
        if (n > 1000)
            return NULL;
        buf_add(&out, s, n);
        s += n;
    }
    *p = s;
    return out.len > 0 ? buf_take(&out) : NULL;
}

static void add_once(struct str_list *l, const char *name)
{
    if (!str_list_has(l, name))
        str_list_add(l, name);
}

/* "a, b WITH GRANT OPTION;": roles, but for the words that stand for others. */
static void add_roles(struct sql_scan *s, const char *p)
{
    for (;;) {
        bool quoted = *skip_blanks(p) == '"';
        _cleanup_free_ char *name = read_name(&p);
        if (name == NULL)
            return;
        if (!quoted && strcmp(name, "GROUP") == 0)
            continue;
        if (quoted || (strcasecmp(name, "PUBLIC") != 0 && strcasecmp(name, "CURRENT_USER") != 0 &&
                       strcasecmp(name, "SESSION_USER") != 0))
            add_once(&s->facts->roles, name);
        p = skip_blanks(p);
        if (*p++ != ',')
            return;
    }
}

/* After the last `word` of the line. */
static void roles_after(struct sql_scan *s, const char *line, const char *word)
{
    const char *found = NULL;
    for (const char *p = line; (p = strstr(p, word)) != NULL; p++)
        found = p;
    if (found != NULL)
        add_roles(s, found + strlen(word));
}

static char *text_after(const char *line, const char *word)
{
    const char *p = strstr(line, word);
    if (p == NULL)
        return NULL;
    p += strlen(word);
    return str_ndup(p, strcspn(p, " ';\n"));
}

static void set_once(char **field, char *value)
{
    if (*field == NULL)
        *field = value;
    else
        free(value);
}

static void add_extension(struct foreign_facts *f, const char *line)
{
    const char *p = strstr(line, "EXISTS ");
    p = p != NULL ? p + 7 : line + strlen("CREATE EXTENSION ");
    char *name = read_name(&p);
    if (name == NULL)
        return;
    for (size_t i = 0; i < f->nextension; i++)
        if (strcmp(f->extension[i].name, name) == 0) {
            free(name);
            return;
        }
    f->extension = mem_resize(f->extension, f->nextension + 1, sizeof *f->extension);
    f->extension[f->nextension++] =
        (struct foreign_extension){name, text_after(line, " VERSION '")};
}

static void add_database(struct foreign_facts *f, const char *p)
{
    _cleanup_free_ char *name = read_name(&p);
    f->connects = true;
    if (name != NULL)
        add_once(&f->databases, name);
}

/* ---- lines that begin a statement ---- */

static void look_comment(struct sql_scan *s, const char *line)
{
    struct foreign_facts *f = s->facts;
    if (str_starts(line, "-- PostgreSQL database")) {
        const char *rest = line + strlen("-- PostgreSQL database");
        bool cluster = str_starts(rest, " cluster");
        rest += cluster ? strlen(" cluster") : 0;
        int *open = cluster ? &s->clusters_open : &s->dumps_open;
        if (strcmp(rest, " dump complete") == 0)
            (*open)--;
        else if (strcmp(rest, " dump") == 0)
            (*open)++;
    } else if (str_starts(line, "-- Dumped from database version ")) {
        set_once(&f->server, text_after(line, "version "));
        int major = (int)strtol(f->server, NULL, 10);
        f->server_major = major > f->server_major ? major : f->server_major;
    } else if (str_starts(line, "-- Dumped by pg_dump version ")) {
        set_once(&f->program, text_after(line, "version "));
    } else if (str_starts(line, "-- MySQL dump") || str_starts(line, "-- MariaDB dump")) {
        s->other = "a dump of MySQL or MariaDB";
    }
}

static void look_grant(struct sql_scan *s, const char *line)
{
    static const char by[] = " GRANTED BY ";
    const char *p = strstr(line, by);
    _cleanup_free_ char *cut = str_ndup(line, p != NULL ? (size_t)(p - line) : strlen(line));
    roles_after(s, cut,
                str_starts(line, "REVOKE") || strstr(line, " REVOKE ") != NULL ? " FROM " : " TO ");
    if (p != NULL)
        add_roles(s, p + strlen(by));
    /* GRANT role TO member, as against GRANT right ON thing TO role. */
    if (str_starts(line, "GRANT ") && strstr(line, " ON ") == NULL)
        add_roles(s, line + strlen("GRANT "));
}

/* pg_dump writes each of these in one line. */
static bool only_rights(const char *line)
{
    return str_ends(line, ";") &&
           (str_starts(line, "GRANT ") || str_starts(line, "REVOKE ") ||
            str_starts(line, "ALTER DEFAULT PRIVILEGES ") ||
            (str_starts(line, "ALTER ") && strstr(line, " OWNER TO ") != NULL));
}

static void look_statement(struct sql_scan *s, const char *line)
{
    s->rights = only_rights(line);
    struct foreign_facts *f = s->facts;
    const char *p;
    if (str_starts(line, "--"))
        look_comment(s, line);
    else if (str_starts(line, "CREATE EXTENSION "))
        add_extension(f, line);
    else if (str_starts(line, "CREATE DATABASE ") || str_starts(line, "ALTER DATABASE ") ||
             str_starts(line, "DROP DATABASE "))
        add_database(f, line + strcspn(line, " ") + strlen(" DATABASE "));
    else if (str_starts(line, "CREATE ROLE ") || str_starts(line, "CREATE USER ") ||
             str_starts(line, "CREATE GROUP ")) {
        p = line + strlen("CREATE ROLE ");
        _cleanup_free_ char *name = read_name(&p);
        if (name != NULL && strcmp(name, "MAPPING") != 0)
            add_once(&s->created, name);
    } else if (str_starts(line, "GRANT ") || str_starts(line, "REVOKE "))
        look_grant(s, line);
    else if (str_starts(line, "ALTER DEFAULT PRIVILEGES ")) {
        look_grant(s, line);
        if ((p = strstr(line, " FOR ROLE ")) != NULL)
            add_roles(s, p + strlen(" FOR ROLE "));
    } else if (str_starts(line, "CREATE POLICY ")) {
        if ((p = strstr(line, " TO ")) != NULL)
            add_roles(s, p + strlen(" TO "));
    } else if (str_starts(line, "ALTER "))
        roles_after(s, line, " OWNER TO ");
    else if (str_starts(line, "CREATE SCHEMA "))
        roles_after(s, line, " AUTHORIZATION ");
    else if (str_starts(line, "SET SESSION AUTHORIZATION '")) {
        _cleanup_free_ char *name = text_after(line, "'");
        add_once(&f->roles, name);
    } else if (str_starts(line, "SET client_encoding = '"))
        set_once(&f->encoding, text_after(line, "'"));
    else if (strcasecmp(line, "BEGIN;") == 0 || strcasecmp(line, "COMMIT;") == 0 ||
             strncasecmp(line, "START TRANSACTION", 17) == 0 ||
             strncasecmp(line, "BEGIN TRANSACTION", 17) == 0)
        f->transactions = true;
    else if (str_starts(line, "PRAGMA "))
        s->other = "a dump of SQLite";
}

static bool begins_copy(const char *line)
{
    size_t len = strlen(line);
    static const char end[] = "FROM stdin;";
    return strncasecmp(line, "COPY ", 5) == 0 && len > sizeof end &&
           strcasecmp(line + len - (sizeof end - 1), end) == 0;
}

/* ---- commands to psql ---- */

/* "app", or -reuse-previous=on "dbname='app'": the name; NULL if it is anything else. What psql
 * would run (`...`), expand (:x) or take for another server's address is nothing of these. */
static char *connect_name(const char *p)
{
    static const char again[] = "-reuse-previous=on ";
    bool info = str_starts(p = skip_blanks(p), again);
    p = skip_blanks(info ? p + strlen(again) : p);
    bool quoted = *p == '"';
    size_t n = quoted ? strcspn(p + 1, "\"") : strcspn(p, " \t");
    _cleanup_free_ char *word = str_ndup(p + quoted, n);
    const char *rest = p + n + (quoted ? 2 : 0);
    if (n == 0 || (quoted && p[1 + n] != '"') || *skip_blanks(rest) != '\0')
        return NULL;
    if (info) {
        size_t len = strlen(word);
        if (!str_starts(word, "dbname='") || len < 10 || word[len - 1] != '\'' ||
            strpbrk(word + 8, "\\") != NULL || strchr(word + 8, '\'') != word + len - 1)
            return NULL;
        return str_ndup(word + 8, len - 9);
    }
    if (strpbrk(word, quoted ? "=\\`:/'" : "=\\`:/'\"$()") != NULL)
        return NULL;
    return take(word);
}

static size_t name_command(struct sql_scan *s, const char *p, size_t len)
{
    size_t n = 0;
    while (n < len && n < sizeof s->command - 1 && strchr(" \t;\\`\r\n", p[n]) == NULL)
        n++;
    (void)snprintf(s->command, sizeof s->command, "%.*s", (int)n, p);
    return n;
}

static enum sql_line look_command(struct sql_scan *s, const char *line)
{
    static const char *const dropped[] = {"restrict", "unrestrict", "echo",   "qecho",
                                          "set",      "pset",       "timing", "warn"};
    size_t n = name_command(s, line + 1, strlen(line + 1));
    bool more = strpbrk(line + 1, "\\`") != NULL;
    if (!more)
        for (size_t i = 0; i < array_len(dropped); i++)
            if (strcmp(s->command, dropped[i]) == 0)
                return SQL_DROPPED;
    if (strcmp(s->command, "connect") == 0 || strcmp(s->command, "c") == 0) {
        free(s->connect);
        s->connect = connect_name(line + 1 + n);
        if (s->connect == NULL)
            return SQL_FORBIDDEN;
        add_database(s->facts, s->connect);
        return SQL_CONNECT;
    }
    return SQL_FORBIDDEN;
}

/* ---- quotes and comments ---- */

static size_t dollar_tag(const char *p, const char *end)
{
    const char *q = p + 1;
    while (q < end && (isalnum((unsigned char)*q) || *q == '_' || (*q & 0x80) != 0))
        q++;
    bool tag = q < end && *q == '$' && !isdigit((unsigned char)p[1]);
    return tag ? (size_t)(q - p) + 1 : 0;
}

/* One byte (or more) outside of all quotes. */
static const char *lex_plain(struct sql_scan *s, const char *p, const char *begin, const char *end)
{
    size_t tag;
    bool word_before = p > begin && (isalnum((unsigned char)p[-1]) || p[-1] == '_');
    switch (*p) {
    case '\'': s->quote = word_before && (p[-1] == 'E' || p[-1] == 'e') ? 'E' : '\''; break;
    case '"': s->quote = '"'; break;
    case '-':
        if (p + 1 < end && p[1] == '-')
            return end;
        break;
    case '/':
        if (p + 1 < end && p[1] == '*') {
            s->quote = '*';
            s->depth = 1;
            p++;
        }
        break;
    case '$':
        tag = word_before ? 0 : dollar_tag(p, end);
        if (tag > 0 && tag < sizeof s->tag) {
            s->quote = '$';
            (void)snprintf(s->tag, sizeof s->tag, "%.*s", (int)tag, p);
            p += tag - 1;
        }
        break;
    case '\\':
        if (!s->backslash)
            name_command(s, p + 1, (size_t)(end - p - 1));
        s->backslash = true;
        break;
    default: break;
    }
    if (*p == ';')
        s->fresh = true;
    else if (!isspace((unsigned char)*p))
        s->fresh = false;
    return p + 1;
}

static const char *lex_quoted(struct sql_scan *s, const char *p, const char *end)
{
    bool pair = p + 1 < end;
    switch (s->quote) {
    case 'E':
    case '\'':
        if (s->quote == 'E' && *p == '\\')
            return p + 2;
        if (*p == '\'' && pair && p[1] == '\'')
            return p + 2;
        if (*p == '\'')
            s->quote = 0;
        break;
    case '"':
        if (*p == '"')
            s->quote = 0; /* a doubled one opens it again */
        break;
    case '$': {
        size_t n = strlen(s->tag);
        if ((size_t)(end - p) >= n && memcmp(p, s->tag, n) == 0) {
            s->quote = 0;
            return p + n;
        }
        break;
    }
    default: /* a comment; they nest */
        if (pair && p[0] == '/' && p[1] == '*') {
            s->depth++;
            return p + 2;
        }
        if (pair && p[0] == '*' && p[1] == '/') {
            if (--s->depth == 0)
                s->quote = 0;
            return p + 2;
        }
        break;
    }
    return p + 1;
}

static void lex(struct sql_scan *s, const char *text, size_t len)
{
    const char *end = text + len;
    s->backslash = false;
    for (const char *p = text; p < end;)
        p = s->quote != 0 ? lex_quoted(s, p, end) : lex_plain(s, p, text, end);
}

enum sql_line sql_scan_piece(struct sql_scan *s, const struct sql_piece *piece)
{
    enum { LOOK_MOST = 16384 };
    size_t len = piece->len;
    while (len > 0 && (piece->text[len - 1] == '\n' || piece->text[len - 1] == '\r'))
        len--;
    s->lines += piece->last;
    if (s->in_copy) {
        s->in_copy =
            !(piece->first && piece->last && len == 2 && memcmp(piece->text, "\\.", 2) == 0);
        return SQL_OTHER;
    }
    /* Only a line that begins outside of everything says anything. */
    bool top = piece->first && s->quote == 0;
    char line[LOOK_MOST];
    size_t look = len < sizeof line - 1 ? len : sizeof line - 1;
    memcpy(line, piece->text, look);
    line[look] = '\0';
    if (top && line[0] == '\\')
        return look_command(s, line);
    bool fresh = s->fresh;
    s->rights = false;
    lex(s, piece->text, piece->len);
    if (s->backslash)
        return SQL_FORBIDDEN;
    if (top && (fresh || str_starts(line, "--")))
        look_statement(s, line);
    s->in_copy = top && fresh && piece->last && begins_copy(line);
    return SQL_OTHER;
}

void sql_scan_init(struct sql_scan *s, struct foreign_facts *f)
{
    *s = (struct sql_scan){.facts = f, .fresh = true};
}

bool sql_scan_complete(const struct sql_scan *s)
{
    return !s->in_copy && s->dumps_open <= 0 && s->clusters_open <= 0 && s->quote == 0;
}

void sql_scan_release(struct sql_scan *s)
{
    str_list_release(&s->created);
    free(s->connect);
}

/* ---- lines of a stream ---- */

int sql_lines_next(struct sql_lines *l, struct sql_piece *p, bool *got, struct err *e)
{
    if (l->data == NULL)
        l->data = mem_alloc(SQL_LINE_MOST);
    char *newline = memchr(l->data + l->at, '\n', l->len - l->at);
    if (newline == NULL && !l->end) {
        memmove(l->data, l->data + l->at, l->len - l->at);
        l->len -= l->at;
        l->at = 0;
        while (newline == NULL && !l->end && l->len < SQL_LINE_MOST) {
            size_t n = 0;
            int rc = stream_read(l->from, l->data + l->len, SQL_LINE_MOST - l->len, &n, e);
            if (rc < 0)
                return rc;
            newline = memchr(l->data + l->len, '\n', n);
            l->len += n;
            l->end = n == 0;
        }
    }
    *got = l->len > l->at;
    size_t len = newline != NULL ? (size_t)(newline - (l->data + l->at)) + 1 : l->len - l->at;
    *p = (struct sql_piece){l->data + l->at, len, !l->middle, newline != NULL || l->end};
    l->middle = !p->last;
    l->at += len;
    return 0;
}

void sql_lines_release(struct sql_lines *l)
{
    stream_close(l->from);
    free(l->data);
    *l = (struct sql_lines){0};
}
