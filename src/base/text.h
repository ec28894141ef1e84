/* Text: comparing, splitting, matching, encoding, and showing sizes to people. */
#ifndef SALVOR_BASE_TEXT_H
#define SALVOR_BASE_TEXT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct str_list {
    char **s; /* each owned by the list */
    size_t n, cap;
};

void str_list_add(struct str_list *l, const char *s); /* copies */
void str_list_add_take(struct str_list *l, char *s);  /* takes over */
void str_list_sort(struct str_list *l);               /* by bytes */
bool str_list_has(const struct str_list *l, const char *s);
void str_list_release(struct str_list *l);

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Whether `len` bytes are valid UTF-8 by Go's and Unicode's rules (no surrogates, no overlong). */
bool utf8_valid(const char *s, size_t len);
/* Decodes one code point of a string of `len` > 0 bytes; an invalid byte gives 0xFFFD with size 1.
 */
uint32_t utf8_decode(const char *s, size_t len, size_t *size);

void hex_encode(const void *data, size_t len, char *out); /* out: 2 * len + 1 */
bool hex_decode(const char *hex, size_t len, void *out);  /* lower or upper case; len even */
void base64_encode(const void *data, size_t len, struct buf *out); /* standard, padded; appends */
_warn_unused_ int base64_decode(const char *text, size_t len, struct buf *out, struct err *e);

/* Whether `path` matches `pattern`, slash by slash: `*` and `?` stay within a part, `**` spans
 * parts, `[a-z]` is a class, a backslash quotes. */
bool glob_match(const char *pattern, const char *path);

/* Optimal-string-alignment distance, for "did you mean"; returns the nearest of the candidates
 * that is at most 3 edits away (and less than its length), or NULL. */
const char *text_nearest(const char *word, const char *const *candidates, size_t n);

/* Writes a size as "1.2 GiB" / "512 B" into out and returns it. */
char *size_human(uint64_t bytes, char out[24]);
/* Reads "4096", "10MiB", "1.5 GiB", "64k", "10MB" (powers of 1000 for kB/MB/GB, of 1024 for
 * k/K/KiB/M/MiB...). */
bool size_parse(const char *text, uint64_t *bytes);

/* `len` bytes with each %XX replaced by its byte, but %00; what is no hexadecimal stays. The caller
 * frees. */
char *text_percent_decode(const char *text, size_t len);
/* A name of any bytes as one that paths, tags and resources can hold: ASCII letters, digits, _ -
 * and . as they are, other bytes as %XX. The caller frees. */
char *text_encode_name(const char *name);
/* The other way round; NULL if it is none. The caller frees. */
char *text_decode_name(const char *encoded);

/* Makes text from a repository safe for a terminal: control bytes and invalid UTF-8 become \xNN.
 * Appends. */
void text_printable(const char *s, size_t len, struct buf *out);

#endif
