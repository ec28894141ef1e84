/* Errors: a small negative code for the program, one message for the person.
 *
 * A function that can fail returns 0 or one of these codes and takes a struct err that it fills
 * when it fails (never NULL). A message says what failed, on what, why and, where there is
 * something to be done, what to do next: "cannot read /srv/app.db: permission denied; run as the
 * user who owns it". No full stop at the end, no capital at the start. */
#ifndef SALVOR_BASE_ERR_H
#define SALVOR_BASE_ERR_H

#include "base/cleanup.h"
#include <stdbool.h>

enum err_code {
    ERR_INTERNAL = -1,     /* salvor broke a promise of its own: a bug to report */
    ERR_USAGE = -2,        /* the caller's words or the configuration are wrong */
    ERR_NOT_FOUND = -3,    /* the named thing is not there */
    ERR_EXISTS = -4,       /* the named thing is there already */
    ERR_IO = -5,           /* the operating system or the store refused or broke */
    ERR_FULL = -6,         /* no space or quota left */
    ERR_DENIED = -7,       /* not permitted to read, write or delete */
    ERR_CORRUPT = -8,      /* data do not match their checksum, signature or format: damage */
    ERR_PASSPHRASE = -9,   /* no key of the repository opens with this passphrase */
    ERR_LOCKED = -10,      /* somebody else holds a lock */
    ERR_REFUSED = -11,     /* refused for safety; the message says how to insist */
    ERR_PARTIAL = -12,     /* done, but not all of it; the message names what is missing */
    ERR_MISSED = -13,      /* an objective is missed or a check is red */
    ERR_CANCELLED = -14,   /* asked to stop */
    ERR_UNSUPPORTED = -15, /* a newer format, or a feature that this build or backend lacks */
    ERR_CHANGED = -16,     /* changed underneath while being read or written */
    ERR_LIMIT = -17,       /* a length or count from outside is larger than allowed */
    ERR_TIMEOUT = -18,     /* did not answer within its time limit */
};

enum { ERR_MESSAGE_MAX = 1024 };

struct err {
    int code;       /* an enum err_code, 0 when nothing failed */
    int sys;        /* errno at the failure, 0 if it was not the system's */
    bool retryable; /* the same call may succeed if it is made again */
    char msg[ERR_MESSAGE_MAX];
};

#define ERR_INIT                                                                                   \
    {                                                                                              \
        0, 0, false, ""                                                                            \
    }

/* Sets code and message, overwriting what was there; a message longer than the buffer is cut.
 * Returns code, so that a caller can write `return err_set(e, ERR_USAGE, ...)`. */
int err_set(struct err *e, int code, const char *fmt, ...) _printf_(3, 4);

/* The same for a failed system call: the code follows from errno value `sys` (ENOENT becomes
 * ERR_NOT_FOUND, EACCES/EPERM ERR_DENIED, EROFS ERR_DENIED, ENOSPC/EDQUOT/EFBIG ERR_FULL, EEXIST
 * ERR_EXISTS, anything else ERR_IO), ": <strerror>" is appended, and EINTR, EAGAIN, ETIMEDOUT,
 * EIO, ESTALE and connection errors are marked retryable. */
int err_sys(struct err *e, int sys, const char *fmt, ...) _printf_(3, 4);

/* Puts "<text>: " before the present message and returns the present code. */
int err_prefix(struct err *e, const char *fmt, ...) _printf_(2, 3);

/* Appends "; <text>" to the present message (what to do next) and returns the present code. */
int err_hint(struct err *e, const char *fmt, ...) _printf_(2, 3);

/* The exit status documented in salvor(1) for a code: 0 for 0, 2 for ERR_USAGE, 3 for
 * ERR_PARTIAL, 4 for ERR_MISSED and ERR_CORRUPT, 5 for ERR_REFUSED, 6 for ERR_LOCKED, else 1. */
int err_exit_status(int code);

/* The stable lower-case name of a code for --json, such as "not_found". */
const char *err_name(int code);

#endif
