/* Notices at standard error: one write a line, so that lines of several processes do not mix. With
 * the journal behind it, a line carries its priority the way sd-daemon(3) reads it. */
#include "base/log.h"
#include "base/buf.h"
#include "base/text.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 4096 };

static const struct {
    int priority; /* as syslog's */
    const char *prefix;
} levels[] = {
    [LOG_ERROR] = {3, "salvor: "},        [LOG_WARNING] = {4, "salvor: warning: "},
    [LOG_NOTICE] = {5, "salvor: "},       [LOG_INFO] = {6, "salvor: "},
    [LOG_DEBUG] = {7, "salvor: debug: "},
};

static atomic_int most = LOG_NOTICE;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*lift_fn)(bool lifted, void *arg);
static void *lift_arg;

void log_set_level(enum log_level level)
{
    atomic_store(&most, (int)level);
}

void log_set_lift(void (*lift)(bool lifted, void *arg), void *arg)
{
    (void)pthread_mutex_lock(&lock);
    lift_fn = lift;
    lift_arg = arg;
    (void)pthread_mutex_unlock(&lock);
}

/* Whether standard error is the journal: systemd says which device and inode it handed us. */
static bool to_journal(void)
{
    const char *named = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (named == NULL || fstat(STDERR_FILENO, &st) != 0)
        return false;
    (void)snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(named, own) == 0;
}

static void write_line(const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody is left to be told */
        line += n;
        len -= (size_t)n;
    }
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if ((int)level > atomic_load(&most))
        return;
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    _cleanup_(buf_release) struct buf line = BUF_INIT(BUF_TEXT);
    if (to_journal())
        buf_addf(&line, "<%d>", levels[level].priority);
    buf_adds(&line, levels[level].prefix);
    /* Names from a repository or a server may be in it: none may command the terminal. */
    text_printable(text, strlen(text), &line);
    buf_adds(&line, "\n");

    (void)pthread_mutex_lock(&lock);
    if (lift_fn != NULL)
        lift_fn(true, lift_arg);
    write_line(buf_str(&line), line.len);
    if (lift_fn != NULL)
        lift_fn(false, lift_arg);
    (void)pthread_mutex_unlock(&lock);
}
