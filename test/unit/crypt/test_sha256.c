/* SHA-256 and HMAC against published vectors; contexts per thread. */
#include "vectors.h"

#include "crypt/crypt.h"
#include <pthread.h>

static void assert_id(const struct id *got, const char *hex)
{
    char text[ID_HEX + 1];
    assert_string_equal(id_hex(got, text), hex);
}

#define OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void at_once(void **state)
{
    (void)state;
    struct id id;
    sha256("", 0, &id);
    assert_id(&id, OF_NOTHING);
    sha256(NULL, 0, &id);
    assert_id(&id, OF_NOTHING);
    sha256("abc", 3, &id);
    assert_id(&id, OF_ABC);
    sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, &id);
    assert_id(&id, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void piece_by_piece(void **state)
{
    (void)state;
    _cleanup_(sha256_freep) struct sha256 *h = sha256_new();
    struct id id;
    char a[1000];
    memset(a, 'a', sizeof a);
    for (int i = 0; i < 1000; i++)
        sha256_update(h, a, sizeof a);
    sha256_finish(h, &id);
    assert_id(&id, OF_MILLION_A);
    /* As new: nothing of the first digest is left. */
    sha256_finish(h, &id);
    assert_id(&id, OF_NOTHING);
    sha256_update(h, "a", 1);
    sha256_update(h, NULL, 0);
    sha256_update(h, "bc", 2);
    sha256_finish(h, &id);
    assert_id(&id, OF_ABC);
    sha256_free(NULL);
}

static void *many(void *arg)
{
    bool *good = arg;
    struct id first, id;
    sha256("abc", 3, &first);
    for (int i = 0; i < 2000; i++) {
        sha256("abc", 3, &id);
        if (!id_equal(&id, &first))
            *good = false;
    }
    return NULL;
}

static void in_threads(void **state)
{
    (void)state;
    pthread_t thread[8];
    bool good[8];
    for (int i = 0; i < 8; i++) {
        good[i] = true;
        assert_int_equal(pthread_create(&thread[i], NULL, many, &good[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_true(good[i]);
    }
}

static void hmac(void **state)
{
    (void)state;
    struct id id;
    uint8_t key[131];
    memset(key, 0x0b, 20); /* RFC 4231, cases 1, 2 and 6 */
    hmac_sha256(key, 20, "Hi There", 8, &id);
    assert_id(&id, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, &id);
    assert_id(&id, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54, &id);
    assert_id(&id, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hmac_sha256(NULL, 0, NULL, 0, &id);
    assert_id(&id, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_once),
        cmocka_unit_test(piece_by_piece),
        cmocka_unit_test(in_threads),
        cmocka_unit_test(hmac),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
