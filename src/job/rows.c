/* rows: what a backup of a table has and production lacks. Here it is decided which snapshot that
 * is: its table is loaded into a throwaway server, where rows_find.c compares it with production.
 *
 * Without a snapshot named, the newest one that still has something that is missing is searched.
 * What vanished from one snapshot to the next is in all that are older and in none that is newer,
 * so that halving finds the place; the counts of rows in the manifests tell where to look first,
 * since loading a table costs more than reading all of them. */
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"
#include "job/rows_int.h"
#include "sandbox/sandbox.h"

#include <stdlib.h>
#include <string.h>

enum { HINTS_MOST = 400 }; /* manifests that are read to see where rows became fewer */

/* A snapshot's tables, as far as they were loaded. */
struct loaded {
    size_t snap; /* which one */
    struct postgres_manifest manifest;
    struct content_files files;
    struct postgres_part *part;
    struct pg_server server;
    char database[32];
};

struct rows_source {
    const struct snapshot **snap; /* those that come into question, oldest first */
    size_t n;
    struct sandbox *sandbox;
    struct loaded *loaded; /* the one that production is compared with */
    struct loaded *kept;   /* the newest one that had something missing; may be `loaded` */
    unsigned count;        /* that were loaded so far */
};

/* ---- one snapshot ---- */

static void loaded_free(struct loaded *l)
{
    if (l == NULL)
        return;
    target_postgres_part_free(l->part);
    content_files_release(&l->files);
    postgres_manifest_release(&l->manifest);
    free(l);
}

/* Ends the comparison; what was loaded goes unless it is kept. */
static void unload(struct rows *r)
{
    struct rows_source *s = r->source;
    rows_leave_backup(r);
    if (s->loaded != s->kept)
        loaded_free(s->loaded);
    s->loaded = NULL;
}

static void keep(struct rows_source *s)
{
    if (s->kept != s->loaded)
        loaded_free(s->kept);
    s->kept = s->loaded;
}

void rows_source_free(struct rows *r)
{
    if (r->source == NULL)
        return;
    unload(r);
    loaded_free(r->source->kept);
    sandbox_free(r->source->sandbox);
    free(r->source->snap);
    free(take(r->source));
}

static int read_manifest(struct job *j, const struct snapshot *s, struct postgres_manifest *out,
                         struct err *e)
{
    struct manifest m = {0};
    struct err why = ERR_INIT;
    int signature = 0;
    char id[ID_SHORT + 1];
    int rc = manifest_load(j, s, &m, &signature, &why, e);
    if (rc == 0 && signature == ERR_CORRUPT)
        rc = err_set(e, ERR_REFUSED, "snapshot %s is not what was signed: %s", id_short(&s->id, id),
                     why.msg);
    if (rc == 0 && (m.source == NULL || !str_eq(m.type, "postgres")))
        rc = err_set(e, ERR_UNSUPPORTED, "snapshot %s is of no PostgreSQL database",
                     id_short(&s->id, id));
    if (rc == 0)
        rc = postgres_manifest_parse(m.source, out, e);
    manifest_release(&m);
    return rc;
}

