/* The check finds and names every damage to every kind of object, and nothing in a whole one. */
#include "fixture_snapshots.h"
#include "repo/check.h"

struct found {
    const char *object; /* looked for; NULL: print */
    int named, harm, waste;
    bool affects;
    bool loud;
};

static void note(const struct finding *f, void *arg)
{
    struct found *n = arg;
    if (n->loud)
        print_message("%d %s: %s (%s)\n", f->kind, f->object, f->detail,
                      f->affects != NULL ? f->affects : "nobody");
    if (f->kind == FOUND_WASTE)
        n->waste++;
    else
        n->harm++;
    if (n->object != NULL && strcmp(f->object, n->object) == 0 && f->kind != FOUND_WASTE) {
        n->named++;
        n->affects |= f->affects != NULL;
    }
}

static struct found check(struct store *s, const char *object, double share, bool loud)
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    struct found f = {.object = object, .loud = loud};
    struct check_result result;
    const struct check_options o = {.read_share = share, .threads = 2};
    assert_ok(repo_check(&r, &o, note, &f, &result, &e));
    assert_int_equal(f.harm, result.damaged + result.missing);
    assert_int_equal(f.waste, result.waste);
    fixture_close(&r);
    return f;
}

/* A repository with three snapshots that share files; a key and a config stand in for real ones. */
static struct store *make(struct repo *r)
{
    struct err e = ERR_INIT;
    struct store *s = store_memory_new();
    struct writer *w;
    *r = fixture_open(s, NULL);
    r->pack_size = 1 << 16;
    uint8_t config[2 + SEAL_OVERHEAD];
    assert_ok(seal(&r->key, "{}", 2, config, &e));
    const struct piece p = {config, sizeof config};
    assert_ok(store_put(s, "config", PUT_NEW, &p, 1, &e));
    struct id key;
    char name[REPO_NAME_MAX];
    sha256(config, sizeof config, &key);
    assert_ok(store_put(s, repo_file_name("keys", &key, name), PUT_NEW, &p, 1, &e));
    assert_ok(repo_lock(r, LOCK_SHARED, &e));
    assert_ok(repo_load_index(r, &e));
    assert_ok(writer_new(r, &w, &e));
    for (uint64_t i = 0; i < 3; i++)
        assert_ok(fixture_snapshot(r, w, i * 5, i * 5 + 10, NULL, &e));
    writer_free(w);
    repo_unlock(r);
    return s;
}

static void a_whole_repository_has_no_findings(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct repo r;
    struct store *s = make(&r);
    struct found f = check(s, NULL, 1, true);
    assert_int_equal(f.harm + f.waste, 0);
    f = check(s, NULL, 0, true);
    assert_int_equal(f.harm + f.waste, 0);
    struct check_result result;
    const struct check_options o = {.read_share = 0.5, .seed = 3};
    assert_ok(repo_check(&r, &o, note, &f, &result, &e));
    assert_int_equal(result.snapshots, 3);
    assert_int_equal(result.trees, 6);
    assert_int_equal(result.blobs, 20 * FIXTURE_BLOBS + 6);
    assert_true(result.packs_read > 0 && result.packs_read < result.packs);
    fixture_close(&r);
    store_free(s);
}

struct names {
    char name[200][REPO_NAME_MAX];
    uint64_t size[200];
    size_t n;
};

static int collect(const struct store_object *o, void *arg, struct err *e)
{
    (void)e;
    struct names *l = arg;
    assert_true(l->n < 200);
    (void)snprintf(l->name[l->n], REPO_NAME_MAX, "%s", o->name);
    l->size[l->n++] = o->size;
    return 0;
}

