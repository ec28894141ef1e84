/* Child processes while they run: reading, feeding and waiting, never longer than agreed, and with
 * an eye on what they complain of. proc_spawn.c makes them. */
#include "base/mem.h"
#include "base/proc_int.h"
#include "base/text.h"
#include "base/work.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum {
    SLICE_MS = 100,      /* how late an interruption may be noticed */
    EXPLAIN_MS = 5000,   /* a child that no longer listens may take so long to say why */
    ERRORS_KEPT = 8192,  /* of standard error */
    ERRORS_TOLD = 600,   /* of these, in a message */
    PIPE_SIZE = 1 << 20, /* a larger pipe wakes both ends less often */
};

struct proc {
    char *name;
    int in, out, err; /* our ends of its three files, -1 where there is none */
    int64_t deadline; /* in milliseconds of the monotonic clock, -1 for none */
    int grace_ms;
    atomic_bool err_ended; /* `err` has nothing more to say */
    pthread_mutex_t lock;  /* of what follows */
    pid_t pid;             /* also its process group; 0 once it was reaped */
    int status;            /* as waitpid gave it, once it was reaped */
    int lost;              /* errno when waitpid could not give it */
    char kept[2 * ERRORS_KEPT];
    size_t kept_len;
};

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- what it complains of ---- */

static void keep_errors(struct proc *p, const char *text, size_t len)
{
    if (p->kept_len + len > sizeof(p->kept)) { /* len is at most half of it */
        size_t keep = p->kept_len < ERRORS_KEPT ? p->kept_len : ERRORS_KEPT;
        memmove(p->kept, p->kept + p->kept_len - keep, keep);
        p->kept_len = keep;
    }
    memcpy(p->kept + p->kept_len, text, len);
    p->kept_len += len;
}

/* Takes what is there, without waiting, and not for ever from one that writes without end. */
static void drain_errors(struct proc *p)
{
    if (p->err < 0)
        return;
    (void)pthread_mutex_lock(&p->lock);
    char chunk[ERRORS_KEPT];
    for (int i = 0; i < 16 && !p->err_ended; i++) {
        ssize_t n = read(p->err, chunk, sizeof(chunk));
        if (n > 0)
            keep_errors(p, chunk, (size_t)n);
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            p->err_ended = true;
        else if (errno == EAGAIN)
            break;
    }
    (void)pthread_mutex_unlock(&p->lock);
}

char *proc_errors(struct proc *p)
{
    drain_errors(p);
    (void)pthread_mutex_lock(&p->lock);
    size_t len = p->kept_len < ERRORS_KEPT ? p->kept_len : ERRORS_KEPT;
    char *text = str_ndup(p->kept + p->kept_len - len, len);
    (void)pthread_mutex_unlock(&p->lock);
    return text;
}

/* Appends the last lines, parted by "; ", without the name of the program that begins each. */
static int add_errors(struct proc *p, struct err *e)
{
    _cleanup_free_ char *text = proc_errors(p);
    char *line = text;
    if (strlen(text) > ERRORS_TOLD) {
        line += strlen(text) - ERRORS_TOLD;
        line += strcspn(line, "\n");
    }
    _cleanup_(buf_release) struct buf told = BUF_INIT(BUF_TEXT);
    size_t name = strlen(p->name);
    for (char *save, *s = strtok_r(line, "\n", &save); s != NULL; s = strtok_r(NULL, "\n", &save)) {
        if (strncmp(s, p->name, name) == 0 && strncmp(s + name, ": ", 2) == 0)
            s += name + 2;
        s += strspn(s, " \t\r");
        size_t len = strlen(s);
        while (len > 0 && strchr(" \t\r", s[len - 1]) != NULL)
            len--;
        if (len == 0)
            continue;
        if (told.len > 0)
            buf_adds(&told, "; ");
        text_printable(s, len, &told);
    }
    if (told.len > 0) {
        struct err before = *e;
        (void)err_set(e, before.code, "%s: %s", before.msg, buf_str(&told));
    }
    return e->code;
}

/* ---- whether it runs, and how it went ---- */

/* Reaps it if it has ended; true once it has. */
static bool has_ended(struct proc *p)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->pid > 0) {
        pid_t pid = waitpid(p->pid, &p->status, WNOHANG);
        if (pid < 0 && errno != EINTR)
            p->lost = errno; /* ECHILD: our parent left us with SIGCHLD ignored */
        if (pid > 0 || p->lost != 0)
            p->pid = 0;
    }
    bool ended = p->pid == 0;
    (void)pthread_mutex_unlock(&p->lock);
    return ended;
}

static int verdict(struct proc *p, struct err *e)
{
    drain_errors(p);
    if (p->lost != 0)
        return err_sys(e, p->lost, "cannot tell how %s ended", p->name);
    if (WIFSIGNALED(p->status))
        (void)err_set(e, ERR_IO, "%s was killed by signal %d (%s)", p->name, WTERMSIG(p->status),
                      strsignal(WTERMSIG(p->status)));
    else if (WEXITSTATUS(p->status) != 0)
        (void)err_set(e, ERR_IO, "%s failed with exit status %d", p->name, WEXITSTATUS(p->status));
    else
        return 0;
    return add_errors(p, e);
}

