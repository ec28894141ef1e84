/* The journal of a writer: which packs it was about to upload. What a run that was killed had
 * uploaded is then not in any index, but the next run finds it by the journal. */
#ifndef SALVOR_REPO_JOURNAL_INT_H
#define SALVOR_REPO_JOURNAL_INT_H

#include "repo/repo_int.h"

struct journal;

/* Opens one of our own in the cache directory; NULL without a cache directory or when it cannot be
 * written, which is told and no error: an interrupted run is then merely not resumed. */
struct journal *journal_new(struct repo *r);
/* Notes a pack before it is uploaded. Thread-safe. */
void journal_note(struct journal *j, const struct id *pack, uint64_t size,
                  const struct index_blob *blobs, size_t n);
/* Gives `fn` each pack that dead writers noted and no index names, if the store has it in its whole
 * size. Their journals are held until journal_done. */
typedef void journal_pack_fn(const struct id *pack, uint64_t size, const struct index_blob *blobs,
                             size_t n, void *arg);
_warn_unused_ int journal_resume(struct journal *j, journal_pack_fn *fn, void *arg, struct err *e);
/* All that was noted or resumed is in an index now: the journals are emptied and removed. */
void journal_done(struct journal *j);
void journal_free(struct journal *j); /* removes our own only when it is empty; NULL is allowed */

#endif
