/* Ed25519 signatures: manifests and evidence are signed by a key of salvor's own. */
#include "base/mem.h"
#include "crypt/crypt_int.h"
#include <openssl/err.h>

static void pkey_freep(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

static void md_ctx_freep(EVP_MD_CTX **p)
{
    EVP_MD_CTX_free(*p);
}

int sign_key_random(struct sign_key *k, struct err *e)
{
    int rc = random_bytes(k->secret, SIGN_SECRET, e);
    if (rc < 0)
        return rc;
    return sign_key_from_secret(k, e);
}

int sign_key_from_secret(struct sign_key *k, struct err *e)
{
    size_t len = SIGN_PUBLIC;
    _cleanup_(pkey_freep) EVP_PKEY *p =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->secret, SIGN_SECRET);
    if (p == NULL || EVP_PKEY_get_raw_public_key(p, k->public, &len) != 1 || len != SIGN_PUBLIC)
        return crypt_fail(e, "make the public part of a signing key");
    return 0;
}

int sign(const struct sign_key *k, const void *data, size_t len, uint8_t out[SIGN_SIZE],
         struct err *e)
{
    size_t made = SIGN_SIZE;
    _cleanup_(pkey_freep) EVP_PKEY *p =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->secret, SIGN_SECRET);
    _cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (p == NULL || ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, p) != 1 ||
        EVP_DigestSign(ctx, out, &made, len > 0 ? data : "", len) != 1 || made != SIGN_SIZE)
        return crypt_fail(e, "sign");
    return 0;
}

bool sign_verify(const uint8_t public[SIGN_PUBLIC], const void *data, size_t len,
                 const uint8_t signature[SIGN_SIZE])
{
    _cleanup_(pkey_freep) EVP_PKEY *p =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, SIGN_PUBLIC);
    _cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = p != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, p) == 1 &&
                EVP_DigestVerify(ctx, signature, SIGN_SIZE, len > 0 ? data : "", len) == 1;
    ERR_clear_error(); /* a bad signature leaves its reason in the thread's queue */
    return good;
}
