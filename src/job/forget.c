/* Forget: removes the snapshots that retention no longer wants (policy decides, this carries out).
 * Their data go with the next prune. */
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "policy/retention.h"

#include <stdlib.h>
#include <string.h>

struct forget {
    struct job *job;
    const struct forget_options *options;
    struct forget_result *result;
    struct id_list doomed;
};

static void decide(struct forget *f, const struct snapshot *s, bool keep, const char *why)
{
    if (keep)
        f->result->kept++;
    else
        id_list_add(&f->doomed, &s->id);
    if (f->options->decided != NULL)
        f->options->decided(s, keep, why, f->options->decided_arg);
}

/* The rules for a resource: those of the command, its own, or those of the whole. */
static const struct config_keep *rules(const struct forget *f, const char *resource)
{
    if (f->options->keep != NULL)
        return f->options->keep;
    const struct config_resource *r = config_resource_of(f->job->config, resource);
    if (r != NULL && r->keep.set)
        return &r->keep;
    return f->job->config->keep.set ? &f->job->config->keep : NULL;
}

static bool belongs(const struct snapshot *s, const char *resource)
{
    return snapshot_is_ours(s) && !snapshot_pre_restore(s) &&
           str_eq(snapshot_tag(s, "resource"), resource);
}

/* Snapshots of what a restore replaced stay for 30 days, or until the hard limit where that is
 * sooner. */
static void decide_pre_restore(struct forget *f, const char *resource,
                               const struct config_keep *keep)
{
    const int64_t month = 30 * INT64_C(86400) * NSEC_PER_SEC;
    bool hard = keep->delete_after > 0 && keep->delete_after < month;
    struct timespec now = clock_wall(f->job->clock);
    const struct snapshot_list *l = &f->job->snapshots;
    for (size_t i = 0; i < l->n; i++) {
        const struct snapshot *s = &l->s[i];
        if (!snapshot_is_ours(s) || !snapshot_pre_restore(s) ||
            !str_eq(snapshot_tag(s, "resource"), resource))
            continue;
        bool stays = timespec_diff(now, s->time) <= (hard ? keep->delete_after : month);
        decide(f, s, stays,
               stays ? "replaced by a restore, kept 30 d" : "replaced by a restore long ago");
    }
}

/* Where partial snapshots count, the newest complete one stays all the same. */
static void keep_newest_complete(const struct config_keep *keep, struct timespec now,
                                 struct retention_item *items, const bool *complete, size_t n)
{
    size_t newest = n;
    for (size_t i = 0; i < n; i++)
        if (complete[i] &&
            (newest == n || timespec_compare(items[i].time, items[newest].time) >= 0))
            newest = i;
    if (newest == n || items[newest].keep ||
        (keep->delete_after > 0 && timespec_diff(now, items[newest].time) > keep->delete_after))
        return;
    items[newest].keep = true;
    (void)snprintf(items[newest].why, sizeof items[newest].why, "newest complete one");
}

static void decide_resource(struct forget *f, const char *resource)
{
    const struct config_resource *c = config_resource_of(f->job->config, resource);
    bool partial_counts = c != NULL && c->allow_partial;
    const struct config_keep *keep = rules(f, resource);
    if (keep == NULL)
        return;
    const struct snapshot_list *l = &f->job->snapshots;
    _cleanup_free_ struct retention_item *items = mem_array(l->n, sizeof *items);
    _cleanup_free_ size_t *at = mem_array(l->n, sizeof *at);
    _cleanup_free_ bool *complete = mem_array(l->n, sizeof *complete);
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!belongs(&l->s[i], resource))
            continue;
        complete[n] = snapshot_complete(&l->s[i]);
        items[n] = (struct retention_item){.time = l->s[i].time,
                                           .good = complete[n] || partial_counts,
                                           .tags = &l->s[i].tags};
        at[n++] = i;
    }
    struct retention r = {
        .last = keep->last,
        .hourly = keep->hourly,
        .daily = keep->daily,
        .weekly = keep->weekly,
        .monthly = keep->monthly,
        .yearly = keep->yearly,
        .within = keep->within,
        .delete_after = keep->delete_after,
        .tags = keep->tags.n > 0 ? &keep->tags : NULL,
    };
    struct timespec now = clock_wall(f->job->clock);
    retention_decide(&r, now, items, n);
    keep_newest_complete(keep, now, items, complete, n);
    for (size_t i = 0; i < n; i++)
        decide(f, &l->s[at[i]], items[i].keep, items[i].why);
    decide_pre_restore(f, resource, keep);
}

static bool is_named(const struct forget_options *o, const char *resource)
{
    for (size_t i = 0; i < o->nresources; i++)
        if (config_name_covers(o->resources[i], resource))
            return true;
    return o->nresources == 0;
}

