/* salvor run: a configured job with all its steps, as one recovery point. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/steps.h"

static const struct config_job *find_job(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->njob; i++)
        if (str_eq(c->job[i].name, name))
            return &c->job[i];
    return NULL;
}

static int unknown_job(const struct config *c, const char *name, struct err *e)
{
    struct buf known = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < c->njob; i++)
        buf_addf(&known, "%s%s", i > 0 ? ", " : "", c->job[i].name);
    err_set(e, ERR_USAGE, "no job %s is configured; there %s %s", name, c->njob == 1 ? "is" : "are",
            c->njob > 0 ? buf_str(&known) : "none");
    buf_release(&known);
    return e->code;
}

/* What retention and verification do to a snapshot that failed must not happen: a failed backup
 * ends the job, a partial one does not. */
static int run_steps(struct cli *c, struct job *j, const struct config_job *job,
                     const struct backup_step *s, struct err *e)
{
    struct err partial = ERR_INIT;
    int rc = step_backup(c, j, s, e);
    if (rc == ERR_PARTIAL)
        partial = *e;
    else if (rc < 0)
        return err_hint(e, "the job's later steps were left out");
    if (job->verify) {
        struct verify_step v = {.read_share = 0};
        rc = step_verify(c, j, &v, e);
        if (rc < 0)
            return err_prefix(e, "verify");
    }
    if (job->forget) {
        rc = step_forget(c, j, &(struct forget_options){.dry_run = false}, e);
        if (rc < 0)
            return err_prefix(e, "forget");
    }
    if (job->prune) {
        rc = step_prune(c, j, 0.05, false, e);
        if (rc < 0)
            return err_prefix(e, "prune");
    }
    if (partial.code != 0)
        *e = partial;
    return partial.code;
}

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    (void)args;
    (void)n;
    int rc = cli_config(c, e);
    if (rc < 0)
        return rc;
    const struct config_job *job = find_job(c->config, word[0]);
    if (job == NULL)
        return unknown_job(c->config, word[0], e);
    _cleanup_free_ const struct config_resource **resource = NULL;
    size_t count = 0;
    if (job->backup_all || job->backup.n > 0) {
        rc = cli_resources(c, job->backup.s, job->backup_all ? 0 : (int)job->backup.n, NULL,
                           &resource, &count, e);
        if (rc < 0)
            return err_prefix(e, "job %s", job->name);
    }
    _cleanup_(job_freep) struct job *j = NULL;
    rc = cli_open(c, &j, e);
    if (rc < 0)
        return rc;
    struct backup_step s = {.resource = resource, .n = count, .job = job->name};
    rc = run_steps(c, j, job, &s, e);
    return rc < 0 ? err_prefix(e, "job %s", job->name) : 0;
}

const struct command cmd_run = {
    .name = "run",
    .words = "JOB",
    .summary = "run a configured job: backup, verify, forget, prune",
    .least = 1,
    .most = 1,
    .run = run,
};
