/* rows: what a backup of a table has and production lacks. Where the backup comes from is decided
 * here; how the two are compared is rows_find.c's, what went with the missing rows
 * rows_follow.c's. */
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

struct rows_source {
    int unused;
};

void rows_source_free(struct rows_source *s)
{
    free(s);
}

static int finish(struct rows *r, struct err *e)
{
    int rc = rows_follow(r, e);
    return rc == 0 ? rows_report_fill(r, e) : rc;
}

static int from_database(struct rows *r, struct err *e)
{
    int rc = rows_use_backup(r, &r->options->from, true, e);
    if (rc == 0)
        rc = rows_compare_table(r, e);
    if (rc == 0)
        rc = finish(r, e);
    r->report.of = rc == 0 ? str_dup(pg_where(r->work)) : NULL;
    return rc;
}

int job_rows(struct job *j, const struct rows_options *o, struct rows **out, struct err *e)
{
    _cleanup_(rows_freep) struct rows *r = mem_zero(sizeof *r);
    r->job = j;
    r->options = o;
    int rc = rows_begin(r, e);
    if (rc == 0 && o->from.url != NULL)
        rc = from_database(r, e);
    else if (rc == 0)
        rc = err_set(e, ERR_UNSUPPORTED, "snapshots are not read yet");
    if (rc == 0)
        *out = take(r);
    return rc;
}