static void every_damage_is_found_and_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct repo r;
    struct store *s = make(&r);
    struct names l = {.n = 0};
    assert_ok(store_list(s, "", collect, &l, &e));
    assert_true(l.n > 10);
    for (unsigned round = 0; round < 120; round++) {
        size_t k = round % l.n;
        _cleanup_(buf_release) struct buf is = BUF_INIT(BUF_PACK);
        assert_ok(store_get(s, l.name[k], 0, STORE_TO_END, &is, &e));
        uint64_t number;
        fixture_fill((uint8_t *)&number, sizeof number, round, false);
        struct piece piece = {is.data, is.len};
        bool flip = round / l.n % 2 == 0;
        if (flip)
            is.data[number % is.len] ^= (uint8_t)(1u << (number >> 32) % 8);
        else
            piece.len = number % is.len;
        assert_ok(store_put(s, l.name[k], PUT_REPLACE, &piece, 1, &e));
        struct found f = check(s, l.name[k], 1, false);
        if (f.named == 0)
            (void)check(s, l.name[k], 1, true);
        assert_true(f.named > 0);
        if (strncmp(l.name[k], "data/", 5) == 0 && !flip && piece.len == 0)
            assert_true(f.affects);
        if (strncmp(l.name[k], "snapshots/", 10) == 0)
            assert_true(f.affects);
        if (flip) {
            is.data[number % is.len] ^= (uint8_t)(1u << (number >> 32) % 8);
        }
        piece.len = is.len;
        assert_ok(store_put(s, l.name[k], PUT_REPLACE, &piece, 1, &e));
    }
    assert_int_equal(check(s, NULL, 1, true).harm, 0);

    /* And what is gone is missed. */
    for (size_t k = 0; k < l.n; k++) {
        _cleanup_(buf_release) struct buf is = BUF_INIT(BUF_PACK);
        assert_ok(store_get(s, l.name[k], 0, STORE_TO_END, &is, &e));
        assert_ok(store_remove(s, l.name[k], &e));
        struct found f = check(s, l.name[k], 0, false);
        if (strncmp(l.name[k], "data/", 5) == 0) {
            assert_true(f.named > 0);
            assert_true(f.affects);
        }
        if (strncmp(l.name[k], "index/", 6) == 0)
            assert_true(f.harm > 0);
        struct piece piece = {is.data, is.len};
        assert_ok(store_put(s, l.name[k], PUT_REPLACE, &piece, 1, &e));
    }
    fixture_close(&r);
    store_free(s);
}

static void waste_is_no_harm(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct repo r;
    struct store *s = make(&r);
    struct writer *w;
    struct id id;
    assert_ok(repo_load_index(&r, &e));
    assert_ok(writer_new(&r, &w, &e));
    assert_ok(writer_save(w, BLOB_DATA, "nobody needs me", 15, &id, NULL, &e));
    assert_ok(writer_commit(w, &e));
    writer_free(w);
    struct found f = check(s, NULL, 1, false);
    assert_int_equal(f.harm, 0);
    assert_int_equal(f.waste, 1);
    struct id_list files = {0};
    assert_ok(repo_list_files(&r, "index", &files, &e));
    assert_int_equal(files.n, 4);
    fixture_close(&r);
    id_list_release(&files);
    store_free(s);
}

static void what_cannot_be_checked_is_not_clean(void **state)
{
    (void)state;
    struct repo r;
    struct fault_plan plan = {.fail_at = 0, .kind = FAULT_FINAL};
    struct store *s = store_fault_new(make(&r), &plan);
    fixture_close(&r);
    for (uint64_t at = 1;; at++) {
        struct err e = ERR_INIT;
        plan.calls = 0;
        plan.fail_at = at;
        struct repo b = fixture_open(s, NULL);
        struct found f = {0};
        struct check_result result;
        const struct check_options o = {.read_share = 1, .threads = 2};
        int rc = repo_check(&b, &o, note, &f, &result, &e);
        fixture_close(&b);
        if (plan.calls < at)
            break;
        assert_true(rc < 0 || f.harm > 0);
    }
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_repository_has_no_findings),
        cmocka_unit_test(every_damage_is_found_and_named),
        cmocka_unit_test(waste_is_no_harm),
        cmocka_unit_test(what_cannot_be_checked_is_not_clean),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
