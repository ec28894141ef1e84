/* Repeats what failed but may succeed later, after pauses that double and are random, so that many
 * clients of a server that comes back do not all ask at once. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "store/store_int.h"
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct retry {
    struct store base;
    struct store *inner;
    struct retry_policy policy;
};

static struct retry *retry_of(struct store *s)
{
    return (struct retry *)s;
}

static void pause_ms(uint64_t ms)
{
    while (ms > 0 && atomic_load(&cancel_requested) == 0) {
        uint64_t step = ms < 100 ? ms : 100;
        struct timespec t = {0, (long)step * 1000000};
        (void)nanosleep(&t, NULL);
        ms -= step;
    }
}

/* After the `tries`th try ended with `rc`: whether to try again, having waited. What earlier tries
 * left in `e` is forgotten once one succeeds. */
static bool again(const struct retry *r, unsigned tries, int rc, struct err *e)
{
    if (rc == 0 && tries > 1)
        *e = (struct err)ERR_INIT;
    if (rc == 0 || !e->retryable || atomic_load(&cancel_requested) != 0)
        return false;
    if (tries >= r->policy.attempts) {
        if (tries > 1)
            (void)err_hint(e, "gave up after %u tries", tries);
        return false;
    }
    uint64_t mean = r->policy.first_ms, chance = 0;
    for (unsigned i = 1; i < tries && mean < r->policy.most_ms; i++)
        mean *= 2;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
        chance = mean;
    uint64_t ms = chance % (2 * mean + 1);
    if (ms > r->policy.most_ms)
        ms = r->policy.most_ms;
    log_line(ms >= 2000 ? LOG_NOTICE : LOG_DEBUG, "%s; trying again in %.1f s", e->msg,
             (double)ms / 1000);
    pause_ms(ms);
    return true;
}

/* Whether the object has exactly these bytes, or, where it may not be read, this many. */
static bool is_same(struct store *s, const char *name, const struct piece *pieces, size_t npieces)
{
    struct err e = ERR_INIT;
    uint64_t size, want = store_pieces_size(pieces, npieces);
    if (store_stat(s, name, &size, &e) < 0 || size != want)
        return false;
    _cleanup_(buf_release) struct buf b = BUF_INIT(want);
    int rc = store_get(s, name, 0, want, &b, &e);
    if (rc < 0)
        return rc == ERR_DENIED;
    const char *at = buf_str(&b);
    for (size_t i = 0; i < npieces; i++) {
        if (pieces[i].len > 0 && memcmp(at, pieces[i].data, pieces[i].len) != 0)
            return false;
        at += pieces[i].len;
    }
    return true;
}

static int retry_put(struct store *s, const char *name, enum store_put_mode mode,
                     const struct piece *pieces, size_t npieces, struct err *e)
{
    struct retry *r = retry_of(s);
    unsigned tries = 0;
    int rc;
    do {
        rc = store_put(r->inner, name, mode, pieces, npieces, e);
        if (rc == ERR_EXISTS && tries > 0 && is_same(s, name, pieces, npieces))
            rc = 0; /* an earlier try worked after all */
    } while (again(r, ++tries, rc, e));
    return rc;
}

static int retry_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                     struct buf *out, struct err *e)
{
    struct retry *r = retry_of(s);
    unsigned tries = 0;
    int rc;
    do {
        rc = store_get(r->inner, name, offset, len, out, e);
    } while (again(r, ++tries, rc, e));
    return rc;
}

static int retry_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    struct retry *r = retry_of(s);
    unsigned tries = 0;
    int rc;
    do {
        rc = store_stat(r->inner, name, size, e);
    } while (again(r, ++tries, rc, e));
    return rc;
}

/* A listing: sizes, and names one after the other with their NULs. */
struct listing {
    struct buf names;
    uint64_t *size;
    size_t n, cap;
};

static void listing_release(struct listing *l)
{
    buf_release(&l->names);
    free(l->size);
}

static int collect(const struct store_object *o, void *arg, struct err *e)
{
    struct listing *l = arg;
    int rc = buf_append(&l->names, o->name, strlen(o->name) + 1, e);
    if (rc < 0)
        return rc;
    mem_grow(&l->size, l->n, &l->cap, sizeof *l->size);
    l->size[l->n++] = o->size;
    return 0;
}

static int retry_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg,
                      struct err *e)
{
    struct retry *r = retry_of(s);
    _cleanup_(listing_release) struct listing l = {.names = BUF_INIT(SIZE_MAX / 2)};
    unsigned tries = 0;
    int rc;
    do {
        buf_clear(&l.names);
        l.n = 0;
        rc = store_list(r->inner, prefix, collect, &l, e);
    } while (again(r, ++tries, rc, e));

    const char *name = buf_str(&l.names);
    for (size_t i = 0; i < l.n && rc == 0; i++, name += strlen(name) + 1)
        rc = fn(&(struct store_object){name, l.size[i]}, arg, e);
    return rc;
}

static int retry_remove(struct store *s, const char *name, struct err *e)
{
    struct retry *r = retry_of(s);
    unsigned tries = 0;
    int rc;
    do {
        rc = store_remove(r->inner, name, e);
        if (rc == ERR_NOT_FOUND && tries > 0)
            rc = 0; /* an earlier try worked after all */
    } while (again(r, ++tries, rc, e));
    return rc;
}

static int retry_clean(struct store *s, int64_t age_s, size_t *n, struct err *e)
{
    struct retry *r = retry_of(s);
    unsigned tries = 0;
    size_t all = 0;
    int rc;
    do {
        rc = store_clean(r->inner, age_s, n, e);
        all += *n;
    } while (again(r, ++tries, rc, e));
    *n = all;
    return rc;
}

static char *retry_local_path(struct store *s, const char *name)
{
    return store_local_path(retry_of(s)->inner, name);
}

static void retry_free(struct store *s)
{
    store_free(retry_of(s)->inner);
    free(s);
}

static const struct store_ops retry_ops = {
    .put = retry_put,
    .get = retry_get,
    .stat = retry_stat,
    .list = retry_list,
    .remove = retry_remove,
    .clean = retry_clean,
    .local_path = retry_local_path,
    .free = retry_free,
};

struct store *store_retry_new(struct store *inner, const struct retry_policy *policy)
{
    struct retry *r = mem_zero(sizeof *r);
    r->base.ops = &retry_ops;
    r->base.properties = inner->properties;
    r->base.address = str_dup(inner->address);
    r->inner = inner;
    r->policy = *policy;
    if (r->policy.attempts == 0)
        r->policy.attempts = 6;
    if (r->policy.first_ms == 0)
        r->policy.first_ms = 200;
    if (r->policy.most_ms == 0)
        r->policy.most_ms = 20000;
    return &r->base;
}
