/* Trees in and out: bytes as restic 0.14 wrote them, and what is refused. */
#include "base/mem.h"
#include "base/text.h"
#include "repo/repo_int.h"
#include "repo/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct err e;

#define FIELDS(type, mode)                                                                         \
    "\"type\":\"" type "\",\"mode\":" mode                                                         \
    ",\"mtime\":\"2026-11-21T06:30:28.50257941+01:00\",\"atime\":\"2026-07-01T00:00:00+02:00\","   \
    "\"ctime\":\"2026-11-21T06:30:28.5+01:00\",\"uid\":0,\"gid\":0,\"user\":\"root\","             \
    "\"group\":\"root\",\"inode\":10952894,\"device_id\":65024,"
#define ID "b5e9585e789dac51817c8e66fb95ee34d7ce5360b23fbe7e4b88ff33d07a267e"

/* As restic 0.14 wrote them in Berlin, but for the times. */
static const char *const frozen[] = {
    "{\"nodes\":[]}\n",
    "{\"nodes\":["
    "{\"name\":\"\\\\x01ctl\\\\x7f\"," FIELDS(
        "file",
        "420") "\"size\":10,\"links\":1,"
               "\"content\":[\"" ID "\",\"" ID "\"]},"
               "{\"name\":\"\\u003c\\u0026\\u003e\"," FIELDS(
                   "file",
                   "420") "\"links\":1,"
                          "\"extended_attributes\":[{\"name\":\"user.z\",\"value\":\"\"},"
                          "{\"name\":\"user.a\",\"value\":\"MQ==\"}],\"content\":[]},"
                          "{\"name\":\"back\\\\\\\\slash\"," FIELDS(
                              "dir",
                              "2148532735") "\"content\":null,"
                                            "\"subtree\":\"" ID "\"},"
                                            "{\"name\":\"blk\"," FIELDS(
                                                "dev",
                                                "67109284") "\"links\":1,\"device\":1050412,"
                                                            "\"content\":null},"
                                                            "{\"name\":\"chr\"," FIELDS(
                                                                "chardev",
                                                                "69206436") "\"links\":1,\"device\":259,"
                                                                            "\"content\":null},"
                                                                            "{\"name\":\"fifo\"," FIELDS(
                                                                                "fifo",
                                                                                "33554852") "\"content\":null},"
                                                                                            "{\"name\":\"link\"," FIELDS(
                                                                                                "symlink",
                                                                                                "134218239") "\"links\":1,"
                                                                                                             "\"linktarget\":\"q\\\"uo\\\\te\\u003c\",\"content\":null},"
                                                                                                             "{\"name\":\"quote\\\\\\\"x\"," FIELDS(
                                                                                                                 "file",
                                                                                                                 "8389101") "\"size\":1,\"links\":1,"
                                                                                                                            "\"content\":[\"" ID
                                                                                                                            "\"],\"error\":\"it was so\"},"
                                                                                                                            "{\"name\":\"sock\"," FIELDS(
                                                                                                                                "socket",
                                                                                                                                "16777709") "\"links\":1,\"content\":null},"
                                                                                                                                            "{\"name\":\"\\\\u00a0nbsp\"," FIELDS(
                                                                                                                                                "file",
                                                                                                                                                "4194797") "\"size\":1,\"links\":2,"
                                                                                                                                                           "\"content\":[\"" ID
                                                                                                                                                           "\"]},"
                                                                                                                                                           "{\"name\":\"\\\\xe0\\\\xb8\"," FIELDS(
                                                                                                                                                               "irregular",
                                                                                                                                                               "524708") "\"content\":null},"
                                                                                                                                                                         "{\"name\":\"\xf0\x9f\x98\x80 emoji\"," FIELDS(
                                                                                                                                                                             "file",
                                                                                                                                                                             "420") "\"links\":1,"
                                                                                                                                                                                    "\"generic_attributes\":{\"windows.creation_time\":\"b18r3KHh2AE=\",\"x\":[1, 2]},"
                                                                                                                                                                                    "\"content\":[]}"
                                                                                                                                                                                    "]}\n",
};

