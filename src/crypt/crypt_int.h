/* Inside of the crypt room: what its files share of OpenSSL. */
#ifndef SALVOR_CRYPT_CRYPT_INT_H
#define SALVOR_CRYPT_CRYPT_INT_H

#include "crypt/crypt.h"
#include <openssl/evp.h>

/* Looking an algorithm up costs more than hashing a small blob, so it is done once a process... */
struct crypt_algorithms {
    EVP_MD *sha256;
    EVP_CIPHER *aes256_ctr;
    EVP_CIPHER *aes128_ecb;
    EVP_MAC *poly1305;
};

/* ... and making a context is done once a thread; they are freed when the thread ends. */
struct crypt_contexts {
    EVP_MD_CTX *sha256;
    EVP_CIPHER_CTX *stream; /* AES-256-CTR */
    EVP_CIPHER_CTX *block;  /* AES-128-ECB, for one block: the nonce of Poly1305-AES */
    EVP_MAC_CTX *poly1305;
};

/* ERR_UNSUPPORTED if this OpenSSL lacks one of them. */
_warn_unused_ int crypt_algorithms(const struct crypt_algorithms **out, struct err *e);
_warn_unused_ int crypt_contexts(struct crypt_contexts **out, struct err *e);

/* ERR_INTERNAL "cannot <what>: <OpenSSL's reason>". */
int crypt_fail(struct err *e, const char *what);
/* For functions that cannot fail: one line to standard error, exit status 1. */
_Noreturn void crypt_die(const char *what);

#endif