static int decide_by_rules(struct forget *f, struct err *e)
{
    const struct forget_options *o = f->options;
    const struct snapshot_list *l = &f->job->snapshots;
    _cleanup_(str_list_release) struct str_list seen = {0};
    for (size_t i = 0; i < l->n; i++) {
        const char *resource = snapshot_tag(&l->s[i], "resource");
        if (resource == NULL || !snapshot_is_ours(&l->s[i]) || str_list_has(&seen, resource))
            continue;
        str_list_add(&seen, resource);
        if (is_named(o, resource))
            decide_resource(f, resource);
    }
    for (size_t i = 0; i < o->nresources; i++) {
        bool any = false;
        for (size_t k = 0; k < seen.n && !any; k++)
            any = config_name_covers(o->resources[i], seen.s[k]);
        if (!any)
            return err_set(e, ERR_NOT_FOUND,
                           "no snapshot of a resource %s in %s; `salvor list` shows what there is",
                           o->resources[i], store_address(f->job->store));
        if (rules(f, o->resources[i]) == NULL)
            return err_set(
                e, ERR_USAGE,
                "no retention is set for %s; give `keep:` in the configuration or --keep-...",
                o->resources[i]);
    }
    return 0;
}

/* Whether no other complete snapshot of its resource is as new. */
static bool newest_good(const struct snapshot_list *l, size_t at)
{
    const struct snapshot *s = &l->s[at];
    const char *resource = snapshot_tag(s, "resource");
    if (resource == NULL || !belongs(s, resource) || !snapshot_complete(s))
        return false;
    for (size_t i = at + 1; i < l->n; i++)
        if (belongs(&l->s[i], resource) && snapshot_complete(&l->s[i]))
            return false;
    return true;
}

static bool is_doomed(const struct forget *f, const struct id *id)
{
    for (size_t i = 0; i < f->doomed.n; i++)
        if (id_equal(&f->doomed.id[i], id))
            return true;
    return false;
}

static int decide_by_id(struct forget *f, struct err *e)
{
    const struct snapshot_list *l = &f->job->snapshots;
    for (size_t i = 0; i < f->options->nsnapshots; i++) {
        struct snapshot_query q = {.which = f->options->snapshots[i], .partial_too = true};
        size_t at = 0;
        int rc = snapshot_find(l, &q, &at, e);
        if (rc < 0)
            return rc;
        char hex[ID_SHORT + 1];
        if (!snapshot_is_ours(&l->s[at]))
            return err_set(
                e, ERR_REFUSED,
                "snapshot %s was not made by salvor and is left alone; use `restic forget` for it",
                id_short(&l->s[at].id, hex));
        if (newest_good(l, at))
            return err_set(
                e, ERR_REFUSED,
                "snapshot %s is the newest good one of %s and stays; make a newer backup first",
                id_short(&l->s[at].id, hex), snapshot_tag(&l->s[at], "resource"));
        if (!is_doomed(f, &l->s[at].id))
            decide(f, &l->s[at], false, "named");
    }
    return 0;
}

static int remove_doomed(struct forget *f, struct err *e)
{
    enum { BATCH = 64 };
    for (size_t i = 0; i < f->doomed.n; i++) {
        int rc = cancel_check(e);
        if (rc == 0 && i % BATCH == 0)
            rc = repo_lock_check(f->job->repo, true, e);
        if (rc == 0)
            rc = snapshot_remove(f->job->repo, &f->doomed.id[i], e);
        if (rc < 0 && rc != ERR_NOT_FOUND) /* gone is what was wanted */
            return rc;
        f->result->removed++;
    }
    return 0;
}

static int carry_out(struct forget *f, struct err *e)
{
    const struct forget_options *o = f->options;
    int rc = o->dry_run ? 0 : repo_lock(f->job->repo, LOCK_EXCLUSIVE, e);
    if (rc == 0)
        rc = job_load_snapshots(f->job, e);
    if (rc == 0)
        rc = o->nsnapshots > 0 ? decide_by_id(f, e) : decide_by_rules(f, e);
    if (rc < 0)
        return rc;
    if (o->dry_run) {
        f->result->removed = f->doomed.n;
        return 0;
    }
    return remove_doomed(f, e);
}

int job_forget(struct job *j, const struct forget_options *o, struct forget_result *out,
               struct err *e)
{
    *out = (struct forget_result){0};
    struct forget f = {.job = j, .options = o, .result = out};
    struct ledger_run run;
    if (!o->dry_run)
        record_begin(j, &run, "forget", o->nresources == 1 ? o->resources[0] : NULL, NULL);
    int rc = carry_out(&f, e);
    if (!o->dry_run)
        record_end(j, &run, rc, e);
    id_list_release(&f.doomed);
    repo_unlock(j->repo);
    return rc;
}
