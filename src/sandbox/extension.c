/* Whether this host's server has the extensions that a database needs: said before anything is
 * restored, by name. */
#include "base/log.h"
#include "base/mem.h"
#include "sandbox/sandbox_int.h"

static void list_add(struct buf *list, const char *text)
{
    buf_addf(list, "%s%s", list->len > 0 ? ", " : "", text);
}

static int available(struct pg *p, const char *name, char **version, struct err *e)
{
    const char *params[] = {name};
    int rc = pg_value(p, "SELECT default_version FROM pg_available_extensions WHERE name = $1",
                      params, 1, version, e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    *e = (struct err)ERR_INIT;
    return 0;
}

int sandbox_extensions_check(struct pg *p, const struct sandbox_postgres *o, struct buf *preload,
                             struct err *e)
{
    _cleanup_(buf_release) struct buf missing = BUF_INIT(BUF_TEXT), packages = BUF_INIT(BUF_TEXT);
    int major = pg_version(p) / 10000;
    for (size_t i = 0; i < o->nextensions; i++) {
        const struct sandbox_extension *x = &o->extensions[i];
        _cleanup_free_ char *have = NULL;
        int rc = available(p, x->name, &have, e);
        if (rc < 0)
            return rc;
        if (have == NULL) {
            _cleanup_free_ char *what = str_fmt("%s%s%s", x->name, x->version != NULL ? " " : "",
                                                x->version != NULL ? x->version : "");
            _cleanup_free_ char *package = sandbox_extension_package(x->name, major);
            list_add(&missing, what);
            list_add(&packages, package);
            continue;
        }
        if (x->version != NULL && sandbox_version_older(have, x->version))
            log_notice("extension %s: the source has version %s, this host's PostgreSQL %d has %s",
                       x->name, x->version, major, have);
        if (sandbox_extension_preloads(x->name))
            list_add(preload, x->name);
    }
    if (missing.len == 0)
        return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "cannot: needs extension %s, which this host's PostgreSQL %d does not have; "
                   "install what has it (on Debian and PGDG: %s)",
                   buf_str(&missing), major, buf_str(&packages));
}
