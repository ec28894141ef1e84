/* salvor rows: finds the rows that somebody deleted, shows them, writes them to a file, or puts
 * them back. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "job/rows.h"

#include <string.h>

struct args {
    const char *table, *schema, *snapshot, *at, *from, *to, *where, *sql, *csv;
    bool apply, without_triggers, alone, yes, partial;
    unsigned samples;
};

static const struct option options[] = {
    {"table", 0, OPTION_TEXT, offsetof(struct args, table), "TABLE",
     "the table that lost rows: name or schema.name"},
    {"schema", 0, OPTION_TEXT, offsetof(struct args, schema), "SCHEMA", "its schema"},
    {"snapshot", 's', OPTION_TEXT, offsetof(struct args, snapshot), "ID",
     "compare with this one, not the newest that has them"},
    {"at", 0, OPTION_TEXT, offsetof(struct args, at), "TIME",
     "compare with the newest one as of then"},
    {"from", 0, OPTION_TEXT, offsetof(struct args, from), "ADDRESS",
     "compare with this database: a restored backup"},
    {"to", 't', OPTION_TEXT, offsetof(struct args, to), "ADDRESS",
     "the database that lacks them, if not the configured"},
    {"where", 0, OPTION_TEXT, offsetof(struct args, where), "SQL",
     "only rows of the backup for which this is true"},
    {"alone", 0, OPTION_FLAG, offsetof(struct args, alone), NULL,
     "only this table, not what went with its rows"},
    {"samples", 0, OPTION_COUNT, offsetof(struct args, samples), "N",
     "show so many rows of each kind (5)"},
    {"sql", 0, OPTION_TEXT, offsetof(struct args, sql), "FILE", "write them as INSERTs"},
    {"csv", 0, OPTION_TEXT, offsetof(struct args, csv), "FILE",
     "write them as CSV, each table in a file of its own"},
    {"apply", 0, OPTION_FLAG, offsetof(struct args, apply), NULL,
     "put them back; rows that are there stay as they are"},
    {"without-triggers", 0, OPTION_FLAG, offsetof(struct args, without_triggers), NULL,
     "with the tables' own triggers disabled meanwhile"},
    {"partial", 0, OPTION_FLAG, offsetof(struct args, partial), NULL,
     "partial snapshots count too"},
    {"yes", 'y', OPTION_FLAG, offsetof(struct args, yes), NULL,
     "do not ask; see CONFIRMATION in salvor-restore(1)"},
};

enum { SAMPLES = 5, COLUMNS_SHOWN = 6, VALUE_SHOWN = 40 };

/* ---- for programs ---- */

static void json_sample(struct json_out *o, const struct rows_sample *s)
{
    json_begin_object(o);
    json_key(o, "backup");
    json_begin_object(o);
    for (size_t i = 0; i < s->n; i++)
        json_text(o, s->name[i], s->backup[i]);
    json_end_object(o);
    if (s->production != NULL) {
        json_key(o, "production");
        json_begin_object(o);
        for (size_t i = 0; i < s->n; i++)
            json_text(o, s->name[i], s->production[i]);
        json_end_object(o);
    }
    json_end_object(o);
}

static void json_samples(struct json_out *o, const char *key, const struct rows_sample *s, size_t n)
{
    json_key(o, key);
    json_begin_array(o);
    for (size_t i = 0; i < n; i++)
        json_sample(o, &s[i]);
    json_end_array(o);
}

static void json_table(struct json_out *o, const struct rows_found *f, bool asked)
{
    json_begin_object(o);
    json_text(o, "schema", f->schema);
    json_text(o, "table", f->table);
    json_list(o, "key", &f->key);
    json_u64(o, "missing", f->missing);
    if (asked) {
        json_u64(o, "backup_rows", f->backup);
        json_u64(o, "production_rows", f->production);
        json_u64(o, "changed", f->changed);
        json_u64(o, "added", f->added);
        json_samples(o, "changed_samples", f->change, f->nchange);
    }
    json_u64(o, "still_there", f->there);
    json_samples(o, "missing_samples", f->sample, f->nsample);
    json_list(o, "triggers", &f->triggers);
    json_end_object(o);
}

