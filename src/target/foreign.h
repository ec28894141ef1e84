/* Archives that salvor did not make: what pg_dump and pg_dumpall write (plain SQL, custom,
 * directory, tar), compressed by gzip, zstd, xz, bzip2 or lz4, encrypted by gpg, in any order.
 * They are read by the programs that belong to them; gpg asks its agent for the passphrase. */
#ifndef SALVOR_TARGET_FOREIGN_H
#define SALVOR_TARGET_FOREIGN_H

#include "client/postgres.h"
#include <sys/types.h>

enum foreign_format { FOREIGN_SQL, FOREIGN_CUSTOM, FOREIGN_TAR, FOREIGN_DIRECTORY };

struct foreign_options {
    const char *gpg_passphrase_file; /* its first line opens the archive; NULL: gpg's agent asks */
    const char *scratch; /* a private directory for what must be unpacked first (which may be the
                            plain text of something encrypted) */
    const char *bindir;  /* of psql and pg_restore; NULL: found */
};

struct foreign;

struct foreign_extension {
    char *name;
    char *version; /* NULL: the archive does not tell */
};

/* What is known of it after foreign_open. */
struct foreign_facts {
    enum foreign_format format;
    char *layers;      /* "gpg, gzip", outermost first; "" for none */
    char *server;      /* "15.18": the server that it was dumped from; NULL if it does not tell */
    int server_major;  /* 15; 0 unknown */
    char *program;     /* the version of pg_dump; NULL */
    char *database;    /* its name there; NULL */
    char *encoding;    /* "UTF8"; NULL */
    uint64_t bytes;    /* of the file or files */
    bool connects;     /* it makes or changes databases itself (pg_dumpall, pg_dump --create) */
    bool transactions; /* it begins and ends transactions itself */
    struct foreign_extension *extension; /* that it makes */
    size_t nextension;
    struct str_list roles;     /* that it names as owners or grantees, and does not create */
    struct str_list databases; /* that it creates */
};

/* Looks through all of it: ERR_CORRUPT when it is damaged or cut off, ERR_PASSPHRASE when gpg could
 * not open it, ERR_UNSUPPORTED when it is no archive of PostgreSQL (saying what it is, if known) or
 * needs newer programs than are installed, ERR_REFUSED when it holds psql commands that could run
 * programs. Nothing is restored yet. */
_warn_unused_ int foreign_open(const char *path, const struct foreign_options *o,
                               struct foreign **out, struct err *e);
void foreign_free(struct foreign *a);
void foreign_freep(struct foreign **a);
const struct foreign_facts *foreign_facts(const struct foreign *a);
const char *foreign_format_name(enum foreign_format f); /* "sql", "custom", "tar", "directory" */

struct foreign_load {
    const struct pg_server *to; /* the database that it goes to, or with facts->connects, where it
                                   begins */
    bool one_transaction;       /* SQL that begins none itself: faster where wal_level is minimal */
    bool without_roles;         /* owners and rights are left away */
    unsigned jobs; /* connections, where the format allows; 0: as many as there are processors */
    bool become;   /* psql runs as uid and gid; needs root */
    uid_t uid;
    gid_t gid;
    struct str_list *warnings; /* what the programs said without failing; may be NULL */
};
/* Restores it into a database that is there; stops at the first error, whose message carries the
 * server's words and the line. Roles that are missing are made, without login. */
_warn_unused_ int foreign_load(struct foreign *a, const struct foreign_load *l, struct err *e);

struct foreign_restore {
    const struct pg_server *server;
    const char *database;     /* a new or an empty one */
    bool create_roles;        /* else missing ones are ERR_REFUSED */
    bool dry_run;             /* only look whether it would go */
    struct foreign_load load; /* how; `to` does not matter */
};
/* Into a database that is new or empty: all of it, or nothing. ERR_EXISTS: it is not empty.
 * ERR_UNSUPPORTED when an extension is missing, or the archive makes its databases itself. */
_warn_unused_ int foreign_restore(struct foreign *a, const struct foreign_restore *r,
                                  struct err *e);

#endif
