/* Stands in for what the rooms below do not have yet, so that the rest can be built and used: each
 * says so. meson.build leaves out what has come; this file goes with the last of them. */
#include "repo/check.h"
#include "repo/prune.h"
#include "source/source.h"
#include "target/target.h"

#ifdef LATER_REPO_CHECK
int repo_check(struct repo *r, const struct check_options *o, finding_fn *fn, void *arg,
               struct check_result *out, struct err *e)
{
    (void)r, (void)o, (void)fn, (void)arg, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "this build cannot check a repository yet");
}
#endif

#ifdef LATER_REPO_PRUNE
int repo_prune(struct repo *r, const struct prune_options *o, struct prune_result *out,
               struct err *e)
{
    (void)r, (void)o, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "this build cannot prune yet");
}
#endif

#ifdef LATER_REPO_REBUILD_INDEX
int repo_rebuild_index(struct repo *r, struct err *e)
{
    (void)r;
    return err_set(e, ERR_UNSUPPORTED, "this build cannot make an index anew yet");
}
#endif

#ifdef LATER_SOURCE_SQLITE_NEW
int source_sqlite_new(const struct source_sqlite_options *o, struct source **out, struct err *e)
{
    (void)o, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "this build cannot read SQLite databases yet");
}
#endif

#ifdef LATER_TARGET_SQLITE_NEW
int target_sqlite_new(const struct target_options *o, int busy_ms, struct target **out,
                      struct err *e)
{
    (void)o, (void)busy_ms, (void)out;
    return err_set(e, ERR_UNSUPPORTED, "this build cannot restore SQLite databases yet");
}
#endif
