/* The parts of reading a foreign archive. */
#ifndef SALVOR_TARGET_FOREIGN_INT_H
#define SALVOR_TARGET_FOREIGN_INT_H

#include "base/proc.h"
#include "target/foreign.h"

enum { LAYERS_MOST = 4, FOREIGN_HEAD = 4096 };

struct foreign {
    struct foreign_facts facts;
    char *path;    /* as it was given, for messages */
    char *plain;   /* a file or directory that pg_restore can open; NULL for SQL */
    char *scratch; /* removed with all in it; NULL: nothing was unpacked */
    char *bindir, *gpg_passphrase_file, *scratch_base;
    const struct foreign_layer *layer[LAYERS_MOST];
    size_t nlayers;
    char *pg_restore; /* its path; NULL for SQL */
};

/* ---- foreign_layer.c: compression and encryption ---- */

struct foreign_layer {
    const char *name; /* "gzip" */
    const char *const *argv;
    const char *package; /* on Debian */
};
/* The layer that begins like this; NULL if none does. */
const struct foreign_layer *foreign_layer_find(const uint8_t *head, size_t len, const char *name);
/* The bytes below all layers. Its end is the end only if every program said so. */
_warn_unused_ int foreign_stream(const struct foreign *a, struct stream **out, struct err *e);

/* ---- foreign_sql.c: reading SQL as psql would, line by line ---- */

/* What a line is to psql. */
enum sql_line {
    SQL_OTHER,
    SQL_CONNECT,   /* \connect to the database `connect` */
    SQL_DROPPED,   /* a command to psql that the rest does not need */
    SQL_FORBIDDEN, /* another one, named in `command` */
};
struct sql_piece;
struct sql_scan {
    struct foreign_facts *facts;
    struct str_list created; /* roles that it creates itself */
    uint64_t lines;
    bool in_copy;                  /* between COPY ... FROM stdin; and \. */
    bool fresh;                    /* no statement is open */
    bool rights;                   /* the line is only about owners and rights */
    bool backslash;                /* one was outside of quotes */
    int dumps_open, clusters_open; /* announced, and not said to be complete */
    char quote;                    /* ' E " $ * (a comment): what is open; 0: nothing */
    int depth;
    char tag[66];
    const char *other; /* what it is instead of PostgreSQL's, if that is known */
    char command[64];
    char *connect;
};
void sql_scan_init(struct sql_scan *s, struct foreign_facts *f);
enum sql_line sql_scan_piece(struct sql_scan *s, const struct sql_piece *piece);
/* Whether it may end here. */
bool sql_scan_complete(const struct sql_scan *s);
void sql_scan_release(struct sql_scan *s);

/* Lines of a stream. A line longer than the buffer comes in pieces: `first` and `last`. */
struct sql_lines {
    struct stream *from;
    char *data;
    size_t at, len;
    bool end, middle;
};
enum { SQL_LINE_MOST = 1 << 20 };
struct sql_piece {
    const char *text; /* with its newline, if it has one */
    size_t len;
    bool first, last;
};
/* *got false at the end. */
_warn_unused_ int sql_lines_next(struct sql_lines *l, struct sql_piece *p, bool *got,
                                 struct err *e);
void sql_lines_release(struct sql_lines *l);

/* ---- foreign_open.c ---- */
void foreign_facts_release(struct foreign_facts *f);
/* Whether what pg_restore said means a damaged or too new archive: then the error, else 0. */
_warn_unused_ int foreign_damaged(const struct foreign *a, const char *said, struct err *e);

/* ---- foreign_load.c ---- */

/* The environment of psql and pg_restore: where `p` is connected to, and of ours only what programs
 * need. Both are for proc_options.env and the caller's to release. */
void foreign_environment(const struct pg *p, struct str_list *list, const char ***env);

#endif
