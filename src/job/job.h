/* What every job works with: the configuration turned into an open repository, a ledger and keys.
 * The job is where source, repository and target are introduced to each other. */
#ifndef SALVOR_JOB_JOB_H
#define SALVOR_JOB_JOB_H

#include "base/clock.h"
#include "config/config.h"
#include "history/ledger.h"
#include "history/signing.h"
#include "repo/repo.h"
#include "repo/snapshot.h"
#include "target/target.h"
#include <stdatomic.h>

/* Counters that a job raises and whoever shows progress reads, from another thread. */
struct progress {
    _Atomic(const char *) phase; /* "reading", "restoring", "checking", ...: a literal */
    atomic_uint_fast64_t bytes, bytes_total, items, items_total; /* totals are 0 while unknown */
};

struct job_options {
    const char *passphrase; /* of the repository */
    const char *cache_dir;  /* NULL: dir_cache() */
    const char *state_dir;  /* NULL: dir_state() */
    enum compression compression;
    struct clock *clock; /* NULL: clock_system */
};

struct job {
    const struct config *config; /* the caller's */
    struct store *store;
    struct repo *repo;
    struct ledger *ledger;  /* NULL when the state directory cannot be written: warned of once */
    struct signing signing; /* has_key false when there is none and none can be made */
    char *cache_dir, *state_dir; /* cache_dir NULL when it cannot be written */
    struct clock *clock;
    struct progress progress;
    struct snapshot_list snapshots; /* as of job_load_snapshots */
    size_t unreadable;              /* snapshots that are there and could not be read */
};

/* Opens the store at config->repository.url with retries and fault plan ($SALVOR_STORE_FAULT,
 * tests), and the repository in it. */
_warn_unused_ int job_open(const struct config *c, const struct job_options *o, struct job **out,
                           struct err *e);
void job_free(struct job *j); /* releases the lock */
void job_freep(struct job **j);
/* Whether there is a repository: what job_open would say of it without a passphrase. */
_warn_unused_ int job_find(const struct config *c, struct err *e);
/* Opens only the store: for init. */
_warn_unused_ int job_open_store(const char *url, bool create, struct store **out, struct err *e);

/* (Re)reads j->snapshots; damaged ones are warned of and left out. Then the index, in the safe
 * order. */
_warn_unused_ int job_load_snapshots(struct job *j, struct err *e);
_warn_unused_ int job_load(struct job *j, struct err *e);

/* ---- backup ---- */
struct backup_options {
    const char *job;   /* name of the job that asked, or NULL */
    const char *point; /* recovery point id, or NULL: a new one */
    bool reread;       /* read everything, trusting no time stamps */
    bool pre_restore;  /* of what a restore in place replaced: tagged so, never meant by "latest" */
    struct stream *input; /* RESOURCE_STREAM: what to read; taken over */
};
struct backup_result {
    struct id snapshot, tree;
    struct timespec begun;
    int64_t duration;                /* ns */
    uint64_t files, dirs, unchanged; /* unchanged: files not read again */
    uint64_t bytes, bytes_new, bytes_stored, bytes_resumed;
    bool partial;
    struct str_list missing; /* why it is partial: one sentence an entry */
    struct str_list notes;   /* vanished entries, size out of bounds */
    char size_warning[160];  /* "" when the size is as expected */
};
void backup_result_release(struct backup_result *r);
/* Reads the resource into a new snapshot. Takes the shared lock itself when the job holds none.
 * ERR_PARTIAL when the snapshot was saved but something is missing. Without a word in `missing`,
 * everything was saved. */
_warn_unused_ int job_backup(struct job *j, const struct config_resource *r,
                             const struct backup_options *o, struct backup_result *out,
                             struct err *e);

/* A resource each for the databases of one that has several: all that are on the server now, or
 * those that are listed. n is 0 where `r` is one itself. Release it. */
struct job_databases {
    struct config_resource *resource;
    size_t n;
};
_warn_unused_ int job_databases(const struct config_resource *r, struct job_databases *out,
                                struct err *e);
void job_databases_release(struct job_databases *d);
/* Whether what the resource names is there, as far as it shows without reading it: servers are
 * connected to. */
