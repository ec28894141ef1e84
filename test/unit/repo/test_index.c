/* The index: finding, claiming, the JSON and the cache, and what damage does to it. */
#include "fixture.h"
#include "repo/layer_int.h"
#include <fcntl.h>
#include <sys/stat.h>

static struct index_blob blob_of(uint64_t n, enum blob_type type)
{
    struct index_blob b = {.type = type, .offset = (uint32_t)(n % 16) * 1000, .length = 1000};
    b.compressed = n % 3 == 0;
    b.plain_length = b.compressed ? 2000 : b.length - SEAL_OVERHEAD;
    sha256(&n, sizeof n, &b.id);
    return b;
}

static struct id pack_of(uint64_t n)
{
    struct id id;
    n |= UINT64_C(1) << 63;
    sha256(&n, sizeof n, &id);
    return id;
}

/* Packs of 16 blobs with the numbers [from, to). */
static void add(struct repo *r, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n += 16) {
        struct index_blob b[16];
        struct id pack = pack_of(n / 16);
        for (uint64_t i = 0; i < 16; i++)
            b[i] = blob_of(n + i, n / 16 % 8 == 0 ? BLOB_TREE : BLOB_DATA);
        index_add_pack(r->index, &pack, b, 16);
    }
}

static enum blob_type type_of(uint64_t n)
{
    return n / 16 % 8 == 0 ? BLOB_TREE : BLOB_DATA;
}

static void assert_has(struct repo *r, uint64_t n)
{
    struct blob_place place;
    struct index_blob b = blob_of(n, type_of(n));
    struct id pack = pack_of(n / 16);
    assert_true(index_find(r->index, b.type, &b.id, 0, &place));
    assert_memory_equal(&place.pack, &pack, sizeof pack);
    assert_int_equal(place.offset, b.offset);
    assert_int_equal(place.length, b.length);
    assert_int_equal(place.plain_length, b.plain_length);
    assert_int_equal(place.compressed, b.compressed);
    assert_false(index_find(r->index, b.type, &b.id, 1, &place));
    assert_false(
        index_find(r->index, b.type == BLOB_DATA ? BLOB_TREE : BLOB_DATA, &b.id, 0, &place));
}

static void assert_has_all(struct repo *r, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++)
        assert_has(r, n);
    struct blob_place place;
    for (uint64_t n = 0; n < 1000; n++) {
        struct index_blob b = blob_of(1000000 + n, BLOB_DATA);
        assert_false(index_find(r->index, b.type, &b.id, 0, &place));
    }
}

static int count_packs(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                       struct err *e)
{
    (void)pack, (void)e;
    uint64_t *count = arg;
    count[0]++;
    count[1] += n;
    for (size_t i = 1; i < n; i++)
        assert_true(blobs[i - 1].offset <= blobs[i].offset);
    return 0;
}

static void what_is_saved_is_found_again(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, NULL), b = fixture_open(s, NULL);
    add(&a, 0, 100000); /* past FILE_BLOBS: several files; past the sort's buckets */
    assert_has_all(&a, 0, 2000);
    assert_ok(index_save_new(a.index, &a, &e));
    assert_int_equal(index_pending(a.index), 0);
    assert_int_equal(index_files(a.index)->n, 2);
    assert_ok(index_save_new(a.index, &a, &e));
    assert_int_equal(index_files(a.index)->n, 2);

    assert_ok(index_load(b.index, &b, INDEX_EXACT, NULL, NULL, &e));
    assert_int_equal(index_blob_count(b.index), 100000);
    assert_has_all(&b, 0, 100000);
    uint64_t count[2] = {0, 0};
    assert_ok(index_each_pack(b.index, count_packs, count, &e));
    assert_int_equal(count[0], 100000 / 16);
    assert_int_equal(count[1], 100000);
    uint64_t i;
    struct index_blob first = blob_of(7, type_of(7));
    assert_true(index_ordinal(b.index, first.type, &first.id, &i));
    assert_true(i < 100000);
    fixture_close(&a);
    fixture_close(&b);
    store_free(s);
}

static void the_cache_follows_the_store(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *dir = fixture_dir();
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, dir);
    uint64_t to = 0;
    for (int round = 0; round < 14; round++, to += 1600) {
        add(&a, to, to + 1600);
        assert_ok(index_save_new(a.index, &a, &e));
        struct repo b = fixture_open(s, dir);
        assert_ok(index_load(b.index, &b, INDEX_CACHED, NULL, NULL, &e));
        assert_has_all(&b, 0, to + 1600);
        fixture_close(&b);
    }
    /* A file goes away, as after a prune: its blobs must not be known any more. */
    struct id gone = index_files(a.index)->id[0];
    assert_ok(repo_remove_file(&a, "index", &gone, &e));
    struct repo b = fixture_open(s, dir);
    assert_ok(index_load(b.index, &b, INDEX_CACHED, NULL, NULL, &e));
    uint64_t known = 0;
    for (uint64_t n = 0; n < to; n++) {
        struct blob_place place;
        struct index_blob blob = blob_of(n, type_of(n));
        known += index_find(b.index, blob.type, &blob.id, 0, &place);
    }
    assert_int_equal(known, to - 1600);
    fixture_close(&b);
    fixture_close(&a);
    store_free(s);
    fixture_dir_remove(dir);
}

