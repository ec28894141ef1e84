/* A repository as a whole: making one, opening one, and its whole files (config, snapshots, index,
 * locks), each sealed and named by the SHA-256 of its stored bytes. Format: restic doc/design.rst,
 * "Repository Format" and "Unpacked Data Format". */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/chunker.h"
#include "repo/key_int.h"
#include "repo/lock_int.h"
#include <stdio.h>

enum {
    VERSION_LEAST = 1,
    VERSION_MOST = 2,
    ENCODING_ZSTD = 2, /* first byte of a compressed file; JSON begins with { or [ */
    FILE_LEVEL = 3,    /* of zstd, for files: they are small and read often */
    PACK_SIZE = 16 << 20,
    UPLOAD_THREADS_MOST = 4,
};

/* ---- files ---- */

char *repo_file_name(const char *dir, const struct id *id, char out[REPO_NAME_MAX])
{
    char hex[ID_HEX + 1];
    (void)id_hex(id, hex);
    if (strcmp(dir, "data") == 0)
        (void)snprintf(out, REPO_NAME_MAX, "data/%.2s/%s", hex, hex);
    else
        (void)snprintf(out, REPO_NAME_MAX, "%s/%s", dir, hex);
    return out;
}

/* Takes the encoding of a file's plaintext off, in place. */
static int file_decode(const struct repo *r, struct buf *plain, size_t most, struct err *e)
{
    if (r->version < 2 || plain->len == 0 || plain->data[0] == '{' || plain->data[0] == '[')
        return 0;
    if (plain->data[0] != ENCODING_ZSTD)
        return err_set(e, ERR_UNSUPPORTED,
                       "it has the unknown encoding %u: written by a newer program?",
                       (unsigned)plain->data[0]);
    _cleanup_(buf_release) struct buf json = BUF_INIT(most);
    int rc = zstd_unpack(plain->data + 1, plain->len - 1, most, &json, e);
    if (rc == 0)
        buf_swap(plain, &json);
    return rc;
}

int repo_load_file(struct repo *r, const char *dir, const struct id *id, struct buf *out,
                   struct err *e)
{
    char name[REPO_NAME_MAX];
    (void)repo_file_name(dir, id, name);
    _cleanup_(buf_release) struct buf raw = BUF_INIT(BUF_JSON);
    int rc = store_get(r->store, name, 0, STORE_TO_END, &raw, e);
    if (rc != 0)
        return rc;
    struct id is;
    sha256(raw.data, raw.len, &is);
    if (!id_equal(&is, id))
        return err_set(e, ERR_CORRUPT,
                       "%s in %s is damaged: its %zu bytes do not have the SHA-256 that it is "
                       "named after",
                       name, store_address(r->store), raw.len);
    rc = unseal(&r->key, raw.data, raw.len, raw.data, e);
    if (rc == 0) {
        raw.len -= SEAL_OVERHEAD;
        rc = file_decode(r, &raw, BUF_JSON, e);
    }
    if (rc != 0)
        return err_prefix(e, "%s in %s cannot be read", name, store_address(r->store));
    return buf_append(out, raw.data, raw.len, e);
}

/* Seals `plain` and puts it under its own hash, or under `name` if there is one. */
static int file_put(struct store *s, const struct seal_key *key, const char *dir, const char *name,
                    const struct buf *plain, struct id *out, struct err *e)
{
    _cleanup_(buf_release) struct buf sealed = BUF_INIT(BUF_JSON);
    int rc = buf_reserve(&sealed, plain->len + SEAL_OVERHEAD, e);
    if (rc == 0)
        rc = seal(key, plain->data, plain->len, sealed.data, e);
    if (rc != 0)
        return rc;
    sealed.len = plain->len + SEAL_OVERHEAD;
    sha256(sealed.data, sealed.len, out);
    char own[REPO_NAME_MAX];
    struct piece piece = {sealed.data, sealed.len};
    return store_put(s, name != NULL ? name : repo_file_name(dir, out, own),
                     name != NULL ? PUT_NEW : PUT_REPLACE, &piece, 1, e);
}