_warn_unused_ int job_try_resource(const struct config_resource *r, struct err *e);

/* ---- restore ---- */
struct restore_options {
    struct snapshot_query query;
    const char *to;   /* a directory, or for databases an address; NULL: in place */
    const char *part; /* only this path below content/ and what is in it; NULL: all. A leading or
                         trailing slash does no harm */
    bool dry_run;
    bool without_keeping; /* in place: do not keep what is there */
    /* of databases */
    bool create_roles;      /* those that the server lacks */
    bool without_roles;     /* leave owners and rights away */
    bool freeze;            /* in place: gate writes before anything else */
    struct str_list tables; /* only these: names or patterns; the caller's. Nothing is replaced */
    const char *schema;     /* that they go to, made when missing; NULL: their own */
    target_event_fn *event; /* each entry; may be NULL */
    void *event_arg;
};
/* What a restore is going to do. */
struct restore_plan {
    struct snapshot snapshot;
    char *resource,
        *type;  /* "files", "sqlite", "stream"; "foreign" for a snapshot that salvor did not make */
    char *root; /* directory that content goes below, absolute */
    char *part; /* as trees have it; NULL: all */
    bool in_place;
    bool target_empty;      /* nothing there: needs no confirmation */
    bool older_than_newest; /* a newer good snapshot exists */
    uint64_t files, bytes;
    int64_t forecast; /* ns, 0: nothing to go by */
    /* into a database server; else NULL, 0 and empty */
    struct restore_postgres *postgres; /* the job's own */
    char *database;
    size_t tables, sessions; /* sessions: of the old one, that will be ended */
    uint64_t old_bytes;
    struct str_list notes; /* what a person should know before */
};
void restore_plan_release(struct restore_plan *p);
_warn_unused_ int job_restore_plan(struct job *j, const char *resource,
                                   const struct restore_options *o, struct restore_plan *out,
                                   struct err *e);
struct restore_result {
    uint64_t files, bytes; /* in the snapshot's part */
    uint64_t created, replaced, same, skipped;
    uint64_t attributes;     /* of the same ones: those whose attributes were set */
    uint64_t bytes_fetched;  /* plaintext taken from the repository */
    int64_t duration;        /* ns */
    int64_t run;             /* in the ledger, for undo; 0 without ledger */
    struct str_list missing; /* what could not be brought back */
    char *kept;              /* the name that a replaced database has now, or NULL */
};
void restore_result_release(struct restore_result *r);
/* Carries the plan out. ERR_PARTIAL when something is missing. What it replaces in place is kept
 * first and written to the ledger. */
_warn_unused_ int job_restore(struct job *j, const struct restore_plan *p,
                              const struct restore_options *o, struct restore_result *out,
                              struct err *e);
/* Takes the last restore in place, or the last rows put back, (of `resource`, or of any when NULL)
 * back. Needs no repository. `config` says how to reach a server; it may be NULL. */
struct undo_result {
    char *resource;
    struct timespec restored;         /* when the restore was made */
    bool rows;                        /* rows that were put back: `removed` counts rows */
    uint64_t put_back, removed, gone; /* gone: rows that others had removed already */
    uint64_t attributes;              /* entries whose attributes were set to the former ones */
    struct str_list stay;             /* rows that stay, and why: the first of them */
    struct str_list asides;           /* where the restored state is now */
};
void undo_result_release(struct undo_result *r);
_warn_unused_ int job_undo(struct ledger *l, const struct config *config, const char *resource,
                           bool dry_run, struct undo_result *out, struct err *e);

/* ---- test: whether it can be restored, shown by restoring it into something throwaway ---- */
struct test_table {
    char *database, *schema, *name; /* schema NULL: SQLite */
    uint64_t rows, bytes;           /* bytes 0: not known */
    bool expects;                   /* the backup says how many rows it should have */
    uint64_t expected;
};
struct test_result {
    char *format;         /* "custom", "sql", ..., or the type of the resource */
    char *layers;         /* "gpg, gzip"; NULL */
    char *from, *program; /* versions of the server and the pg_dump that made it; NULL: unknown */
    char *server;         /* version of the throwaway server; NULL: there was none */
    char *snapshot;       /* id in hexadecimal; NULL: a file */
    struct timespec time; /* of the snapshot */
    uint64_t bytes;       /* of the archive, or of the snapshot's content */
    uint64_t bytes_now;   /* that it takes up restored */
    uint64_t files, rows;
    struct test_table *table;
    size_t ntable;
    struct str_list databases, roles, extensions;
    struct str_list problems;    /* why it is not good: then the test returns ERR_CORRUPT */
    struct str_list warnings;    /* worth knowing */
    int64_t restoring, duration; /* ns: the restore alone; all of the test */
};
void test_result_release(struct test_result *r);