static void a_damaged_cache_is_made_anew(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *dir = fixture_dir();
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, dir);
    add(&a, 0, 8000);
    assert_ok(index_save_new(a.index, &a, &e));
    assert_ok(index_load(a.index, &a, INDEX_CACHED, NULL, NULL, &e));
    _cleanup_free_ char *path = path_join(dir, "index");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);

    for (int64_t at = 0; at < st.st_size; at += at < 4096 ? 61 : 9973) {
        _cleanup_close_ int fd = open(path, O_RDWR);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        /* Whenever the damage is noticed, everything stays known and nothing false is said. */
        for (int round = 0; round < 2; round++) {
            struct repo b = fixture_open(s, dir);
            assert_ok(index_load(b.index, &b, INDEX_CACHED, NULL, NULL, &e));
            for (uint64_t n = 0; n < 8000; n++) {
                struct blob_place place;
                struct index_blob want = blob_of(n, type_of(n));
                struct id pack = pack_of(n / 16);
                assert_true(index_find(b.index, want.type, &want.id, 0, &place));
                assert_false(index_find(b.index, want.type, &want.id, 1, &place));
                assert_memory_equal(&place.pack, &pack, sizeof pack);
                assert_int_equal(place.offset, want.offset);
                assert_int_equal(place.length, want.length);
                assert_false(index_claim(b.index, want.type, &want.id));
            }
            assert_false(index_cache_damaged(b.index));
            fixture_close(&b);
        }
    }
    for (int64_t size = 0; size < st.st_size; size += st.st_size / 7) {
        assert_int_equal(truncate(path, size), 0);
        struct repo b = fixture_open(s, dir);
        assert_ok(index_load(b.index, &b, INDEX_CACHED, NULL, NULL, &e));
        assert_has_all(&b, 0, 8000);
        fixture_close(&b);
    }
    fixture_close(&a);
    store_free(s);
    fixture_dir_remove(dir);
}

static void a_damaged_cache_without_the_store_is_told(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *dir = fixture_dir();
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, dir);
    add(&a, 0, 8000);
    assert_ok(index_save_new(a.index, &a, &e));
    assert_ok(index_load(a.index, &a, INDEX_CACHED, NULL, NULL, &e));
    _cleanup_free_ char *path = path_join(dir, "index");
    _cleanup_close_ int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "damage", 6, 4096), 6);
    struct repo b = fixture_open(s, dir);
    assert_ok(index_load(b.index, &b, INDEX_CACHED, NULL, NULL, &e));
    struct id file = index_files(b.index)->id[0];
    assert_ok(repo_remove_file(&b, "index", &file, &e));
    uint64_t known = 0;
    for (uint64_t n = 0; n < 8000; n++) {
        struct blob_place place;
        struct index_blob want = blob_of(n, type_of(n));
        known += index_find(b.index, want.type, &want.id, 0, &place);
    }
    assert_true(known < 8000);
    assert_true(index_cache_damaged(b.index));
    fixture_close(&b);
    fixture_close(&a);
    store_free(s);
    fixture_dir_remove(dir);
}

static void claims_go_to_one_caller_only(void **state)
{
    (void)state;
    struct store *s = store_memory_new();
    struct repo r = fixture_open(s, NULL);
    struct index_blob b = blob_of(1, BLOB_DATA), other = blob_of(2, BLOB_DATA);
    struct blob_place place;
    assert_true(index_claim(r.index, b.type, &b.id));
    assert_false(index_claim(r.index, b.type, &b.id));
    assert_true(index_claim(r.index, BLOB_TREE, &b.id));
    assert_true(index_claim(r.index, other.type, &other.id));
    assert_false(index_find(r.index, b.type, &b.id, 0, &place));
    struct id pack = pack_of(1);
    index_add_pack(r.index, &pack, &b, 1);
    assert_true(index_find(r.index, b.type, &b.id, 0, &place));
    assert_true(index_has_pack(r.index, &pack, &b));
    index_drop_claims(r.index);
    assert_false(index_claim(r.index, b.type, &b.id));
    assert_true(index_claim(r.index, other.type, &other.id));
    fixture_close(&r);
    store_free(s);
}

static void copies_are_numbered(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, NULL);
    struct index_blob b = blob_of(1, BLOB_DATA);
    for (uint64_t i = 0; i < 3; i++) {
        struct id pack = pack_of(i);
        index_add_pack(a.index, &pack, &b, 1);
        index_add_pack(a.index, &pack, &b, 1); /* the same twice is one copy, once it was saved */
    }
    assert_ok(index_save_new(a.index, &a, &e));
    assert_ok(index_load(a.index, &a, INDEX_EXACT, NULL, NULL, &e));
    struct blob_place place;
    for (unsigned i = 0; i < 3; i++)
        assert_true(index_find(a.index, b.type, &b.id, i, &place));
    assert_false(index_find(a.index, b.type, &b.id, 3, &place));
    assert_int_equal(index_blob_count(a.index), 3);
    fixture_close(&a);
    store_free(s);
}

