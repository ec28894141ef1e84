/* Inside of the job room: the river both ways, and the documents that go into a snapshot beside
 * content/. */
#ifndef SALVOR_JOB_JOB_INT_H
#define SALVOR_JOB_JOB_INT_H

#include "job/job.h"
#include "source/source.h"
#include "target/postgres.h"
#include "target/target.h"

/* ---- backup.c ---- */
void progress_reset(struct progress *p);

/* ---- open.c ---- */
/* The driver that reads what `r` names. `input` (RESOURCE_STREAM only) is taken over, also on
 * failure. */
_warn_unused_ int job_source_new(const struct config_resource *r, struct stream *input,
                                 struct source **out, struct err *e);

/* Where the server of `r` is and what is wanted of it. Strings stay those of `r`. ERR_USAGE when
 * its address was left open. */
_warn_unused_ int job_postgres_options(const struct config_resource *r,
                                       struct source_postgres_options *o, struct err *e);

/* ---- restore.c ---- */
/* What the ledger has as the detail of a restore in place that kept nothing. */
#define RESTORE_KEPT_NOTHING "{\"in_place\":true,\"kept\":false}"
/* The shared lock; without one, said once, where none can be written: somebody who may only read
 * must be able to restore and to verify. */
_warn_unused_ int lock_for_reading(struct job *j, struct err *e);

/* ---- restore_postgres.c ---- */
/* Kinds of what the ledger keeps. The path is the database's address, kept the former one's name.
 */
#define KEPT_POSTGRES "postgres" /* names were swapped */
#define KEPT_CUTOVER "cutover"   /* a command led the application to the other one */
#define KEPT_FROZEN "frozen"     /* kept is what target_postgres_unfrozen told */
/* Whether this is a restore into a database server and not of files. */
bool restore_into_postgres(const char *type, const char *to);
/* Fills what is special to databases: plan->snapshot, resource and type are there. */
_warn_unused_ int postgres_plan(struct job *j, const struct restore_options *o,
                                struct restore_plan *plan, struct err *e);
/* `run` is the ledger's, 0 without one. */
_warn_unused_ int postgres_carry_out(struct job *j, const struct restore_plan *plan,
                                     const struct restore_options *o, int64_t run,
                                     struct restore_result *out, struct err *e);
/* A snapshot of the database that was replaced, named result->kept. */
void postgres_save_replaced(struct job *j, const struct restore_plan *plan, const char *kept);
void restore_postgres_free(struct restore_postgres *p); /* NULL is allowed */

/* ---- undo_postgres.c ---- */
/* The swap back by a record of the ledger, on the server that it names. *aside gets the name that
 * the restored one has then. */
_warn_unused_ int postgres_put_back(const struct config *c, const char *resource,
                                    const struct ledger_kept *k, char **aside, struct err *e);
/* Thaws what the record is about. */
_warn_unused_ int postgres_thaw(const struct config *c, const char *resource,
                                const struct ledger_kept *k, struct err *e);
/* Thaws what killed restores of the resource left frozen, and says so. */
void postgres_thaw_left(struct ledger *l, const struct config *c, const char *resource);

/* ---- hook.c ---- */
enum { HOOK_MS = 600000 }; /* how long a command of the configuration may take */
/* Runs a command of the configuration, which is told the database in SALVOR_DATABASE and, where
 * there is one, that which it stands for in SALVOR_DATABASE_BEFORE. `name` is for messages. */
_warn_unused_ int hook_run(const char *command, const char *name, const char *database,
                           const char *instead_of, int timeout_ms, struct err *e);
/* Asks a URL, or a command, until it answers well; at most `limit` ns. */
_warn_unused_ int health_wait(const char *health, const char *database, int64_t limit,
                              struct err *e);

/* ---- river_in.c: source -> blobs and trees ---- */
struct river_in {
    struct job *job;
    struct source *source;
    struct writer *writer;
    bool has_before;  /* compare with an earlier snapshot's content */
    struct id before; /* its tree */
    /* results */
    struct id content; /* tree of content/ */
    uint64_t files, dirs, unchanged, bytes;
    struct str_list missing, notes;
};
_warn_unused_ int river_in_run(struct river_in *r, struct err *e);
void river_in_release(struct river_in *r);

