/* What a store driver or decorator provides. A driver is a struct that begins with struct store.
 *
 * To add one: copy memory.c, fill in the operations, name the file in meson.build, give the address
 * a prefix in store.c, and add a way to open it to test/conform/drivers.c. */
#ifndef SALVOR_STORE_STORE_INT_H
#define SALVOR_STORE_STORE_INT_H

#include "store/store.h"

/* Called by store.c, which has checked names and prefixes before, and which takes back what a get
 * that failed appended. An operation does what store.h says of store_<operation>. */
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
    void (*free)(struct store *s); /* all but `address`: the driver's own parts and the struct */
};

struct store {
    const struct store_ops *ops;
    struct store_properties properties;
    char *address; /* freed by store_free */
};

/* All bytes of some pieces. */
uint64_t store_pieces_size(const struct piece *pieces, size_t npieces);

/* Turns STORE_TO_END into the length that it means and checks that the range lies within `size`;
 * else ERR_CORRUPT. For drivers' get. */
_warn_unused_ int store_check_range(const struct store *s, const char *name, uint64_t size,
                                    uint64_t offset, uint64_t *len, struct err *e);

/* The errors of a missing and of an existing object, the same for each driver. */
int store_not_found(const struct store *s, const char *name, struct err *e);
int store_exists(const struct store *s, const char *name, struct err *e);

/* Whether a part of a name is one of an unfinished file: it ends in "-tmp-" and digits. */
bool store_part_unfinished(const char *part, size_t len);
/* Whether a part consists of allowed characters and is neither "." nor "..". */
bool store_part_plain(const char *part, size_t len);

#endif
