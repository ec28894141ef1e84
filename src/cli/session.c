/* From the words of a command line and a configuration, or none, to an open repository. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

enum { PASSPHRASE_TRIES = 3 };

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v != NULL && *v != '\0' ? v : NULL;
}

/* A configuration for a repository alone, to which resources on the spot are added. */
static struct config *compose(const char *url)
{
    struct config *c = mem_zero(sizeof *c);
    c->name = str_dup("salvor");
    c->text = str_dup("# salvor ran without a configuration: resources were named on the spot\n");
    c->repository.url = str_dup(url);
    return c;
}

static int no_repository(struct err *e)
{
    return err_set(e, ERR_USAGE,
                   "no repository and no configuration; give -r REPOSITORY, set SALVOR_REPOSITORY, "
                   "or let `salvor init` write a salvor.yaml");
}

int cli_config(struct cli *c, struct err *e)
{
    if (c->config != NULL)
        return 0;
    const char *named = c->repository != NULL ? c->repository : variable("SALVOR_REPOSITORY");
    const char *fallback = variable("RESTIC_REPOSITORY");
    _cleanup_free_ char *path = NULL;
    int rc = config_find(c->config_path, &path, e);
    if (rc == ERR_NOT_FOUND && c->config_path == NULL && variable("SALVOR_CONFIG") == NULL) {
        if (named == NULL && fallback == NULL)
            return no_repository(e);
        c->config = compose(named != NULL ? named : fallback);
        return 0;
    }
    if (rc == 0)
        rc = config_load(path, &c->config, e);
    if (rc < 0)
        return rc;
    const char *own = c->config->repository.url;
    c->own_repository = named == NULL && own != NULL && *own != '\0';
    if (c->own_repository)
        return 0;
    if (named == NULL && fallback == NULL)
        return no_repository(e);
    free(c->config->repository.url);
    c->config->repository.url = str_dup(named != NULL ? named : fallback);
    return 0;
}

int cli_open(struct cli *c, struct job **out, struct err *e)
{
    int rc = cli_config(c, e);
    for (int tried = 1; rc == 0; tried++) {
        _cleanup_(passphrase_release) struct passphrase p = {.asked = false};
        rc = ask_passphrase(c, c->config, false, &p, e);
        if (rc < 0)
            return rc;
        struct job_options o = {.passphrase = buf_str(&p.text)};
        rc = job_open(c->config, &o, out, e);
        if (rc != ERR_PASSPHRASE)
            return rc;
        if (!p.asked || tried == PASSPHRASE_TRIES)
            return err_hint(e,
                            "it came from %s; give the right one by -p FILE, SALVOR_PASSWORD_FILE, "
                            "or password_file in the configuration",
                            p.origin);
        log_notice("that is not the passphrase of %s; try again", c->config->repository.url);
        rc = 0;
    }
    return rc;
}

int cli_open_loaded(struct cli *c, struct job **out, struct err *e)
{
    _cleanup_(job_freep) struct job *j = NULL;
    int rc = cli_open(c, &j, e);
    if (rc == 0)
        rc = job_load(j, e);
    if (rc == 0)
        *out = take(j);
    return rc;
}

/* What looks like an address, not like a name: there is a colon or a slash in it, or it is `-`. */
static bool is_address(const char *word)
{
    return strpbrk(word, ":/~") != NULL || strcmp(word, "-") == 0 || strcmp(word, ".") == 0 ||
           strcmp(word, "..") == 0;
}

static int unknown_resource(const struct config *c, const char *word, struct err *e)
{
    _cleanup_free_ const char **names = mem_array(c->nresource + 1, sizeof *names);
    for (size_t i = 0; i < c->nresource; i++)
        names[i] = c->resource[i].name;
    const char *nearest = text_nearest(word, names, c->nresource);
    err_set(e, ERR_USAGE,
            "there is no resource %s in the configuration, and it is no address either "
            "(sqlite:FILE, postgres://HOST/DATABASE, ./PATH, /PATH, -)",
            word);
    return nearest != NULL ? err_hint(e, "did you mean %s?", nearest) : e->code;
}

/* Adds the resource of an address to the configuration. */
static int add_resource(struct config *c, const char *word, const char *name, struct err *e)
{
    struct config_resource r = {.name = NULL};
    int rc = config_resource_from_address(word, name, &r, e);
    if (rc < 0)
        return rc;
    if (config_resource_find(c, r.name) != NULL) {
        err_set(e, ERR_USAGE,
                "two resources are called %s, one of them %s; call it something "
                "else with --name",
                r.name, word);
        config_resource_release(&r);
        return e->code;
    }
    c->resource = mem_resize(c->resource, c->nresource + 1, sizeof *c->resource);
    c->resource[c->nresource++] = r;
    return 0;
}

