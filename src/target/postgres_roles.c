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

static bool speaks_of(const char *statement, const char *words, const char *role)
{
    return str_starts(statement, words) && statement_names(statement + strlen(words), role);
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

/* "GRANT a TO b": wanted where one of them was made now. */
static bool is_membership(const char *statement, const struct str_list *made)
{
    const char *to = str_starts(statement, "GRANT ") ? strstr(statement, " TO ") : NULL;
    for (size_t i = 0; to != NULL && i < made->n; i++)
        if (speaks_of(statement, "GRANT ", made->s[i]) ||
            statement_names(to + strlen(" TO "), made->s[i]))
            return true;
    return false;
}

/* Those that name roles which are not there are said and left out. */
static int grant_memberships(struct pg *p, const struct str_list *globals,
                             const struct str_list *made, struct err *e)
{
    for (size_t i = 0; i < globals->n; i++) {
        if (!is_membership(globals->s[i], made))
            continue;
        struct err why = ERR_INIT;
        int rc = pg_exec(p, "SAVEPOINT one", e);
        if (rc == 0 && pg_exec(p, globals->s[i], &why) < 0) {
            log_warning("left out: %s: %s", globals->s[i], why.msg);
            rc = pg_exec(p, "ROLLBACK TO SAVEPOINT one", e);
        }
        if (rc < 0)
            return rc;
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
