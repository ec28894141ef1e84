/* JSON out and in. The writer produces byte for byte what Go's encoding/json would (that is what
 * names restic's trees); the reader is a pull parser that needs no memory beyond one string, so an
 * index of a million blobs is read without a copy. RFC 8259. */
#ifndef SALVOR_BASE_JSON_H
#define SALVOR_BASE_JSON_H

#include "base/buf.h"
#include "base/id.h"
#include "base/text.h"
#include <time.h>

/* ---- writing ---- */

/* Appends to `out`, which must not be used otherwise meanwhile. Commas are placed by the writer.
 * Going past the cap of `out`, or nesting deeper than 32, sets `failed` and the rest is ignored. */
struct json_out {
    struct buf *out;
    int depth;
    bool comma[33]; /* per depth: a comma is due before the next item */
    bool after_key; /* the next value belongs to the key before it */
    bool failed;
    bool pretty; /* two-space indentation, for files that people read */
};

void json_out_init(struct json_out *j, struct buf *out);
void json_begin_object(struct json_out *j);
void json_end_object(struct json_out *j);
void json_begin_array(struct json_out *j);
void json_end_array(struct json_out *j);
void json_key(struct json_out *j, const char *key);
void json_put_string(struct json_out *j, const char *s,
                     size_t len);                      /* Go's escaping: < > & U+2028 too */
void json_put_text(struct json_out *j, const char *s); /* NUL-terminated; NULL gives null */
void json_put_u64(struct json_out *j, uint64_t v);
void json_put_i64(struct json_out *j, int64_t v);
void json_put_double(struct json_out *j,
                     double v); /* at most 6 digits after the point, no exponent */
void json_put_bool(struct json_out *j, bool v);
void json_put_null(struct json_out *j);
void json_put_raw(struct json_out *j, const char *json, size_t len); /* a value as it stands */
void json_put_id(struct json_out *j, const struct id *id);
void json_put_base64(struct json_out *j, const void *data, size_t len);
void json_put_time(struct json_out *j,
                   struct timespec t); /* RFC 3339, nanoseconds, local zone as Go */
/* Shorthands: key and value. */
void json_text(struct json_out *j, const char *key, const char *s);
void json_u64(struct json_out *j, const char *key, uint64_t v);
void json_i64(struct json_out *j, const char *key, int64_t v);
void json_double(struct json_out *j, const char *key, double v);
void json_bool(struct json_out *j, const char *key, bool v);
void json_id(struct json_out *j, const char *key, const struct id *id);
void json_time(struct json_out *j, const char *key, struct timespec t);
void json_list(struct json_out *j, const char *key, const struct str_list *l); /* of texts */
/* 0, or ERR_LIMIT if something did not fit. */
_warn_unused_ int json_out_finish(struct json_out *j, struct err *e);

/* ---- reading ---- */

/* Errors are sticky: after the first one every call returns nothing (false, NULL, 0) and loops
 * end; json_in_finish reports it with its byte offset. Typical use:
 *
 *     json_in_init(&in, data, len);
 *     json_object(&in);
 *     while ((key = json_next_key(&in)) != NULL) {
 *         if (strcmp(key, "time") == 0) t = json_get_time(&in);
 *         else json_skip(&in);
 *     }
 *     return json_in_finish(&in, "snapshot 1234", e);
 */
struct json_in {
    const char *p, *end, *start;
    int depth;
    bool first;      /* the next item of the present object or array is its first */
    const char *why; /* NULL while nothing is wrong */
    struct buf key, text;
};

void json_in_init(struct json_in *j, const void *data, size_t len);
void json_in_release(struct json_in *j); /* json_in_finish does it too */
void json_object(struct json_in *j);     /* enters an object: `{` must be next */
const char *
json_next_key(struct json_in *j); /* valid until the next key; NULL at `}`, which is consumed */
void json_array(struct json_in *j);
bool json_next_item(struct json_in *j); /* false at `]`, which is consumed */
bool json_is_null(struct json_in *j);   /* consumes a null if it is next */
char json_peek(struct json_in *j);      /* first byte of the next value, 0 at the end */
/* Valid until the next string is read. len may be NULL. "" on error. */
const char *json_get_string(struct json_in *j, size_t *len);
char *
json_get_text(struct json_in *j); /* the same as a copy that the caller frees; NULL for null */
/* The same into a field, whose former text is freed. */
void json_replace_text(struct json_in *j, char **field);
/* An array of texts instead of what the list held; null empties it. */
void json_get_list(struct json_in *j, struct str_list *l);
uint64_t json_get_u64(struct json_in *j); /* a negative, fractional or larger number is an error */
int64_t json_get_i64(struct json_in *j);
double json_get_double(struct json_in *j);
bool json_get_bool(struct json_in *j);
struct id json_get_id(struct json_in *j);
struct timespec json_get_time(struct json_in *j);
void json_get_base64(struct json_in *j, struct buf *out); /* appends */
char *json_get_raw(struct json_in *j); /* any value as it stands; the caller frees; NULL on error */
void json_skip(struct json_in *j);     /* any value; at most 64 deep */
void json_in_fail(struct json_in *j, const char *why); /* `why` must be a literal */
/* Reports: ERR_CORRUPT "<what>: <why> at byte N", also when something follows the document. */
_warn_unused_ int json_in_finish(struct json_in *j, const char *what, struct err *e);

#endif
