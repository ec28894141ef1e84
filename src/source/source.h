/* A source reads one resource out as a tree of entries with streams. The job walks it and pulls
 * the streams, several at once; the source knows nothing of repositories.
 *
 * Order of calls: source_next until SOURCE_END (one thread); source_open, reading and
 * source_verdict for any entry at any time and on any thread while the source lives;
 * source_describe after all of that. */
#ifndef SALVOR_SOURCE_SOURCE_H
#define SALVOR_SOURCE_SOURCE_H

#include "base/json.h"
#include "base/node.h"
#include "base/stream.h"
#include "base/text.h"

struct source;

enum source_step {
    SOURCE_ENTER, /* a directory: what follows until its SOURCE_LEAVE is in it */
    SOURCE_LEAVE,
    SOURCE_LEAF, /* anything else; entries of a directory come in ascending order of name bytes */
    SOURCE_PROBLEM, /* an entry that should be there could not be listed; see `problem` */
    SOURCE_END,
};

/* How a stream is cut into blobs. */
struct source_cut {
    uint32_t piece; /* 0: by content; else aligned pieces of so many bytes (256 KiB to 1 MiB) */
};

struct source_item {
    enum source_step step;
    struct node node; /* all but content and subtree; owned by the item */
    char *path;       /* relative to content/, "/" between parts; owned by the item */
    bool has_bytes;   /* a stream is to be read (regular files that are not empty) */
    struct source_cut cut;
    struct err problem; /* SOURCE_PROBLEM: ERR_NOT_FOUND it vanished (a note); else unreadable */
    void *handle;       /* the source's own; valid until source_item_release */
    struct source *source;
};
void source_item_release(struct source_item *i);

/* Fills `out`, which the caller releases (it may outlive the next call). */
_warn_unused_ int source_next(struct source *s, struct source_item *out, struct err *e);
/* Whether the bytes are surely those that were read when `before` was made (type, size, times,
 * inode), so that they need not be read again. */
bool source_unchanged(const struct source_item *i, const struct node *before);
/* ERR_NOT_FOUND: vanished since it was listed. ERR_DENIED and others: unreadable. */
_warn_unused_ int source_open(const struct source_item *i, struct stream **out, struct err *e);
/* After reading to the end, before closing: 0 when what was read is one state of the entry (i->node
 * is brought up to date with it); ERR_CHANGED when it changed meanwhile: read it again. */
_warn_unused_ int source_verdict(struct source_item *i, struct stream *s, uint64_t bytes_read,
                                 struct err *e);

/* Writes members into an object that the caller has begun: what was read and what a restore needs
 * to know ("base", versions, tables and row counts, ...). */
_warn_unused_ int source_describe(struct source *s, struct json_out *j, struct err *e);
/* Total bytes and entries if they are known cheaply, for progress; 0 when not. */
void source_estimate(struct source *s, uint64_t *bytes, uint64_t *entries);
void source_free(struct source *s); /* NULL is allowed */
void source_freep(struct source **s);

/* Whether the entries make sense only together: one that cannot be read then fails the backup,
 * where else the rest is saved as a partial one. */
bool source_is_whole(const struct source *s);

/* ---- drivers ---- */

struct source_files_options {
    const char *const
        *paths; /* absolute or relative to the working directory, with globs; ~ is expanded */
    size_t npaths;
    const char *const
        *excludes; /* patterns: with a slash against the whole path, without against each name */
    size_t nexcludes;
    bool one_file_system;
    bool exclude_caches; /* directories that hold a CACHEDIR.TAG */
};
/* Entries are laid out below the nearest common parent of all paths, which source_describe tells as
 * "base". A path without glob that is not there is ERR_NOT_FOUND; a glob that matches nothing is
 * too. */
_warn_unused_ int source_files_new(const struct source_files_options *o, struct source **out,
                                   struct err *e);

struct source_sqlite_options {
    const char *const *paths; /* database files, with globs */
    size_t npaths;
    const char *temp_dir; /* where copies are made; NULL: $TMPDIR, else /var/tmp */
    int busy_ms;          /* how long a locked database is waited for; 0: 30,000 */
    bool skip_row_counts;
};
/* Each database is copied through the online backup interface when its entry comes up in
 * source_next, and checked there: "not a database", "encrypted", "locked for N s by another
 * process" are errors of source_next for the whole source, or a SOURCE_PROBLEM when others remain.
 */
_warn_unused_ int source_sqlite_new(const struct source_sqlite_options *o, struct source **out,
                                    struct err *e);

enum source_globals {
    SOURCE_GLOBALS_AUTO, /* with passwords where the role may read them */
    SOURCE_GLOBALS_WITH_PASSWORDS,
    SOURCE_GLOBALS_WITHOUT_PASSWORDS,
    SOURCE_GLOBALS_NONE,
};

#define SOURCE_POSTGRES_SPLIT ((uint64_t)64 << 20)

struct source_postgres_options {
    const char *url;      /* NULL: the PG* variables alone */
    const char *database; /* instead of the one that it names; may be NULL */
    const char *bindir;   /* of pg_dump; NULL: it is looked for */
    enum source_globals globals;
    uint64_t split;   /* bytes; larger tables are read in parts; 0: SOURCE_POSTGRES_SPLIT */
    unsigned lock_ms; /* how long a locked table is waited for; 0: 30,000 */
};
/* One database, logically, by one snapshot: what doc/format.md says. Connects, finds the programs
 * and looks whether everything may be read; locks and snapshot come with the first source_next.
 * What cannot be read fails the whole: a part of a database is no backup of it. */
_warn_unused_ int source_postgres_new(const struct source_postgres_options *o, struct source **out,
                                      struct err *e);
/* Appends the databases of the server but templates, ascending. `database` is only
 * where to ask. */
_warn_unused_ int source_postgres_databases(const struct source_postgres_options *o,
                                            struct str_list *out, struct err *e);

/* One stream under one name (standard input). The stream is taken over. */
struct source *source_stream_new(const char *name, struct stream *stream);

#endif
