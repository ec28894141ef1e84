/* Telling the ledger. A ledger that fails is warned of: it must not fail the backup that it
 * describes. */
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"

#include <stdlib.h>
#include <string.h>

void record_begin(struct job *j, struct ledger_run *r, const char *kind, const char *resource,
                  const char *by_job)
{
    char hex[ID_HEX + 1];
    *r = (struct ledger_run){0};
    (void)snprintf(r->kind, sizeof r->kind, "%s", kind);
    r->repository = str_dup(id_hex(repo_id(j->repo), hex));
    r->resource = str_dup(resource);
    r->job = str_dup(by_job);
    r->user = host_user();
    r->begun = clock_wall(j->clock);
    struct err e = ERR_INIT;
    if (j->ledger != NULL && ledger_begin(j->ledger, r, &e) < 0)
        log_warning("the ledger does not take this run: %s", e.msg);
}

void record_end(struct job *j, struct ledger_run *r, int code, const struct err *e)
{
    const char *result = code == 0                                   ? "done"
                         : code == ERR_PARTIAL                       ? "partial"
                         : code == ERR_REFUSED || code == ERR_LOCKED ? "refused"
                                                                     : "failed";
    (void)snprintf(r->result, sizeof r->result, "%s", result);
    r->ended = clock_wall(j->clock);
    if (code < 0) {
        free(r->message);
        r->message = str_dup(e->msg);
    }
    struct err ignored = ERR_INIT;
    if (j->ledger != NULL && r->id != 0 && ledger_end(j->ledger, r, &ignored) < 0)
        log_warning("the ledger does not take this run's result: %s", ignored.msg);
    ledger_run_release(r);
}
