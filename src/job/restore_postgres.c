/* Restoring a PostgreSQL database: where it goes, what the snapshot says of it, and in place the
 * steps around the swap: writes gated, what is kept remembered for undo, the application asked
 * whether it is well, and the way back when it is not. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    HEALTH_SECONDS = 30, /* how long the application may take to be well, unless configured */
};

struct restore_postgres {
    const struct config_resource *resource; /* NULL: not configured */
    struct pg_server server;
    struct config_resource own; /* when `to` is an address of its own; owns what server points to */
    char *database;
    struct postgres_manifest manifest;
    struct postgres_outlook outlook;
};

void restore_postgres_free(struct restore_postgres *p)
{
    if (p == NULL)
        return;
    config_resource_release(&p->own);
    postgres_manifest_release(&p->manifest);
    postgres_outlook_release(&p->outlook);
    free(p->database);
    free(p);
}

/* ---- the plan ---- */

bool restore_into_postgres(const char *type, const char *to)
{
    return str_eq(type, "postgres") &&
           (to == NULL || str_starts(to, "postgres:") || str_starts(to, "postgresql:") ||
            str_starts(to, "postgresql+") || str_starts(to, "jdbc:postgresql:"));
}

static char *database_of(const struct config_resource *r, const struct postgres_manifest *m)
{
    const struct config_postgres *p = &r->postgres;
    if (p->several)
        return str_dup(m->database);
    if (p->databases.n > 0)
        return str_dup(p->databases.s[0]);
    char *database = NULL;
    struct err ignored = ERR_INIT;
    if (pg_parse_url(p->url, &database, NULL, NULL, &ignored) < 0 || database == NULL)
        database = str_dup(m->database);
    return database;
}

/* On the resource's own server; without one, where the PG* variables say. */
static int on_own_server(struct job *j, struct restore_postgres *p, const char *name,
                         const char *to, struct err *e)
{
    p->resource = config_resource_of(j->config, name);
    if (p->resource != NULL && p->resource->type != RESOURCE_POSTGRES)
        p->resource = NULL;
    if (p->resource == NULL && to == NULL)
        return err_set(
            e, ERR_USAGE,
            "%s is not configured, so nothing says which database is to be replaced; say "
            "where with --to postgres://HOST/DATABASE",
            name);
    if (p->resource != NULL) {
        if (p->resource->postgres.unset != NULL)
            return err_set(e, ERR_USAGE, "resource %s: %s", name, p->resource->postgres.unset);
        p->server = (struct pg_server){.url = p->resource->postgres.url,
                                       .bindir = p->resource->postgres.bindir};
    }
    p->database =
        to != NULL ? str_dup(to + strlen("postgres:")) : database_of(p->resource, &p->manifest);
    return 0;
}

static int at_address(struct restore_postgres *p, const char *to, struct err *e)
{
    int rc = config_resource_from_address(to, "target", &p->own, e);
    if (rc == 0)
        rc = pg_parse_url(to, &p->database, NULL, NULL, e);
    if (rc < 0)
        return err_prefix(e, "--to");
    p->server.url = p->own.postgres.url;
    if (p->database == NULL || *p->database == '\0')
        rc = err_set(e, ERR_USAGE,
                     "--to: the address names no database; write "
                     "postgres://HOST/DATABASE");
    return rc;
}

static int load_manifest(struct job *j, const struct snapshot *s, struct postgres_manifest *out,
                         struct err *e)
{
    struct manifest m = {0};
    struct err why = ERR_INIT;
    int signature = 0;
    int rc = manifest_load(j, s, &m, &signature, &why, e);
    if (rc == 0 && signature == ERR_CORRUPT)
        rc =
            err_set(e, ERR_REFUSED,
                    "the manifest is not what was signed: %s; restore to a directory with --to DIR "
                    "and look at it",
                    why.msg);
    if (rc == 0 && signature != 0)
        log_warning("what the snapshot says of itself is not signed by a trusted key: %s", why.msg);
    if (rc == 0)
        rc = postgres_manifest_parse(m.source != NULL ? m.source : "{}", out, e);
    manifest_release(&m);
    return rc;
}

