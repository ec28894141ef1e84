/* JSON reader: a pull parser over memory. The first error cuts the input off where it stands
 * (end = p), so that every later call finds nothing there and the position of the error stays. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

void json_in_init(struct json_in *j, const void *data, size_t len)
{
    *j = (struct json_in){.p = len > 0 ? data : "", .first = true};
    j->start = j->p;
    j->end = j->p + len;
    /* A decoded string is never longer than its source. */
    buf_init(&j->key, len);
    buf_init(&j->text, len);
}

void json_in_release(struct json_in *j)
{
    buf_release(&j->key);
    buf_release(&j->text);
}

void json_in_fail(struct json_in *j, const char *why)
{
    if (j->why == NULL)
        j->why = why;
    j->end = j->p;
}

static void fail_at(struct json_in *j, const char *at, const char *why)
{
    if (j->why == NULL)
        j->p = at;
    json_in_fail(j, why);
}

static inline void skip_space(struct json_in *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
        j->p++;
}

/* The next byte that is no white space, 0 at the end. */
static inline char next(struct json_in *j)
{
    skip_space(j);
    return j->p < j->end ? *j->p : '\0';
}

char json_peek(struct json_in *j)
{
    return next(j);
}

/* ---- strings ---- */

/* A string as it stands in the input, between its quotes. */
struct span {
    const char *s;
    size_t len;
    bool escaped;
};

#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether the eight bytes at s are all ASCII and neither quote, backslash nor control: each term
 * sets the top bit of a byte that is one of them (or follows one). */
static inline bool eight_plain(const char *s)
{
    uint64_t v;
    memcpy(&v, s, sizeof v);
    uint64_t quote = v ^ EIGHT('"'), slash = v ^ EIGHT('\\');
    uint64_t hit = ((quote - EIGHT(1)) & ~quote) | ((slash - EIGHT(1)) & ~slash) |
                   ((v - EIGHT(0x20)) & ~v) | v;
    return (hit & EIGHT(0x80)) == 0;
}

static int hex4(const char *s)
{
    uint8_t b[2];
    return hex_decode(s, 4, b) ? b[0] << 8 | b[1] : -1;
}

/* Length of the escape at s, which starts with a backslash; 0 if it is none. */
static size_t escape_length(const char *s, const char *end)
{
    if (end - s < 2)
        return 0;
    if (s[1] == 'u')
        return end - s >= 6 && hex4(s + 2) >= 0 ? 6 : 0;
    return s[1] != '\0' && strchr("\"\\/bfnrt", s[1]) != NULL ? 2 : 0;
}

/* Reads over a string and finds every fault in it. */
static bool read_span(struct json_in *j, struct span *span)
{
    if (next(j) != '"') {
        json_in_fail(j, "a string was expected");
        return false;
    }
    const char *s = j->p + 1, *const end = j->end, *const start = s;
    bool escaped = false, ascii = true;
    for (;;) {
        while (end - s >= 8 && eight_plain(s))
            s += 8;
        if (s == end) {
            fail_at(j, s, "a string has no end");
            return false;
        }
        uint8_t c = (uint8_t)*s;
        if (c == '"')
            break;
        if (c == '\\') {
            size_t n = escape_length(s, end);
            if (n == 0) {
                fail_at(j, s, "an escape in a string is wrong or cut off");
                return false;
            }
            s += n;
            escaped = true;
            continue;
        }
        if (c < 0x20) {
            fail_at(j, s, "a control character stands in a string");
            return false;
        }
        ascii &= c < 0x80;
        s++;
    }
    *span = (struct span){start, (size_t)(s - start), escaped};
    if (!ascii && !utf8_valid(span->s, span->len)) {
        json_in_fail(j, "a string is not valid UTF-8");
        return false;
    }
    j->p = s + 1;
    return true;
}