static void json_one_snapshot(struct json_out *o, const char *key, bool has,
                              const struct snapshot *s)
{
    json_key(o, key);
    if (!has) {
        json_put_null(o);
        return;
    }
    json_begin_object(o);
    json_snapshot(o, s);
    json_end_object(o);
}

static int report_json(const struct rows_report *p, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *o = &l.json;
    json_key(o, "rows");
    json_begin_object(o);
    json_text(o, "backup", p->of);
    json_one_snapshot(o, "snapshot", p->has_snapshot, &p->snapshot);
    json_one_snapshot(o, "gone_in", p->has_next, &p->next);
    json_u64(o, "snapshots_loaded", p->looked);
    json_key(o, "tables");
    json_begin_array(o);
    for (size_t i = 0; i < p->n; i++)
        json_table(o, &p->table[i], i == 0);
    json_end_array(o);
    json_list(o, "notes", &p->notes);
    json_end_object(o);
    return json_line_end(&l, e);
}

/* ---- for people ---- */

static void print_value(const char *text)
{
    if (text == NULL) {
        printf("NULL");
        return;
    }
    size_t len = strlen(text);
    _cleanup_(buf_release) struct buf safe = BUF_INIT(BUF_TEXT);
    if (len > VALUE_SHOWN) {
        for (len = VALUE_SHOWN; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
            len--;
    }
    text_printable(text, len, &safe);
    printf("%s%s", buf_str(&safe), text[len] != '\0' ? "..." : "");
}

static void print_missing(const struct rows_sample *s)
{
    printf("    ");
    for (size_t i = 0; i < s->n && i < COLUMNS_SHOWN; i++) {
        printf("%s", i > 0 ? ", " : "");
        print_safe(stdout, s->name[i]);
        printf("=");
        print_value(s->backup[i]);
    }
    printf("%s\n", s->n > COLUMNS_SHOWN ? ", ..." : "");
}

static void print_change(const struct rows_sample *s, size_t nkey)
{
    printf("    ");
    for (size_t i = 0; i < s->n && i < nkey + COLUMNS_SHOWN; i++) {
        printf("%s", i == 0 ? "" : i <= nkey - 1 ? ", " : i == nkey ? ": " : "; ");
        print_safe(stdout, s->name[i]);
        printf(i < nkey ? "=" : " was ");
        print_value(s->backup[i]);
        if (i >= nkey) {
            printf(", is ");
            print_value(s->production[i]);
        }
    }
    printf("\n");
}

static void print_name(const struct rows_found *f)
{
    print_safe(stdout, f->schema);
    printf(".");
    print_safe(stdout, f->table);
}

static void print_asked(const struct rows_found *f)
{
    printf("table       ");
    print_name(f);
    printf(", by its key (");
    for (size_t i = 0; i < f->key.n; i++) {
        printf("%s", i > 0 ? ", " : "");
        print_safe(stdout, f->key.s[i]);
    }
    printf(")\nrows        %llu in the backup, %llu in production\n", (unsigned long long)f->backup,
           (unsigned long long)f->production);
    printf("missing     %llu\n", (unsigned long long)f->missing);
    for (size_t i = 0; i < f->nsample; i++)
        print_missing(&f->sample[i]);
    printf("changed     %llu since; they stay as they are\n", (unsigned long long)f->changed);
    for (size_t i = 0; i < f->nchange; i++)
        print_change(&f->change[i], f->key.n);
    printf("added       %llu since\n", (unsigned long long)f->added);
}

static void print_follower(const struct rows_found *f)
{
    printf("with them   %llu of ", (unsigned long long)f->missing);
    print_name(f);
    if (f->there > 0)
        printf("; %llu more are there, and refer to other rows now", (unsigned long long)f->there);
    printf("\n");
    for (size_t i = 0; i < f->nsample; i++)
        print_missing(&f->sample[i]);
}

static void print_when(const struct rows_report *p)
{
    char id[ID_SHORT + 1], when[TIME_TEXT];
    if (!p->has_snapshot || p->table[0].missing == 0)
        return;
    printf("vanished    after %s (snapshot %s has them)",
           time_format_human(p->snapshot.time, false, when), id_short(&p->snapshot.id, id));
    if (p->has_next)
        printf(", before %s (snapshot %s has not)", time_format_human(p->next.time, false, when),
               id_short(&p->next.id, id));
    printf("\n");
}

static void report_text(const struct rows_report *p)
{
    printf("backup      ");
    print_safe(stdout, p->of);
    printf("\n");
    print_asked(&p->table[0]);
    for (size_t i = 1; i < p->n; i++)
        print_follower(&p->table[i]);
    print_when(p);
    for (size_t i = 0; i < p->notes.n; i++) {
        printf("note        ");
        print_safe(stdout, p->notes.s[i]);
        printf("\n");
    }
    (void)fflush(stdout);
}

/* ---- putting them back ---- */

static void skipped(const char *table, const char *key, const char *why, void *arg)
{
    const struct cli *c = arg;
    if (!c->json) {
        printf("skipped     ");
        print_safe(stdout, table);
        printf(" ");
        print_safe(stdout, key);
        printf(": ");
        print_safe(stdout, why);
        printf("\n");
        return;
    }
    struct json_line l;
    struct err ignored = ERR_INIT;
    json_line_begin(&l);
    json_key(&l.json, "skipped");
    json_begin_object(&l.json);
    json_text(&l.json, "table", table);
    json_text(&l.json, "key", key);
    json_text(&l.json, "why", why);
    json_end_object(&l.json);
    if (json_line_end(&l, &ignored) < 0)
        log_warning("%s: %s", key, ignored.msg);
}

static void say_triggers(const struct rows_report *p, bool without)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; p->table[i].missing > 0 && k < p->table[i].triggers.n; k++)
            log_notice("trigger %s of %s.%s %s", p->table[i].triggers.s[k], p->table[i].schema,
                       p->table[i].table,
                       without ? "is disabled meanwhile, and the table locked against writing"
                               : "fires for each row; --without-triggers disables it meanwhile");
}