/* Adds one database of a configured server: "server.app". */
static int add_database(struct config *c, const struct config_resource *server, const char *word,
                        struct err *e)
{
    _cleanup_free_ char *database = text_decode_name(word + strlen(server->name) + 1);
    struct config_resource r = {.name = NULL};
    if (database == NULL)
        return err_set(e, ERR_USAGE, "%s names no database of %s", word, server->name);
    config_resource_database(server, database, &r);
    c->resource = mem_resize(c->resource, c->nresource + 1, sizeof *c->resource);
    c->resource[c->nresource++] = r;
    return 0;
}

int cli_resources(struct cli *c, char **word, int n, const char *name,
                  const struct config_resource ***out, size_t *nout, struct err *e)
{
    int rc = cli_config(c, e);
    if (rc < 0)
        return rc;
    struct config *conf = c->config;
    if (name != NULL && (n != 1 || config_resource_find(conf, word[0]) != NULL))
        return err_set(e, ERR_USAGE, "--name goes with one address (sqlite:FILE, ./PATH, -)");
    /* Adding moves the array, so the places are taken when all are in it. */
    _cleanup_free_ size_t *place = mem_array((size_t)n + conf->nresource + 1, sizeof *place);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        const struct config_resource *r = config_resource_find(conf, word[i]);
        if (r != NULL) {
            place[count++] = (size_t)(r - conf->resource);
            continue;
        }
        r = config_resource_of(conf, word[i]);
        if (r != NULL) {
            rc = add_database(conf, r, word[i], e);
            if (rc < 0)
                return rc;
            place[count++] = conf->nresource - 1;
            continue;
        }
        if (!is_address(word[i]))
            return unknown_resource(conf, word[i], e);
        rc = add_resource(conf, word[i], name, e);
        if (rc < 0)
            return rc;
        place[count++] = conf->nresource - 1;
    }
    if (n == 0)
        for (; count < conf->nresource; count++)
            place[count] = count;
    *out = mem_array(count + 1, sizeof **out);
    for (size_t i = 0; i < count; i++)
        (*out)[i] = &conf->resource[place[i]];
    *nout = count;
    return 0;
}

int cli_resource_name(struct cli *c, const char *word, char **out, struct err *e)
{
    if (config_resource_find(c->config, word) != NULL || !is_address(word)) {
        *out = str_dup(word);
        return 0;
    }
    struct config_resource r = {.name = NULL};
    int rc = config_resource_from_address(word, NULL, &r, e);
    if (rc < 0)
        return rc;
    *out = take(r.name);
    config_resource_release(&r);
    return 0;
}

int cli_resource_names(struct cli *c, char **word, int n, struct str_list *out, struct err *e)
{
    int rc = cli_config(c, e);
    for (int i = 0; i < n && rc == 0; i++) {
        char *name = NULL;
        rc = cli_resource_name(c, word[i], &name, e);
        if (rc == 0)
            str_list_add_take(out, name);
    }
    return rc;
}

int cli_snapshot(struct job *j, const char *word, const struct snapshot **out, struct err *e)
{
    size_t i = 0;
    struct snapshot_query q = {.which = word, .partial_too = true};
    int rc = snapshot_find(&j->snapshots, &q, &i, e);
    if (rc == 0)
        *out = &j->snapshots.s[i];
    return rc;
}

int cli_hint_snapshot(const struct snapshot *s, struct err *e)
{
    char id[ID_SHORT + 1];
    const char *resource = snapshot_tag(s, "resource");
    (void)id_short(&s->id, id);
    return err_hint(e, "snapshot %s is one of %s; `salvor show %s -R` lists what is in it", id,
                    resource != NULL ? resource : "another program", id);
}

char *cli_path(const struct snapshot *s, const char *word)
{
    const char *resource = snapshot_is_ours(s) ? snapshot_tag(s, "resource") : NULL;
    char *path = *word == '/' || resource == NULL ? str_dup(word + strspn(word, "/"))
                 : *word == '\0'                  ? str_fmt("%s/content", resource)
                                                  : str_fmt("%s/content/%s", resource, word);
    for (size_t len = strlen(path); len > 0 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    return path;
}
