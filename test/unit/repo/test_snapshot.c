/* Snapshots in and out, and which one a person means. */
#include "base/mem.h"
#include "repo/repo_int.h"
#include "repo/snapshot.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct err e;

static struct repo *new_repo(struct store **s)
{
    struct repo *r = NULL;
    *s = store_memory_new();
    assert_int_equal(0, repo_init(*s, "x", 2, &e));
    assert_int_equal(0, repo_open(*s, "x", NULL, &r, &e));
    return r;
}

/* ---- in and out ---- */

/* As restic 0.17 writes it. */
static const char restic_json[] =
    "{\"time\":\"2026-11-21T05:30:28.540614077Z\","
    "\"parent\":\"0846e6330f80cb81363f54f9dcffdc9efd60ca91d16c64979119356d19bafd7a\","
    "\"tree\":\"a486ab06ab09e7284a669b1c2a1450b17c0a6434b963f21dae55f18e765800fe\","
    "\"paths\":[\"/tmp/d\"],\"hostname\":\"vm\",\"username\":\"ann\",\"uid\":1000,\"gid\":100,"
    "\"excludes\":[\"*.o\"],\"tags\":[\"salvor\",\"resource=appdb\"],"
    "\"original\":\"0846e6330f80cb81363f54f9dcffdc9efd60ca91d16c64979119356d19bafd7a\","
    "\"program_version\":\"restic 0.17.0\",\"summary\":{\"files_new\":1,\"x\":[1.5e3,\"\\u003c\"]}}";

static void the_same_comes_out(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *store = NULL;
    _cleanup_(repo_freep) struct repo *r = new_repo(&store);
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_TEXT);
    struct snapshot s, copy;
    struct id id;
    assert_int_equal(0, repo_save_file(r, "snapshots", restic_json, strlen(restic_json), &id, &e));
    assert_int_equal(0, snapshot_load(r, &id, &s, &e));
    assert_true(id_equal(&s.id, &id));
    assert_true(s.has_parent && s.has_original && s.uid == 1000 && s.gid == 100);
    assert_string_equal(snapshot_tag(&s, "resource"), "appdb");
    assert_null(snapshot_tag(&s, "salvor"));
    assert_null(snapshot_tag(&s, "res"));
    assert_true(snapshot_is_ours(&s));
    snapshot_copy(&copy, &s);
    snapshot_release(&s);
    assert_int_equal(0, snapshot_save(r, &copy, &e));
    assert_int_equal(0, repo_load_file(r, "snapshots", &copy.id, &json, &e));
    assert_string_equal(buf_str(&json), restic_json);
    snapshot_release(&copy);
}

static void the_least_there_can_be(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *store = NULL;
    _cleanup_(repo_freep) struct repo *r = new_repo(&store);
    struct snapshot s = {.time = {1800000000, 0}};
    assert_int_equal(0, snapshot_save(r, &s, &e));
    struct id id = s.id;
    snapshot_release(&s);
    assert_int_equal(0, snapshot_load(r, &id, &s, &e));
    assert_non_null(strstr(s.program_version, "salvor "));
    assert_int_equal(s.paths.n + s.tags.n + s.excludes.n, 0);
    assert_false(s.has_parent || s.has_original || snapshot_is_ours(&s));
    snapshot_release(&s);
    assert_int_equal(0, snapshot_remove(r, &id, &e));
    assert_int_equal(ERR_NOT_FOUND, snapshot_load(r, &id, &s, &e));

    static const char no_tree[] = "{\"time\":\"2026-11-21T05:30:28Z\"}",
                      null_tree[] = "{\"time\":\"2026-11-21T05:30:28Z\",\"tree\":null}";
    static const char *const bad[] = {"{}", "[]", "{\"time\":1}", no_tree, null_tree};
    for (size_t i = 0; i < array_len(bad); i++) {
        assert_int_equal(0, repo_save_file(r, "snapshots", bad[i], strlen(bad[i]), &id, &e));
        assert_int_equal(ERR_CORRUPT, snapshot_load(r, &id, &s, &e));
    }
}

/* Without its lock, no snapshot is written. */
static void not_without_the_lock(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *store = NULL;
    _cleanup_(repo_freep) struct repo *r = new_repo(&store);
    _cleanup_(id_list_release) struct id_list locks = {0}, all = {0};
    struct snapshot s = {.time = {1800000000, 0}};
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    assert_int_equal(0, snapshot_save(r, &s, &e));
    assert_int_equal(0, repo_list_files(r, "locks", &locks, &e));
    assert_int_equal(0, repo_remove_file(r, "locks", &locks.id[0], &e));
    assert_int_equal(ERR_LOCKED, snapshot_save(r, &s, &e));
    assert_int_equal(0, repo_list_files(r, "snapshots", &all, &e));
    assert_int_equal(all.n, 1);
    snapshot_release(&s);
}

static void note_bad(const struct id *id, const struct err *why, void *arg)
{
    assert_false(id_is_zero(id));
    assert_int_equal(why->code, ERR_CORRUPT);
    ++*(int *)arg;
}