static int rewrite(const char *json, struct buf *out)
{
    _cleanup_(tree_release) struct tree t = {0};
    _cleanup_(tree_writer_release) struct tree_writer w;
    tree_writer_init(&w);
    int rc = tree_parse(json, strlen(json), &t, &e);
    for (size_t i = 0; rc == 0 && i < t.n; i++)
        rc = tree_writer_add(&w, &t.node[i], &e);
    if (rc == 0)
        rc = tree_writer_end(&w, &e);
    buf_swap(out, &w.json);
    return rc;
}

static void same_bytes_as_restic(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_len(frozen); i++) {
        _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
        assert_int_equal(0, rewrite(frozen[i], &out));
        assert_string_equal(buf_str(&out), frozen[i]);
    }
}

static void fields_are_understood(void **state)
{
    (void)state;
    _cleanup_(tree_release) struct tree t = {0};
    assert_int_equal(0, tree_parse(frozen[1], strlen(frozen[1]), &t, &e));
    assert_int_equal(t.n, 12);
    assert_true(t.sorted);
    const struct node *n = tree_find(&t, "\x01"
                                         "ctl\x7f");
    assert_non_null(n);
    assert_int_equal(n->type, NODE_FILE);
    assert_int_equal(n->mode, 0644);
    assert_int_equal(n->ncontent, 2);
    assert_int_equal(n->mtime.tv_nsec, 502579410);
    n = tree_find(&t, "back\\slash");
    assert_int_equal(n->type, NODE_DIR);
    assert_int_equal(n->mode, 01777);
    assert_true(n->has_subtree && !n->has_content);
    assert_int_equal(tree_find(&t, "quote\"x")->mode, 04755);
    assert_int_equal(tree_find(&t, "\xc2\xa0nbsp")->mode, 02755);
    assert_string_equal(tree_find(&t, "link")->linktarget, "q\"uo\\te<");
    n = tree_find(&t, "<&>");
    assert_true(n->has_content && n->ncontent == 0);
    assert_int_equal(n->nxattr, 2);
    assert_memory_equal(n->xattr[1].value, "1", 1);
    assert_non_null(tree_find(&t, "\xe0\xb8"));
    assert_null(tree_find(&t, "nothing"));
}

/* Newer programs keep a target that is not UTF-8 beside the text that JSON can hold. */
static void raw_link_targets(void **state)
{
    (void)state;
    static const char json[] = "{\"nodes\":[{\"name\":\"l\"," FIELDS(
        "symlink", "134218239") "\"links\":1,\"linktarget\":\"bad\\ufffdtarget\","
                                "\"linktarget_raw\":\"YmFk/3RhcmdldA==\",\"content\":null}]}\n";
    _cleanup_(tree_release) struct tree t = {0};
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    assert_int_equal(0, tree_parse(json, strlen(json), &t, &e));
    assert_string_equal(t.node[0].linktarget, "bad\xfftarget");
    assert_int_equal(0, rewrite(json, &out));
    assert_string_equal(buf_str(&out), json);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"nodes\":[]",
        "{\"nodes\":[{}]}",
        "{\"nodes\":{}}",
        "{\"nodes\":[{\"name\":\"\"}]}",
        "{\"nodes\":[{\"name\":\".\"}]}",
        "{\"nodes\":[{\"name\":\"..\"}]}",
        "{\"nodes\":[{\"name\":\"\\\\x2e\\\\056\"}]}",
        "{\"nodes\":[{\"name\":\"a/b\"}]}",
        "{\"nodes\":[{\"name\":\"a\\\\x2fb\"}]}",
        "{\"nodes\":[{\"name\":\"a\\\\x00b\"}]}",
        "{\"nodes\":[{\"name\":\"a\\u0000b\"}]}",
        "{\"nodes\":[{\"name\":\"a\\\\\"}]}",
        "{\"nodes\":[{\"name\":\"a\\\"b\"}]}",
        "{\"nodes\":[{\"name\":null}]}",
        "{\"nodes\":[{\"name\":\"a\"},{\"name\":\"a\"}]}",
        "{\"nodes\":[{\"name\":\"b\"},{\"name\":\"a\"},{\"name\":\"b\"}]}",
        "{\"nodes\":[{\"name\":\"a\",\"uid\":4294967296}]}",
        "{\"nodes\":[{\"name\":\"a\",\"content\":[\"12\"]}]}",
        "{\"nodes\":[{\"name\":\"a\",\"linktarget_raw\":\"AA==\"}]}",
        "{\"nodes\":[{\"name\":\"a\",\"extended_attributes\":[{\"value\":\"\"}]}]}",
        "{\"nodes\":[]} x",
    };
    for (size_t i = 0; i < array_len(bad); i++) {
        struct tree t;
        if (tree_parse(bad[i], strlen(bad[i]), &t, &e) != ERR_CORRUPT)
            fail_msg("accepted: %s", bad[i]);
    }
    /* Every beginning of a good one. */
    for (size_t len = 0; len < strlen(frozen[1]) - 1; len++) {
        struct tree t;
        assert_int_equal(ERR_CORRUPT, tree_parse(frozen[1], len, &t, &e));
    }
}

