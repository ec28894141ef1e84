/* Child processes. Secrets go to a child through its environment or standard input, never its
 * words. A child has a process group of its own, so it cannot ask on the terminal, no descriptors
 * but the three, and signals as a fresh program expects them. SIGPIPE must be ignored. */
#ifndef SALVOR_BASE_PROC_H
#define SALVOR_BASE_PROC_H

#include "base/stream.h"
#include <sys/types.h>

/* Runs `argv` (searched in PATH, NULL-ended), standard input from /dev/null, and appends its
 * standard output to `out`; its standard error goes where ours goes. Waits at most `timeout_ms`
 * (then the process group is killed, ERR_TIMEOUT); below 0 there is no limit. A non-zero exit
 * status is ERR_IO with the status in the message; an interruption (work.h) kills it too,
 * ERR_CANCELLED. On failure `out` is as before. */
_warn_unused_ int proc_capture(const char *const *argv, int timeout_ms, struct buf *out,
                               struct err *e);
/* The same for a command line, by /bin/sh -c. */
_warn_unused_ int proc_capture_shell(const char *command, int timeout_ms, struct buf *out,
                                     struct err *e);

/* ---- children that run beside us ---- */

struct proc;

enum proc_input { PROC_IN_NULL, PROC_IN_FD, PROC_IN_FEED };
enum proc_output { PROC_OUT_STREAM, PROC_OUT_NULL, PROC_OUT_FD };
enum proc_errors { PROC_ERR_KEEP, PROC_ERR_OURS, PROC_ERR_FD };

/* Zeros are the defaults. Descriptors stay the caller's, who may close them after proc_start. */
struct proc_options {
    const char *const *argv; /* NULL-ended; argv[0] is searched in PATH unless it has a slash */
    const char *name;        /* for messages; NULL: the last part of argv[0] */
    const char *const *env;  /* NULL-ended, on top of ours: "NAME=value" sets, "NAME" removes */
    const char *dir;         /* where it works; NULL: where we do */
    enum proc_input in;      /* /dev/null, in_fd, or what proc_feed gives */
    enum proc_output out;    /* proc_stream, which must be read; /dev/null; or out_fd */
    enum proc_errors errors; /* the last 8 KiB kept for messages and proc_errors; ours; or err_fd */
    int in_fd, out_fd, err_fd;
    bool become; /* run as uid and gid, without other groups; needs root */
    uid_t uid;
    gid_t gid;
    int timeout_ms;   /* from the start; 0 or less: none */
    int grace_ms;     /* ending it early sends SIGTERM first and waits so long before SIGKILL */
    int death_signal; /* what it gets when the thread that started it ends; 0: nothing */
};

_warn_unused_ int proc_start(const struct proc_options *o, struct proc **out, struct err *e);
/* Ends it and its group if it runs still, reaps and frees. NULL is allowed. */
void proc_free(struct proc *p);
void proc_freep(struct proc **p);

/* Its standard output, once. At the end the read waits for the child: exit status 0 is the end,
 * anything else ERR_IO with the last lines of standard error in the message. Reading fails with
 * ERR_CANCELLED when interrupted and with ERR_TIMEOUT when its time is up. Closing it before the
 * end ends the child. With `owns`, closing frees `p` too. */
struct stream *proc_stream(struct proc *p, bool owns);

/* Writes to its standard input; ERR_IO with what it said when it no longer listens. A thread other
 * than the one that reads may do it, and must where the output is a stream. */
_warn_unused_ int proc_feed(struct proc *p, const void *data, size_t len, struct err *e);
void proc_feed_end(struct proc *p); /* its standard input ends here */

/* Waits at most `timeout_ms` (0: only looks, below 0: no limit) until it has ended: 0 when it went
 * well, ERR_TIMEOUT, retryable, while it runs still, else as the stream. May be asked again. */
_warn_unused_ int proc_wait(struct proc *p, int timeout_ms, struct err *e);
/* Sends a signal to it alone, unless it has ended and was waited for. */
void proc_signal(struct proc *p, int signal);
pid_t proc_pid(const struct proc *p);
/* Its exit status, 128 + the signal that ended it, or -1 while that is not known. */
int proc_status(const struct proc *p);
/* The end of what it wrote to standard error until now; the caller frees. */
char *proc_errors(struct proc *p);

#endif
