/* Repeating: what is repeated, how often, and that nothing is seen of it. Faults come from the
 * fault decorator, which is tested on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/work.h"
#include "store/store_int.h"
#include <string.h>
#include <time.h>

static const struct piece abc = {"abc", 3}, xyz = {"xyz", 3};

/* retry over fault over memory; the memory holds "there" already. */
struct stack {
    struct fault_plan plan;
    struct store *memory, *s;
};

static struct stack stack_make(uint64_t fail_at, enum fault_kind kind)
{
    struct stack k = {.plan = {.fail_at = fail_at, .kind = kind}};
    struct err e = ERR_INIT;
    k.memory = store_memory_new();
    assert_int_equal(store_put(k.memory, "there", PUT_NEW, &abc, 1, &e), 0);
    return k;
}

/* Apart from making, since the plan must stay where it is. */
static struct store *stack_store(struct stack *k)
{
    static const struct retry_policy quick = {3, 1, 2};
    k->s = store_retry_new(store_fault_new(k->memory, &k->plan), &quick);
    return k->s;
}

static int names(const struct store_object *o, void *arg, struct err *e)
{
    return buf_printf(arg, e, "%s ", o->name);
}

/* Makes every kind of call; the first error. */
static int every_call(struct store *s, struct err *e)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    uint64_t size = 0;
    size_t n;
    int rc;
    if ((rc = store_put(s, "new", PUT_NEW, &abc, 1, e)) < 0 ||
        (rc = store_put(s, "there", PUT_REPLACE, &xyz, 1, e)) < 0 ||
        (rc = store_get(s, "there", 1, STORE_TO_END, &b, e)) < 0 ||
        (rc = store_stat(s, "new", &size, e)) < 0 || (rc = store_list(s, "", names, &b, e)) < 0 ||
        (rc = store_remove(s, "new", e)) < 0 || (rc = store_clean(s, 0, &n, e)) < 0)
        return rc;
    assert_int_equal(size, 3);
    assert_string_equal(buf_str(&b), "yznew there ");
    assert_int_equal(store_stat(s, "new", &size, e), ERR_NOT_FOUND);
    return 0;
}

static void unseen(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_NONE, FAULT_TRANSIENT, FAULT_LOST_REPLY};
    (void)state;
    for (size_t i = 0; i < array_len(kinds); i++) {
        for (uint64_t at = 1; at <= 7; at++) {
            struct stack k = stack_make(at, kinds[i]);
            struct err e = ERR_INIT;
            struct store *s = stack_store(&k);
            assert_int_equal(every_call(s, &e), 0);
            assert_true(k.plan.calls >= (kinds[i] == FAULT_NONE ? 8 : 9));
            store_free(s);
        }
    }
}

static void what_is_final_is_told_at_once(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FINAL, FAULT_SHORT};
    (void)state;
    for (size_t i = 0; i < array_len(kinds); i++) {
        for (uint64_t at = 1; at <= 7; at++) {
            struct stack k = stack_make(at, kinds[i]);
            struct err e = ERR_INIT;
            struct store *s = stack_store(&k);
            bool short_get = kinds[i] == FAULT_SHORT && at == 3;
            assert_int_equal(every_call(s, &e), short_get ? ERR_CORRUPT : ERR_IO);
            assert_int_equal(k.plan.calls, at);
            assert_non_null(strstr(e.msg, "fault injected"));
            assert_null(strstr(e.msg, "gave up"));
            store_free(s);
        }
    }
}

static void a_short_listing_shows_nothing(void **state)
{
    (void)state;
    struct stack k = stack_make(1, FAULT_SHORT);
    struct err e = ERR_INIT;
    struct store *s = stack_store(&k);
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    assert_int_equal(store_list(s, "", names, &b, &e), ERR_IO);
    assert_string_equal(buf_str(&b), "");
    store_free(s);
    /* Without retry the first object is seen before it breaks off. */
    k = stack_make(1, FAULT_SHORT);
    s = store_fault_new(k.memory, &k.plan);
    assert_int_equal(store_list(s, "", names, &b, &e), ERR_IO);
    assert_string_equal(buf_str(&b), "there ");
    store_free(s);
}

/* A store of which every call fails and may be repeated. */
struct down {
    struct store base;
    unsigned calls;
    int code;
};

static int down_fail(struct store *s, struct err *e)
{
    struct down *d = (struct down *)s;
    d->calls++;
    (void)err_set(e, d->code, "the server is down");
    e->retryable = true;
    return d->code;
}

