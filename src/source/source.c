/* Dispatch: what every source has in common, whatever it reads. */
#include "source/source_int.h"
#include <stdlib.h>
#include <string.h>

int source_next(struct source *s, struct source_item *out, struct err *e)
{
    memset(out, 0, sizeof(*out));
    out->source = s;
    int rc = s->ops->next(s, out, e);
    if (rc != 0)
        source_item_release(out);
    return rc;
}

void source_item_release(struct source_item *i)
{
    if (i->source != NULL && i->source->ops->item_release != NULL && i->handle != NULL)
        i->source->ops->item_release(i);
    node_release(&i->node);
    free(i->path);
    memset(i, 0, sizeof(*i));
}

bool source_unchanged(const struct source_item *i, const struct node *before)
{
    return i->source->ops->unchanged(i, before);
}

int source_open(const struct source_item *i, struct stream **out, struct err *e)
{
    *out = NULL;
    return i->source->ops->open(i, out, e);
}

int source_verdict(struct source_item *i, struct stream *s, uint64_t bytes_read, struct err *e)
{
    return i->source->ops->verdict(i, s, bytes_read, e);
}

int source_describe(struct source *s, struct json_out *j, struct err *e)
{
    return s->ops->describe(s, j, e);
}

void source_estimate(struct source *s, uint64_t *bytes, uint64_t *entries)
{
    *bytes = *entries = 0;
    if (s->ops->estimate != NULL)
        s->ops->estimate(s, bytes, entries);
}

bool source_is_whole(const struct source *s)
{
    return s->ops->whole;
}

void source_free(struct source *s)
{
    if (s != NULL)
        s->ops->free(s);
}

void source_freep(struct source **s)
{
    source_free(*s);
}