static int applied_json(const struct rows_applied *done, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "applied");
    json_begin_object(&l.json);
    json_u64(&l.json, "put_back", done->put_back);
    json_u64(&l.json, "skipped", done->skipped);
    json_u64(&l.json, "altered_by_triggers", done->altered);
    json_i64(&l.json, "run", done->run);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

static void applied_text(const struct rows_applied *done, const char *resource)
{
    printf("done: %llu rows put back, %llu skipped\n", (unsigned long long)done->put_back,
           (unsigned long long)done->skipped);
    if (done->altered > 0)
        printf("%llu of them are not as they were: a trigger changed them\n",
               (unsigned long long)done->altered);
    if (done->run != 0) {
        printf("to take them out again: salvor undo ");
        print_safe(stdout, resource);
        printf("\n");
    }
}

static int apply(struct cli *c, const struct args *a, const char *resource, struct rows *r,
                 struct err *e)
{
    const struct rows_report *p = rows_report(r);
    struct rows_apply_options o = {.without_triggers = a->without_triggers,
                                   .skipped = skipped,
                                   .arg = c};
    struct rows_applied done = {0};
    struct err printing = ERR_INIT;
    uint64_t total = 0;
    for (size_t i = 0; i < p->n; i++)
        total += p->table[i].missing;
    if (total == 0) {
        if (!c->json)
            printf("nothing to put back\n");
        return 0;
    }
    say_triggers(p, a->without_triggers);
    _cleanup_free_ char *what =
        str_fmt("this puts %llu row%s back into %s", (unsigned long long)total,
                total == 1 ? "" : "s", rows_where(r));
    int rc = confirm_change(resource, what, a->yes, e);
    if (rc == 0)
        rc = rows_apply(r, &o, &done, e);
    if (rc < 0 && rc != ERR_PARTIAL)
        return rc;
    if (!c->json)
        applied_text(&done, resource);
    else if (applied_json(&done, &printing) < 0)
        *e = printing;
    return printing.code != 0 ? printing.code : rc;
}