static struct postgres_restore options_of(const struct restore_postgres *p,
                                          const struct restore_options *o)
{
    return (struct postgres_restore){
        .server = &p->server,
        .database = p->database,
        .manifest = &p->manifest,
        .create_roles = o->create_roles,
        .without_roles = o->without_roles,
        .some_tables = o->tables.n > 0,
    };
}

static void note_list(struct restore_plan *plan, const char *what, const struct str_list *l)
{
    struct buf text = BUF_INIT(BUF_TEXT);
    if (l->n == 0)
        return;
    buf_adds(&text, what);
    for (size_t i = 0; i < l->n; i++)
        buf_addf(&text, "%s%s", i > 0 ? ", " : "", l->s[i]);
    str_list_add_take(&plan->notes, buf_take(&text));
}

static void note(struct restore_plan *plan, const struct postgres_outlook *look,
                 const struct restore_options *o, const struct restore_postgres *p)
{
    for (size_t i = 0; i < look->notes.n; i++)
        str_list_add(&plan->notes, look->notes.s[i]);
    if (o->create_roles)
        note_list(plan, "these roles are made: ", &look->missing_roles);
    note_list(plan, "these tablespaces are missing, what was there goes to the default one: ",
              &look->missing_tablespaces);
    note_list(plan, "left of restores that did not end, and dropped: ", &look->abandoned);
    note_list(plan, "the empty database that is there is replaced, and with it ", &look->outfit);
    if (!plan->in_place)
        return;
    note_list(plan, "a swap is refused while there is ", &look->in_the_way);
    const struct config_postgres *c = p->resource != NULL ? &p->resource->postgres : NULL;
    if (c != NULL && c->cutover != NULL)
        str_list_add(&plan->notes, "the application is led over by the command of cutover; names "
                                   "stay as they are");
    if (c != NULL && c->health != NULL)
        str_list_add(&plan->notes, "if the application is not well afterwards, it is led back");
}

static int plan_tables(const struct restore_options *o, struct restore_plan *plan, struct err *e)
{
    struct restore_postgres *p = plan->postgres;
    struct postgres_restore r = options_of(p, o);
    _cleanup_(str_list_release) struct str_list names = {0};
    bool there = false;
    if (o->to == NULL && o->schema == NULL)
        return err_set(e, ERR_USAGE,
                       "tables are not restored over those that are there; name a schema of their "
                       "own with --schema, or another database with --to");
    if (!p->outlook.exists)
        return err_set(e, ERR_NOT_FOUND, "there is no database %s to restore tables into; make it",
                       p->database);
    int rc = target_postgres_tables_look(&r, &o->tables, o->schema, &names, &there, e);
    if (rc < 0)
        return rc;
    plan->in_place = false;
    plan->target_empty = true; /* what is there already is refused */
    plan->tables = names.n;
    plan->database = str_dup(p->database);
    plan->root = o->schema != NULL
                     ? str_fmt("the schema %s of the database %s", o->schema, p->database)
                     : str_fmt("the database %s", p->database);
    note_list(plan, "tables: ", &names);
    return 0;
}