/* A newer server does as well: nothing stays there. */
static int start_sandbox(struct rows *r, int major, struct err *e)
{
    struct sandbox_postgres o = {.major = major, .bindir = r->options->production.bindir};
    struct rows_source *s = r->source;
    if (s->sandbox != NULL && sandbox_major(s->sandbox) >= major)
        return 0;
    loaded_free(take(s->kept));
    sandbox_free(take(s->sandbox));
    int rc = sandbox_postgres_start(&o, &s->sandbox, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    struct err first = *e;
    *e = (struct err)ERR_INIT;
    o.major = 0;
    rc = sandbox_postgres_start(&o, &s->sandbox, e);
    if (rc == 0 && sandbox_major(s->sandbox) >= major)
        return 0;
    sandbox_free(take(s->sandbox));
    *e = first;
    return e->code;
}

int rows_source_has(struct rows *r, const char *schema, const char *table, struct err *e)
{
    return target_postgres_part_has(r->source->loaded->part, schema, table, e);
}

int rows_source_load(struct rows *r, const struct str_list *names, struct err *e)
{
    atomic_store(&r->job->progress.phase, "loading");
    int rc = target_postgres_part_load(r->source->loaded->part, names, e);
    return rc < 0 ? sandbox_explain(r->source->sandbox, e) : rc;
}

static int open_snapshot(struct rows *r, struct loaded *l, const struct snapshot *s, struct err *e)
{
    struct id content;
    int rc = read_manifest(r->job, s, &l->manifest, e);
    if (rc == 0)
        rc = snapshot_content(r->job, s, &content, e);
    if (rc == 0)
        rc = content_files_init(&l->files, r->job, &content, e);
    if (rc == 0)
        rc = start_sandbox(r, l->manifest.server_version / 10000, e);
    if (rc < 0)
        return rc;
    l->server = *sandbox_server(r->source->sandbox);
    l->server.database = l->database;
    (void)snprintf(l->database, sizeof l->database, "backup_%u", r->source->count++);
    struct postgres_restore restore = {.server = sandbox_server(r->source->sandbox),
                                       .database = l->database,
                                       .manifest = &l->manifest,
                                       .content = &l->files.content};
    atomic_store(&r->job->progress.phase, "loading");
    return target_postgres_part_new(&restore, &l->part, e);
}

static int load(struct rows *r, size_t i, struct err *e)
{
    struct rows_source *s = r->source;
    const struct rows_table *t = &r->set[0].table;
    _cleanup_(str_list_release) struct str_list name = {0};
    char when[TIME_TEXT];
    s->loaded = mem_zero(sizeof *s->loaded);
    s->loaded->snap = i;
    log_notice("looking into the backup of %s", time_format_human(s->snap[i]->time, false, when));
    int rc = open_snapshot(r, s->loaded, s->snap[i], e);
    if (rc == 0)
        rc = rows_source_has(r, t->schema, t->name, e);
    str_list_add(&name, t->schema);
    str_list_add(&name, t->name);
    return rc == 0 ? rows_source_load(r, &name, e) : rc;
}

/* Compares with snapshot `i`. A table that it does not have yet has nothing that is missing. */
static int compare_with(struct rows *r, size_t i, bool must_have, struct err *e)
{
    struct rows_source *s = r->source;
    int rc = 0;
    unload(r);
    if (s->kept != NULL && s->kept->snap == i)
        s->loaded = s->kept;
    else
        rc = load(r, i, e);
    if (rc == ERR_NOT_FOUND && !must_have) {
        *e = (struct err)ERR_INIT;
        r->set[0].missing = 0;
        return 0;
    }
    if (rc == 0)
        rc = rows_use_backup(r, &s->loaded->server, false, e);
    atomic_store(&r->job->progress.phase, "comparing");
    if (rc == 0)
        rc = rows_compare_table(r, e);
    if (rc == 0 && r->set[0].missing > 0)
        keep(s);
    return rc;
}

/* ---- which snapshot ---- */

static bool comes_into_question(const struct rows_options *o, const struct snapshot *s)
{
    return str_eq(snapshot_tag(s, "resource"), o->resource) &&
           str_eq(snapshot_tag(s, "type"), "postgres") && !snapshot_pre_restore(s) &&
           (snapshot_complete(s) || o->query.partial_too);
}

static void list_snapshots(struct rows *r)
{
    const struct snapshot_list *all = &r->job->snapshots;
    struct rows_source *s = r->source;
    s->snap = mem_array(all->n + 1, sizeof *s->snap);
    for (size_t i = 0; i < all->n; i++)
        if (comes_into_question(r->options, &all->s[i]))
            s->snap[s->n++] = &all->s[i];
}

/* Where the manifests tell that rows became fewer: the newest snapshot before that which is older
 * than `than`; `than` when there is none. */
static size_t hint(struct rows *r, size_t than)
{
    const struct rows_source *s = r->source;
    uint64_t later = 0;
    for (size_t i = than + 1; i-- > 0 && than - i < HINTS_MOST;) {
        struct postgres_manifest m = {0};
        struct err ignored = ERR_INIT;
        int rc = read_manifest(r->job, s->snap[i], &m, &ignored);
        const struct postgres_table *t =
            rc == 0 ? postgres_manifest_table(&m, r->set[0].table.schema, r->set[0].table.name)
                    : NULL;
        uint64_t rows = t != NULL && t->has_rows ? t->rows : later;
        postgres_manifest_release(&m);
        if (i < than && rows > later)
            return i;
        later = rows;
    }
    return than;
}

/* The first guess is the hint; after that, steps that double, until something is missing. On return
 * `*has` has it and `*lacks` has not; equal when none has. */
static int find_one_that_has(struct rows *r, size_t *has, size_t *lacks, struct err *e)
{
    size_t guess = hint(r, *lacks);
    for (size_t step = 1; *lacks > 0; step *= 2) {
        size_t next = guess < *lacks ? guess : step < *lacks ? *lacks - step : 0;
        guess = *lacks;
        int rc = compare_with(r, next, false, e);
        if (rc < 0)
            return rc;
        if (r->set[0].missing > 0) {
            *has = next;
            return 0;
        }
        *lacks = next;
    }
    *has = *lacks;
    return 0;
}

static int search(struct rows *r, size_t *found, struct err *e)
{
    size_t newest = r->source->n - 1, has = newest, lacks = newest;
    int rc = compare_with(r, newest, false, e);
    if (rc < 0 || r->set[0].missing > 0) {
        *found = newest;
        return rc;
    }
    rc = find_one_that_has(r, &has, &lacks, e);
    if (rc < 0)
        return rc;
    if (has == lacks) { /* nobody misses anything */
        *found = newest;
        return 0;
    }
    /* What a hint found is likely to be the last one: the one after it comes first. */
    for (bool first = true; lacks - has > 1; first = false) {
        size_t next = first ? has + 1 : has + (lacks - has) / 2;
        rc = compare_with(r, next, false, e);
        if (rc < 0)
            return rc;
        if (r->set[0].missing > 0)
            has = next;
        else
            lacks = next;
    }
    *found = has;
    return 0;
}

static int choose(struct rows *r, size_t *found, struct err *e)
{
    struct rows_source *s = r->source;
    struct snapshot_query q = r->options->query;
    size_t place = 0;
    q.resource = r->options->resource;
    int rc = snapshot_find(&r->job->snapshots, &q, &place, e);
    if (rc < 0)
        return rc;
    if (s->n == 0 || !r->options->search) {
        s->snap[0] = &r->job->snapshots.s[place];
        s->n = 1;
        *found = 0;
        return 0;
    }
    return search(r, found, e);
}

static void report_snapshot(struct rows *r, size_t i)
{
    struct rows_report *p = &r->report;
    const struct rows_source *s = r->source;
    char id[ID_SHORT + 1], when[TIME_TEXT];
    snapshot_copy(&p->snapshot, s->snap[i]);
    p->has_snapshot = true;
    if (r->options->search && i + 1 < s->n) {
        snapshot_copy(&p->next, s->snap[i + 1]);
        p->has_next = true;
    }
    p->looked = s->count;
    p->of = str_fmt("snapshot %s of %s", id_short(&s->snap[i]->id, id),
                    time_format_human(s->snap[i]->time, false, when));
}

static int from_snapshot(struct rows *r, struct err *e)
{
    struct job *j = r->job;
    size_t found = 0;
    r->source = mem_zero(sizeof *r->source);
    int rc = lock_for_reading(j, e);
    if (rc == 0)
        rc = job_load(j, e);
    if (rc < 0)
        return rc;
    progress_reset(&j->progress);
    list_snapshots(r);
    rc = choose(r, &found, e);
    if (rc == 0 && (r->backup == NULL || r->source->loaded->snap != found))
        rc = compare_with(r, found, true, e);
    if (rc == 0)
        rc = rows_follow(r, e);
    if (rc == 0)
        rc = rows_report_fill(r, e);
    if (rc == 0)
        report_snapshot(r, found);
    return rc;
}

/* ---- all of it ---- */

int rows_production(const struct config *c, const char *resource, struct pg_server *out,
                    char **database, struct err *e)
{
    const struct config_resource *r = config_resource_of(c, resource);
    if (r == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "the configuration has no resource %s; say where its database is with --to",
                       resource);
    if (r->type != RESOURCE_POSTGRES)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is of type %s; rows are compared in PostgreSQL databases", resource,
                       resource_type_name(r->type));
    if (r->postgres.unset != NULL)
        return err_set(e, ERR_USAGE, "%s", r->postgres.unset);
    if (r->postgres.several) {
        const char *dot = str_starts(resource, r->name) ? resource + strlen(r->name) : "";
        *database = *dot == '.' ? text_decode_name(dot + 1) : NULL;
        if (*database == NULL)
            return err_set(e, ERR_USAGE,
                           "%s has several databases; say which: %s.DATABASE (`salvor list` shows "
                           "them)",
                           resource, resource);
    } else if (r->postgres.databases.n == 1) {
        *database = str_dup(r->postgres.databases.s[0]);
    }
    *out = (struct pg_server){.url = r->postgres.url,
                              .database = *database,
                              .bindir = r->postgres.bindir,
                              .lock_ms = (unsigned)(r->postgres.lock_timeout / 1000000)};
    return 0;
}

static int from_database(struct rows *r, struct err *e)
{
    int rc = rows_use_backup(r, &r->options->from, true, e);
    if (rc == 0)
        rc = rows_compare_table(r, e);
    if (rc == 0)
        rc = rows_follow(r, e);
    if (rc == 0)
        rc = rows_report_fill(r, e);
    if (rc == 0)
        r->report.of = str_dup(pg_where(r->work));
    return rc;
}

int job_rows(struct job *j, const struct rows_options *o, struct rows **out, struct err *e)
{
    _cleanup_(rows_freep) struct rows *r = mem_zero(sizeof *r);
    r->job = j;
    r->options = o;
    int rc = rows_begin(r, e);
    if (rc == 0)
        rc = o->from.url != NULL ? from_database(r, e) : from_snapshot(r, e);
    repo_unlock(j->repo);
    if (rc == 0) /* somebody will think about what he sees: nothing must wait for that */
        rc = pg_exec(r->production, "ROLLBACK", e);
    if (rc == 0)
        *out = take(r);
    return rc;
}
