/* salvor restore: brings a resource back. Says what it is going to do, asks where something would
 * be replaced, does it, and says how to take it back. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

struct args {
    const char *from_file, *passphrase_file, *snapshot, *at, *to, *part;
    bool dry_run, yes, without_keeping, partial, create_roles, without_roles, freeze;
    struct str_list tables;
    const char *schema;
};

static const struct option options[] = {
    {"from-file", 'f', OPTION_TEXT, offsetof(struct args, from_file), "FILE",
     "an archive of pg_dump, not a snapshot"},
    {"passphrase-file", 0, OPTION_TEXT, offsetof(struct args, passphrase_file), "FILE",
     "opens an archive encrypted by gpg"},
    {"snapshot", 's', OPTION_TEXT, offsetof(struct args, snapshot), "ID",
     "this one (an id, a prefix, latest)"},
    {"at", 0, OPTION_TEXT, offsetof(struct args, at), "TIME",
     "as of then: 2026-11-20, 14:03, yesterday, 3h ago"},
    {"to", 't', OPTION_TEXT, offsetof(struct args, to), "WHERE",
     "a directory, or a database as postgres:NAME"},
    {"path", 0, OPTION_TEXT, offsetof(struct args, part), "PATH", "only this and what is in it"},
    {"partial", 0, OPTION_FLAG, offsetof(struct args, partial), NULL,
     "partial snapshots count too"},
    {"dry-run", 'n', OPTION_FLAG, offsetof(struct args, dry_run), NULL,
     "only say what would change"},
    {"yes", 'y', OPTION_FLAG, offsetof(struct args, yes), NULL,
     "do not ask; see CONFIRMATION in the manual"},
    {"without-keeping", 0, OPTION_FLAG, offsetof(struct args, without_keeping), NULL,
     "do not keep what is replaced: no undo"},
    {"table", 0, OPTION_LIST, offsetof(struct args, tables), "TABLE",
     "databases: only these (name or pattern)"},
    {"schema", 0, OPTION_TEXT, offsetof(struct args, schema), "NAME",
     "with --table: into this schema"},
    {"create-roles", 0, OPTION_FLAG, offsetof(struct args, create_roles), NULL,
     "databases: make roles that the server lacks"},
    {"without-roles", 0, OPTION_FLAG, offsetof(struct args, without_roles), NULL,
     "databases: leave owners and rights away"},
    {"freeze", 0, OPTION_FLAG, offsetof(struct args, freeze), NULL,
     "databases: stop writes before the restore begins"},
};

struct shown {
    const struct cli *cli;
    bool dry_run;
};

static const char *const event_names[] = {
    [TARGET_CREATED] = "create", [TARGET_REPLACED] = "replace", [TARGET_SAME] = "same",
    [TARGET_ATTRIBUTES] = "set", [TARGET_SKIPPED] = "skip",
};

/* In a dry run each entry that would change. What cannot be made is named at the end, once. */
static void event(enum target_event what, const char *path, const char *kept, const char *why,
                  void *arg)
{
    const struct shown *s = arg;
    if (what == TARGET_ABOUT || what == TARGET_ABOUT_ATTRIBUTES)
        return;
    if (!s->dry_run && !s->cli->verbose)
        return;
    if (s->cli->json) {
        struct json_line l;
        struct err ignored = ERR_INIT;
        json_line_begin(&l);
        json_key(&l.json, "entry");
        json_begin_object(&l.json);
        json_text(&l.json, "action", event_names[what]);
        json_text(&l.json, "path", path);
        json_text(&l.json, "kept", kept);
        json_text(&l.json, "why", why);
        json_end_object(&l.json);
        if (json_line_end(&l, &ignored) < 0)
            log_warning("%s: %s", path, ignored.msg);
    } else if (what != TARGET_SAME && what != TARGET_SKIPPED) {
        printf("%-8s ", event_names[what]);
        print_safe(stdout, path);
        if (kept != NULL) {
            printf("  (the old one stays as ");
            print_safe(stdout, path_base(kept));
            printf(")");
        }
        if (what == TARGET_ATTRIBUTES)
            printf("  (only its mode, owner, times or other attributes)");
        if (why != NULL)
            printf("  (%s)", why);
        printf("\n");
    }
}

static int plan_json(const struct job *j, const struct restore_plan *p, bool dry_run, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *o = &l.json;
    json_key(o, "plan");
    json_begin_object(o);
    json_text(o, "resource", p->resource);
    json_text(o, "type", p->type);
    json_id(o, "snapshot", &p->snapshot.id);
    json_time(o, "time", p->snapshot.time);
    json_double(o, "age_seconds",
                (double)timespec_diff(clock_wall(j->clock), p->snapshot.time) /
                    (double)NSEC_PER_SEC);
    json_text(o, "root", p->root);
    json_bool(o, "in_place", p->in_place);
    json_bool(o, "target_empty", p->target_empty);
    json_bool(o, "older_than_newest", p->older_than_newest);
    json_u64(o, "files", p->files);
    json_u64(o, "bytes", p->bytes);
    json_double(o, "forecast_seconds", (double)p->forecast / (double)NSEC_PER_SEC);
    if (p->database != NULL) {
        json_text(o, "database", p->database);
        json_u64(o, "tables", p->tables);
        json_u64(o, "sessions", p->sessions);
        json_u64(o, "old_bytes", p->old_bytes);
        json_list(o, "notes", &p->notes);
    }
    json_bool(o, "dry_run", dry_run);
    json_end_object(o);
    return json_line_end(&l, e);
}

