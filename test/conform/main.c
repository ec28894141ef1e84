/* Runs every test of the suite against every driver, or against the one that is named. */
#include "conform.h"

#include "base/file.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

uint8_t *some_bytes(uint64_t seed, size_t len)
{
    uint8_t *p = mem_alloc(len);
    uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 6364136223846793005 + 1442695040888963407;
        p[i] = (uint8_t)(x >> 56);
    }
    return p;
}

bool holds_bytes(const struct buf *b, uint64_t seed, size_t len)
{
    _cleanup_free_ uint8_t *expected = some_bytes(seed, len);
    return b->len == len && (len == 0 || memcmp(b->data, expected, len) == 0);
}

void put_bytes(struct store *s, const char *name, uint64_t seed, size_t len)
{
    struct err e = ERR_INIT;
    uint8_t *data = some_bytes(seed, len);
    int rc = store_put(s, name, PUT_REPLACE, &(struct piece){data, len}, 1, &e);
    free(data);
    assert_string_equal(e.msg, "");
    assert_int_equal(rc, 0);
}

void assert_bytes(struct store *s, const char *name, uint64_t seed, size_t len)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT(BUF_PACK);
    uint64_t size = UINT64_MAX;
    int rc = store_get(s, name, 0, STORE_TO_END, &b, &e);
    bool good = holds_bytes(&b, seed, len);
    buf_release(&b);
    assert_int_equal(rc, 0);
    assert_true(good);
    assert_int_equal(store_stat(s, name, &size, &e), 0);
    assert_int_equal(size, len);
}

bool exists(struct store *s, const char *name)
{
    struct err e = ERR_INIT;
    uint64_t size;
    int rc = store_stat(s, name, &size, &e);
    assert_true(rc == 0 || rc == ERR_NOT_FOUND);
    return rc == 0;
}

struct store *place_open_again(struct place *p)
{
    struct err e = ERR_INIT;
    struct store *s = p->driver->open(p, &e);
    if (s == NULL)
        print_error("%s\n", e.msg);
    assert_non_null(s);
    return s;
}

static int place_make(void **state)
{
    struct place *p = mem_zero(sizeof *p);
    struct err e = ERR_INIT;
    p->driver = *state;
    (void)snprintf(p->directory, sizeof p->directory, "/tmp/salvor-conform-XXXXXX");
    if (mkdtemp(p->directory) == NULL)
        return -1;
    p->s = p->driver->open(p, &e);
    if (p->s == NULL)
        print_error("%s\n", e.msg);
    *state = p;
    return p->s != NULL ? 0 : -1;
}

static int place_remove(void **state)
{
    struct place *p = *state;
    struct err e = ERR_INIT;
    store_free(p->s);
    int rc = dir_remove_all(p->directory, &e);
    free(p);
    return rc;
}

/* Runs the tests of one group against one driver; the number that failed. */
static int run(const struct driver *d, const struct CMUnitTest *group)
{
    struct CMUnitTest tests[32];
    char names[array_len(tests)][120];
    size_t n = 0;
    for (; group[n].test_func != NULL && n < array_len(tests); n++) {
        (void)snprintf(names[n], sizeof names[n], "%s: %s", d->name, group[n].name);
        tests[n] = (struct CMUnitTest){
            .name = names[n],
            .test_func = group[n].test_func,
            .setup_func = place_make,
            .teardown_func = place_remove,
            /* cmocka hands it on and never writes to it. */
            .initial_state = (void *)(uintptr_t)d,
        };
    }
    return _cmocka_run_group_tests(d->name, tests, n, NULL, NULL);
}

int main(int argc, char **argv)
{
    int failed = 0, ran = 0;
    for (size_t i = 0; i < ndrivers; i++) {
        if (argc > 1 && strcmp(argv[1], drivers[i].name) != 0)
            continue;
        failed += run(&drivers[i], objects_tests);
        failed += run(&drivers[i], listing_tests);
        failed += run(&drivers[i], crowd_tests);
        ran++;
    }
    if (ran == 0)
        (void)fprintf(stderr, "conform: no driver is called \"%s\"\n", argv[1]);
    return failed > 0 || ran == 0;
}
