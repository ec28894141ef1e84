/* SHA-256, at once and piece by piece, and HMAC over it. A digest that fails has no meaning to a
 * caller (memory ran out, or OpenSSL is broken), so these end the program instead. */
#include "base/mem.h"
#include "crypt/crypt_int.h"

struct sha256 {
    EVP_MD_CTX *ctx;
};

static void begin(EVP_MD_CTX *ctx)
{
    struct err e = ERR_INIT;
    const struct crypt_algorithms *a;
    if (crypt_algorithms(&a, &e) < 0 || EVP_DigestInit_ex2(ctx, a->sha256, NULL) != 1)
        crypt_die("compute a SHA-256");
}

static void add(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    if (len > 0 && EVP_DigestUpdate(ctx, data, len) != 1)
        crypt_die("compute a SHA-256");
}

static void end(EVP_MD_CTX *ctx, struct id *out)
{
    if (EVP_DigestFinal_ex(ctx, out->byte, NULL) != 1)
        crypt_die("compute a SHA-256");
}

void sha256(const void *data, size_t len, struct id *out)
{
    struct err e = ERR_INIT;
    struct crypt_contexts *c;
    if (crypt_contexts(&c, &e) < 0)
        crypt_die("compute a SHA-256");
    begin(c->sha256);
    add(c->sha256, data, len);
    end(c->sha256, out);
}

struct sha256 *sha256_new(void)
{
    struct sha256 *h = mem_zero(sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL)
        crypt_die("compute a SHA-256");
    begin(h->ctx);
    return h;
}

void sha256_update(struct sha256 *h, const void *data, size_t len)
{
    add(h->ctx, data, len);
}

void sha256_finish(struct sha256 *h, struct id *out)
{
    end(h->ctx, out);
    begin(h->ctx);
}

void sha256_free(struct sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void sha256_freep(struct sha256 **h)
{
    sha256_free(*h);
}

void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, struct id *out)
{
    size_t made = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA2-256", NULL, key_len > 0 ? key : "", key_len,
                  len > 0 ? data : (const void *)"", len, out->byte, ID_SIZE, &made) == NULL ||
        made != ID_SIZE)
        crypt_die("compute an HMAC-SHA-256");
}
