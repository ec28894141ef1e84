/* Keys: each file in keys/ holds the master key, sealed with a key that scrypt makes from one
 * passphrase. Format: restic doc/design.rst, "Keys, Encryption and MAC". */
#include "base/host.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/key_int.h"

enum {
    KEY_FILE_MOST = 64 << 10, /* bytes */
    KEYS_TRIED_MOST = 20,     /* each try costs a fraction of a second, on purpose */
    SALT_SIZE = 64,
    /* OWASP's least for scrypt; restic's own calibration arrives near it. */
    SCRYPT_N = 1 << 15,
    SCRYPT_N_TEST = 1 << 10,
    SCRYPT_R = 8,
    SCRYPT_P = 3,
};

struct key_file {
    struct id id;
    struct timespec created;
    char *user, *host;
    struct scrypt_params kdf;
    struct buf salt, data;
};

struct key_list {
    struct key_file *key;
    size_t n, cap;
    size_t damaged;
    struct err why; /* of the first damaged one */
};

static void key_file_release(struct key_file *k)
{
    free(k->user);
    free(k->host);
    buf_release(&k->salt);
    buf_release(&k->data);
}

static void key_list_release(struct key_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        key_file_release(&l->key[i]);
    free(l->key);
}

/* ---- reading ---- */

static uint32_t get_u32(struct json_in *in)
{
    uint64_t v = json_get_u64(in);
    if (v > UINT32_MAX)
        json_in_fail(in, "number too large");
    return (uint32_t)v;
}

static int key_parse(const struct buf *json, const char *what, struct key_file *k, struct err *e)
{
    struct json_in in;
    const char *key;
    bool scrypt = false;
    json_in_init(&in, json->data, json->len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "created") == 0) {
            k->created = json_get_time(&in);
        } else if (strcmp(key, "username") == 0) {
            free(k->user);
            k->user = json_get_text(&in);
        } else if (strcmp(key, "hostname") == 0) {
            free(k->host);
            k->host = json_get_text(&in);
        } else if (strcmp(key, "kdf") == 0) {
            scrypt = strcmp(json_get_string(&in, NULL), "scrypt") == 0;
        } else if (strcmp(key, "N") == 0) {
            k->kdf.n = json_get_u64(&in);
        } else if (strcmp(key, "r") == 0) {
            k->kdf.r = get_u32(&in);
        } else if (strcmp(key, "p") == 0) {
            k->kdf.p = get_u32(&in);
        } else if (strcmp(key, "salt") == 0) {
            json_get_base64(&in, &k->salt);
        } else if (strcmp(key, "data") == 0) {
            json_get_base64(&in, &k->data);
        } else {
            json_skip(&in);
        }
    }
    int rc = json_in_finish(&in, what, e);
    if (rc != 0)
        return rc;
    if (!scrypt)
        return err_set(e, ERR_UNSUPPORTED, "%s is not made with scrypt", what);
    if (k->salt.len == 0 || k->data.len <= SEAL_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "%s has no salt or no data", what);
    return 0;
}

static int key_load(struct repo *r, const struct id *id, struct key_file *k, struct err *e)
{
    char name[REPO_NAME_MAX];
    (void)repo_file_name("keys", id, name);
    _cleanup_(buf_release) struct buf raw = BUF_INIT(KEY_FILE_MOST);
    *k = (struct key_file){.id = *id,
                           .salt = BUF_INIT(KEY_FILE_MOST),
                           .data = BUF_INIT(KEY_FILE_MOST)};
    int rc = store_get(r->store, name, 0, STORE_TO_END, &raw, e);
    if (rc == ERR_LIMIT)
        return err_set(e, ERR_CORRUPT, "%s in %s is damaged: too large for a key", name,
                       store_address(r->store));
    if (rc != 0)
        return rc;
    struct id is;
    sha256(raw.data, raw.len, &is);
    if (!id_equal(&is, id))
        return err_set(e, ERR_CORRUPT,
                       "%s in %s is damaged: its %zu bytes do not have the SHA-256 that it is "
                       "named after; bring it back from a mirror",
                       name, store_address(r->store), raw.len);
    _cleanup_free_ char *what = str_fmt("%s in %s", name, store_address(r->store));
    return key_parse(&raw, what, k, e);
}

