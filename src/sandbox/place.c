/* The directory of a sandbox, and how the next run tells one that is in use from one that was left
 * behind: its owner holds a lock (flock) on the file `owner` in it, which the kernel lets go of
 * however the owner ends. */
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
    UNOWNED_S = 600, /* a directory without an owner file: being made, until it is this old */
    STOP_MS = 10000, /* for the server's end after SIGQUIT; then SIGKILL */
};

/* ---- making ---- */

/* Takes the lock before the file has its name, so that no sweep sees it without. */
static int own(const char *dir, int *out, struct err *e)
{
    _cleanup_free_ char *fresh = path_join(dir, "owner.new"), *path = path_join(dir, "owner");
    _cleanup_close_ int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make %s", fresh);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_sys(e, errno, "cannot lock %s", fresh);
    _cleanup_free_ char *text = str_fmt("salvor process %ld\n", (long)getpid());
    int rc = fd_write_all(fd, text, strlen(text), fresh, e);
    if (rc == 0 && rename(fresh, path) < 0)
        rc = err_sys(e, errno, "cannot make %s", path);
    if (rc == 0)
        *out = take_fd(&fd);
    return rc;
}

static int make_owned(const char *base, char **dir, int *owner, struct err *e)
{
    _cleanup_free_ char *path = str_fmt("%s/" SANDBOX_PREFIX "XXXXXX", base);
    if (mkdtemp(path) == NULL)
        return err_sys(e, errno, "cannot make a directory for a throwaway server in %s", base);
    *dir = take(path);
    return own(*dir, owner, e);
}

int sandbox_place_make(struct sandbox_place *p, const char *base, const struct sandbox_user *u,
                       struct err *e)
{
    *p = (struct sandbox_place){.owner = -1, .socket_owner = -1};
    _cleanup_free_ char *real = realpath(base, NULL);
    if (real == NULL)
        return err_sys(e, errno, "cannot make a throwaway server in %s", base);
    int rc = make_owned(real, &p->dir, &p->owner, e);
    if (rc < 0)
        return rc;
    if (strlen(p->dir) <= SOCKET_PATH_MOST) {
        p->socket_dir = str_dup(p->dir);
        return 0;
    }
    /* The address of a Unix socket has 107 bytes and no more. */
    const char *brief = sandbox_user_reaches(u, "/tmp") ? "/tmp" : "/var/tmp";
    return make_owned(brief, &p->socket_dir, &p->socket_owner, e);
}

int sandbox_place_give(const struct sandbox_place *p, const struct sandbox_user *u, struct err *e)
{
    if (!u->change)
        return 0;
    const char *dir[] = {p->dir, p->socket_dir};
    for (size_t i = 0; i < array_len(dir); i++)
        if (chown(dir[i], u->uid, u->gid) < 0)
            return err_sys(e, errno, "cannot hand %s to the user %s", dir[i], u->name);
    return 0;
}

/* ---- a server that runs in it ---- */

/* The word of postmaster.pid alone would let whoever may write it name any process. Its words can
 * be read without the rights of a tracer, which root in a container lacks. */
static bool runs_in(pid_t pid, const char *data, uid_t owner)
{
    char proc[64], words[8192];
    (void)snprintf(proc, sizeof proc, "/proc/%ld", (long)pid);
    struct stat process;
    if (stat(proc, &process) < 0 || process.st_uid != owner)
        return false;
    (void)snprintf(proc, sizeof proc, "/proc/%ld/cmdline", (long)pid);
    _cleanup_close_ int fd = open(proc, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, words, sizeof words - 1);
    if (n <= 0)
        return false;
    words[n] = '\0';
    for (const char *w = words; w < words + n; w += strlen(w) + 1)
        if (strcmp(w, data) == 0)
            return true;
    return false;
}

