/* What a source driver provides. A driver is a struct that begins with struct source. */
#ifndef SALVOR_SOURCE_SOURCE_INT_H
#define SALVOR_SOURCE_SOURCE_INT_H

#include "source/source.h"

struct source_ops {
    int (*next)(struct source *s, struct source_item *out, struct err *e);
    void (*item_release)(struct source_item *i); /* frees i->handle; may be NULL */
    bool (*unchanged)(const struct source_item *i, const struct node *before);
    int (*open)(const struct source_item *i, struct stream **out, struct err *e);
    int (*verdict)(struct source_item *i, struct stream *s, uint64_t bytes_read, struct err *e);
    int (*describe)(struct source *s, struct json_out *j, struct err *e);
    void (*estimate)(struct source *s, uint64_t *bytes, uint64_t *entries); /* may be NULL */
    void (*free)(struct source *s);
    bool whole; /* see source_is_whole */
};

struct source {
    const struct source_ops *ops;
};

#endif
