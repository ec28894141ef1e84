/* salvor status: each resource's newest backup against what was promised. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "policy/objective.h"

struct shown {
    const struct cli *cli;
    struct table table;
    struct str_list problems;
};

static double seconds(int64_t ns)
{
    return (double)ns / (double)NSEC_PER_SEC;
}

static int show_json(const struct resource_status *s, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *j = &l.json;
    json_key(j, "status");
    json_begin_object(j);
    json_text(j, "resource", s->resource);
    json_text(j, "type", s->type);
    json_bool(j, "configured", s->configured);
    json_u64(j, "snapshots", s->snapshots);
    json_key(j, "newest");
    if (s->has_newest)
        json_put_id(j, &s->newest.id);
    else
        json_put_null(j);
    json_key(j, "newest_good");
    if (s->has_good)
        json_put_id(j, &s->good.id);
    else
        json_put_null(j);
    json_key(j, "age_seconds");
    if (s->has_good)
        json_put_double(j, seconds(s->age));
    else
        json_put_null(j);
    json_text(j, "rpo", objective_name((enum objective_state)s->rpo));
    json_double(j, "rpo_promise_seconds", seconds(s->rpo_promise));
    json_double(j, "rpo_left_seconds", seconds(s->rpo_left));
    json_text(j, "rto", objective_name((enum objective_state)s->rto));
    json_double(j, "rto_promise_seconds", seconds(s->rto_promise));
    json_double(j, "rto_measured_seconds", seconds(s->rto_measured));
    json_u64(j, "bytes", s->bytes);
    json_text(j, "last_problem", s->last_problem);
    json_end_object(j);
    return json_line_end(&l, e);
}

/* "kept (24 h)", "MISSED (24 h)", or nothing where nothing was promised. */
static char *promise(int state, int64_t promised)
{
    char text[32];
    if (promised == 0)
        return NULL;
    if (state == OBJECTIVE_NONE)
        return str_fmt("not measured (%s)", duration_human(promised, text));
    return str_fmt("%s (%s)",
                   state == OBJECTIVE_MISSED ? "MISSED"
                                             : objective_name((enum objective_state)state),
                   duration_human(promised, text));
}

static int show(const struct resource_status *s, void *arg, struct err *e)
{
    struct shown *shown = arg;
    if (shown->cli->json)
        return show_json(s, e);
    struct table *t = &shown->table;
    char when[TIME_TEXT], age[32], size[24], count[24];
    _cleanup_free_ char *rpo = promise(s->rpo, s->rpo_promise);
    _cleanup_free_ char *rto = promise(s->rto, s->rto_promise);
    uint64_t bytes = s->bytes;
    if (bytes == 0 && s->has_good)
        (void)snapshot_size(&s->good, &bytes);
    (void)snprintf(count, sizeof count, "%zu", s->snapshots);
    table_add(t, s->resource);
    table_add(t, s->type);
    table_add(t, count);
    table_add(t, s->has_good ? time_format_human(s->good.time, false, when) : "never");
    table_add(t, s->has_good ? duration_human(s->age, age) : NULL);
    table_add(t, s->has_good ? size_human(bytes, size) : NULL);
    table_add(t, rpo);
    table_add(t, rto);
    if (s->last_problem[0] != '\0')
        str_list_add_take(&shown->problems, str_fmt("%s: %s", s->resource, s->last_problem));
    return 0;
}

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    static const char *const titles[] = {"RESOURCE", "TYPE",  ">SNAPSHOTS", "NEWEST GOOD",
                                         ">AGE",     ">SIZE", "RPO",        "RTO"};
    (void)args;
    (void)word;
    (void)n;
    _cleanup_(job_freep) struct job *j = NULL;
    struct shown shown = {.cli = c};
    int rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = job_load_snapshots(j, e);
    if (rc < 0)
        return rc;
    table_init(&shown.table, titles, array_len(titles));
    rc = job_status(j, show, &shown, e);
    if (!c->json && shown.table.cell.n > 0)
        table_print(&shown.table, stdout);
    else if (!c->json && rc == 0)
        printf("no resources and no snapshots\n");
    (void)fflush(stdout);
    for (size_t i = 0; i < shown.problems.n; i++)
        log_line(LOG_ERROR, "%s", shown.problems.s[i]);
    table_release(&shown.table);
    str_list_release(&shown.problems);
    return rc;
}

const struct command cmd_status = {
    .name = "status",
    .summary = "show each resource's newest backup against what was promised",
    .run = run,
};
