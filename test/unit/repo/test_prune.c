/* Prune removes what nobody needs and nothing else, converges, and may be interrupted anywhere. */
#include "fixture_snapshots.h"
#include "repo/check.h"
#include "repo/prune.h"

static const struct prune_options defaults = {.waste_limit = 0.05};

struct counts {
    uint64_t harm, waste;
    bool loud;
};

static void count(const struct finding *f, void *arg)
{
    struct counts *c = arg;
    if (f->kind == FOUND_WASTE) {
        c->waste++;
        return;
    }
    c->harm++;
    print_message("%d %s: %s (%s)\n", f->kind, f->object, f->detail,
                  f->affects != NULL ? f->affects : "nobody");
}

static uint64_t assert_clean(struct store *s)
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    struct counts c = {0};
    struct check_result result;
    struct check_options o = {.read_share = 1, .threads = 2};
    fixture_assert_whole(s);
    /* The fixture's store has no config. */
    uint8_t config[2 + SEAL_OVERHEAD];
    assert_ok(seal(&r.key, "{}", 2, config, &e));
    const struct piece p = {config, sizeof config};
    assert_ok(store_put(s, "config", PUT_REPLACE, &p, 1, &e));
    assert_ok(repo_check(&r, &o, count, &c, &result, &e));
    assert_int_equal(c.harm, 0);
    fixture_close(&r);
    return c.waste;
}

/* Twelve snapshots with files [i * 5, i * 5 + 12), of which the given ones are forgotten. */
static struct store *make(struct store *s, const bool forget[12])
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    struct writer *w;
    r.pack_size = 1 << 16;
    assert_ok(repo_lock(&r, LOCK_SHARED, &e));
    assert_ok(repo_load_index(&r, &e));
    assert_ok(writer_new(&r, &w, &e));
    struct id id[12];
    for (uint64_t i = 0; i < 12; i++)
        assert_ok(fixture_snapshot(&r, w, i * 5, i * 5 + 12, &id[i], &e));
    for (int i = 0; i < 12; i++)
        if (forget[i])
            assert_ok(snapshot_remove(&r, &id[i], &e));
    writer_free(w);
    repo_unlock(&r);
    fixture_close(&r);
    return s;
}

static int copy_object(const struct store_object *o, void *arg, struct err *e)
{
    struct store *const *s = arg;
    _cleanup_(buf_release) struct buf is = BUF_INIT(BUF_PACK);
    int rc = store_get(s[0], o->name, 0, STORE_TO_END, &is, e);
    const struct piece p = {is.data, is.len};
    return rc == 0 ? store_put(s[1], o->name, PUT_REPLACE, &p, 1, e) : rc;
}

static int prune(struct store *s, const struct prune_options *o, struct prune_result *out,
                 struct err *e)
{
    struct repo r = fixture_open(s, NULL);
    r.pack_size = 1 << 16;
    int rc = repo_lock(&r, LOCK_EXCLUSIVE, e);
    if (rc == 0)
        rc = repo_prune(&r, o, out, e);
    repo_unlock(&r);
    fixture_close(&r);
    return rc;
}

static uint64_t sum_sizes(struct store *s)
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    struct id_list packs = {0};
    uint64_t sum = 0, size;
    char name[REPO_NAME_MAX];
    assert_ok(repo_list_files(&r, "data", &packs, &e));
    for (size_t i = 0; i < packs.n; i++) {
        assert_ok(store_stat(s, repo_file_name("data", &packs.id[i], name), &size, &e));
        sum += size;
    }
    id_list_release(&packs);
    fixture_close(&r);
    return sum;
}

static void what_is_unused_goes(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct prune_result out;
    const bool forget[12] = {true, true, true, true, [6] = true, [9] = true, [10] = true};
    struct store *s = make(store_memory_new(), forget);
    uint64_t before = sum_sizes(s);
    struct prune_options dry = defaults;
    dry.dry_run = true;
    assert_ok(prune(s, &dry, &out, &e));
    assert_int_equal(sum_sizes(s), before);
    assert_int_equal(out.bytes_before, before);
    assert_true(out.packs_removed > 0 && out.packs_repacked > 0);

    assert_ok(prune(s, &defaults, &out, &e));
    assert_int_equal(assert_clean(s), 0);
    uint64_t after = sum_sizes(s);
    assert_true(after < before);
    assert_true(out.bytes_unused_left <= after / 20);
    struct prune_result again;
    assert_ok(prune(s, &defaults, &again, &e));
    assert_int_equal(again.packs_removed, 0);
    assert_int_equal(again.packs_repacked, 0);
    assert_int_equal(sum_sizes(s), after);

    struct prune_options strict = {.waste_limit = 0};
    assert_ok(prune(s, &strict, &out, &e));
    assert_int_equal(out.bytes_unused_left, 0);
    assert_int_equal(assert_clean(s), 0);
    store_free(s);
}

static void all_forgotten_leaves_nothing(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct prune_result out;
    const bool forget[12] = {true, true, true, true, true, true,
                             true, true, true, true, true, true};
    struct store *s = make(store_memory_new(), forget);
    assert_ok(prune(s, &defaults, &out, &e));
    assert_int_equal(sum_sizes(s), 0);
    assert_int_equal(assert_clean(s), 0);
    store_free(s);
}

