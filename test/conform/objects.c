/* One object at a time: put, get, stat, remove, names. */
#include "conform.h"

#include "base/mem.h"
#include <stdio.h>
#include <string.h>

static struct store *store_of(void **state)
{
    return ((struct place *)*state)->s;
}

static void what_is_put_is_got(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 511, 512, 4095, 4096, 4097, 65537, (5 << 20) + 3};
    struct store *s = store_of(state);
    for (size_t i = 0; i < array_len(sizes); i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "data/%02zx/%zu", i, sizes[i]);
        put_bytes(s, name, i, sizes[i]);
    }
    for (size_t i = 0; i < array_len(sizes); i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "data/%02zx/%zu", i, sizes[i]);
        assert_bytes(s, name, i, sizes[i]);
    }
}

static void pieces_are_joined(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    enum { N = 3001 };
    _cleanup_free_ struct piece *pieces = mem_array(N, sizeof *pieces);
    size_t total = 0;
    for (size_t i = 0; i < N; i++)
        total += i * 7919 % 613; /* some are empty */
    uint8_t *data = some_bytes(77, total), *at = data;
    for (size_t i = 0; i < N; i++) {
        size_t len = i * 7919 % 613;
        pieces[i] = (struct piece){len > 0 ? at : NULL, len};
        at += len;
    }
    int rc = store_put(s, "data/many", PUT_REPLACE, pieces, N, &e);
    free(data);
    assert_int_equal(rc, 0);
    assert_bytes(s, "data/many", 77, total);

    const struct piece empty[] = {{NULL, 0}, {"", 0}};
    assert_int_equal(store_put(s, "none", PUT_NEW, NULL, 0, &e), 0);
    assert_bytes(s, "none", 0, 0);
    assert_int_equal(store_put(s, "empty", PUT_NEW, empty, 2, &e), 0);
    assert_bytes(s, "empty", 0, 0);
}

static void replacing(void **state)
{
    struct store *s = store_of(state);
    put_bytes(s, "config", 1, 100000);
    put_bytes(s, "config", 2, 10);
    assert_bytes(s, "config", 2, 10);
    put_bytes(s, "config", 3, 0);
    assert_bytes(s, "config", 3, 0);
    put_bytes(s, "config", 4, 200000);
    assert_bytes(s, "config", 4, 200000);
}

static void put_new_does_not_replace(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    const struct piece first = {"first", 5}, other = {"other", 5}, longer = {"longer", 6};
    assert_int_equal(store_put(s, "keys/k", PUT_NEW, &first, 1, &e), 0);
    assert_int_equal(store_put(s, "keys/k", PUT_NEW, &other, 1, &e), ERR_EXISTS);
    assert_false(e.retryable);
    assert_non_null(strstr(e.msg, "keys/k"));
    assert_non_null(strstr(e.msg, store_address(s)));
    assert_int_equal(store_put(s, "keys/k", PUT_NEW, &longer, 1, &e), ERR_EXISTS);
    assert_int_equal(store_put(s, "keys/k", PUT_NEW, &first, 1, &e), ERR_EXISTS);
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    assert_int_equal(store_get(s, "keys/k", 0, STORE_TO_END, &b, &e), 0);
    assert_string_equal(buf_str(&b), "first");
    assert_int_equal(store_remove(s, "keys/k", &e), 0);
    assert_int_equal(store_put(s, "keys/k", PUT_NEW, &other, 1, &e), 0);
}