static int newest_first(const void *a, const void *b)
{
    const struct key_file *x = a, *y = b;
    int c = timespec_compare(y->created, x->created);
    return c != 0 ? c : id_compare(&x->id, &y->id);
}

/* All keys, newest first. One that is damaged or vanished meanwhile does not keep the others from
 * being tried. */
static int key_list_load(struct repo *r, struct key_list *l, struct err *e)
{
    _cleanup_(id_list_release) struct id_list ids = {0};
    int rc = repo_list_files(r, "keys", &ids, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ids.n; i++) {
        struct key_file k;
        struct err why = ERR_INIT;
        rc = key_load(r, &ids.id[i], &k, &why);
        if (rc == 0) {
            mem_grow(&l->key, l->n, &l->cap, sizeof *l->key);
            l->key[l->n++] = k;
            continue;
        }
        key_file_release(&k);
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc != ERR_CORRUPT && rc != ERR_UNSUPPORTED) {
            *e = why;
            return rc;
        }
        if (l->damaged++ == 0)
            l->why = why;
    }
    if (l->n > 1)
        qsort(l->key, l->n, sizeof *l->key, newest_first);
    return 0;
}

static int get_exactly(struct json_in *in, uint8_t *out, size_t len)
{
    _cleanup_(buf_wipe_release) struct buf b = BUF_INIT(64);
    json_get_base64(in, &b);
    if (b.len != len) {
        json_in_fail(in, "a part of the master key has a wrong length");
        return 0;
    }
    memcpy(out, b.data, len);
    return 1;
}

static int master_parse(const uint8_t *json, size_t len, struct seal_key *out, struct err *e)
{
    struct json_in in;
    const char *key;
    int parts = 0;
    json_in_init(&in, json, len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "encrypt") == 0) {
            parts += get_exactly(&in, out->encrypt, sizeof out->encrypt);
        } else if (strcmp(key, "mac") == 0) {
            json_object(&in);
            while ((key = json_next_key(&in)) != NULL) {
                if (strcmp(key, "k") == 0)
                    parts += get_exactly(&in, out->mac_k, sizeof out->mac_k);
                else if (strcmp(key, "r") == 0)
                    parts += get_exactly(&in, out->mac_r, sizeof out->mac_r);
                else
                    json_skip(&in);
            }
        } else {
            json_skip(&in);
        }
    }
    int rc = json_in_finish(&in, "the master key", e);
    if (rc == 0 && parts != 3)
        rc = err_set(e, ERR_CORRUPT, "the master key is incomplete");
    return rc;
}

/* ERR_PASSPHRASE when the passphrase is not this key's. */
static int key_open(const struct key_file *k, const char *passphrase, struct seal_key *out,
                    struct err *e)
{
    char hex[ID_SHORT + 1];
    struct seal_key user;
    int rc = scrypt_key(passphrase, k->salt.data, k->salt.len, &k->kdf, &user, e);
    if (rc != 0)
        return err_prefix(e, "key %s", id_short(&k->id, hex));
    _cleanup_(buf_wipe_release) struct buf plain = BUF_INIT(KEY_FILE_MOST);
    rc = buf_reserve(&plain, k->data.len, e);
    if (rc == 0)
        rc = unseal(&user, k->data.data, k->data.len, plain.data, e);
    mem_wipe(&user, sizeof user);
    if (rc == ERR_CORRUPT)
        return err_set(e, ERR_PASSPHRASE, "key %s does not open with this passphrase",
                       id_short(&k->id, hex));
    if (rc != 0)
        return rc;
    rc = master_parse(plain.data, k->data.len - SEAL_OVERHEAD, out, e);
    return rc != 0 ? err_prefix(e, "key %s", id_short(&k->id, hex)) : 0;
}

/* ---- searching ---- */

/* No key opened: says why, as well as can be known. */
static int search_failed(struct repo *r, const struct key_list *l, struct err *e)
{
    const char *address = store_address(r->store);
    if (l->n == 0 && l->damaged == 0)
        return err_set(e, ERR_CORRUPT,
                       "%s holds a repository, but no key files (keys/): without one it cannot be "
                       "opened; bring them back from a mirror",
                       address);
    if (l->damaged > 0)
        return err_set(e, l->why.code, "%s%s", l->why.msg,
                       l->n > 0 ? "; the other keys do not open with this passphrase" : "");
    (void)err_set(e, ERR_PASSPHRASE, "no key of %s opens with this passphrase", address);
    if (l->n > KEYS_TRIED_MOST)
        (void)err_hint(e, "only the %d most recent of %zu keys were tried", KEYS_TRIED_MOST, l->n);
    return ERR_PASSPHRASE;
}