static void damage_refuses(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct prune_result out;
    const bool forget[12] = {[1] = true};
    struct store *s = make(store_memory_new(), forget);
    struct repo r = fixture_open(s, NULL);
    static const char *const dirs[] = {"snapshots", "index", "data"};
    for (size_t d = 0; d < array_len(dirs); d++) {
        struct id_list files = {0};
        assert_ok(repo_list_files(&r, dirs[d], &files, &e));
        for (size_t i = 0; i < files.n; i++) {
            char name[REPO_NAME_MAX];
            _cleanup_(buf_release) struct buf is = BUF_INIT(BUF_PACK);
            (void)repo_file_name(dirs[d], &files.id[i], name);
            assert_ok(store_get(s, name, 0, STORE_TO_END, &is, &e));
            struct piece half = {is.data, is.len / 2}, whole = {is.data, is.len};
            assert_ok(store_put(s, name, PUT_REPLACE, &half, 1, &e));
            uint64_t before = sum_sizes(s);
            const struct prune_options dry = {.waste_limit = 0.05};
            int rc = prune(s, &dry, &out, &e);
            /* A pack of which nothing is used may be damaged; all else refuses. */
            if (rc == 0) {
                assert_string_equal(dirs[d], "data");
                assert_int_not_equal(store_stat(s, name, &(uint64_t){0}, &e), 0);
                goto done;
            }
            assert_int_equal(rc, ERR_CORRUPT);
            assert_int_equal(sum_sizes(s), before);
            assert_ok(store_put(s, name, PUT_REPLACE, &whole, 1, &e));
        }
    done:
        id_list_release(&files);
    }
    fixture_close(&r);
    assert_int_equal(assert_clean(s), 0);
    store_free(s);
}

/* Two machines saved the same: every blob is in two packs, and one of each pair may be damaged. */
static void damage_is_replaced_from_another_pack(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct prune_result out;
    const bool forget[12] = {[1] = true, [5] = true};
    struct store *one = make(store_memory_new(), forget), *two = make(store_memory_new(), forget);
    struct store *const copy[] = {one, two};
    struct repo r = fixture_open(one, NULL);
    struct id_list packs = {0};
    assert_ok(repo_list_files(&r, "data", &packs, &e));
    fixture_close(&r);
    assert_ok(store_list(one, "", copy_object, (void *)(uintptr_t)copy, &e));
    for (size_t i = 0; i < packs.n; i++) {
        char name[REPO_NAME_MAX];
        _cleanup_(buf_release) struct buf is = BUF_INIT(BUF_PACK);
        (void)repo_file_name("data", &packs.id[i], name);
        assert_ok(store_get(two, name, 0, STORE_TO_END, &is, &e));
        is.data[is.len / 3] ^= 4;
        const struct piece p = {is.data, i % 3 == 0 ? is.len / 2 : is.len};
        assert_ok(store_put(two, name, PUT_REPLACE, &p, 1, &e));
    }
    assert_ok(prune(two, &defaults, &out, &e));
    assert_int_equal(assert_clean(two), 0);
    id_list_release(&packs);
    store_free(one);
    store_free(two);
}

/* Every Nth store call fails, or is the last one (the process is "killed" by an error that sticks).
 */
static void interrupted_anywhere_it_converges(void **state)
{
    (void)state;
    static const enum fault_kind kinds[] = {FAULT_TRANSIENT, FAULT_SHORT, FAULT_LOST_REPLY};
    const bool forget[12] = {true, true, true, [6] = true, [9] = true};
    struct store *made = make(store_memory_new(), forget);
    struct prune_result out;
    for (size_t k = 0; k < array_len(kinds); k++) {
        for (uint64_t at = 1;; at++) {
            struct err e = ERR_INIT;
            struct fault_plan plan = {.kind = kinds[k]};
            struct store *s = store_fault_new(store_memory_new(), &plan);
            struct store *const copy[] = {made, s};
            assert_ok(store_list(made, "", copy_object, (void *)(uintptr_t)copy, &e));
            plan.calls = 0;
            plan.fail_at = at;
            int rc = prune(s, &defaults, &out, &e);
            bool clean = plan.calls < at;
            plan.fail_at = 0;
            assert_true(rc == 0 || (!clean && e.msg[0] != '\0'));
            (void)assert_clean(s);
            struct repo r = fixture_open(s, NULL);
            size_t n;
            assert_ok(repo_lock_clear(&r, true, &n, &e));
            fixture_close(&r);
            assert_ok(prune(s, &defaults, &out, &e));
            assert_int_equal(assert_clean(s), 0);
            store_free(s);
            if (clean)
                break;
        }
    }
    store_free(made);
}

static void the_index_is_made_anew(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const bool forget[12] = {false};
    struct store *s = make(store_memory_new(), forget);
    struct repo r = fixture_open(s, NULL);
    struct id_list files = {0};
    struct id unused;
    assert_ok(repo_list_files(&r, "index", &files, &e));
    assert_ok(repo_remove_file(&r, "index", &files.id[0], &e));
    assert_ok(repo_save_file(&r, "index", "{nonsense", 9, &unused, &e));
    assert_ok(repo_lock(&r, LOCK_EXCLUSIVE, &e));
    assert_ok(repo_rebuild_index(&r, &e));
    repo_unlock(&r);
    assert_int_equal(assert_clean(s), 0);
    id_list_release(&files);
    fixture_close(&r);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_unused_goes),
        cmocka_unit_test(all_forgotten_leaves_nothing),
        cmocka_unit_test(damage_refuses),
        cmocka_unit_test(damage_is_replaced_from_another_pack),
        cmocka_unit_test(interrupted_anywhere_it_converges),
        cmocka_unit_test(the_index_is_made_anew),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
