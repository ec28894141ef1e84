/* Opening: configuration into store, repository, ledger, keys and source drivers. */
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"

#include <stdlib.h>

/* A store as every job sees it: the driver, in tests a fault plan around it, and retries outside.
 */
int job_open_store(const char *url, bool create, struct store **out, struct err *e)
{
    static struct fault_plan plan;
    struct store *s = NULL;
    int rc = store_open(url, create, &s, e);
    if (rc < 0)
        return rc;
    const char *fault = getenv("SALVOR_STORE_FAULT");
    if (fault != NULL && *fault != '\0') {
        rc = store_fault_parse(fault, &plan, e);
        if (rc < 0) {
            store_free(s);
            return rc;
        }
        plan.count_file = getenv("SALVOR_STORE_FAULT_CALLS"); /* tells a test when to stop */
        s = store_fault_new(s, &plan);
    }
    *out = store_retry_new(s, &(struct retry_policy){0});
    return 0;
}

/* Cache and state directories make things faster and remembered; a machine that has no room for
 * them still restores, so what fails here is a warning. */
static void open_directories(struct job *j, const struct job_options *o)
{
    struct err e = ERR_INIT;
    int rc = 0;
    if (o->cache_dir != NULL)
        j->cache_dir = str_dup(o->cache_dir);
    else
        rc = dir_cache(&j->cache_dir, &e);
    if (rc == 0)
        rc = dir_make_all(j->cache_dir, 0700, &e);
    if (rc < 0) {
        log_warning("working without a cache, so an interrupted backup starts over: %s", e.msg);
        free(take(j->cache_dir));
    }

    rc = 0;
    if (o->state_dir != NULL)
        j->state_dir = str_dup(o->state_dir);
    else
        rc = dir_state(&j->state_dir, &e);
    if (rc == 0)
        rc = dir_make_all(j->state_dir, 0700, &e);
    if (rc == 0) {
        _cleanup_free_ char *path = path_join(j->state_dir, "ledger.db");
        rc = ledger_open(path, &j->ledger, &e);
    }
    if (rc < 0)
        log_warning("working without a ledger, so this is not remembered and cannot be undone by "
                    "`salvor undo`: %s",
                    e.msg);
}

static int open_signing(struct job *j, struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf given = BUF_INIT(BUF_TEXT);
    int rc = config_secret_read(&j->config->signing.key, &given, e);
    if (rc < 0 && rc != ERR_NOT_FOUND)
        return err_prefix(e, "signing key");
    bool has_given = rc == 0;
    *e = (struct err)ERR_INIT; /* none was configured, which is no failure */
    _cleanup_free_ char *path =
        j->state_dir != NULL ? path_join(j->state_dir, "signing.key") : NULL;
    rc = signing_load(&j->signing, has_given ? buf_str(&given) : NULL, path, true, e);
    if (rc < 0) {
        /* A key that was given must work; one that we would only make may be impossible to make. */
        if (has_given || getenv("SALVOR_SIGNING_KEY") || getenv("SALVOR_SIGNING_KEY_FILE") ||
            rc == ERR_REFUSED)
            return err_prefix(e, "signing key");
        log_warning("backups made now cannot be signed: %s", e->msg);
    }
    for (size_t i = 0; i < j->config->signing.trust.n; i++)
        signing_trust(&j->signing, j->config->signing.trust.s[i]);
    return 0;
}

static int open_store(const struct config *c, struct store **out, struct err *e)
{
    int rc = job_open_store(c->repository.url, false, out, e);
    if (rc == ERR_NOT_FOUND)
        err_hint(e, "if it is on a disk or share that should be mounted, mount it; else check the "
                    "address, or make a repository there with `salvor init`");
    return rc;
}

int job_find(const struct config *c, struct err *e)
{
    _cleanup_(store_freep) struct store *s = NULL;
    int rc = open_store(c, &s, e);
    return rc == 0 ? repo_find(s, e) : rc;
}