/* Whether we are asked to stop, or its time is up. */
static int check_limits(const struct proc *p, struct err *e)
{
    int rc = cancel_check(e);
    if (rc != 0)
        return err_prefix(e, "%s", p->name);
    if (p->deadline >= 0 && now_ms() >= p->deadline)
        return err_set(e, ERR_TIMEOUT, "%s did not finish in time and was killed", p->name);
    return 0;
}

/* Waits at most `ms` for `events` on `fd` (if it is not -1), keeping up with its complaints. */
static int wait_some(struct proc *p, int fd, short events, int ms, struct err *e)
{
    int rc = check_limits(p, e);
    if (rc != 0)
        return rc;
    if (p->deadline >= 0 && p->deadline - now_ms() < ms)
        ms = (int)(p->deadline - now_ms());
    struct pollfd fds[2] = {{.fd = fd, .events = events},
                            {.fd = p->err_ended ? -1 : p->err, .events = POLLIN}};
    if (poll(fds, 2, ms < 0 ? 0 : ms) < 0 && errno != EINTR)
        return err_sys(e, errno, "cannot wait for %s", p->name);
    if (fds[1].revents != 0)
        drain_errors(p);
    return 0;
}

int proc_wait(struct proc *p, int timeout_ms, struct err *e)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    for (int ms = 1; !has_ended(p); ms = ms < SLICE_MS / 2 ? ms * 2 : SLICE_MS) {
        int64_t left = until - now_ms();
        if (left <= 0) {
            (void)err_set(e, ERR_TIMEOUT, "%s is still running", p->name);
            e->retryable = true;
            return e->code;
        }
        int rc = wait_some(p, -1, 0, left < ms ? (int)left : ms, e);
        if (rc != 0)
            return rc;
    }
    return verdict(p, e);
}

/* ---- starting and ending ---- */

static int pipe_from_child(int *ours, int *theirs)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    *ours = fds[0];
    *theirs = fds[1];
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? errno : 0;
}

static int pipe_to_child(int *ours, int *theirs)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    *ours = fds[1];
    *theirs = fds[0];
    return fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0 ? errno : 0;
}

static int open_null(int *theirs, int flags)
{
    *theirs = open("/dev/null", flags | O_CLOEXEC);
    return *theirs < 0 ? errno : 0;
}

/* Makes its three files. In `theirs` those to close after the start, in `files` those to use. */
static int make_files(struct proc *p, const struct proc_options *o, int theirs[3], int files[3])
{
    int sys = 0;
    if (o->in == PROC_IN_FEED)
        sys = pipe_to_child(&p->in, &theirs[0]);
    else if (o->in == PROC_IN_NULL)
        sys = open_null(&theirs[0], O_RDONLY);
    if (sys == 0 && o->out == PROC_OUT_STREAM)
        sys = pipe_from_child(&p->out, &theirs[1]);
    else if (sys == 0 && o->out == PROC_OUT_NULL)
        sys = open_null(&theirs[1], O_WRONLY);
    if (sys == 0 && o->errors == PROC_ERR_KEEP)
        sys = pipe_from_child(&p->err, &theirs[2]);
#ifdef F_SETPIPE_SZ
    if (p->out >= 0)
        (void)fcntl(p->out, F_SETPIPE_SZ, PIPE_SIZE);
    if (p->in >= 0)
        (void)fcntl(p->in, F_SETPIPE_SZ, PIPE_SIZE);
#endif
    files[0] = theirs[0] >= 0 ? theirs[0] : o->in_fd;
    files[1] = theirs[1] >= 0 ? theirs[1] : o->out_fd;
    files[2] = theirs[2] >= 0 ? theirs[2] : o->errors == PROC_ERR_FD ? o->err_fd : STDERR_FILENO;
    return sys;
}

static void close_all(int (*fds)[3])
{
    for (int i = 0; i < 3; i++)
        cleanup_close(&(*fds)[i]);
}

int proc_start(const struct proc_options *o, struct proc **out, struct err *e)
{
    const char *slash = strrchr(o->argv[0], '/');
    _cleanup_(proc_freep) struct proc *p = mem_zero(sizeof(*p));
    p->name = str_dup(o->name != NULL ? o->name : slash != NULL ? slash + 1 : o->argv[0]);
    p->in = p->out = p->err = -1;
    p->deadline = o->timeout_ms > 0 ? now_ms() + o->timeout_ms : -1;
    p->grace_ms = o->grace_ms;
    (void)pthread_mutex_init(&p->lock, NULL);
    _cleanup_(close_all) int theirs[3] = {-1, -1, -1};
    int files[3];
    int sys = make_files(p, o, theirs, files);
    if (sys != 0)
        return err_sys(e, sys, "cannot run %s: cannot make a pipe", p->name);
    int rc = proc_spawn(o, p->name, files, &p->pid, e);
    if (rc != 0)
        return rc;
    *out = take(p);
    return 0;
}

