/* A store holds objects under names and knows nothing of backups.
 *
 * A name is one or more parts of [A-Za-z0-9._-] joined by single slashes; no part is "." or "..",
 * and none ends in "-tmp-" and digits, which is how unfinished files are called (by restic, too).
 * Limits are STORE_NAME_MAX, STORE_PART_MAX and STORE_DEPTH_MAX. A name is an object or a
 * directory of objects, never both ("a" and "a/b"). An object is complete or absent: whoever reads
 * a name sees all bytes of one put or none. Every driver passes the conformance suite in
 * test/conform.
 *
 * All calls but store_free may be made from several threads at once. Errors: ERR_NOT_FOUND,
 * ERR_DENIED, ERR_FULL, ERR_EXISTS (PUT_NEW only), ERR_UNSUPPORTED, ERR_IO, and ERR_USAGE for what
 * is no name; `retryable` says whether the same call may succeed later. A message names the store
 * and the object. */
#ifndef SALVOR_STORE_STORE_H
#define SALVOR_STORE_STORE_H

#include "base/buf.h"
#include <sys/types.h>

struct store;

enum {
    STORE_NAME_MAX = 768, /* bytes of a whole name: S3 has 1024, some of it for a prefix */
    STORE_PART_MAX = 255, /* bytes of a part: what file systems allow */
    STORE_DEPTH_MAX = 32, /* parts of a name */
};

/* Pieces that are written one after the other, so that a pack need not be copied together. */
struct piece {
    const void *data;
    size_t len;
};

enum store_put_mode {
    PUT_REPLACE, /* an object of that name is replaced, atomically */
    PUT_NEW,     /* fails with ERR_EXISTS if there is one; race-free where `conditional_put` */
};

/* What a driver can do. Callers ask and fall back, loudly where safety depends on it. */
struct store_properties {
    const char *kind;       /* "local", "memory", "s3", ... */
    bool conditional_put;   /* PUT_NEW holds between processes */
    bool immediate_listing; /* a put is listed as soon as it returned */
    bool local_files;       /* store_local_path works: bytes can be mapped */
    unsigned connections;   /* requests that it takes at once with profit */
    uint64_t min_range_gap; /* reading this many unneeded bytes costs less than one more request */
};

struct store_object {
    const char *name; /* whole name, valid during the callback */
    uint64_t size;    /* bytes */
};

/* Called for each object, from the thread that lists; a non-zero return ends the listing and is
 * passed on. It may use the store: what is put or removed meanwhile is listed or not. */
typedef int store_list_fn(const struct store_object *o, void *arg, struct err *e);

const struct store_properties *store_properties(const struct store *s);
/* The address as a person wrote it, without secrets; owned by the store. */
const char *store_address(const struct store *s);

/* When it returns 0 the object is durable, its size was confirmed by the store, and a crash of
 * machine or program does not lose it. On failure the old object, if any, is untouched. */
_warn_unused_ int store_put(struct store *s, const char *name, enum store_put_mode mode,
                            const struct piece *pieces, size_t npieces, struct err *e);

#define STORE_TO_END UINT64_MAX
/* Appends the bytes [offset, offset + len) of an object to `out`; with STORE_TO_END all from
 * offset on. A range that reaches past the end is ERR_CORRUPT naming both sizes (the object was
 * truncated): never a short success. ERR_LIMIT if `out` may not grow so far. On failure `out` is
 * as it was. */
_warn_unused_ int store_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                            struct buf *out, struct err *e);
_warn_unused_ int store_stat(struct store *s, const char *name, uint64_t *size, struct err *e);
/* Lists each object once whose name starts with `prefix` ("" or a whole directory with its slash,
 * such as "data/"), at any depth and in no order. Unfinished uploads are not listed. A prefix
 * without objects lists nothing and is no error. */
_warn_unused_ int store_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg,
                             struct err *e);
/* Removing what is not there is ERR_NOT_FOUND. Durable when it returns. */
_warn_unused_ int store_remove(struct store *s, const char *name, struct err *e);
/* Removes what crashed writers left behind and older than `age_s` seconds (temporary files,
 * unfinished uploads); *n counts them. */
_warn_unused_ int store_clean(struct store *s, int64_t age_s, size_t *n, struct err *e);

/* The path of an object of a store with `local_files`, for mapping it; the caller frees. NULL for
 * other stores. */
char *store_local_path(struct store *s, const char *name);

void store_free(struct store *s); /* NULL is allowed; a decorator frees what it wraps */
void store_freep(struct store **s);

/* ---- drivers ---- */

struct store *store_memory_new(void);

/* A directory. With `create`, it and its parents are made (mode 700; objects 600) if missing;
 * without, ERR_NOT_FOUND. Links to directories inside it are followed. */
_warn_unused_ int store_local_new(const char *path, bool create, struct store **out, struct err *e);

/* By address, as restic writes it: "/path", "./path", "local:/path", "memory:" (tests), "s3:...",
 * ... ERR_USAGE names the known kinds; kinds that this build lacks are ERR_UNSUPPORTED. */
_warn_unused_ int store_open(const char *address, bool create, struct store **out, struct err *e);

/* ---- decorators: they take `inner` over ---- */

struct retry_policy {
    unsigned attempts; /* in all; 0 means 6 */
    unsigned
        first_ms; /* mean of the first pause, doubled each time, with full jitter; 0 means 200 */
    unsigned most_ms; /* largest pause; 0 means 20,000 */
};
/* Repeats calls that failed with `retryable`; once cancel_requested is set, each call is tried only
 * once. A put or remove whose first try may have worked is recognised: ERR_EXISTS on a later try is
 * success if the object has the same bytes (where reading is denied, the same size), ERR_NOT_FOUND
 * on a later remove is. A listing is kept in memory until it is complete, so that a repeated one
 * shows each object once. */
struct store *store_retry_new(struct store *inner, const struct retry_policy *policy);

/* For tests: fails the calls that `plan` says. */
enum fault_kind {
    FAULT_NONE,
    FAULT_TRANSIENT,  /* fails with a retryable error, nothing done */
    FAULT_FINAL,      /* fails for good, nothing done */
    FAULT_SHORT,      /* put: fails after it stored nothing; get: bytes are missing and it says
                         ERR_CORRUPT; list: fails after the first object; else as FAULT_FINAL */
    FAULT_LOST_REPLY, /* done, but reported as a retryable failure */
    FAULT_CRASH,      /* the process ends at once, by SIGKILL */
};
struct fault_plan {
    uint64_t fail_at; /* the Nth call (from 1) fails; 0: none */
    enum fault_kind kind;
    bool after;             /* FAULT_CRASH: after the call was carried out, not before */
    const char *count_file; /* NULL: none */
    uint64_t calls;         /* counted: all calls seen so far; read it when no call is under way */
};
/* `plan` stays the caller's and must outlive the store. */
struct store *store_fault_new(struct store *inner, struct fault_plan *plan);
/* Reads a plan such as "7:transient", "12:crash-after" (the variable SALVOR_STORE_FAULT of test
 * runs): the call's number and one of transient, final, short, lost-reply, crash, crash-after; "0"
 * only counts. With count_file set (the caller's, NULL after parsing), the number of calls is
 * written there when the store is freed. */
_warn_unused_ int store_fault_parse(const char *text, struct fault_plan *plan, struct err *e);

#endif
