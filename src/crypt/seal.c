/* Sealing: AES-256-CTR, then Poly1305-AES over the ciphertext, laid out as iv || ciphertext || mac.
 * Poly1305-AES is Poly1305 under the key r || AES_k(iv), which is how OpenSSL takes it; OpenSSL
 * also masks r as the paper demands. */
#include "base/mem.h"
#include "crypt/crypt_int.h"
#include <openssl/crypto.h>
#include <string.h>

/* What is processed at a time: whole blocks, fits OpenSSL's int lengths and the processor's cache.
 */
enum { STEP = 64 * 1024 };

static int mac(struct crypt_contexts *c, const struct seal_key *k, const uint8_t iv[SEAL_IV],
               const uint8_t *data, size_t len, uint8_t out[SEAL_MAC], struct err *e)
{
    const struct crypt_algorithms *a;
    int rc = crypt_algorithms(&a, e);
    if (rc < 0)
        return rc;
    uint8_t key[32];
    int n = 0;
    size_t made = 0;
    memcpy(key, k->mac_r, 16);
    bool ok = EVP_EncryptInit_ex2(c->block, a->aes128_ecb, k->mac_k, NULL, NULL) == 1 &&
              EVP_CIPHER_CTX_set_padding(c->block, 0) == 1 &&
              EVP_EncryptUpdate(c->block, key + 16, &n, iv, SEAL_IV) == 1 && n == 16 &&
              EVP_MAC_init(c->poly1305, key, sizeof key, NULL) == 1 &&
              EVP_MAC_update(c->poly1305, data, len) == 1 &&
              EVP_MAC_final(c->poly1305, out, &made, SEAL_MAC) == 1 && made == SEAL_MAC;
    mem_wipe(key, sizeof key);
    return ok ? 0 : crypt_fail(e, "compute a Poly1305-AES");
}

/* Encrypts or decrypts (the same in counter mode). `out` may lie before `in` and overlap it: each
 * step is moved to its place and converted there. */
static int stream(struct crypt_contexts *c, const struct seal_key *k, const uint8_t iv[SEAL_IV],
                  const uint8_t *in, size_t len, uint8_t *out, struct err *e)
{
    const struct crypt_algorithms *a;
    int rc = crypt_algorithms(&a, e);
    if (rc < 0)
        return rc;
    if (EVP_EncryptInit_ex2(c->stream, a->aes256_ctr, k->encrypt, iv, NULL) != 1)
        return crypt_fail(e, "start AES-256-CTR");
    bool overlap = out < in + len && in < out + len;
    for (size_t done = 0; done < len;) {
        size_t step = len - done < STEP ? len - done : STEP;
        const uint8_t *from = in + done;
        int n = 0;
        if (overlap) {
            memmove(out + done, from, step);
            from = out + done;
        }
        if (EVP_EncryptUpdate(c->stream, out + done, &n, from, (int)step) != 1 || (size_t)n != step)
            return crypt_fail(e, "run AES-256-CTR");
        done += step;
    }
    return 0;
}

int seal(const struct seal_key *k, const void *data, size_t len, uint8_t *out, struct err *e)
{
    struct crypt_contexts *c;
    int rc = crypt_contexts(&c, e);
    if (rc < 0)
        return rc;
    rc = random_bytes(out, SEAL_IV, e);
    if (rc < 0)
        return rc;
    rc = stream(c, k, out, data, len, out + SEAL_IV, e);
    if (rc < 0)
        return rc;
    return mac(c, k, out, out + SEAL_IV, len, out + SEAL_IV + len, e);
}

int unseal(const struct seal_key *k, const void *data, size_t len, uint8_t *out, struct err *e)
{
    const uint8_t *sealed = data;
    uint8_t expected[SEAL_MAC], iv[SEAL_IV];
    struct crypt_contexts *c;
    if (len < SEAL_OVERHEAD)
        return err_set(e, ERR_CORRUPT,
                       "%zu bytes are too few for encrypted data, which has at least %d", len,
                       SEAL_OVERHEAD);
    int rc = crypt_contexts(&c, e);
    if (rc < 0)
        return rc;
    size_t plain = len - SEAL_OVERHEAD;
    rc = mac(c, k, sealed, sealed + SEAL_IV, plain, expected, e);
    if (rc < 0)
        return rc;
    if (CRYPTO_memcmp(expected, sealed + SEAL_IV + plain, SEAL_MAC) != 0)
        return err_set(e, ERR_CORRUPT,
                       "%zu encrypted bytes were altered or are sealed with another key: their "
                       "authentication code differs",
                       len);
    memcpy(iv, sealed, SEAL_IV); /* the output may replace it */
    return stream(c, k, iv, sealed + SEAL_IV, plain, out, e);
}

int seal_key_random(struct seal_key *k, struct err *e)
{
    return random_bytes(k, sizeof *k, e);
}
