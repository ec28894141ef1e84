/* Saving blobs: what was committed is found and whole, however it was saved; what was interrupted
 * is taken over; what fails, fails loudly and for good. */
#include "fixture.h"
#include <pthread.h>

enum { BLOBS = 300, THREADS = 4 };

/* Blob n of a run: sizes from nothing to more than a pack of the fixture. */
static size_t blob_fill(uint64_t n, uint8_t *out)
{
    size_t len = n == 0 ? 0 : n % 50 == 49 ? 3 << 19 : (n * 7919) % 60000 + 1;
    fixture_fill(out, len, n, n % 3 != 0);
    return len;
}
enum { BLOB_LARGEST = 3 << 19 };

static enum blob_type blob_type(uint64_t n)
{
    return n % 10 == 3 ? BLOB_TREE : BLOB_DATA;
}

struct saver {
    struct writer *w;
    uint64_t from, step;
    int rc;
    struct err e;
};

static void *save_some(void *arg)
{
    struct saver *s = arg;
    _cleanup_free_ uint8_t *data = mem_alloc(BLOB_LARGEST);
    for (uint64_t n = s->from; n < BLOBS && s->rc == 0; n += s->step) {
        struct id id;
        size_t len = blob_fill(n, data);
        s->rc = writer_save(s->w, blob_type(n), data, len, &id, NULL, &s->e);
    }
    return NULL;
}

/* Saves all blobs, every one by two threads. */
static int save_all(struct writer *w, struct err *e)
{
    struct saver s[THREADS];
    pthread_t t[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        s[i] = (struct saver){.w = w, .from = i % (THREADS / 2), .step = THREADS / 2};
        assert_int_equal(pthread_create(&t[i], NULL, save_some, &s[i]), 0);
    }
    int rc = 0;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        if (s[i].rc != 0 && rc == 0) {
            rc = s[i].rc;
            *e = s[i].e;
        }
    }
    return rc;
}

static void assert_all_there(struct store *s, const struct repo *like)
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    r.version = like->version;
    assert_ok(repo_load_index(&r, &e));
    _cleanup_free_ uint8_t *data = mem_alloc(BLOB_LARGEST);
    _cleanup_(buf_release) struct buf out = BUF_INIT(BLOB_MAX);
    for (uint64_t n = 0; n < BLOBS; n++) {
        struct id id;
        size_t len = blob_fill(n, data);
        sha256(data, len, &id);
        buf_clear(&out);
        assert_ok(repo_load_blob(&r, blob_type(n), &id, &out, &e));
        assert_int_equal(out.len, len);
        if (len > 0)
            assert_memory_equal(out.data, data, len);
    }
    fixture_close(&r);
}

struct pack_check {
    struct repo *r;
    uint64_t blobs, packs;
};

/* Each pack's header says what the index says, and a pack holds one type only. */
static int check_pack(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                      struct err *e)
{
    struct pack_check *c = arg;
    char name[REPO_NAME_MAX];
    uint64_t size;
    _cleanup_free_ struct index_blob *header = NULL;
    size_t count;
    int rc = store_stat(c->r->store, repo_file_name("data", pack, name), &size, e);
    if (rc == 0)
        rc = pack_header_load(c->r, pack, size, &header, &count, e);
    if (rc != 0)
        return rc;
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(id_equal(&blobs[i].id, &header[i].id));
        assert_int_equal(blobs[i].type, header[i].type);
        assert_int_equal(blobs[i].type, blobs[0].type);
        assert_int_equal(blobs[i].offset, header[i].offset);
        assert_int_equal(blobs[i].length, header[i].length);
        assert_int_equal(blobs[i].plain_length, header[i].plain_length);
        assert_int_equal(blobs[i].compressed, header[i].compressed);
        if (c->r->version == 1)
            assert_false(header[i].compressed);
    }
    c->blobs += n;
    c->packs++;
    return 0;
}

