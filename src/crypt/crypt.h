/* Cryptography of the repository, by OpenSSL's primitives: hashing, sealing, keys from
 * passphrases, signatures, randomness. Formats: restic doc/design.rst, "Keys, Encryption and MAC";
 * D. J. Bernstein, "The Poly1305-AES message-authentication code"; RFC 7914 (scrypt); RFC 8032. */
#ifndef SALVOR_CRYPT_CRYPT_H
#define SALVOR_CRYPT_CRYPT_H

#include "base/buf.h"
#include "base/id.h"

/* ---- SHA-256 ---- */
void sha256(const void *data, size_t len, struct id *out);
struct sha256; /* incremental */
struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *h, const void *data, size_t len);
void sha256_finish(struct sha256 *h, struct id *out); /* afterwards it is as new */
void sha256_free(struct sha256 *h);
void sha256_freep(struct sha256 **h);

/* ---- sealing: AES-256-CTR, then Poly1305-AES over the ciphertext ---- */
enum { SEAL_IV = 16, SEAL_MAC = 16, SEAL_OVERHEAD = 32 };

struct seal_key {
    uint8_t encrypt[32];
    uint8_t mac_k[16];
    uint8_t mac_r[16]; /* unmasked or masked: it is masked where it is used */
};

/* Writes iv || ciphertext || mac, len + SEAL_OVERHEAD bytes, to out, which must not overlap data.
 * The initialisation vector is fresh from the system's generator. */
_warn_unused_ int seal(const struct seal_key *k, const void *data, size_t len, uint8_t *out,
                       struct err *e);
/* Checks the MAC (in constant time) before it decrypts; writes len - SEAL_OVERHEAD bytes to out,
 * which may be `data` itself. ERR_CORRUPT if it is too short or the MAC differs. */
_warn_unused_ int unseal(const struct seal_key *k, const void *data, size_t len, uint8_t *out,
                         struct err *e);
_warn_unused_ int seal_key_random(struct seal_key *k, struct err *e);

/* ---- a key from a passphrase ---- */
struct scrypt_params {
    uint64_t n;    /* power of two, at most 2^22 */
    uint32_t r, p; /* 1 to 32 each */
};
/* ERR_CORRUPT if the parameters are outside these limits (they come from a key file). */
_warn_unused_ int scrypt_key(const char *passphrase, const void *salt, size_t salt_len,
                             const struct scrypt_params *params, struct seal_key *out,
                             struct err *e);

/* ---- signatures: Ed25519 ---- */
enum { SIGN_SECRET = 32, SIGN_PUBLIC = 32, SIGN_SIZE = 64 };
struct sign_key {
    uint8_t secret[SIGN_SECRET];
    uint8_t public[SIGN_PUBLIC];
};
_warn_unused_ int sign_key_random(struct sign_key *k, struct err *e);
/* Fills `public` from `secret`. */
_warn_unused_ int sign_key_from_secret(struct sign_key *k, struct err *e);
_warn_unused_ int sign(const struct sign_key *k, const void *data, size_t len,
                       uint8_t out[SIGN_SIZE], struct err *e);
bool sign_verify(const uint8_t public[SIGN_PUBLIC], const void *data, size_t len,
                 const uint8_t signature[SIGN_SIZE]);

/* ---- randomness ---- */
_warn_unused_ int random_bytes(void *out, size_t len, struct err *e);
/* HMAC-SHA-256. */
void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, struct id *out);

/* Keeps this process's memory out of core dumps and away from debuggers of the same user. */
void secrets_protect_process(void);

#endif
