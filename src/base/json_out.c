/* JSON writer: byte for byte what Go's encoding/json would write, since the hash of a tree's bytes
 * is its name. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 32 };

/* ---- structure ---- */

void json_out_init(struct json_out *j, struct buf *out)
{
    *j = (struct json_out){.out = out};
}

/* All output goes through here; the cap of the buffer is what can fail. */
static void raw(struct json_out *j, const char *s, size_t len)
{
    struct err e;
    if (!j->failed && buf_append(j->out, s, len, &e) < 0)
        j->failed = true;
}

static void new_line(struct json_out *j)
{
    static const char spaces[2 * DEPTH_MAX + 1] =
        "                                                                ";
    raw(j, "\n", 1);
    raw(j, spaces, 2 * (size_t)j->depth);
}

/* What stands before a key or an item of an array. */
static void before_item(struct json_out *j)
{
    if (j->depth == 0)
        return;
    if (j->comma[j->depth])
        raw(j, ",", 1);
    if (j->pretty)
        new_line(j);
    j->comma[j->depth] = true;
}

static void before_value(struct json_out *j)
{
    if (!j->after_key)
        before_item(j);
    j->after_key = false;
}

static void value(struct json_out *j, const char *s, size_t len)
{
    before_value(j);
    raw(j, s, len);
}

static void begin(struct json_out *j, const char *bracket)
{
    value(j, bracket, 1);
    if (j->depth == DEPTH_MAX) {
        j->failed = true;
        return;
    }
    j->comma[++j->depth] = false;
}

static void end(struct json_out *j, const char *bracket)
{
    if (j->failed || j->depth == 0) {
        j->failed = true;
        return;
    }
    bool empty = !j->comma[j->depth--];
    if (j->pretty && !empty)
        new_line(j);
    raw(j, bracket, 1);
}

void json_begin_object(struct json_out *j)
{
    begin(j, "{");
}

void json_end_object(struct json_out *j)
{
    end(j, "}");
}

void json_begin_array(struct json_out *j)
{
    begin(j, "[");
}

void json_end_array(struct json_out *j)
{
    end(j, "]");
}

int json_out_finish(struct json_out *j, struct err *e)
{
    if (j->failed)
        return err_set(e, ERR_LIMIT,
                       "JSON document is larger than %zu bytes or deeper than %d levels",
                       j->out->max, DEPTH_MAX);
    if (j->depth != 0)
        return err_set(e, ERR_INTERNAL, "JSON document was left open");
    return 0;
}

/* ---- strings ---- */

/* Bytes that stand for themselves in a string. The others are escaped or may need to be: controls,
 * what HTML would misread, and the first bytes of everything that is not ASCII. */
static bool plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

/* Writes one character that is not plain and returns its length in the source. Go before 1.22 has
 * no short form for backspace and form feed, and restic's format dates from then. */
static size_t put_special(struct json_out *j, const char *s, size_t len)
{
    size_t size;
    char text[8];
    uint32_t rune = utf8_decode(s, len, &size);
    switch (rune) {
    case '"': raw(j, "\\\"", 2); break;
    case '\\': raw(j, "\\\\", 2); break;
    case '\n': raw(j, "\\n", 2); break;
    case '\r': raw(j, "\\r", 2); break;
    case '\t': raw(j, "\\t", 2); break;
    default:
        if (rune < 0x80 || rune == 0x2028 || rune == 0x2029 || (rune == 0xfffd && size == 1)) {
            (void)snprintf(text, sizeof text, "\\u%04x", (unsigned)rune & 0xffff);
            raw(j, text, 6);
        } else {
            raw(j, s, size);
        }
    }
    return size;
}

static void quoted(struct json_out *j, const char *s, size_t len)
{
    raw(j, "\"", 1);
    size_t from = 0, i = 0;
    while (i < len) {
        if (plain((uint8_t)s[i])) {
            i++;
            continue;
        }
        if (i > from)
            raw(j, s + from, i - from);
        i += put_special(j, s + i, len - i);
        from = i;
    }
    if (i > from)
        raw(j, s + from, i - from);
    raw(j, "\"", 1);
}