int job_open(const struct config *c, const struct job_options *o, struct job **out, struct err *e)
{
    _cleanup_(job_freep) struct job *j = mem_zero(sizeof *j);
    j->config = c;
    j->clock = o->clock != NULL ? o->clock : &clock_system;
    int rc = open_store(c, &j->store, e);
    if (rc < 0)
        return rc;
    open_directories(j, o);
    struct repo_options ro = {
        .clock = j->clock,
        .cache_dir = j->cache_dir,
        .compression = o->compression,
    };
    rc = repo_open(j->store, o->passphrase, &ro, &j->repo, e);
    if (rc < 0)
        return rc;
    rc = open_signing(j, e);
    if (rc < 0)
        return rc;
    if (j->ledger != NULL) {
        struct err ignored = ERR_INIT;
        size_t n = 0;
        if (ledger_close_crashed(j->ledger, &n, &ignored) == 0 && n > 0)
            log_notice("%zu earlier run%s ended without saying how (crash or power loss); noted as "
                       "failed",
                       n, n == 1 ? "" : "s");
    }
    *out = take(j);
    return 0;
}

void job_free(struct job *j)
{
    if (j == NULL)
        return;
    snapshot_list_release(&j->snapshots);
    repo_free(j->repo);
    store_free(j->store);
    ledger_free(j->ledger);
    signing_release(&j->signing);
    free(j->cache_dir);
    free(j->state_dir);
    free(j);
}

void job_freep(struct job **j)
{
    job_free(*j);
}

static void snapshot_damaged(const struct id *id, const struct err *why, void *arg)
{
    struct job *j = arg;
    char hex[ID_SHORT + 1];
    j->unreadable++;
    log_warning("snapshot %s is left out: %s; `salvor verify` says more", id_short(id, hex),
                why->msg);
}

int job_load_snapshots(struct job *j, struct err *e)
{
    snapshot_list_release(&j->snapshots);
    j->unreadable = 0;
    return snapshot_load_all(j->repo, &j->snapshots, snapshot_damaged, j, e);
}

/* Snapshots before index: what a snapshot that is seen here needs is then surely in the index. */
int job_load(struct job *j, struct err *e)
{
    int rc = job_load_snapshots(j, e);
    if (rc < 0)
        return rc;
    return repo_load_index(j->repo, e);
}

int job_postgres_options(const struct config_resource *r, struct source_postgres_options *o,
                         struct err *e)
{
    static const enum source_globals globals[] = {
        [GLOBALS_AUTO] = SOURCE_GLOBALS_AUTO,
        [GLOBALS_WITH_PASSWORDS] = SOURCE_GLOBALS_WITH_PASSWORDS,
        [GLOBALS_WITHOUT_PASSWORDS] = SOURCE_GLOBALS_WITHOUT_PASSWORDS,
        [GLOBALS_NONE] = SOURCE_GLOBALS_NONE,
    };
    const struct config_postgres *p = &r->postgres;
    if (p->unset != NULL)
        return err_set(e, ERR_USAGE, "%s", p->unset);
    *o = (struct source_postgres_options){
        .url = p->url,
        .database = p->databases.n == 1 && !p->several ? p->databases.s[0] : NULL,
        .bindir = p->bindir,
        .globals = globals[p->globals],
        .split = p->split,
        .lock_ms = (unsigned)(p->lock_timeout / 1000000),
    };
    return 0;
}

static int postgres_source_new(const struct config_resource *r, struct source **out, struct err *e)
{
    struct source_postgres_options o;
    int rc = job_postgres_options(r, &o, e);
    return rc < 0 ? rc : source_postgres_new(&o, out, e);
}

int job_source_new(const struct config_resource *r, struct stream *input, struct source **out,
                   struct err *e)
{
    const char *const *paths = (const char *const *)r->paths.s;
    int rc = 0;
    switch (r->type) {
    case RESOURCE_FILES: {
        struct source_files_options o = {
            .paths = paths,
            .npaths = r->paths.n,
            .excludes = (const char *const *)r->excludes.s,
            .nexcludes = r->excludes.n,
            .one_file_system = r->one_file_system,
            .exclude_caches = r->exclude_caches,
        };
        rc = source_files_new(&o, out, e);
        break;
    }
    case RESOURCE_SQLITE: {
        struct source_sqlite_options o = {.paths = paths, .npaths = r->paths.n};
        rc = source_sqlite_new(&o, out, e);
        break;
    }
    case RESOURCE_POSTGRES: rc = postgres_source_new(r, out, e); break;
    case RESOURCE_STREAM:
        if (input == NULL)
            return err_set(e, ERR_USAGE,
                           "resource %s: nothing to read; give `-` for standard input", r->name);
        *out = source_stream_new(r->name, input);
        return 0;
    }
    stream_close(input);
    return rc;
}