int key_search(struct repo *r, const char *passphrase, key_try_fn *fn, void *arg, struct err *e)
{
    _cleanup_(key_list_release) struct key_list l = {0};
    int rc = key_list_load(r, &l, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < l.n && i < KEYS_TRIED_MOST; i++) {
        struct err why = ERR_INIT;
        rc = key_open(&l.key[i], passphrase, &r->key, &why);
        if (rc == 0) {
            r->key_id = l.key[i].id;
            rc = fn(r, arg, &why);
            if (rc == 0)
                return 0;
        }
        if (rc == ERR_CORRUPT && l.damaged++ == 0)
            l.why = why;
        if (rc != ERR_CORRUPT && rc != ERR_PASSPHRASE) {
            *e = why;
            return rc;
        }
    }
    return search_failed(r, &l, e);
}

/* ---- writing ---- */

static int master_build(const struct seal_key *k, struct buf *out, struct err *e)
{
    struct json_out j;
    json_out_init(&j, out);
    json_begin_object(&j);
    json_key(&j, "mac");
    json_begin_object(&j);
    json_key(&j, "k");
    json_put_base64(&j, k->mac_k, sizeof k->mac_k);
    json_key(&j, "r");
    json_put_base64(&j, k->mac_r, sizeof k->mac_r);
    json_end_object(&j);
    json_key(&j, "encrypt");
    json_put_base64(&j, k->encrypt, sizeof k->encrypt);
    json_end_object(&j);
    return json_out_finish(&j, e);
}

static int key_build(struct repo *r, const struct scrypt_params *kdf, const uint8_t *salt,
                     const struct buf *data, struct buf *out, struct err *e)
{
    _cleanup_free_ char *user = host_user(), *host = host_name();
    struct json_out j;
    json_out_init(&j, out);
    json_begin_object(&j);
    json_time(&j, "created", clock_wall(r->clock));
    json_text(&j, "username", user);
    json_text(&j, "hostname", host);
    json_text(&j, "kdf", "scrypt");
    json_u64(&j, "N", kdf->n);
    json_u64(&j, "r", kdf->r);
    json_u64(&j, "p", kdf->p);
    json_key(&j, "salt");
    json_put_base64(&j, salt, SALT_SIZE);
    json_key(&j, "data");
    json_put_base64(&j, data->data, data->len);
    json_end_object(&j);
    return json_out_finish(&j, e);
}

/* The master key as JSON, sealed with the key of a passphrase. */
static int key_seal(const struct repo *r, const struct seal_key *user, struct buf *out,
                    struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf plain = BUF_INIT(KEY_FILE_MOST);
    int rc = buf_reserve(&plain, 1024, e); /* so that it is not copied as it grows */
    if (rc == 0)
        rc = master_build(&r->key, &plain, e);
    if (rc == 0)
        rc = buf_reserve(out, plain.len + SEAL_OVERHEAD, e);
    if (rc == 0)
        rc = seal(user, plain.data, plain.len, out->data, e);
    if (rc == 0)
        out->len = plain.len + SEAL_OVERHEAD;
    return rc;
}

static int key_confirm(struct repo *r, const char *passphrase, const struct id *id, struct err *e)
{
    struct key_file k;
    struct seal_key master;
    int rc = key_load(r, id, &k, e);
    if (rc == 0)
        rc = key_open(&k, passphrase, &master, e);
    if (rc == 0 && memcmp(&master, &r->key, sizeof master) != 0)
        rc = err_set(e, ERR_INTERNAL, "it opens another master key");
    mem_wipe(&master, sizeof master);
    key_file_release(&k);
    return rc != 0 ? err_prefix(e, "the new key does not work") : 0;
}

