/* Inside of the check: what its parts note, and the reading of packs. */
#ifndef SALVOR_REPO_CHECK_INT_H
#define SALVOR_REPO_CHECK_INT_H

#include "repo/check.h"
#include "repo/packs_int.h"
#include <pthread.h>

struct issue {
    enum finding_kind kind;
    char *object, *detail, *affects;
};

/* A copy of a blob that is no good, and the issue that says so. */
struct hurt {
    struct id blob, pack;
    enum blob_type type;
    size_t issue;
};

struct check {
    struct repo *repo;
    const struct check_options *options;
    size_t threads;
    struct pack_files packs;
    pthread_mutex_t lock; /* guards what follows */
    struct check_result *result;
    struct issue *issue;
    size_t nissue, issue_cap;
    struct hurt *hurt;
    size_t nhurt, hurt_cap;
};

/* Notes what was found; thread-safe. The number of the issue is for check_hurt. */
size_t check_note(struct check *c, enum finding_kind kind, const char *object, const char *affects,
                  const char *fmt, ...) _printf_(5, 6);
/* Notes that this copy of a blob is lost, so that it is found out who needs it. */
void check_hurt(struct check *c, size_t issue, const struct id *pack, const struct index_blob *b);

/* Whether an error tells of this object's bytes, so that the check goes on with the others; any
 * other means that nothing can be said. */
bool check_is_damage(const struct err *why);

/* check_data.c: reads the share of the packs that was asked for. */
_warn_unused_ int check_data(struct check *c, struct err *e);

#endif
