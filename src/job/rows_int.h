/* Inside of `rows`: tables as two databases have them, the merge of two cursors in key order, and
 * the sets of missing rows, which are kept in the backup's database so that memory stays flat. */
#ifndef SALVOR_JOB_ROWS_INT_H
#define SALVOR_JOB_ROWS_INT_H

#include "job/rows.h"

/* ---- rows_compare.c: the merge, which knows nothing of servers ---- */

/* How the texts of a key column are ordered. */
enum key_class {
    KEY_BYTES,  /* by bytes: text in "C", uuid, bytea, boolean */
    KEY_NUMBER, /* decimal numbers of any length, NaN and infinities */
    KEY_TIME    /* ISO dates and times in UTC, BC and infinities */
};
/* Below 0, 0 or above, as `a` comes before, is, or comes after `b`. */
int key_compare(enum key_class c, const char *a, size_t alen, const char *b, size_t blen);

/* One side: rows whose first columns are the key, then a digest of the rest. */
struct rows_cursor {
    int (*next)(void *arg, struct pg_row *row, struct err *e); /* as pg_rows_next */
    void *arg;
    const char *what; /* for messages: "the backup" */
};
typedef int rows_differ_fn(const struct pg_row *row, void *arg, struct err *e);
struct rows_merge {
    const enum key_class *class;
    size_t nkey;
    rows_differ_fn *missing, *changed; /* get the backup's row */
    void *arg;
    /* results */
    uint64_t nbackup, nproduction, nmissing, nchanged, nadded;
};
/* ERR_UNSUPPORTED when a side is not in strictly ascending order: then nothing it says could be
 * believed. A backup's row whose column after the digest is "f" is passed over (--where). */
_warn_unused_ int rows_merge(struct rows_merge *m, struct rows_cursor *backup,
                             struct rows_cursor *production, struct err *e);

/* ---- rows_table.c: what the catalogue says ---- */

struct rows_column {
    char *name, *type;
    char *base;            /* name of a built-in type below domains; "" for others */
    bool in_c;             /* its own order is that of "C" */
    bool not_null, filled; /* filled: a default or an identity gives a value when none is given */
    bool generated;
    bool common;    /* the backup has it too, and it can be written */
    bool same_type; /* and its type is the same */
};

struct rows_table {
    char *schema, *name;
    char *sql;  /* quoted: "s"."t" */
    char *only; /* the same to read from, without tables that inherit */
    unsigned oid;
    char kind; /* 'r', 'p' */
    bool has_rules;
    bool deferrable; /* a unique constraint of it is, so that the server takes no ON CONFLICT */
    struct rows_column *column;
    size_t ncolumn;
    size_t key[32]; /* places of the key's columns */
    size_t nkey;
    struct str_list triggers;       /* what INSERT fires: user triggers by name */
    struct str_list trigger_states; /* 'O' or 'A' of each */
};
void rows_table_release(struct rows_table *t);
/* schema NULL: the only one that has such a table; "s.t" as the name will do. ERR_NOT_FOUND with
 * the nearest name. */
_warn_unused_ int rows_table_load(struct pg *p, const char *schema, const char *name,
                                  struct rows_table *out, struct err *e);
/* Marks what the two have in common; notes tell what they have not. ERR_UNSUPPORTED where the rows
 * of the one could not be put into the other. */
_warn_unused_ int rows_table_match(struct rows_table *production, const struct rows_table *backup,
                                   struct str_list *notes, struct err *e);
enum key_class rows_key_class(const struct rows_column *c);
/* A column of the key as it is selected and ordered: its own value where its order is one that
 * key_compare knows, else its text by "C". `plain`: see rows.plain_text. */
void rows_key_sql(struct buf *out, const struct rows_column *c, const char *alias, bool plain);
/* Which columns a list is of. */
enum rows_which { ROWS_KEY, ROWS_COMMON, ROWS_COMPARED, ROWS_STORED };
/* "a"."x", "a"."y": quoted, after an alias if that is not NULL. Returns how many. */
size_t rows_columns_sql(struct buf *out, const struct rows_table *t, enum rows_which which,
                        const char *alias);