static int parse(const char *json, uint64_t *count, struct err *e)
{
    count[0] = count[1] = 0;
    return index_parse(json, strlen(json), count_packs, count, e);
}

#define PACK "73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c"
#define BLOB "3ec79977ef0cf5de7b08cd12b874cd0f62bbaf7f07f3497a5b1bbcc8cb39b1ce"
static void json_is_read_with_care(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    uint64_t count[2];
    assert_ok(parse("{\"supersedes\":[\"" PACK "\"],\"packs\":[{\"id\":\"" PACK
                    "\",\"blobs\":[{\"id\":\"" BLOB
                    "\",\"type\":\"data\",\"offset\":0,\"length\":38}]}]}",
                    count, &e));
    assert_int_equal(count[1], 1);
    assert_ok(parse("[{\"blobs\":[{\"id\":\"" BLOB
                    "\",\"type\":\"tree\",\"offset\":4294967263,\"length\":32,"
                    "\"uncompressed_length\":5}],\"id\":\"" PACK "\"}]",
                    count, &e));
    assert_int_equal(count[1], 1);
    assert_ok(parse("{\"packs\":null}", count, &e));
    assert_ok(parse("{\"packs\":[]}", count, &e));
    static const char *const bad[] = {
        "",
        "{",
        "null",
        "{\"packs\":[{\"blobs\":[]}]}",
        "{\"packs\":[{\"id\":\"73\",\"blobs\":[]}]}",
        "{\"packs\":[{\"id\":\"" PACK "\",\"blobs\":[{\"id\":\"" BLOB
        "\",\"type\":\"data\",\"offset\":4294967290,\"length\":38}]}]}",
        "{\"packs\":[{\"id\":\"" PACK "\",\"blobs\":[{\"id\":\"" BLOB
        "\",\"type\":\"data\",\"offset\":0,\"length\":31}]}]}",
        "{\"packs\":[{\"id\":\"" PACK "\",\"blobs\":[{\"id\":\"" BLOB
        "\",\"type\":\"data\",\"offset\":-1,\"length\":40}]}]}",
        "{\"packs\":[{\"id\":\"" PACK "\",\"blobs\":[{\"id\":\"" BLOB
        "\",\"type\":\"file\",\"offset\":0,\"length\":40}]}]}",
        "{\"packs\":[{\"id\":\"" PACK
        "\",\"blobs\":[{\"type\":\"data\",\"offset\":0,\"length\":40}]}]}",
        "{\"packs\":[{\"id\":\"" PACK "\",\"blobs\":[]}]} x",
    };
    for (size_t i = 0; i < array_len(bad); i++)
        assert_int_equal(parse(bad[i], count, &e), ERR_CORRUPT);
}

static void count_bad(const struct id *file, const struct err *why, void *arg)
{
    (void)file;
    assert_int_equal(why->code, ERR_CORRUPT);
    ++*(int *)arg;
}

static void damaged_files_are_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo a = fixture_open(s, NULL);
    add(&a, 0, 160);
    assert_ok(index_save_new(a.index, &a, &e));
    struct id good = index_files(a.index)->id[0], other;
    char name[REPO_NAME_MAX];
    assert_ok(repo_save_file(&a, "index", "{\"packs\":[{}]}", 14, &other, &e));
    assert_int_equal(index_load(a.index, &a, INDEX_EXACT, NULL, NULL, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.msg, repo_file_name("index", &other, name)));
    int bad = 0;
    assert_ok(index_load(a.index, &a, INDEX_EXACT, count_bad, &bad, &e));
    assert_int_equal(bad, 1);
    assert_int_equal(index_blob_count(a.index), 160);

    struct piece half = {"half", 4};
    assert_ok(store_put(s, repo_file_name("index", &good, name), PUT_REPLACE, &half, 1, &e));
    assert_int_equal(index_load(a.index, &a, INDEX_CACHED, NULL, NULL, &e), ERR_CORRUPT);
    bad = 0;
    assert_ok(index_load(a.index, &a, INDEX_EXACT, count_bad, &bad, &e));
    assert_int_equal(bad, 2);
    fixture_close(&a);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_found_again),
        cmocka_unit_test(the_cache_follows_the_store),
        cmocka_unit_test(a_damaged_cache_is_made_anew),
        cmocka_unit_test(a_damaged_cache_without_the_store_is_told),
        cmocka_unit_test(claims_go_to_one_caller_only),
        cmocka_unit_test(copies_are_numbered),
        cmocka_unit_test(json_is_read_with_care),
        cmocka_unit_test(damaged_files_are_named),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
