/* Programs that run as the sandbox's own user: with nothing of ours but three descriptors, so that
 * no passphrase and no password reaches what a restored database may do. */
#include "base/mem.h"
#include "base/work.h"
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* ---- the user ---- */

static bool user_find(const char *name, struct sandbox_user *u)
{
    struct passwd pw, *found = NULL;
    char space[16384];
    if (getpwnam_r(name, &pw, space, sizeof space, &found) != 0 || found == NULL || pw.pw_uid == 0)
        return false;
    *u = (struct sandbox_user){str_dup(pw.pw_name), pw.pw_uid, pw.pw_gid, true};
    return true;
}

int sandbox_user_choose(struct sandbox_user *u, struct err *e)
{
    *u = (struct sandbox_user){.uid = geteuid(), .gid = getegid()};
    if (u->uid != 0)
        return 0;
    const char *own = getenv("SALVOR_SANDBOX_USER");
    if (own != NULL && *own != '\0') {
        if (user_find(own, u))
            return 0;
        return err_set(e, ERR_USAGE, "SALVOR_SANDBOX_USER: there is no unprivileged user %s", own);
    }
    if (user_find("postgres", u) || user_find("nobody", u))
        return 0;
    return err_set(e, ERR_NOT_FOUND,
                   "a PostgreSQL server does not run as root, and there is no user postgres or "
                   "nobody; name one in SALVOR_SANDBOX_USER");
}

void sandbox_user_release(struct sandbox_user *u)
{
    free(u->name);
    *u = (struct sandbox_user){0};
}

static bool may_enter(const struct sandbox_user *u, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return false;
    mode_t x = st.st_uid == u->uid ? S_IXUSR : st.st_gid == u->gid ? S_IXGRP : S_IXOTH;
    return (st.st_mode & x) != 0;
}

bool sandbox_user_reaches(const struct sandbox_user *u, const char *dir)
{
    if (!u->change)
        return access(dir, W_OK | X_OK) == 0;
    _cleanup_free_ char *real = realpath(dir, NULL);
    if (real == NULL || access(real, W_OK) < 0)
        return false;
    bool all = may_enter(u, "/") && may_enter(u, real);
    for (char *p = real + 1; all && (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        all = may_enter(u, real);
        *p = '/';
    }
    return all;
}

/* ---- the process ---- */

/* Nothing of our environment: it holds secrets, and what is set for us may mislead a server. */
static const char *const environment[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "LC_ALL=C",
    "TZ=UTC",
    "HOME=/",
    NULL,
};

static int only_three(const int fd[3])
{
    /* First above the three, so that none is overwritten before it was moved. */
    int up[3];
    for (int i = 0; i < 3; i++)
        if ((up[i] = fcntl(fd[i], F_DUPFD, 3)) < 0)
            return -1;
    for (int i = 0; i < 3; i++)
        if (dup2(up[i], i) < 0)
            return -1;
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0)
        return 0;
#endif
    for (int i = 3; i < 65536; i++)
        (void)close(i);
    return 0;
}

static int become(const struct sandbox_user *u)
{
    if (!u->change)
        return 0;
    if (setgroups(0, NULL) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* In the child of a program with threads: only what is safe in a signal handler. */
static void run_child(const struct sandbox_child *c, char *const *argv, char *const *env)
{
    static const int defaults[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
    for (size_t i = 0; i < array_len(defaults); i++)
        (void)signal(defaults[i], SIG_DFL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    const int fd[3] = {c->in, c->out, c->err};
    if (only_three(fd) == 0 && become(c->user) == 0 && chdir(c->dir) == 0)
        (void)execve(argv[0], argv, env);
    _exit(errno == ENOENT ? 127 : 126);
}

int sandbox_child_start(const struct sandbox_child *c, pid_t *pid, struct err *e)
{
    union { /* execve promises not to write to them */
        const char *const *in;
        char *const *out;
    } argv = {.in = c->argv}, env = {.in = environment};
    pid_t child = fork();
    if (child < 0)
        return err_sys(e, errno, "cannot run %s", c->argv[0]);
    if (child == 0)
        run_child(c, argv.out, env.out);
    *pid = child;
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void kill_group(pid_t pid)
{
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

int sandbox_child_wait(pid_t pid, const char *name, int ms, bool interruptible, int *status,
                       struct err *e)
{
    int64_t end = now_ms() + ms;
    for (int pause = 1;; pause = pause < 50 ? pause * 2 : 50) {
        pid_t done = waitpid(pid, status, WNOHANG);
        if (done == pid)
            return 0;
        if (done < 0 && errno != EINTR)
            return err_sys(e, errno, "cannot wait for %s", name);
        int rc = interruptible ? cancel_check(e) : 0;
        if (rc == 0 && now_ms() > end)
            rc = err_set(e, ERR_TIMEOUT, "%s did not finish in %d s", name, ms / 1000);
        if (rc < 0) {
            kill_group(pid);
            return rc;
        }
        (void)poll(NULL, 0, pause);
    }
}
