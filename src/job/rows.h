/* Rows that somebody deleted: what a backup of a table has and production lacks, found by primary
 * key, with the rows of other tables that went with them; shown, written, put back, taken back. */
#ifndef SALVOR_JOB_ROWS_H
#define SALVOR_JOB_ROWS_H

#include "client/postgres.h"
#include "job/job.h"

struct rows_options {
    struct pg_server production; /* where the rows are missing */
    /* The backup: a database that holds it, when `from.url` is set, else a snapshot of `resource`,
     * loaded into a sandbox. */
    struct pg_server from;
    const char *resource;
    bool configured; /* production is what the configuration names: undo finds it there too */
    struct snapshot_query query;
    bool search; /* not one snapshot: the newest that still has something that is missing */
    const char *table, *schema; /* schema NULL: the only one that has such a table. "s.t" will do */
    const char *where; /* SQL about the backup's rows; NULL: all. Evaluated in the backup only */
    bool alone;        /* do not follow foreign keys to other tables */
    unsigned samples;  /* how many rows of each kind are kept to be shown */
};

/* One row to be shown. Long values are cut. */
struct rows_sample {
    size_t n;
    char **name;       /* the key's columns come first */
    char **backup;     /* NULL for NULL */
    char **production; /* NULL: the row is not there; else only columns that differ, and the key */
};

struct rows_found {
    char *schema, *table;
    struct str_list key;         /* its columns */
    uint64_t backup, production; /* rows compared; only of the table that was asked for */
    uint64_t missing;            /* in the backup and not in production */
    uint64_t changed, added;     /* there with other values; only in production */
    uint64_t there;              /* went by foreign key to a missing row, and are still there */
    struct rows_sample *sample;  /* of the missing ones */
    size_t nsample;
    struct rows_sample *change; /* of the changed ones */
    size_t nchange;
    struct str_list triggers; /* enabled ones that an INSERT fires */
};

struct rows_report {
    struct rows_found
        *table; /* the one that was asked for, then those that follow, parents first */
    size_t n;
    struct str_list notes; /* columns that differ, tables that could not be followed */
    char *of;              /* what the backup is: "snapshot 1a2b3c4d of ..." or an address */
    bool has_snapshot;
    struct snapshot snapshot; /* the newest that has what is missing, or the one asked for */
    bool has_next;            /* a newer one has it no more; else it vanished after the newest */
    struct snapshot next;
    size_t looked; /* snapshots that were loaded to find that out */
};

struct rows; /* a comparison that was made; production is held open, and the sandbox */

/* Where a resource's database is, by the configuration. The strings stay the configuration's, but
 * *database, which the caller frees. ERR_NOT_FOUND: no such resource, or of another type. */
_warn_unused_ int rows_production(const struct config *c, const char *resource,
                                  struct pg_server *out, char **database, struct err *e);

/* Compares. `resource` names what is asked for in messages. Nothing is changed anywhere.
 * ERR_NOT_FOUND: no such table, on either side. ERR_UNSUPPORTED: it has no key, or the two tables
 * are too different. */
_warn_unused_ int job_rows(struct job *j, const struct rows_options *o, struct rows **out,
                           struct err *e);
void rows_free(struct rows *r); /* NULL is allowed */
void rows_freep(struct rows **r);
const struct rows_report *rows_report(const struct rows *r);
const char *rows_where(const struct rows *r); /* production: "app on db.example.com:5432" */

/* Writes the missing rows (mode 600, whole or not at all; "-" is standard output): as INSERTs in
 * one transaction, parents first, that leave alone what is there; or as CSV with a header, the
 * tables that follow each in a file of its own, named after the first. `files` gets their names. */
_warn_unused_ int rows_write_sql(struct rows *r, const char *path, struct err *e);
_warn_unused_ int rows_write_csv(struct rows *r, const char *path, struct str_list *files,
                                 struct err *e);

struct rows_apply_options {
    bool without_triggers; /* the user's triggers sleep meanwhile; the tables are locked for that */
    /* Each row that was not put back: its key, "(id)=(7)", and why. */
    void (*skipped)(const char *table, const char *key, const char *why, void *arg);
    void *arg;
};
struct rows_applied {
    uint64_t put_back, skipped;
    uint64_t altered; /* put back, but a trigger made other values of some columns */
    int64_t run;      /* in the ledger, for undo; 0 without */
};
/* Puts the missing rows back in one transaction that never touches a row that is there. Either all
 * of it happens, but for the rows reported, or nothing. ERR_PARTIAL when rows were skipped. */
_warn_unused_ int rows_apply(struct rows *r, const struct rows_apply_options *o,
                             struct rows_applied *out, struct err *e);

#endif
