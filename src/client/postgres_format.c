/* SQL from parts: identifiers and literals are quoted here and nowhere else. What is quoted holds
 * in every server encoding that leaves ASCII alone, which client encodings UTF8 and SQL_ASCII do,
 * and whatever standard_conforming_strings says. */
#include "base/log.h"
#include "client/postgres_int.h"
#include <string.h>

static void add_identifier(struct buf *out, const char *s)
{
    buf_adds(out, "\"");
    for (; *s != 0; s++)
        buf_add(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    buf_adds(out, "\"");
}

static void add_literal(struct buf *out, const char *s)
{
    if (s == NULL) {
        buf_adds(out, "NULL");
        return;
    }
    buf_adds(out, strchr(s, '\\') != NULL ? "E'" : "'");
    for (; *s != 0; s++) {
        if (*s == '\'' || *s == '\\')
            buf_add(out, s, 1);
        buf_add(out, s, 1);
    }
    buf_adds(out, "'");
}

/* Numbers: "d", "lld", "llu". Returns how many characters of the format it took, 0 for none. */
static size_t add_number(struct buf *out, const char *spec, va_list *args)
{
    if (*spec == 'd') {
        buf_addf(out, "%d", va_arg(*args, int));
        return 1;
    }
    if (strncmp(spec, "lld", 3) == 0) {
        buf_addf(out, "%lld", va_arg(*args, long long));
        return 3;
    }
    if (strncmp(spec, "llu", 3) == 0) {
        buf_addf(out, "%llu", va_arg(*args, unsigned long long));
        return 3;
    }
    return 0;
}

void pg_vformat(struct buf *out, const char *fmt, va_list args)
{
    va_list rest;
    va_copy(rest, args);
    while (*fmt != 0) {
        size_t plain = strcspn(fmt, "%");
        buf_add(out, fmt, plain);
        fmt += plain;
        if (*fmt == 0)
            break;
        size_t taken = 1;
        fmt++;
        switch (*fmt) {
        case 's': buf_adds(out, va_arg(rest, const char *)); break;
        case 'I': add_identifier(out, va_arg(rest, const char *)); break;
        case 'L': add_literal(out, va_arg(rest, const char *)); break;
        case '%': buf_adds(out, "%"); break;
        default: taken = add_number(out, fmt, &rest);
        }
        if (taken == 0) { /* what follows would be read wrong: no statement at all is safer */
            log_line(LOG_ERROR, "salvor: unknown format \"%%%s\" of a statement", fmt);
            abort();
        }
        fmt += taken;
    }
    va_end(rest);
}

void pg_format(struct buf *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pg_vformat(out, fmt, args);
    va_end(args);
}
