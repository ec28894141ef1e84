/* The repository against itself: is everything that a snapshot needs there, and whole? */
#ifndef SALVOR_REPO_CHECK_H
#define SALVOR_REPO_CHECK_H

#include "repo/repo.h"

struct check_options {
    double read_share; /* of the packs whose data are read, 0 to 1 */
    uint64_t seed;     /* which packs a share below 1 takes */
    size_t threads;    /* 0: one a processor */
    void (*progress)(uint64_t done, uint64_t total, void *arg); /* bytes read; may be NULL */
    void *progress_arg;
};

enum finding_kind {
    FOUND_DAMAGED, /* bytes are not what they were */
    FOUND_MISSING, /* something needed is not there */
    FOUND_WASTE, /* not needed, harmless: an unused pack, an index entry twice; prune removes it */
};

struct finding {
    enum finding_kind kind;
    const char *object;  /* the store's name: "data/ab/...", "snapshots/..." */
    const char *detail;  /* what is wrong with it */
    const char *affects; /* a snapshot and path that need it, or NULL */
};
/* Called from one thread at a time. */
typedef void finding_fn(const struct finding *f, void *arg);

struct check_result {
    uint64_t snapshots, trees, blobs, packs, packs_read, bytes_read;
    uint64_t damaged, missing, waste;
};

/* Checks keys, index, snapshots, trees, that every pack is there with its size, and reads the share
 * of the data asked for. 0 also when damage was found: see the counts. An error means that it could
 * not be checked, which is never the same as clean. Loads the index itself and reports damage in
 * it. */
_warn_unused_ int repo_check(struct repo *r, const struct check_options *o, finding_fn *fn,
                             void *arg, struct check_result *out, struct err *e);

#endif
