/* One database: a copy of it that is one state, taken without a trace in the original. */
#ifndef SALVOR_SOURCE_SQLITE_INT_H
#define SALVOR_SOURCE_SQLITE_INT_H

#include "source/source_int.h"
#include <sqlite3.h>
#include <sys/stat.h>

struct sqlite_table {
    char *name;
    int64_t rows; /* -1: not counted */
};

struct sqlite_copy {
    int fd; /* of the copy, which has no name any more; -1 */
    uint64_t bytes;
    struct stat st; /* of the original */
    uint32_t page_size, user_version, application_id;
    bool wal;               /* the original's journal mode is WAL */
    uint64_t schema_digest; /* FNV-1a: to see that a schema changed, nothing more */
    char *unchecked;        /* why integrity could not be checked in full; NULL if it was */
    struct sqlite_table *table;
    size_t ntables, cap;
};

/* ERR_CORRUPT: not a database, encrypted, or damaged; ERR_LOCKED: by somebody for `busy_ms`;
 * ERR_FULL: no room in temp_dir. */
_warn_unused_ int sqlite_copy_make(struct sqlite_copy *c, const char *path, const char *temp_dir,
                                   int busy_ms, bool count_rows, struct err *e);
void sqlite_copy_release(struct sqlite_copy *c);
/* Removes copies that a killed process left in temp_dir. */
void sqlite_copy_sweep(const char *temp_dir);

/* What is read from a copy: pages, versions, schema, integrity, tables. */
_warn_unused_ int sqlite_inspect(struct sqlite_copy *c, const char *copy, const char *path,
                                 bool count_rows, struct err *e);

/* "file:" with everything escaped that means something in a URI; the caller frees. */
char *sqlite_uri(const char *path, const char *parameters);
/* An err of what a connection last said; BUSY and LOCKED are ERR_LOCKED, NOTADB and CORRUPT
 * ERR_CORRUPT, FULL ERR_FULL, PERM, AUTH and READONLY ERR_DENIED. */
int sqlite_err(struct err *e, sqlite3 *db, int rc, const char *doing, const char *path);

static inline void sqlite_close_p(sqlite3 **db)
{
    (void)sqlite3_close(*db);
}

static inline void sqlite_finalize_p(sqlite3_stmt **s)
{
    (void)sqlite3_finalize(*s);
}

#endif
