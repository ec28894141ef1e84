/* Making and opening repositories, their files and keys, and what damage to them is called. */
#include "base/mem.h"
#include "base/text.h"
#include "repo/repo_int.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct err e;

static struct store *new_repo(const char *passphrase, int version)
{
    struct store *s = store_memory_new();
    assert_int_equal(0, repo_init(s, passphrase, version, &e));
    return s;
}

static struct repo *open_repo(struct store *s, const char *passphrase)
{
    struct repo *r = NULL;
    if (repo_open(s, passphrase, NULL, &r, &e) != 0)
        fail_msg("%s", e.msg);
    return r;
}

static int open_code(struct store *s, const char *passphrase)
{
    struct repo *r = NULL;
    int rc = repo_open(s, passphrase, NULL, &r, &e);
    assert_null(r);
    return rc;
}

static int first_name(const struct store_object *o, void *arg, struct err *unused)
{
    (void)unused;
    free(*(char **)arg);
    *(char **)arg = str_dup(o->name);
    return 0;
}

/* The name of an object below `prefix`. */
static char *some_object(struct store *s, const char *prefix)
{
    char *name = NULL;
    assert_int_equal(0, store_list(s, prefix, first_name, &name, &e));
    return name;
}

enum damage { FLIP, CUT, EMPTY, DAMAGES };

static void damage(struct store *s, const char *name, enum damage how)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    assert_int_equal(0, store_get(s, name, 0, STORE_TO_END, &b, &e));
    if (how == FLIP)
        b.data[b.len / 2] ^= 1;
    b.len = how == CUT ? b.len - 1 : how == EMPTY ? 0 : b.len;
    struct piece p = {b.data, b.len};
    assert_int_equal(0, store_put(s, name, PUT_REPLACE, &p, 1, &e));
}

/* ---- making and opening ---- */

static void makes_and_opens(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        _cleanup_(store_freep) struct store *s = new_repo(" a passphrase\n", version);
        _cleanup_(repo_freep) struct repo *r = open_repo(s, " a passphrase\n");
        assert_int_equal(repo_version(r), version);
        assert_false(id_is_zero(repo_id(r)));
        assert_int_equal(repo_chunker_polynomial(r) >> 53, 1);
        assert_ptr_equal(repo_store(r), s);
        assert_int_equal(ERR_EXISTS, repo_init(s, "another", 2, &e));
        /* Nothing is trimmed. */
        assert_int_equal(ERR_PASSPHRASE, open_code(s, "a passphrase"));
        assert_non_null(strstr(e.msg, "opens with this passphrase"));
    }
}

static void refuses_what_it_cannot_make(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = store_memory_new();
    assert_int_equal(ERR_USAGE, repo_init(s, "x", 3, &e));
    assert_int_equal(ERR_USAGE, repo_init(s, "", 2, &e));
    assert_int_equal(ERR_NOT_FOUND, open_code(s, "x"));
    assert_non_null(strstr(e.msg, "salvor init"));
}

static void a_lost_config_is_not_overwritten(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = new_repo("x", 2);
    struct repo *r = open_repo(s, "x");
    struct id id;
    assert_int_equal(0, repo_save_file(r, "snapshots", "{}", 2, &id, &e));
    repo_free(r);
    assert_int_equal(0, store_remove(s, "config", &e));
    assert_int_equal(ERR_CORRUPT, open_code(s, "x"));
    assert_int_equal(ERR_EXISTS, repo_init(s, "x", 2, &e));
    assert_non_null(strstr(e.msg, "snapshots/"));
}

/* Only its key was written: init makes the repository after all, and the old key does no harm. */
static void an_interrupted_init_is_repeated(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = new_repo("x", 2);
    assert_int_equal(0, store_remove(s, "config", &e));
    assert_int_equal(0, repo_init(s, "x", 2, &e));
    _cleanup_(repo_freep) struct repo *r = open_repo(s, "x");
    assert_int_equal(repo_version(r), 2);
}

