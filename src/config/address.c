/* Resources on the spot: an address on the command line instead of a name in the configuration. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config_int.h"
#include <string.h>

/* Splits "sqlite:data/app.db" into type and path; what has no scheme is a path. */
static int split(const char *address, enum resource_type *type, const char **path, struct err *e)
{
    static const char *const later[] = {"redis",  "rediss", "s3",   "azure",
                                        "bucket", "disk",   "mysql"};
    size_t scheme = strcspn(address, ":/");
    *type = RESOURCE_FILES;
    *path = address;
    if (address[scheme] != ':') {
        if (strchr(address, '/') != NULL || address[0] == '.' || address[0] == '~')
            return 0;
        return err_set(e, ERR_USAGE,
                       "\"%s\" is neither the name of a resource nor an address; for a path write "
                       "./%s, for a database sqlite:%s",
                       address, address, address);
    }
    *path = address + scheme + 1;
    _cleanup_free_ char *word = str_ndup(address, scheme);
    for (size_t i = 0; i < array_len(later); i++)
        if (str_eq(word, later[i]))
            return err_set(e, ERR_USAGE,
                           "%s: addresses are not supported by this version of salvor", word);
    if (str_eq(word, "sqlite"))
        *type = RESOURCE_SQLITE;
    else if (!str_eq(word, "files"))
        return err_set(
            e, ERR_USAGE,
            "\"%s:\" is no kind of resource; known are sqlite:, files: and postgres:; a path with "
            "a colon is written ./%s",
            word, address);
    if (**path == '\0')
        return err_set(e, ERR_USAGE, "after %s: comes a path, such as %s:%s", word, word,
                       *type == RESOURCE_SQLITE ? "data/app.db" : "./etc");
    return 0;
}

/* The name that was given, or one from the path; of a pattern such as *.db from its directory. */
static int choose_name(const char *path, const char *given, char **out, struct err *e)
{
    char name[NAME_MOST + 1];
    if (given != NULL) {
        if (!name_valid(given) || str_eq(given, "all"))
            return err_set(e, ERR_USAGE,
                           "\"%s\" cannot be the name of a resource: use a to z, 0 to 9, - and _, "
                           "at most %d of them, beginning with a letter or digit, and not \"all\"",
                           given, NAME_MOST);
        *out = str_dup(given);
        return 0;
    }
    name_from_path(path, name);
    _cleanup_free_ char *dir = path_dir(path);
    if (name[0] == '\0')
        name_from_path(dir, name);
    if (name[0] == '\0' && str_eq(path, "/"))
        memcpy(name, "root", sizeof "root");
    if (name[0] == '\0' || str_eq(name, "all"))
        return err_set(e, ERR_USAGE, "cannot make a name from %s; give one with --name", path);
    *out = str_dup(name);
    return 0;
}

/* "postgres://host/app", or "postgres:app" by the PG* variables. */
static int postgres_resource(const char *address, const char *given, struct config_resource *out,
                             struct err *e)
{
    _cleanup_(config_resource_release) struct config_resource r = {.rpo_grace = -1};
    _cleanup_free_ char *database = NULL;
    char name[NAME_MOST + 1];
    r.type = RESOURCE_POSTGRES;
    if (is_postgres_url(address)) {
        if (has_literal_password(address))
            log_warning("the password in the address of the database can be seen by everybody on "
                        "this machine; rather leave it to PGPASSWORD or to the password file");
        r.postgres.url = str_dup(address);
        database = postgres_url_database(address);
    } else {
        const char *rest = address + strlen("postgres:");
        database = *rest != '\0' ? str_dup(rest) : postgres_url_database("");
        str_list_add(&r.postgres.databases, database);
    }
    name_sanitise(database, strlen(database), name);
    if (given == NULL && (name[0] == '\0' || str_eq(name, "all")))
        return err_set(e, ERR_USAGE,
                       "cannot make a name from the database %s; give one with --name", database);
    int rc = choose_name(name, given, &r.name, e);
    if (rc == 0)
        *out = r, r = (struct config_resource){0};
    return rc;
}

int config_resource_from_address(const char *address, const char *name, struct config_resource *out,
                                 struct err *e)
{
    *out = (struct config_resource){.rpo_grace = -1};
    _cleanup_(config_resource_release) struct config_resource r = {.rpo_grace = -1};
    if (str_eq(address, "-")) {
        if (name == NULL)
            return err_set(e, ERR_USAGE,
                           "what comes from standard input has no name; give one "
                           "with --name");
        r.type = RESOURCE_STREAM;
        int rc = choose_name(address, name, &r.name, e);
        if (rc == 0)
            *out = r, r = (struct config_resource){0};
        return rc;
    }
    if (is_postgres_url(address) || str_starts(address, "postgres:"))
        return postgres_resource(address, name, out, e);
    const char *rest;
    int rc = split(address, &r.type, &rest, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *home = path_expand_home(rest);
    char *path = NULL;
    rc = path_absolute(home, &path, e);
    if (rc != 0)
        return rc;
    str_list_add_take(&r.paths, path);
    rc = choose_name(path, name, &r.name, e);
    if (rc != 0)
        return rc;
    if (r.type == RESOURCE_FILES && file_is_sqlite(path))
        log_warning("%s is an SQLite database; its copy is only sure to be sound while nobody "
                    "writes to it: rather use sqlite:%s",
                    path, rest);
    if (access(path, F_OK) == 0) { /* it is this very path, not a pattern */
        r.paths.s[0] = glob_escape(path);
        free(path);
    }
    *out = r;
    r = (struct config_resource){0};
    return 0;
}