static void ranges(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    static const struct piece digits = {"0123456789", 10};
    static const struct {
        uint64_t offset, len;
        const char *expected; /* NULL: ERR_CORRUPT */
    } cases[] = {
        {0, 10, "0123456789"},
        {0, STORE_TO_END, "0123456789"},
        {0, 0, ""},
        {0, 1, "0"},
        {3, 4, "3456"},
        {9, 1, "9"},
        {10, 0, ""},
        {10, STORE_TO_END, ""},
        {4, STORE_TO_END, "456789"},
        {0, 11, NULL},
        {9, 2, NULL},
        {10, 1, NULL},
        {11, 0, NULL},
        {11, STORE_TO_END, NULL},
        {UINT64_MAX, 0, NULL},
        {5, UINT64_MAX - 1, NULL},
        {UINT64_MAX, UINT64_MAX, NULL},
        {(uint64_t)INT64_MAX + 1, 1, NULL},
    };
    assert_int_equal(store_put(s, "index/digits", PUT_REPLACE, &digits, 1, &e), 0);
    for (size_t i = 0; i < array_len(cases); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(100);
        buf_adds(&b, "before,");
        int rc = store_get(s, "index/digits", cases[i].offset, cases[i].len, &b, &e);
        char expected[32];
        (void)snprintf(expected, sizeof expected, "before,%s",
                       cases[i].expected != NULL ? cases[i].expected : "");
        assert_int_equal(rc, cases[i].expected != NULL ? 0 : ERR_CORRUPT);
        assert_string_equal(buf_str(&b), expected);
        assert_int_equal(b.len, strlen(expected));
        if (rc == 0)
            continue;
        assert_false(e.retryable);
        assert_non_null(strstr(e.msg, "index/digits"));
        assert_non_null(strstr(e.msg, "10 bytes"));
    }
    _cleanup_(buf_release) struct buf b = BUF_INIT(100);
    assert_int_equal(store_get(s, "index/digits", 7, 5, &b, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "12"));
}

static void a_buffers_cap_holds(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf b = BUF_INIT(50);
    put_bytes(s, "snapshots/x", 5, 100);
    buf_adds(&b, "abc");
    assert_int_equal(store_get(s, "snapshots/x", 0, STORE_TO_END, &b, &e), ERR_LIMIT);
    assert_string_equal(buf_str(&b), "abc");
    assert_int_equal(store_get(s, "snapshots/x", 0, 48, &b, &e), ERR_LIMIT);
    assert_int_equal(store_get(s, "snapshots/x", 0, 47, &b, &e), 0);
    assert_int_equal(b.len, 50);
}

static void what_is_missing(void **state)
{
    static const char *const names[] = {"nothing", "no/such", "there/below", "dir"};
    struct store *s = store_of(state);
    put_bytes(s, "there", 1, 1);
    put_bytes(s, "dir/x", 1, 1);
    for (size_t i = 0; i < array_len(names); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(100);
        struct err e = ERR_INIT;
        uint64_t size;
        assert_int_equal(store_get(s, names[i], 0, STORE_TO_END, &b, &e), ERR_NOT_FOUND);
        assert_non_null(strstr(e.msg, names[i]));
        assert_non_null(strstr(e.msg, store_address(s)));
        assert_false(e.retryable);
        assert_int_equal(b.len, 0);
        assert_int_equal(store_stat(s, names[i], &size, &e), ERR_NOT_FOUND);
        assert_int_equal(store_remove(s, names[i], &e), ERR_NOT_FOUND);
    }
}

static void removing(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    put_bytes(s, "locks/a", 1, 10);
    put_bytes(s, "locks/b", 2, 20);
    put_bytes(s, "locks/c", 3, 30);
    assert_int_equal(store_remove(s, "locks/b", &e), 0);
    assert_false(exists(s, "locks/b"));
    assert_int_equal(store_remove(s, "locks/b", &e), ERR_NOT_FOUND);
    assert_bytes(s, "locks/a", 1, 10);
    assert_bytes(s, "locks/c", 3, 30);
    put_bytes(s, "locks/b", 4, 5);
    assert_bytes(s, "locks/b", 4, 5);
}

/* Fills text with `parts` times "<part>/", without the last slash. */
static const char *repeated(char *text, const char *part, size_t parts)
{
    char *at = text;
    for (size_t i = 0; i < parts; i++)
        at += sprintf(at, "%s/", part);
    at[-1] = '\0';
    return text;
}

