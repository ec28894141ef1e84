/* Undo: takes the last restore in place back, by the ledger. What the restore had brought is kept
 * aside, so that nothing is lost by a mistaken undo either. */
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "job/rows_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASIDE_SUFFIX ".undone"

void undo_result_release(struct undo_result *r)
{
    free(r->resource);
    str_list_release(&r->asides);
    str_list_release(&r->stay);
    *r = (struct undo_result){0};
}

struct kept_list {
    struct ledger_kept *k;
    size_t n, cap;
};

static int add_kept(const struct ledger_kept *k, void *arg, struct err *e)
{
    (void)e;
    struct kept_list *l = arg;
    if (k->undone)
        return 0;
    mem_grow(&l->k, l->n, &l->cap, sizeof *l->k);
    l->k[l->n++] = (struct ledger_kept){.kind = str_dup(k->kind),
                                        .path = str_dup(k->path),
                                        .kept = str_dup(k->kept)};
    return 0;
}

static void kept_list_release(struct kept_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->k[i].kind);
        free(l->k[i].path);
        free(l->k[i].kept);
    }
    free(l->k);
}

static bool is_attributes(const struct ledger_kept *k)
{
    return str_eq(k->kind, TARGET_KIND_ATTRIBUTES);
}

static bool kept_is_gone(const struct ledger_kept *k)
{
    return k->kept != NULL && !is_attributes(k) &&
           faccessat(AT_FDCWD, k->kept, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
           (errno == ENOENT || errno == ENOTDIR);
}

/* What an undo needs: where it is told, and how databases are reached. */
struct undo {
    struct ledger *ledger;
    const struct config *config;
    const struct ledger_run *restore;
    bool dry_run;
};

static bool is_frozen(const struct ledger_kept *k)
{
    return str_eq(k->kind, KEPT_FROZEN);
}

static bool is_database(const struct ledger_kept *k)
{
    return str_eq(k->kind, KEPT_POSTGRES) || str_eq(k->kind, KEPT_CUTOVER) || is_frozen(k);
}

static int put_back_one(const struct undo *u, const struct ledger_kept *k, char **aside,
                        struct err *e)
{
    const char *resource = u->restore->resource;
    if (is_frozen(k))
        return postgres_thaw(u->config, resource, k, e);
    return is_database(k) ? postgres_put_back(u->config, resource, k, aside, e)
                          : target_put_back(k->kind, k->path, k->kept, ASIDE_SUFFIX, aside, e);
}

static int put_back(const struct undo *u, const struct ledger_kept *k, struct undo_result *out,
                    struct err *e)
{
    if (!u->dry_run) {
        char *aside = NULL;
        int rc = put_back_one(u, k, &aside, e);
        if (aside != NULL)
            str_list_add_take(&out->asides, aside);
        if (rc < 0 && (is_database(k) || !kept_is_gone(k)))
            return rc; /* a database that is missing may be on another server than was asked */
        struct err why = *e;
        if (ledger_kept_undone(u->ledger, u->restore->id, k, e) < 0)
            return e->code;
        if (rc < 0) { /* said once; it must not bar the way to earlier restores for ever */
            *e = why;
            return err_hint(e,
                            "if the restore or an undo was cut off here, it is as it was before");
        }
    }
    if (is_attributes(k) || is_frozen(k))
        out->attributes++;
    else if (k->kept != NULL)
        out->put_back++;
    else
        out->removed++;
    return 0;
}

/* Rows that were put back. Those that must stay are told once: they must not bar the way to earlier
 * restores for ever. */
static int take_out_rows(const struct undo *u, const struct ledger_kept *k, struct undo_result *out,
                         struct err *e)
{
    struct rows_undone undone = {.kept = 0};
    out->rows = true;
    int rc = rows_undo(u->config, out->resource, k->kept, u->dry_run, &undone, e);
    out->removed = undone.removed;
    out->gone = undone.gone;
    out->stay = undone.why;
    if (u->dry_run || (rc < 0 && rc != ERR_PARTIAL))
        return rc;
    struct err why = ERR_INIT;
    if (ledger_kept_undone(u->ledger, u->restore->id, k, &why) < 0 && rc == 0) {
        *e = why;
        rc = e->code;
    }
    if (unlink(k->kept) < 0)
        log_debug("%s is left over", k->kept);
    return rc;
}

static int undo_run(const struct undo *u, struct undo_result *out, struct err *e)
{
    _cleanup_(kept_list_release) struct kept_list kept = {0};
    int rc = ledger_kept_list(u->ledger, u->restore->id, add_kept, &kept, e);
    if (rc == 0 && kept.n == 1 && str_eq(kept.k[0].kind, ROWS_KIND))
        return take_out_rows(u, &kept.k[0], out, e);
    size_t failed = 0;
    struct err first = ERR_INIT;
    for (size_t i = 0; rc == 0 && i < kept.n; i++) {
        if ((rc = cancel_check(e)) < 0)
            break;
        struct err why = ERR_INIT;
        /* One that cannot be put back does not keep the others from it; it stays on the list. */
        if (put_back(u, &kept.k[i], out, &why) < 0 && failed++ == 0)
            first = why;
    }
    if (rc == 0 && failed > 0)
        rc = err_set(e, ERR_PARTIAL,
                     "%zu of %zu could not be put back: %s; mend that and run undo again", failed,
                     kept.n, first.msg);
    return rc;
}

struct later {
    int64_t than;
    bool found;
};

static int kept_nothing(const struct ledger_run *r, void *arg, struct err *e)
{
    (void)e;
    struct later *l = arg;
    if (r->id > l->than && str_eq(r->detail, RESTORE_KEPT_NOTHING))
        l->found = true;
    return 0;
}

/* Somebody who means the last restore must know that it is not the one that can be taken back. */
static void warn_of_later(struct ledger *l, const struct ledger_run *restore)
{
    struct later later = {.than = restore->id};
    struct ledger_filter f = {.kind = "restore", .resource = restore->resource};
    struct err ignored = ERR_INIT;
    char time[TIME_TEXT];
    if (ledger_runs(l, &f, kept_nothing, &later, &ignored) == 0 && later.found)
        log_warning("a later restore of %s was made without keeping anything and cannot be taken "
                    "back; this is about the one of %s",
                    restore->resource, time_format_human(restore->begun, false, time));
}

int job_undo(struct ledger *l, const struct config *config, const char *resource, bool dry_run,
             struct undo_result *out, struct err *e)
{
    *out = (struct undo_result){0};
    struct ledger_run restore = {0};
    int rc = ledger_last_restore(l, resource, &restore, e);
    if (rc < 0)
        return rc;
    warn_of_later(l, &restore);
    out->resource = str_dup(restore.resource);
    out->restored = restore.begun;
    struct ledger_run run = {0};
    if (!dry_run) {
        (void)snprintf(run.kind, sizeof run.kind, "undo");
        run.repository = str_dup(restore.repository);
        run.resource = str_dup(restore.resource);
        run.user = host_user();
        run.begun = clock_wall(&clock_system);
        rc = ledger_begin(l, &run, e);
    }
    if (rc == 0)
        rc = undo_run(&(struct undo){l, config, &restore, dry_run}, out, e);
    if (!dry_run && run.id != 0) {
        struct err ignored = ERR_INIT;
        run.ended = clock_wall(&clock_system);
        (void)snprintf(run.result, sizeof run.result, "%s",
                       rc == 0             ? "done"
                       : rc == ERR_PARTIAL ? "partial"
                                           : "failed");
        run.message = rc < 0 ? str_dup(e->msg) : NULL;
        if (ledger_end(l, &run, &ignored) < 0 && rc == 0)
            rc = err_set(e, ignored.code, "%s", ignored.msg);
    }
    ledger_run_release(&run);
    ledger_run_release(&restore);
    return rc;
}
