/* Packs: sealed blobs one after the other, their sealed header, its length (design.rst "Pack
 * Format"). */
#ifndef SALVOR_REPO_PACK_INT_H
#define SALVOR_REPO_PACK_INT_H

#include "repo/repo_int.h"

/* Decodes a pack's header from the last bytes of the pack. `tail` must hold at least the header;
 * sizes are checked against pack_size. The blobs array is the caller's to free. */
_warn_unused_ int pack_header_parse(struct repo *r, const struct id *pack, const uint8_t *tail,
                                    size_t tail_len, uint64_t pack_size, struct index_blob **blobs,
                                    size_t *n, struct err *e);
/* Reads and decodes the header of a pack in the store. */
_warn_unused_ int pack_header_load(struct repo *r, const struct id *pack, uint64_t pack_size,
                                   struct index_blob **blobs, size_t *n, struct err *e);
/* Appends the sealed header and its length for `blobs` to `out`. */
_warn_unused_ int pack_header_build(struct repo *r, const struct index_blob *blobs, size_t n,
                                    struct buf *out, struct err *e);
/* Bytes that the header of n blobs takes, at most. */
size_t pack_header_size(size_t n);

/* Bytes that the pack with these blobs must have. */
uint64_t pack_size_expected(const struct index_blob *blobs, size_t n);

/* For prune: puts blobs that are sealed already into new packs, unchanged. Same thread rules as
 * writer_save. */
_warn_unused_ int writer_save_sealed(struct writer *w, const struct index_blob *b,
                                     const uint8_t *sealed, struct err *e);

#endif
