/* Listings: complete, each object once, and usable while the store changes. */
#include "conform.h"

#include "base/mem.h"
#include <stdio.h>
#include <string.h>

/* What a listing showed, as text: "name=size" lines, sorted by the test where it matters. */
struct seen {
    struct buf text;
    size_t n;
};

static void seen_release(struct seen *l)
{
    buf_release(&l->text);
}

static int see(const struct store_object *o, void *arg, struct err *e)
{
    struct seen *l = arg;
    (void)e;
    buf_addf(&l->text, "\n%s=%ju\n", o->name, (uintmax_t)o->size);
    l->n++;
    return 0;
}

/* Fails unless the listing shows each of the `n` lines once and no other. */
static void assert_listing(struct store *s, const char *prefix, const char *const *lines, size_t n)
{
    _cleanup_(seen_release) struct seen l = {BUF_INIT(BUF_TEXT), 0};
    struct err e = ERR_INIT;
    assert_int_equal(store_list(s, prefix, see, &l, &e), 0);
    for (size_t i = 0; i < n; i++) {
        char line[100];
        (void)snprintf(line, sizeof line, "\n%s\n", lines[i]);
        assert_non_null(strstr(buf_str(&l.text), line));
    }
    assert_int_equal(l.n, n);
}

static void by_prefix(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    static const char *const all[] = {"config=1",           "data/00/a=2", "data/00/b=3",
                                      "data/ff/c=4",        "data2/d=5",   "keys/k=6",
                                      "streams/wal/0/1/2=0"};
    assert_listing(s, "", all, 0);
    assert_listing(s, "data/", all, 0);
    for (size_t i = 0; i < array_len(all); i++) {
        char name[50];
        size_t size;
        assert_int_equal(sscanf(all[i], "%49[^=]=%zu", name, &size), 2);
        put_bytes(s, name, i, size);
    }
    assert_listing(s, "", all, array_len(all));
    assert_listing(s, "data/", &all[1], 3);
    assert_listing(s, "data/00/", &all[1], 2);
    assert_listing(s, "data2/", &all[4], 1);
    assert_listing(s, "keys/", &all[5], 1);
    assert_listing(s, "streams/", &all[6], 1);
    assert_listing(s, "streams/wal/0/1/", &all[6], 1);
    assert_listing(s, "none/", all, 0);
    assert_listing(s, "config/", all, 0); /* an object, not a directory */
    assert_listing(s, "data/00/a/", all, 0);
}

static void what_is_no_prefix(void **state)
{
    static const char *const bad[] = {"data",     "/",    "/data/", "data//", "../",
                                      "data/../", "a b/", "data/0", "."};
    struct store *s = ((struct place *)*state)->s;
    char longest[STORE_NAME_MAX + 2];
    struct err e = ERR_INIT;
    struct seen l = {BUF_INIT(BUF_TEXT), 0};
    for (size_t i = 0; i < array_len(bad); i++)
        assert_int_equal(store_list(s, bad[i], see, &l, &e), ERR_USAGE);
    /* 255 / 255 / 256 bytes and a slash. */
    memset(longest, 'x', sizeof longest);
    longest[255] = longest[511] = longest[STORE_NAME_MAX] = '/';
    longest[STORE_NAME_MAX + 1] = '\0';
    assert_int_equal(store_list(s, longest, see, &l, &e), ERR_USAGE);
    longest[STORE_NAME_MAX - 1] = '/';
    longest[STORE_NAME_MAX] = '\0';
    assert_int_equal(store_list(s, longest, see, &l, &e), 0);
}

static void after_changes(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct err e = ERR_INIT;
    static const char *const lines[] = {"a/x=3", "a/y=1"};
    put_bytes(s, "a/x", 1, 10);
    put_bytes(s, "a/x", 1, 3); /* replaced: its new size, once */
    put_bytes(s, "a/y", 1, 1);
    assert_listing(s, "a/", lines, 2);
    assert_int_equal(store_remove(s, "a/x", &e), 0);
    assert_listing(s, "a/", &lines[1], 1);
    assert_int_equal(store_remove(s, "a/y", &e), 0);
    assert_listing(s, "", lines, 0);
}

static int stop_at_third(const struct store_object *o, void *arg, struct err *e)
{
    size_t *n = arg;
    (void)o;
    if (++*n < 3)
        return 0;
    (void)err_set(e, ERR_CANCELLED, "enough");
    return 42;
}

static void the_callback_ends_it(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct err e = ERR_INIT;
    size_t n = 0;
    for (int i = 0; i < 5; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "d%d/x", i);
        put_bytes(s, name, 1, 1);
    }
    assert_int_equal(store_list(s, "", stop_at_third, &n, &e), 42);
    assert_int_equal(n, 3);
    assert_string_equal(e.msg, "enough");
}

static int remove_it(const struct store_object *o, void *arg, struct err *e)
{
    return store_remove(arg, o->name, e);
}

static void the_callback_may_remove(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct err e = ERR_INIT;
    for (int i = 0; i < 50; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "index/%d", i);
        put_bytes(s, name, 1, 1);
    }
    assert_int_equal(store_list(s, "index/", remove_it, s, &e), 0);
    assert_listing(s, "", NULL, 0);
}

static int count_bytes(const struct store_object *o, void *arg, struct err *e)
{
    uint64_t *total = arg;
    (void)e;
    total[0]++;
    total[1] += o->size;
    return strlen(o->name) == strlen("data/00/00000000") ? 0 : -1;
}

static void thousands(void **state)
{
    struct store *s = ((struct place *)*state)->s;
    struct err e = ERR_INIT;
    uint64_t total[2] = {0}, bytes = 0;
    enum { N = 3000 };
    for (unsigned i = 0; i < N; i++) {
        char name[32];
        uint32_t mixed = i * 2654435761U;
        (void)snprintf(name, sizeof name, "data/%02x/%08x", mixed >> 24, mixed);
        put_bytes(s, name, i, i % 50);
        bytes += i % 50;
    }
    assert_int_equal(store_list(s, "data/", count_bytes, total, &e), 0);
    assert_int_equal(total[0], N);
    assert_int_equal(total[1], bytes);
}

const struct CMUnitTest listing_tests[] = {
    cmocka_unit_test(by_prefix),
    cmocka_unit_test(what_is_no_prefix),
    cmocka_unit_test(after_changes),
    cmocka_unit_test(the_callback_ends_it),
    cmocka_unit_test(the_callback_may_remove),
    cmocka_unit_test(thousands),
    {.test_func = NULL},
};