static void plan_text_database(const struct restore_plan *p)
{
    char size[24], old[24];
    printf("contains    %zu table%s, %s\n", p->tables, p->tables == 1 ? "" : "s",
           size_human(p->bytes, size));
    if (p->target_empty)
        printf("replaces    nothing: there is nothing yet\n");
    else
        printf("replaces    the database of %s, which stays under another name; %zu session%s "
               "ended\n",
               size_human(p->old_bytes, old), p->sessions, p->sessions == 1 ? " is" : "s are");
    for (size_t i = 0; i < p->notes.n; i++) {
        printf("note        ");
        print_safe(stdout, p->notes.s[i]);
        printf("\n");
    }
}

static void plan_text(const struct job *j, const struct restore_plan *p, const struct args *a)
{
    char id[ID_SHORT + 1], when[TIME_TEXT], text[32], size[24];
    printf("restore of  ");
    print_safe(stdout, p->resource);
    printf(" (%s)\nsnapshot    %s of %s, %s old%s%s\n", p->type, id_short(&p->snapshot.id, id),
           time_format_human(p->snapshot.time, false, when),
           duration_human(timespec_diff(clock_wall(j->clock), p->snapshot.time), text),
           p->older_than_newest ? "; a newer one exists" : "",
           str_list_has(&p->snapshot.tags, "partial") ? "; PARTIAL: something is missing in it"
                                                      : "");
    printf("into        ");
    print_safe(stdout, p->root);
    printf("%s\n", p->in_place ? " (in place)" : "");
    if (p->database == NULL)
        printf("contains    %llu file%s, %s\n", (unsigned long long)p->files,
               p->files == 1 ? "" : "s", size_human(p->bytes, size));
    if (p->forecast > 0)
        printf("forecast    about %s\n", duration_human(p->forecast, text));
    if (p->database != NULL)
        plan_text_database(p);
    else if (p->target_empty)
        printf("replaces    nothing: there is nothing yet\n");
    else if (!p->in_place || a->without_keeping)
        printf("replaces    what differs; THE OLD ONES ARE NOT KEPT\n");
    else
        printf("replaces    what differs; the old ones stay beside, as *.pre-restore\n");
    (void)fflush(stdout);
}

static int result_json(const struct restore_result *r, const struct args *a, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *o = &l.json;
    json_key(o, "restore");
    json_begin_object(o);
    json_bool(o, "dry_run", a->dry_run);
    json_u64(o, "files", r->files);
    json_u64(o, "bytes", r->bytes);
    json_u64(o, "created", r->created);
    json_u64(o, "replaced", r->replaced);
    json_u64(o, "same", r->same);
    json_u64(o, "attributes", r->attributes);
    json_u64(o, "skipped", r->skipped);
    json_u64(o, "bytes_fetched", r->bytes_fetched);
    json_double(o, "seconds", (double)r->duration / (double)NSEC_PER_SEC);
    json_i64(o, "run", r->run);
    json_text(o, "kept", r->kept);
    json_list(o, "missing", &r->missing);
    json_end_object(o);
    return json_line_end(&l, e);
}

static void result_database(const struct restore_plan *p, const struct restore_result *r,
                            const struct args *a)
{
    char took[32];
    if (a->dry_run) {
        printf("nothing was changed\n");
        return;
    }
    printf("done: ");
    print_safe(stdout, p->root);
    printf(" is restored, in %s\n", duration_human(r->duration, took));
    if (r->kept == NULL)
        return;
    printf("the former one is now ");
    print_safe(stdout, r->kept);
    printf("; drop it when you are sure\n");
}

static void result_files(const struct restore_result *r, const struct args *a)
{
    char took[32], fetched[24];
    printf("%s %llu created, %llu replaced, %llu the same already",
           a->dry_run ? "would be:" : "done:", (unsigned long long)r->created,
           (unsigned long long)r->replaced, (unsigned long long)r->same);
    if (r->attributes > 0)
        printf(" (but for attributes: %llu)", (unsigned long long)r->attributes);
    printf(", %llu left out; %s fetched, in %s\n", (unsigned long long)r->skipped,
           size_human(r->bytes_fetched, fetched), duration_human(r->duration, took));
}

static void result_text(const struct restore_plan *p, const struct restore_result *r,
                        const struct args *a)
{
    if (p->database != NULL)
        result_database(p, r, a);
    else
        result_files(r, a);
    if (!a->dry_run && p->in_place && r->run != 0 && !a->without_keeping &&
        r->created + r->replaced + r->attributes > 0) {
        printf("to take it back: salvor undo ");
        print_safe(stdout, p->resource);
        printf("\n");
    }
}

