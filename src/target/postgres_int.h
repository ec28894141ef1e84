/* Inside of target/postgres: the dump's own program, and names. */
#ifndef SALVOR_TARGET_POSTGRES_INT_H
#define SALVOR_TARGET_POSTGRES_INT_H

#include "target/postgres.h"

/* ---- postgres_connect.c ---- */

/* Connects to `database` of the server. */
_warn_unused_ int target_connect(const struct pg_server *s, const char *database, struct pg **out,
                                 struct err *e);
/* Connects to a database that is not `but`, to create, rename and drop others from: postgres,
 * template1, or whatever there is. */
_warn_unused_ int target_connect_beside(const struct pg_server *s, const char *but, struct pg **out,
                                        struct err *e);
/* The first column of a query as a list. */
_warn_unused_ int target_query_list(struct pg *p, const char *sql, const char *const *params,
                                    size_t n, struct str_list *out, struct err *e);
/* Appends "a, b and 3 more". */
void target_name_some(const struct str_list *l, struct buf *out);

/* Databases that are being built have this name and twelve hexadecimal digits. */
#define WORKING_PREFIX "salvor_restore_"
/* Working databases that nobody holds, and when they were begun, as far as they say. */
_warn_unused_ int working_abandoned(struct pg *beside, struct str_list *out, struct err *e);
/* A new one's name, held by this connection against being taken for abandoned. */
_warn_unused_ int working_claim(struct pg *beside, char **name, struct err *e);
/* ERR_LOCKED when another restore into `database` is under way; holds it as long as the connection
 * lives. */
_warn_unused_ int working_alone(struct pg *beside, const char *database, struct err *e);
/* Drops a database and what forbids it: sessions, subscriptions. */
_warn_unused_ int working_drop(const struct pg_server *s, struct pg *beside, const char *name,
                               struct err *e);

/* ---- postgres_look.c ---- */

/* Whether a database holds nothing but what comes with every one or with an extension. */
_warn_unused_ int database_empty(const struct pg_server *s, const char *database, bool *empty,
                                 struct err *e);

/* ---- postgres_archive.c: the dump, by pg_restore ---- */

struct archive {
    const struct postgres_restore *restore;
    char *program; /* pg_restore */
    char *dir;     /* private directory for what follows; removed at the end */
    char *head;    /* file: the dump's beginning, with its table of contents */
    bool whole;    /* head is all of the dump */
    char *list;    /* text of the table of contents, as pg_restore --list prints it */
    bool lenient;  /* go on after an error; it is told at the end */
};
/* Reads the table of contents. `major` is that of the server that it is for. */
_warn_unused_ int archive_open(struct archive *a, const struct postgres_restore *r, int major,
                               struct err *e);
void archive_close(struct archive *a);
/* The statements about the database itself (CREATE, ALTER ... SET, GRANT, COMMENT), as they are to
 * be said of `name`. */
_warn_unused_ int archive_properties(const struct archive *a, const char *name,
                                     struct str_list *out, struct err *e);
/* Lines of the list that `wanted` says yes to, written to a file for pg_restore -L; *path is the
 * caller's to free. `line` has no line end. */
typedef bool archive_line_fn(const char *line, void *arg);
_warn_unused_ int archive_choose(const struct archive *a, archive_line_fn *wanted, void *arg,
                                 char **path, struct err *e);

enum archive_section { ARCHIVE_PRE_DATA, ARCHIVE_DATA, ARCHIVE_POST_DATA };
/* Restores a section into the database that `to` is connected to, over connections of its own.
 * `chosen` (may be NULL) is a file of archive_choose. ARCHIVE_DATA reads the whole dump from the
 * snapshot. */
_warn_unused_ int archive_restore(const struct archive *a, enum archive_section section,
                                  struct pg *to, const char *chosen, struct err *e);

/* ---- postgres_statements.c ---- */

/* Cuts SQL as pg_dump writes it into statements, without comments and psql's own commands. */
void statements_split(const char *sql, struct str_list *out);
/* Puts `name` for the database that a statement speaks of; NULL when it speaks of none. The caller
 * frees. */
char *statement_rename_database(const char *statement, const char *name);
/* Whether the identifier at `p`, quoted or not, is `name`. */
bool statement_names(const char *p, const char *name);

/* ---- postgres_load.c: data of split tables and of the dump, side by side ---- */
struct load_choice {
    bool dump;          /* what is in the dump */
    const char *lines;  /* of it only this: a file of archive_choose; may be NULL */
    bool split;         /* split tables */
    const bool *table;  /* of them only these, by their place in the manifest; NULL: all */
    const char *schema; /* that they are in; NULL: their own */
};
_warn_unused_ int load_data(const struct archive *a, const char *database,
                            const struct load_choice *c, struct err *e);
/* Collects the statistics of all tables, over several connections. */
_warn_unused_ int analyze_all(const struct postgres_restore *r, struct pg *p, struct err *e);
/* ---- postgres_build.c ---- */
/* Looks, sees that all is ready, makes missing roles; *own is r with what was found out. */
_warn_unused_ int build_prepare(const struct postgres_restore *r, struct postgres_restore *own,
                                struct pg *beside, struct err *e);
/* Opens the dump and creates a working database. `properties` (may be NULL) gets what
 * archive_properties says. */
_warn_unused_ int build_begin(const struct postgres_restore *r, struct archive *a,
                              struct postgres_built *b, struct str_list *properties, struct err *e);
/* Whether a table has the rows that it had. `schema` NULL: its own. */
_warn_unused_ int check_count(struct pg *p, const struct postgres_table *t, const char *schema,
                              struct err *e);
/* Renames what was built, and gives it its own comment; in a transaction of the caller's. */
_warn_unused_ int built_take_name(struct postgres_built *b, const char *name, struct err *e);

/* ---- postgres_swap.c ---- */
/* Ends all sessions of two databases but this one. */
_warn_unused_ int end_sessions(struct pg *p, const char *a, const char *b, struct err *e);
/* COMMIT of the transaction that gave `b` the name `good`. If the answer is lost, b->beside is
 * another connection afterwards, NULL with b->unsure if the server was not to be reached again. */
_warn_unused_ int built_commit(struct postgres_built *b, const char *good, struct err *e);

/* ---- postgres_roles.c ---- */
/* Creates `missing` from globals.sql; those that it does not have, without login. */
_warn_unused_ int roles_create(const struct postgres_restore *r, struct pg *p,
                               const struct str_list *missing, struct err *e);

#endif
