/* Restore: one snapshot's content into a target.
 *
 *     target <- open <- decompress <- unseal <- pack <- store
 *
 * First a plan that can be shown and confirmed, then the river (river_out.c). In place, whatever is
 * replaced is kept beside and written to the ledger before it is touched, so that undo.c can take
 * it back. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"
#include "policy/objective.h"
#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEEP_SUFFIX ".pre-restore"

void restore_plan_release(struct restore_plan *p)
{
    snapshot_release(&p->snapshot);
    free(p->resource);
    free(p->type);
    free(p->root);
    free(p->part);
    free(p->database);
    restore_postgres_free(p->postgres);
    str_list_release(&p->notes);
    *p = (struct restore_plan){0};
}

void restore_result_release(struct restore_result *r)
{
    str_list_release(&r->missing);
    free(r->kept);
}

int lock_for_reading(struct job *j, struct err *e)
{
    int rc = repo_lock(j->repo, LOCK_SHARED, e);
    if (rc == ERR_DENIED || rc == ERR_FULL) {
        log_notice("no lock can be written (%s); reading without one: nobody may prune meanwhile",
                   e->msg);
        *e = (struct err)ERR_INIT;
        return 0;
    }
    return rc;
}

/* ---- the plan ---- */

static int choose_snapshot(struct job *j, const char *resource, const struct restore_options *o,
                           struct restore_plan *p, struct err *e)
{
    struct snapshot_query q = o->query;
    q.resource = resource;
    size_t i = 0;
    int rc = snapshot_find(&j->snapshots, &q, &i, e);
    if (rc < 0)
        return rc;
    const struct snapshot *s = &j->snapshots.s[i];
    char id[ID_SHORT + 1], when[TIME_TEXT];
    if (j->unreadable > 0 && (q.which == NULL || str_eq(q.which, "latest")))
        return err_set(e, ERR_CORRUPT,
                       "%zu snapshot%s could not be read, and may be the one that is wanted; to "
                       "restore the newest that can be read, of %s, say --snapshot %s",
                       j->unreadable, j->unreadable == 1 ? "" : "s",
                       time_format_human(s->time, false, when), id_short(&s->id, id));
    snapshot_copy(&p->snapshot, s);
    for (size_t k = i + 1; k < j->snapshots.n; k++) {
        const struct snapshot *later = &j->snapshots.s[k];
        if (snapshot_complete(later) && !snapshot_pre_restore(later) &&
            str_eq(snapshot_tag(later, "resource"), snapshot_tag(s, "resource")))
            p->older_than_newest = true;
    }
    const char *name = snapshot_tag(s, "resource"), *type = snapshot_tag(s, "type");
    bool ours = snapshot_is_ours(s) && name != NULL && type != NULL;
    p->resource = str_dup(ours ? name : resource != NULL ? resource : "snapshot");
    p->type = str_dup(ours ? type : "foreign");
    return 0;
}

/* The manifest tells where content was read from. One that was altered is not believed. */
static int place_in_origin(struct job *j, struct restore_plan *p, struct err *e)
{
    if (!str_eq(p->type, "files") && !str_eq(p->type, "sqlite"))
        return err_set(e, ERR_USAGE,
                       "%s has no place of its own to go back to; say where with --to DIR",
                       p->resource);
    struct manifest m = {0};
    struct err why = ERR_INIT;
    int signature = 0;
    int rc = manifest_load(j, &p->snapshot, &m, &signature, &why, e);
    if (rc < 0)
        return err_hint(e, "restore to a directory with --to DIR instead");
    if (signature == ERR_CORRUPT)
        rc = err_set(
            e, ERR_REFUSED,
            "the manifest that says where %s belongs is not what was signed: %s; restore to a "
            "directory with --to DIR and look at it",
            p->resource, why.msg);
    else if (m.base == NULL)
        rc = err_set(e, ERR_USAGE, "the manifest does not say where %s belongs; use --to DIR",
                     p->resource);
    else
        p->root = take(m.base);
    if (rc == 0 && signature != 0)
        log_warning("where %s belongs is not said by a signature that is trusted: %s", p->resource,
                    why.msg);
    manifest_release(&m);
    p->in_place = true;
    return rc;
}

struct past {
    struct measured_restore m[32];
    size_t n;
};

static int add_past(const struct ledger_run *r, void *arg, struct err *e)
{
    (void)e;
    struct past *p = arg;
    if (p->n < array_len(p->m))
        p->m[p->n++] = (struct measured_restore){.bytes = r->bytes,
                                                 .files = r->files,
                                                 .duration = timespec_diff(r->ended, r->begun)};
    return 0;
}

