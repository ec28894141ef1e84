/* Status: what there is of each resource, and whether its objectives are kept. */
#include "base/mem.h"
#include "job/job_int.h"
#include "policy/objective.h"

#include <stdlib.h>
#include <string.h>

/* What the ledger knows of a resource. */
struct remembered {
    int64_t restore; /* longest of the measured ones, ns */
    int64_t backup;  /* of the newest good one, ns */
    uint64_t bytes;
    bool seen_backup;
    char problem[256]; /* of the newest run, when it failed */
};

static int add_run(const struct ledger_run *r, void *arg, struct err *e)
{
    (void)e;
    struct remembered *m = arg;
    int64_t took = timespec_diff(r->ended, r->begun);
    bool done = str_eq(r->result, "done");
    if (str_eq(r->kind, "restore") && done && took > m->restore)
        m->restore = took;
    if (!str_eq(r->kind, "backup"))
        return 0;
    if (!m->seen_backup && r->message != NULL && !done)
        (void)snprintf(m->problem, sizeof m->problem, "%s", r->message);
    m->seen_backup = true;
    if (done && m->backup == 0) {
        m->backup = took;
        m->bytes = r->bytes;
    }
    return 0;
}

static struct remembered remember(struct job *j, const char *resource)
{
    enum { RUNS = 200 };
    struct remembered m = {0};
    char repository[ID_HEX + 1];
    struct err ignored = ERR_INIT;
    struct ledger_filter f = {.resource = resource,
                              .repository = id_hex(repo_id(j->repo), repository),
                              .most = RUNS};
    if (j->ledger != NULL && ledger_runs(j->ledger, &f, add_run, &m, &ignored) < 0)
        m = (struct remembered){0};
    return m;
}

static void count_snapshots(const struct snapshot_list *l, const struct config_resource *c,
                            struct resource_status *s)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct snapshot *one = &l->s[i];
        if (!snapshot_is_ours(one) || snapshot_pre_restore(one) ||
            !str_eq(snapshot_tag(one, "resource"), s->resource))
            continue;
        s->snapshots++;
        s->newest = *one; /* borrowed from the list, which outlives the callback */
        s->has_newest = true;
        if (snapshot_complete(one) || (c != NULL && c->allow_partial)) {
            s->good = *one;
            s->has_good = true;
        }
    }
}

static struct resource_status judge(struct job *j, const char *resource,
                                    const struct config_resource *c)
{
    struct resource_status s = {.resource = resource, .configured = c != NULL};
    count_snapshots(&j->snapshots, c, &s);
    s.type = c != NULL ? resource_type_name(c->type) : snapshot_tag(&s.newest, "type");
    struct remembered m = remember(j, resource);
    struct timespec now = clock_wall(j->clock);
    struct rpo rpo = {
        .promise = c != NULL ? c->rpo : 0,
        .grace = c != NULL ? c->rpo_grace : -1,
        .measured = m.backup,
        .has_backup = s.has_good,
        .newest = s.good.time,
    };
    s.rpo_promise = rpo.promise;
    s.rpo = rpo_state(&rpo, now, &s.rpo_left);
    s.age = s.has_good ? timespec_diff(now, s.good.time) : 0;
    s.rto_promise = c != NULL ? c->rto : 0;
    s.rto_measured = m.restore;
    s.rto = rto_state(s.rto_promise, s.rto_measured);
    s.bytes = m.bytes;
    memcpy(s.last_problem, m.problem, sizeof s.last_problem);
    return s;
}

/* Names that the configuration and the snapshots own, each once. */
struct names {
    const char **name;
    size_t n;
};

static void add_name(struct names *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->name[i], name))
            return;
    if (name != NULL)
        l->name[l->n++] = name;
}

/* Whether there are snapshots of its databases, which then stand for it. */
static bool has_databases(const struct job *j, const struct config_resource *r)
{
    for (size_t i = 0; r->postgres.several && i < j->snapshots.n; i++)
        if (snapshot_is_ours(&j->snapshots.s[i]) &&
            config_name_covers(r->name, snapshot_tag(&j->snapshots.s[i], "resource")))
            return true;
    return false;
}

int job_status(struct job *j, status_fn *fn, void *arg, struct err *e)
{
    int rc = job_load_snapshots(j, e);
    if (rc < 0)
        return rc;
    struct names names = {0};
    _cleanup_free_ const char **all =
        mem_array(j->config->nresource + j->snapshots.n + 1, sizeof *all);
    names.name = all;
    for (size_t i = 0; i < j->config->nresource; i++)
        if (!has_databases(j, &j->config->resource[i]))
            add_name(&names, j->config->resource[i].name);
    for (size_t i = 0; i < j->snapshots.n; i++)
        if (snapshot_is_ours(&j->snapshots.s[i]))
            add_name(&names, snapshot_tag(&j->snapshots.s[i], "resource"));
    size_t missed = 0;
    const char *first = NULL;
    for (size_t i = 0; i < names.n; i++) {
        const struct config_resource *c = config_resource_of(j->config, names.name[i]);
        struct resource_status s = judge(j, names.name[i], c);
        bool bad = s.rpo == OBJECTIVE_MISSED || s.rto == OBJECTIVE_MISSED;
        if (bad && missed++ == 0)
            first = names.name[i];
        rc = fn(&s, arg, e);
        if (rc < 0)
            return rc;
    }
    if (missed > 0)
        return err_set(e, ERR_MISSED, "%zu resource%s an objective: %s%s", missed,
                       missed == 1 ? " misses" : "s miss", first, missed > 1 ? ", ..." : "");
    return 0;
}
