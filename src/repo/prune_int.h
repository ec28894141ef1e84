/* Inside of pruning: which blobs are used, and what is to become of each pack. */
#ifndef SALVOR_REPO_PRUNE_INT_H
#define SALVOR_REPO_PRUNE_INT_H

#include "repo/pack_int.h"
#include "repo/prune.h"

enum pack_fate {
    PACK_KEEP,
    PACK_REPACK, /* its used blobs move to new packs */
    PACK_REMOVE,
};

struct prune_pack {
    struct id id;
    uint64_t size;   /* in the store; 0 when it is not there */
    uint64_t used;   /* sealed bytes of blobs that are used here */
    uint64_t sealed; /* sealed bytes of all its blobs */
    uint32_t nused, nblob;
    bool has_data, has_tree;
    bool spoilt; /* a blob of it that lies elsewhere, too, is damaged here */
    enum pack_fate fate;
};

/* Whether it is there, with all the bytes that its blobs need. */
static inline bool prune_pack_whole(const struct prune_pack *k)
{
    return k->size >= k->sealed + SEAL_OVERHEAD;
}

/* A used blob that lies here, but is taken from another pack. */
struct prune_spare {
    uint64_t ordinal;
    uint32_t pack;
};

struct prune {
    struct repo *repo;
    const struct prune_options *options;
    struct prune_result *result;
    uint8_t *state;          /* per ordinal: PRUNE_USED, and how often it was seen in packs */
    struct prune_pack *pack; /* in the order of index_each_pack */
    size_t npack, pack_cap;
    struct prune_spare *spare; /* sorted */
    size_t nspare, spare_cap;
    struct id_list unindexed; /* packs in the store that no index file names */
    struct id_list old_files; /* index files before anything was changed */
};

enum { PRUNE_USED = 0x80, PRUNE_SEEN_MOST = 0x7f };

/* prune_mark.c: sets PRUNE_USED for every blob that a snapshot needs. ERR_CORRUPT when one of them
 * is in no index or a snapshot or tree cannot be read: then nothing may be removed. */
_warn_unused_ int prune_mark(struct prune *p, struct err *e);

/* prune_plan.c: fills p->pack, p->spare and p->unindexed, and decides. */
_warn_unused_ int prune_plan(struct prune *p, struct err *e);

/* ---- prune_copies.c ---- */

/* Fills p->spare with the copies that are not taken, and counts them out of p->pack. The copies
 * that are taken have been read, unless it is a dry run: ERR_CORRUPT if a blob that lies in several
 * packs is damaged in all of them. */
_warn_unused_ int prune_copies(struct prune *p, struct err *e);
/* Whether the blob is used out of pack number `pack`. */
bool prune_takes(const struct prune *p, const struct index_blob *b, uint32_t pack);

/* Buffers for opening blobs. */
struct prune_hands {
    struct buf copy, sealed, plain;
};
#define PRUNE_HANDS_INIT                                                                           \
    {                                                                                              \
        BUF_INIT(BUF_PACK), BUF_INIT(BUF_PACK), BUF_INIT(BLOB_MAX)                                 \
    }
void prune_hands_release(struct prune_hands *h);
/* Opens the blob whose sealed bytes are given, only to see that it is whole: damage must not be
 * carried into a new pack. */
_warn_unused_ int prune_check_copy(struct repo *r, const struct id *id,
                                   const struct blob_place *place, const uint8_t *sealed,
                                   struct prune_hands *h, struct err *e);
/* The same of the store's bytes at that place, which are in h->copy afterwards. */
_warn_unused_ int prune_load_copy(struct repo *r, const struct id *id,
                                  const struct blob_place *place, struct prune_hands *h,
                                  struct err *e);

#endif