/* "./a//b/" as trees have it: "a/b"; NULL for what means all. */
static int clean_part(const char *part, char **out, struct err *e)
{
    _cleanup_(buf_release) struct buf clean = BUF_INIT(BUF_TEXT);
    for (const char *p = part != NULL ? part : ""; *p != '\0';) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return err_set(e, ERR_USAGE, "%s: write the path as it is in the snapshot, without ..",
                           part);
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (clean.len > 0)
                buf_adds(&clean, "/");
            buf_add(&clean, p, len);
        }
        p += len + (p[len] == '/');
    }
    *out = clean.len > 0 ? buf_take(&clean) : NULL;
    return 0;
}

static void forecast(struct job *j, struct restore_plan *p)
{
    struct past past = {.n = 0};
    struct err ignored = ERR_INIT;
    struct ledger_filter f = {.kind = "restore", .result = "done", .most = array_len(past.m)};
    if (j->ledger != NULL && ledger_runs(j->ledger, &f, add_past, &past, &ignored) == 0)
        p->forecast = forecast_restore(past.m, past.n, p->bytes, p->files);
}

static int fill_plan(struct job *j, const char *resource, const struct restore_options *o,
                     struct restore_plan *p, struct err *e)
{
    int rc = clean_part(o->part, &p->part, e);
    if (rc == 0)
        rc = lock_for_reading(j, e);
    if (rc == 0)
        rc = job_load(j, e);
    if (rc == 0)
        rc = choose_snapshot(j, resource, o, p, e);
    if (rc < 0)
        return rc;
    bool database = restore_into_postgres(p->type, o->to);
    if (!database && (o->tables.n > 0 || o->create_roles || o->without_roles || o->freeze))
        return err_set(
            e, ERR_USAGE,
            "--table, --create-roles, --without-roles and --freeze are for restores into "
            "a database");
    if (database) {
        if (p->part != NULL)
            return err_set(e, ERR_USAGE, "--path is for files; restore them with --to DIR");
        rc = postgres_plan(j, o, p, e);
    } else if (o->to != NULL) {
        rc = path_absolute(o->to, &p->root, e);
        if (rc == 0)
            rc = target_is_empty(p->root, &p->target_empty, e);
        struct stat st;
        if (rc == 0 && stat(p->root, &st) == 0 && !S_ISDIR(st.st_mode))
            rc =
                err_set(e, ERR_EXISTS,
                        "cannot restore to %s: it is not a directory; name one with --to", p->root);
    } else {
        rc = place_in_origin(j, p, e);
    }
    struct id content;
    if (rc == 0)
        rc = snapshot_content(j, &p->snapshot, &content, e);
    if (rc == 0)
        rc = content_measure(j, &content, p->part, &p->files, &p->bytes, e);
    if (rc < 0)
        return rc;
    if (p->part != NULL && p->files == 0) {
        _cleanup_(node_release) struct node n = {0};
        rc = tree_lookup(j->repo, &content, p->part, &n, e);
        if (rc < 0)
            return rc;
    }
    forecast(j, p);
    return 0;
}

int job_restore_plan(struct job *j, const char *resource, const struct restore_options *o,
                     struct restore_plan *out, struct err *e)
{
    *out = (struct restore_plan){0};
    int rc = fill_plan(j, resource, o, out, e);
    if (rc < 0)
        restore_plan_release(out);
    return rc;
}

/* ---- carrying it out ---- */

struct restore {
    struct job *job;
    const struct restore_plan *plan;
    const struct restore_options *options;
    struct restore_result *result;
    struct ledger_run run;
    struct str_list kept; /* where the files that were replaced are now */
    size_t unrecorded;    /* that the ledger did not take */
};

/* Writes to the ledger what undo needs to know of a change that is going to be made. */
static void remember(struct restore *r, const char *kind, const char *path, const char *kept)
{
    if (r->options->without_keeping || !r->plan->in_place || r->job->ledger == NULL ||
        r->run.id == 0)
        return; /* without keeping, undo would only take the restored file away */
    struct ledger_kept k = {.kind = (char *)(uintptr_t)kind,
                            .path = (char *)(uintptr_t)path,
                            .kept = (char *)(uintptr_t)kept};
    struct err e = ERR_INIT;
    if (ledger_keep(r->job->ledger, r->run.id, &k, &e) < 0 && r->unrecorded++ == 0)
        log_warning("`salvor undo` will not know of %s: %s", path, e.msg);
}

/* Counts, remembers for undo, and passes on. The target calls it from one thread at a time, but not
 * always the same; the ledger's connection is opened for that. */
static void on_event(enum target_event what, const char *path, const char *kept, const char *why,
                     void *arg)
{
    struct restore *r = arg;
    struct restore_result *res = r->result;
    switch (what) {
    case TARGET_CREATED: res->created++; break;
    case TARGET_REPLACED:
        res->replaced++;
        if (kept != NULL)
            str_list_add(&r->kept, kept);
        break;
    case TARGET_ATTRIBUTES:
        res->attributes++;
        res->same++;
        break;
    case TARGET_SAME: res->same++; break;
    case TARGET_SKIPPED:
        res->skipped++;
        str_list_add_take(&res->missing, str_fmt("%s: %s", path, why != NULL ? why : "left out"));
        break;
    case TARGET_ABOUT: remember(r, r->plan->type, path, kept); return;
    case TARGET_ABOUT_ATTRIBUTES: remember(r, TARGET_KIND_ATTRIBUTES, path, kept); return;
    }
    if (r->options->event != NULL)
        r->options->event(what, path, kept, why, r->options->event_arg);
}

