/* Quoting as Go's strconv.Quote and Unquote do it, whose source is the specification. Code points
 * that are not printable by Unicode 13 are escaped; print_table.h says which are. */
#include "base/text.h"
#include "repo/tree_int.h"
#include <stdio.h>
#include <string.h>

#include "repo/print_table.h"

static bool printable(uint32_t c)
{
    if (c < 0x7f)
        return c >= 0x20;
    size_t low = 0, high = array_len(print_table);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > print_table[mid][1])
            low = mid + 1;
        else
            high = mid;
    }
    return low < array_len(print_table) && c >= print_table[low][0];
}

static const char escape_names[] = "abfnrtv";
static const char escape_bytes[] = "\a\b\f\n\r\t\v";

/* The quoted form of one code point (or invalid byte) of `size` source bytes at `s`. */
static int quote_one(uint32_t c, const char *s, size_t size, struct buf *out, struct err *e)
{
    char text[16];
    int n;
    const char *named = c != 0 && c < 0x80 ? strchr(escape_bytes, (int)c) : NULL;
    if (c == 0xfffd && size == 1)
        n = snprintf(text, sizeof text, "\\x%02x", (unsigned)(uint8_t)*s);
    else if (c == '"' || c == '\\')
        n = snprintf(text, sizeof text, "\\%c", (char)c);
    else if (printable(c))
        return buf_append(out, s, size, e);
    else if (named != NULL)
        n = snprintf(text, sizeof text, "\\%c", escape_names[named - escape_bytes]);
    else if (c < 0x20 || c == 0x7f)
        n = snprintf(text, sizeof text, "\\x%02x", (unsigned)c);
    else if (c < 0x10000)
        n = snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    else
        n = snprintf(text, sizeof text, "\\U%08x", (unsigned)c);
    return buf_append(out, text, (size_t)n, e);
}

int quote(const char *s, size_t len, struct buf *out, struct err *e)
{
    for (size_t i = 0, size; i < len; i += size) {
        uint32_t c = utf8_decode(s + i, len - i, &size);
        int rc = quote_one(c, s + i, size, out, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static size_t utf8_encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

/* `count` digits of `base` at s; false if there are not so many. */
static bool number(const char *s, const char *end, int count, int base, uint32_t *out)
{
    *out = 0;
    if (end - s < count)
        return false;
    for (int i = 0; i < count; i++) {
        if (digit(s[i]) >= base)
            return false;
        *out = *out * (uint32_t)base + (uint32_t)digit(s[i]);
    }
    return true;
}

/* Decodes the escape after a backslash at s into out; the bytes it takes, 0 if it is none. */
static size_t unescape(const char *s, const char *end, uint8_t out[4], size_t *len)
{
    uint32_t v;
    if (s == end || *s == '\0')
        return 0;
    *len = 1;
    const char *named = strchr(escape_names, *s);
    if (named != NULL) {
        out[0] = (uint8_t)escape_bytes[named - escape_names];
        return 1;
    }
    switch (*s) {
    case '\\':
    case '"': out[0] = (uint8_t)*s; return 1;
    case 'x':
        if (!number(s + 1, end, 2, 16, &v))
            return 0;
        out[0] = (uint8_t)v;
        return 3;
    case 'u':
    case 'U': {
        int digits = *s == 'u' ? 4 : 8;
        if (!number(s + 1, end, digits, 16, &v) || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return 0;
        *len = utf8_encode(v, out);
        return (size_t)digits + 1;
    }
    default:
        if (!number(s, end, 3, 8, &v) || v > 255)
            return 0;
        out[0] = (uint8_t)v;
        return 3;
    }
}

int unquote(const char *s, size_t len, struct buf *out, struct err *e)
{
    const char *end = s + len;
    buf_clear(out);
    /* Never longer than its source, except that an invalid byte becomes U+FFFD. */
    int rc = buf_reserve(out, len, e);
    while (rc == 0 && s < end) {
        uint8_t bytes[4];
        size_t n, used;
        if (*s == '"' || *s == '\n') {
            rc = err_set(e, ERR_CORRUPT, "a bare quote or end of line in a quoted name");
        } else if (*s == '\\') {
            used = unescape(s + 1, end, bytes, &n);
            if (used == 0)
                rc = err_set(e, ERR_CORRUPT, "a wrong escape in a quoted name");
            else
                rc = buf_append(out, bytes, n, e);
            s += used + 1;
        } else {
            n = utf8_encode(utf8_decode(s, (size_t)(end - s), &used), bytes);
            rc = buf_append(out, bytes, n, e);
            s += used;
        }
    }
    return rc;
}
