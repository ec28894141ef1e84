/* The source of one stream under one name, such as standard input. */
#include "base/clock.h"
#include "base/mem.h"
#include "source/source_int.h"
#include <string.h>

struct stream_source {
    struct source source;
    char *name;
    struct stream *stream; /* NULL once it was opened */
    bool told;
    uint64_t bytes;
};

static struct stream_source *stream_of(struct source *s)
{
    return (struct stream_source *)s;
}

static int stream_next(struct source *source, struct source_item *out, struct err *e)
{
    (void)e;
    struct stream_source *s = stream_of(source);
    out->step = s->told ? SOURCE_END : SOURCE_LEAF;
    if (s->told)
        return 0;
    s->told = true;
    out->path = str_dup(s->name);
    out->has_bytes = true;
    struct node *n = &out->node;
    n->name = str_dup(s->name);
    n->type = NODE_FILE;
    n->mode = 0600;
    n->mtime = n->atime = n->ctime = clock_wall(&clock_system);
    n->uid = (uint32_t)getuid();
    n->gid = (uint32_t)getgid();
    n->links = 1;
    return 0;
}

static bool stream_unchanged(const struct source_item *i, const struct node *before)
{
    (void)i;
    (void)before;
    return false;
}

static int stream_open(const struct source_item *i, struct stream **out, struct err *e)
{
    struct stream_source *s = stream_of(i->source);
    if (s->stream == NULL)
        return err_set(e, ERR_UNSUPPORTED, "%s is a stream: it can be read only once", s->name);
    *out = take(s->stream);
    return 0;
}

static int stream_verdict(struct source_item *i, struct stream *stream, uint64_t bytes_read,
                          struct err *e)
{
    (void)stream;
    (void)e;
    stream_of(i->source)->bytes = i->node.size = bytes_read;
    return 0;
}

static int stream_describe(struct source *source, struct json_out *j, struct err *e)
{
    (void)e;
    const struct stream_source *s = stream_of(source);
    json_text(j, "stream", s->name);
    json_u64(j, "bytes", s->bytes);
    return 0;
}

static void stream_free(struct source *source)
{
    struct stream_source *s = stream_of(source);
    stream_close(s->stream);
    free(s->name);
    free(s);
}

static const struct source_ops stream_ops = {
    .next = stream_next,
    .unchanged = stream_unchanged,
    .open = stream_open,
    .verdict = stream_verdict,
    .describe = stream_describe,
    .free = stream_free,
};

struct source *source_stream_new(const char *name, struct stream *stream)
{
    struct stream_source *s = mem_zero(sizeof(*s));
    s->source.ops = &stream_ops;
    s->name = str_dup(name);
    s->stream = stream;
    return &s->source;
}