static void damage_is_named(void **state)
{
    (void)state;
    for (enum damage how = FLIP; how < DAMAGES; how++) {
        _cleanup_(store_freep) struct store *s = new_repo("x", 2);
        damage(s, "config", how);
        assert_int_equal(ERR_CORRUPT, open_code(s, "x"));
        assert_non_null(strstr(e.msg, "\"config\""));
    }
    for (enum damage how = FLIP; how < DAMAGES; how++) {
        _cleanup_(store_freep) struct store *s = new_repo("x", 2);
        _cleanup_free_ char *key = some_object(s, "keys/");
        damage(s, key, how);
        assert_int_equal(ERR_CORRUPT, open_code(s, "x"));
        assert_non_null(strstr(e.msg, key));
    }
}

/* A config that is sealed well, but says what we cannot do. */
static void put_config(struct store *s, const char *json)
{
    _cleanup_(repo_freep) struct repo *r = open_repo(s, "x");
    _cleanup_free_ uint8_t *sealed = mem_alloc(strlen(json) + SEAL_OVERHEAD);
    assert_int_equal(0, seal(&r->key, json, strlen(json), sealed, &e));
    struct piece p = {sealed, strlen(json) + SEAL_OVERHEAD};
    assert_int_equal(0, store_put(s, "config", PUT_REPLACE, &p, 1, &e));
}

static void other_configs(void **state)
{
    (void)state;
#define ID "\"id\":\"5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b\""
    static const struct {
        const char *json;
        int code;
    } config[] = {
        {"{\"version\":3,\"future\":1," ID ",\"chunker_polynomial\":\"25b468838dcb75\"}",
         ERR_UNSUPPORTED},
        {"{\"version\":0," ID ",\"chunker_polynomial\":\"25b468838dcb75\"}", ERR_CORRUPT},
        {"{\"version\":2,\"chunker_polynomial\":\"25b468838dcb75\"}", ERR_CORRUPT},
        {"{\"version\":2," ID ",\"chunker_polynomial\":\"25b468838dcb74\"}", ERR_CORRUPT},
        {"{\"version\":2," ID ",\"chunker_polynomial\":\"x\"}", ERR_CORRUPT},
        {"{\"version\":2," ID "}", ERR_CORRUPT},
        {"[]", ERR_CORRUPT},
        {"", ERR_CORRUPT},
    };
    for (size_t i = 0; i < array_len(config); i++) {
        _cleanup_(store_freep) struct store *s = new_repo("x", 2);
        put_config(s, config[i].json);
        assert_int_equal(config[i].code, open_code(s, "x"));
        assert_non_null(strstr(e.msg, "config"));
    }
}

/* ---- files ---- */

static void files_come_back(void **state)
{
    (void)state;
    static const char json[] =
        "{\"a\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}";
    for (int version = 1; version <= 2; version++) {
        _cleanup_(store_freep) struct store *s = new_repo("x", version);
        _cleanup_(repo_freep) struct repo *r = open_repo(s, "x");
        struct id id;
        char name[REPO_NAME_MAX];
        uint64_t size;
        assert_int_equal(0, repo_save_file(r, "snapshots", json, sizeof json - 1, &id, &e));
        assert_int_equal(0, store_stat(s, repo_file_name("snapshots", &id, name), &size, &e));
        assert_int_equal(size < sizeof json - 1 + SEAL_OVERHEAD, version == 2);

        _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
        assert_int_equal(0, repo_load_file(r, "snapshots", &id, &out, &e));
        assert_string_equal(buf_str(&out), json);

        _cleanup_(id_list_release) struct id_list list = {0};
        struct piece odd = {"x", 1}; /* not named after its content: not counted */
        assert_int_equal(0, store_put(s, "snapshots/README", PUT_NEW, &odd, 1, &e));
        assert_int_equal(0, repo_list_files(r, "snapshots", &list, &e));
        assert_int_equal(list.n, 1);
        assert_true(id_equal(&list.id[0], &id));
        for (enum damage how = FLIP; how < DAMAGES; how++) {
            damage(s, name, how);
            assert_int_equal(ERR_CORRUPT, repo_load_file(r, "snapshots", &id, &out, &e));
            assert_non_null(strstr(e.msg, name));
            damage(s, name, FLIP);
        }
        assert_int_equal(0, repo_remove_file(r, "snapshots", &id, &e));
        assert_int_equal(ERR_NOT_FOUND, repo_load_file(r, "snapshots", &id, &out, &e));
    }
}

