/* Sealing: what goes in comes out, every altered bit is found, and the authentication code is that
 * of the paper "The Poly1305-AES message-authentication code", appendix B. */
#include "vectors.h"

#include "crypt/crypt.h"
#include <stdlib.h>

static struct seal_key some_key(void)
{
    struct err e = ERR_INIT;
    struct seal_key k;
    assert_int_equal(seal_key_random(&k, &e), 0);
    return k;
}

static void fill(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 131 + i / 251);
}

static void there_and_back(void **state)
{
    (void)state;
    const size_t sizes[] = {0,      1,       15,     16,        17,
                            255,    4096,    65535,  64 * 1024, 64 * 1024 + 1,
                            200000, 1 << 20, 5000001};
    struct seal_key k = some_key();
    for (size_t i = 0; i < array_len(sizes); i++) {
        size_t len = sizes[i];
        struct err e = ERR_INIT;
        uint8_t *plain = test_malloc(len + 1), *sealed = test_malloc(len + SEAL_OVERHEAD),
                *back = test_malloc(len + 1);
        fill(plain, len);
        assert_int_equal(seal(&k, plain, len, sealed, &e), 0);
        assert_int_equal(unseal(&k, sealed, len + SEAL_OVERHEAD, back, &e), 0);
        assert_memory_equal(plain, back, len);
        /* In place: the plaintext lands where the initialisation vector was. */
        assert_int_equal(unseal(&k, sealed, len + SEAL_OVERHEAD, sealed, &e), 0);
        assert_memory_equal(plain, sealed, len);
        test_free(plain);
        test_free(sealed);
        test_free(back);
    }
}

static void never_twice_the_same(void **state)
{
    (void)state;
    struct seal_key k = some_key();
    struct err e = ERR_INIT;
    uint8_t a[3 + SEAL_OVERHEAD], b[3 + SEAL_OVERHEAD];
    assert_int_equal(seal(&k, "abc", 3, a, &e), 0);
    assert_int_equal(seal(&k, "abc", 3, b, &e), 0);
    assert_memory_not_equal(a, b, SEAL_IV);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct seal_key k = some_key(), other = some_key();
    uint8_t sealed[5 + SEAL_OVERHEAD], out[5 + SEAL_OVERHEAD];
    struct err e = ERR_INIT;
    assert_int_equal(seal(&k, "hello", 5, sealed, &e), 0);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(unseal(&k, sealed, sizeof sealed, out, &e), ERR_CORRUPT);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len < sizeof sealed; len++)
        assert_int_equal(unseal(&k, sealed, len, out, &e), ERR_CORRUPT);
    assert_int_equal(unseal(&other, sealed, sizeof sealed, out, &e), ERR_CORRUPT);
    assert_false(e.retryable);
    assert_int_equal(unseal(&k, sealed, sizeof sealed, out, &e), 0);
    assert_memory_equal(out, "hello", 5);
}

static void the_papers_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *message, *r, *k, *nonce, *mac;
    } vectors[] = {
        {"f3f6", "851fc40c3467ac0be05cc20404f3f700", "ec074c835580741701425b623235add6",
         "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"},
        {"", "a0f3080000f46400d0c7e9076c834403", "75deaa25c09f208e1dc4ce6b5cad3fbf",
         "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7"},
        {"663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
         "48443d0bb0d21109c89a100b5ce2c208", "6acb5f61a7176dd320c5c1eb2edcdc74",
         "ae212a55399729595dea458bc621ff0e", "0ee1c16bb73f0f4fd19881753c01cdbe"},
    };
    for (size_t i = 0; i < array_len(vectors); i++) {
        struct seal_key k = {{0}, {0}, {0}};
        uint8_t sealed[128], out[128];
        struct err e = ERR_INIT;
        unhex(vectors[i].r, k.mac_r);
        unhex(vectors[i].k, k.mac_k);
        size_t n = unhex(vectors[i].nonce, sealed);
        n += unhex(vectors[i].message, sealed + n);
        n += unhex(vectors[i].mac, sealed + n);
        assert_int_equal(unseal(&k, sealed, n, out, &e), 0);
        /* r is masked where it is used: the bits that the mask clears do not matter. */
        k.mac_r[3] |= 0xf0;
        k.mac_r[4] |= 0x03;
        assert_int_equal(unseal(&k, sealed, n, out, &e), 0);
        sealed[n - 1] ^= 1;
        assert_int_equal(unseal(&k, sealed, n, out, &e), ERR_CORRUPT);
    }
}

/* The counter carries through all of its 128 bits, as NIST SP 800-38A demands: after the block of
 * ones comes the block of zeros. With r = 0 the authentication code of anything is AES_k(iv). */
static void the_counter_carries(void **state)
{
    (void)state;
    struct seal_key k = {{0}, {0}, {0}};
    uint8_t sealed[32 + SEAL_OVERHEAD] = {0}, out[32], second[16];
    struct err e = ERR_INIT;
    memset(sealed, 0xff, SEAL_IV);
    unhex("3f5b8cc9ea855a0afa7347d23e8d664e", sealed + SEAL_IV + 32);
    assert_int_equal(unseal(&k, sealed, sizeof sealed, out, &e), 0);
    unhex("dc95c078a2408989ad48a21492842087", second); /* AES-256 of zeros under zeros */
    assert_memory_equal(out + 16, second, sizeof second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(never_twice_the_same),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(the_papers_vectors),
        cmocka_unit_test(the_counter_carries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
