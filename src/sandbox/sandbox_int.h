/* The parts of a sandbox: its user, its directory, its settings, its processes. */
#ifndef SALVOR_SANDBOX_SANDBOX_INT_H
#define SALVOR_SANDBOX_SANDBOX_INT_H

#include "sandbox/sandbox.h"

/* ---- child.c: programs run as the sandbox's user ---- */

struct sandbox_user {
    char *name;
    uid_t uid;
    gid_t gid;
    bool change; /* we are root and become this one */
};
/* Who runs the server. ERR_NOT_FOUND if there is no unprivileged user on this host. */
_warn_unused_ int sandbox_user_choose(struct sandbox_user *u, struct err *e);
void sandbox_user_release(struct sandbox_user *u);
/* Whether the user may use the directory and everything above it. */
bool sandbox_user_reaches(const struct sandbox_user *u, const char *dir);

struct sandbox_child {
    const char *const *argv; /* the path of the program, its words, NULL */
    const struct sandbox_user *user;
    const char *dir;  /* its working directory */
    int in, out, err; /* its three descriptors */
};
/* Starts it in a session of its own, with a bare environment and no other descriptor of ours. */
_warn_unused_ int sandbox_child_start(const struct sandbox_child *c, pid_t *pid, struct err *e);
/* Waits for its end, at most `ms`; then, or when interrupted (`interruptible`), its group is
 * killed. *status is that of waitpid. */
_warn_unused_ int sandbox_child_wait(pid_t pid, const char *name, int ms, bool interruptible,
                                     int *status, struct err *e);

/* ---- place.c: directories, and who owns them ---- */

#define SANDBOX_PREFIX "salvor-sandbox-"
enum { SOCKET_PATH_MOST = 107 - (int)sizeof("/.s.PGSQL.5432") + 1 }; /* of its directory */

struct sandbox_place {
    char *dir;        /* <base>/salvor-sandbox-XXXXXX, mode 700; NULL: not made */
    char *socket_dir; /* the same, or a short one below /tmp */
    int owner;        /* holds the flock on <dir>/owner: alive while that is held; -1 */
    int socket_owner; /* the same in socket_dir; -1 if that is the same */
};
/* Makes it; it still belongs to us. */
_warn_unused_ int sandbox_place_make(struct sandbox_place *p, const char *base,
                                     const struct sandbox_user *u, struct err *e);
/* Hands it over to the user who runs the server. */
_warn_unused_ int sandbox_place_give(const struct sandbox_place *p, const struct sandbox_user *u,
                                     struct err *e);
/* Ends a server that still runs in it, deletes it, and releases. */
void sandbox_place_remove(struct sandbox_place *p);
/* The process that <dir>/data/postmaster.pid names, if it is one that runs in that directory; 0. */
pid_t sandbox_place_server(const char *dir);

/* ---- settings.c ---- */

/* What the machine, or the control group that we are in, allows in bytes. */
uint64_t sandbox_memory(void);
/* The server's configuration file. `preload` may be "". */
void sandbox_settings(const struct sandbox_place *p, uint64_t memory, uint64_t disk_free,
                      const char *preload, struct buf *out);
/* Whether an extension works only with its library in shared_preload_libraries. */
bool sandbox_extension_preloads(const char *name);
/* What to install for it on Debian; the caller frees. */
char *sandbox_extension_package(const char *name, int major);
/* Whether version `have` is older than `want`: numbers between dots, one after the other. */
bool sandbox_version_older(const char *have, const char *want);

/* ---- extension.c ---- */

/* ERR_UNSUPPORTED naming what is missing; appends the libraries to preload, with commas. */
_warn_unused_ int sandbox_extensions_check(struct pg *p, const struct sandbox_postgres *o,
                                           struct buf *preload, struct err *e);

#endif
