/* Errors: codes, messages, and what both become for the shell and for --json. */
#include "base/err.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    int status;
    const char *name;
} codes[] = {
    {0, 0, "ok"},
    {ERR_INTERNAL, 1, "internal"},
    {ERR_USAGE, 2, "usage"},
    {ERR_NOT_FOUND, 1, "not_found"},
    {ERR_EXISTS, 1, "exists"},
    {ERR_IO, 1, "io"},
    {ERR_FULL, 1, "full"},
    {ERR_DENIED, 1, "denied"},
    {ERR_CORRUPT, 4, "corrupt"},
    {ERR_PASSPHRASE, 1, "passphrase"},
    {ERR_LOCKED, 6, "locked"},
    {ERR_REFUSED, 5, "refused"},
    {ERR_PARTIAL, 3, "partial"},
    {ERR_MISSED, 4, "missed"},
    {ERR_CANCELLED, 1, "cancelled"},
    {ERR_UNSUPPORTED, 1, "unsupported"},
    {ERR_CHANGED, 1, "changed"},
    {ERR_LIMIT, 1, "limit"},
    {ERR_TIMEOUT, 1, "timeout"},
};

/* Replaces the message. The parts may lie inside the present one, so it is built aside. snprintf
 * may cut a UTF-8 sequence at the end; whoever shows the message escapes what is left of it. */
static void set_message(struct err *e, const char *a, const char *between, const char *b)
{
    char msg[ERR_MESSAGE_MAX];
    size_t len = 0;
    const char *part[] = {a, between, b};
    for (size_t i = 0; i < array_len(part); i++) {
        size_t n = strnlen(part[i], sizeof msg - 1 - len);
        memcpy(msg + len, part[i], n);
        len += n;
    }
    msg[len] = '\0';
    memcpy(e->msg, msg, len + 1);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    char msg[ERR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    e->code = code;
    e->sys = 0;
    e->retryable = false;
    set_message(e, msg, "", "");
    return code;
}

static int code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT: return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ERR_FULL;
    case EEXIST: return ERR_EXISTS;
    default: return ERR_IO;
    }
}

static bool errno_is_retryable(int sys)
{
    switch (sys) {
    case EINTR:
    case EAGAIN:
    case ETIMEDOUT:
    case EIO:
    case ESTALE:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENETDOWN:
    case ENETUNREACH:
    case ENETRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOTCONN:
    case EPIPE: return true;
    default: return false;
    }
}

int err_sys(struct err *e, int sys, const char *fmt, ...)
{
    char msg[ERR_MESSAGE_MAX], space[128], reason[128];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    (void)snprintf(reason, sizeof reason, "%s", strerror_r(sys, space, sizeof space));
    /* "Permission denied" stands inside a sentence here; "RFS specific error" stays. */
    if (isupper((unsigned char)reason[0]) && !isupper((unsigned char)reason[1]))
        reason[0] = (char)tolower((unsigned char)reason[0]);
    e->code = code_of_errno(sys);
    e->sys = sys;
    e->retryable = errno_is_retryable(sys);
    set_message(e, msg, ": ", reason);
    return e->code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char text[ERR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    set_message(e, text, ": ", e->msg);
    return e->code;
}

int err_hint(struct err *e, const char *fmt, ...)
{
    char text[ERR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    set_message(e, e->msg, "; ", text);
    return e->code;
}

int err_exit_status(int code)
{
    for (size_t i = 0; i < array_len(codes); i++)
        if (codes[i].code == code)
            return codes[i].status;
    return 1;
}

const char *err_name(int code)
{
    for (size_t i = 0; i < array_len(codes); i++)
        if (codes[i].code == code)
            return codes[i].name;
    return "internal";
}
