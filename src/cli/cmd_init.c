/* salvor init: makes the repository; where there is no configuration, looks around and writes one
 * first. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

struct args {
    bool no_config;
};

static const struct option options[] = {
    {"no-config", 0, OPTION_FLAG, offsetof(struct args, no_config), NULL,
     "only the repository of -r, no configuration"},
};

static const char config_name[] = "salvor.yaml";
static const char default_repository[] = "./salvor-repository";

/* Addresses relative to the working directory become absolute, since a configuration is read from
 * anywhere. */
static int absolute_address(const char *address, char **out, struct err *e)
{
    if (strchr(address, ':') != NULL) {
        *out = str_dup(address);
        return 0;
    }
    return path_absolute(address, out, e);
}

/* Where the repository is to be: said, or agreed at a terminal; NULL when nobody says. */
static int choose_repository(const struct cli *c, char **out, struct err *e)
{
    const char *named = c->repository;
    if (named == NULL || *named == '\0')
        named = getenv("SALVOR_REPOSITORY");
    if (named == NULL || *named == '\0')
        named = getenv("RESTIC_REPOSITORY");
    if (named != NULL && *named != '\0')
        return absolute_address(named, out, e);
    if (!can_ask())
        return 0;
    _cleanup_free_ char *question =
        str_fmt("Where shall the repository be? [%s] ", default_repository);
    _cleanup_free_ char *answer = NULL;
    int rc = ask_line(question, &answer, e);
    if (rc < 0)
        return rc;
    return absolute_address(*answer != '\0' ? answer : default_repository, out, e);
}

static void print_found(const char *title, const struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        log_notice("%s %s", title, l->s[i]);
}

/* Looks around and writes ./salvor.yaml, which must not be there. *chosen is set when the person
 * said where the repository is to be. */
static int write_config(struct cli *c, bool *chosen, struct err *e)
{
    if (access(config_name, F_OK) == 0)
        return err_set(e, ERR_EXISTS,
                       "%s is here already and is not overwritten; `salvor -c %s "
                       "init` makes its repository",
                       config_name, config_name);
    _cleanup_(config_found_release) struct config_found found = {.sqlite = {NULL, 0, 0}};
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *repository = NULL, *here = NULL, *fallback = NULL, *password = NULL;
    int rc = config_look_around(".", &found, e);
    if (rc == 0)
        rc = choose_repository(c, &repository, e);
    if (rc == 0)
        rc = path_absolute(".", &here, e);
    if (rc == 0)
        rc = absolute_address(default_repository, &fallback, e);
    if (rc == 0 && c->password_file != NULL)
        rc = path_absolute(c->password_file, &password, e);
    if (rc < 0)
        return rc;
    *chosen = repository != NULL;
    config_compose(&found, path_base(here), *chosen ? repository : fallback, password, &text);
    rc = file_write_atomic(config_name, text.data, text.len, 0600, e);
    if (rc < 0)
        return rc;
    print_found("found database", &found.sqlite);
    if (found.postgres != NULL)
        log_notice("found database %s", found.postgres);
    print_found("found secrets", &found.secrets);
    print_found("found files", &found.files);
    print_found("note:", &found.notes);
    log_notice("wrote %s; read it through, it says what is backed up", config_name);
    return 0;
}

/* The repository is opened once after it was made: that proves the passphrase, and shows the key
 * that signs. */
static int make_repository(struct cli *c, struct job **out, struct err *e)
{
    _cleanup_(passphrase_release) struct passphrase p = {.asked = false};
    _cleanup_(store_freep) struct store *store = NULL;
    int rc = job_open_store(c->config->repository.url, true, &store, e);
    uint64_t size = 0;
    struct err absent = ERR_INIT;
    if (rc == 0 && store_stat(store, "config", &size, &absent) == 0)
        rc = err_set(e, ERR_EXISTS, "there is a repository at %s already; nothing was changed",
                     store_address(store));
    if (rc == 0)
        rc = ask_passphrase(c, c->config, true, &p, e);
    if (rc == 0)
        rc = repo_init(store, buf_str(&p.text), 2, e);
    if (rc < 0)
        return rc;
    struct job_options o = {.passphrase = buf_str(&p.text)};
    return job_open(c->config, &o, out, e);
}

static int print(const struct cli *c, const struct job *j, struct err *e)
{
    char hex[ID_HEX + 1];
    const char *key =
        j->signing.has_key && j->signing.trusted.n > 0 ? j->signing.trusted.s[0] : NULL;
    if (c->json) {
        struct json_line l;
        json_line_begin(&l);
        json_key(&l.json, "init");
        json_begin_object(&l.json);
        json_text(&l.json, "repository", store_address(j->store));
        json_id(&l.json, "id", repo_id(j->repo));
        json_text(&l.json, "config", c->config->path);
        json_text(&l.json, "signing_key", key);
        json_end_object(&l.json);
        return json_line_end(&l, e);
    }
    printf("made repository %.8s at %s\n", id_hex(repo_id(j->repo), hex), store_address(j->store));
    if (key != NULL)
        printf("backups made here are signed by this key; pin it under signing.trust on every "
               "machine that restores:\n  %s\n",
               key);
    printf("\nKeep the passphrase safe, in a second place that is not this machine: without it "
           "nobody,\nyou included, reads any backup again.\n");
    return 0;
}

/* Whether a configuration is to be used: one that is named, or found. */
static int has_config(const struct cli *c, bool *found, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    int rc = config_find(c->config_path, &path, e);
    *found = rc == 0;
    bool named = c->config_path != NULL || getenv("SALVOR_CONFIG") != NULL;
    return rc == ERR_NOT_FOUND && !named ? 0 : rc;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    (void)word;
    (void)n;
    const struct args *a = argp;
    bool found = false, chosen = true;
    int rc = has_config(c, &found, e);
    if (rc == 0 && !found && !a->no_config) {
        rc = write_config(c, &chosen, e);
        if (rc == 0 && !chosen) {
            log_notice("no repository was made yet: see to repository.url in %s and run `salvor "
                       "init` again",
                       config_name);
            return 0;
        }
    }
    if (rc == 0)
        rc = cli_config(c, e);
    if (rc < 0)
        return rc;
    _cleanup_(job_freep) struct job *j = NULL;
    rc = make_repository(c, &j, e);
    return rc < 0 ? rc : print(c, j, e);
}

const struct command cmd_init = {
    .name = "init",
    .summary = "make the repository; without a configuration, write one first",
    COMMAND_OPTIONS(options, struct args),
    .run = run,
};
