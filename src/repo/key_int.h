/* Key files: the master key, sealed with a key that scrypt makes from a passphrase. */
#ifndef SALVOR_REPO_KEY_INT_H
#define SALVOR_REPO_KEY_INT_H

#include "repo/repo_int.h"

/* Writes a key file that opens r->key with `passphrase`, reads it back and opens it, so that
 * nobody relies on a key that does not work. */
_warn_unused_ int key_create(struct repo *r, const char *passphrase, struct id *out, struct err *e);

/* Tries the key files, most recent first. For each that the passphrase opens, r->key and r->key_id
 * are set and `fn` is asked; 0 from it ends the search with success, ERR_CORRUPT goes on with the
 * next one, anything else ends the search. */
typedef int key_try_fn(struct repo *r, void *arg, struct err *e);
_warn_unused_ int key_search(struct repo *r, const char *passphrase, key_try_fn *fn, void *arg,
                             struct err *e);

#endif
