/* salvor dump: one file of a snapshot to standard output. */
#include "base/mem.h"
#include "cli/cli.h"

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    (void)args;
    (void)n;
    _cleanup_(job_freep) struct job *j = NULL;
    const struct snapshot *s = NULL;
    if (c->json)
        return err_set(e, ERR_USAGE, "dump writes the file's bytes; --json does not go with it");
    int rc = cli_open_loaded(c, &j, e);
    if (rc == 0)
        rc = cli_snapshot(j, word[0], &s, e);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *path = cli_path(s, word[1]);
    rc = job_dump(j, s, path, STDOUT_FILENO, e);
    return rc == ERR_NOT_FOUND ? cli_hint_snapshot(s, e) : rc;
}

const struct command cmd_dump = {
    .name = "dump",
    .words = "SNAPSHOT PATH",
    .summary = "write one file of a snapshot to standard output",
    .least = 2,
    .most = 2,
    .run = run,
};