int postgres_plan(struct job *j, const struct restore_options *o, struct restore_plan *plan,
                  struct err *e)
{
    struct restore_postgres *p = plan->postgres = mem_zero(sizeof *p);
    plan->in_place = o->to == NULL;
    int rc = load_manifest(j, &plan->snapshot, &p->manifest, e);
    if (rc < 0)
        return rc;
    bool short_form =
        o->to != NULL && str_starts(o->to, "postgres:") && strstr(o->to, "//") == NULL;
    rc = o->to != NULL && !short_form ? at_address(p, o->to, e)
                                      : on_own_server(j, p, plan->resource, o->to, e);
    struct postgres_restore r = options_of(p, o);
    if (rc == 0)
        rc = target_postgres_look(&r, &p->outlook, e);
    if (rc == 0)
        rc = target_postgres_ready(&r, &p->outlook, e);
    if (rc < 0)
        return rc;
    if (o->tables.n > 0)
        return plan_tables(o, plan, e);
    if (o->schema != NULL)
        return err_set(e, ERR_USAGE, "--schema goes with --table");
    const struct postgres_outlook *look = &p->outlook;
    plan->target_empty = !look->exists || look->empty;
    if (!plan->in_place && look->unseen != NULL)
        return err_set(e, ERR_EXISTS,
                       "the database %s is there already, and nobody can see whether it is empty: "
                       "%s; restore under another name",
                       p->database, look->unseen);
    if (!plan->in_place && !plan->target_empty)
        return err_set(
            e, ERR_EXISTS,
            "the database %s is there already and not empty; restore under another name; "
            "without --to the resource's own database is replaced, and kept",
            p->database);
    if (plan->in_place && !plan->target_empty && o->without_keeping)
        return err_set(e, ERR_USAGE,
                       "a database is always kept, under another name; drop it when "
                       "you are sure");
    plan->root = str_fmt("the database %s", p->database);
    plan->database = str_dup(p->database);
    plan->tables = p->manifest.ntable;
    plan->sessions = look->sessions.n;
    plan->old_bytes = look->old_bytes;
    note(plan, look, o, p);
    return 0;
}

/* ---- carrying it out ---- */

struct work {
    struct job *job;
    const struct restore_plan *plan;
    const struct restore_options *options;
    struct restore_postgres *p;
    struct postgres_restore restore;
    int64_t run; /* in the ledger, 0: none */
    struct restore_result *result;
    char *address;  /* of what was swapped, as the ledger has it */
    char *frozen;   /* the same of what was frozen */
    char *unfrozen; /* and what thaws it; NULL: nothing is frozen */
};

static void on_phase(const char *what, void *arg)
{
    struct job *j = arg;
    atomic_store(&j->progress.phase, what);
    if (strcmp(what, "definitions") == 0) /* the dump's beginning was read to see what is in it */
        atomic_store(&j->progress.bytes, 0);
}

/* For undo, before anything is changed. Without a ledger the restore goes on: it was said. */
static char *remember(struct work *w, const char *kind, const char *database, const char *kept)
{
    struct err e = ERR_INIT;
    char *address = NULL;
    if (w->job->ledger == NULL || w->run == 0)
        return NULL;
    int rc = target_postgres_address(&w->p->server, database, &address, &e);
    struct ledger_kept k = {.kind = (char *)(uintptr_t)kind,
                            .path = address,
                            .kept = (char *)(uintptr_t)kept};
    if (rc == 0)
        rc = ledger_keep(w->job->ledger, w->run, &k, &e);
    if (rc < 0)
        log_warning("`salvor undo` will not know of %s: %s", w->p->database, e.msg);
    return address;
}

static void forget(struct work *w, const char *kind, char *address)
{
    struct err e = ERR_INIT;
    struct ledger_kept k = {.kind = (char *)(uintptr_t)kind, .path = address};
    if (w->job->ledger != NULL && w->run != 0 && address != NULL &&
        ledger_kept_undone(w->job->ledger, w->run, &k, &e) < 0)
        log_warning("%s", e.msg);
}

/* ---- the words of the configuration: health, cutover, freeze ---- */

static const char *configured(const struct work *w, size_t offset)
{
    const struct config_resource *r = w->p->resource;
    return r == NULL ? NULL : *(char *const *)((const char *)&r->postgres + offset);
}

/* Writes are gated by the configured command, and by the server for those who do not know better.
 * What undoes it is in the ledger before it is done, lest a kill leaves it so for ever. */
