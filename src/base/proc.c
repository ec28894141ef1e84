/* Child processes: started with nothing of ours but the environment and standard error, and never
 * waited for longer than agreed. */
#include "base/proc.h"
#include "base/mem.h"
#include "base/work.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

struct child {
    pid_t pid; /* also its process group; 0 once it was reaped */
    int out;   /* the reading end of its standard output */
    const char *name;
    int64_t deadline; /* in milliseconds of the monotonic clock, -1 for none */
};

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void child_release(struct child *c)
{
    if (c->out >= 0)
        (void)close(c->out);
    if (c->pid <= 0)
        return;
    /* Not reaped yet, so the number of the group cannot belong to anybody else. */
    (void)kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* Signals as a fresh program expects them: nothing blocked (worker threads block), SIGPIPE fatal.
 */
static int set_attributes(posix_spawnattr_t *a)
{
    sigset_t none, fatal;
    (void)sigemptyset(&none);
    (void)sigemptyset(&fatal);
    (void)sigaddset(&fatal, SIGPIPE);
    int rc = posix_spawnattr_setpgroup(a, 0);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(a, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(a, &fatal);
    if (rc == 0)
        rc = posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF);
    return rc;
}

static int set_files(posix_spawn_file_actions_t *f, int out)
{
    /* Output first: should our own standard input be closed, `out` may be descriptor 0. */
    int rc = posix_spawn_file_actions_adddup2(f, out, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(f, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
    /* Ours are close-on-exec; this is for what libraries opened. */
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(f, STDERR_FILENO + 1);
#endif
    return rc;
}

static int child_start(struct child *c, const char *const *argv, struct err *e)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(e, errno, "cannot run %s: cannot make a pipe", c->name);
    c->out = fds[0];
    _cleanup_close_ int out = fds[1];

    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    int sys = posix_spawnattr_init(&attributes);
    if (sys != 0)
        return err_sys(e, sys, "cannot run %s", c->name);
    sys = posix_spawn_file_actions_init(&files);
    if (sys == 0) {
        sys = set_attributes(&attributes);
        if (sys == 0)
            sys = set_files(&files, out);
        pid_t pid;
        union { /* posix_spawn promises not to write to the words */
            const char *const *in;
            char *const *out;
        } words = {.in = argv};
        if (sys == 0)
            sys = posix_spawnp(&pid, argv[0], &files, &attributes, words.out, environ);
        if (sys == 0)
            c->pid = pid;
        (void)posix_spawn_file_actions_destroy(&files);
    }
    (void)posix_spawnattr_destroy(&attributes);
    if (sys == 0)
        return 0;
    (void)err_sys(e, sys, "cannot run %s", c->name);
    /* A directory of PATH that we may not read turns "not found" into "permission denied". */
    bool absent = sys == ENOENT || sys == EACCES;
    return absent ? err_hint(e, "is it installed, in PATH and executable?") : e->code;
}

/* Whether it has ended; it stays to be reaped. */
static bool has_ended(const struct child *c)
{
    siginfo_t info = {0};
    int rc = waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return rc < 0 ? errno != EINTR : info.si_pid == c->pid;
}

/* Waits at most `ms` for output (if `fd` is not -1), and looks whether time is up or we are asked
 * to stop. *ready tells whether there is something to read. */
static int wait_some(const struct child *c, int fd, int ms, bool *ready, struct err *e)
{
    *ready = false;
    int rc = cancel_check(e);
    if (rc != 0)
        return err_prefix(e, "%s", c->name);
    if (c->deadline >= 0) {
        int64_t left = c->deadline - now_ms();
        if (left <= 0)
            return err_set(e, ERR_TIMEOUT, "%s did not finish in time and was killed", c->name);
        if (left < ms)
            ms = (int)left;
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, ms);
    if (n < 0 && errno != EINTR)
        return err_sys(e, errno, "cannot wait for %s", c->name);
    *ready = n > 0;
    return 0;
}

/* Appends one piece of output; *end at its end. The chunk is wiped: it may be a passphrase. */
static int read_some(const struct child *c, struct buf *out, bool *end, struct err *e)
{
    char chunk[4096];
    int rc = 0;
    ssize_t n = read(c->out, chunk, sizeof(chunk));
    *end = n == 0;
    if (n > 0 && (rc = buf_append(out, chunk, (size_t)n, e)) != 0)
        rc = err_prefix(e, "the output of %s is too long", c->name);
    else if (n < 0 && errno != EINTR && errno != EAGAIN)
        rc = err_sys(e, errno, "cannot read the output of %s", c->name);
    mem_wipe(chunk, sizeof(chunk));
    return rc;
}

enum { SLICE_MS = 100 }; /* how late an interruption may be noticed */

/* Reads until the output ends. It also ends when the child has, and what it left in the pipe was
 * read: something that it put in the background may hold the pipe open for ever. */
static int read_output(const struct child *c, struct buf *out, struct err *e)
{
    bool end = false;
    while (!end) {
        bool ended = has_ended(c), ready;
        int rc = wait_some(c, c->out, ended ? 0 : SLICE_MS, &ready, e);
        if (rc == 0 && ready)
            rc = read_some(c, out, &end, e);
        else if (ended)
            end = true;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Waits for its end and says how it went. */
static int reap(struct child *c, struct err *e)
{
    for (int ms = 1; !has_ended(c); ms = ms < SLICE_MS / 2 ? ms * 2 : SLICE_MS) {
        bool ready;
        int rc = wait_some(c, -1, ms, &ready, e);
        if (rc != 0)
            return rc;
    }
    int status;
    pid_t pid;
    while ((pid = waitpid(c->pid, &status, 0)) < 0 && errno == EINTR) {
    }
    int sys = errno;
    c->pid = 0;
    if (pid < 0) /* ECHILD: our parent left us with SIGCHLD ignored */
        return err_sys(e, sys, "cannot tell how %s ended", c->name);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_IO, "%s was killed by signal %d (%s)", c->name, WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return err_set(e, ERR_IO, "%s failed with exit status %d", c->name, WEXITSTATUS(status));
    return 0;
}

static int capture(const char *const *argv, const char *name, int timeout_ms, struct buf *out,
                   struct err *e)
{
    _cleanup_(child_release) struct child c = {.out = -1, .name = name};
    c.deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    size_t before = out->len;
    int rc = child_start(&c, argv, e);
    if (rc == 0)
        rc = read_output(&c, out, e);
    if (rc == 0)
        rc = reap(&c, e);
    if (rc != 0 && out->len > before) {
        mem_wipe(out->data + before, out->len - before);
        out->len = before;
        out->data[before] = 0;
    }
    return rc;
}

int proc_capture(const char *const *argv, int timeout_ms, struct buf *out, struct err *e)
{
    return capture(argv, argv[0], timeout_ms, out, e);
}

int proc_capture_shell(const char *command, int timeout_ms, struct buf *out, struct err *e)
{
    /* Messages name the first word only: the rest may hold what should not be logged. */
    size_t len = strcspn(command, " \t\n;|&<>()$`'\"=");
    _cleanup_free_ char *name = command[len] == '=' || len == 0
                                    ? str_dup("the shell command")
                                    : str_fmt("the command \"%.*s ...\"", (int)len, command);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    return capture(argv, name, timeout_ms, out, e);
}
