/* Inside of the repository room: what its files share. */
#ifndef SALVOR_REPO_REPO_INT_H
#define SALVOR_REPO_REPO_INT_H

#include "crypt/crypt.h"
#include "repo/index_int.h"
#include "repo/repo.h"

struct lock; /* lock.c */

struct repo {
    struct store *store;
    struct seal_key key; /* the master key */
    struct id id;
    int version;
    uint64_t polynomial;
    struct id key_id; /* of the key file that opened it */
    struct clock *clock;
    char *cache_dir; /* <cache>/<repository id>, exists; NULL without cache */
    enum compression compression;
    size_t pack_size, upload_threads;
    struct index *index;
    struct lock *lock; /* NULL while unlocked */
};

/* compress.c: zstd with contexts kept per thread. */
_warn_unused_ int zstd_pack(const void *data, size_t len, int level, struct buf *out,
                            struct err *e);
/* Fails with ERR_CORRUPT if the result would be longer than `most`. Appends to out. */
_warn_unused_ int zstd_unpack(const void *data, size_t len, size_t most, struct buf *out,
                              struct err *e);

#endif
