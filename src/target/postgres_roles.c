/* Roles that a backup speaks of and the server lacks: out of globals.sql, or where that was left
 * out or does not have them, bare ones without login. */
#include "base/log.h"
#include "base/mem.h"
#include "target/postgres_int.h"

#include <string.h>

enum { GLOBALS_MOST = 64 << 20 };

static int read_globals(const struct postgres_restore *r, struct buf *out, struct err *e)
{
    bool there = false;
    for (size_t i = 0; i < r->content->nfile && !there; i++)
        there = strcmp(r->content->file[i].path, "globals.sql") == 0;
    if (!there)
        return 0;
    _cleanup_(stream_closep) struct stream *in = NULL;
    int rc = r->content->open(r->content->arg, "globals.sql", &in, e);
    for (size_t got = 1; rc == 0 && got > 0;) {
        rc = buf_reserve(out, 65536, e);
        if (rc == 0)
            rc = stream_read(in, out->data + out->len, 65536, &got, e);
        if (rc == 0)
            out->len += got;
    }
    if (rc == 0)
        rc = buf_append(out, "", 1, e); /* a text from here on */
    return rc;
}

/* Whether the statement begins with these words and then the role's name, quoted or not. */
static bool speaks_of(const char *statement, const char *words, const char *role)
{
    _cleanup_(buf_release) struct buf begin = BUF_INIT(BUF_TEXT);
    pg_format(&begin, "%s%I", words, role);
    size_t len = strlen(buf_str(&begin));
    return strncmp(statement, buf_str(&begin), len) == 0 &&
           (statement[len] == '\0' || strchr(" ;\n", statement[len]) != NULL);
}

static int create_one(struct pg *p, const struct str_list *globals, const char *role, struct err *e)
{
    int rc = pg_execf(p, e, "CREATE ROLE %I NOLOGIN", role);
    bool known = false;
    for (size_t i = 0; rc == 0 && i < globals->n; i++)
        if (speaks_of(globals->s[i], "ALTER ROLE ", role)) {
            known = true;
            rc = pg_exec(p, globals->s[i], e);
        }
    if (rc == 0 && !known)
        log_warning("role %s is made without login: the backup has no more of it than its name",
                    role);
    return rc;
}

/* GRANT a TO b: wanted where both are there by now. Those that name others are said and left out.
 */
static int grant_memberships(struct pg *p, const struct str_list *globals,
                             const struct str_list *made, struct err *e)
{
    for (size_t i = 0; i < globals->n; i++) {
        bool ours = false;
        for (size_t k = 0; k < made->n && !ours; k++) {
            _cleanup_(buf_release) struct buf to = BUF_INIT(BUF_TEXT);
            pg_format(&to, " TO %I", made->s[k]);
            ours = str_starts(globals->s[i], "GRANT ") &&
                   (strstr(globals->s[i], buf_str(&to)) != NULL ||
                    speaks_of(globals->s[i], "GRANT ", made->s[k]));
        }
        if (!ours)
            continue;
        struct err why = ERR_INIT;
        int rc = pg_exec(p, "SAVEPOINT one", e);
        if (rc < 0)
            return rc;
        if (pg_exec(p, globals->s[i], &why) < 0) {
            log_warning("left out: %s: %s", globals->s[i], why.msg);
            rc = pg_exec(p, "ROLLBACK TO SAVEPOINT one", e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int roles_create(const struct postgres_restore *r, struct pg *p, const struct str_list *missing,
                 struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(GLOBALS_MOST);
    struct str_list globals = {0};
    int rc = read_globals(r, &text, e);
    if (rc == 0 && text.len > 0)
        statements_split(buf_str(&text), &globals);
    if (rc == 0)
        rc = pg_exec(p, "BEGIN", e);
    for (size_t i = 0; rc == 0 && i < missing->n; i++)
        rc = create_one(p, &globals, missing->s[i], e);
    if (rc == 0)
        rc = grant_memberships(p, &globals, missing, e);
    if (rc == 0)
        rc = pg_exec(p, "COMMIT", e);
    if (rc < 0) {
        struct err ignored = ERR_INIT;
        (void)!pg_exec(p, "ROLLBACK", &ignored);
    }
    for (size_t i = 0; i < globals.n; i++)
        mem_wipe(globals.s[i], strlen(globals.s[i])); /* verifiers of passwords */
    str_list_release(&globals);
    return rc < 0 ? err_prefix(e, "creating the missing roles") : 0;
}