static void save_and_check(int version, enum compression compression)
{
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo r = fixture_open(s, NULL);
    r.version = version;
    r.compression = compression;
    struct writer *w;
    struct writer_stats st;
    assert_ok(repo_load_index(&r, &e));
    assert_ok(writer_new(&r, &w, &e));
    assert_ok(save_all(w, &e));
    assert_ok(writer_commit(w, &e));
    writer_get_stats(w, &st);
    assert_int_equal(st.blobs_new, BLOBS);
    assert_int_equal(st.blobs_known, BLOBS);
    if (version == 1)
        assert_int_equal(st.bytes_stored, st.bytes_new + BLOBS * SEAL_OVERHEAD);
    else if (compression != COMPRESSION_OFF)
        assert_true(st.bytes_stored < st.bytes_new * 3 / 4);
    assert_ok(save_all(w, &e)); /* all known now: nothing happens */
    assert_ok(writer_commit(w, &e));
    writer_free(w);
    assert_all_there(s, &r);

    struct pack_check check = {.r = &r};
    assert_ok(index_load(r.index, &r, INDEX_EXACT, NULL, NULL, &e));
    assert_ok(index_each_pack(r.index, check_pack, &check, &e));
    assert_int_equal(check.blobs, BLOBS);
    assert_int_equal(check.packs, st.packs);
    assert_int_equal(index_files(r.index)->n, 1);
    fixture_close(&r);
    store_free(s);
}

static void what_is_committed_is_whole(void **state)
{
    (void)state;
    save_and_check(2, COMPRESSION_AUTO);
    save_and_check(2, COMPRESSION_MAX);
    save_and_check(2, COMPRESSION_OFF);
    save_and_check(1, COMPRESSION_AUTO);
}

static void uploads_of_a_dead_run_are_taken_over(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *dir = fixture_dir();
    struct store *s = store_memory_new();
    struct writer *w;
    struct writer_stats first, second;

    struct repo a = fixture_open(s, dir);
    assert_ok(repo_load_index(&a, &e));
    assert_ok(writer_new(&a, &w, &e));
    assert_ok(save_all(w, &e));
    writer_free(w); /* no commit */
    fixture_close(&a);

    /* One of the packs is lost, another is cut: both are made again. */
    struct repo b = fixture_open(s, dir);
    struct id_list packs = {0};
    char name[REPO_NAME_MAX];
    struct piece cut = {"cut", 3};
    assert_ok(repo_list_files(&b, "data", &packs, &e));
    assert_true(packs.n > 5);
    assert_ok(store_remove(s, repo_file_name("data", &packs.id[0], name), &e));
    assert_ok(store_put(s, repo_file_name("data", &packs.id[1], name), PUT_REPLACE, &cut, 1, &e));

    assert_ok(repo_load_index(&b, &e));
    assert_ok(writer_new(&b, &w, &e));
    writer_get_stats(w, &first);
    assert_int_equal(first.packs_resumed, packs.n - 2);
    assert_ok(save_all(w, &e));
    assert_ok(writer_commit(w, &e));
    writer_get_stats(w, &second);
    assert_true(second.blobs_new > 0 && second.blobs_new < BLOBS);
    writer_free(w);
    fixture_close(&b);
    assert_ok(store_remove(s, repo_file_name("data", &packs.id[1], name), &e));
    assert_all_there(s, &a);

    struct repo c = fixture_open(s, dir);
    assert_ok(repo_load_index(&c, &e));
    assert_ok(writer_new(&c, &w, &e));
    writer_get_stats(w, &first);
    assert_int_equal(first.packs_resumed, 0);
    writer_free(w);
    fixture_close(&c);
    id_list_release(&packs);
    store_free(s);
    fixture_dir_remove(dir);
}

