/* The index: where each blob lies. Two layers: a sorted, memory-mapped file in the cache directory
 * (or the same bytes in memory without one) that holds what the repository's index files said, and
 * a hash table of what this process added. Opening a current cache costs milliseconds at any size.
 */
#ifndef SALVOR_REPO_INDEX_INT_H
#define SALVOR_REPO_INDEX_INT_H

#include "base/json.h"
#include "repo/repo.h"

struct index;

struct index_blob {
    struct id id;
    enum blob_type type;
    uint32_t offset, length,
        plain_length; /* plain_length is length - SEAL_OVERHEAD when not compressed */
    bool compressed;
};

struct index *index_new(void);
void index_free(struct index *x);

enum index_mode {
    /* For backup and restore: known index files come from the cache file in r->cache_dir, which is
     * rewritten (atomically) when it is stale, damaged or too far behind. Nothing in the cache is
     * trusted: its header, file list and checksums are verified at opening, its content block by
     * block at the first use. */
    INDEX_CACHED,
    /* For check and prune, which draw conclusions from absence: only what the store says counts,
     * and all of it is in the sorted layer. */
    INDEX_EXACT,
};

/* Brings `x` up to the index files in the store; what was added and is not saved yet stays, claims
 * do not. No other call may run meanwhile. A blob list that contradicts itself (offset past 4 GiB,
 * absurd length) is ERR_CORRUPT. With `bad`, damaged index files are reported (from one thread at a
 * time) and left out instead. */
typedef void index_bad_fn(const struct id *file, const struct err *why, void *arg);
_warn_unused_ int index_load(struct index *x, struct repo *r, enum index_mode mode,
                             index_bad_fn *bad, void *arg, struct err *e);

/* Reads the JSON of one index file: `fn` is called per pack. */
typedef int index_pack_fn(const struct id *pack, const struct index_blob *blobs, size_t n,
                          void *arg, struct err *e);
_warn_unused_ int index_parse(const void *json, size_t len, index_pack_fn *fn, void *arg,
                              struct err *e);

/* Thread-safe. The nth (from 0) copy of a blob, newest first; false if there are not so many. */
bool index_find(struct index *x, enum blob_type type, const struct id *id, unsigned nth,
                struct blob_place *out);
/* Claims a blob that is about to be saved: true for the one caller who must save it, false if it
 * is known or claimed already. */
bool index_claim(struct index *x, enum blob_type type, const struct id *id);
/* Forgets claims whose blobs were never added: their writer is gone. */
void index_drop_claims(struct index *x);
/* Whether blobs of this pack are known. `blob` is any blob of it. */
bool index_has_pack(struct index *x, const struct id *pack, const struct index_blob *blob);
/* A damaged block of the local cache has the cache file removed and the index read anew from the
 * store, at the first use of the block. True if that could not be done: blobs may be unknown that
 * the repository has, and running again is the remedy. */
bool index_cache_damaged(struct index *x);
/* Packs added and not yet in an index file. */
size_t index_pending(struct index *x);
/* Records where claimed (or any) blobs came to lie; they are remembered as not yet in an index
 * file. */
void index_add_pack(struct index *x, const struct id *pack, const struct index_blob *blobs,
                    size_t n);
/* Writes index files for all packs added since the last time (each file below 8 MiB). */
_warn_unused_ int index_save_new(struct index *x, struct repo *r, struct err *e);

/* Every pack in turn, with its blobs sorted by offset, from index files only (not claims). */
_warn_unused_ int index_each_pack(struct index *x, index_pack_fn *fn, void *arg, struct err *e);
uint64_t index_blob_count(const struct index *x);
/* Dense numbers for bitmaps: [0, index_blob_count) for each entry of the sorted layer, copies of a
 * blob having different numbers but adjacent ones; index_ordinal gives the first. Only after
 * index_load, and without additions since. */
bool index_ordinal(struct index *x, enum blob_type type, const struct id *id, uint64_t *out);
/* The entry that has such a number. */
void index_blob_at(const struct index *x, uint64_t ordinal, struct index_blob *out);
/* Writes JSON index files, each below 8 MiB, for the packs given one after the other. */
struct index_encoder {
    struct repo *repo;
    struct buf json;
    struct json_out out;
    size_t blobs;         /* in the present file, which is begun once there is one */
    struct id_list files; /* written so far */
};
void index_encoder_init(struct index_encoder *w, struct repo *r);
void index_encoder_release(struct index_encoder *w);
_warn_unused_ int index_encoder_add(struct index_encoder *w, const struct id *pack,
                                    const struct index_blob *blobs, size_t n, struct err *e);
_warn_unused_ int index_encoder_finish(struct index_encoder *w, struct err *e);

/* The index files that it was loaded from and that it wrote since, sorted. */
const struct id_list *index_files(const struct index *x);

#endif