struct test_archive {
    const char *path;
    const char *passphrase_file; /* of gpg; NULL: its agent asks */
    const char *dir;             /* where the throwaway server is made; NULL: sandbox.h chooses */
    struct progress *progress;
};
/* An archive that salvor did not make (target/foreign.h), in a throwaway PostgreSQL. */
_warn_unused_ int job_test_archive(const struct test_archive *o, struct test_result *out,
                                   struct err *e);
/* A snapshot: databases of PostgreSQL in a throwaway server, all else below a throwaway directory.
 * What comes out is compared with what the manifest says. */
_warn_unused_ int job_test(struct job *j, const char *resource, const struct snapshot_query *q,
                           const char *dir, struct test_result *out, struct err *e);

/* Writes one file of a snapshot to a descriptor. */
_warn_unused_ int job_dump(struct job *j, const struct snapshot *s, const char *path, int fd,
                           struct err *e);

/* ---- verify ---- */
struct verify_options {
    const char *const *resources; /* names; n 0: the whole repository */
    size_t nresources;
    double read_share;
    uint64_t seed;
    void (*found)(const char *object, const char *detail, const char *affects, bool damage,
                  void *arg);
    void *found_arg;
};
struct verify_result {
    uint64_t snapshots, trees, blobs, packs, packs_read, bytes_read;
    uint64_t damage; /* damaged or missing things, signatures that do not hold among them */
    uint64_t waste;
    uint64_t signatures_good, unsigned_foreign; /* foreign: snapshots that stock restic made */
    int64_t duration;
};
/* The repository, and each snapshot's manifest: its signature, and that it speaks of this content.
 * ERR_CORRUPT when damage was found. */
_warn_unused_ int job_verify(struct job *j, const struct verify_options *o,
                             struct verify_result *out, struct err *e);

/* ---- retention ---- */
struct forget_options {
    const char *const *resources; /* n 0: all configured ones that have rules, or all with `keep` */
    size_t nresources;
    const struct config_keep *keep; /* instead of the configured ones; may be NULL */
    const char *const *snapshots;   /* by id: these and no others */
    size_t nsnapshots;
    bool dry_run;
    void (*decided)(const struct snapshot *s, bool keep, const char *why, void *arg);
    void *decided_arg;
};
struct forget_result {
    uint64_t kept, removed;
};
_warn_unused_ int job_forget(struct job *j, const struct forget_options *o,
                             struct forget_result *out, struct err *e);

/* ---- the record: what the ledger is told of work that is no job of its own (prune, keys, locks)
 * ---- */

/* Both do nothing without a ledger; one that fails is warned of and fails nothing else. Begin fills
 * `r`, end releases it. */
void record_begin(struct job *j, struct ledger_run *r, const char *kind, const char *resource,
                  const char *by_job);
void record_end(struct job *j, struct ledger_run *r, int code, const struct err *e);

/* ---- status ---- */
struct resource_status {
    const char *resource; /* valid while the job lives */
    const char *type;
    bool configured;
    size_t snapshots;
    bool has_newest, has_good;
    struct snapshot newest, good; /* newest of all; newest good one */
    int64_t age;                  /* of the good one, ns */
    int rpo, rto;                 /* enum objective_state */
    int64_t rpo_promise, rpo_left, rto_promise, rto_measured;
    uint64_t bytes;         /* of the newest good one */
    char last_problem[256]; /* "" or what the last run said, when it failed */
};
typedef int status_fn(const struct resource_status *s, void *arg, struct err *e);
/* ERR_MISSED when an objective is missed. */
_warn_unused_ int job_status(struct job *j, status_fn *fn, void *arg, struct err *e);

#endif