int repo_save_file(struct repo *r, const char *dir, const void *json, size_t len, struct id *out,
                   struct err *e)
{
    _cleanup_(buf_release) struct buf plain = BUF_INIT(BUF_JSON);
    int rc = 0;
    if (r->version >= 2) {
        rc = buf_append(&plain, &(uint8_t){ENCODING_ZSTD}, 1, e);
        if (rc == 0)
            rc = zstd_pack(json, len, FILE_LEVEL, &plain, e);
    } else {
        rc = buf_append(&plain, json, len, e);
    }
    return rc != 0 ? rc : file_put(r->store, &r->key, dir, NULL, &plain, out, e);
}

static int list_one(const struct store_object *o, void *arg, struct err *e)
{
    (void)e;
    struct id id;
    const char *base = path_base(o->name);
    if (id_parse(base, strlen(base), &id)) /* anything else is not ours to judge */
        id_list_add(arg, &id);
    return 0;
}

int repo_list_files(struct repo *r, const char *dir, struct id_list *out, struct err *e)
{
    char prefix[REPO_NAME_MAX];
    (void)snprintf(prefix, sizeof prefix, "%s/", dir);
    int rc = store_list(r->store, prefix, list_one, out, e);
    if (rc == 0)
        id_list_sort(out);
    return rc;
}

int repo_remove_file(struct repo *r, const char *dir, const struct id *id, struct err *e)
{
    char name[REPO_NAME_MAX];
    return store_remove(r->store, repo_file_name(dir, id, name), e);
}

/* ---- config ---- */

static int config_parse(struct repo *r, const struct buf *json, const char *what, struct err *e)
{
    struct json_in in;
    const char *key;
    uint64_t version = 0;
    bool has_id = false;
    json_in_init(&in, json->data, json->len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "version") == 0) {
            version = json_get_u64(&in);
        } else if (strcmp(key, "id") == 0) {
            r->id = json_get_id(&in);
            has_id = true;
        } else if (strcmp(key, "chunker_polynomial") == 0) {
            size_t len = 0;
            const char *hex = json_get_string(&in, &len);
            char *end = NULL;
            r->polynomial = strtoull(hex, &end, 16);
            if (len == 0 || len > 16 || *end != '\0')
                json_in_fail(&in, "not a polynomial in hexadecimal digits");
        } else {
            json_skip(&in);
        }
    }
    int rc = json_in_finish(&in, what, e);
    if (rc != 0)
        return rc;
    if (version > VERSION_MOST)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s has the repository format version %llu, newer than the %d that this "
                       "salvor reads; update salvor",
                       what, (unsigned long long)version, VERSION_MOST);
    if (version < VERSION_LEAST || !has_id || !polynomial_irreducible(r->polynomial))
        return err_set(e, ERR_CORRUPT, "%s is damaged: version, id or polynomial is wrong", what);
    r->version = (int)version;
    return 0;
}

static int config_load(struct store *s, struct buf *out, struct err *e)
{
    int rc = store_get(s, "config", 0, STORE_TO_END, out, e);
    if (rc == ERR_NOT_FOUND) {
        struct err other = ERR_INIT;
        _cleanup_(id_list_release) struct id_list keys = {0};
        if (store_list(s, "keys/", list_one, &keys, &other) == 0 && keys.n > 0)
            return err_set(e, ERR_CORRUPT,
                           "%s holds keys of a repository, but its file \"config\" is missing; "
                           "bring it back from a mirror, or if init was interrupted, run it again",
                           store_address(s));
        return err_set(e, ERR_NOT_FOUND,
                       "there is no repository at %s; check the address, or make one with "
                       "`salvor init`",
                       store_address(s));
    }
    if (rc == 0 && out->len < SEAL_OVERHEAD)
        return err_set(e, ERR_CORRUPT,
                       "the file \"config\" in %s is damaged: it has only %zu bytes; bring it back "
                       "from a mirror",
                       store_address(s), out->len);
    return rc;
}

