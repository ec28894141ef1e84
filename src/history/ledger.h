/* The ledger: a SQLite database in the state directory that remembers what was done. Losing it
 * loses no backup: what matters is in the repository. One connection, used from one thread. */
#ifndef SALVOR_HISTORY_LEDGER_H
#define SALVOR_HISTORY_LEDGER_H

#include "base/err.h"
#include "base/id.h"
#include "base/text.h"
#include <time.h>

struct ledger;

/* Makes it (mode 600) if missing. A damaged one is moved aside with a warning and begun anew.
 * ERR_DENIED, ERR_FULL or ERR_IO when the directory cannot be written: a caller may warn and go on
 * without a ledger. ERR_UNSUPPORTED when a newer salvor wrote it, ERR_REFUSED when it is another
 * program's database. Any call may give ERR_LOCKED when another process holds it for 30 s. */
_warn_unused_ int ledger_open(const char *path, struct ledger **out, struct err *e);
void ledger_free(struct ledger *l);
void ledger_freep(struct ledger **l);

/* ---- runs: one row for each backup, restore, verify, forget, prune of a resource ---- */
struct ledger_run {
    int64_t id;
    char kind[16];    /* "backup", "restore", "verify", "forget", "prune", "undo", "key", ... */
    char *repository; /* its id in hexadecimal */
    char *resource;   /* NULL for the whole repository */
    char *job;        /* NULL when by hand */
    struct timespec begun, ended; /* ended is 0 while it runs and after a crash */
    char result[16];              /* "running", "done", "partial", "failed", "refused" */
    char *message;                /* what went wrong, or NULL */
    char *user;                   /* who ran it */
    bool has_tree;
    struct id tree; /* of the snapshot that was made or read */
    uint64_t bytes, bytes_new, bytes_stored, files;
    char *detail; /* JSON object with more, or NULL */
};
void ledger_run_release(struct ledger_run *r);
/* Writes it with result "running" and sets id. */
_warn_unused_ int ledger_begin(struct ledger *l, struct ledger_run *r, struct err *e);
/* Writes the result and all else. */
_warn_unused_ int ledger_end(struct ledger *l, const struct ledger_run *r, struct err *e);
/* Runs that a crash left "running" and whose process is gone become "failed"; *n counts them. */
_warn_unused_ int ledger_close_crashed(struct ledger *l, size_t *n, struct err *e);

struct ledger_filter {
    const char *kind, *repository, *resource, *result; /* NULL: any */
    size_t most;                                       /* 0: all */
};
typedef int ledger_run_fn(const struct ledger_run *r, void *arg, struct err *e);
/* Newest first. `fn` may use the ledger; when it fails, so does this. */
_warn_unused_ int ledger_runs(struct ledger *l, const struct ledger_filter *f, ledger_run_fn *fn,
                              void *arg, struct err *e);

/* ---- in-place restores, so that undo can take them back ---- */
struct ledger_kept {
    char *kind; /* "files", "sqlite", "attributes", "postgres", "cutover", "frozen" */
    char *path; /* what was restored */
    char *kept; /* where the old one is; NULL: there was none. Of "attributes": these themselves */
    bool undone;
};
/* Written before the change is made, so that a crash in the middle can be undone too. */
_warn_unused_ int ledger_keep(struct ledger *l, int64_t run, const struct ledger_kept *k,
                              struct err *e);
typedef int ledger_kept_fn(const struct ledger_kept *k, void *arg, struct err *e);
/* Of one run, in the reverse order of writing. */
_warn_unused_ int ledger_kept_list(struct ledger *l, int64_t run, ledger_kept_fn *fn, void *arg,
                                   struct err *e);
/* By its path and, unless that is NULL, its kind. */
_warn_unused_ int ledger_kept_undone(struct ledger *l, int64_t run, const struct ledger_kept *k,
                                     struct err *e);
/* The newest restore in place that has something kept and not undone; ERR_NOT_FOUND if there is
 * none. */
_warn_unused_ int ledger_last_restore(struct ledger *l, const char *resource,
                                      struct ledger_run *out, struct err *e);

#endif
