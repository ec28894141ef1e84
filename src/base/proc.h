/* Child processes. Secrets go to a child through its environment or standard input, never its
 * words. */
#ifndef SALVOR_BASE_PROC_H
#define SALVOR_BASE_PROC_H

#include "base/buf.h"

/* Runs `argv` (searched in PATH, NULL-ended), standard input from /dev/null, and appends its
 * standard output to `out`; its standard error goes where ours goes. Waits at most `timeout_ms`
 * (then the process group is killed, ERR_TIMEOUT); below 0 there is no limit. A non-zero exit
 * status is ERR_IO with the status in the message; an interruption (work.h) kills it too,
 * ERR_CANCELLED. On failure `out` is as before. The child has a process group of its own, no
 * descriptors but the three, and so cannot ask on the terminal. */
_warn_unused_ int proc_capture(const char *const *argv, int timeout_ms, struct buf *out,
                               struct err *e);
/* The same for a command line, by /bin/sh -c. */
_warn_unused_ int proc_capture_shell(const char *command, int timeout_ms, struct buf *out,
                                     struct err *e);

#endif
