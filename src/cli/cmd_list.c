/* salvor list: the snapshots of the repository. */
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

struct args {
    struct str_list tags;
};

static const struct option options[] = {
    {"tag", 0, OPTION_LIST, offsetof(struct args, tags), "TAG", "only those with this tag"},
};

static bool matches(const struct snapshot *s, const char *resource, const struct str_list *tags)
{
    const char *own = snapshot_tag(s, "resource");
    if (resource != NULL && !config_name_covers(resource, own))
        return false;
    for (size_t i = 0; i < tags->n; i++)
        if (!str_list_has(&s->tags, tags->s[i]))
            return false;
    return true;
}

/* What a person wants to know beyond the columns: all tags but those that they show. */
static char *remarks(const struct snapshot *s)
{
    static const char *const known[] = {"resource=", "type=", "point=", "job="};
    struct buf out = BUF_INIT(BUF_TEXT);
    const char *job = snapshot_tag(s, "job");
    if (job != NULL && *job != '\0')
        buf_addf(&out, "%s", job);
    for (size_t i = 0; i < s->tags.n; i++) {
        bool shown = strcmp(s->tags.s[i], "salvor") == 0;
        for (size_t k = 0; k < array_len(known); k++)
            shown = shown || str_starts(s->tags.s[i], known[k]);
        if (!shown)
            buf_addf(&out, "%s%s", out.len > 0 ? ", " : "", s->tags.s[i]);
    }
    return buf_take(&out);
}

static void add_row(struct table *t, const struct snapshot *s)
{
    char id[ID_SHORT + 1], when[TIME_TEXT], size[24];
    uint64_t bytes = 0;
    const char *resource = snapshot_tag(s, "resource");
    _cleanup_free_ char *more = remarks(s);
    table_add(t, id_short(&s->id, id));
    table_add(t, time_format_human(s->time, false, when));
    table_add(t, resource != NULL ? resource : s->paths.n > 0 ? s->paths.s[0] : NULL);
    table_add(t, snapshot_tag(s, "type"));
    table_add(t, snapshot_size(s, &bytes) ? size_human(bytes, size) : NULL);
    table_add(t, more);
}

static int print_json(const struct snapshot_list *l, const char *resource,
                      const struct str_list *tags, struct err *e)
{
    struct json_line line;
    json_line_begin(&line);
    json_key(&line.json, "snapshots");
    json_begin_array(&line.json);
    for (size_t i = 0; i < l->n; i++) {
        if (!matches(&l->s[i], resource, tags))
            continue;
        json_begin_object(&line.json);
        json_snapshot(&line.json, &l->s[i]);
        json_end_object(&line.json);
    }
    json_end_array(&line.json);
    return json_line_end(&line, e);
}

/* Nothing to list is no mistake, but a name that nobody knows is one. */
static int check_known(const struct cli *c, const struct job *j, const char *name, struct err *e)
{
    const struct str_list any = {NULL, 0, 0};
    if (config_resource_of(c->config, name) != NULL)
        return 0;
    for (size_t i = 0; i < j->snapshots.n; i++)
        if (matches(&j->snapshots.s[i], name, &any))
            return 0;
    return err_set(e, ERR_NOT_FOUND,
                   "no resource %s is configured, and %s has no snapshot of one; `salvor list` "
                   "shows what there is",
                   name, store_address(j->store));
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    static const char *const titles[] = {"ID", "TIME", "RESOURCE", "TYPE", ">SIZE", "TAGS"};
    const struct args *a = argp;
    _cleanup_(job_freep) struct job *j = NULL;
    _cleanup_free_ char *resource = NULL;
    int rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = job_load_snapshots(j, e);
    if (rc == 0 && n > 0)
        rc = cli_resource_name(c, word[0], &resource, e);
    if (rc == 0 && resource != NULL)
        rc = check_known(c, j, resource, e);
    if (rc < 0)
        return rc;
    if (c->json)
        return print_json(&j->snapshots, resource, &a->tags, e);

    size_t shown = 0;
    _cleanup_(table_release) struct table t;
    table_init(&t, titles, array_len(titles));
    for (size_t i = 0; i < j->snapshots.n; i++)
        if (matches(&j->snapshots.s[i], resource, &a->tags)) {
            add_row(&t, &j->snapshots.s[i]);
            shown++;
        }
    if (shown > 0)
        table_print(&t, stdout);
    else
        printf("no snapshots%s%s\n", resource != NULL ? " of " : "",
               resource != NULL ? resource : "");
    return 0;
}

const struct command cmd_list = {
    .name = "list",
    .words = "[RESOURCE]",
    .summary = "list the snapshots",
    COMMAND_OPTIONS(options, struct args),
    .most = 1,
    .run = run,
};
