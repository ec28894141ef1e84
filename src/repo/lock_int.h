/* Lock files: what is in them, and whether their owner still lives. */
#ifndef SALVOR_REPO_LOCK_INT_H
#define SALVOR_REPO_LOCK_INT_H

#include "repo/repo_int.h"

/* Ages in nanoseconds of the clock that counts time asleep. */
#define LOCK_REFRESH (5 * 60 * NSEC_PER_SEC)  /* a lock is written anew */
#define LOCK_EXPIRE (15 * 60 * NSEC_PER_SEC)  /* we do not rely on ours any more */
#define LOCK_FOREIGN (30 * 60 * NSEC_PER_SEC) /* a foreign one that we watched so long is stale */

struct lock_file {
    struct id id;
    struct timespec time;
    bool exclusive;
    char *host, *user;
    int64_t pid;
    /* salvor's own additions; NULL and 0 in a lock of stock restic. */
    char *boot, *pid_space;
    uint64_t started;
    /* Not in the file: what we think of it. */
    bool damaged;    /* it could not be read: whose it is, and of which kind, is not known */
    bool ours;       /* of this host, boot and process space */
    bool stale;      /* its owner is gone */
    int64_t watched; /* for how long it has been there without a refresh, as we saw it */
};

struct lock_list {
    struct lock_file *lock;
    size_t n, cap;
};
void lock_list_release(struct lock_list *l);

/* Writes a lock of this process. */
_warn_unused_ int lock_file_save(struct repo *r, enum lock_kind kind, struct id *out,
                                 struct err *e);
/* Loads all locks but `except` (may be NULL) and judges them. Lists again when one vanished
 * meanwhile, since that may have been a refresh. */
_warn_unused_ int lock_scan(struct repo *r, const struct id *except, struct lock_list *out,
                            struct err *e);

/* locks_seen.c: remembers in the cache directory since when a lock has been there, so that short
 * runs add up, and fills `watched`. Without a cache directory nothing is remembered. */
void locks_seen(struct repo *r, struct lock_list *l);

/* lock.c: whether this process holds that lock file (or is just writing one). */
bool lock_is_held(const struct id *id);
/* One pass of the refreshing thread: for tests, which have their own clock. */
void lock_tend(struct repo *r);

#endif