static int freeze(struct work *w, const char *database, struct err *e)
{
    const char *command = configured(w, offsetof(struct config_postgres, freeze));
    int rc = target_postgres_unfrozen(&w->p->server, database, &w->unfrozen, e);
    if (rc == 0)
        w->frozen = remember(w, KEPT_FROZEN, database, w->unfrozen);
    if (rc == 0 && command != NULL)
        rc = hook_run(command, "freeze", database, NULL, HOOK_MS, e);
    if (rc == 0)
        rc = target_postgres_freeze(&w->p->server, database, e);
    if (rc == 0)
        log_notice("%s is read-only by default now; a session that says SET "
                   "default_transaction_read_only = off can write still",
                   database);
    return rc;
}

/* Must be done after an interruption too. */
static void thaw(struct work *w)
{
    struct err e = ERR_INIT;
    if (w->unfrozen == NULL)
        return;
    w->p->server.shielded = true;
    if (target_postgres_thaw(&w->p->server, w->p->database, w->unfrozen, &e) == 0)
        forget(w, KEPT_FROZEN, w->frozen);
    else
        log_warning("%s stays read-only by default: %s; the next restore ends that, as does ALTER "
                    "DATABASE ... RESET default_transaction_read_only",
                    w->p->database, e.msg);
}

/* Asks again and again until it is well or the time is over. */
static int check_health(struct work *w, struct err *e)
{
    const char *health = configured(w, offsetof(struct config_postgres, health));
    if (health == NULL)
        return 0;
    int64_t limit = w->p->resource->postgres.health_timeout;
    atomic_store(&w->job->progress.phase, "asking after health");
    return health_wait(health, w->p->database, limit > 0 ? limit : HEALTH_SECONDS * NSEC_PER_SEC,
                       e);
}

/* ---- in place ---- */

static int back_again(struct work *w, const char *kept, struct err *e)
{
    struct err why = ERR_INIT;
    _cleanup_free_ char *failed = NULL;
    w->p->server.shielded = true; /* an interruption may be why */
    int rc = target_postgres_spare_name(&w->p->server, w->p->database, "failed",
                                        clock_wall(w->job->clock), &failed, &why);
    if (rc == 0)
        rc = target_postgres_put_back(&w->p->server, w->p->database, kept, failed, &why);
    if (rc < 0)
        return err_hint(e, "AND THE FORMER DATABASE COULD NOT BE PUT BACK: %s; try `salvor undo`",
                        why.msg);
    forget(w, KEPT_POSTGRES, w->address);
    if (kept == NULL)
        return err_hint(e, "what was restored is kept as %s", failed);
    return err_hint(e,
                    "the former database is back in its place, and what was restored is kept as "
                    "%s",
                    failed);
}

static int swap_and_check(struct work *w, struct postgres_built *b, const char *kept, struct err *e)
{
    w->address = remember(w, KEPT_POSTGRES, w->p->database, kept);
    atomic_store(&w->job->progress.phase, "swapping");
    int rc = target_postgres_swap(&w->restore, b, kept, e);
    if (rc < 0) {
        if (!b->unsure)
            forget(w, KEPT_POSTGRES, w->address);
        return rc;
    }
    rc = check_health(w, e);
    return rc < 0 ? back_again(w, kept, e) : 0;
}

/* Instead of names, a command tells the application where its database is from now on. */
static int cut_over(struct work *w, struct postgres_built *b, const char *command, struct err *e)
{
    _cleanup_free_ char *name = NULL;
    struct postgres_restore r = w->restore;
    int rc = target_postgres_spare_name(&w->p->server, w->p->database, "restored",
                                        clock_wall(w->job->clock), &name, e);
    r.database = name;
    if (rc == 0)
        rc = target_postgres_publish(&r, b, e);
    if (rc < 0)
        return rc;
    w->address = remember(w, KEPT_CUTOVER, name, w->p->database);
    rc = hook_run(command, "cutover", name, w->p->database, HOOK_MS, e);
    if (rc == 0)
        rc = check_health(w, e);
    if (rc == 0) {
        log_notice("the application was led to %s; %s is as it was", name, w->p->database);
        return 0;
    }
    struct err why = ERR_INIT;
    if (hook_run(command, "cutover", w->p->database, name, HOOK_MS, &why) < 0)
        return err_hint(e, "AND THE WAY BACK FAILED: %s; try `salvor undo`", why.msg);
    forget(w, KEPT_CUTOVER, w->address);
    return err_hint(e, "the application was led back to %s; what was restored is kept as %s",
                    w->p->database, name);
}