static size_t put_rune(uint32_t rune, char *to)
{
    if (rune < 0x80) {
        to[0] = (char)rune;
        return 1;
    }
    size_t n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, rune >>= 6)
        to[i] = (char)(0x80 | (rune & 0x3f));
    to[0] = (char)((0xf00U >> n) | rune);
    return n;
}

/* Decodes the \u escape at *s and moves past it. Half a surrogate pair becomes U+FFFD, as in Go. */
static uint32_t unicode_escape(const char **s, const char *end)
{
    uint32_t rune = (uint32_t)hex4(*s + 2);
    *s += 6;
    if (rune < 0xd800 || rune > 0xdfff)
        return rune;
    if (rune < 0xdc00 && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u') {
        uint32_t low = (uint32_t)hex4(*s + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *s += 6;
            return 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* Writes the text of a span that read_span has accepted; returns its length. */
static size_t unescape(const struct span *span, char *to)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *s = span->s, *const end = s + span->len;
    size_t n = 0;
    while (s < end) {
        const char *slash = memchr(s, '\\', (size_t)(end - s));
        size_t run = (size_t)((slash != NULL ? slash : end) - s);
        memcpy(to + n, s, run);
        n += run;
        s += run;
        if (s == end)
            break;
        if (s[1] == 'u') {
            n += put_rune(unicode_escape(&s, end), to + n);
            continue;
        }
        const char *name = strchr(names, s[1]);
        to[n++] = name != NULL ? values[name - names] : s[1];
        s += 2;
    }
    return n;
}

/* Copies a span's text to `to`, replacing what was there. */
static bool copy_span(struct json_in *j, const struct span *span, struct buf *to)
{
    to->len = 0;
    if (span->len >= to->size) {
        struct err e;
        if (buf_reserve(to, span->len, &e) < 0) {
            json_in_fail(j, "there is not enough memory for a string");
            return false;
        }
    }
    if (span->escaped) {
        to->len = unescape(span, (char *)to->data);
    } else {
        memcpy(to->data, span->s, span->len);
        to->len = span->len;
    }
    to->data[to->len] = '\0';
    return true;
}

static bool holds_nul(const struct span *span, const struct buf *text)
{
    return span->escaped && memchr(text->data, '\0', text->len) != NULL;
}

const char *json_get_string(struct json_in *j, size_t *len)
{
    struct span span;
    if (len != NULL)
        *len = 0;
    if (!read_span(j, &span) || !copy_span(j, &span, &j->text))
        return "";
    if (len != NULL) {
        *len = j->text.len;
    } else if (holds_nul(&span, &j->text)) {
        json_in_fail(j, "a string holds a NUL");
        return "";
    }
    return (const char *)j->text.data;
}

char *json_get_text(struct json_in *j)
{
    if (json_is_null(j))
        return NULL;
    const char *s = json_get_string(j, NULL);
    return j->why == NULL ? str_ndup(s, j->text.len) : NULL;
}

void json_replace_text(struct json_in *j, char **field)
{
    free(*field);
    *field = json_get_text(j);
}

void json_get_list(struct json_in *j, struct str_list *l)
{
    str_list_release(l);
    if (json_is_null(j))
        return;
    json_array(j);
    while (json_next_item(j))
        str_list_add(l, json_get_string(j, NULL));
}

/* A string that is decoded further: taken from the input itself unless it has escapes. */
static bool read_plain(struct json_in *j, struct span *span)
{
    if (!read_span(j, span))
        return false;
    if (span->escaped) {
        if (!copy_span(j, span, &j->text))
            return false;
        *span = (struct span){(const char *)j->text.data, j->text.len, false};
    }
    return true;
}

struct id json_get_id(struct json_in *j)
{
    struct id id = {{0}};
    struct span span;
    /* Nearly all of an index is ids: 64 digits between two quotes need no search for the end. */
    if (next(j) == '"' && j->end - j->p >= ID_HEX + 2 && j->p[ID_HEX + 1] == '"' &&
        id_parse(j->p + 1, ID_HEX, &id)) {
        j->p += ID_HEX + 2;
        return id;
    }
    const char *at = j->p;
    if (read_plain(j, &span) && !id_parse(span.s, span.len, &id))
        fail_at(j, at, "an id is not 64 hexadecimal digits");
    return id;
}

struct timespec json_get_time(struct json_in *j)
{
    struct timespec t = {0, 0};
    struct span span;
    (void)next(j);
    const char *at = j->p;
    if (read_plain(j, &span) && !time_parse(span.s, span.len, &t))
        fail_at(j, at, "a time is not in the form of RFC 3339");
    return t;
}

void json_get_base64(struct json_in *j, struct buf *out)
{
    struct err e;
    struct span span;
    (void)next(j);
    const char *at = j->p;
    if (!read_plain(j, &span))
        return;
    int rc = base64_decode(span.s, span.len, out, &e);
    if (rc < 0)
        fail_at(j, at,
                rc == ERR_CORRUPT ? "a string is not base64" : "a base64 string is too long");
}

/* ---- objects and arrays ---- */

static void enter(struct json_in *j, char bracket, const char *why)
{
    if (next(j) != bracket) {
        json_in_fail(j, why);
    } else if (j->depth == DEPTH_MAX) {
        json_in_fail(j, "it is nested too deeply");
    } else {
        j->p++;
        j->depth++;
        j->first = true;
    }
}

/* Moves to the next key or item: false at the closing bracket, which is consumed. */
static bool advance(struct json_in *j, char bracket, const char *why)
{
    char c = next(j);
    if (c == bracket && j->depth > 0) {
        j->p++;
        j->depth--;
        j->first = false;
        return false;
    }
    if (j->first) {
        j->first = false;
    } else {
        if (c != ',') {
            json_in_fail(j, why);
            return false;
        }
        j->p++;
        c = next(j);
    }
    if (j->p == j->end) {
        json_in_fail(j, "it ends too early");
        return false;
    }
    return true;
}

void json_object(struct json_in *j)
{
    enter(j, '{', "an object was expected");
}

void json_array(struct json_in *j)
{
    enter(j, '[', "an array was expected");
}

static bool next_key_span(struct json_in *j, struct span *span)
{
    if (!advance(j, '}', "a comma or a closing brace was expected") || !read_span(j, span))
        return false;
    if (next(j) != ':') {
        json_in_fail(j, "a colon was expected");
        return false;
    }
    j->p++;
    return true;
}

const char *json_next_key(struct json_in *j)
{
    struct span span;
    if (!next_key_span(j, &span) || !copy_span(j, &span, &j->key))
        return NULL;
    if (holds_nul(&span, &j->key)) {
        json_in_fail(j, "a key holds a NUL");
        return NULL;
    }
    return (const char *)j->key.data;
}

bool json_next_item(struct json_in *j)
{
    return advance(j, ']', "a comma or a closing bracket was expected");
}

/* ---- numbers and words ---- */

static bool word(struct json_in *j, const char *text, size_t len)
{
    skip_space(j);
    if ((size_t)(j->end - j->p) < len || memcmp(j->p, text, len) != 0)
        return false;
    j->p += len;
    return true;
}

bool json_is_null(struct json_in *j)
{
    return word(j, "null", 4);
}

bool json_get_bool(struct json_in *j)
{
    if (word(j, "true", 4))
        return true;
    if (!word(j, "false", 5))
        json_in_fail(j, "true or false was expected");
    return false;
}

static inline bool digit_at(const char *s, const char *end)
{
    return s < end && *s >= '0' && *s <= '9';
}

/* Reads over digits, at least one and no needless zero first. */
static bool whole_part(struct json_in *j, const char **s)
{
    const char *first = *s;
    while (digit_at(*s, j->end))
        (*s)++;
    if (*s == first || (*first == '0' && *s - first > 1)) {
        fail_at(j, first, "a number was expected");
        return false;
    }
    return true;
}

static bool is_fractional(const char *s, const char *end)
{
    return s < end && (*s == '.' || *s == 'e' || *s == 'E');
}

/* A whole number from p on, without sign, at most `most`. */
static uint64_t whole(struct json_in *j, const char *s, uint64_t most)
{
    const char *first = s;
    if (!whole_part(j, &s))
        return 0;
    if (is_fractional(s, j->end)) {
        fail_at(j, first, "a whole number was expected");
        return 0;
    }
    uint64_t v = 0;
    for (const char *d = first; d < s; d++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*d - '0'), &v) || v > most) {
            fail_at(j, first, "a number is too large");
            return 0;
        }
    }
    j->p = s;
    return v;
}

