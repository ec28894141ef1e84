/* Where a stream is cut: a gear hash over the last 64 bytes, its table derived from the
 * repository's polynomial, so that cuts differ from one repository to the next. Least, mean and
 * most bytes of a chunk are 512 KiB, 1 MiB and 8 MiB. The cuts are part of the format: test/golden
 * freezes them. Source: Xia et al., "Ddelta: A Deduplication-Inspired Fast Delta Compression
 * Approach" (gear hash). */
#ifndef SALVOR_REPO_CHUNKER_H
#define SALVOR_REPO_CHUNKER_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_LEAST = 512 << 10, CHUNK_MEAN = 1 << 20, CHUNK_MOST = 8 << 20 };

struct chunker {
    uint64_t gear[256];
};

void chunker_init(struct chunker *c, uint64_t polynomial);
/* The length of the first chunk of `data`. `len` must be at least CHUNK_MOST unless the stream ends
 * with it; 0 only for len 0. */
size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len);

/* An irreducible polynomial of degree 53 over GF(2), as restic's config demands. */
_warn_unused_ int polynomial_random(uint64_t *out, struct err *e);
bool polynomial_irreducible(uint64_t p);

#endif
