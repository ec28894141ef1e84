/* A repository in memory for tests, made without the cost of scrypt. */
#ifndef SALVOR_TEST_REPO_FIXTURE_H
#define SALVOR_TEST_REPO_FIXTURE_H

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypt/crypt.h"
#include "repo/pack_int.h"
#include "repo/repo_int.h"

#include "../unit.h"

#define assert_ok(call) assert_ok_(call, &e, __FILE__, __LINE__)

static inline void assert_ok_(int rc, const struct err *e, const char *file, int line)
{
    if (rc != 0) {
        print_error("error %d: %s\n", rc, e->msg);
        _fail(file, line);
    }
}

/* A repository on `s`, with the key and id that every fixture has, so that two of them can share
 * a store as two processes do. */
static inline struct repo fixture_open(struct store *s, const char *cache_dir)
{
    struct repo r = {.store = s,
                     .version = 2,
                     .polynomial = UINT64_C(0x3DA3358B4DC173),
                     .clock = &clock_system,
                     .pack_size = 1 << 20,
                     .upload_threads = 2,
                     .index = index_new(),
                     .cache_dir = str_dup(cache_dir)};
    memset(&r.key, 7, sizeof r.key);
    memset(&r.id, 9, sizeof r.id);
    return r;
}

static inline void fixture_close(struct repo *r)
{
    index_free(r->index);
    free(r->cache_dir);
}

static inline char *fixture_dir(void)
{
    char *path = str_fmt("%s/salvor-test-XXXXXX", unit_dir_base());
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void fixture_dir_remove(char *path)
{
    struct err e = ERR_INIT;
    assert_ok(dir_remove_all(path, &e));
    free(path);
}

/* Bytes that depend on `seed` only: text-like when `text`, else without any pattern. */
static inline void fixture_fill(uint8_t *data, size_t len, uint64_t seed, bool text)
{
    seed = seed * 2 + 1;
    for (size_t i = 0; i < len; i += sizeof seed) { /* eight at a time: sanitizers watch each */
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        uint64_t eight = seed * UINT64_C(0x2545F4914F6CDD1D);
        if (text) /* 'a' to 'd' */
            eight = (eight >> 6 & UINT64_C(0x0303030303030303)) + UINT64_C(0x6161616161616161);
        memcpy(data + i, &eight, len - i < sizeof eight ? len - i : sizeof eight);
    }
}

#endif
