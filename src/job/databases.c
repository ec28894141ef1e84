/* A server of which several databases are protected is a resource for each of them. */
#include "base/mem.h"
#include "job/job_int.h"

#include <stdlib.h>

void job_databases_release(struct job_databases *d)
{
    for (size_t i = 0; i < d->n; i++)
        config_resource_release(&d->resource[i]);
    free(d->resource);
    *d = (struct job_databases){0};
}

/* What there is on the server now, so that nobody has to remember a new one. */
static int list(const struct config_resource *r, struct str_list *out, struct err *e)
{
    struct source_postgres_options o;
    int rc = job_postgres_options(r, &o, e);
    if (rc == 0)
        rc = source_postgres_databases(&o, out, e);
    if (rc == 0 && out->n == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the server has no database but templates");
    return rc;
}

int job_databases(const struct config_resource *r, struct job_databases *out, struct err *e)
{
    *out = (struct job_databases){0};
    if (!r->postgres.several)
        return 0;
    _cleanup_(str_list_release) struct str_list found = {0};
    int rc = r->postgres.all ? list(r, &found, e) : 0;
    if (rc < 0)
        return rc;
    const struct str_list *names = r->postgres.all ? &found : &r->postgres.databases;
    out->resource = mem_array(names->n, sizeof *out->resource);
    for (; out->n < names->n; out->n++)
        config_resource_database(r, names->s[out->n], &out->resource[out->n]);
    return 0;
}

int job_try_resource(const struct config_resource *r, struct err *e)
{
    _cleanup_(job_databases_release) struct job_databases d = {NULL, 0};
    if (r->type == RESOURCE_STREAM)
        return 0;
    int rc = job_databases(r, &d, e);
    for (size_t i = 0; rc == 0 && i < (d.n > 0 ? d.n : 1); i++) {
        _cleanup_(source_freep) struct source *s = NULL;
        rc = job_source_new(d.n > 0 ? &d.resource[i] : r, NULL, &s, e);
    }
    return rc;
}