uint64_t json_get_u64(struct json_in *j)
{
    if (next(j) == '-') {
        json_in_fail(j, "a number is negative");
        return 0;
    }
    return whole(j, j->p, UINT64_MAX);
}

int64_t json_get_i64(struct json_in *j)
{
    if (next(j) != '-')
        return (int64_t)whole(j, j->p, INT64_MAX);
    return (int64_t)(0 - whole(j, j->p + 1, (uint64_t)INT64_MAX + 1));
}

/* Reads over any number that RFC 8259 allows. */
static bool number_span(struct json_in *j, struct span *span)
{
    (void)next(j);
    const char *s = j->p, *const start = s;
    if (s < j->end && *s == '-')
        s++;
    if (!whole_part(j, &s))
        return false;
    if (s < j->end && *s == '.') {
        const char *point = s++;
        while (digit_at(s, j->end))
            s++;
        if (s == point + 1) {
            fail_at(j, s, "a number has no digit after its point");
            return false;
        }
    }
    if (s < j->end && (*s == 'e' || *s == 'E')) {
        s++;
        if (s < j->end && (*s == '+' || *s == '-'))
            s++;
        const char *first = s;
        while (digit_at(s, j->end))
            s++;
        if (s == first) {
            fail_at(j, s, "a number has no digit in its exponent");
            return false;
        }
    }
    *span = (struct span){start, (size_t)(s - start), false};
    j->p = s;
    return true;
}

