/* salvor repair: makes anew what can be made anew from the packs themselves. */
#include "base/mem.h"
#include "cli/cli.h"
#include "repo/prune.h"

#include <string.h>

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    (void)args;
    (void)n;
    if (strcmp(word[0], "index") != 0)
        return err_set(e, ERR_USAGE, "repair %s? only `repair index` is known", word[0]);
    _cleanup_(job_freep) struct job *j = NULL;
    int rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = repo_lock(j->repo, LOCK_EXCLUSIVE, e);
    if (rc < 0)
        return rc;
    struct ledger_run record;
    record_begin(j, &record, "repair", NULL, NULL);
    struct bar *bar = bar_start(c, &j->progress, "repair");
    rc = repo_rebuild_index(j->repo, e);
    bar_stop(bar);
    record_end(j, &record, rc, e);
    repo_unlock(j->repo);
    if (rc < 0)
        return rc;
    if (!c->json) {
        printf("the index is made anew; `salvor verify` tells what is whole\n");
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_text(&l.json, "repaired", "index");
    return json_line_end(&l, e);
}

const struct command cmd_repair = {
    .name = "repair",
    .words = "index",
    .summary = "make the index anew from the packs, when it is damaged",
    .least = 1,
    .most = 1,
    .run = run,
};
