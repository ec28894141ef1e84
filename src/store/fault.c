/* For tests: fails one call, as its plan says. Every call but store_local_path is counted. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store_int.h"
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

struct fault {
    struct store base;
    struct store *inner;
    pthread_mutex_t lock; /* guards plan->calls */
    struct fault_plan *plan;
};

static struct fault *fault_of(struct store *s)
{
    return (struct fault *)s;
}

/* Counts a call; what is to happen to it. */
static enum fault_kind next(struct fault *f)
{
    (void)pthread_mutex_lock(&f->lock);
    uint64_t call = ++f->plan->calls;
    (void)pthread_mutex_unlock(&f->lock);
    return call == f->plan->fail_at ? f->plan->kind : FAULT_NONE;
}

static int injected(const struct fault *f, int code, bool retryable, const char *verb,
                    const char *name, struct err *e)
{
    (void)err_set(e, code, "cannot %s %s in %s: fault injected into call %" PRIu64, verb, name,
                  f->base.address, f->plan->fail_at);
    e->retryable = retryable;
    return code;
}

/* Before the call: an error if it must not be carried out. */
static int before(const struct fault *f, enum fault_kind kind, const char *verb, const char *name,
                  struct err *e)
{
    switch (kind) {
    case FAULT_TRANSIENT: return injected(f, ERR_IO, true, verb, name, e);
    case FAULT_SHORT:
    case FAULT_FINAL: return injected(f, ERR_IO, false, verb, name, e);
    case FAULT_CRASH:
        if (!f->plan->after)
            (void)raise(SIGKILL);
        return 0;
    case FAULT_LOST_REPLY:
    case FAULT_NONE: return 0;
    }
    return 0;
}

/* After it was carried out with result `rc`. */
static int after(const struct fault *f, enum fault_kind kind, int rc, const char *verb,
                 const char *name, struct err *e)
{
    if (kind == FAULT_CRASH)
        (void)raise(SIGKILL);
    if (kind == FAULT_LOST_REPLY && rc == 0)
        return injected(f, ERR_IO, true, verb, name, e);
    return rc;
}

static int fault_put(struct store *s, const char *name, enum store_put_mode mode,
                     const struct piece *pieces, size_t npieces, struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    int rc = before(f, kind, "store", name, e);
    if (rc < 0)
        return rc;
    rc = store_put(f->inner, name, mode, pieces, npieces, e);
    return after(f, kind, rc, "store", name, e);
}

static int fault_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                     struct buf *out, struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    int rc = kind == FAULT_SHORT ? injected(f, ERR_CORRUPT, false, "read all of", name, e)
                                 : before(f, kind, "read", name, e);
    if (rc < 0)
        return rc;
    rc = store_get(f->inner, name, offset, len, out, e);
    return after(f, kind, rc, "read", name, e);
}

static int fault_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    int rc = before(f, kind, "look at", name, e);
    if (rc < 0)
        return rc;
    rc = store_stat(f->inner, name, size, e);
    return after(f, kind, rc, "look at", name, e);
}

/* A listing that breaks off after its first object. */
struct broken {
    store_list_fn *fn;
    void *arg;
    const struct fault *f;
    const char *prefix;
};

static int break_off(const struct store_object *o, void *arg, struct err *e)
{
    struct broken *b = arg;
    int rc = b->fn(o, b->arg, e);
    return rc != 0 ? rc : injected(b->f, ERR_IO, false, "list all of", b->prefix, e);
}

static int fault_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg,
                      struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    const char *shown = *prefix != '\0' ? prefix : "all";
    if (kind == FAULT_SHORT) {
        struct broken b = {fn, arg, f, shown};
        int broken = store_list(f->inner, prefix, break_off, &b, e);
        return broken != 0 ? broken : injected(f, ERR_IO, false, "list", shown, e);
    }
    int rc = before(f, kind, "list", shown, e);
    if (rc < 0)
        return rc;
    rc = store_list(f->inner, prefix, fn, arg, e);
    return after(f, kind, rc, "list", shown, e);
}

static int fault_remove(struct store *s, const char *name, struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    int rc = before(f, kind, "remove", name, e);
    if (rc < 0)
        return rc;
    rc = store_remove(f->inner, name, e);
    return after(f, kind, rc, "remove", name, e);
}

static int fault_clean(struct store *s, int64_t age_s, size_t *n, struct err *e)
{
    struct fault *f = fault_of(s);
    enum fault_kind kind = next(f);
    int rc = before(f, kind, "clean", "all", e);
    if (rc < 0)
        return rc;
    rc = store_clean(f->inner, age_s, n, e);
    return after(f, kind, rc, "clean", "all", e);
}

static void fault_free(struct store *s)
{
    struct fault *f = fault_of(s);
    if (f->plan->count_file != NULL) {
        struct err e = ERR_INIT;
        char text[32];
        int len = snprintf(text, sizeof text, "%" PRIu64 "\n", f->plan->calls);
        if (file_write_atomic(f->plan->count_file, text, (size_t)len, 0600, &e) < 0)
            log_warning("cannot count the calls of a store: %s", e.msg);
    }
    store_free(f->inner);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct store_ops fault_ops = {
    .put = fault_put,
    .get = fault_get,
    .stat = fault_stat,
    .list = fault_list,
    .remove = fault_remove,
    .clean = fault_clean,
    .free = fault_free,
};

struct store *store_fault_new(struct store *inner, struct fault_plan *plan)
{
    struct fault *f = mem_zero(sizeof *f);
    f->base.ops = &fault_ops;
    f->base.properties = inner->properties;
    f->base.properties.local_files = false; /* what is mapped cannot be made to fail */
    f->base.address = str_dup(inner->address);
    f->inner = inner;
    f->plan = plan;
    (void)pthread_mutex_init(&f->lock, NULL);
    return &f->base;
}

int store_fault_parse(const char *text, struct fault_plan *plan, struct err *e)
{
    static const struct {
        const char *name;
        enum fault_kind kind;
        bool after;
    } kinds[] = {
        {"transient", FAULT_TRANSIENT, false}, {"final", FAULT_FINAL, false},
        {"short", FAULT_SHORT, false},         {"lost-reply", FAULT_LOST_REPLY, false},
        {"crash", FAULT_CRASH, false},         {"crash-after", FAULT_CRASH, true},
    };
    *plan = (struct fault_plan){0};
    if (strcmp(text, "0") == 0)
        return 0;
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && digits < 19 && text[digits] == ':') {
        for (size_t i = 0; i < array_len(kinds); i++) {
            if (strcmp(text + digits + 1, kinds[i].name) != 0)
                continue;
            plan->fail_at = strtoull(text, NULL, 10);
            plan->kind = kinds[i].kind;
            plan->after = kinds[i].after;
            return 0;
        }
    }
    return err_set(e, ERR_USAGE,
                   "\"%.60s\" is no plan of faults; write a call's number, a colon, and transient, "
                   "final, short, lost-reply, crash or crash-after (such as 7:transient), or 0",
                   text);
}
