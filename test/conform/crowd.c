/* Several at once: threads on one store, processes on one place, and processes that are killed. */
#include "conform.h"

#include "base/mem.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 8, BIG = 300001 };

struct member {
    struct store *s;
    atomic_int *stop;
    unsigned number;
    int result; /* threads may not assert: what went wrong, 0 nothing */
};

static int run_crowd(struct store *s, void *(*fn)(void *), struct member m[CROWD], size_t n)
{
    pthread_t thread[CROWD];
    for (size_t i = 0; i < n; i++) {
        m[i].s = s;
        m[i].number = (unsigned)i;
        assert_int_equal(pthread_create(&thread[i], NULL, fn, &m[i]), 0);
    }
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        failed += m[i].result < 0;
    }
    return failed;
}

/* Puts `BIG` bytes that follow from `seed`. */
static int put_big(struct store *s, const char *name, enum store_put_mode mode, uint64_t seed,
                   struct err *e)
{
    _cleanup_free_ uint8_t *data = some_bytes(seed, BIG);
    const struct piece p[] = {{data, 1000}, {data + 1000, BIG - 1000}};
    return store_put(s, name, mode, p, 2, e);
}

static void *put_new_once(void *arg)
{
    struct member *m = arg;
    struct err e = ERR_INIT;
    m->result = put_big(m->s, "locks/l", PUT_NEW, m->number, &e);
    return NULL;
}

static void one_winner(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    if (!store_properties(s)->conditional_put)
        return; /* it does not promise that */
    for (int round = 0; round < 10; round++) {
        struct member m[CROWD] = {0};
        struct err e = ERR_INIT;
        assert_int_equal(run_crowd(s, put_new_once, m, CROWD), CROWD - 1);
        for (unsigned i = 0; i < CROWD; i++) {
            assert_true(m[i].result == 0 || m[i].result == ERR_EXISTS);
            if (m[i].result == 0)
                assert_bytes(s, "locks/l", i, BIG);
        }
        assert_int_equal(store_remove(s, "locks/l", &e), 0);
    }
}

/* Half of the crowd replaces one object, the other half reads it. */
static void *replace_or_read(void *arg)
{
    struct member *m = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < 20 && m->result == 0; i++) {
        if (m->number % 2 == 0) {
            m->result = put_big(m->s, "index/i", PUT_REPLACE, m->number, &e);
            continue;
        }
        _cleanup_(buf_release) struct buf b = BUF_INIT(2 * BIG);
        bool whole = false;
        m->result = store_get(m->s, "index/i", 0, STORE_TO_END, &b, &e);
        for (unsigned writer = 0; writer < CROWD; writer += 2)
            whole = whole || holds_bytes(&b, writer, BIG);
        if (m->result == 0 && !whole)
            m->result = ERR_CORRUPT;
    }
    return NULL;
}

static void readers_see_whole_objects(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct member m[CROWD] = {0};
    put_bytes(s, "index/i", 0, BIG);
    assert_int_equal(run_crowd(s, replace_or_read, m, CROWD), 0);
}

static void *own_objects(void *arg)
{
    struct member *m = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < 40 && m->result == 0; i++) {
        char name[32];
        uint64_t size = 0;
        _cleanup_(buf_release) struct buf b = BUF_INIT(2 * BIG);
        (void)snprintf(name, sizeof name, "data/%02x/%u-%d", i % 4, m->number, i);
        m->result = put_big(m->s, name, PUT_NEW, m->number, &e);
        if (m->result == 0)
            m->result = store_get(m->s, name, 10, 100, &b, &e);
        if (m->result == 0)
            m->result = store_stat(m->s, name, &size, &e);
        if (m->result == 0 && (b.len != 100 || size != BIG))
            m->result = ERR_CORRUPT;
        if (m->result == 0 && i % 2 == 0)
            m->result = store_remove(m->s, name, &e);
    }
    return NULL;
}

static int count(const struct store_object *o, void *arg, struct err *e)
{
    (void)o;
    (void)e;
    ++*(size_t *)arg;
    return 0;
}

static void each_with_objects_of_its_own(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct member m[CROWD] = {0};
    struct err e = ERR_INIT;
    size_t n = 0;
    assert_int_equal(run_crowd(s, own_objects, m, CROWD), 0);
    assert_int_equal(store_list(s, "", count, &n, &e), 0);
    assert_int_equal(n, CROWD * 20);
}

static void *come_and_go(void *arg)
{
    struct member *m = arg;
    struct err e = ERR_INIT;
    while (m->result == 0 && atomic_load(m->stop) == 0) {
        char name[32];
        (void)snprintf(name, sizeof name, "data/%02x/gone", m->number);
        m->result = put_big(m->s, name, PUT_REPLACE, 1, &e);
        if (m->result == 0)
            m->result = store_remove(m->s, name, &e);
    }
    return NULL;
}

/* Counts the objects that stay; fails on what is neither these nor those that come and go. */
static int count_staying(const struct store_object *o, void *arg, struct err *e)
{
    size_t *n = arg;
    const char *base = strrchr(o->name, '/') + 1;
    if (strcmp(base, "stays") == 0 && o->size == 3)
        ++*n;
    else if (strcmp(base, "gone") != 0 || o->size != BIG)
        return err_set(e, ERR_CORRUPT, "%s with %ju bytes", o->name, (uintmax_t)o->size);
    return 0;
}

