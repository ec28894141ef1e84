/* Buffers and allocation: growing, the cap, the NUL at the end. */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include <string.h>

static void grows_and_stays_text(void **state)
{
    _cleanup_(buf_release) struct buf b = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;
    (void)state;
    assert_string_equal(buf_str(&b), "");
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(buf_append(&b, "abc", 3, &e), 0);
        assert_int_equal(b.len, 3 * (i + 1));
        assert_int_equal(b.data[b.len], 0);
    }
    assert_int_equal(strlen(buf_str(&b)), b.len);
    buf_clear(&b);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(buf_printf(&b, &e, "%d-%s", 7, "x"), 0);
    buf_adds(&b, "!");
    buf_addf(&b, "%03d", 5);
    assert_string_equal(buf_str(&b), "7-x!005");
    assert_int_equal(buf_append(&b, NULL, 0, &e), 0);
}

static void cap_holds(void **state)
{
    static const size_t caps[] = {0, 1, 2, 63, 64, 65, 127, 128, 1000};
    char bytes[1001];
    (void)state;
    memset(bytes, 'x', sizeof bytes);
    for (size_t i = 0; i < array_len(caps); i++) {
        _cleanup_(buf_release) struct buf b = BUF_INIT(caps[i]);
        struct err e = ERR_INIT;
        assert_int_equal(buf_append(&b, bytes, caps[i] + 1, &e), ERR_LIMIT);
        assert_int_equal(b.len, 0);
        for (size_t k = 0; k < caps[i]; k++)
            assert_int_equal(buf_append(&b, bytes, 1, &e), 0);
        assert_int_equal(buf_append(&b, bytes, 1, &e), ERR_LIMIT);
        assert_int_equal(buf_printf(&b, &e, "y"), ERR_LIMIT);
        assert_int_equal(buf_reserve(&b, SIZE_MAX, &e), ERR_LIMIT);
        assert_int_equal(b.len, caps[i]);
        assert_true(b.size <= caps[i] + 1);
        assert_int_equal(strlen(buf_str(&b)), caps[i]);
    }
}

static void filled_from_outside(void **state)
{
    _cleanup_(buf_wipe_release) struct buf b = BUF_INIT(SIZE_MAX);
    struct err e = ERR_INIT;
    (void)state;
    assert_int_equal(buf_reserve(&b, SIZE_MAX, &e), ERR_LIMIT);
    assert_int_equal(buf_reserve(&b, 100, &e), 0);
    memset(b.data, 'z', 100);
    b.len = 100;
    assert_int_equal(strlen(buf_str(&b)), 100);
}

static void taken_and_swapped(void **state)
{
    _cleanup_(buf_release) struct buf a = BUF_INIT(10), b = BUF_INIT(20);
    (void)state;
    buf_adds(&a, "one");
    buf_swap(&a, &b);
    assert_int_equal(a.len, 0);
    assert_int_equal(a.max, 20);
    assert_string_equal(buf_str(&b), "one");
    _cleanup_free_ char *text = buf_take(&b);
    assert_string_equal(text, "one");
    assert_int_equal(b.len, 0);
    _cleanup_free_ char *nothing = buf_take(&b);
    assert_string_equal(nothing, "");
    buf_adds(&b, "again");
    assert_string_equal(buf_str(&b), "again");
}

static void memory(void **state)
{
    (void)state;
    uint32_t *a = NULL;
    size_t n = 0, cap = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        mem_grow(&a, n, &cap, sizeof *a);
        assert_true(cap > n);
        a[n++] = i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(a[i], i);
    free(a);
    _cleanup_free_ char *zeros = mem_array(3, 5), *some = str_ndup("abcdef", 3),
                        *text = str_fmt("%s/%d", "a", 4), *none = mem_dup(NULL, 0);
    assert_memory_equal(zeros, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
    assert_string_equal(some, "abc");
    assert_string_equal(text, "a/4");
    assert_non_null(none);
    assert_null(str_dup(NULL));
    mem_wipe(some, 3);
    assert_memory_equal(some, "\0\0\0", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_text),
        cmocka_unit_test(cap_holds),
        cmocka_unit_test(filled_from_outside),
        cmocka_unit_test(taken_and_swapped),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
