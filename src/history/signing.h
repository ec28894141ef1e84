/* salvor's own signing key (Ed25519): made on first use in the state directory, mode 600, apart
 * from the repository and its passphrase; or given by the configuration or $SALVOR_SIGNING_KEY /
 * $SALVOR_SIGNING_KEY_FILE. */
#ifndef SALVOR_HISTORY_SIGNING_H
#define SALVOR_HISTORY_SIGNING_H

#include "base/text.h"
#include "crypt/crypt.h"

struct signing {
    struct sign_key key;
    bool has_key;
    struct str_list trusted; /* public keys in base64: our own first, then the pinned ones */
};

/* `given` is the key's text (base64 of 32 bytes) or NULL: then the environment, then `path`, which
 * is made when missing and `make` is set; without `make` there is no key then, and nothing but
 * checking can be done. `path` may be NULL: there is no place for a key. What was named but is not
 * there, or holds no key, is an error. A key file that others can read is ERR_REFUSED. */
_warn_unused_ int signing_load(struct signing *s, const char *given, const char *path, bool make,
                               struct err *e);
void signing_trust(struct signing *s, const char *public_base64);
void signing_release(struct signing *s);

/* manifest.sig: "salvor-ed25519 <public key base64> <signature base64>\n". Appends. */
_warn_unused_ int signing_sign(const struct signing *s, const void *data, size_t len,
                               struct buf *out, struct err *e);
/* ERR_CORRUPT when the signature does not fit the data; ERR_REFUSED when it fits but by a key that
 * is not trusted (the message shows the key and how to pin it). */
_warn_unused_ int signing_check(const struct signing *s, const void *data, size_t len,
                                const char *sig, size_t sig_len, struct err *e);

#endif