static int config_save(struct store *s, const struct repo *r, struct err *e)
{
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_TEXT);
    char hex[24];
    struct json_out j;
    json_out_init(&j, &json);
    json_begin_object(&j);
    json_u64(&j, "version", (uint64_t)r->version);
    json_id(&j, "id", &r->id);
    (void)snprintf(hex, sizeof hex, "%llx", (unsigned long long)r->polynomial);
    json_text(&j, "chunker_polynomial", hex);
    json_end_object(&j);
    int rc = json_out_finish(&j, e);
    struct id unused;
    return rc != 0 ? rc : file_put(s, &r->key, NULL, "config", &json, &unused, e);
}

/* ---- making ---- */

static int find_any(const struct store_object *o, void *arg, struct err *e)
{
    (void)e;
    *(char **)arg = str_dup(o->name);
    return 1;
}

/* A config that is gone while the rest is there is an accident, not an invitation. */
static int init_refuse_remains(struct store *s, struct err *e)
{
    static const char *const prefixes[] = {"snapshots/", "index/", "data/"};
    for (size_t i = 0; i < array_len(prefixes); i++) {
        _cleanup_free_ char *found = NULL;
        int rc = store_list(s, prefixes[i], find_any, &found, e);
        if (rc < 0)
            return rc;
        if (found != NULL)
            return err_set(e, ERR_EXISTS,
                           "%s holds a repository whose file \"config\" is missing (there is %s); "
                           "bring config back from a mirror, or choose another place",
                           store_address(s), found);
    }
    return 0;
}

/* Whether the config in the store is the one that we wrote: a store without conditional writes may
 * have let somebody else's replace it. */
static int init_confirm(struct store *s, struct repo *mine, struct err *e)
{
    struct repo read = {.key = mine->key};
    _cleanup_(buf_release) struct buf raw = BUF_INIT(BUF_TEXT);
    int rc = config_load(s, &raw, e);
    if (rc == 0)
        rc = unseal(&mine->key, raw.data, raw.len, raw.data, e);
    if (rc == 0) {
        raw.len -= SEAL_OVERHEAD;
        rc = config_parse(&read, &raw, "config", e);
    }
    if ((rc == 0 && !id_equal(&read.id, &mine->id)) || rc == ERR_CORRUPT)
        rc = err_set(e, ERR_EXISTS, "somebody else made a repository in %s at the same moment",
                     store_address(s));
    mem_wipe(&read.key, sizeof read.key);
    return rc;
}

int repo_init(struct store *s, const char *passphrase, int version, struct err *e)
{
    if (version < VERSION_LEAST || version > VERSION_MOST)
        return err_set(e, ERR_USAGE, "repository format version %d is not known; use %d", version,
                       VERSION_MOST);
    uint64_t size;
    int rc = store_stat(s, "config", &size, e);
    if (rc == 0)
        return err_set(e, ERR_EXISTS, "there is a repository at %s already", store_address(s));
    if (rc != ERR_NOT_FOUND)
        return rc;
    rc = init_refuse_remains(s, e);
    if (rc != 0)
        return rc;

    struct repo r = {.store = s, .version = version, .clock = &clock_system};
    if ((rc = seal_key_random(&r.key, e)) == 0 && (rc = random_bytes(&r.id, sizeof r.id, e)) == 0 &&
        (rc = polynomial_random(&r.polynomial, e)) == 0 &&
        (rc = key_create(&r, passphrase, &r.key_id, e)) == 0) {
        /* The config comes last: without it there is no repository, whatever else is there. */
        rc = config_save(s, &r, e);
        if (rc == 0)
            rc = init_confirm(s, &r, e);
        if (rc == ERR_EXISTS) {
            struct err ignored = ERR_INIT;
            char name[REPO_NAME_MAX];
            (void)(store_remove(s, repo_file_name("keys", &r.key_id, name), &ignored) == 0);
        }
    }
    mem_wipe(&r.key, sizeof r.key);
    return rc;
}

