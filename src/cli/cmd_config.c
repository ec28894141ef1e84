/* salvor config check: reads the configuration, opens the repository, and tries each resource. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

/* `why` is NULL for what works. */
static int print(const struct cli *c, const char *what, const char *name, const struct err *why,
                 struct err *e)
{
    if (!c->json) {
        printf("%-7s %s %s%s%s\n", why == NULL ? "ok" : "FAILED", what, name,
               why == NULL ? "" : ": ", why == NULL ? "" : why->msg);
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "check");
    json_begin_object(&l.json);
    json_text(&l.json, "what", what);
    json_text(&l.json, "name", name);
    json_bool(&l.json, "ok", why == NULL);
    json_text(&l.json, "message", why == NULL ? NULL : why->msg);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

static void warn_of_gaps(const struct config *c)
{
    for (size_t i = 0; i < c->nresource; i++) {
        const struct config_resource *r = &c->resource[i];
        bool backed_up = false;
        for (size_t k = 0; k < c->njob; k++)
            backed_up =
                backed_up || c->job[k].backup_all || str_list_has(&c->job[k].backup, r->name);
        if (c->njob > 0 && !backed_up)
            log_warning("%s:%d: no job backs %s up", c->path, r->line, r->name);
        if (r->rpo == 0)
            log_notice("%s:%d: no RPO is promised for %s, so `salvor status` cannot miss it",
                       c->path, r->line, r->name);
    }
    for (size_t k = 0; k < c->njob; k++)
        if (c->job[k].at != NULL) {
            log_notice("jobs do not begin by themselves yet: let cron or a timer call `salvor run "
                       "%s` (\"%s\", in UTC)",
                       c->job[k].name, c->job[k].at);
            break;
        }
}

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    (void)args;
    (void)n;
    if (strcmp(word[0], "check") != 0)
        return err_set(e, ERR_USAGE, "config %s? only `config check` is known", word[0]);
    int rc = cli_config(c, e);
    if (rc < 0)
        return rc;
    const struct config *conf = c->config;
    if (conf->path == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "there is no configuration to check; `salvor init` writes "
                       "one");
    struct err why = ERR_INIT;
    rc = print(c, "file", conf->path, NULL, e);
    if (rc < 0)
        return rc;

    unsigned failed = 0;
    _cleanup_(job_freep) struct job *j = NULL;
    bool works = cli_open(c, &j, &why) == 0;
    failed += !works;
    rc = print(c, "repository", conf->repository.url, works ? NULL : &why, e);
    for (size_t i = 0; i < conf->nresource && rc == 0; i++) {
        works = job_try_resource(&conf->resource[i], &why) == 0;
        failed += !works;
        rc = print(c, "resource", conf->resource[i].name, works ? NULL : &why, e);
    }
    if (rc < 0)
        return rc;
    warn_of_gaps(conf);
    if (failed > 0)
        return err_set(e, ERR_USAGE, "%u thing%s that %s names %s not work", failed,
                       failed == 1 ? "" : "s", conf->path, failed == 1 ? "does" : "do");
    return 0;
}

const struct command cmd_config = {
    .name = "config",
    .words = "check",
    .summary = "check the configuration and everything that it names",
    .least = 1,
    .most = 1,
    .run = run,
};
