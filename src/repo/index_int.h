/* The index: where each blob lies. Two layers: a sorted, memory-mapped file in the cache directory
 * (or the same bytes in memory without one) that holds what the repository's index files said, and
 * a hash table of what this process added. Opening a current cache costs milliseconds at any size.
 */
#ifndef SALVOR_REPO_INDEX_INT_H
#define SALVOR_REPO_INDEX_INT_H

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

/* Brings `x` up to the index files in the store. Known ones come from the cache file at `cache`
 * (NULL: none), which is rewritten (atomically) when it was stale, damaged or too far behind. A
 * blob list that contradicts itself (offset past 4 GiB, absurd length) is ERR_CORRUPT. With `bad`,
 * damaged index files are reported and left out instead. */
typedef void index_bad_fn(const struct id *file, const struct err *why, void *arg);
_warn_unused_ int index_load(struct index *x, struct repo *r, index_bad_fn *bad, void *arg,
                             struct err *e);

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
/* The index files that it was loaded from. */
const struct id_list *index_files(const struct index *x);

#endif