pid_t sandbox_place_server(const char *dir)
{
    _cleanup_free_ char *data = path_join(dir, "data");
    _cleanup_free_ char *file = path_join(data, "postmaster.pid");
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st, owner;
    struct err ignored = ERR_INIT;
    size_t got = 0;
    char line[32] = "";
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || stat(dir, &owner) < 0 ||
        fd_pread_all(fd, line, sizeof line - 1, 0, &got, file, &ignored) < 0)
        return 0;
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    if (pid <= 1 || host_process_start(pid) == 0)
        return 0;
    return runs_in(pid, data, owner.st_uid) ? pid : 0;
}

static void stop_server(const char *dir)
{
    pid_t pid = sandbox_place_server(dir);
    if (pid == 0)
        return;
    (void)kill(pid, SIGQUIT); /* an immediate shutdown, of its children too */
    for (int waited = 0; waited < STOP_MS && host_process_start(pid) != 0; waited += 10)
        (void)poll(NULL, 0, 10);
    if (sandbox_place_server(dir) == pid)
        (void)kill(pid, SIGKILL);
}

/* ---- removing ---- */

static void remove_dir(const char *dir)
{
    struct err e = ERR_INIT;
    stop_server(dir);
    /* A process of the server that is just ending may still write. */
    for (int i = 0; i < 20; i++) {
        e = (struct err)ERR_INIT;
        if (dir_remove_all(dir, &e) == 0)
            return;
        (void)poll(NULL, 0, 50);
    }
    log_warning("a throwaway server's directory is left: %s", e.msg);
}

void sandbox_place_remove(struct sandbox_place *p)
{
    if (p->socket_dir != NULL && !str_eq(p->socket_dir, p->dir))
        remove_dir(p->socket_dir);
    if (p->dir != NULL)
        remove_dir(p->dir);
    if (p->owner >= 0)
        (void)close(p->owner);
    if (p->socket_owner >= 0)
        (void)close(p->socket_owner);
    free(p->dir);
    free(p->socket_dir);
    *p = (struct sandbox_place){.owner = -1, .socket_owner = -1};
}

/* Whether a directory is ours to sweep, and nobody's: *lock is then held while we do it. */
static bool is_left(const char *dir, const struct sandbox_user *u, int *lock)
{
    struct stat st;
    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) ||
        (st.st_uid != geteuid() && (!u->change || st.st_uid != u->uid)))
        return false;
    _cleanup_free_ char *path = path_join(dir, "owner");
    *lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*lock < 0)
        return errno == ENOENT && time(NULL) - st.st_mtime > UNOWNED_S;
    if (fstat(*lock, &st) == 0 && S_ISREG(st.st_mode) && flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    (void)close(*lock);
    return false;
}

static void sweep_one(const char *base, const struct sandbox_user *u)
{
    DIR *d = opendir(base);
    const struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (!str_starts(entry->d_name, SANDBOX_PREFIX))
            continue;
        _cleanup_free_ char *dir = path_join(base, entry->d_name);
        int lock = -1;
        if (!is_left(dir, u, &lock))
            continue;
        log_debug("removing %s, which a killed run left", dir);
        remove_dir(dir);
        if (lock >= 0)
            (void)close(lock);
    }
    if (d != NULL)
        (void)closedir(d);
}

void sandbox_sweep(const char *dir)
{
    struct sandbox_user u = {0};
    struct err ignored = ERR_INIT;
    if (sandbox_user_choose(&u, &ignored) < 0)
        u = (struct sandbox_user){.uid = geteuid()};
    const char *places[] = {dir != NULL ? dir : getenv("TMPDIR"), "/var/tmp", "/tmp"};
    for (size_t i = 0; i < array_len(places); i++) {
        /* By its real name: that is what the server was told. */
        _cleanup_free_ char *real = places[i] != NULL ? realpath(places[i], NULL) : NULL;
        if (real != NULL)
            sweep_one(real, &u);
    }
    sandbox_user_release(&u);
}