static void *list_meanwhile(void *arg)
{
    struct member *m = arg;
    struct err e = ERR_INIT;
    for (int i = 0; i < 60 && m->result == 0; i++) {
        size_t n = 0;
        m->result = store_list(m->s, "data/", count_staying, &n, &e);
        if (m->result == 0 && n != 6)
            m->result = ERR_CORRUPT;
    }
    atomic_store(m->stop, 1);
    return NULL;
}

static void *lister_or_changer(void *arg)
{
    return ((struct member *)arg)->number == 0 ? list_meanwhile(arg) : come_and_go(arg);
}

static void listing_while_it_changes(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    atomic_int stop = 0;
    struct member m[CROWD] = {0};
    for (unsigned i = 0; i < 6; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "data/%02x/stays", i);
        put_bytes(s, name, i, 3);
    }
    for (size_t i = 0; i < 4; i++)
        m[i].stop = &stop;
    assert_int_equal(run_crowd(s, lister_or_changer, m, 4), 0);
}

static void found_again(void **state)
{
    struct place *p = *state;
    struct err e = ERR_INIT;
    if (!p->driver->durable)
        return; /* it does not promise that */
    put_bytes(p->s, "keys/kept", 7, 700);
    put_bytes(p->s, "keys/gone", 7, 700);
    assert_int_equal(store_remove(p->s, "keys/gone", &e), 0);
    _cleanup_(store_freep) struct store *again = place_open_again(p);
    assert_bytes(again, "keys/kept", 7, 700);
    assert_false(exists(again, "keys/gone"));
    assert_int_equal(store_put(again, "keys/kept", PUT_NEW, NULL, 0, &e), ERR_EXISTS);
}

static pid_t in_child(struct place *p, int (*fn)(struct store *s, unsigned number), unsigned number)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e = ERR_INIT;
        struct store *s = p->driver->open(p, &e);
        _exit(s != NULL ? fn(s, number) : 99);
    }
    return child;
}

static int child_put_new(struct store *s, unsigned number)
{
    struct err e = ERR_INIT;
    int rc = put_big(s, "config", PUT_NEW, number, &e);
    return rc == 0 ? 1 : rc == ERR_EXISTS ? 0 : 99;
}

static void one_winner_among_processes(void **state)
{
    struct place *p = *state;
    struct err e = ERR_INIT;
    if (!p->driver->durable || !store_properties(p->s)->conditional_put)
        return; /* it does not promise that */
    for (int round = 0; round < 10; round++) {
        pid_t child[CROWD];
        int winners = 0;
        for (unsigned i = 0; i < CROWD; i++)
            child[i] = in_child(p, child_put_new, i);
        for (unsigned i = 0; i < CROWD; i++) {
            int status;
            assert_int_equal(waitpid(child[i], &status, 0), child[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
            winners += WEXITSTATUS(status);
            if (WEXITSTATUS(status) == 1)
                assert_bytes(p->s, "config", i, BIG);
        }
        assert_int_equal(winners, 1);
        assert_int_equal(store_remove(p->s, "config", &e), 0);
    }
}

static int child_puts_forever(struct store *s, unsigned number)
{
    for (unsigned i = number;; i++) {
        struct err e = ERR_INIT;
        char name[32];
        (void)snprintf(name, sizeof name, "data/%02x/new", i % 256);
        if (put_big(s, "index/old-or-new", PUT_REPLACE, i % 5, &e) < 0 ||
            put_big(s, name, PUT_REPLACE, 9, &e) < 0)
            return 99;
    }
}

static int whole_object(const struct store_object *o, void *arg, struct err *e)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(2 * BIG);
    int rc = store_get(arg, o->name, 0, STORE_TO_END, &b, e);
    bool whole = holds_bytes(&b, 9, BIG);
    for (uint64_t seed = 0; seed < 5 && !whole; seed++)
        whole = holds_bytes(&b, seed, BIG);
    return rc < 0 ? rc : whole ? 0 : err_set(e, ERR_CORRUPT, "%s is not whole", o->name);
}

static void killed_at_any_moment(void **state)
{
    struct place *p = *state;
    struct err e = ERR_INIT;
    unsigned seed = (unsigned)time(NULL), round;
    size_t cleaned;
    if (!p->driver->durable)
        return; /* it does not promise that */
    put_bytes(p->s, "index/old-or-new", 0, BIG);
    print_message("seed %u\n", seed);
    for (round = 0; round < 40; round++) {
        pid_t child = in_child(p, child_puts_forever, round);
        struct timespec t = {0, (long)((seed = seed * 1664525 + 1013904223) >> 8) % 20000000};
        (void)nanosleep(&t, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        int rc = store_list(p->s, "", whole_object, p->s, &e);
        assert_string_equal(e.msg, "");
        assert_int_equal(rc, 0);
        assert_true(exists(p->s, "index/old-or-new"));
    }
    assert_int_equal(store_clean(p->s, -10, &cleaned, &e), 0);
    print_message("%zu unfinished files were left and are cleaned\n", cleaned);
    assert_int_equal(store_clean(p->s, -10, &cleaned, &e), 0);
    assert_int_equal(cleaned, 0);
    assert_int_equal(store_list(p->s, "", whole_object, p->s, &e), 0);
}

const struct CMUnitTest crowd_tests[] = {
    cmocka_unit_test(one_winner),
    cmocka_unit_test(readers_see_whole_objects),
    cmocka_unit_test(each_with_objects_of_its_own),
    cmocka_unit_test(listing_while_it_changes),
    cmocka_unit_test(found_again),
    cmocka_unit_test(one_winner_among_processes),
    cmocka_unit_test(killed_at_any_moment),
    {.test_func = NULL},
};