static void names(void **state)
{
    struct store *s = store_of(state);
    static const char *const bad[] = {
        "",         "/",
        "/a",       "a/",
        "a//b",     ".",
        "..",       "../a",
        "a/..",     "a/./b",
        "a/../b",   "a b",
        "a\\b",     "a:b",
        "\xc3\xa4", "a\nb",
        "a*",       "a%",
        "a~",       "a\x7f",
        "x-tmp-1",  "data/y-tmp-007",
        "-tmp-5/x",
    };
    static const char *const good[] = {
        "a",       "A.b_c-d",         "...", "..a",    "a..",      "-",     "_",
        ".hidden", "0/1/2/3/4/5/6/7", "-rf", "x-tmp-", "x-tmp-1a", "tmp-1", "config",
    };
    char longest[1024], part[300];
    for (size_t i = 0; i < array_len(bad); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(100);
        struct err e = ERR_INIT;
        uint64_t size;
        assert_int_equal(store_put(s, bad[i], PUT_REPLACE, NULL, 0, &e), ERR_USAGE);
        assert_int_equal(store_get(s, bad[i], 0, 0, &b, &e), ERR_USAGE);
        assert_int_equal(store_stat(s, bad[i], &size, &e), ERR_USAGE);
        assert_int_equal(store_remove(s, bad[i], &e), ERR_USAGE);
        assert_null(store_local_path(s, bad[i]));
    }
    for (size_t i = 0; i < array_len(good); i++) {
        put_bytes(s, good[i], i, i + 1);
        assert_bytes(s, good[i], i, i + 1);
    }
    memset(part, 'p', sizeof part);
    part[STORE_PART_MAX] = '\0';
    put_bytes(s, repeated(longest, part, 3), 1, 1); /* 767 bytes */
    assert_bytes(s, longest, 1, 1);
    put_bytes(s, repeated(longest, "d", STORE_DEPTH_MAX), 2, 2);
    assert_bytes(s, longest, 2, 2);

    struct err e = ERR_INIT;
    uint64_t size;
    assert_int_equal(store_stat(s, repeated(longest, "d", STORE_DEPTH_MAX + 1), &size, &e),
                     ERR_USAGE);
    part[100] = '\0';
    assert_int_equal(store_stat(s, repeated(longest, part, 8), &size, &e), ERR_USAGE);
    part[100] = 'p';
    part[STORE_PART_MAX] = 'p';
    part[STORE_PART_MAX + 1] = '\0';
    assert_int_equal(store_stat(s, part, &size, &e), ERR_USAGE);
}

static void properties(void **state)
{
    struct store *s = store_of(state);
    const struct store_properties *p = store_properties(s);
    assert_non_null(p->kind);
    assert_true(p->connections >= 1);
    assert_true(strlen(store_address(s)) > 0);
    put_bytes(s, "data/ab/mapped", 9, 1000);
    _cleanup_free_ char *path = store_local_path(s, "data/ab/mapped");
    assert_int_equal(path != NULL, p->local_files);
    if (path == NULL)
        return;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char got[1001];
    assert_int_equal(fread(got, 1, sizeof got, f), 1000);
    (void)fclose(f);
}

static void nothing_to_clean(void **state)
{
    struct store *s = store_of(state);
    struct err e = ERR_INIT;
    size_t n = 99;
    put_bytes(s, "data/ab/kept", 9, 10);
    assert_int_equal(store_clean(s, 0, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_bytes(s, "data/ab/kept", 9, 10);
    store_free(NULL);
}

const struct CMUnitTest objects_tests[] = {
    cmocka_unit_test(what_is_put_is_got),
    cmocka_unit_test(pieces_are_joined),
    cmocka_unit_test(replacing),
    cmocka_unit_test(put_new_does_not_replace),
    cmocka_unit_test(ranges),
    cmocka_unit_test(a_buffers_cap_holds),
    cmocka_unit_test(what_is_missing),
    cmocka_unit_test(removing),
    cmocka_unit_test(names),
    cmocka_unit_test(properties),
    cmocka_unit_test(nothing_to_clean),
    {.test_func = NULL},
};
