/* A snapshot's file as a stream: the same bytes in order, whatever is asked for at once, blobs that
 * come twice, and what is missing. */
#include "base/work.h"
#include "fixture.h"
#include "repo/tree.h"

/* Opens data/big of the last snapshot. */
static struct stream *open_big(struct world *w)
{
    struct err e = ERR_INIT;
    struct stream *s = NULL;
    assert_ok(job_load(w->job, &e));
    const struct snapshot *last = &w->job->snapshots.s[w->job->snapshots.n - 1];
    struct id tree;
    assert_ok(snapshot_content(w->job, last, &tree, &e));
    assert_ok(content_stream_open(w->job, &tree, "data/big", &s, &e));
    return s;
}

/* Random bytes, some of them three times, and a run of zeros; and other files between. */
static void make_big(struct world *w)
{
    assert_int_equal(sh(w, "head -c 9000000 /dev/urandom > data/a && "
                           "head -c 7000000 /dev/urandom > piece && "
                           "cat piece data/a piece piece > data/big && "
                           "head -c 5000000 /dev/zero >> data/big && cat data/a >> data/big"),
                     0);
    world_backup(w);
}

static void test_same_bytes(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_big(w);
    _cleanup_free_ char *path = str_fmt("%s/data/big", w->dir);
    _cleanup_(buf_release) struct buf want = BUF_INIT(64 << 20);
    assert_ok(file_read(path, &want, &e));
    static const size_t bites[] = {1 << 20, 7, 300007};
    for (size_t k = 0; k < array_len(bites); k++) {
        struct stream *s = open_big(w);
        _cleanup_free_ char *data = mem_alloc(bites[k]);
        size_t at = 0, got = 1, most = bites[k] == 7 ? 100000 : want.len;
        while (got > 0 && at < most) {
            assert_ok(stream_read(s, data, bites[k], &got, &e));
            assert_true(at + got <= want.len);
            assert_memory_equal(data, want.data + at, got);
            at += got;
        }
        assert_int_equal(at >= most, 1);
        stream_close(s); /* in the second round half-way */
    }
}

static void test_lost(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_big(w);
    assert_int_equal(sh(w, "ls -S repo/data/*/* | head -1 | xargs rm"), 0);
    world_open(w);
    struct stream *s = open_big(w);
    _cleanup_free_ char *data = mem_alloc(1 << 20);
    int rc = 0;
    for (size_t got = 1; rc == 0 && got > 0;)
        rc = stream_read(s, data, 1 << 20, &got, &e);
    assert_rc(ERR_NOT_FOUND, rc);
    assert_non_null(strstr(e.msg, "data/big"));
    stream_close(s);
}

static void test_interrupted(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_big(w);
    struct stream *s = open_big(w);
    char data[100];
    size_t got = 0;
    assert_ok(stream_read(s, data, sizeof data, &got, &e));
    atomic_store(&cancel_requested, 1);
    assert_rc(ERR_CANCELLED, stream_read(s, data, sizeof data, &got, &e));
    atomic_store(&cancel_requested, 0);
    stream_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(test_same_bytes),
        world_test(test_lost),
        world_test(test_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