struct rows_column *rows_table_column(const struct rows_table *t, const char *name);
/* Condition that the keys of two aliases are equal. */
void rows_same_key_sql(struct buf *out, const struct rows_table *t, const char *a, const char *b);
/* How a digest of a row is made. The first two are of the bytes that the server holds, which is
 * the faster where one is compared with another of the same encoding; the first needs version 11.
 */
enum rows_digest { ROWS_HASH, ROWS_MD5, ROWS_MD5_OF_UTF8 };
enum rows_digest rows_own_digest(const struct pg *p); /* for rows of one server */
void rows_digest_sql(struct buf *out, enum rows_digest d, const struct rows_table *t,
                     enum rows_which which, const char *alias);

/* A foreign key of production. */
struct rows_link {
    char *name;
    unsigned child, parent; /* oids */
    char *child_schema, *child_name;
    char *child_sql, *parent_sql; /* what to read after FROM: quoted, with ONLY where due */
    struct str_list column, references, op; /* op: OPERATOR(s.=) of parent and child */
    bool follows; /* a deleted parent takes its children with it, or cannot go before them */
};
struct rows_links {
    struct rows_link *l;
    size_t n, cap;
};
_warn_unused_ int rows_links_load(struct pg *p, struct rows_links *out, struct err *e);
void rows_links_release(struct rows_links *l);
/* `parent`.x OPERATOR(=) `child`.a AND ... */
void rows_link_sql(struct buf *out, const struct rows_link *l, const char *parent,
                   const char *child);
/* Text forms that are the same on every server, whatever its settings. */
_warn_unused_ int rows_session(struct pg *p, struct err *e);

/* ---- rows_find.c: two databases compared ---- */

/* The missing rows of one table: places (tableoid, ctid) in a temporary table `name` of the
 * connection `work`. */
struct rows_set {
    struct rows_table table; /* production's */
    char *source;            /* the backup's table to read from */
    char name[32];
    uint64_t missing, there;
    bool skipped; /* cannot be followed: a note says why */
};

struct rows {
    struct job *job;
    const struct rows_options *options;
    struct pg *production;
    struct pg *backup; /* reads the backup in key order */
    struct pg *work;   /* the same database: holds the sets */
    enum rows_digest digest;
    bool plain_text; /* both servers hold text alike: its bytes can be compared as they are */
    struct rows_links links;
    struct rows_set *set; /* the table that was asked for, then others, parents first at the end */
    size_t nset, cap;
    bool fixed; /* the backup is a database that others may write to: read at one moment */
    struct rows_source *source; /* snapshots; NULL when the backup is a database */
    struct rows_report report;
};
_warn_unused_ int rows_begin(struct rows *r, struct err *e); /* connects to production */
/* Connects to the backup; `fixed`: others may write there. */
_warn_unused_ int rows_use_backup(struct rows *r, const struct pg_server *backup, bool fixed,
                                  struct err *e);
void rows_leave_backup(struct rows *r);
/* Temporary table, columns in common, and source of set `i`, whose table is known. */
_warn_unused_ int rows_set_make(struct rows *r, size_t i, struct err *e);
/* The table that was asked for, whole. */
_warn_unused_ int rows_compare_table(struct rows *r, struct err *e);
/* ---- rows_follow.c: what went with the missing rows ---- */
_warn_unused_ int rows_follow(struct rows *r, struct err *e);
/* What stands after FROM to read the missing rows of a set, as b, in the order of their keys. */
void rows_set_sql(struct buf *out, const struct rows_set *s);
struct rows_set *rows_set_of(const struct rows *r, unsigned oid); /* NULL when there is none */
/* ---- rows_sample.c: what is shown ---- */
/* The columns of changed rows that differ; `place` has tableoid and ctid of each in the backup. */
_warn_unused_ int rows_sample_changes(struct rows *r, const struct str_list *place, struct err *e);
_warn_unused_ int rows_report_fill(struct rows *r, struct err *e);
void rows_report_clear(struct rows_report *p);

