/* Bringing a PostgreSQL database back. It is built beside, under a working name that says so, from
 * what is pulled out of a snapshot: definitions, then data over several connections at once, then
 * indexes, keys and triggers. Only when all of it is there does it get its name; what had that name
 * before keeps another. A failure, an interruption or a kill leaves the name as it was. */
#ifndef SALVOR_TARGET_POSTGRES_H
#define SALVOR_TARGET_POSTGRES_H

#include "base/stream.h"
#include "base/text.h"
#include "client/postgres.h"
#include <time.h>

/* ---- what is in a snapshot ---- */

struct target_content_file {
    char *path; /* below content/ */
    uint64_t size;
};
/* Pulled by the target; `open` may be called from several threads. */
struct target_content {
    int (*open)(void *arg, const char *path, struct stream **out, struct err *e);
    const struct target_content_file *file;
    size_t nfile;
    void *arg;
};

struct postgres_table {
    char *schema, *name;
    char kind; /* as pg_class.relkind: r, p, f, m, ...; u: unlogged */
    bool has_rows;
    uint64_t rows, bytes;
    unsigned split, parts;        /* 0: its data is in the dump; else data/<split>/<part>.copy */
    struct str_list columns, key; /* columns: of the COPY when split; key: primary key, if any */
};
struct postgres_extension {
    char *name, *version, *schema;
};
/* The "source" object of a manifest. Strings are NULL when it does not have them. */
struct postgres_manifest {
    int server_version; /* 150018 */
    char *server, *database, *owner, *encoding, *collate, *ctype, *locale_provider, *icu_locale,
        *collation_version, *lsn, *globals, *dump;
    uint64_t bytes, large_objects, publications, subscriptions;
    struct str_list roles, tablespaces, settings;
    struct postgres_extension *extension;
    size_t nextension;
    struct postgres_table *table;
    size_t ntable;
};
/* ERR_CORRUPT when it is none, or names what cannot be. */
_warn_unused_ int postgres_manifest_parse(const char *json, struct postgres_manifest *out,
                                          struct err *e);
void postgres_manifest_release(struct postgres_manifest *m);
/* NULL when there is no such table. */
const struct postgres_table *postgres_manifest_table(const struct postgres_manifest *m,
                                                     const char *schema, const char *name);
/* The path of one part: "data/0001/0001.copy". */
char *postgres_part_path(unsigned split, unsigned part);
/* "COPY schema.table (columns) FROM STDIN" of a split table, without options; appends. `schema`
 * NULL: its own. */
void postgres_copy_sql(const struct postgres_table *t, const char *schema, struct buf *out);

/* ---- building ---- */

struct postgres_restore {
    const struct pg_server *server; /* where; the database that it names does not matter */
    const char *database;           /* the name that it gets */
    const struct postgres_manifest *manifest;
    const struct target_content *content;
    unsigned workers;   /* connections that load at once; 0: as many as there are processors */
    bool create_roles;  /* those that are missing, from globals.sql */
    bool without_roles; /* leave owners and rights away */
    bool some_tables;   /* it is about some tables, whatever the size of the whole */
    bool without_tablespaces; /* everything into the default one; set by itself where one is missing
                               */
    void (*phase)(const char *what, void *arg); /* "definitions", "data", "indexes", ...: a literal;
                                                   may be NULL */
    void *arg;
};

/* What a restore is going to meet. */
struct postgres_outlook {
    int version;        /* of the server */
    bool exists, empty; /* is there a database of that name, and does it hold nothing */
    bool same_source; /* it is the database that the snapshot was taken of, as far as can be seen */
    char *no_space;   /* why its disk is too small; NULL: it is not, or cannot be seen */
    char *unseen;     /* why nobody can look into the one that exists; NULL: somebody can */
    uint64_t old_bytes;       /* of the one that exists */
    struct str_list outfit;   /* of an empty one: owner, rights, settings, ... */
    struct str_list sessions; /* who is connected to it: "app from 10.0.0.7 (psql), idle" */
    struct str_list missing_roles, missing_extensions, missing_tablespaces;
    struct str_list
        in_the_way; /* what forbids a swap: slots, subscriptions, prepared transactions */
    struct str_list abandoned; /* working databases of runs that are over */
    struct str_list notes;     /* what differs and does no harm: collation versions, settings */
};
void postgres_outlook_release(struct postgres_outlook *o);
/* Only looks. ERR_REFUSED when it cannot work: the server older than the dump, a pooler between, an
 * encoding or locale that the server does not have. */
_warn_unused_ int target_postgres_look(const struct postgres_restore *r,
                                       struct postgres_outlook *out, struct err *e);
/* ERR_REFUSED, naming them, when roles (unless they are to be created), extensions or tablespaces
 * are missing; ERR_FULL where there is too little space. For before it is built. */
_warn_unused_ int target_postgres_ready(const struct postgres_restore *r,
                                        const struct postgres_outlook *o, struct err *e);
