/* Cutting SQL that pg_dump wrote into statements, and giving those about a database another name
 * for it. This is no parser of SQL: it knows quotes, comments and where a statement ends. */
#include "base/mem.h"
#include "target/postgres_int.h"

#include <ctype.h>
#include <string.h>

/* The end of what begins with a quote at `p`; a doubled quote stays inside, and in E'' strings a
 * backslash quotes. */
static const char *skip_quoted(const char *p, bool backslash)
{
    char quote = *p++;
    for (; *p != '\0'; p++) {
        if (backslash && *p == '\\' && p[1] != '\0')
            p++;
        else if (*p == quote && p[1] == quote)
            p++;
        else if (*p == quote)
            return p + 1;
    }
    return p;
}

/* The end of $tag$...$tag$; `p` itself when it is none. */
static const char *skip_dollars(const char *p)
{
    size_t tag = 1;
    while (isalnum((unsigned char)p[tag]) || p[tag] == '_')
        tag++;
    if (p[tag] != '$' || isdigit((unsigned char)p[1]))
        return p;
    tag++;
    for (const char *q = p + tag; (q = strchr(q, '$')) != NULL; q++)
        if (strncmp(q, p, tag) == 0)
            return q + tag;
    return p + strlen(p);
}

/* The next byte that matters after the token at `p`. */
static const char *skip_token(const char *p, char before)
{
    if (*p == '\'')
        return skip_quoted(p, before == 'E' || before == 'e');
    if (*p == '"')
        return skip_quoted(p, false);
    if (*p == '$') {
        const char *end = skip_dollars(p);
        return end > p ? end : p + 1;
    }
    return p + 1;
}

static bool at_line_start(const char *sql, const char *p)
{
    return p == sql || p[-1] == '\n';
}

void statements_split(const char *sql, struct str_list *out)
{
    struct buf text = BUF_INIT(BUF_JSON);
    for (const char *p = sql; *p != '\0';) {
        bool blank = text.len == 0;
        if ((p[0] == '-' && p[1] == '-') || (blank && *p == '\\' && at_line_start(sql, p))) {
            p += strcspn(p, "\n");
        } else if (blank && isspace((unsigned char)*p)) {
            p++;
        } else if (*p == ';') {
            if (!blank)
                str_list_add(out, buf_str(&text));
            buf_clear(&text);
            p++;
        } else {
            const char *end = skip_token(p, p > sql ? p[-1] : '\0');
            buf_add(&text, p, (size_t)(end - p));
            p = end;
        }
    }
    if (text.len > 0)
        str_list_add(out, buf_str(&text));
    buf_release(&text);
}

char *statement_rename_database(const char *statement, const char *name)
{
    static const char word[] = "DATABASE ";
    for (const char *p = statement; *p != '\0';) {
        bool begins = p == statement || p[-1] == ' ';
        if (!begins || strncmp(p, word, sizeof word - 1) != 0) {
            p = skip_token(p, p > statement ? p[-1] : '\0');
            continue;
        }
        p += sizeof word - 1;
        const char *rest = *p == '"' ? skip_quoted(p, false) : p + strcspn(p, " ;\n");
        struct buf text = BUF_INIT(BUF_JSON);
        buf_add(&text, statement, (size_t)(p - statement));
        pg_format(&text, "%I", name);
        buf_adds(&text, rest);
        return buf_take(&text);
    }
    return NULL;
}

bool statement_names(const char *p, const char *name)
{
    const char *end = *p == '"' ? skip_quoted(p, false) : p + strcspn(p, " ,;\n");
    if (*p != '"')
        return (size_t)(end - p) == strlen(name) && memcmp(p, name, strlen(name)) == 0;
    for (p++; p < end - 1; p++, name++) {
        if (*p == '"')
            p++;
        if (*name != *p)
            return false;
    }
    return *name == '\0';
}
