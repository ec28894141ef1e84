/* Private to the config room: the YAML document while it is read, and how one value is read. */
#ifndef SALVOR_CONFIG_CONFIG_INT_H
#define SALVOR_CONFIG_CONFIG_INT_H

#include "config/config.h"
#include <yaml.h>

enum { NAME_MOST = 64 };

struct loader {
    const char *file; /* as it was named, for messages */
    char *dir;        /* absolute; relative paths start here */
    struct config *config;
    struct str_list env; /* texts of the files of env_file: for ${NAME} that is not set; wiped */
    yaml_document_t doc;
    bool has_doc;
    const char *where[8]; /* the keys on the way to the present value */
    size_t depth;
    size_t visited; /* values seen so far; aliases could multiply them */
};

/* One key of a mapping: what it is called, how its value is read, and where the value goes. */
struct key;
typedef int key_fn(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                   struct err *e);
struct key {
    const char *name; /* NULL ends a table */
    key_fn *read;
    size_t offset;          /* of the field in the structure of the mapping */
    const struct key *keys; /* of mappings: what may be in it */
};

/* ---- document.c: the YAML file as a tree of nodes ---- */

/* Parses `text`, which must hold one document that is not nested absurdly deep. */
_warn_unused_ int document_parse(struct loader *l, const char *text, size_t len, struct err *e);
yaml_node_t *document_node(struct loader *l, int index);
/* ERR_USAGE "<file>:<line>:<column>: <keys on the way>: <text>". */
int slip(const struct loader *l, const yaml_node_t *n, struct err *e, const char *fmt, ...)
    _printf_(4, 5);
/* The raw text of a scalar, fit to be shown: printable, in quotes, not too long. Returns out. */
enum { SHOWN = 96 };
const char *shown(const yaml_node_t *n, char out[SHOWN]);

/* ---- value.c: one value each; what they expect is told with an example ---- */

/* Every value passes here once; ERR_USAGE when there are absurdly many. */
_warn_unused_ int count_value(struct loader *l, const yaml_node_t *n, struct err *e);

key_fn read_text, read_url, read_path, read_command, read_variable; /* char * */
key_fn read_texts, read_paths, read_patterns;                       /* struct str_list */
key_fn read_bool, read_count, read_duration, read_size; /* bool, unsigned, int64_t, uint64_t */
key_fn read_expect, read_drift;                         /* into struct config_size */
key_fn read_cron;                                       /* char * */
key_fn read_env_files;                                  /* into the loader */

/* The value of ${name} for this configuration, or NULL. The caller frees; it may be a secret. */
char *variable_value(const struct loader *l, const char *name);
/* Whether the raw address has a password in it that is no ${VARIABLE}. */
bool has_literal_password(const char *raw);

/* Fails unless it is a scalar with text that is not empty; *out is its raw text, owned by the
 * document. `expected` reads like "a duration such as 24h". */
_warn_unused_ int scalar_text(struct loader *l, const yaml_node_t *n, const char *expected,
                              const char **out, struct err *e);
/* A scalar's text with ${NAME} and $$ replaced; the caller frees. */
_warn_unused_ int expanded(struct loader *l, const yaml_node_t *n, const char *expected, char **out,
                           struct err *e);

/* ---- env_file.c: files of NAME=value lines, as applications have them ---- */

/* The value of NAME= in the text of such a file, without its quotes, or NULL; the caller frees. */
char *env_file_value(const char *text, const char *name);

/* ---- postgres.c ---- */

key_fn read_postgres_url; /* into struct config_postgres */
key_fn read_databases;    /* into struct config_postgres */
key_fn read_health;       /* char *: a URL, expanded, or a command as it is */
key_fn read_globals;      /* enum config_globals */
bool is_postgres_url(const char *text);
/* The database that an address names, or PG* variables do: for a name. The caller frees. */
char *postgres_url_database(const char *url);

/* ---- mapping.c ---- */

key_fn read_mapping; /* k->keys */
key_fn read_later;   /* always fails: not supported yet */
/* The value of `key` in the mapping, or NULL. */
yaml_node_t *mapping_find(struct loader *l, const yaml_node_t *n, const char *key);
/* Whether it is a mapping, or nothing at all, which stands for an empty one. */
_warn_unused_ int mapping_check(struct loader *l, const yaml_node_t *n, const char *expected,
                                struct err *e);

/* ---- name.c ---- */

bool name_valid(const char *name); /* [a-z0-9][a-z0-9_-]*, at most 64 */
/* A valid name out of the last part of a path without its ending; "" if nothing is left of it. */
void name_from_path(const char *path, char out[NAME_MOST + 1]);
/* The same from any text. */
void name_sanitise(const char *text, size_t len, char out[NAME_MOST + 1]);
/* A copy with a backslash before what a glob would take as its own; the caller frees. */
char *glob_escape(const char *text);
/* Whether the file begins as SQLite databases do. */
bool file_is_sqlite(const char *path);

#endif