static int open_target(struct restore *r, struct target **out, struct err *e)
{
    const struct restore_plan *p = r->plan;
    struct target_options t = {
        .root = p->root,
        .keep_suffix = p->in_place && !r->options->without_keeping ? KEEP_SUFFIX : NULL,
        .dry_run = r->options->dry_run,
        .no_owner = geteuid() != 0,
        .event = on_event,
        .event_arg = r,
    };
    if (str_eq(p->type, "sqlite"))
        return target_sqlite_new(&t, 0, out, e);
    return target_files_new(&t, out, e);
}

static int carry_out(struct restore *r, struct err *e)
{
    struct job *j = r->job;
    if (r->plan->postgres != NULL)
        return postgres_carry_out(j, r->plan, r->options, r->run.id, r->result, e);
    struct river_out out = {.job = j, .part = r->plan->part, .dry_run = r->options->dry_run};
    int rc = snapshot_content(j, &r->plan->snapshot, &out.tree, e);
    if (rc == 0)
        rc = open_target(r, &out.target, e);
    if (rc < 0)
        return rc;
    progress_reset(&j->progress);
    atomic_store(&j->progress.bytes_total, r->plan->bytes);
    atomic_store(&j->progress.items_total, r->plan->files);
    atomic_store(&j->progress.phase, "restoring");
    rc = river_out_run(&out, e);
    target_free(out.target);

    struct restore_result *res = r->result;
    res->files = out.files;
    res->bytes = out.bytes;
    res->bytes_fetched = out.bytes_fetched;
    for (size_t i = 0; i < out.missing.n; i++)
        str_list_add(&res->missing, out.missing.s[i]);
    str_list_sort(&res->missing);
    river_out_release(&out);
    if (rc == 0 && res->missing.n > 0) {
        bool nothing = res->created + res->replaced + res->same == 0;
        rc = err_set(e, nothing ? ERR_IO : ERR_PARTIAL, "%zu %s could not be brought back: %s%s",
                     res->missing.n, res->missing.n == 1 ? "entry" : "entries", res->missing.s[0],
                     res->missing.n > 1 ? "; ..." : "");
    }
    return rc;
}

/* What was replaced lies beside its successor; a snapshot of it outlives a tidy-up of those files.
 * The restore is done by then, so that a repository which cannot be written costs a warning only.
 */
static void save_replaced(struct restore *r)
{
    struct config_resource kept = {.name = r->plan->resource, .type = RESOURCE_FILES};
    for (size_t i = 0; i < r->kept.n; i++)
        str_list_add(&kept.paths, r->kept.s[i]);
    struct backup_options o = {.pre_restore = true};
    struct backup_result res;
    struct err e = ERR_INIT;
    if (job_backup(r->job, &kept, &o, &res, &e) < 0)
        log_warning("what was replaced is kept on disk, but not in the repository: %s", e.msg);
    backup_result_release(&res);
    str_list_release(&kept.paths);
}

int job_restore(struct job *j, const struct restore_plan *p, const struct restore_options *o,
                struct restore_result *out, struct err *e)
{
    *out = (struct restore_result){0};
    struct restore r = {.job = j, .plan = p, .options = o, .result = out};
    struct timespec begun = clock_wall(j->clock);
    if (!o->dry_run)
        record_begin(j, &r.run, "restore", p->resource, NULL);
    if (!o->dry_run && p->in_place && o->without_keeping)
        r.run.detail = str_dup(RESTORE_KEPT_NOTHING);
    int rc = carry_out(&r, e);
    if (rc < 0)
        (void)err_prefix(e, "restore of %s", p->resource);
    out->duration = timespec_diff(clock_wall(j->clock), begun);
    out->run = r.run.id;
    if (!o->dry_run) {
        r.run.bytes = out->bytes;
        r.run.files = out->files;
        r.run.tree = p->snapshot.tree;
        r.run.has_tree = true;
        record_end(j, &r.run, rc, e);
    }
    if (r.unrecorded > 0)
        log_warning(
            "`salvor undo` does not know of %zu of the changes; what was replaced is beside "
            "the new files, as *" KEEP_SUFFIX,
            r.unrecorded);
    repo_unlock(j->repo);
    if (p->in_place && r.kept.n > 0 && (rc == 0 || rc == ERR_PARTIAL))
        save_replaced(&r);
    if (out->kept != NULL && rc == 0)
        postgres_save_replaced(j, p, out->kept);
    str_list_release(&r.kept);
    return rc;
}
