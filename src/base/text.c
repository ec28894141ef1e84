/* Text: lists of strings, UTF-8, hexadecimal and base64, glob patterns, near misses, sizes. */
#include "base/text.h"
#include "base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- lists and comparisons ---- */

void str_list_add(struct str_list *l, const char *s)
{
    str_list_add_take(l, str_dup(s));
}

void str_list_add_take(struct str_list *l, char *s)
{
    mem_grow(&l->s, l->n, &l->cap, sizeof *l->s);
    l->s[l->n++] = s;
}

static int compare_strings(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

void str_list_sort(struct str_list *l)
{
    if (l->n > 1)
        qsort(l->s, l->n, sizeof *l->s, compare_strings);
}

bool str_list_has(const struct str_list *l, const char *s)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->s[i], s) == 0)
            return true;
    return false;
}

void str_list_release(struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->s[i]);
    free(l->s);
    *l = (struct str_list){0};
}

bool str_eq(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* ---- UTF-8 ---- */

/* The length that a first byte announces and the range of the second byte, which is where overlong
 * forms, surrogates and numbers past U+10FFFF show (Unicode, table 3-7). Length 0: no first byte.
 */
static size_t sequence(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    if (first < 0xe0)
        return 2;
    if (first == 0xe0)
        *low = 0xa0;
    else if (first == 0xed)
        *high = 0x9f;
    else if (first == 0xf0)
        *low = 0x90;
    else if (first == 0xf4)
        *high = 0x8f;
    return first < 0xf0 ? 3 : 4;
}

uint32_t utf8_decode(const char *s, size_t len, size_t *size)
{
    const uint8_t *b = (const uint8_t *)s;
    uint8_t low, high;
    size_t n = sequence(b[0], &low, &high);
    *size = 1;
    if (n == 1)
        return b[0];
    if (n == 0 || n > len || b[1] < low || b[1] > high)
        return 0xfffd;
    uint32_t rune = b[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0xfffd;
        rune = rune << 6 | (b[i] & 0x3f);
    }
    *size = n;
    return rune;
}

bool utf8_valid(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        if (len - i >= sizeof eight) {
            memcpy(&eight, s + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t size;
        if (utf8_decode(s + i, len - i, &size) == 0xfffd && size == 1)
            return false;
        i += size;
    }
    return true;
}

/* ---- hexadecimal and base64 ---- */

void hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[b[i] >> 4];
        out[2 * i + 1] = digits[b[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *hex, size_t len, void *out)
{
    uint8_t *b = out;
    if (len % 2 != 0)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        b[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void base64_encode(const void *data, size_t len, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = data;
    char block[4 * 192];
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t bits = (uint32_t)b[i] << 16;
        if (left > 1)
            bits |= (uint32_t)b[i + 1] << 8;
        if (left > 2)
            bits |= b[i + 2];
        block[n++] = digits[bits >> 18];
        block[n++] = digits[bits >> 12 & 63];
        block[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        block[n++] = left > 2 ? digits[bits & 63] : '=';
        if (n == sizeof block) {
            buf_add(out, block, n);
            n = 0;
        }
    }
    buf_add(out, block, n);
    mem_wipe(block, sizeof block); /* keys pass through here */
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, struct buf *out, struct err *e)
{
    if (len % 4 != 0)
        return err_set(e, ERR_CORRUPT, "base64 text of %zu characters is cut off", len);
    size_t padding = 0;
    if (len > 0 && text[len - 1] == '=')
        padding = text[len - 2] == '=' ? 2 : 1;
    int rc = buf_reserve(out, len / 4 * 3 - padding, e);
    if (rc < 0)
        return rc;
    uint8_t *to = out->data + out->len;
    size_t n = 0;
    for (size_t i = 0; i < len; i += 4) {
        size_t pad = i + 4 == len ? padding : 0;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int v = k < 4 - pad ? base64_value(text[i + k]) : 0;
            if (v < 0)
                return err_set(e, ERR_CORRUPT, "character %zu is not base64", i + k);
            bits = bits << 6 | (uint32_t)v;
        }
        if ((pad == 1 && (bits & 0xff) != 0) || (pad == 2 && (bits & 0xffff) != 0))
            return err_set(e, ERR_CORRUPT, "base64 text ends in bits that mean nothing");
        to[n++] = (uint8_t)(bits >> 16);
        if (pad < 2)
            to[n++] = (uint8_t)(bits >> 8);
        if (pad < 1)
            to[n++] = (uint8_t)bits;
    }
    out->len += n;
    if (out->data != NULL)
        out->data[out->len] = '\0';
    return 0;
}

/* ---- glob patterns ---- */

/* Whether the class that starts at *p (after the bracket) holds `rune`; moves *p past its closing
 * bracket. A class that never closes leaves *p alone and sets *closed to false. */
static bool class_has(const char **p, const char *end, uint32_t rune, bool *closed)
{
    const char *q = *p;
    bool negated = q < end && (*q == '!' || *q == '^'), found = false;
    if (negated)
        q++;
    *closed = false;
    for (const char *first = q; q < end;) {
        if (*q == ']' && q != first) {
            *p = q + 1;
            *closed = true;
            return found != negated;
        }
        size_t size;
        if (*q == '\\' && q + 1 < end)
            q++;
        uint32_t from = utf8_decode(q, (size_t)(end - q), &size), to = from;
        q += size;
        if (end - q >= 2 && q[0] == '-' && q[1] != ']') {
            q += q[1] == '\\' && end - q >= 3 ? 2 : 1;
            to = utf8_decode(q, (size_t)(end - q), &size);
            q += size;
        }
        found |= rune >= from && rune <= to;
    }
    return false;
}

/* Matches one character of the pattern, which is no star, against the start of s; moves both. */
static bool match_one(const char **p, const char *p_end, const char **s, const char *s_end)
{
    if (*p == p_end || *s == s_end)
        return false;
    size_t size;
    uint32_t rune = utf8_decode(*s, (size_t)(s_end - *s), &size);
    if (**p == '?') {
        (*p)++;
        *s += size;
        return true;
    }
    if (**p == '[') {
        const char *q = *p + 1;
        bool closed, has = class_has(&q, p_end, rune, &closed);
        if (closed) {
            *p = q;
            *s += size;
            return has;
        }
    }
    const char *literal = *p;
    if (*literal == '\\' && literal + 1 < p_end)
        literal++;
    if (*literal != **s)
        return false;
    *p = literal + 1;
    (*s)++;
    return true;
}

/* One part of a path against one part of a pattern. Only the last star is ever tried again, which
 * is enough and keeps the time below the product of both lengths. */
static bool match_part(const char *p, const char *p_end, const char *s, const char *s_end)
{
    const char *star_p = NULL, *star_s = NULL;
    while (p < p_end || s < s_end) {
        if (p < p_end && *p == '*') {
            star_p = ++p;
            star_s = s;
            continue;
        }
        if (match_one(&p, p_end, &s, s_end))
            continue;
        if (star_p == NULL || star_s == s_end)
            return false;
        size_t size;
        (void)utf8_decode(star_s, (size_t)(s_end - star_s), &size);
        star_s += size;
        p = star_p;
        s = star_s;
    }
    return true;
}

static const char *next_part(const char *s)
{
    const char *slash = strchr(s, '/');
    return slash != NULL ? slash + 1 : NULL;
}

static const char *part_end(const char *s)
{
    return s + strcspn(s, "/");
}

bool glob_match(const char *pattern, const char *path)
{
    const char *p = pattern, *s = path, *star_p = NULL, *star_s = NULL;
    while (p != NULL || s != NULL) {
        if (p != NULL && part_end(p) - p == 2 && p[0] == '*' && p[1] == '*') {
            p = next_part(p);
            if (p == NULL)
                return s != NULL; /* at the end: what is inside, not the directory itself */
            star_p = p;
            star_s = s;
            continue;
        }
        if (p != NULL && s != NULL && match_part(p, part_end(p), s, part_end(s))) {
            p = next_part(p);
            s = next_part(s);
            continue;
        }
        if (star_s == NULL)
            return false;
        star_s = next_part(star_s);
        s = star_s;
        p = star_p;
    }
    return true;
}

/* ---- near misses ---- */

enum { NEAREST_MAX = 64, NEAREST_EDITS = 3 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours; both at most NEAREST_MAX long. */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t row[3][NEAREST_MAX + 1];
    size_t *before = row[0], *last = row[1], *now = row[2];
    for (size_t k = 0; k <= m; k++)
        last[k] = k;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t k = 1; k <= m; k++) {
            size_t cost = a[i - 1] == b[k - 1] ? 0 : 1;
            now[k] = least(least(last[k] + 1, now[k - 1] + 1), last[k - 1] + cost);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                now[k] = least(now[k], before[k - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[m];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t len = strlen(word), best = NEAREST_EDITS + 1;
    const char *nearest = NULL;
    if (len > NEAREST_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(candidates[i]);
        if (other > NEAREST_MAX)
            continue;
        size_t edits = distance(word, len, candidates[i], other);
        if (edits < best && edits < len && edits < other) {
            best = edits;
            nearest = candidates[i];
        }
    }
    return nearest;
}

/* ---- sizes ---- */

char *size_human(uint64_t bytes, char out[24])
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        (void)snprintf(out, 24, "%u B", (unsigned)bytes);
        return out;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    while (value >= 1023.95 && unit + 2 < sizeof units) { /* 1024.0 would be shown */
        value /= 1024;
        unit++;
    }
    unsigned tenths = (unsigned)(value * 10 + 0.5);
    (void)snprintf(out, 24, "%u.%u %ciB", tenths / 10, tenths % 10, units[unit]);
    return out;
}

/* The bytes that a unit stands for, 0 if it is none. */
static uint64_t unit_bytes(const char *unit)
{
    static const char letters[] = "kmgtpe";
    if (*unit == '\0' || strcasecmp(unit, "B") == 0)
        return 1;
    const char *at = strchr(letters, tolower((unsigned char)*unit));
    if (at == NULL)
        return 0;
    uint64_t base = strcasecmp(unit + 1, "B") == 0 ? 1000 : 1024, bytes = base;
    if (unit[1] != '\0' && base == 1024 && strcasecmp(unit + 1, "iB") != 0)
        return 0;
    for (; at > letters; at--)
        bytes *= base;
    return bytes;
}

bool size_parse(const char *text, uint64_t *bytes)
{
    uint64_t whole = 0;
    long double fraction = 0, place = 0.1L;
    const char *s = text;
    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*s - '0'), &whole))
            return false;
    if (*s == '.') {
        if (!isdigit((unsigned char)*++s))
            return false;
        for (; isdigit((unsigned char)*s); s++, place /= 10)
            fraction += place * (*s - '0');
    }
    while (*s == ' ')
        s++;
    uint64_t unit = unit_bytes(s), total;
    if (unit == 0 || __builtin_mul_overflow(whole, unit, &total) ||
        __builtin_add_overflow(total, (uint64_t)(fraction * (long double)unit + 0.5L), &total))
        return false;
    *bytes = total;
    return true;
}

/* ---- terminals ---- */

void text_printable(const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0, size; i < len; i += size) {
        uint32_t rune = utf8_decode(s + i, len - i, &size);
        bool invalid = rune == 0xfffd && size == 1;
        bool control = rune < 0x20 || (rune >= 0x7f && rune < 0xa0); /* C1 moves cursors too */
        if (!invalid && !control) {
            buf_add(out, s + i, size);
            continue;
        }
        for (size_t k = 0; k < size; k++)
            buf_addf(out, "\\x%02x", (unsigned)(uint8_t)s[i + k]);
    }
}

/* ---- percent encoding ---- */

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10
                                        : -1;
}

char *text_percent_decode(const char *text, size_t len)
{
    char *out = mem_alloc(len + 1), *to = out;
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0 && high * 16 + low != 0) {
            *to++ = (char)(high * 16 + low);
            i += 2;
        } else {
            *to++ = text[i];
        }
    }
    *to = '\0';
    return out;
}

static bool is_plain_name(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("_-.", c) != NULL);
}

char *text_encode_name(const char *name)
{
    char *out = mem_alloc(3 * strlen(name) + 1), *to = out;
    for (const char *p = name; *p != '\0'; p++) {
        if (is_plain_name(*p))
            *to++ = *p;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*p);
    }
    *to = '\0';
    return out;
}

char *text_decode_name(const char *encoded)
{
    char *name = text_percent_decode(encoded, strlen(encoded));
    char *again = text_encode_name(name);
    bool same = *encoded != '\0' && str_eq(again, encoded);
    free(again);
    if (!same)
        free(take(name));
    return name;
}
