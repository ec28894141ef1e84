/* Snapshots: restic's JSON, with the tags that salvor puts on its own (DESIGN section 4). */
#ifndef SALVOR_REPO_SNAPSHOT_H
#define SALVOR_REPO_SNAPSHOT_H

#include "base/text.h"
#include "repo/repo.h"

struct snapshot {
    struct id id;
    struct timespec time;
    struct id tree, parent, original;
    bool has_parent, has_original;
    struct str_list paths, tags, excludes;
    char *hostname, *username;
    uint32_t uid, gid;
    char *program_version; /* NULL when absent */
    char *summary;         /* restic's summary object as JSON text, or NULL */
};

struct snapshot_list {
    struct snapshot *s;
    size_t n, cap;
};

void snapshot_release(struct snapshot *s);
void snapshot_copy(struct snapshot *to, const struct snapshot *from);
void snapshot_list_release(struct snapshot_list *l);

/* Checks the lock with the store, then writes it; sets s->id. */
_warn_unused_ int snapshot_save(struct repo *r, struct snapshot *s, struct err *e);
_warn_unused_ int snapshot_load(struct repo *r, const struct id *id, struct snapshot *out,
                                struct err *e);
_warn_unused_ int snapshot_remove(struct repo *r, const struct id *id, struct err *e);
/* All snapshots, oldest first. A damaged one is given to `bad` (may be NULL: then it is an error).
 */
typedef void snapshot_bad_fn(const struct id *id, const struct err *why, void *arg);
_warn_unused_ int snapshot_load_all(struct repo *r, struct snapshot_list *out, snapshot_bad_fn *bad,
                                    void *arg, struct err *e);

/* The value of tag "<key>=<value>", or NULL. */
const char *snapshot_tag(const struct snapshot *s, const char *key);
/* Bytes of its files as its summary tells; false when it has none. */
bool snapshot_size(const struct snapshot *s, uint64_t *bytes);
bool snapshot_is_ours(const struct snapshot *s); /* has the tag "salvor" */

/* Which snapshots a person means. */
struct snapshot_query {
    const char *resource; /* only those of this resource; NULL: all */
    const char *which;    /* "latest", an id or a prefix of one; NULL: latest */
    bool has_at;
    struct timespec at; /* the newest not after this moment */
    bool partial_too;   /* count snapshots tagged "partial"; else only when named by id */
};
/* Index of the one that is meant. Snapshots tagged "pre-restore" (what a restore replaced) are
 * found by their id only. ERR_NOT_FOUND says which there are; ERR_USAGE for an ambiguous
 * prefix names the matches. */
_warn_unused_ int snapshot_find(const struct snapshot_list *l, const struct snapshot_query *q,
                                size_t *out, struct err *e);

#endif