/* ---- rows.c: where the backup comes from ---- */
void rows_source_free(struct rows *r);
/* Whether the snapshot has such a table: ERR_NOT_FOUND, ERR_UNSUPPORTED. */
_warn_unused_ int rows_source_has(struct rows *r, const char *schema, const char *table,
                                  struct err *e);
/* Brings tables into the backup's database; schema and name in turn. */
_warn_unused_ int rows_source_load(struct rows *r, const struct str_list *names, struct err *e);

/* ---- rows_reason.c: which rows cannot be put back, and why ---- */

/* Production's temporary tables of set i: the rows to put back (with a column salvor_why, NULL
 * while nothing speaks against it), and the keys of those that were. */
#define ROWS_PUT "pg_temp.salvor_put_%zu"
#define ROWS_DONE "pg_temp.salvor_done_%zu"
/* Sets salvor_why for what is there, what other unique indexes forbid, and what refers to rows that
 * are neither there nor about to be. */
_warn_unused_ int rows_find_reasons(struct rows *r, struct err *e);
/* Runs a statement that ends in RETURNING or not, and tells how many rows it touched. */
_warn_unused_ int rows_touch(struct pg *p, const char *sql, uint64_t *n, struct err *e);

/* ---- rows_file.c: files that are written as they come, and then are there at once ---- */
struct rows_file {
    int fd;
    struct buf pending;
    char *path, *temp; /* temp: what it is called until it is whole; NULL for standard output */
};
_warn_unused_ int rows_file_open(struct rows_file *f, const char *path, struct err *e);
_warn_unused_ int rows_file_put(struct rows_file *f, const void *data, size_t len, struct err *e);
_warn_unused_ int rows_file_put_stream(struct rows_file *f, struct stream *from, struct err *e);
_warn_unused_ int rows_file_commit(struct rows_file *f, struct err *e);
void rows_file_release(struct rows_file *f); /* without commit, nothing is left */

/* ---- rows_record.c: which rows were put back ---- */

/* The first line is a JSON object: where, and the tables. Then a line for each row as COPY writes
 * it: the table's number, the key, a digest of what the row was like when it was put back. */
struct rows_record_table {
    char *schema, *name;
    struct str_list key, column;
};
struct rows_record {
    bool configured; /* the configuration names it; else: */
    char *server;    /* how to connect, without password */
    char *database;
    enum rows_digest digest;
    struct rows_record_table *table; /* parents first */
    size_t n;
};
/* Inside of the transaction that put them back: before it ends, so that a crash leaves no rows that
 * nobody knows of. */
_warn_unused_ int rows_record_write(struct rows *r, const char *path, struct err *e);
/* The first line; *body is open at the second. */
_warn_unused_ int rows_record_read(const char *path, struct rows_record *out, FILE **body,
                                   struct err *e);
void rows_record_release(struct rows_record *r);

/* ---- rows_undo.c ---- */
#define ROWS_KIND "rows" /* of what the ledger keeps */
struct rows_undone {
    uint64_t removed, gone, kept;
    struct str_list why; /* rows that are kept, and why: the first of them */
};
void rows_undone_release(struct rows_undone *u);
/* Takes rows that were put back out again, in one transaction, by the record that rows_apply wrote.
 * A row that was changed since, or that others refer to now, stays and is told. It is
 * reached as `config` (may be NULL) says of `resource` when it was reached so, else as the record
 * says. ERR_PARTIAL when rows stay, ERR_REFUSED when all of them would. */
_warn_unused_ int rows_undo(const struct config *config, const char *resource, const char *record,
                            bool dry_run, struct rows_undone *out, struct err *e);

#endif
