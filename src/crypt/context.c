/* What OpenSSL is asked for again and again: algorithms once a process, contexts once a thread. */
#include "base/mem.h"
#include "crypt/crypt_int.h"
#include <openssl/err.h>
#include <pthread.h>

static struct crypt_algorithms
    algorithms; /* never freed: threads may outlive any moment to do so */
static bool algorithms_complete;
static pthread_key_t contexts_key;
static bool contexts_key_made;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct crypt_contexts *own;

static void contexts_free(void *arg)
{
    struct crypt_contexts *c = arg;
    own = NULL;
    EVP_MD_CTX_free(c->sha256);
    EVP_CIPHER_CTX_free(c->stream);
    EVP_CIPHER_CTX_free(c->block);
    EVP_MAC_CTX_free(c->poly1305);
    free(c);
}

static void prepare(void)
{
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    algorithms.aes256_ctr = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
    algorithms.aes128_ecb = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
    algorithms.poly1305 = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    algorithms_complete = algorithms.sha256 != NULL && algorithms.aes256_ctr != NULL &&
                          algorithms.aes128_ecb != NULL && algorithms.poly1305 != NULL;
    contexts_key_made = pthread_key_create(&contexts_key, contexts_free) == 0;
}

int crypt_algorithms(const struct crypt_algorithms **out, struct err *e)
{
    (void)pthread_once(&once, prepare);
    if (!algorithms_complete)
        return err_set(e, ERR_UNSUPPORTED,
                       "this system's OpenSSL does not offer SHA-256, AES-256-CTR, AES-128-ECB and "
                       "Poly1305; activate its \"default\" provider in openssl.cnf");
    if (!contexts_key_made)
        return err_set(e, ERR_INTERNAL, "this process has no thread-specific keys left");
    *out = &algorithms;
    return 0;
}

int crypt_contexts(struct crypt_contexts **out, struct err *e)
{
    if (own != NULL) {
        *out = own;
        return 0;
    }
    const struct crypt_algorithms *a;
    int rc = crypt_algorithms(&a, e);
    if (rc < 0)
        return rc;
    struct crypt_contexts *c = mem_zero(sizeof *c);
    c->sha256 = EVP_MD_CTX_new();
    c->stream = EVP_CIPHER_CTX_new();
    c->block = EVP_CIPHER_CTX_new();
    c->poly1305 = EVP_MAC_CTX_new(a->poly1305);
    if (c->sha256 == NULL || c->stream == NULL || c->block == NULL || c->poly1305 == NULL ||
        pthread_setspecific(contexts_key, c) != 0) {
        contexts_free(c);
        return crypt_fail(e, "prepare a thread for hashing and encryption");
    }
    *out = own = c;
    return 0;
}

int crypt_fail(struct err *e, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return err_set(e, ERR_INTERNAL, "cannot %s: OpenSSL says: %s", what,
                   reason != NULL ? reason : "no reason given");
}

_Noreturn void crypt_die(const char *what)
{
    struct err e = ERR_INIT;
    const struct crypt_algorithms *a;
    if (crypt_algorithms(&a, &e) == 0)
        (void)crypt_fail(&e, what);
    (void)fprintf(stderr, "salvor: %s; nothing that was stored is lost\n", e.msg);
    _exit(1);
}
