/* Verify: the repository against itself, then each snapshot's manifest against its signature and
 * content. */
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "repo/check.h"

#include <string.h>

struct verify {
    struct job *job;
    const struct verify_options *options;
    struct verify_result *result;
};

static void found(struct verify *v, const char *object, const char *detail, const char *affects,
                  bool damage)
{
    if (v->options->found != NULL)
        v->options->found(object, detail, affects, damage, v->options->found_arg);
}

static void on_finding(const struct finding *f, void *arg)
{
    found(arg, f->object, f->detail, f->affects, f->kind != FOUND_WASTE);
}

static void on_progress(uint64_t done, uint64_t total, void *arg)
{
    struct progress *p = arg;
    atomic_store(&p->bytes, done);
    atomic_store(&p->bytes_total, total);
}

static bool is_meant(const struct verify_options *o, const struct snapshot *s)
{
    const char *resource = snapshot_tag(s, "resource");
    for (size_t i = 0; i < o->nresources; i++)
        if (config_name_covers(o->resources[i], resource))
            return true;
    return o->nresources == 0;
}

/* Tags and time are not signed, and restic can change them: they must not say other than the
 * manifest. */
static int compare_tags(const struct snapshot *s, const struct manifest *m, struct err *why)
{
    const char *resource = snapshot_tag(s, "resource");
    if (!str_eq(m->resource, resource))
        return err_set(why, ERR_CORRUPT, "tagged as %s, but its signed manifest is of %s", resource,
                       m->resource);
    if (m->partial && snapshot_complete(s))
        return err_set(why, ERR_CORRUPT,
                       "its signed manifest says that it is partial, but the tag is gone");
    if (timespec_compare(m->time, s->time) != 0) { /* an old state must not pass for the newest */
        char is[TIME_TEXT], was[TIME_TEXT];
        return err_set(why, ERR_CORRUPT, "dated %s, but its signed manifest is of %s",
                       time_format(s->time, true, is), time_format(m->time, true, was));
    }
    return 0;
}

static void check_manifest(struct verify *v, const struct snapshot *s)
{
    char name[REPO_NAME_MAX];
    struct manifest m = {0};
    struct err why = ERR_INIT, e = ERR_INIT;
    int signature = 0;
    (void)repo_file_name("snapshots", &s->id, name);
    int rc = manifest_load(v->job, s, &m, &signature, &why, &e);
    if (rc == 0 && signature == 0)
        signature = compare_tags(s, &m, &why);
    if (rc == 0 && signature == 0) {
        v->result->signatures_good++;
    } else {
        v->result->damage++;
        found(v, name, rc < 0 ? e.msg : why.msg, snapshot_tag(s, "resource"), true);
    }
    manifest_release(&m);
}

/* A resource that nothing is known of must not pass for verified. */
static int check_names(const struct verify *v, struct err *e)
{
    const struct snapshot_list *l = &v->job->snapshots;
    for (size_t i = 0; i < v->options->nresources; i++) {
        bool known = false;
        for (size_t k = 0; k < l->n && !known; k++)
            known =
                config_name_covers(v->options->resources[i], snapshot_tag(&l->s[k], "resource"));
        if (!known)
            return err_set(e, ERR_NOT_FOUND,
                           "no snapshot of a resource %s in %s; `salvor list` shows what there is",
                           v->options->resources[i], store_address(v->job->store));
    }
    return 0;
}

static int check_manifests(struct verify *v, struct err *e)
{
    struct job *j = v->job;
    int rc = job_load(j, e);
    if (rc == ERR_CORRUPT && v->result->damage > 0)
        return 0; /* named already, and without an index no manifest can be read */
    if (rc == 0)
        rc = check_names(v, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < j->snapshots.n; i++) {
        const struct snapshot *s = &j->snapshots.s[i];
        rc = cancel_check(e);
        if (rc < 0)
            return rc;
        if (!snapshot_is_ours(s) || snapshot_tag(s, "resource") == NULL)
            v->result->unsigned_foreign++;
        else if (is_meant(v->options, s))
            check_manifest(v, s);
    }
    return 0;
}

static int carry_out(struct verify *v, struct err *e)
{
    struct job *j = v->job;
    int rc = lock_for_reading(j, e);
    if (rc < 0)
        return rc;
    atomic_store(&j->progress.phase, "checking");
    struct check_options o = {
        .read_share = v->options->read_share,
        .seed = v->options->seed,
        .progress = on_progress,
        .progress_arg = &j->progress,
    };
    struct check_result c = {0};
    rc = repo_check(j->repo, &o, on_finding, v, &c, e);
    struct verify_result *r = v->result;
    r->snapshots = c.snapshots;
    r->trees = c.trees;
    r->blobs = c.blobs;
    r->packs = c.packs;
    r->packs_read = c.packs_read;
    r->bytes_read = c.bytes_read;
    r->damage = c.damaged + c.missing;
    r->waste = c.waste;
    if (rc == 0)
        rc = check_manifests(v, e);
    if (rc == 0 && r->damage > 0)
        rc = err_set(e, ERR_CORRUPT,
                     "%llu thing%s damaged or missing in %s; what is named above cannot "
                     "all be restored; `salvor repair index` and then a new backup save "
                     "again what is still there",
                     (unsigned long long)r->damage, r->damage == 1 ? " is" : "s are",
                     store_address(j->store));
    return rc;
}

int job_verify(struct job *j, const struct verify_options *o, struct verify_result *out,
               struct err *e)
{
    *out = (struct verify_result){0};
    struct verify v = {.job = j, .options = o, .result = out};
    struct timespec begun = clock_wall(j->clock);
    struct ledger_run run;
    record_begin(j, &run, "verify", o->nresources == 1 ? o->resources[0] : NULL, NULL);
    int rc = carry_out(&v, e);
    out->duration = timespec_diff(clock_wall(j->clock), begun);
    run.bytes = out->bytes_read;
    record_end(j, &run, rc, e);
    repo_unlock(j->repo);
    return rc;
}