/* Fails the Nth call for every N: loud failure or success, and a run after it converges. */
static void every_failure_is_loud_and_heals(void **state)
{
    (void)state;
    static const enum fault_kind kinds[] = {FAULT_TRANSIENT, FAULT_FINAL, FAULT_SHORT,
                                            FAULT_LOST_REPLY};
    for (size_t k = 0; k < array_len(kinds); k++) {
        bool clean = false;
        for (uint64_t at = 1; !clean; at += at < 6 ? 1 : 13) {
            struct err e = ERR_INIT;
            char *dir = fixture_dir();
            struct fault_plan plan = {.fail_at = at, .kind = kinds[k]};
            struct store *s = store_fault_new(store_memory_new(), &plan);
            struct repo r = fixture_open(s, dir);
            struct writer *w = NULL;
            int rc = repo_load_index(&r, &e);
            if (rc == 0)
                rc = writer_new(&r, &w, &e);
            if (rc == 0)
                rc = save_all(w, &e);
            if (rc == 0)
                rc = writer_commit(w, &e);
            if (rc != 0 && w != NULL) {
                struct err again = ERR_INIT;
                struct id id;
                assert_int_not_equal(writer_commit(w, &again), 0);
                assert_int_not_equal(writer_save(w, BLOB_DATA, "after", 5, &id, NULL, &again), 0);
            }
            writer_free(w); /* its threads count calls until then */
            clean = plan.calls < at;
            assert_true(rc == 0 || (!clean && e.msg[0] != '\0'));
            fixture_close(&r);
            plan.fail_at = 0;

            struct repo second = fixture_open(s, dir);
            assert_ok(repo_load_index(&second, &e));
            assert_ok(writer_new(&second, &w, &e));
            assert_ok(save_all(w, &e));
            assert_ok(writer_commit(w, &e));
            writer_free(w);
            assert_all_there(s, &second);
            fixture_close(&second);
            store_free(s);
            fixture_dir_remove(dir);
        }
    }
}

static void a_second_writer_does_not_trust_claims_of_the_first(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo r = fixture_open(s, NULL);
    struct writer *w;
    struct id id;
    bool is_new;
    assert_ok(repo_load_index(&r, &e));
    assert_ok(writer_new(&r, &w, &e));
    assert_ok(writer_save(w, BLOB_DATA, "never uploaded", 14, &id, &is_new, &e));
    assert_true(is_new);
    assert_false(repo_has_blob(&r, BLOB_DATA, &id));
    writer_free(w);
    assert_ok(writer_new(&r, &w, &e));
    assert_ok(writer_save(w, BLOB_DATA, "never uploaded", 14, &id, &is_new, &e));
    assert_true(is_new);
    assert_ok(writer_commit(w, &e));
    assert_true(repo_has_blob(&r, BLOB_DATA, &id));
    writer_free(w);
    fixture_close(&r);
    store_free(s);
}

static void sealed_blobs_move_unchanged(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct repo r = fixture_open(s, NULL);
    struct writer *w;
    struct id id;
    struct blob_place old, new;
    char name[REPO_NAME_MAX];
    uint8_t text[5000];
    fixture_fill(text, sizeof text, 5, true);
    assert_ok(repo_load_index(&r, &e));
    assert_ok(writer_new(&r, &w, &e));
    assert_ok(writer_save(w, BLOB_DATA, text, sizeof text, &id, NULL, &e));
    assert_ok(writer_commit(w, &e));
    assert_true(repo_find_blob(&r, BLOB_DATA, &id, &old));
    _cleanup_(buf_release) struct buf sealed = BUF_INIT(BUF_PACK), plain = BUF_INIT(BLOB_MAX);
    assert_ok(
        store_get(s, repo_file_name("data", &old.pack, name), old.offset, old.length, &sealed, &e));
    struct index_blob b = {.id = id,
                           .type = BLOB_DATA,
                           .length = old.length,
                           .plain_length = old.plain_length,
                           .compressed = old.compressed};
    assert_ok(writer_save(w, BLOB_DATA, "another", 7, &id, NULL, &e));
    assert_ok(writer_save_sealed(w, &b, sealed.data, &e));
    assert_ok(writer_commit(w, &e));
    assert_true(index_find(r.index, BLOB_DATA, &b.id, 1, &new));
    assert_false(id_equal(&new.pack, &old.pack));
    assert_ok(store_remove(s, repo_file_name("data", &old.pack, name), &e));
    assert_ok(repo_load_blob(&r, BLOB_DATA, &b.id, &plain, &e)); /* by its other copy */
    assert_memory_equal(plain.data, text, sizeof text);
    writer_free(w);
    fixture_close(&r);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_is_whole),
        cmocka_unit_test(uploads_of_a_dead_run_are_taken_over),
        cmocka_unit_test(a_second_writer_does_not_trust_claims_of_the_first),
        cmocka_unit_test(sealed_blobs_move_unchanged),
        cmocka_unit_test(every_failure_is_loud_and_heals),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