static int carry_out(struct cli *c, struct job *j, const struct args *a,
                     const struct restore_plan *p, const struct restore_options *o, struct err *e)
{
    _cleanup_(restore_result_release) struct restore_result r = {.files = 0};
    struct err printing = ERR_INIT;
    int rc = 0;
    if (c->json)
        rc = plan_json(j, p, a->dry_run, e);
    else
        plan_text(j, p, a);
    if (rc == 0 && !a->dry_run)
        rc = confirm_restore(p, a->yes, a->without_keeping, e);
    if (rc < 0)
        return rc;
    struct bar *bar = a->dry_run ? NULL : bar_start(c, &j->progress, p->resource);
    rc = job_restore(j, p, o, &r, e);
    bar_stop(bar);
    if (rc < 0 && rc != ERR_PARTIAL)
        return rc;
    for (size_t i = 0; i < r.missing.n; i++)
        log_line(LOG_ERROR, "missing: %s", r.missing.s[i]);
    if (rc == ERR_PARTIAL) /* the job's words name the first one again */
        (void)err_set(e, rc, "restore of %s: %zu %s, named above, could not be brought back",
                      p->resource, r.missing.n, r.missing.n == 1 ? "entry" : "entries");
    if (!c->json)
        result_text(p, &r, a);
    else if (result_json(&r, a, &printing) < 0)
        *e = printing;
    return printing.code != 0 ? printing.code : rc;
}

/* A server that is given by its address is reached by it, also to restore into it. */
static int choose_resource(struct cli *c, char **word, char **name, struct err *e)
{
    int rc = cli_resource_name(c, word[0], name, e);
    bool server = str_starts(word[0], "postgres:") || str_starts(word[0], "postgresql:");
    if (rc < 0 || !server || config_resource_find(c->config, *name) != NULL)
        return rc;
    _cleanup_free_ const struct config_resource **added = NULL;
    size_t n = 0;
    return cli_resources(c, word, 1, NULL, &added, &n, e);
}

static int from_file(struct cli *c, const struct args *a, int n, struct err *e)
{
    if (n > 0 || a->snapshot != NULL || a->at != NULL || a->part != NULL || a->tables.n > 0 ||
        a->schema != NULL || a->freeze)
        return err_set(
            e, ERR_USAGE,
            "--from-file restores all of a file into a database of its own: a resource, "
            "--snapshot, --at, --path, --table, --schema and --freeze do not go with it");
    struct from_file o = {.path = a->from_file,
                          .passphrase_file = a->passphrase_file,
                          .to = a->to,
                          .create_roles = a->create_roles,
                          .without_roles = a->without_roles,
                          .dry_run = a->dry_run};
    return restore_from_file(c, &o, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    struct shown shown = {.cli = c, .dry_run = a->dry_run};
    struct restore_options o = {
        .query = {.which = a->snapshot, .has_at = a->at != NULL, .partial_too = a->partial},
        .to = a->to,
        .part = a->part,
        .dry_run = a->dry_run,
        .without_keeping = a->without_keeping,
        .create_roles = a->create_roles,
        .without_roles = a->without_roles,
        .freeze = a->freeze,
        .tables = a->tables,
        .schema = a->schema,
        .event = event,
        .event_arg = &shown,
    };
    if (a->from_file != NULL)
        return from_file(c, a, n, e);
    if (a->at != NULL && a->snapshot != NULL)
        return err_set(e, ERR_USAGE, "--at and --snapshot exclude each other");
    if (n == 0 && a->snapshot == NULL)
        return err_set(e, ERR_USAGE,
                       "restore what? name a resource (`salvor list` shows them), or "
                       "give --snapshot ID");
    if (a->at != NULL && !time_parse_human(a->at, clock_wall(&clock_system), &o.query.at))
        return err_set(e, ERR_USAGE,
                       "--at: \"%s\" is no time; write 2026-11-20, \"2026-11-20 "
                       "14:03\", 14:03, yesterday or \"3h ago\"",
                       a->at);
    _cleanup_(job_freep) struct job *j = NULL;
    _cleanup_(restore_plan_release) struct restore_plan p = {.resource = NULL};
    _cleanup_free_ char *resource = NULL;
    int rc = cli_open(c, &j, e);
    if (rc == 0 && n > 0)
        rc = choose_resource(c, word, &resource, e);
    if (rc == 0)
        rc = job_restore_plan(j, resource, &o, &p, e);
    return rc < 0 ? rc : carry_out(c, j, a, &p, &o, e);
}

const struct command cmd_restore = {
    .name = "restore",
    .words = "[RESOURCE]",
    .summary = "bring a resource back: in place, or into a directory",
    COMMAND_OPTIONS(options, struct args),
    .least = 0,
    .most = 1,
    .run = run,
};
