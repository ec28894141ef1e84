/* Keys from passphrases: the vectors of RFC 7914, and limits that a hostile key file runs into. */
#include "vectors.h"

#include "crypt/crypt.h"

static void the_rfcs_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *passphrase, *salt;
        struct scrypt_params params;
        const char *key;
    } vectors[] = {
        {"",
         "",
         {16, 1, 1},
         "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
         "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"},
        {"password",
         "NaCl",
         {1024, 8, 16},
         "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
         "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"},
        {"pleaseletmein",
         "SodiumChloride",
         {16384, 8, 1},
         "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
         "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"},
    };
    for (size_t i = 0; i < array_len(vectors); i++) {
        struct seal_key k;
        uint8_t expected[64];
        struct err e = ERR_INIT;
        unhex(vectors[i].key, expected);
        assert_int_equal(scrypt_key(vectors[i].passphrase, vectors[i].salt, strlen(vectors[i].salt),
                                    &vectors[i].params, &k, &e),
                         0);
        assert_memory_equal(&k, expected, sizeof expected);
    }
}

static void limits(void **state)
{
    (void)state;
    static const struct scrypt_params outside[] = {
        {0, 8, 1},
        {1, 8, 1},
        {3, 8, 1},
        {1000, 8, 1},
        {1 << 23, 8, 1},
        {16, 0, 1},
        {16, 8, 0},
        {16, 33, 1},
        {16, 8, 33},
        {16, UINT32_MAX, UINT32_MAX},
        {UINT64_C(1) << 63, 8, 1},
        {UINT64_MAX, 8, 1},
        {1 << 16, 1, 1},
    };
    struct seal_key k;
    for (size_t i = 0; i < array_len(outside); i++) {
        struct err e = ERR_INIT;
        assert_int_equal(scrypt_key("x", "y", 1, &outside[i], &k, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "scrypt parameter"));
    }
    struct err e = ERR_INIT;
    struct scrypt_params least = {2, 1, 1}, widest = {16, 32, 32};
    assert_int_equal(scrypt_key("x", NULL, 0, &least, &k, &e), 0);
    assert_int_equal(scrypt_key("x", "y", 1, &widest, &k, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_vectors),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
