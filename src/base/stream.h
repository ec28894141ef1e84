/* A stream of bytes that somebody pulls. */
#ifndef SALVOR_BASE_STREAM_H
#define SALVOR_BASE_STREAM_H

#include "base/buf.h"

struct stream {
    /* Fills up to `len` bytes and sets *got; 0 only at the end. Short counts are allowed. */
    int (*read)(struct stream *s, void *data, size_t len, size_t *got, struct err *e);
    /* Frees. What a source has to say at the end (changed while it was read) it says by `read`
     * failing with ERR_CHANGED, or by its own finish call, never here. */
    void (*close)(struct stream *s);
};

_warn_unused_ int stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e);
/* Reads until `len` bytes are there or the stream ends. */
_warn_unused_ int stream_read_full(struct stream *s, void *data, size_t len, size_t *got,
                                   struct err *e);
void stream_close(struct stream *s); /* NULL is allowed */
void stream_closep(struct stream **s);

/* Reads a descriptor, which it closes; `name` is for messages and is copied. */
struct stream *stream_from_fd(int fd, const char *name);
/* Reads memory that must outlive it. */
struct stream *stream_from_memory(const void *data, size_t len);

#endif
