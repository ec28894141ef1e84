/* Streams: reading them, and those over a descriptor and over memory. */
#include "base/stream.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum { PIPE_SIZE = 1 << 20 }; /* what an ordinary user may ask for */

int stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    *got = 0;
    return s->read(s, data, len, got, e);
}

int stream_read_full(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    char *p = data;
    *got = 0;
    while (*got < len) {
        size_t n;
        int rc = stream_read(s, p + *got, len - *got, &n, e);
        if (rc != 0)
            return rc;
        if (n == 0)
            break;
        *got += n;
    }
    return 0;
}

void stream_close(struct stream *s)
{
    if (s != NULL)
        s->close(s);
}

void stream_closep(struct stream **s)
{
    stream_close(*s);
    *s = NULL;
}

struct fd_stream {
    struct stream stream; /* first: a struct stream * is one of these */
    int fd;
    char *name;
};

static int fd_stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    struct fd_stream *f = (struct fd_stream *)s;
    for (;;) {
        ssize_t n = read(f->fd, data, len);
        if (n >= 0) {
            *got = (size_t)n;
            return 0;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd p = {.fd = f->fd, .events = POLLIN};
            if (poll(&p, 1, -1) >= 0)
                continue;
        }
        if (errno != EINTR)
            return err_sys(e, errno, "cannot read %s", f->name);
    }
}

static void fd_stream_close(struct stream *s)
{
    struct fd_stream *f = (struct fd_stream *)s;
    (void)close(f->fd);
    free(f->name);
    free(f);
}

struct stream *stream_from_fd(int fd, const char *name)
{
    struct fd_stream *f = mem_zero(sizeof(*f));
    f->stream.read = fd_stream_read;
    f->stream.close = fd_stream_close;
    f->fd = fd;
    f->name = str_dup(name);
#ifdef F_SETPIPE_SZ
    (void)fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE); /* a larger pipe wakes both ends less often */
#endif
    return &f->stream;
}

struct memory_stream {
    struct stream stream;
    const char *data;
    size_t len;
};

static int memory_stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    (void)e;
    struct memory_stream *m = (struct memory_stream *)s;
    *got = len < m->len ? len : m->len;
    if (*got > 0) { /* the data of an empty stream may be NULL */
        memcpy(data, m->data, *got);
        m->data += *got;
        m->len -= *got;
    }
    return 0;
}

static void memory_stream_close(struct stream *s)
{
    free(s);
}

struct stream *stream_from_memory(const void *data, size_t len)
{
    struct memory_stream *m = mem_zero(sizeof(*m));
    m->stream.read = memory_stream_read;
    m->stream.close = memory_stream_close;
    m->data = data;
    m->len = len;
    return &m->stream;
}
