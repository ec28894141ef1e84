/* salvor forget: lets snapshots go that retention does not keep. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/steps.h"

struct args {
    struct config_keep keep;
    struct str_list snapshots;
    bool dry_run, prune;
};

#define KEEP(field) offsetof(struct args, keep.field)
static const struct option options[] = {
    {"keep-last", 0, OPTION_COUNT, KEEP(last), "N", "keep the N newest"},
    {"keep-hourly", 0, OPTION_COUNT, KEEP(hourly), "N", "one for each of N hours with a backup"},
    {"keep-daily", 0, OPTION_COUNT, KEEP(daily), "N", "one for each of N days with a backup"},
    {"keep-weekly", 0, OPTION_COUNT, KEEP(weekly), "N", "one for each of N weeks with a backup"},
    {"keep-monthly", 0, OPTION_COUNT, KEEP(monthly), "N", "one for each of N months with a backup"},
    {"keep-yearly", 0, OPTION_COUNT, KEEP(yearly), "N", "one for each of N years with a backup"},
    {"keep-within", 0, OPTION_DURATION, KEEP(within), "TIME",
     "all so much older than the newest at most"},
    {"keep-tag", 0, OPTION_LIST, KEEP(tags), "TAG", "all with this tag"},
    {"snapshot", 0, OPTION_LIST, offsetof(struct args, snapshots), "ID",
     "these and no others go, whatever the rules say"},
    {"dry-run", 'n', OPTION_FLAG, offsetof(struct args, dry_run), NULL, "only say what would go"},
    {"prune", 0, OPTION_FLAG, offsetof(struct args, prune), NULL,
     "afterwards remove the data that nothing needs"},
};

struct shown {
    bool json, dry_run;
    struct err error;
};

static void decided(const struct snapshot *s, bool keep, const char *why, void *arg)
{
    struct shown *shown = arg;
    if (shown->json) {
        struct json_line l;
        struct err failed = ERR_INIT;
        json_line_begin(&l);
        json_key(&l.json, keep ? "keep" : "remove");
        json_begin_object(&l.json);
        json_snapshot(&l.json, s);
        json_text(&l.json, "why", why);
        json_end_object(&l.json);
        if (json_line_end(&l, &failed) < 0 && shown->error.code == 0)
            shown->error = failed;
        return;
    }
    char id[ID_SHORT + 1], when[TIME_TEXT];
    const char *resource = snapshot_tag(s, "resource");
    printf("%s %s  %s  ", keep ? "keep  " : "remove", id_short(&s->id, id),
           time_format_human(s->time, false, when));
    print_safe(stdout, resource != NULL ? resource : "-");
    printf("  %s\n", why != NULL ? why : "");
}

int step_forget(struct cli *c, struct job *j, const struct forget_options *given, struct err *e)
{
    struct shown shown = {.json = c->json, .dry_run = given->dry_run, .error = ERR_INIT};
    struct forget_options o = *given;
    struct forget_result r = {0, 0};
    o.decided = decided;
    o.decided_arg = &shown;
    int rc = job_forget(j, &o, &r, e);
    if (rc < 0)
        return rc;
    if (shown.error.code != 0) {
        *e = shown.error;
        return e->code;
    }
    if (!c->json) {
        if (r.removed + r.kept == 0)
            log_notice(
                "nothing was decided: no snapshot, or no rule; rules stand under keep: in the "
                "configuration, or are given as --keep options");
        printf("%llu snapshot%s %s, %llu kept\n", (unsigned long long)r.removed,
               r.removed == 1 ? "" : "s", o.dry_run ? "would go" : "removed",
               (unsigned long long)r.kept);
        (void)fflush(stdout);
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "forget");
    json_begin_object(&l.json);
    json_bool(&l.json, "dry_run", o.dry_run);
    json_u64(&l.json, "removed", r.removed);
    json_u64(&l.json, "kept", r.kept);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

static bool any_rule(const struct config_keep *k)
{
    return k->last + k->hourly + k->daily + k->weekly + k->monthly + k->yearly > 0 ||
           k->within > 0 || k->tags.n > 0;
}

static int forget(struct cli *c, struct args *a, const struct str_list *names, struct err *e)
{
    _cleanup_(job_freep) struct job *j = NULL;
    a->keep.set = any_rule(&a->keep);
    if (a->snapshots.n > 0 && (a->keep.set || names->n > 0))
        return err_set(e, ERR_USAGE, "--snapshot goes without resources and --keep options");
    int rc = cli_open(c, &j, e);
    if (rc < 0)
        return rc;
    struct forget_options o = {
        .resources = (const char *const *)names->s,
        .nresources = names->n,
        .keep = a->keep.set ? &a->keep : NULL,
        .snapshots = (const char *const *)a->snapshots.s,
        .nsnapshots = a->snapshots.n,
        .dry_run = a->dry_run,
    };
    rc = step_forget(c, j, &o, e);
    if (rc == 0 && a->prune)
        rc = step_prune(c, j, 0.05, a->dry_run, e);
    return rc;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    _cleanup_(str_list_release) struct str_list names = {NULL, 0, 0};
    int rc = cli_resource_names(c, word, n, &names, e);
    return rc == 0 ? forget(c, argp, &names, e) : rc;
}

const struct command cmd_forget = {
    .name = "forget",
    .words = "[RESOURCE...]",
    .summary = "let snapshots go that no rule of the configuration or here keeps",
    COMMAND_OPTIONS(options, struct args),
    .least = 0,
    .most = WORDS_ANY,
    .run = run,
};
