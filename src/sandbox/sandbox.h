/* Throwaway servers that only salvor uses: made from the server programs that are installed,
 * reached over a Unix socket in a directory of mode 700, gone when freed, and gone also when salvor
 * is killed: a small shell (the keeper) that waits for salvor's end stops the server and deletes
 * all of it; what even the keeper could not do, the next start sweeps away. Nothing of the host's
 * own servers is touched.
 *
 * As root the server runs as an unprivileged user: $SALVOR_SANDBOX_USER, else postgres, else
 * nobody. What a restored database makes its server run (functions, COPY FROM PROGRAM) runs as that
 * user. */
#ifndef SALVOR_SANDBOX_SANDBOX_H
#define SALVOR_SANDBOX_SANDBOX_H

#include "client/postgres.h"
#include <sys/types.h>

struct sandbox;

struct sandbox_extension {
    const char *name;
    const char *version; /* that the source has; NULL: any. An older one here is said in a notice */
};

struct sandbox_postgres {
    int major;          /* the server's version must be this; 0: the newest installed */
    bool or_newer;      /* or a newer one, the oldest of these that is installed */
    const char *bindir; /* of the server's programs; NULL: found */
    const char *dir;    /* where it is made; NULL: $TMPDIR, else /var/tmp, else /tmp, the first that
                           the server's user can reach. It needs the room of the restored database */
    const char *encoding;        /* NULL: UTF8 */
    const char *collate, *ctype; /* of databases made in it; NULL: C. One that this host lacks is
                                    replaced by C with a notice */
    const struct sandbox_extension *extensions; /* that must be available: "cannot: needs ..." by
                                      name; with their shared_preload_libraries where known */
    size_t nextensions;
};
/* Runs initdb, starts the server with fsync off, wal_level minimal and settings for loading, and
 * waits until it answers. May be called from any thread, for several sandboxes at once.
 * ERR_NOT_FOUND: no fitting server is installed (which one, and the package's name).
 * ERR_UNSUPPORTED: an extension is missing, by name. ERR_FULL: no room. ERR_CANCELLED. */
_warn_unused_ int sandbox_postgres_start(const struct sandbox_postgres *o, struct sandbox **out,
                                         struct err *e);
/* Only a directory of mode 700 that belongs to us, gone when freed and when salvor is killed. `dir`
 * as above. */
_warn_unused_ int sandbox_directory_start(const char *dir, struct sandbox **out, struct err *e);
/* How to reach it as its superuser; valid while it lives. The PG* variables do not matter to it. To
 * name another database, copy it and set `database`. */
const struct pg_server *sandbox_server(const struct sandbox *s);
int sandbox_major(const struct sandbox *s);
/* Its directory, for what belongs to it and goes with it; the server's user owns it. */
const char *sandbox_dir(const struct sandbox *s);
/* Whether we are root and the server runs as another user, for children that should do so too. */
bool sandbox_user(const struct sandbox *s, uid_t *uid, gid_t *gid);
/* Whether the server runs. When it does not, the end of its log says why (sandbox_log_end). */
bool sandbox_alive(const struct sandbox *s);
/* The last lines of the server's log; the caller frees it. */
char *sandbox_log_end(const struct sandbox *s);
/* Adds why to an error that came from using it, if the server is gone. Returns the code. */
int sandbox_explain(const struct sandbox *s, struct err *e);
/* Stops it at once and deletes all of it. NULL is allowed. */
void sandbox_free(struct sandbox *s);
void sandbox_freep(struct sandbox **s);
/* Deletes what earlier, killed runs left below `dir` (NULL: in each of the places named above);
 * called by every start. One that somebody still owns is left alone. */
void sandbox_sweep(const char *dir);

#endif
