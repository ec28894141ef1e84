/* A growable byte buffer with a cap. Bytes are followed by a NUL that is not counted, so text in it
 * can be used as a C string. Growing past the cap fails with ERR_LIMIT and leaves it unchanged. */
#ifndef SALVOR_BASE_BUF_H
#define SALVOR_BASE_BUF_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* NULL until something was reserved */
    size_t len;    /* bytes in use */
    size_t size;   /* bytes allocated */
    size_t max;    /* largest len allowed */
};

/* Common caps. */
#define BUF_TEXT ((size_t)1 << 20)   /* a file of text that a person wrote */
#define BUF_JSON ((size_t)256 << 20) /* a document of the repository */
#define BUF_PACK ((size_t)4 << 30)   /* restic's packs stay below 4 GiB */

#define BUF_INIT(cap)                                                                              \
    {                                                                                              \
        NULL, 0, 0, (cap)                                                                          \
    }

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);      /* frees; the cap stays, so the buffer can be used again */
void buf_wipe_release(struct buf *b); /* the same for secrets: wipes first */
void buf_clear(struct buf *b);        /* len 0, keeps the memory for reuse */
void buf_swap(struct buf *a, struct buf *b);

/* Makes room for `more` bytes past len. */
_warn_unused_ int buf_reserve(struct buf *b, size_t more, struct err *e);
_warn_unused_ int buf_append(struct buf *b, const void *data, size_t len, struct err *e);
_warn_unused_ int buf_printf(struct buf *b, struct err *e, const char *fmt, ...) _printf_(3, 4);

/* For text that the program makes itself under a cap that it cannot reach: exits on failure. */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *text);
void buf_addf(struct buf *b, const char *fmt, ...) _printf_(2, 3);

/* The text in it, never NULL; owned by the buffer. */
const char *buf_str(const struct buf *b);
/* Takes the memory out (the caller frees it); the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *b);

#endif
