/* The queue and the pool, with real threads: also to be run under the thread sanitizer. */
#include "base/mem.h"
#include "base/work.h"
#include "test/unit/unit.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { ITEMS = 10000 };

static int number[ITEMS];

static void *producer(void *arg)
{
    struct queue *q = arg;
    for (int i = 0; i < ITEMS; i++)
        if (!queue_put(q, &number[i]))
            return NULL;
    return q;
}

static void *consumer(void *arg)
{
    static atomic_long sum;
    int *item;
    while ((item = queue_take(arg)) != NULL)
        (void)atomic_fetch_add(&sum, *item);
    return &sum;
}

static void queue_keeps_order(void **state)
{
    (void)state;
    struct queue *q = queue_new(3);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, producer, q), 0);
    for (int i = 0; i < ITEMS; i++)
        assert_ptr_equal(queue_take(q), &number[i]);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_null(queue_try_take(q));
    queue_close(q);
    assert_null(queue_take(q));
    assert_false(queue_put(q, q));
    queue_free(q);
}

static void queue_with_many_on_both_sides(void **state)
{
    (void)state;
    struct queue *q = queue_new(7);
    pthread_t in[4], out[4];
    void *got = NULL;
    for (int i = 0; i < ITEMS; i++)
        number[i] = i;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&out[i], NULL, consumer, q), 0);
        assert_int_equal(pthread_create(&in[i], NULL, producer, q), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(in[i], NULL), 0);
    queue_close(q);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(out[i], &got), 0);
    assert_int_equal(atomic_load((atomic_long *)got), 4L * ITEMS * (ITEMS - 1) / 2);
    queue_free(q);
}

static void closing_wakes_a_producer(void **state)
{
    (void)state;
    struct queue *q = queue_new(2);
    pthread_t t;
    void *end;
    assert_int_equal(pthread_create(&t, NULL, producer, q), 0);
    (void)usleep(10000);
    queue_close(q);
    assert_int_equal(pthread_join(t, &end), 0);
    assert_null(end);
    while (queue_take(q) != NULL) {
    }
    queue_free(q);
}

struct tally {
    atomic_int done, dropped;
    int fail_at;
};

static int work(void *item, void *arg, struct err *e)
{
    struct tally *t = arg;
    int n = *(int *)item;
    free(item);
    (void)atomic_fetch_add(&t->done, 1);
    return n == t->fail_at ? err_set(e, ERR_CORRUPT, "item %d is bad", n) : 0;
}

static void forget(void *item, void *arg)
{
    struct tally *t = arg;
    free(item);
    (void)atomic_fetch_add(&t->dropped, 1);
}

static void *boxed(int n)
{
    return mem_dup(&n, sizeof(n));
}

static void pool_does_all(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct tally t = {.fail_at = -1};
    struct pool *p = pool_new(4, 8, work, forget, &t);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 1000; i++)
            assert_int_equal(pool_submit(p, boxed(i), &e), 0);
        assert_int_equal(pool_wait(p, &e), 0);
        assert_int_equal(atomic_load(&t.done), round * 1000);
    }
    assert_int_equal(pool_wait(p, &e), 0);
    assert_int_equal(pool_submit(p, boxed(1), &e), 0);
    pool_free(p); /* finishes what is queued */
    assert_int_equal(atomic_load(&t.done), 3001);
    assert_int_equal(atomic_load(&t.dropped), 0);
}

static void pool_stops_at_the_first_error(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct tally t = {.fail_at = 50};
    struct pool *p = pool_new(3, 4, work, forget, &t);
    int submitted = 0, rc = 0;
    while (rc == 0 && submitted < 1000000)
        rc = pool_submit(p, boxed(submitted++), &e);
    assert_int_equal(rc, ERR_CORRUPT);
    assert_string_equal(e.msg, "item 50 is bad");
    struct err again = ERR_INIT;
    assert_int_equal(pool_wait(p, &again), ERR_CORRUPT);
    assert_int_equal(pool_wait(p, &again), ERR_CORRUPT); /* it stays */
    assert_string_equal(again.msg, "item 50 is bad");
    assert_int_equal(atomic_load(&t.done) + atomic_load(&t.dropped), submitted);
    pool_free(p);
    pool_free(NULL);
}

static int nap(void *item, void *arg, struct err *e)
{
    (void)arg, (void)e;
    free(item);
    const struct timespec t = {0, 20000000};
    (void)nanosleep(&t, NULL);
    return 0;
}

static void pool_works_at_the_same_time(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct timespec a, b;
    struct pool *p = pool_new(8, 1, nap, NULL, NULL);
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 80; i++)
        assert_int_equal(pool_submit(p, boxed(i), &e), 0);
    assert_int_equal(pool_wait(p, &e), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    pool_free(p);
    assert_true(b.tv_sec - a.tv_sec <= 1); /* 1.6 s one after the other, 0.2 s together */
}

static void cancelling(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(cancel_check(&e), 0);
    cancel_requested = 1;
    assert_int_equal(cancel_check(&e), ERR_CANCELLED);
    assert_string_equal(e.msg, "interrupted");
    cancel_requested = 0;
    assert_true(cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_keeps_order),
        cmocka_unit_test(queue_with_many_on_both_sides),
        cmocka_unit_test(closing_wakes_a_producer),
        cmocka_unit_test(pool_does_all),
        cmocka_unit_test(pool_stops_at_the_first_error),
        cmocka_unit_test(pool_works_at_the_same_time),
        cmocka_unit_test(cancelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