/* A database that was built and has a working name. */
struct postgres_built {
    const struct pg_server *server;
    struct pg *beside;       /* holds the working name */
    char *name;              /* the working name */
    struct str_list comment; /* what is said of it once it has its name */
    bool keep_comment;
    bool named;  /* it got its name */
    bool unsure; /* nobody could see whether it did */
};
/* Drops it unless it got its name; also after an interruption. */
void postgres_built_release(struct postgres_built *b);
/* Looks, sees that all is ready, drops what restores that did not end have left, and builds. Row
 * counts are compared with the manifest. r->server must outlive *out. On failure nothing of it is
 * left, unless a warning says so. */
_warn_unused_ int target_postgres_build(const struct postgres_restore *r,
                                        struct postgres_built *out, struct err *e);
/* Gives it its name. A database of that name must be empty (ERR_EXISTS) and unused (ERR_LOCKED): it
 * is dropped. */
_warn_unused_ int target_postgres_publish(const struct postgres_restore *r,
                                          struct postgres_built *b, struct err *e);
/* All of it for a new or empty database. */
_warn_unused_ int target_postgres_new(const struct postgres_restore *r, struct err *e);

/* ---- single tables, to be looked at ---- */

/* A snapshot's database on a server that only we use: its definitions, and the rows of those tables
 * that are asked for. No owners, rights, indexes, keys and triggers. What cannot be defined there,
 * since an extension is missing say, is not there. */
struct postgres_part;
/* Makes r->database on r->server; what `r` points to must outlive it. */
_warn_unused_ int target_postgres_part_new(const struct postgres_restore *r,
                                           struct postgres_part **out, struct err *e);
/* ERR_NOT_FOUND when the backup has no such table, ERR_UNSUPPORTED when it has one that could not
 * be defined. */
_warn_unused_ int target_postgres_part_has(struct postgres_part *p, const char *schema,
                                           const char *table, struct err *e);
/* Loads the rows of tables, or of all partitions of them; `names` are schema and table in turn.
 * Several at once are cheaper: what is in the dump is read through once. */
_warn_unused_ int target_postgres_part_load(struct postgres_part *p, const struct str_list *names,
                                            struct err *e);
/* Drops the database. NULL is allowed. */
void target_postgres_part_free(struct postgres_part *p);

/* ---- some tables ---- */

/* Which tables the patterns mean ("t", "s.t", with * and ?): appended to *names; and whether the
 * schema is in the destination already. ERR_NOT_FOUND names a pattern that means none. */
_warn_unused_ int target_postgres_tables_look(const struct postgres_restore *r,
                                              const struct str_list *patterns, const char *schema,
                                              struct str_list *names, bool *schema_there,
                                              struct err *e);
/* Restores them, and partitions and children of them, into r->database, which is there; into
 * `schema`, made when missing, or their own (NULL). With their keys, indexes and policies, without
 * triggers and keys to other tables. ERR_EXISTS when one is there already. On failure what came is
 * taken away again. */
_warn_unused_ int target_postgres_tables(const struct postgres_restore *r,
                                         const struct str_list *patterns, const char *schema,
                                         struct err *e);

/* ---- in place ---- */

/* A name that no database has: "<database>_<word>_20261121_085300". The caller frees it. */
_warn_unused_ int target_postgres_spare_name(const struct pg_server *s, const char *database,
                                             const char *word, struct timespec when, char **out,
                                             struct err *e);
/* Gives it its name; the database that has it becomes `kept`. Both in one transaction, while who
 * connects waits; who is connected is ended. ERR_REFUSED names slots, subscriptions and prepared
 * transactions of the old one; ERR_LOCKED names sessions that could not be ended. After a failure
 * with b->unsure the names may be swapped. */
_warn_unused_ int target_postgres_swap(const struct postgres_restore *r, struct postgres_built *b,
                                       const char *kept, struct err *e);
/* The way back: `kept` becomes `good` again, and what is `good` now becomes `aside`. ERR_NOT_FOUND
 * when `kept` is gone. `kept` NULL: there was none, so what is `good` only becomes `aside`. */
_warn_unused_ int target_postgres_put_back(const struct pg_server *s, const char *good,
                                           const char *kept, const char *aside, struct err *e);
/* Where a database is, without a password: "postgresql://app@/app?host=db&port=5432", to be written
 * down for the way back. The caller frees it. */
_warn_unused_ int target_postgres_address(const struct pg_server *s, const char *database,
                                          char **out, struct err *e);
/* Which database it is and how it takes writes now, as a text to be written down before it is
 * frozen: also one that a killed restore left frozen can be thawed by it, whatever its name is
 * then. The caller frees it. */
_warn_unused_ int target_postgres_unfrozen(const struct pg_server *s, const char *database,
                                           char **out, struct err *e);
/* Makes new transactions read-only unless they say otherwise, and ends the sessions so that they
 * notice. */
_warn_unused_ int target_postgres_freeze(const struct pg_server *s, const char *database,
                                         struct err *e);
/* Takes that back, unless somebody has already. `database` is the name that it had. */
_warn_unused_ int target_postgres_thaw(const struct pg_server *s, const char *database,
                                       const char *unfrozen, struct err *e);

#endif
