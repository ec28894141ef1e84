/* salvor.yaml: read, checked, expanded. Every mistake is ERR_USAGE "<file>:<line>:<column>: ...",
 * with the nearest known key where one was misspelt. Strings are expanded (${VAR}) and never NULL
 * unless said so. */
#ifndef SALVOR_CONFIG_CONFIG_H
#define SALVOR_CONFIG_CONFIG_H

#include "base/text.h"

/* Where a secret comes from; at most one is set, none means: the environment. A path is absolute, a
 * command is for the shell and not expanded. */
struct config_secret {
    char *file, *command, *value; /* value: from ${VAR} only; a literal is refused */
};

struct config_keep {
    bool set; /* any of them was given */
    unsigned last, hourly, daily, weekly, monthly, yearly;
    int64_t within;       /* nanoseconds, 0: not given */
    int64_t delete_after; /* nanoseconds, 0: never */
    struct str_list tags;
};

struct config_size {
    uint64_t min;                       /* bytes, 0: not given */
    uint64_t expect_least, expect_most; /* bytes, 0: not given */
    double drift_least, drift_most;     /* ratios to the average, 0: not given */
};

enum resource_type { RESOURCE_FILES, RESOURCE_SQLITE, RESOURCE_STREAM, RESOURCE_POSTGRES };

/* What of a PostgreSQL server's roles and tablespaces goes into a backup. */
enum config_globals {
    GLOBALS_AUTO, /* with verifiers where the role may read them, else without */
    GLOBALS_WITH_PASSWORDS,
    GLOBALS_WITHOUT_PASSWORDS,
    GLOBALS_NONE,
};

/* Where a PostgreSQL server is, and what of it is read. */
struct config_postgres {
    char *url;                 /* NULL: the PG* variables alone; may hold a password from ${VAR} */
    char *unset;               /* why url is NULL although it was given; else NULL */
    struct str_list databases; /* those that are named; none: the one of the address, or all */
    bool all;                  /* every database of the server but templates */
    bool several;              /* all, or a list: each is a resource <name>.<db> of its own */
    char *bindir;              /* NULL: the programs are looked for */
    enum config_globals globals;
    uint64_t split;       /* bytes; larger tables are read in parts; 0: default */
    int64_t lock_timeout; /* nanoseconds, 0: default */
    /* of a restore in place */
    char *health;           /* URL or command that must answer well afterwards, or NULL */
    int64_t health_timeout; /* nanoseconds, 0: default */
    char *cutover;          /* command that leads the application to the new one, or NULL: names */
    char *freeze;           /* command that stops writes, or NULL */
};

struct config_resource {
    char *name;
    enum resource_type type;
    int line;                 /* where it begins in the file, for messages; 0 for addresses */
    struct str_list paths;    /* globs, absolute */
    struct str_list excludes; /* patterns: names anywhere, or absolute paths; see source.h */
    bool one_file_system, exclude_caches;
    struct config_postgres postgres;
    int64_t rpo, rto;   /* nanoseconds, 0: not promised */
    int64_t rpo_grace;  /* nanoseconds, -1: default */
    bool allow_partial; /* a partial snapshot satisfies the RPO */
    struct config_keep keep;
    struct config_size size;
};

struct config_job {
    char *name;
    int line;
    char *at; /* cron expression as text, NULL when only run by hand */
    bool backup_all;
    struct str_list backup; /* resources, when not all */
    bool verify, forget, prune;
};

struct config {
    char *path; /* the file, absolute; NULL when made from addresses */
    char *name; /* of the whole; the name of the file's directory where none is given */
    char *text; /* the file as it was read: goes into snapshots (it holds no secrets) */
    struct {
        char *url; /* an absolute path or an address; "" when it is left to the environment */
        struct config_secret password;
    } repository;
    struct {
        struct config_secret key; /* Ed25519 secret, base64 */
        struct str_list trust;    /* public keys, base64 */
    } signing;
    struct config_keep keep; /* for resources that have none of their own */
    struct config_resource *resource;
    size_t nresource;
    struct config_job *job;
    size_t njob;
};

/* Looks in order: `path` if not NULL, $SALVOR_CONFIG, ./salvor.yaml, ~/.config/salvor/salvor.yaml,
 * /etc/salvor/salvor.yaml. ERR_NOT_FOUND when none was named and none is there; ERR_USAGE when the
 * named one is not there. */
_warn_unused_ int config_find(const char *path, char **out, struct err *e);
_warn_unused_ int config_load(const char *path, struct config **out, struct err *e);
void config_free(struct config *c);
void config_freep(struct config **c);
const struct config_resource *config_resource_find(const struct config *c, const char *name);
/* The configured resource that a snapshot's name belongs to: of that name, or `server` for
 * "server.app" where `server` has several databases. NULL when there is none. */
const struct config_resource *config_resource_of(const struct config *c, const char *name);
/* Whether `own`, a snapshot's resource or NULL, is the resource `name` or a database of it. */
bool config_name_covers(const char *name, const char *own);
/* One database out of a resource with several: "<name>.<db>", odd bytes of the database's name as
 * text_encode_name has them, with everything else as `r` has it. Its own copy; release it. */
void config_resource_database(const struct config_resource *r, const char *database,
                              struct config_resource *out);

/* A resource on the spot: "sqlite:data/app.db", "./etc", "/etc/hosts", "files:~/x", "-",
 * "postgres://host/app", "postgres:app" (by the PG* variables). Its name is the last part of the
 * address without ending. ERR_USAGE for what is none of these. */
_warn_unused_ int config_resource_from_address(const char *address, const char *name,
                                               struct config_resource *out, struct err *e);
void config_resource_release(struct config_resource *r);
const char *resource_type_name(enum resource_type t); /* "files", "sqlite", "stream", ... */

/* Appends the secret's text: the first line of the file or of the command's output without blanks
 * around it, or the value. ERR_NOT_FOUND when none is set, and only then. */
_warn_unused_ int config_secret_read(const struct config_secret *s, struct buf *out, struct err *e);

/* What `init` found. Paths are relative to the directory where they are below it, else absolute. */
struct config_found {
    struct str_list sqlite; /* files that begin as SQLite databases do */
    char *postgres; /* the database that DATABASE_URL names, without its password; or NULL */
    char *env_file; /* where DATABASE_URL stands when it is not in the environment */
    struct str_list secrets; /* .env, compose files, keys */
    struct str_list files;   /* directories of what users have uploaded */
    struct str_list notes;   /* comments for the person: what was seen but cannot be backed up */
};
/* Looks at most three levels deep, not into dependencies and caches; and at DATABASE_URL and
 * REDIS_URL in the environment and in .env. */
_warn_unused_ int config_look_around(const char *dir, struct config_found *out, struct err *e);
void config_found_release(struct config_found *f);
/* Appends a commented salvor.yaml for what was found, to be put into the directory that was looked
 * at. `repository` is a path or an address; `password_file` holds its passphrase, or is NULL. */
void config_compose(const struct config_found *f, const char *name, const char *repository,
                    const char *password_file, struct buf *out);

#endif
