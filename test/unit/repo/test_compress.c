/* zstd in and out, with its limits. */
#include "base/mem.h"
#include "repo/repo_int.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Compressed by the zstd program from a pipe: the frame does not tell its content's size. */
static const uint8_t unknown_size[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x29, 0x00, 0x00,
                                       'h',  'e',  'l',  'l',  'o',  0xa3, 0x6d, 0x9f, 0x88};

static void round_trips(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1000000, 9000000};
    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t len = sizes[i];
        _cleanup_free_ uint8_t *data = mem_alloc(len);
        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)(k * k >> 7);
        _cleanup_(buf_release) struct buf packed = BUF_INIT(BUF_JSON), out = BUF_INIT(BUF_JSON);
        buf_adds(&out, "before");
        assert_int_equal(0, zstd_pack(data, len, 3, &packed, &e));
        assert_int_equal(0, zstd_unpack(packed.data, packed.len, len, &out, &e));
        assert_int_equal(out.len, len + 6);
        assert_memory_equal(out.data, "before", 6);
        assert_memory_equal(out.data + 6, data, len);
        if (len > 0) {
            assert_int_equal(ERR_CORRUPT, zstd_unpack(packed.data, packed.len, len - 1, &out, &e));
            assert_int_equal(out.len, len + 6);
        }
        for (size_t cut = 0; cut < packed.len; cut += 1 + packed.len / 50)
            assert_int_equal(ERR_CORRUPT, zstd_unpack(packed.data, cut, len, &out, &e));
    }
}

static void reads_frames_of_unknown_size(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_JSON);
    assert_int_equal(0, zstd_unpack(unknown_size, sizeof unknown_size, 5, &out, &e));
    assert_string_equal(buf_str(&out), "hello");
    assert_int_equal(ERR_CORRUPT, zstd_unpack(unknown_size, sizeof unknown_size, 4, &out, &e));
    assert_int_equal(ERR_CORRUPT, zstd_unpack("not zstd", 8, 100, &out, &e));
    assert_int_equal(out.len, 5);
}

static void a_bomb_is_stopped(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_free_ uint8_t *zeros = mem_zero(64 << 20);
    _cleanup_(buf_release) struct buf packed = BUF_INIT(BUF_JSON), out = BUF_INIT(1 << 16);
    assert_int_equal(0, zstd_pack(zeros, 64 << 20, 1, &packed, &e));
    assert_int_equal(ERR_CORRUPT, zstd_unpack(packed.data, packed.len, BUF_JSON, &out, &e));
    assert_true(out.size <= (1 << 16) + 1);
}

static void *pack_and_unpack(void *failed)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < 200; i++) {
        uint8_t data[5000] = {(uint8_t)i};
        _cleanup_(buf_release) struct buf packed = BUF_INIT(BUF_TEXT), out = BUF_INIT(BUF_TEXT);
        if (zstd_pack(data, sizeof data, 1, &packed, &e) != 0 ||
            zstd_unpack(packed.data, packed.len, sizeof data, &out, &e) != 0 ||
            out.len != sizeof data || memcmp(out.data, data, sizeof data) != 0)
            *(bool *)failed = true;
    }
    return NULL;
}

static void threads_have_their_own_contexts(void **state)
{
    (void)state;
    pthread_t thread[4];
    bool failed[4] = {false};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(0, pthread_create(&thread[i], NULL, pack_and_unpack, &failed[i]));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(0, pthread_join(thread[i], NULL));
        assert_false(failed[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(reads_frames_of_unknown_size),
        cmocka_unit_test(a_bomb_is_stopped),
        cmocka_unit_test(threads_have_their_own_contexts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
