/* Blobs out of packs: find, read, unseal, decompress, check. */
#include "base/mem.h"
#include "repo/repo_int.h"

int repo_load_index(struct repo *r, struct err *e)
{
    return index_load(r->index, r, INDEX_CACHED, NULL, NULL, e);
}

bool repo_has_blob(struct repo *r, enum blob_type type, const struct id *id)
{
    struct blob_place place;
    return index_find(r->index, type, id, 0, &place);
}

bool repo_find_blob(struct repo *r, enum blob_type type, const struct id *id,
                    struct blob_place *out)
{
    return index_find(r->index, type, id, 0, out);
}

static int damaged(const struct id *id, const struct blob_place *place, struct err *e,
                   const char *why)
{
    char hex[ID_HEX + 1], name[REPO_NAME_MAX];
    return err_set(e, ERR_CORRUPT, "blob %s in %s is damaged: %s", id_hex(id, hex),
                   repo_file_name("data", &place->pack, name), why);
}

int repo_open_blob(struct repo *r, const struct id *id, const struct blob_place *place,
                   uint8_t *sealed, struct buf *out, struct err *e)
{
    buf_clear(out);
    if (place->plain_length > BLOB_MAX)
        return damaged(id, place, e, "its length is beyond all measure");
    int rc = unseal(&r->key, sealed, place->length, sealed, e);
    if (rc == ERR_CORRUPT)
        return damaged(id, place, e, "it does not match its checksum");
    if (rc < 0)
        return rc;
    size_t len = place->length - SEAL_OVERHEAD;
    if (place->compressed) {
        rc = buf_reserve(out, place->plain_length, e);
        if (rc == 0)
            rc = zstd_unpack(sealed, len, place->plain_length, out, e);
        if (rc == ERR_CORRUPT)
            return damaged(id, place, e, "it cannot be decompressed");
    } else {
        rc = buf_append(out, sealed, len, e);
    }
    if (rc < 0)
        return rc;
    if (out->len != place->plain_length)
        return damaged(id, place, e, "its length is not what the index says");
    struct id digest;
    sha256(out->data, out->len, &digest);
    if (!id_equal(&digest, id))
        return damaged(id, place, e, "its content does not match its name");
    return 0;
}

static int load_copy(struct repo *r, const struct id *id, const struct blob_place *place,
                     struct buf *plain, struct err *e)
{
    char name[REPO_NAME_MAX], hex[ID_HEX + 1];
    _cleanup_(buf_release) struct buf sealed = BUF_INIT(BUF_PACK);
    int rc = store_get(r->store, repo_file_name("data", &place->pack, name), place->offset,
                       place->length, &sealed, e);
    if (rc < 0)
        return err_prefix(e, "blob %s", id_hex(id, hex));
    return repo_open_blob(r, id, place, sealed.data, plain, e);
}

int repo_load_blob(struct repo *r, enum blob_type type, const struct id *id, struct buf *out,
                   struct err *e)
{
    struct blob_place place;
    struct err why = ERR_INIT;
    for (unsigned nth = 0; index_find(r->index, type, id, nth, &place); nth++) {
        _cleanup_(buf_release) struct buf plain = BUF_INIT(BLOB_MAX);
        /* Into the caller's buffer at once where nothing of his is in it. */
        bool direct = out->len == 0;
        int rc = load_copy(r, id, &place, direct ? out : &plain, e);
        if (rc == 0)
            return direct ? 0 : buf_append(out, plain.data, plain.len, e);
        if (direct)
            buf_clear(out);
        if (rc == ERR_CANCELLED)
            return rc;
        if (nth == 0)
            why = *e; /* the copy that should have served is the one to name */
    }
    if (why.code != 0) {
        *e = why;
        return e->code;
    }
    char hex[ID_HEX + 1];
    (void)err_set(e, ERR_NOT_FOUND, "%s blob %s is in no index",
                  type == BLOB_TREE ? "tree" : "data", id_hex(id, hex));
    return err_hint(e, index_cache_damaged(r->index)
                           ? "the local index cache was damaged and is removed: run this again"
                           : "run salvor verify to see what is affected");
}
