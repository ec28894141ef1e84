/* Taking back what was done to a PostgreSQL server, by the ledger: on the server that it names,
 * which need not be the one that is configured now. */
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"

#include <string.h>
#include <strings.h>

/* ---- where it was ---- */

/* Whether a list with commas has it: an address may name several hosts. */
static bool lists(const char *list, const char *one)
{
    size_t len = strlen(one);
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ",");
        if (n == len && strncasecmp(p, one, n) == 0)
            return true;
        p += n;
        if (*p == '\0')
            return false;
    }
}

/* An address without a host (a service, say) tells where it leads only by going there. */
static bool same_server(const char *configured, const char *database, const char *then)
{
    _cleanup_free_ char *host = NULL, *port = NULL, *then_host = NULL, *then_port = NULL;
    _cleanup_free_ char *now = NULL;
    struct err ignored = ERR_INIT;
    if (pg_parse_url(then, NULL, &then_host, &then_port, &ignored) < 0 ||
        pg_parse_url(configured, NULL, &host, &port, &ignored) < 0)
        return false;
    if (host == NULL) {
        struct pg_server s = {.url = configured};
        free(take(port));
        if (target_postgres_address(&s, database, &now, &ignored) < 0 ||
            pg_parse_url(now, NULL, &host, &port, &ignored) < 0)
            return false;
    }
    return host != NULL && then_host != NULL && lists(host, then_host) &&
           lists(port != NULL ? port : "5432", then_port != NULL ? then_port : "5432");
}

/* The configured server where the resource is one still, and there; else the address that was
 * written down, with a password from where libpq finds one. */
static struct pg_server server_of(const struct config *c, const char *resource,
                                  const char *database, const char *address,
                                  const struct config_resource **r)
{
    *r = c != NULL && resource != NULL ? config_resource_of(c, resource) : NULL;
    if (*r != NULL && (*r)->type == RESOURCE_POSTGRES && (*r)->postgres.unset == NULL) {
        if (same_server((*r)->postgres.url, database, address))
            return (struct pg_server){.url = (*r)->postgres.url, .bindir = (*r)->postgres.bindir};
        log_notice("%s is configured on another server now; what was restored is at %s", resource,
                   address);
    }
    *r = NULL;
    return (struct pg_server){.url = address};
}

/* ---- the swap ---- */

int postgres_put_back(const struct config *c, const char *resource, const struct ledger_kept *k,
                      char **aside, struct err *e)
{
    const struct config_resource *r = NULL;
    _cleanup_free_ char *database = NULL, *name = NULL;
    int rc = pg_parse_url(k->path, &database, NULL, NULL, e);
    if (rc == 0 && database == NULL)
        rc = err_set(e, ERR_CORRUPT, "the ledger does not say which database was restored");
    if (rc < 0)
        return rc;
    struct pg_server s = server_of(c, resource, database, k->path, &r);
    if (str_eq(k->kind, KEPT_CUTOVER)) {
        if (r == NULL || r->postgres.cutover == NULL)
            return err_set(e, ERR_USAGE,
                           "the application was led to %s by the command of cutover, which is not "
                           "configured for that server any more; lead it back to %s by hand",
                           database, k->kept);
        return hook_run(r->postgres.cutover, "cutover", k->kept, database, HOOK_MS, e);
    }
    rc = target_postgres_spare_name(&s, database, "undone", clock_wall(&clock_system), &name, e);
    if (rc == 0)
        rc = target_postgres_put_back(&s, database, k->kept, name, e);
    if (rc == ERR_NOT_FOUND)
        err_hint(e, "nothing was changed, and undo still knows of it; if it was given another "
                    "name, give it this one again: ALTER DATABASE ... RENAME TO ...");
    if (rc == 0)
        *aside = str_fmt("the database %s", name);
    return rc;
}

/* ---- what stayed frozen ---- */

int postgres_thaw(const struct config *c, const char *resource, const struct ledger_kept *k,
                  struct err *e)
{
    const struct config_resource *r = NULL;
    _cleanup_free_ char *database = NULL;
    int rc = pg_parse_url(k->path, &database, NULL, NULL, e);
    if (rc == 0 && (database == NULL || k->kept == NULL))
        rc = err_set(e, ERR_CORRUPT, "the ledger does not say which database was frozen");
    if (rc < 0)
        return rc;
    struct pg_server s = server_of(c, resource, database, k->path, &r);
    rc = target_postgres_thaw(&s, database, k->kept, e);
    if (rc == 0)
        log_notice("%s, left read-only by a restore that did not end, takes writes as before",
                   database);
    return rc;
}

struct thawing {
    struct ledger *ledger;
    const struct config *config;
    const struct ledger_run *run;
};

static int thaw_one(const struct ledger_kept *k, void *arg, struct err *e)
{
    const struct thawing *t = arg;
    if (k->undone || !str_eq(k->kind, KEPT_FROZEN))
        return 0;
    int rc = postgres_thaw(t->config, t->run->resource, k, e);
    return rc < 0 ? rc : ledger_kept_undone(t->ledger, t->run->id, k, e);
}

static int thaw_run(const struct ledger_run *r, void *arg, struct err *e)
{
    struct thawing *t = arg;
    struct err why = ERR_INIT;
    (void)e;
    t->run = r;
    if (!str_eq(r->result, "running") && ledger_kept_list(t->ledger, r->id, thaw_one, t, &why) < 0)
        log_warning("what an earlier restore of %s left read-only stays so: %s", r->resource,
                    why.msg);
    return 0;
}

void postgres_thaw_left(struct ledger *l, const struct config *c, const char *resource)
{
    struct ledger_filter f = {.kind = "restore", .resource = resource};
    struct thawing t = {.ledger = l, .config = c};
    struct err e = ERR_INIT;
    if (l != NULL && ledger_runs(l, &f, thaw_run, &t, &e) < 0)
        log_warning("%s", e.msg);
}