int key_create(struct repo *r, const char *passphrase, struct id *out, struct err *e)
{
    if (passphrase == NULL || passphrase[0] == '\0')
        return err_set(e, ERR_USAGE, "the passphrase is empty; choose one");
    const char *test = getenv("SALVOR_TEST_KDF");
    struct scrypt_params kdf = {SCRYPT_N, SCRYPT_R, SCRYPT_P};
    if (str_eq(test, "fast"))
        kdf = (struct scrypt_params){SCRYPT_N_TEST, SCRYPT_R, 1};
    uint8_t salt[SALT_SIZE];
    struct seal_key user;
    _cleanup_(buf_release) struct buf data = BUF_INIT(KEY_FILE_MOST);
    _cleanup_(buf_release) struct buf json = BUF_INIT(KEY_FILE_MOST);
    int rc = random_bytes(salt, sizeof salt, e);
    if (rc == 0)
        rc = scrypt_key(passphrase, salt, sizeof salt, &kdf, &user, e);
    if (rc == 0)
        rc = key_seal(r, &user, &data, e);
    mem_wipe(&user, sizeof user);
    if (rc == 0)
        rc = key_build(r, &kdf, salt, &data, &json, e);
    if (rc != 0)
        return rc;
    sha256(json.data, json.len, out);
    char name[REPO_NAME_MAX];
    struct piece piece = {json.data, json.len};
    rc = store_put(r->store, repo_file_name("keys", out, name), PUT_REPLACE, &piece, 1, e);
    return rc != 0 ? rc : key_confirm(r, passphrase, out, e);
}

/* ---- what people do with keys ---- */

int repo_key_list(struct repo *r, key_fn *fn, void *arg, struct err *e)
{
    _cleanup_(key_list_release) struct key_list l = {0};
    int rc = key_list_load(r, &l, e);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        const struct key_file *k = &l.key[i];
        struct key_info info = {k->id, k->user, k->host, k->created, id_equal(&k->id, &r->key_id)};
        rc = fn(&info, arg, e);
    }
    if (rc == 0 && l.damaged > 0) {
        *e = l.why;
        rc = e->code;
    }
    return rc;
}

int repo_key_add(struct repo *r, const char *passphrase, struct id *out, struct err *e)
{
    return key_create(r, passphrase, out, e);
}

/* The one id of `l` whose hexadecimal digits begin with `prefix`. */
static int key_by_prefix(const struct id_list *l, const char *prefix, struct id *out, struct err *e)
{
    char hex[ID_HEX + 1];
    size_t matches = 0;
    if (prefix[0] == '\0')
        return err_set(e, ERR_USAGE, "no key named; `salvor key list` shows them");
    for (size_t i = 0; i < l->n; i++) {
        if (str_starts(id_hex(&l->id[i], hex), prefix) && matches++ == 0)
            *out = l->id[i];
    }
    if (matches == 0)
        return err_set(e, ERR_NOT_FOUND, "no key begins with %s; `salvor key list` shows them",
                       prefix);
    if (matches > 1)
        return err_set(e, ERR_USAGE, "%zu keys begin with %s; write more of the id", matches,
                       prefix);
    return 0;
}

int repo_key_remove(struct repo *r, const char *prefix, struct err *e)
{
    _cleanup_(id_list_release) struct id_list ids = {0};
    struct id id;
    char hex[ID_SHORT + 1];
    int rc = repo_list_files(r, "keys", &ids, e);
    if (rc == 0)
        rc = key_by_prefix(&ids, prefix, &id, e);
    if (rc != 0)
        return rc;
    if (ids.n == 1)
        return err_set(e, ERR_REFUSED,
                       "key %s is the last one: without it nothing in the repository could ever be "
                       "read; add another key first",
                       id_short(&id, hex));
    if (id_equal(&id, &r->key_id))
        return err_set(e, ERR_REFUSED,
                       "key %s is the one in use; open the repository with another passphrase to "
                       "remove it",
                       id_short(&id, hex));
    return repo_remove_file(r, "keys", &id, e);
}

int repo_key_change(struct repo *r, const char *passphrase, struct err *e)
{
    struct id new, old = r->key_id;
    int rc = key_create(r, passphrase, &new, e);
    if (rc != 0)
        return rc;
    r->key_id = new;
    rc = repo_remove_file(r, "keys", &old, e);
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        char hex[ID_SHORT + 1];
        return err_hint(e,
                        "the new passphrase works, but the old one does too until `salvor key "
                        "remove %s` succeeds",
                        id_short(&old, hex));
    }
    return 0;
}