void json_key(struct json_out *j, const char *key)
{
    before_item(j);
    quoted(j, key, strlen(key));
    raw(j, j->pretty ? ": " : ":", j->pretty ? 2 : 1);
    j->after_key = true;
}

void json_put_string(struct json_out *j, const char *s, size_t len)
{
    before_value(j);
    quoted(j, s, len);
}

void json_put_text(struct json_out *j, const char *s)
{
    if (s == NULL)
        json_put_null(j);
    else
        json_put_string(j, s, strlen(s));
}

void json_put_id(struct json_out *j, const struct id *id)
{
    char text[ID_HEX + 3] = "\"";
    (void)id_hex(id, text + 1);
    text[ID_HEX + 1] = '"';
    value(j, text, ID_HEX + 2);
}

void json_put_base64(struct json_out *j, const void *data, size_t len)
{
    struct err e;
    value(j, "\"", 1);
    /* Asked for first, because base64_encode does not return when it does not fit. */
    if (j->failed || len > SIZE_MAX / 4 || buf_reserve(j->out, (len + 2) / 3 * 4, &e) < 0) {
        j->failed = true;
        return;
    }
    base64_encode(data, len, j->out);
    raw(j, "\"", 1);
}

void json_put_time(struct json_out *j, struct timespec t)
{
    char text[TIME_TEXT + 2] = "\"";
    (void)time_format(t, false, text + 1);
    size_t len = strlen(text);
    text[len] = '"';
    value(j, text, len + 1);
}

/* ---- numbers and words ---- */

void json_put_u64(struct json_out *j, uint64_t v)
{
    char text[20], *at = text + sizeof text;
    do
        *--at = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    value(j, at, (size_t)(text + sizeof text - at));
}

void json_put_i64(struct json_out *j, int64_t v)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)v);
    value(j, text, (size_t)len);
}

void json_put_double(struct json_out *j, double v)
{
    char text[336]; /* the largest has 309 digits before the point */
    if (!isfinite(v)) {
        json_put_null(j); /* JSON has no word for it */
        return;
    }
    int len = snprintf(text, sizeof text, "%.6f", v);
    while (text[len - 1] == '0')
        len--;
    if (text[len - 1] == '.')
        len--;
    if (len == 2 && text[0] == '-' && text[1] == '0')
        json_put_u64(j, 0);
    else
        value(j, text, (size_t)len);
}

void json_put_bool(struct json_out *j, bool v)
{
    value(j, v ? "true" : "false", v ? 4 : 5);
}

void json_put_null(struct json_out *j)
{
    value(j, "null", 4);
}

void json_put_raw(struct json_out *j, const char *json, size_t len)
{
    value(j, json, len);
}

/* ---- key and value ---- */

void json_text(struct json_out *j, const char *key, const char *s)
{
    json_key(j, key);
    json_put_text(j, s);
}

void json_u64(struct json_out *j, const char *key, uint64_t v)
{
    json_key(j, key);
    json_put_u64(j, v);
}

void json_i64(struct json_out *j, const char *key, int64_t v)
{
    json_key(j, key);
    json_put_i64(j, v);
}

void json_double(struct json_out *j, const char *key, double v)
{
    json_key(j, key);
    json_put_double(j, v);
}

void json_bool(struct json_out *j, const char *key, bool v)
{
    json_key(j, key);
    json_put_bool(j, v);
}

void json_id(struct json_out *j, const char *key, const struct id *id)
{
    json_key(j, key);
    json_put_id(j, id);
}

void json_time(struct json_out *j, const char *key, struct timespec t)
{
    json_key(j, key);
    json_put_time(j, t);
}

void json_list(struct json_out *j, const char *key, const struct str_list *l)
{
    json_key(j, key);
    json_begin_array(j);
    for (size_t i = 0; i < l->n; i++)
        json_put_text(j, l->s[i]);
    json_end_array(j);
}