static int in_place(struct work *w, struct err *e)
{
    const struct restore_options *o = w->options;
    _cleanup_(postgres_built_release) struct postgres_built b = {0};
    _cleanup_free_ char *kept = NULL;
    const char *command = configured(w, offsetof(struct config_postgres, cutover));
    bool there = w->p->outlook.exists;
    int rc = o->freeze && there ? freeze(w, w->p->database, e) : 0;
    if (rc == 0)
        rc = target_postgres_build(&w->restore, &b, e);
    if (rc == 0 && there)
        rc = target_postgres_spare_name(&w->p->server, w->p->database, "before",
                                        clock_wall(w->job->clock), &kept, e);
    if (rc == 0)
        rc = command != NULL ? cut_over(w, &b, command, e) : swap_and_check(w, &b, kept, e);
    bool swapped = rc == 0 && command == NULL && kept != NULL;
    thaw(w);
    if (rc == 0) {
        w->result->replaced = swapped;
        w->result->created = !swapped;
        if (swapped)
            w->result->kept = take(kept);
    }
    return rc;
}

int postgres_carry_out(struct job *j, const struct restore_plan *plan,
                       const struct restore_options *o, int64_t run, struct restore_result *out,
                       struct err *e)
{
    struct restore_postgres *p = plan->postgres;
    struct work w = {.job = j, .plan = plan, .options = o, .p = p, .run = run, .result = out};
    _cleanup_(content_files_release) struct content_files files = {0};
    struct id tree;
    int rc = snapshot_content(j, &plan->snapshot, &tree, e);
    if (rc == 0)
        rc = content_files_init(&files, j, &tree, e);
    if (rc < 0)
        return rc;
    w.restore = options_of(p, o);
    w.restore.content = &files.content;
    w.restore.phase = on_phase;
    w.restore.arg = j;
    out->files = plan->files;
    out->bytes = plan->bytes;
    if (o->dry_run) {
        out->created = plan->target_empty;
        out->replaced = !plan->target_empty;
        return 0;
    }
    postgres_thaw_left(j->ledger, j->config, plan->resource);
    progress_reset(&j->progress);
    atomic_store(&j->progress.bytes_total, plan->bytes);
    if (o->tables.n > 0) {
        rc = target_postgres_tables(&w.restore, &o->tables, o->schema, e);
        out->created = rc == 0 ? plan->tables : 0;
    } else if (plan->in_place) {
        rc = in_place(&w, e);
    } else {
        rc = target_postgres_new(&w.restore, e);
        out->created = rc == 0;
    }
    out->bytes_fetched = atomic_load(&j->progress.bytes);
    free(w.address);
    free(w.frozen);
    free(w.unfrozen);
    return rc;
}

/* ---- afterwards ---- */

void postgres_save_replaced(struct job *j, const struct restore_plan *plan, const char *kept)
{
    const struct restore_postgres *p = plan->postgres;
    struct config_resource old = {.name = plan->resource, .type = RESOURCE_POSTGRES};
    if (p->resource == NULL)
        return;
    old.postgres = p->resource->postgres;
    old.postgres.all = old.postgres.several = false;
    old.postgres.databases = (struct str_list){0};
    str_list_add(&old.postgres.databases, kept);
    struct backup_options o = {.pre_restore = true};
    struct backup_result res;
    struct err e = ERR_INIT;
    if (job_backup(j, &old, &o, &res, &e) < 0)
        log_warning("what was replaced is kept as the database %s, but not in the repository: %s",
                    kept, e.msg);
    backup_result_release(&res);
    str_list_release(&old.postgres.databases);
}
