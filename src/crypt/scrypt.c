/* A key from a passphrase: scrypt makes 64 bytes, which are restic's three keys in a row. */
#include "base/mem.h"
#include "crypt/crypt_int.h"
#include <inttypes.h>
#include <string.h>

static int check(const struct scrypt_params *s, struct err *e)
{
    if (s->n < 2 || s->n > UINT64_C(1) << 22 || (s->n & (s->n - 1)) != 0)
        return err_set(e, ERR_CORRUPT,
                       "scrypt parameter N is %" PRIu64 ", but must be a power of two up to 2^22",
                       s->n);
    if (s->r < 1 || s->r > 32 || s->p < 1 || s->p > 32)
        return err_set(e, ERR_CORRUPT,
                       "scrypt parameters r and p are %" PRIu32 " and %" PRIu32
                       ", but must be 1 to 32",
                       s->r, s->p);
    if (s->r == 1 && s->n >= UINT64_C(1) << 16) /* RFC 7914, section 2: N < 2^(128 * r / 8) */
        return err_set(e, ERR_CORRUPT,
                       "scrypt parameter N is %" PRIu64 ", but must be below 2^16 with r = 1",
                       s->n);
    return 0;
}

int scrypt_key(const char *passphrase, const void *salt, size_t salt_len,
               const struct scrypt_params *params, struct seal_key *out, struct err *e)
{
    _Static_assert(sizeof *out == 64, "the three keys lie in a row");
    int rc = check(params, e);
    if (rc < 0)
        return rc;
    /* The blocks proper and some room for what OpenSSL needs beside them. */
    uint64_t memory = 128 * params->n * params->r;
    uint64_t most = memory + 128 * (uint64_t)params->p * params->r + (UINT64_C(1) << 20);
    if (EVP_PBE_scrypt(passphrase, strlen(passphrase), salt_len > 0 ? salt : (const void *)"",
                       salt_len, params->n, params->r, params->p, most, (uint8_t *)out,
                       sizeof *out) == 1)
        return 0;
    mem_wipe(out, sizeof *out);
    (void)crypt_fail(e, "derive a key from the passphrase");
    return err_hint(e, "the key asks for %" PRIu64 " MiB of memory", memory >> 20);
}