/* Not reaped yet, so the number of the group cannot belong to anybody else. */
static void signal_group(struct proc *p, int signal)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->pid > 0)
        (void)kill(-p->pid, signal);
    (void)pthread_mutex_unlock(&p->lock);
}

static void end_child(struct proc *p)
{
    if (p->grace_ms > 0 && !has_ended(p)) {
        signal_group(p, SIGTERM);
        int64_t until = now_ms() + p->grace_ms;
        for (int ms = 1; !has_ended(p) && now_ms() < until; ms = ms < 32 ? ms * 2 : ms) {
            drain_errors(p);
            (void)poll(NULL, 0, ms);
        }
    }
    signal_group(p, SIGKILL);
    while (p->pid > 0 && waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR) {
    }
    p->pid = 0;
}

void proc_free(struct proc *p)
{
    if (p == NULL)
        return;
    end_child(p);
    cleanup_close(&p->in);
    cleanup_close(&p->out);
    cleanup_close(&p->err);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->name);
    free(p);
}

void proc_freep(struct proc **p)
{
    proc_free(*p);
}

void proc_signal(struct proc *p, int signal)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->pid > 0)
        (void)kill(p->pid, signal);
    (void)pthread_mutex_unlock(&p->lock);
}

pid_t proc_pid(const struct proc *p)
{
    return p->pid;
}

int proc_status(const struct proc *p)
{
    if (p->pid > 0 || p->lost != 0)
        return -1;
    return WIFSIGNALED(p->status) ? 128 + WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

/* ---- its input and output ---- */

int proc_feed(struct proc *p, const void *data, size_t len, struct err *e)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(p->in, at, len);
        if (n >= 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno == EPIPE) {
            int rc = proc_wait(p, EXPLAIN_MS, e);
            return rc != 0 ? rc : err_set(e, ERR_IO, "%s did not read all of its input", p->name);
        } else if (errno != EINTR && errno != EAGAIN) {
            return err_sys(e, errno, "cannot write to %s", p->name);
        }
        int rc = len == 0 ? check_limits(p, e) : wait_some(p, p->in, POLLOUT, SLICE_MS, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

void proc_feed_end(struct proc *p)
{
    cleanup_close(&p->in);
    p->in = -1;
}

/* Reads a piece; *got is 0 at the end. It also ends when the child has, and what it left in the
 * pipe was read: something that it put in the background may hold the pipe open for ever. */
static int read_output(struct proc *p, void *data, size_t len, size_t *got, struct err *e)
{
    bool ended = false;
    int rc = check_limits(p, e);
    while (rc == 0) {
        ssize_t n = read(p->out, data, len);
        *got = n > 0 ? (size_t)n : 0;
        if (n >= 0)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            return err_sys(e, errno, "cannot read the output of %s", p->name);
        if (ended && errno == EAGAIN)
            return 0;
        ended = has_ended(p);
        if (!ended)
            rc = wait_some(p, p->out, POLLIN, SLICE_MS, e);
    }
    return rc;
}

struct proc_stream {
    struct stream stream; /* first: a struct stream * is one of these */
    struct proc *proc;
    bool owns;
    bool ended;
};

static int proc_stream_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    struct proc_stream *ps = (struct proc_stream *)s;
    *got = 0;
    int rc = ps->ended || len == 0 ? 0 : read_output(ps->proc, data, len, got, e);
    if (rc != 0 || *got > 0 || len == 0)
        return rc;
    ps->ended = true;
    return proc_wait(ps->proc, -1, e);
}

static void proc_stream_close(struct stream *s)
{
    struct proc_stream *ps = (struct proc_stream *)s;
    if (ps->owns)
        proc_free(ps->proc);
    else if (!ps->ended)
        end_child(ps->proc);
    free(ps);
}

struct stream *proc_stream(struct proc *p, bool owns)
{
    struct proc_stream *ps = mem_zero(sizeof(*ps));
    ps->stream.read = proc_stream_read;
    ps->stream.close = proc_stream_close;
    ps->proc = p;
    ps->owns = owns;
    return &ps->stream;
}

/* ---- the short way ---- */

/* Appends all of the output. The chunk is wiped: it may be a passphrase. */
static int read_all(struct stream *s, const char *name, struct buf *out, struct err *e)
{
    char chunk[4096];
    size_t got = 1;
    int rc = 0;
    while (rc == 0 && got > 0) {
        rc = stream_read(s, chunk, sizeof(chunk), &got, e);
        if (rc == 0 && (rc = buf_append(out, chunk, got, e)) != 0)
            rc = err_prefix(e, "the output of %s is too long", name);
    }
    mem_wipe(chunk, sizeof(chunk));
    return rc;
}

static int capture(const char *const *argv, const char *name, int timeout_ms, struct buf *out,
                   struct err *e)
{
    struct proc_options o = {.argv = argv, .name = name, .errors = PROC_ERR_OURS};
    o.timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > 0 ? timeout_ms : 1;
    struct proc *p;
    int rc = proc_start(&o, &p, e);
    if (rc != 0)
        return rc;
    _cleanup_(stream_closep) struct stream *s = proc_stream(p, true);
    size_t before = out->len;
    rc = read_all(s, name, out, e);
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