/* ---- opening ---- */

/* Called with the master key of each key file that the passphrase opens: the right one opens the
 * config too. (A repository may hold a key of an init that was interrupted.) */
static int open_config(struct repo *r, void *arg, struct err *e)
{
    const struct buf *raw = arg;
    _cleanup_free_ char *what = str_fmt("the file \"config\" in %s", store_address(r->store));
    _cleanup_(buf_release) struct buf plain = BUF_INIT(BUF_TEXT);
    int rc = buf_append(&plain, raw->data, raw->len, e);
    if (rc == 0)
        rc = unseal(&r->key, plain.data, plain.len, plain.data, e);
    if (rc == ERR_CORRUPT)
        return err_set(e, ERR_CORRUPT,
                       "%s is damaged: it does not open with the repository's key; bring it back "
                       "from a mirror",
                       what);
    if (rc != 0)
        return rc;
    plain.len -= SEAL_OVERHEAD;
    return config_parse(r, &plain, what, e);
}

/* A repository is usable without its cache, only slower: no more than a warning. */
static char *open_cache(const char *dir, const struct id *id)
{
    char hex[ID_HEX + 1];
    if (dir == NULL)
        return NULL;
    _cleanup_free_ char *path = path_join(dir, id_hex(id, hex));
    struct err e = ERR_INIT;
    if (dir_make_all(path, 0700, &e) != 0) {
        log_warning("going on without a cache: %s", e.msg);
        return NULL;
    }
    return take(path);
}

int repo_find(struct store *s, struct err *e)
{
    _cleanup_(buf_release) struct buf config = BUF_INIT(BUF_TEXT);
    return config_load(s, &config, e);
}

int repo_open(struct store *s, const char *passphrase, const struct repo_options *o,
              struct repo **out, struct err *e)
{
    static const struct repo_options defaults;
    if (o == NULL)
        o = &defaults;
    _cleanup_(buf_release) struct buf config = BUF_INIT(BUF_TEXT);
    int rc = config_load(s, &config, e);
    if (rc != 0)
        return rc;
    _cleanup_(repo_freep) struct repo *r = mem_zero(sizeof *r);
    r->store = s;
    r->clock = o->clock != NULL ? o->clock : &clock_system;
    r->compression = o->compression;
    r->pack_size = o->pack_size != 0 ? o->pack_size : PACK_SIZE;
    unsigned likes = store_properties(s)->connections;
    r->upload_threads = o->upload_threads != 0        ? o->upload_threads
                        : likes == 0                  ? 1
                        : likes > UPLOAD_THREADS_MOST ? UPLOAD_THREADS_MOST
                                                      : likes;
    rc = key_search(r, passphrase, open_config, &config, e);
    if (rc != 0)
        return rc;
    r->cache_dir = open_cache(o->cache_dir, &r->id);
    r->index = index_new();
    *out = take(r);
    return 0;
}

void repo_free(struct repo *r)
{
    if (r == NULL)
        return;
    repo_unlock(r);
    index_free(r->index);
    free(r->cache_dir);
    mem_wipe(&r->key, sizeof r->key);
    free(r);
}

void repo_freep(struct repo **r)
{
    repo_free(*r);
}

const struct id *repo_id(const struct repo *r)
{
    return &r->id;
}

int repo_version(const struct repo *r)
{
    return r->version;
}

uint64_t repo_chunker_polynomial(const struct repo *r)
{
    return r->polynomial;
}

struct store *repo_store(struct repo *r)
{
    return r->store;
}