static void names(void **state)
{
    (void)state;
    struct id id;
    char name[REPO_NAME_MAX];
    const char *hex = "5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b";
    assert_true(id_parse(hex, ID_HEX, &id));
    assert_string_equal(repo_file_name("data", &id, name),
                        "data/59/5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b");
    assert_string_equal(repo_file_name("locks", &id, name),
                        "locks/5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b");
}

/* ---- keys ---- */

struct key_count {
    int n, current;
};

static int count_key(const struct key_info *k, void *arg, struct err *unused)
{
    (void)unused;
    struct key_count *c = arg;
    assert_true(k->user != NULL && k->host != NULL && k->created.tv_sec > 0);
    c->n++;
    c->current += k->current;
    return 0;
}

static void several_keys(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = new_repo("first", 2);
    struct repo *r = open_repo(s, "first");
    struct id second;
    char hex[ID_HEX + 1];
    struct key_count count = {0};
    assert_int_equal(0, repo_key_add(r, "second", &second, &e));
    assert_int_equal(0, repo_key_list(r, count_key, &count, &e));
    assert_int_equal(count.n, 2);
    assert_int_equal(count.current, 1);
    assert_int_equal(ERR_NOT_FOUND, repo_key_remove(r, "zz", &e));
    assert_int_equal(ERR_USAGE, repo_key_remove(r, "", &e));
    assert_int_equal(ERR_REFUSED, repo_key_remove(r, id_hex(&r->key_id, hex), &e));
    repo_free(r);

    r = open_repo(s, "second");
    assert_true(id_equal(&r->key_id, &second));
    assert_int_equal(0, repo_key_change(r, "third", &e));
    repo_free(r);
    assert_int_equal(ERR_PASSPHRASE, open_code(s, "second"));

    r = open_repo(s, "first");
    repo_free(r);
    r = open_repo(s, "third");
    _cleanup_(id_list_release) struct id_list ids = {0};
    assert_int_equal(0, repo_list_files(r, "keys", &ids, &e));
    for (size_t i = 0; i < ids.n; i++) {
        if (!id_equal(&ids.id[i], &r->key_id)) {
            id_hex(&ids.id[i], hex);
            hex[6] = '\0';
            assert_int_equal(0, repo_key_remove(r, hex, &e));
        }
    }
    assert_int_equal(ERR_REFUSED, repo_key_remove(r, id_hex(&r->key_id, hex), &e));
    assert_non_null(strstr(e.msg, "last"));
    repo_free(r);
    assert_int_equal(ERR_PASSPHRASE, open_code(s, "first"));
}

static void a_damaged_key_does_not_shut_out_the_others(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = new_repo("first", 2);
    struct repo *r = open_repo(s, "first");
    struct id id;
    char name[REPO_NAME_MAX];
    assert_int_equal(0, repo_key_add(r, "second", &id, &e));
    repo_free(r);
    damage(s, repo_file_name("keys", &id, name), FLIP);
    r = open_repo(s, "first");
    repo_free(r);
    assert_int_equal(ERR_CORRUPT, open_code(s, "second"));
    assert_non_null(strstr(e.msg, name));
}

static int set_up(void **state)
{
    (void)state;
    return setenv("SALVOR_TEST_KDF", "fast", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_and_opens),
        cmocka_unit_test(refuses_what_it_cannot_make),
        cmocka_unit_test(a_lost_config_is_not_overwritten),
        cmocka_unit_test(an_interrupted_init_is_repeated),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(other_configs),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(names),
        cmocka_unit_test(several_keys),
        cmocka_unit_test(a_damaged_key_does_not_shut_out_the_others),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
