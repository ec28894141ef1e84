/* The configuration: which keys there are, what they mean, and what must fit together. The tables
 * are the reference of salvor.yaml. */
#include "base/file.h"
#include "base/mem.h"
#include "config/config_int.h"
#include <stddef.h>
#include <string.h>

/* What a person writes is much smaller; see document.c for what larger ones could cost. */
enum { MOST_BYTES = 256 * 1024 };

static key_fn read_repository, read_signing, read_keep, read_type, read_resources, read_jobs,
    read_backup;

/* ---- the keys ---- */

#define OF(type, member) offsetof(struct type, member)

static const struct key keep_keys[] = {
    {"last", read_count, OF(config_keep, last), NULL},
    {"hourly", read_count, OF(config_keep, hourly), NULL},
    {"daily", read_count, OF(config_keep, daily), NULL},
    {"weekly", read_count, OF(config_keep, weekly), NULL},
    {"monthly", read_count, OF(config_keep, monthly), NULL},
    {"yearly", read_count, OF(config_keep, yearly), NULL},
    {"within", read_duration, OF(config_keep, within), NULL},
    {"delete_after", read_duration, OF(config_keep, delete_after), NULL},
    {"tags", read_texts, OF(config_keep, tags), NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key size_keys[] = {
    {"min", read_size, OF(config_size, min), NULL},
    {"expect", read_expect, 0, NULL}, /* [least, most] */
    {"drift", read_drift, 0, NULL},   /* [least, most] */
    {NULL, NULL, 0, NULL},
};

static const struct key objective_keys[] = {
    {"rpo", read_duration, OF(config_resource, rpo), NULL},
    {"rto", read_duration, OF(config_resource, rto), NULL},
    {"grace", read_duration, OF(config_resource, rpo_grace), NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key resource_keys[] = {
    {"type", read_type, OF(config_resource, type), NULL},
    {"path", read_paths, OF(config_resource, paths), NULL},
    {"paths", read_paths, OF(config_resource, paths), NULL},
    {"exclude", read_patterns, OF(config_resource, excludes), NULL},
    {"one_file_system", read_bool, OF(config_resource, one_file_system), NULL},
    {"exclude_caches", read_bool, OF(config_resource, exclude_caches), NULL},
    {"objectives", read_mapping, 0, objective_keys},
    {"keep", read_keep, OF(config_resource, keep), keep_keys},
    {"size", read_mapping, OF(config_resource, size), size_keys},
    {"allow_partial", read_bool, OF(config_resource, allow_partial), NULL},
    {"url", read_postgres_url, OF(config_resource, postgres), NULL},
    {"databases", read_databases, OF(config_resource, postgres), NULL}, /* one, a list, or "all" */
    {"pg_bindir", read_path, OF(config_resource, postgres.bindir), NULL},
    {"globals", read_globals, OF(config_resource, postgres.globals), NULL},
    {"split", read_size, OF(config_resource, postgres.split), NULL},
    {"lock_timeout", read_duration, OF(config_resource, postgres.lock_timeout), NULL},
    {"health", read_health, OF(config_resource, postgres.health), NULL},
    {"health_timeout", read_duration, OF(config_resource, postgres.health_timeout), NULL},
    {"cutover", read_command, OF(config_resource, postgres.cutover), NULL},
    {"freeze", read_command, OF(config_resource, postgres.freeze), NULL},
    {"drill", read_later, 0, NULL},
    {"sealed_for", read_later, 0, NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key job_keys[] = {
    {"at", read_cron, OF(config_job, at), NULL},
    {"backup", read_backup, 0, NULL}, /* "all" or resources */
    {"verify", read_bool, OF(config_job, verify), NULL},
    {"forget", read_bool, OF(config_job, forget), NULL},
    {"prune", read_bool, OF(config_job, prune), NULL},
    {"mirror", read_later, 0, NULL},
    {"drill", read_later, 0, NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key repository_keys[] = {
    {"url", read_url, OF(config, repository.url), NULL},
    {"password_file", read_path, OF(config, repository.password.file), NULL},
    {"password_command", read_command, OF(config, repository.password.command), NULL},
    {"password", read_variable, OF(config, repository.password.value), NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key signing_keys[] = {
    {"key_file", read_path, OF(config, signing.key.file), NULL},
    {"key_command", read_command, OF(config, signing.key.command), NULL},
    {"key", read_variable, OF(config, signing.key.value), NULL},
    {"trust", read_texts, OF(config, signing.trust), NULL},
    {NULL, NULL, 0, NULL},
};

static const struct key root_keys[] = {
    {"name", read_text, OF(config, name), NULL},
    {"env_file", read_env_files, 0, NULL}, /* before whatever ${NAME} is in */
    {"repository", read_repository, 0, repository_keys},
    {"signing", read_signing, 0, signing_keys},
    {"keep", read_keep, OF(config, keep), keep_keys},
    {"resources", read_resources, 0, resource_keys},
    {"jobs", read_jobs, 0, job_keys}, /* after the resources that they name */
    {"mirrors", read_later, 0, NULL},
    {"checks", read_later, 0, NULL},
    {"alerts", read_later, 0, NULL},
    {"runbooks", read_later, 0, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- what is more than a table can say ---- */

static int one_secret(struct loader *l, const yaml_node_t *n, const struct config_secret *s,
                      const char *name, struct err *e)
{
    if ((s->file != NULL) + (s->command != NULL) + (s->value != NULL) > 1)
        return slip(l, n, e, "give only one of %s_file, %s_command and %s", name, name, name);
    return 0;
}

static int read_repository(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                           struct err *e)
{
    int rc = read_mapping(l, k, n, field, e);
    return rc != 0 ? rc : one_secret(l, n, &l->config->repository.password, "password", e);
}

static int read_signing(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                        struct err *e)
{
    int rc = read_mapping(l, k, n, field, e);
    return rc != 0 ? rc : one_secret(l, n, &l->config->signing.key, "key", e);
}

static int read_keep(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                     struct err *e)
{
    struct config_keep *keep = field;
    int rc = read_mapping(l, k, n, keep, e);
    if (rc != 0)
        return rc;
    keep->set =
        n->type == YAML_MAPPING_NODE && n->data.mapping.pairs.top > n->data.mapping.pairs.start;
    if (keep->delete_after > 0 && keep->within > keep->delete_after)
        return slip(l, n, e, "within is longer than delete_after, which would delete first");
    return 0;
}

static int read_type(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                     struct err *e)
{
    (void)k;
    static const char *const later[] = {"redis", "bucket", "disk"};
    static const char *const now[] = {"files", "sqlite", "postgres"};
    static const enum resource_type type[] = {RESOURCE_FILES, RESOURCE_SQLITE, RESOURCE_POSTGRES};
    char is[SHOWN];
    const char *text;
    int rc = scalar_text(l, n, "files, sqlite or postgres", &text, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < array_len(later); i++)
        if (str_eq(text, later[i]))
            return slip(l, n, e,
                        "\"%s\" is not supported by this version of salvor; take this "
                        "resource out",
                        text);
    for (size_t i = 0; i < array_len(now); i++)
        if (str_eq(text, now[i])) {
            *(enum resource_type *)field = type[i];
            return 0;
        }
    if ((text = text_nearest(text, now, array_len(now))) != NULL)
        return slip(l, n, e, "unknown type %s; did you mean \"%s\"?", shown(n, is), text);
    return slip(l, n, e, "expected files, sqlite or postgres, not %s", shown(n, is));
}

/* Before its keys are looked at: they depend on the type. */
static int check_type(struct loader *l, yaml_node_t *n, struct err *e)
{
    enum resource_type unused;
    yaml_node_t *type = mapping_find(l, n, "type");
    if (type == NULL)
        return slip(l, n, e,
                    "it has no type; say \"type: files\", \"type: sqlite\" or \"type: postgres\"");
    l->where[l->depth++] = "type";
    int rc = read_type(l, NULL, type, &unused, e);
    l->depth--;
    return rc;
}

/* What is said must mean something for its type. */
static int check_keys(struct loader *l, const yaml_node_t *n, const struct config_resource *r,
                      struct err *e)
{
    const struct config_postgres *p = &r->postgres;
    bool server = p->url != NULL || p->unset != NULL || p->databases.n > 0 || p->all ||
                  p->bindir != NULL || p->globals != GLOBALS_AUTO || p->split > 0 ||
                  p->lock_timeout > 0 || p->health != NULL || p->health_timeout > 0 ||
                  p->cutover != NULL || p->freeze != NULL;
    if (r->type == RESOURCE_POSTGRES && r->paths.n > 0)
        return slip(l, n, e, "path is for files and sqlite; a server is named by url");
    if (r->type != RESOURCE_POSTGRES && server)
        return slip(l, n, e,
                    "url, databases, pg_bindir, globals, split, lock_timeout, health, "
                    "health_timeout, cutover and freeze are for postgres only");
    if (r->type != RESOURCE_POSTGRES && r->paths.n == 0)
        return slip(l, n, e, "it has no path; say which, such as \"path: %s\"",
                    r->type == RESOURCE_SQLITE ? "data/app.db" : "config/");
    if (r->type != RESOURCE_FILES && (r->excludes.n > 0 || r->one_file_system || r->exclude_caches))
        return slip(l, n, e, "exclude, one_file_system and exclude_caches are for files only");
    return 0;
}

static int read_resource(struct loader *l, const struct key *k, yaml_node_t *n, void *item,
                         const yaml_node_t *name, struct err *e)
{
    struct config_resource *r = item;
    *r = (struct config_resource){.line = (int)name->start_mark.line + 1, .rpo_grace = -1};
    r->name = str_dup((const char *)name->data.scalar.value);
    l->config->nresource++; /* whatever is in it is released with the rest */
    int rc = check_type(l, n, e);
    if (rc == 0)
        rc = read_mapping(l, k, n, r, e);
    return rc != 0 ? rc : check_keys(l, n, r, e);
}

static int read_job(struct loader *l, const struct key *k, yaml_node_t *n, void *item,
                    const yaml_node_t *name, struct err *e)
{
    struct config_job *j = item;
    *j = (struct config_job){.line = (int)name->start_mark.line + 1};
    j->name = str_dup((const char *)name->data.scalar.value);
    l->config->njob++;
    int rc = read_mapping(l, k, n, j, e);
    if (rc == 0 && !j->backup_all && j->backup.n == 0 && !j->verify && !j->forget && !j->prune)
        rc = slip(l, n, e, "it does nothing; say what, such as \"backup: all\"");
    return rc;
}

typedef int named_fn(struct loader *l, const struct key *k, yaml_node_t *n, void *item,
                     const yaml_node_t *name, struct err *e);

/* A mapping whose keys the person chooses. `*items` becomes an array with room for all of them. */
static int read_named(struct loader *l, const struct key *k, yaml_node_t *n, void **items,
                      size_t size, named_fn *fn, struct err *e)
{
    int rc = mapping_check(l, n, "names, each with its keys, such as \"app:\"", e);
    if (rc != 0 || n->type != YAML_MAPPING_NODE)
        return rc;
    const yaml_node_pair_t *start = n->data.mapping.pairs.start, *end = n->data.mapping.pairs.top;
    *items = mem_array((size_t)(end - start), size);
    for (const yaml_node_pair_t *p = start; p < end; p++) {
        yaml_node_t *key = document_node(l, p->key), *value = document_node(l, p->value);
        const char *name = (const char *)key->data.scalar.value;
        char is[SHOWN];
        if (!name_valid(name))
            return slip(l, key, e,
                        "%s cannot be a name: use a to z, 0 to 9, - and _, at most %d of them, "
                        "beginning with a letter or digit",
                        shown(key, is), NAME_MOST);
        if (str_eq(name, "all"))
            return slip(l, key, e, "\"all\" cannot be a name: it stands for all resources");
        l->where[l->depth++] = name;
        rc = mapping_check(l, value, "keys", e);
        if (rc == 0)
            rc = fn(l, k, value, (char *)*items + (size_t)(p - start) * size, key, e);
        l->depth--;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int read_resources(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                          struct err *e)
{
    (void)field;
    void *items = NULL;
    int rc = read_named(l, k, n, &items, sizeof(struct config_resource), read_resource, e);
    l->config->resource = items;
    return rc;
}

static int read_jobs(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                     struct err *e)
{
    (void)field;
    void *items = NULL;
    int rc = read_named(l, k, n, &items, sizeof(struct config_job), read_job, e);
    l->config->job = items;
    return rc;
}

static int known_resource(struct loader *l, const yaml_node_t *n, const char *name, struct err *e)
{
    const struct config *c = l->config;
    if (config_resource_find(c, name) != NULL)
        return 0;
    _cleanup_free_ const char **names = mem_array(c->nresource, sizeof(const char *));
    for (size_t i = 0; i < c->nresource; i++)
        names[i] = c->resource[i].name;
    char is[SHOWN];
    const char *nearest = text_nearest(name, names, c->nresource);
    if (nearest != NULL)
        return slip(l, n, e, "no resource is called %s; did you mean \"%s\"?", shown(n, is),
                    nearest);
    return slip(l, n, e,
                "no resource is called %s; it must be one of those under resources:", shown(n, is));
}

static int read_backup(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                       struct err *e)
{
    struct config_job *j = field;
    int rc = read_texts(l, k, n, &j->backup, e);
    if (rc != 0)
        return rc;
    if (j->backup.n == 0)
        return slip(l, n, e, "expected all or a list of resources, but it is empty");
    if (j->backup.n == 1 && str_eq(j->backup.s[0], "all")) {
        str_list_release(&j->backup);
        j->backup_all = true;
        return 0;
    }
    for (size_t i = 0; i < j->backup.n && rc == 0; i++) {
        bool list = n->type == YAML_SEQUENCE_NODE;
        rc = known_resource(l, list ? document_node(l, n->data.sequence.items.start[i]) : n,
                            j->backup.s[i], e);
    }
    return rc;
}

/* ---- the file ---- */

static void loader_release(struct loader *l)
{
    if (l->has_doc)
        yaml_document_delete(&l->doc);
    free(l->dir);
    for (size_t i = 0; i < l->env.n; i++)
        mem_wipe(l->env.s[i], strlen(l->env.s[i]));
    str_list_release(&l->env);
}

static int load(struct loader *l, struct err *e)
{
    struct config *c = l->config;
    _cleanup_(buf_release) struct buf text = BUF_INIT(MOST_BYTES);
    int rc = path_absolute(l->file, &c->path, e);
    if (rc == 0)
        rc = file_read(l->file, &text, e);
    if (rc != 0)
        return rc;
    l->dir = path_dir(c->path);
    c->text = str_dup(buf_str(&text));
    rc = document_parse(l, buf_str(&text), text.len, e);
    if (rc != 0)
        return rc;
    static const struct key root = {"", read_mapping, 0, root_keys};
    yaml_node_t *node = yaml_document_get_root_node(&l->doc);
    if (node == NULL)
        return err_set(e, ERR_USAGE, "%s:1:1: it is empty; \"salvor init\" writes one", l->file);
    rc = read_mapping(l, &root, node, c, e);
    if (rc != 0)
        return rc;
    if (c->repository.url == NULL)
        c->repository.url = str_dup("");
    if (c->name == NULL)
        c->name = str_dup(path_base(l->dir));
    return 0;
}

int config_load(const char *path, struct config **out, struct err *e)
{
    *out = NULL;
    _cleanup_(config_freep) struct config *c = mem_zero(sizeof *c);
    _cleanup_(loader_release) struct loader l = {.file = path, .config = c};
    int rc = load(&l, e);
    if (rc == 0)
        *out = take(c);
    return rc;
}
