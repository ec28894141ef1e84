/* A target writes one resource back. The job hands it directories and files in tree order, writes
 * file bytes from several threads, and commits each file by name: a file that is not committed
 * leaves nothing behind. What was there before is kept where the options say so. */
#ifndef SALVOR_TARGET_TARGET_H
#define SALVOR_TARGET_TARGET_H

#include "base/json.h"
#include "base/node.h"
#include "base/text.h"

struct target;
struct target_file;

enum target_event {
    TARGET_ABOUT, /* comes before anything is changed: `path` is about to be created or replaced,
                     and `kept` is where the old one will be (NULL: there is none, or it is not
                     kept). A directory that is created stands for all that comes into it */
    TARGET_ABOUT_ATTRIBUTES, /* comes before the attributes of an entry that stays are changed:
                                `kept` is what target_put_back takes to set them to what they are */
    TARGET_CREATED,          /* was not there */
    TARGET_REPLACED,   /* differed; `kept` is where the old one is now, NULL if it was not kept */
    TARGET_SAME,       /* there was nothing to change */
    TARGET_ATTRIBUTES, /* bytes identical: not rewritten, but attributes differed and were set */
    TARGET_SKIPPED,    /* could not be made as it was; `why` says what (a device without root, an
                          owner) */
};
/* Called for each entry when it is final (or, in a dry run, would be), and with an about before
 * (not in a dry run, not for an entry that stays the same). Paths are absolute. Serialised by the
 * target. */
typedef void target_event_fn(enum target_event what, const char *path, const char *kept,
                             const char *why, void *arg);

struct target_options {
    const char *root;        /* directory that content/ goes to; made (700) if missing */
    const char *keep_suffix; /* ".pre-restore": old files stay beside under name + suffix (made
                                unique); NULL: replaced */
    bool dry_run;            /* nothing is written, events tell what would be */
    bool no_owner;           /* do not set owners (not root); else names count before numbers */
    target_event_fn *event;  /* may be NULL */
    void *event_arg;
};

/* Files below `root`. ERR_EXISTS if root is not a directory. */
_warn_unused_ int target_files_new(const struct target_options *o, struct target **out,
                                   struct err *e);

/* SQLite databases below `root`: each is built beside, checked (PRAGMA integrity_check), and put
 * into the live database through the backup interface where that opens, so that open connections go
 * on; where it does not open, under an exclusive lock, by moving `-wal` and `-shm` aside, sync and
 * rename. A database that somebody keeps locked for `busy_ms` (0: 30,000) is ERR_LOCKED and
 * untouched. */
_warn_unused_ int target_sqlite_new(const struct target_options *o, int busy_ms,
                                    struct target **out, struct err *e);

/* Directories come before what is in them; path is relative to root and safe (checked again). */
/* begin, write, same, commit and abort may be called from any thread, for different files at once.
 */
_warn_unused_ int target_directory(struct target *t, const char *path, const struct node *n,
                                   struct err *e);
/* Announces anything else. For a regular file with bytes *out is set and the caller writes and
 * commits or aborts it; for all others (empty files, links, a hard link to a file that was
 * announced before, devices) *out is NULL and it is done. */
_warn_unused_ int target_begin(struct target *t, const char *path, const struct node *n,
                               struct target_file **out, struct err *e);
/* The bytes that the destination has now, to spare fetching identical ones; *got 0 if there is
 * nothing. */
_warn_unused_ int target_old_bytes(struct target_file *f, void *data, size_t len, uint64_t offset,
                                   size_t *got, struct err *e);
/* Size of the old regular file, 0 if there is none. */
uint64_t target_old_size(const struct target_file *f);
/* Thread-safe, any order; runs of zeros may become holes. Every byte must be written once, but for
 * bytes that a hole covers. */
_warn_unused_ int target_write(struct target_file *f, const void *data, size_t len, uint64_t offset,
                               struct err *e);
/* Declares that the old bytes are exactly the new ones: nothing is rewritten. Takes f over. */
_warn_unused_ int target_same(struct target_file *f, struct err *e);
/* Success: attributes set, synced where it replaces something, in its place. Takes f over. */
_warn_unused_ int target_commit(struct target_file *f, struct err *e);
void target_abort(struct target_file *f);
/* Sets the attributes of directories and syncs. After it returned 0 all is durable. */
_warn_unused_ int target_finish(struct target *t, struct err *e);
void target_free(struct target *t);
void target_freep(struct target **t);

/* ---- taking a restore back ---- */

/* The kind of what TARGET_ABOUT_ATTRIBUTES tells. */
#define TARGET_KIND_ATTRIBUTES "attributes"

/* Puts the kept file back in its place; what is there now is kept under path + `aside_suffix`
 * (made unique, *aside is the caller's to free). `kept` NULL: the restore created it, so it is
 * moved aside only. The kind ("files", "sqlite") says how a live one is overwritten.
 * TARGET_KIND_ATTRIBUTES sets the attributes that `kept` tells; an entry that is gone needs none.
 * Each may be done again after a crash in the middle. */
_warn_unused_ int target_put_back(const char *kind, const char *path, const char *kept,
                                  const char *aside_suffix, char **aside, struct err *e);

/* Whether there is nothing at `path`, or only an empty directory. */
_warn_unused_ int target_is_empty(const char *path, bool *empty, struct err *e);

#endif
