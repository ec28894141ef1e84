/* Which blobs the snapshots use: a walk over all their trees by several threads. A tree that was
 * seen already is not read again, so each blob is met at the first place that uses it. */
#ifndef SALVOR_REPO_USES_INT_H
#define SALVOR_REPO_USES_INT_H

#include "repo/repo_int.h"
#include "repo/snapshot.h"
#include <stdatomic.h>

/* A bit for each entry of the index. */
struct bits {
    atomic_uchar *byte;
    uint64_t n;
};
void bits_init(struct bits *b, uint64_t n);
void bits_release(struct bits *b);
bool bits_set(struct bits *b, uint64_t i); /* whether it was set before */
static inline bool bits_get(const struct bits *b, uint64_t i)
{
    return (atomic_load_explicit(&b->byte[i / 8], memory_order_relaxed) >> (i % 8) & 1) != 0;
}

/* Where something is used: a snapshot, the path of a directory in it ("" for its root), and the
 * name of an entry, or NULL for the directory itself. */
struct use {
    const struct snapshot *snapshot;
    const char *dir, *name;
};
char *use_text(const struct use *u); /* "snapshot 1a2b3c4d, /dir/name"; the caller frees */

/* All are called from several threads at once; a result below 0 ends the walk. */
struct uses_visitor {
    /* A blob met for the first time; may be NULL. */
    int (*found)(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                 struct err *e);
    /* A blob that is in no index, each time that it is met. */
    int (*missing)(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                   struct err *e);
    /* A tree that cannot be loaded or is none. `why` may be returned through e. */
    int (*broken)(const struct id *tree, const struct use *u, const struct err *why, void *arg,
                  struct err *e);
    void *arg;
};

/* Needs the index loaded as INDEX_EXACT. Sets in `used` the first entry of each blob that is used.
 */
_warn_unused_ int uses_walk(struct repo *r, const struct snapshot_list *snapshots, size_t threads,
                            const struct uses_visitor *v, struct bits *used, struct err *e);

#endif