static int down_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    (void)name;
    (void)size;
    return down_fail(s, e);
}

static int down_remove(struct store *s, const char *name, struct err *e)
{
    (void)name;
    return down_fail(s, e);
}

static void down_free(struct store *s)
{
    (void)s;
}

static const struct store_ops down_ops = {.stat = down_stat,
                                          .remove = down_remove,
                                          .free = down_free};

static struct store *down_over(struct down *d, const struct retry_policy *policy)
{
    *d = (struct down){.base = {.ops = &down_ops}, .code = ERR_IO};
    d->base.address = str_dup("down:");
    return store_retry_new(&d->base, policy);
}

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void it_gives_up(void **state)
{
    (void)state;
    struct down d;
    struct err e = ERR_INIT;
    uint64_t size;
    const struct retry_policy five = {5, 1, 4};
    struct store *s = down_over(&d, &five);
    double start = now_ms();
    assert_int_equal(store_stat(s, "x", &size, &e), ERR_IO);
    assert_int_equal(d.calls, 5);
    assert_true(e.retryable);
    assert_string_equal(e.msg, "the server is down; gave up after 5 tries");
    assert_true(now_ms() - start < 5000); /* at most 4 pauses of 4 ms, and a slow machine */
    store_free(s);

    const struct retry_policy once = {1, 1, 4};
    s = down_over(&d, &once);
    assert_int_equal(store_remove(s, "x", &e), ERR_IO);
    assert_int_equal(d.calls, 1);
    assert_string_equal(e.msg, "the server is down");
    store_free(s);
}

static void it_does_not_wait_when_asked_to_stop(void **state)
{
    (void)state;
    struct down d;
    struct err e = ERR_INIT;
    uint64_t size;
    const struct retry_policy slow = {100, 60000, 60000};
    struct store *s = down_over(&d, &slow);
    atomic_store(&cancel_requested, 1);
    assert_int_equal(store_stat(s, "x", &size, &e), ERR_IO);
    atomic_store(&cancel_requested, 0);
    assert_int_equal(d.calls, 1);
    store_free(s);
}

/* The first try of a PUT_NEW was lost, and meanwhile somebody else made an object of that name. */
struct thief {
    struct store base;
    struct store *inner;
    const struct piece *loot;
    unsigned puts;
};

static int thief_put(struct store *s, const char *name, enum store_put_mode mode,
                     const struct piece *pieces, size_t npieces, struct err *e)
{
    struct thief *t = (struct thief *)s;
    if (t->puts++ > 0)
        return store_put(t->inner, name, mode, pieces, npieces, e);
    int rc = store_put(t->inner, name, PUT_NEW, t->loot, 1, e);
    assert_int_equal(rc, 0);
    rc = err_set(e, ERR_IO, "no answer");
    e->retryable = true;
    return rc;
}

static int thief_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                     struct buf *out, struct err *e)
{
    return store_get(((struct thief *)s)->inner, name, offset, len, out, e);
}

static int thief_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    return store_stat(((struct thief *)s)->inner, name, size, e);
}

static void thief_free(struct store *s)
{
    store_free(((struct thief *)s)->inner);
}

static const struct store_ops thief_ops = {.put = thief_put,
                                           .get = thief_get,
                                           .stat = thief_stat,
                                           .free = thief_free};

static void somebody_elses_object_is_not_ours(void **state)
{
    static const struct piece longer = {"abcd", 4};
    static const struct piece *const loots[] = {&abc, &xyz, &longer};
    static const struct retry_policy quick = {3, 1, 2};
    (void)state;
    for (size_t i = 0; i < array_len(loots); i++) {
        struct thief t = {.base = {.ops = &thief_ops}, .loot = loots[i]};
        struct err e = ERR_INIT;
        t.base.address = str_dup("thief:");
        t.inner = store_memory_new();
        struct store *s = store_retry_new(&t.base, &quick);
        assert_int_equal(store_put(s, "config", PUT_NEW, &abc, 1, &e),
                         loots[i] == &abc ? 0 : ERR_EXISTS);
        store_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unseen),
        cmocka_unit_test(what_is_final_is_told_at_once),
        cmocka_unit_test(a_short_listing_shows_nothing),
        cmocka_unit_test(it_gives_up),
        cmocka_unit_test(it_does_not_wait_when_asked_to_stop),
        cmocka_unit_test(somebody_elses_object_is_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
