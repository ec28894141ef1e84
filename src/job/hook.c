/* Commands of the configuration around a swap, and the question whether the application is well. A
 * URL is asked by the program curl: nothing else here speaks HTTP, and a person can repeat it. */
#include "base/mem.h"
#include "base/proc.h"
#include "base/work.h"
#include "job/job_int.h"

#include <limits.h>
#include <string.h>

enum {
    ASK_MS = 5000, /* how long one question may take */
    PAUSE_NS = 200 * 1000 * 1000,
};

int hook_run(const char *command, const char *name, const char *database, const char *instead_of,
             int timeout_ms, struct err *e)
{
    _cleanup_free_ char *new = str_fmt("SALVOR_DATABASE=%s", database);
    _cleanup_free_ char *old =
        str_fmt("SALVOR_DATABASE_BEFORE=%s", instead_of != NULL ? instead_of : "");
    const char *argv[] = {"/bin/sh", "-c", command, NULL};
    const char *env[] = {new, old, NULL};
    struct proc_options o = {
        .argv = argv, .name = name, .env = env, .out = PROC_OUT_NULL, .timeout_ms = timeout_ms};
    _cleanup_(proc_freep) struct proc *child = NULL;
    int rc = proc_start(&o, &child, e);
    return rc < 0 ? rc : proc_wait(child, -1, e);
}

static bool is_url(const char *health)
{
    return str_starts(health, "http://") || str_starts(health, "https://");
}

/* The URL may hold a key: it goes through standard input. */
static int ask_url(const char *url, struct err *e)
{
    const char *argv[] = {"curl", "-fsSL", "-o", "/dev/null", "--max-time", "5", "-K", "-", NULL};
    struct proc_options o = {.argv = argv,
                             .name = "health",
                             .in = PROC_IN_FEED,
                             .out = PROC_OUT_NULL,
                             .timeout_ms = 2 * ASK_MS};
    _cleanup_(proc_freep) struct proc *child = NULL;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    buf_adds(&text, "url = \"");
    for (const char *p = url; *p != '\0'; p++)
        buf_addf(&text, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    buf_adds(&text, "\"\n");
    int rc = proc_start(&o, &child, e);
    if (rc == ERR_NOT_FOUND)
        return err_hint(e, "a health URL is asked by the program curl; install it, or give a "
                           "command instead");
    struct err closed = ERR_INIT; /* its end tells */
    if (rc == 0)
        (void)!proc_feed(child, text.data, text.len, &closed);
    if (rc < 0)
        return rc;
    proc_feed_end(child);
    return proc_wait(child, -1, e);
}

int health_wait(const char *health, const char *database, int64_t limit, struct err *e)
{
    int64_t end = clock_since_boot(&clock_system) + limit;
    for (;;) {
        int64_t left_ms = (end - clock_since_boot(&clock_system)) / (NSEC_PER_SEC / 1000);
        int ms = left_ms < ASK_MS ? ASK_MS : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
        int rc =
            is_url(health) ? ask_url(health, e) : hook_run(health, "health", database, NULL, ms, e);
        if (rc == 0 || rc == ERR_CANCELLED)
            return rc;
        if (clock_since_boot(&clock_system) >= end)
            return err_prefix(e, "the application is not well");
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        rc = cancel_check(e);
        if (rc < 0)
            return rc;
        *e = (struct err)ERR_INIT;
    }
}
