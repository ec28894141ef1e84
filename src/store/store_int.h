/* What a store driver or decorator provides. A driver is a struct that begins with struct store. */
#ifndef SALVOR_STORE_STORE_INT_H
#define SALVOR_STORE_STORE_INT_H

#include "store/store.h"

struct store_ops {
    int (*put)(struct store *s, const char *name, enum store_put_mode mode,
               const struct piece *pieces, size_t npieces, struct err *e);
    int (*get)(struct store *s, const char *name, uint64_t offset, uint64_t len, struct buf *out,
               struct err *e);
    int (*stat)(struct store *s, const char *name, uint64_t *size, struct err *e);
    int (*list)(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e);
    int (*remove)(struct store *s, const char *name, struct err *e);
    int (*clean)(struct store *s, int64_t age_s, size_t *n, struct err *e);
    char *(*local_path)(struct store *s, const char *name); /* may be NULL */
    void (*free)(struct store *s);
};

struct store {
    const struct store_ops *ops;
    struct store_properties properties;
    char *address; /* freed by store_free */
};

#endif