static void what_is_accepted(void **state)
{
    (void)state;
    _cleanup_(tree_release) struct tree t = {0}, unsorted = {0};
    static const char unknown[] = "{\"new\":{\"nodes\":[1]},\"nodes\":[{\"name\":\"...\","
                                  "\"future\":[{}],\"type\":\"portal\"}],\"more\":null}";
    assert_int_equal(0, tree_parse(unknown, strlen(unknown), &t, &e));
    assert_int_equal(t.node[0].type, NODE_INVALID);
    static const char order[] = "{\"nodes\":[{\"name\":\"b\"},{\"name\":\"a\"},{\"name\":\"c\"}]}";
    assert_int_equal(0, tree_parse(order, strlen(order), &unsorted, &e));
    assert_false(unsorted.sorted);
    assert_ptr_equal(tree_find(&unsorted, "a"), &unsorted.node[1]);
    assert_null(tree_find(&unsorted, "d"));
}

static void order_is_kept(void **state)
{
    (void)state;
    _cleanup_(tree_writer_release) struct tree_writer w;
    char b[] = "b", a[] = "a";
    struct node first = {.name = b, .type = NODE_FILE}, second = {.name = a, .type = NODE_FILE};
    tree_writer_init(&w);
    assert_int_equal(0, tree_writer_add(&w, &first, &e));
    size_t len = w.json.len;
    assert_int_equal(ERR_INTERNAL, tree_writer_add(&w, &first, &e));
    assert_int_equal(ERR_INTERNAL, tree_writer_add(&w, &second, &e));
    assert_int_equal(w.json.len, len);
}

/* ---- in a repository ---- */

struct fixture {
    struct store *store;
    struct repo *repo;
    struct id root;
};

static struct id save(struct writer *w, const char *name, const struct id *subtree)
{
    _cleanup_(tree_writer_release) struct tree_writer t;
    struct id id;
    char plain[] = "plain", *dir = str_dup(name);
    struct node d = {.name = dir, .type = NODE_DIR, .mode = 0755};
    struct node f = {.name = plain, .type = NODE_FILE, .has_content = true};
    if (subtree != NULL) {
        d.subtree = *subtree;
        d.has_subtree = true;
    }
    tree_writer_init(&t);
    assert_int_equal(0, tree_writer_add(&t, &d, &e));
    assert_int_equal(0, tree_writer_add(&t, &f, &e));
    assert_int_equal(0, tree_writer_save(&t, w, &id, &e));
    free(dir);
    return id;
}

