/* Ed25519: the vectors of RFC 8032, section 7.1, and signatures that must not pass. */
#include "vectors.h"

#include "crypt/crypt.h"

static const struct {
    const char *secret, *public, *message, *signature;
} vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
     "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da0"
     "85ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac1"
     "8ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

static void the_rfcs_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_len(vectors); i++) {
        struct sign_key k;
        struct err e = ERR_INIT;
        uint8_t public[SIGN_PUBLIC], message[16], expected[SIGN_SIZE], signature[SIGN_SIZE];
        unhex(vectors[i].secret, k.secret);
        unhex(vectors[i].public, public);
        unhex(vectors[i].signature, expected);
        size_t len = unhex(vectors[i].message, message);
        assert_int_equal(sign_key_from_secret(&k, &e), 0);
        assert_memory_equal(k.public, public, sizeof public);
        assert_int_equal(sign(&k, message, len, signature, &e), 0);
        assert_memory_equal(signature, expected, sizeof expected);
        assert_true(sign_verify(public, message, len, signature));
    }
}

static void what_must_not_pass(void **state)
{
    (void)state;
    struct sign_key k, other;
    struct err e = ERR_INIT;
    uint8_t signature[SIGN_SIZE], zero[SIGN_SIZE] = {0};
    char text[] = "restored, checked, 3 m 12 s";
    assert_int_equal(sign_key_random(&k, &e), 0);
    assert_int_equal(sign_key_random(&other, &e), 0);
    assert_memory_not_equal(k.secret, other.secret, SIGN_SECRET);
    assert_int_equal(sign(&k, text, sizeof text, signature, &e), 0);
    assert_true(sign_verify(k.public, text, sizeof text, signature));
    assert_false(sign_verify(other.public, text, sizeof text, signature));
    assert_false(sign_verify(k.public, text, sizeof text - 1, signature));
    assert_false(sign_verify(k.public, text, sizeof text, zero));
    memset(other.public, 0xff, SIGN_PUBLIC); /* not a point of the curve */
    assert_false(sign_verify(other.public, text, sizeof text, signature));
    for (size_t i = 0; i < SIGN_SIZE; i++) {
        signature[i] ^= 0x10;
        assert_false(sign_verify(k.public, text, sizeof text, signature));
        signature[i] ^= 0x10;
    }
    text[0] ^= 1;
    assert_false(sign_verify(k.public, text, sizeof text, signature));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_vectors),
        cmocka_unit_test(what_must_not_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