double json_get_double(struct json_in *j)
{
    struct span span;
    if (!number_span(j, &span))
        return 0;
    _cleanup_free_ char *text = str_ndup(span.s, span.len);
    double v = strtod(text, NULL);
    if (!isfinite(v)) {
        fail_at(j, span.s, "a number is too large");
        return 0;
    }
    return v;
}

/* ---- skipping and finishing ---- */

/* Recursion ends at DEPTH_MAX, where `enter` fails. */
void json_skip(struct json_in *j)
{
    struct span span;
    switch (next(j)) {
    case '{':
        json_object(j);
        while (next_key_span(j, &span))
            json_skip(j);
        break;
    case '[':
        json_array(j);
        while (json_next_item(j))
            json_skip(j);
        break;
    case '"': (void)read_span(j, &span); break;
    case 't':
    case 'f': (void)json_get_bool(j); break;
    case 'n':
        if (!json_is_null(j))
            json_in_fail(j, "a value was expected");
        break;
    case '\0': json_in_fail(j, "it ends too early"); break;
    default: (void)number_span(j, &span);
    }
}

char *json_get_raw(struct json_in *j)
{
    (void)next(j);
    const char *start = j->p;
    json_skip(j);
    return j->why == NULL ? str_ndup(start, (size_t)(j->p - start)) : NULL;
}

int json_in_finish(struct json_in *j, const char *what, struct err *e)
{
    if (j->why == NULL && j->depth > 0)
        json_in_fail(j, "its reader stopped before its end");
    if (j->why == NULL && (next(j), j->p < j->end))
        json_in_fail(j, "something follows the document");
    int rc = 0;
    if (j->why != NULL)
        rc = err_set(e, ERR_CORRUPT, "%s: %s at byte %zu", what, j->why, (size_t)(j->p - j->start));
    json_in_release(j);
    return rc;
}
