/* The parts that a source of one PostgreSQL database is made of: one snapshot that all sessions
 * share, what is in it, and how large tables are read in parts. */
#ifndef SALVOR_SOURCE_POSTGRES_INT_H
#define SALVOR_SOURCE_POSTGRES_INT_H

#include "client/postgres.h"
#include "source/source_int.h"
#include <pthread.h>
#include <stdatomic.h>

extern const char sql_pg_tables[], sql_pg_splits[], sql_pg_columns[], sql_pg_keys[],
    sql_pg_locked[], sql_pg_queued[], sql_pg_facts[], sql_pg_lists[], sql_pg_extensions[],
    sql_pg_databases[];

struct pg_table {
    int64_t oid;
    char *schema, *name;
    char kind; /* r ordinary, u unlogged, p root of partitions, f foreign, m materialised view */
    uint64_t bytes;
    bool readable;        /* the role may select from it */
    bool hidden;          /* a policy would hide rows from the role */
    bool extension;       /* an extension's, whose rows come in part from itself: not counted */
    _Atomic int64_t rows; /* -1: not counted */
    /* when it is read in parts */
    unsigned split; /* its number from 1 on; 0: its data are in the dump */
    unsigned parts;
    uint64_t part_blocks;
    struct str_list columns;
    struct str_list key; /* columns of the primary key */
};

/* ---- postgres_catalog.c: what there is ---- */

struct pg_catalog {
    struct pg_table *table; /* ascending by schema and name */
    size_t n, nsplit;
    /* of the database, as the server writes them; NULL where it has none */
    char *server, *database, *owner, *encoding, *collate, *ctype, *locale_provider, *icu_locale,
        *icu_rules, *collation_version, *lsn;
    uint64_t bytes;
    int64_t publications, subscriptions, large_objects;
    struct str_list roles, tablespaces, settings, collations;
    struct pg_rows *extensions;
};
void catalog_release(struct pg_catalog *c);
/* The tables alone. */
_warn_unused_ int catalog_tables(struct pg_catalog *c, struct pg *p, struct err *e);
/* ERR_DENIED or ERR_REFUSED, naming tables of which the role would not see all rows. */
_warn_unused_ int catalog_check_rights(const struct pg_catalog *c, const struct pg *p,
                                       struct err *e);
/* Everything else, for c->table as it is; tables larger than `split` bytes get parts. */
_warn_unused_ int catalog_facts(struct pg_catalog *c, struct pg *p, uint64_t split, struct err *e);
void catalog_describe(const struct pg_catalog *c, struct json_out *j);

/* ---- postgres_snapshot.c: one state for all ---- */

enum { PG_WORKERS_MOST = 16 };

struct pg_snapshot {
    struct pg_server server; /* strings are the source's */
    struct pg *leader;       /* holds the locks; its transaction is the snapshot */
    char *id;                /* as pg_export_snapshot() named it */
    struct pg *worker[PG_WORKERS_MOST];
    size_t nworkers;
};
void snapshot_end(struct pg_snapshot *s); /* all sessions, but not the leader's connection */
/* Locks every table, then takes the snapshot and fills `c` from it, and checks that nothing slipped
 * between; begins anew, a few times, when something did. `began` is called when workers are ready
 * and may fail with ERR_LOCKED to begin anew too. */
typedef int snapshot_began_fn(void *arg, struct err *e);
_warn_unused_ int snapshot_begin(struct pg_snapshot *s, struct pg_catalog *c, uint64_t split,
                                 snapshot_began_fn *began, void *arg, struct err *e);

/* ---- postgres_parts.c: large tables in parts ---- */

/* Splits what is larger than `split` bytes into ranges of a fixed number of blocks. */
_warn_unused_ int parts_plan(struct pg_catalog *c, struct pg *p, uint64_t split, struct err *e);
/* Once columns are known: numbers them, and leaves what cannot be named safely to the dump. */
void parts_number(struct pg_catalog *c);
/* The script that loads them with psql. */
void parts_load_sql(const struct pg_catalog *c, struct buf *out);
/* "COPY (SELECT ...) TO STDOUT" of part `part` from 0 on. */
void parts_copy_sql(const struct pg_table *t, unsigned part, struct buf *out);

/* ---- postgres_count.c: rows of the tables that are in the dump ---- */

struct pg_counter;
/* Counts in a thread, on a connection that nobody else uses until counter_join. */
struct pg_counter *counter_start(const struct pg_server *s, struct pg *p, struct pg_catalog *c);
/* Waits for its end, or brings it about when it is not wanted any more. Frees it. */
_warn_unused_ int counter_join(struct pg_counter *k, bool stop, struct err *e);

#endif