static int write_files(const struct args *a, struct rows *r, struct err *e)
{
    _cleanup_(str_list_release) struct str_list files = {0};
    int rc = 0;
    if (a->sql != NULL) {
        rc = rows_write_sql(r, a->sql, e);
        str_list_add(&files, a->sql);
    }
    if (rc == 0 && a->csv != NULL)
        rc = rows_write_csv(r, a->csv, &files, e);
    for (size_t i = 0; rc == 0 && i < files.n; i++)
        if (strcmp(files.s[i], "-") != 0)
            log_notice("written to %s", files.s[i]);
    return rc;
}

/* ---- the command ---- */

static bool to_stdout(const struct args *a)
{
    return str_eq(a->sql, "-") || str_eq(a->csv, "-");
}

static int check_args(const struct cli *c, const struct args *a, struct err *e)
{
    if (a->table == NULL)
        return err_set(e, ERR_USAGE, "which table? say --table NAME");
    if ((a->snapshot != NULL) + (a->at != NULL) + (a->from != NULL) > 1)
        return err_set(e, ERR_USAGE, "--snapshot, --at and --from exclude each other");
    if (a->without_triggers && !a->apply)
        return err_set(e, ERR_USAGE, "--without-triggers goes with --apply");
    if (to_stdout(a) && (c->json || a->apply || (a->sql != NULL && a->csv != NULL)))
        return err_set(e, ERR_USAGE,
                       "rows that go to standard output must be alone there: name a file, or leave "
                       "out --json, --apply and the other format");
    return 0;
}

static int find_and_act(struct cli *c, struct job *j, const struct args *a,
                        const struct rows_options *o, struct err *e)
{
    _cleanup_(rows_freep) struct rows *r = NULL;
    struct bar *bar = bar_start(c, &j->progress, o->resource);
    int rc = job_rows(j, o, &r, e);
    bar_stop(bar);
    if (rc < 0)
        return rc;
    if (c->json)
        rc = report_json(rows_report(r), e);
    else if (!to_stdout(a))
        report_text(rows_report(r));
    if (rc == 0)
        rc = write_files(a, r, e);
    if (rc == 0 && a->apply)
        rc = apply(c, a, o->resource, r, e);
    return rc;
}

/* A configured resource, or an address, which is put into the configuration first. */
static int find_production(struct cli *c, char *word, const char *resource, struct pg_server *out,
                           char **database, struct err *e)
{
    if (strchr(word, ':') != NULL) {
        _cleanup_free_ const struct config_resource **r = NULL;
        size_t n = 0;
        int rc = cli_resources(c, &word, 1, NULL, &r, &n, e);
        if (rc < 0)
            return rc;
    }
    return rows_production(c->config, resource, out, database, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    (void)n;
    struct rows_options o = {
        .query = {.which = a->snapshot, .has_at = a->at != NULL, .partial_too = a->partial},
        .search = a->snapshot == NULL && a->at == NULL,
        .from = {.url = a->from},
        .production = {.url = a->to},
        .table = a->table,
        .schema = a->schema,
        .where = a->where,
        .alone = a->alone,
        .samples = c->quiet         ? 0
                   : a->samples > 0 ? a->samples
                                    : SAMPLES,
    };
    int rc = check_args(c, a, e);
    if (rc == 0 && a->at != NULL &&
        !time_parse_human(a->at, clock_wall(&clock_system), &o.query.at))
        rc = err_set(e, ERR_USAGE,
                     "--at: \"%s\" is no time; write 2026-11-20, \"2026-11-20 "
                     "14:03\", 14:03, yesterday or \"3h ago\"",
                     a->at);
    _cleanup_(job_freep) struct job *j = NULL;
    _cleanup_free_ char *resource = NULL, *database = NULL;
    if (rc == 0)
        rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = cli_resource_name(c, word[0], &resource, e);
    if (rc < 0)
        return rc;
    o.resource = resource;
    o.configured = a->to == NULL;
    if (o.configured)
        rc = find_production(c, word[0], resource, &o.production, &database, e);
    return rc < 0 ? rc : find_and_act(c, j, a, &o, e);
}

const struct command cmd_rows = {
    .name = "rows",
    .words = "RESOURCE",
    .summary = "show or put back rows that the backup has and the database lacks",
    COMMAND_OPTIONS(options, struct args),
    .least = 1,
    .most = 1,
    .run = run,
};
