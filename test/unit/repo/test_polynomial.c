/* Irreducible polynomials. */
#include "repo/chunker.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t p = 0;
    for (int i = 0; i < 64; i++)
        p ^= b >> i & 1 ? a << i : 0;
    return p;
}

static void those_that_restic_chose(void **state)
{
    (void)state;
    static const uint64_t chosen[] = {
        0x3da3358b4dc173, /* restic's own tests */
        0x25b468838dcb75, /* doc/design.rst */
    };
    for (size_t i = 0; i < array_len(chosen); i++) {
        assert_true(polynomial_irreducible(chosen[i]));
        assert_false(polynomial_irreducible(chosen[i] ^ 1)); /* x divides it */
    }
}

/* Products of two factors that have no small ones themselves. */
static void products(void **state)
{
    (void)state;
    assert_false(polynomial_irreducible(0));
    assert_false(polynomial_irreducible(multiply(0x4000047, 0x8000027)));
    for (uint64_t a = 3; a < 2000; a += 2) {
        uint64_t b = UINT64_C(1) << (53 - (63 - __builtin_clzll(a))) | 0x2d;
        assert_false(polynomial_irreducible(multiply(a, b)));
    }
}

static void random_ones(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t p;
        assert_int_equal(0, polynomial_random(&p, &e));
        assert_int_equal(p >> 53, 1);
        assert_true(polynomial_irreducible(p));
        assert_true(p != before);
        before = p;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_restic_chose),
        cmocka_unit_test(products),
        cmocka_unit_test(random_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