/* /a/b/d, and in each of them and the root a file "plain"; what is in d is not recorded. */
static int set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    struct writer *w = NULL;
    (void)setenv("SALVOR_TEST_KDF", "fast", 1);
    f->store = store_memory_new();
    assert_int_equal(0, repo_init(f->store, "x", 2, &e));
    assert_int_equal(0, repo_open(f->store, "x", NULL, &f->repo, &e));
    assert_int_equal(0, repo_lock(f->repo, LOCK_SHARED, &e));
    assert_int_equal(0, repo_load_index(f->repo, &e));
    assert_int_equal(0, writer_new(f->repo, &w, &e));
    struct id b = save(w, "d", NULL), a = save(w, "b", &b);
    f->root = save(w, "a", &a);
    assert_int_equal(0, writer_commit(w, &e));
    writer_free(w);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    repo_free(f->repo);
    store_free(f->store);
    free(f);
    return 0;
}

static void looks_up_paths(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        const char *path, *name;
        enum node_type type;
    } good[] = {
        {"", "", NODE_DIR},       {"/", "", NODE_DIR},           {"a", "a", NODE_DIR},
        {"/a/b/", "b", NODE_DIR}, {"./a//b", "b", NODE_DIR},     {"a/b/plain", "plain", NODE_FILE},
        {"a/b/d", "d", NODE_DIR}, {"plain", "plain", NODE_FILE},
    };
    for (size_t i = 0; i < array_len(good); i++) {
        struct node n;
        assert_int_equal(0, tree_lookup(f->repo, &f->root, good[i].path, &n, &e));
        assert_string_equal(n.name, good[i].name);
        assert_int_equal(n.type, good[i].type);
        node_release(&n);
    }
    static const char *const bad[] = {"x", "a/x", "plain/x", "a/../a", "..", "a/b/d/x"};
    for (size_t i = 0; i < array_len(bad); i++) {
        struct node n;
        assert_int_equal(ERR_NOT_FOUND, tree_lookup(f->repo, &f->root, bad[i], &n, &e));
    }
}

struct seen {
    struct buf text;
    bool stop_at_b, fail;
};

static int see(const char *path, const struct node *n, bool *enter, void *arg, struct err *err)
{
    struct seen *s = arg;
    buf_addf(&s->text, "%s%s ", path, n->type == NODE_DIR ? "/" : "");
    if ((s->stop_at_b && strcmp(n->name, "b") == 0) || strcmp(n->name, "d") == 0)
        *enter = strcmp(n->name, "d") == 0 && !s->stop_at_b && s->fail;
    return s->fail && strcmp(path, "a/plain") == 0 ? err_set(err, ERR_CANCELLED, "enough") : 0;
}

static void walks(void **state)
{
    const struct fixture *f = *state;
    struct seen s = {.text = BUF_INIT(BUF_TEXT)};
    assert_int_equal(0, tree_walk(f->repo, &f->root, see, &s, &e));
    assert_string_equal(buf_str(&s.text), "a/ a/b/ a/b/d/ a/b/plain a/plain plain ");
    buf_clear(&s.text);
    s.stop_at_b = true;
    assert_int_equal(0, tree_walk(f->repo, &f->root, see, &s, &e));
    assert_string_equal(buf_str(&s.text), "a/ a/b/ a/plain plain ");
    s.fail = true;
    assert_int_equal(ERR_CANCELLED, tree_walk(f->repo, &f->root, see, &s, &e));
    s.stop_at_b = false;
    assert_int_equal(ERR_CORRUPT, tree_walk(f->repo, &f->root, see, &s, &e));
    assert_non_null(strstr(e.msg, "a/b/d"));
    buf_release(&s.text);
}

static int berlin(void **state)
{
    (void)state;
    (void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_as_restic),
        cmocka_unit_test(fields_are_understood),
        cmocka_unit_test(raw_link_targets),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(what_is_accepted),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test_setup_teardown(looks_up_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(walks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, berlin, NULL);
}