static void all_of_them(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *store = NULL;
    _cleanup_(repo_freep) struct repo *r = new_repo(&store);
    _cleanup_(snapshot_list_release) struct snapshot_list l = {0};
    assert_int_equal(0, snapshot_load_all(r, &l, NULL, NULL, &e));
    assert_int_equal(l.n, 0);
    for (int i = 0; i < 50; i++) {
        struct snapshot s = {.time = {1800000000 + i * 7 % 50, 0}};
        assert_int_equal(0, snapshot_save(r, &s, &e));
        snapshot_release(&s);
    }
    assert_int_equal(0, snapshot_load_all(r, &l, NULL, NULL, &e));
    assert_int_equal(l.n, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(l.s[i].time.tv_sec, 1800000000 + i);
    snapshot_list_release(&l);

    struct id id = {{1}};
    struct piece p = {"damaged", 7};
    char name[REPO_NAME_MAX];
    int bad = 0;
    assert_int_equal(0,
                     store_put(store, repo_file_name("snapshots", &id, name), PUT_NEW, &p, 1, &e));
    assert_int_equal(ERR_CORRUPT, snapshot_load_all(r, &l, NULL, NULL, &e));
    assert_non_null(strstr(e.msg, name));
    assert_int_equal(l.n, 0);
    assert_int_equal(0, snapshot_load_all(r, &l, note_bad, &bad, &e));
    assert_int_equal(bad, 1);
    assert_int_equal(l.n, 50);
}

/* ---- finding ---- */

static void add(struct snapshot_list *l, int day, uint8_t first, uint8_t second,
                const char *resource, const char *tag)
{
    mem_grow(&l->s, l->n, &l->cap, sizeof *l->s);
    struct snapshot *s = &l->s[l->n++];
    *s = (struct snapshot){.id = {{first, second}}, .time = {1800000000 + day * 86400, 0}};
    if (resource != NULL) {
        _cleanup_free_ char *t = str_fmt("resource=%s", resource);
        str_list_add(&s->tags, "salvor");
        str_list_add(&s->tags, t);
    }
    if (tag != NULL)
        str_list_add(&s->tags, tag);
}

static struct snapshot_list some(void)
{
    struct snapshot_list l = {0};
    add(&l, 0, 0x11, 0x11, "appdb", NULL);
    add(&l, 1, 0x11, 0x22, "env", NULL);
    add(&l, 2, 0x22, 0x00, "appdb", NULL);
    add(&l, 3, 0x33, 0x00, "appdb", "partial");
    add(&l, 4, 0x44, 0x00, "appdb", "pre-restore");
    add(&l, 5, 0x55, 0x00, NULL, NULL);
    add(&l, 6, 0x66, 0x00, "half", "partial");
    return l;
}

static void what_is_found(void **state)
{
    (void)state;
    _cleanup_(snapshot_list_release) struct snapshot_list l = some();
    const struct {
        struct snapshot_query q;
        size_t index;
    } found[] = {
        {{.resource = "appdb"}, 2},
        {{.resource = "appdb", .which = "latest"}, 2},
        {{.resource = "appdb", .partial_too = true}, 3},
        {{.resource = "appdb", .which = "33"}, 3},
        {{.resource = "appdb", .which = "4400"}, 4},
        {{.resource = "appdb", .has_at = true, .at = {1800000000, 0}}, 0},
        {{.resource = "appdb", .has_at = true, .at = {1800000000 + 2 * 86400 - 1, 0}}, 0},
        {{.resource = "appdb", .has_at = true, .at = {1800000000 + 9 * 86400, 0}}, 2},
        {{.which = "1111"}, 0},
        {{.which = "latest"}, 5},
        {{.resource = "half", .partial_too = true}, 6},
    };
    for (size_t i = 0; i < array_len(found); i++) {
        size_t out = 99;
        assert_int_equal(0, snapshot_find(&l, &found[i].q, &out, &e));
        assert_int_equal(out, found[i].index);
    }
}

static void what_is_not_found(void **state)
{
    (void)state;
    _cleanup_(snapshot_list_release) struct snapshot_list l = some();
    struct snapshot_list empty = {0};
    const struct {
        struct snapshot_query q;
        int code;
        const char *says;
    } missed[] = {
        {{.which = "11"}, ERR_USAGE, "2 snapshots begin with 11: 11110000 of appdb"},
        {{.which = "11"}, ERR_USAGE, "11220000 of env"},
        {{.which = "ff"}, ERR_NOT_FOUND, "salvor list"},
        {{.which = "1122", .resource = "appdb"}, ERR_NOT_FOUND, "is not one of appdb"},
        {{.resource = "nope"}, ERR_NOT_FOUND, "appdb, env, half"},
        {{.resource = "half"}, ERR_NOT_FOUND, "66000000"},
        {{.resource = "env", .has_at = true, .at = {1, 0}}, ERR_NOT_FOUND, "the oldest is from"},
    };
    for (size_t i = 0; i < array_len(missed); i++) {
        size_t out;
        assert_int_equal(missed[i].code, snapshot_find(&l, &missed[i].q, &out, &e));
        if (strstr(e.msg, missed[i].says) == NULL)
            fail_msg("%s", e.msg);
    }
    size_t out;
    assert_int_equal(ERR_NOT_FOUND, snapshot_find(&empty, &missed[4].q, &out, &e));
}

static int set_up(void **state)
{
    (void)state;
    (void)setenv("TZ", "UTC", 1);
    return setenv("SALVOR_TEST_KDF", "fast", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_comes_out),   cmocka_unit_test(the_least_there_can_be),
        cmocka_unit_test(not_without_the_lock), cmocka_unit_test(all_of_them),
        cmocka_unit_test(what_is_found),        cmocka_unit_test(what_is_not_found),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
