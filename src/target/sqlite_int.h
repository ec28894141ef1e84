/* Putting a database in the place of another one that somebody may be using. */
#ifndef SALVOR_TARGET_SQLITE_INT_H
#define SALVOR_TARGET_SQLITE_INT_H

#include "target/files_int.h"

struct install {
    int dir;           /* where it goes */
    const char *where; /* the path of dir, without links */
    const char *name;
    const char *fresh;  /* the new database, complete and synced, in the same directory */
    const char *suffix; /* what is there is kept under name + suffix; NULL: it is not */
    int64_t deadline;   /* of clock_since_boot: until then locks are waited for */
    int busy_ms;        /* for messages */
    about_fn *about;
    void *arg;

    bool replaced; /* something was there */
    bool in_place; /* and still is: it was overwritten through SQLite */
    char *kept;    /* a name in dir; the caller frees */
};

/* Uses `fresh` up if it returns 0. Else nothing is changed: ERR_LOCKED while somebody has the
 * database locked, or open where it can only be replaced. */
_warn_unused_ int sqlite_install(struct install *x, struct err *e);
/* Moves the database, with its journals, to name + suffix, in the same way. */
_warn_unused_ int sqlite_set_aside(struct install *x, struct err *e);
/* ERR_CORRUPT if PRAGMA integrity_check does not say "ok". */
_warn_unused_ int sqlite_check(const char *where, const char *name, struct err *e);
_warn_unused_ int sqlite_put_back(const char *path, const char *kept, const char *aside_suffix,
                                  char **aside, struct err *e);

/* ---- sqlite_live.c ---- */

/* Overwrites the open database; ERR_UNSUPPORTED if that cannot be, and it is to be replaced. */
_warn_unused_ int sqlite_overwrite(struct install *x, struct err *e);

/* ---- sqlite_exclusive.c ---- */

/* The files that belong to a database, by what follows its name. */
enum { BESIDE = 3 };
extern const char *const sqlite_beside[BESIDE];

/* With everybody else locked out, replaces the database and its journals by x->fresh and its own
 * ones (NULL: by nothing). Goes on where a crash has left the name shut; x->kept is the old one
 * then, too. */
_warn_unused_ int sqlite_replace(struct install *x, struct err *e);
/* Whether a crash has left the name shut: it leads nowhere while journals are moved. */
bool sqlite_is_shut(const struct install *x);
/* Moves the journals beside a shut name to the database that they belong to. */
_warn_unused_ int sqlite_settle(const struct install *x, struct err *e);
/* Whether two names are of one file. */
bool sqlite_is_same(int dir, const char *a, const char *b);
/* Whether a journal beside `name` holds a part of it. */
bool sqlite_has_journal(int dir, const char *name);
/* The same where there is no database, but perhaps journals of a former one. */
_warn_unused_ int sqlite_place_new(struct install *x, struct err *e);

/* ERR_LOCKED with the text for people; retryable. */
int sqlite_locked(const struct install *x, long pid, bool open, struct err *e);
/* Waits a little; an error if the deadline is over or the program is to stop. */
_warn_unused_ int sqlite_wait(const struct install *x, long pid, bool open, struct err *e);
_warn_unused_ int sqlite_sync_dir(const struct install *x, struct err *e);

#endif
