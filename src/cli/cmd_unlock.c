/* salvor unlock: clears locks that dead processes left in the repository. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

struct args {
    bool all;
};

static const struct option options[] = {
    {"all", 0, OPTION_FLAG, offsetof(struct args, all), NULL,
     "living ones too: only when nobody works on it"},
};

static int show(const struct lock_info *l, void *arg, struct err *e)
{
    (void)arg;
    (void)e;
    char when[TIME_TEXT];
    log_notice("%s lock of %s, process %lld on %s, since %s%s",
               l->exclusive ? "exclusive" : "shared", l->user != NULL ? l->user : "-",
               (long long)l->pid, l->host != NULL ? l->host : "-",
               time_format_human(l->time, false, when), l->stale ? " (stale)" : "");
    return 0;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    (void)word;
    (void)n;
    const struct args *a = argp;
    _cleanup_(job_freep) struct job *j = NULL;
    size_t removed = 0;
    int rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = repo_lock_list(j->repo, show, NULL, e);
    if (rc < 0)
        return rc;
    struct ledger_run record;
    record_begin(j, &record, "unlock", NULL, NULL);
    rc = repo_lock_clear(j->repo, a->all, &removed, e);
    record_end(j, &record, rc, e);
    if (rc < 0)
        return rc;
    if (!c->json) {
        printf("%zu lock%s removed\n", removed, removed == 1 ? "" : "s");
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "unlock");
    json_begin_object(&l.json);
    json_u64(&l.json, "removed", removed);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

const struct command cmd_unlock = {
    .name = "unlock",
    .summary = "clear locks that dead processes left",
    COMMAND_OPTIONS(options, struct args),
    .run = run,
};
