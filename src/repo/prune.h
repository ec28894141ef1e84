/* Removing what no snapshot needs. Order at every step: new packs, new index, old index gone, old
 * packs gone, so that a crash anywhere leaves a whole repository and the next run converges. */
#ifndef SALVOR_REPO_PRUNE_H
#define SALVOR_REPO_PRUNE_H

#include "repo/repo.h"

struct prune_options {
    double waste_limit; /* share of unused bytes that may stay in all packs together, 0 to 1;
                           default 0.05 */
    bool dry_run;
    void (*progress)(uint64_t done, uint64_t total, void *arg); /* bytes repacked; may be NULL */
    void *progress_arg;
};

struct prune_result {
    uint64_t packs_before, packs_removed, packs_repacked;
    uint64_t bytes_before, bytes_removed, bytes_repacked;
    uint64_t blobs_used, blobs_unused, bytes_unused_left;
};

/* Needs the exclusive lock. Refuses (ERR_CORRUPT, nothing changed) when a blob that a snapshot
 * needs is in no index. */
_warn_unused_ int repo_prune(struct repo *r, const struct prune_options *o,
                             struct prune_result *out, struct err *e);

/* Makes the index anew from the packs' own headers, for a repository whose index is damaged. Needs
 * the exclusive lock. */
_warn_unused_ int repo_rebuild_index(struct repo *r, struct err *e);

#endif