/* ---- river_out.c: blobs and trees -> target ---- */
struct river_out {
    struct job *job;
    struct target *target;
    struct id tree;   /* what goes to the target's root */
    const char *part; /* only this path and what is in it; NULL: all */
    bool dry_run;     /* the target writes nothing, so nothing is fetched but to be compared */
    /* results */
    uint64_t files, bytes, bytes_fetched;
    struct str_list missing;
};
_warn_unused_ int river_out_run(struct river_out *r, struct err *e);
void river_out_release(struct river_out *r);

/* ---- manifest.c ---- */
enum { MANIFEST_VERSION = 1 };

struct manifest {
    char *resource, *type, *base; /* base: where content was read from; NULL when it has no place */
    char *source;                 /* what source_describe wrote, as JSON text; NULL when missing */
    struct id content;
    struct timespec time;
    uint64_t files, bytes;
    bool partial;
};
void manifest_release(struct manifest *m);
/* Writes manifest.json for a finished backup into `out`. */
_warn_unused_ int manifest_write(struct job *j, const struct config_resource *r,
                                 const struct backup_options *o, const struct backup_result *res,
                                 const struct river_in *in, struct buf *out, struct err *e);
/* Reads the object that source_describe wrote: its "base", exactly ("base_bytes" where it is not
 * text). NULL when there is none; the caller frees. */
char *manifest_parse_base(struct json_in *in);
/* Reads the manifest of a snapshot. `signature` gets the result of its check: 0, ERR_CORRUPT
 * (altered or not fitting), ERR_REFUSED (by a key that is not trusted), ERR_NOT_FOUND (none); `why`
 * the message. */
_warn_unused_ int manifest_load(struct job *j, const struct snapshot *s, struct manifest *out,
                                int *signature, struct err *why, struct err *e);
/* RESTORE.txt: how to bring this snapshot's content back with stock tools alone. `description` is
 * the object that source_describe wrote. */
void restore_text(const struct job *j, const struct config_resource *r,
                  const struct buf *description, struct buf *out);

/* ---- content.c ---- */
/* The tree of content/ of one of our snapshots; for a foreign snapshot its whole tree. */
_warn_unused_ int snapshot_content(struct job *j, const struct snapshot *s, struct id *tree,
                                   struct err *e);
/* Appends a whole file of a snapshot, for small ones: at most out's cap. */
_warn_unused_ int snapshot_read_file(struct job *j, const struct snapshot *s, const char *path,
                                     struct buf *out, struct err *e);
/* Whether `path` is in the part that is asked for (1), above it (0), or neither (-1). NULL is all.
 */
int path_place(const char *path, const char *part);
/* Files and bytes below a tree or a part of it, as far as they can be read. */
_warn_unused_ int content_measure(struct job *j, const struct id *tree, const char *part,
                                  uint64_t *files, uint64_t *bytes, struct err *e);
/* ---- content_stream.c ---- */
/* A file of a snapshot as a stream: its blobs in order, read ahead by a few workers within a window
 * of some MiB; raises progress.bytes. `path` is for messages. The job outlives it. Needs a loaded
 * index. ERR_CORRUPT when its blobs do not make it up. */
struct stream *content_stream_new(struct job *j, const struct node *n, const char *path);
/* The same of the file at `path` below a tree. ERR_USAGE when it is no file. */
_warn_unused_ int content_stream_open(struct job *j, const struct id *tree, const char *path,
                                      struct stream **out, struct err *e);
/* All files below a tree for a target that pulls them: hand it &f.content. Must stay where it is
 * until it is released, which is always allowed. */
struct content_files {
    struct target_content content;
    struct target_content_file *file;
    size_t cap;
    struct job *job;
    struct id tree;
};
_warn_unused_ int content_files_init(struct content_files *f, struct job *j, const struct id *tree,
                                     struct err *e);
void content_files_release(struct content_files *f);

/* ---- content.c, of snapshots ---- */
/* Whether a snapshot is complete: not tagged "partial". */
bool snapshot_complete(const struct snapshot *s);
/* Whether it was taken of what a restore replaced: never meant by "latest". */
bool snapshot_pre_restore(const struct snapshot *s);

#endif
