/* The drivers and decorators that the suite runs against: add yours here. */
#include "conform.h"

static struct store *open_memory(struct place *p, struct err *e)
{
    (void)p;
    (void)e;
    return store_memory_new();
}

static struct store *open_local(struct place *p, struct err *e)
{
    struct store *s = NULL;
    return store_local_new(p->directory, true, &s, e) == 0 ? s : NULL;
}

/* Retries `inner`, whose `call`th call fails in a way that must not be seen outside. */
static struct store *retried(struct place *p, struct store *inner, uint64_t call,
                             enum fault_kind kind)
{
    static const struct retry_policy quick = {.attempts = 3, .first_ms = 1, .most_ms = 2};
    if (inner == NULL)
        return NULL;
    p->plan = (struct fault_plan){.fail_at = call, .kind = kind};
    return store_retry_new(store_fault_new(inner, &p->plan), &quick);
}

static struct store *open_transient(struct place *p, struct err *e)
{
    return retried(p, open_memory(p, e), 1, FAULT_TRANSIENT);
}

static struct store *open_lost_first(struct place *p, struct err *e)
{
    return retried(p, open_memory(p, e), 1, FAULT_LOST_REPLY);
}

static struct store *open_lost_second(struct place *p, struct err *e)
{
    return retried(p, open_local(p, e), 2, FAULT_LOST_REPLY);
}

const struct driver drivers[] = {
    {"memory", open_memory, false},
    {"local", open_local, true},
    {"retry over a transient fault over memory", open_transient, false},
    {"retry over a lost first reply over memory", open_lost_first, false},
    {"retry over a lost second reply over local", open_lost_second, true},
};
const size_t ndrivers = array_len(drivers);
