/* salvor prune: frees the space of what no snapshot needs. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/steps.h"
#include "repo/prune.h"

struct args {
    struct share waste_limit;
    bool dry_run;
};

static const struct option options[] = {
    {"waste-limit", 0, OPTION_SHARE, offsetof(struct args, waste_limit), "SHARE",
     "unused data that may stay (5%)"},
    {"dry-run", 'n', OPTION_FLAG, offsetof(struct args, dry_run), NULL, "only say what would go"},
};

static void repacked(uint64_t done, uint64_t total, void *arg)
{
    struct progress *p = arg;
    atomic_store(&p->phase, "repacking");
    atomic_store(&p->bytes, done);
    atomic_store(&p->bytes_total, total);
}

static int print(const struct cli *c, const struct prune_result *r, bool dry_run, struct err *e)
{
    if (!c->json) {
        char gone[24], moved[24], left[24];
        printf("%s %llu of %llu packs (%s), %s %llu (%s); %s unused stay\n",
               dry_run ? "would remove" : "removed", (unsigned long long)r->packs_removed,
               (unsigned long long)r->packs_before, size_human(r->bytes_removed, gone),
               dry_run ? "would repack" : "repacked", (unsigned long long)r->packs_repacked,
               size_human(r->bytes_repacked, moved), size_human(r->bytes_unused_left, left));
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    struct json_out *j = &l.json;
    json_key(j, "prune");
    json_begin_object(j);
    json_bool(j, "dry_run", dry_run);
    json_u64(j, "packs_before", r->packs_before);
    json_u64(j, "packs_removed", r->packs_removed);
    json_u64(j, "packs_repacked", r->packs_repacked);
    json_u64(j, "bytes_before", r->bytes_before);
    json_u64(j, "bytes_removed", r->bytes_removed);
    json_u64(j, "bytes_repacked", r->bytes_repacked);
    json_u64(j, "blobs_used", r->blobs_used);
    json_u64(j, "blobs_unused", r->blobs_unused);
    json_u64(j, "bytes_unused_left", r->bytes_unused_left);
    json_end_object(j);
    return json_line_end(&l, e);
}

int step_prune(struct cli *c, struct job *j, double waste_limit, bool dry_run, struct err *e)
{
    struct prune_options o = {
        .waste_limit = waste_limit,
        .dry_run = dry_run,
        .progress = repacked,
        .progress_arg = &j->progress,
    };
    struct prune_result r = {.packs_before = 0};
    int rc = repo_lock(j->repo, LOCK_EXCLUSIVE, e);
    if (rc < 0)
        return rc;
    struct ledger_run record;
    if (!dry_run)
        record_begin(j, &record, "prune", NULL, NULL);
    struct bar *bar = bar_start(c, &j->progress, "prune");
    rc = job_load(j, e);
    if (rc == 0)
        rc = repo_prune(j->repo, &o, &r, e);
    bar_stop(bar);
    if (!dry_run)
        record_end(j, &record, rc, e);
    repo_unlock(j->repo);
    return rc < 0 ? rc : print(c, &r, dry_run, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    (void)word;
    (void)n;
    const struct args *a = argp;
    _cleanup_(job_freep) struct job *j = NULL;
    int rc = cli_open(c, &j, e);
    if (rc < 0)
        return rc;
    return step_prune(c, j, a->waste_limit.given ? a->waste_limit.of_one : 0.05, a->dry_run, e);
}

const struct command cmd_prune = {
    .name = "prune",
    .summary = "free the space of what no snapshot needs",
    COMMAND_OPTIONS(options, struct args),
    .run = run,
};
