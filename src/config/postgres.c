/* What is said of PostgreSQL resources: addresses, databases, and which names their snapshots get.
 */
#include "base/mem.h"
#include "config/config_int.h"
#include <ctype.h>
#include <string.h>

/* postgres: and postgresql:, also as frameworks write them: postgresql+asyncpg:, jdbc:postgresql:
 */
bool is_postgres_url(const char *text)
{
    static const char *const scheme[] = {"postgresql", "postgres"};
    if (str_starts(text, "jdbc:"))
        text += strlen("jdbc:");
    for (size_t i = 0; i < array_len(scheme); i++) {
        const char *p = text + strlen(scheme[i]);
        if (!str_starts(text, scheme[i]))
            continue;
        if (*p == '+')
            p += 1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (str_starts(p, "://"))
            return true;
    }
    return false;
}

char *postgres_url_database(const char *url)
{
    const char *p = strstr(url, "://");
    p = p != NULL ? p + 3 : url;
    size_t len = strcspn(p, "?#"), authority = strcspn(p, "/?#");
    if (authority + 1 < len)
        return text_percent_decode(p + authority + 1, len - authority - 1);
    const char *variable = getenv("PGDATABASE");
    return str_dup(variable != NULL && *variable != '\0' ? variable : "postgres");
}

/* ---- names of databases in names of resources ---- */

static void copy_list(struct str_list *to, const struct str_list *from)
{
    *to = (struct str_list){0};
    for (size_t i = 0; i < from->n; i++)
        str_list_add(to, from->s[i]);
}

void config_resource_database(const struct config_resource *r, const char *database,
                              struct config_resource *out)
{
    _cleanup_free_ char *part = text_encode_name(database);
    *out = *r;
    out->name = str_fmt("%s.%s", r->name, part);
    copy_list(&out->paths, &r->paths);
    copy_list(&out->excludes, &r->excludes);
    copy_list(&out->keep.tags, &r->keep.tags);
    struct config_postgres *p = &out->postgres;
    p->url = str_dup(p->url);
    p->unset = str_dup(p->unset);
    p->bindir = str_dup(p->bindir);
    p->health = str_dup(p->health);
    p->cutover = str_dup(p->cutover);
    p->freeze = str_dup(p->freeze);
    p->databases = (struct str_list){0};
    str_list_add(&p->databases, database);
    p->all = p->several = false;
}

bool config_name_covers(const char *name, const char *own)
{
    size_t len = strlen(name);
    return own != NULL && strncmp(own, name, len) == 0 && (own[len] == '\0' || own[len] == '.');
}

const struct config_resource *config_resource_of(const struct config *c, const char *name)
{
    const struct config_resource *r = config_resource_find(c, name);
    size_t len = strcspn(name, ".");
    if (r != NULL || name[len] == '\0')
        return r;
    for (size_t i = 0; i < c->nresource; i++) {
        r = &c->resource[i];
        if (r->postgres.several && strncmp(r->name, name, len) == 0 && r->name[len] == '\0')
            return r;
    }
    return NULL;
}

/* ---- keys ---- */

/* Whether all variables in it are set. */
static bool is_set(struct loader *l, const char *raw)
{
    for (const char *p = raw; (p = strstr(p, "${")) != NULL; p += 2) {
        _cleanup_free_ char *name = str_ndup(p + 2, strcspn(p + 2, "}"));
        char *value = variable_value(l, name);
        if (value == NULL)
            return false;
        mem_wipe(value, strlen(value));
        free(value);
    }
    return true;
}

/* A variable that is not set is told when the resource is used: whoever brings back the file that
 * holds it must be able to read the configuration. */
int read_postgres_url(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                      struct err *e)
{
    (void)k;
    const char *expected =
        "an address such as postgres://app@db.example.com/app or ${DATABASE_URL}";
    struct config_postgres *p = field;
    const char *raw = NULL;
    int rc = scalar_text(l, n, expected, &raw, e);
    if (rc != 0)
        return rc;
    if (has_literal_password(raw))
        return slip(l, n, e,
                    "a secret is not written into this file; put ${VARIABLE} in the place of the "
                    "password, or leave it to PGPASSWORD or the password file (~/.pgpass)");
    rc = expanded(l, n, expected, &p->url, e);
    if (rc != 0 && !is_set(l, raw)) {
        p->unset = str_dup(e->msg);
        return 0;
    }
    if (rc == 0 && !is_postgres_url(p->url) && strchr(p->url, '=') == NULL)
        return slip(l, n, e, "expected %s", expected);
    return rc;
}

int read_health(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    const char *raw;
    int rc =
        scalar_text(l, n, "a URL such as https://app.example.com/health, or a command", &raw, e);
    if (rc < 0)
        return rc;
    bool url = str_starts(raw, "http://") || str_starts(raw, "https://");
    return url ? read_text(l, k, n, field, e) : read_command(l, k, n, field, e);
}

int read_databases(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                   struct err *e)
{
    struct config_postgres *p = field;
    int rc = read_texts(l, k, n, &p->databases, e);
    if (rc != 0)
        return rc;
    p->several = n->type == YAML_SEQUENCE_NODE;
    if (p->databases.n == 0)
        return slip(l, n, e, "expected a database, a list of them, or all, but it is empty");
    if (str_eq(p->databases.s[0], "all") && p->databases.n == 1) {
        str_list_release(&p->databases);
        p->all = p->several = true;
    }
    for (size_t i = 0; i < p->databases.n; i++)
        for (size_t m = 0; m < i; m++)
            if (str_eq(p->databases.s[i], p->databases.s[m]))
                return slip(l, n, e, "the database %s is there twice", p->databases.s[i]);
    return 0;
}

int read_globals(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    static const char *const word[] = {"auto", "with_passwords", "without_passwords", "none"};
    const char *text;
    char is[SHOWN];
    int rc = scalar_text(l, n, "with_passwords, without_passwords or none", &text, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < array_len(word); i++)
        if (str_eq(text, word[i])) {
            *(enum config_globals *)field = (enum config_globals)i;
            return 0;
        }
    const char *nearest = text_nearest(text, word, array_len(word));
    if (nearest != NULL)
        return slip(l, n, e, "%s is not known here; did you mean \"%s\"?", shown(n, is), nearest);
    return slip(l, n, e, "expected auto, with_passwords, without_passwords or none, not %s",
                shown(n, is));
}
