/* The header of a pack: which blobs it holds, in their order, sealed at its end. */
#include "base/mem.h"
#include "repo/pack_int.h"
#include <endian.h>
#include <string.h>

enum {
    LENGTH_FIELD = 4,
    ENTRY_PLAIN = 1 + 4 + ID_SIZE,
    ENTRY_COMPRESSED = 1 + 4 + 4 + ID_SIZE,
    HEADER_MOST = 16 << 20, /* restic's own limit */
    HEADER_FIRST = 16 << 10 /* read at first: most headers are smaller */
};

static uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static void put_u32(struct buf *out, uint32_t v)
{
    v = htole32(v);
    buf_add(out, &v, sizeof v);
}

static int damaged(const struct id *pack, struct err *e, const char *why)
{
    char name[REPO_NAME_MAX];
    return err_set(e, ERR_CORRUPT, "pack %s is damaged: %s", repo_file_name("data", pack, name),
                   why);
}

/* Decodes one entry at p, of which `left` bytes are there; its size, or 0 if it is none. */
static size_t entry_parse(const uint8_t *p, size_t left, int version, struct index_blob *b)
{
    bool compressed = left > 0 && (p[0] & 2) != 0;
    size_t size = compressed ? ENTRY_COMPRESSED : ENTRY_PLAIN;
    if (left < size || p[0] > 3 || (compressed && version < 2))
        return 0;
    b->type = (p[0] & 1) != 0 ? BLOB_TREE : BLOB_DATA;
    b->compressed = compressed;
    b->length = get_u32(p + 1);
    if (b->length < SEAL_OVERHEAD)
        return 0;
    b->plain_length = compressed ? get_u32(p + 5) : b->length - SEAL_OVERHEAD;
    memcpy(b->id.byte, p + size - ID_SIZE, ID_SIZE);
    return size;
}

static int entries_parse(struct repo *r, const struct id *pack, const struct buf *plain,
                         uint64_t body, struct index_blob **blobs, size_t *n, struct err *e)
{
    size_t cap = plain->len / ENTRY_PLAIN + 1, count = 0;
    _cleanup_free_ struct index_blob *list = mem_array(cap, sizeof *list);
    uint64_t offset = 0;
    for (size_t at = 0; at < plain->len;) {
        struct index_blob *b = &list[count];
        size_t size = entry_parse(plain->data + at, plain->len - at, r->version, b);
        if (size == 0)
            return damaged(pack, e, "its header has an entry that is none");
        if (offset + b->length > body)
            return damaged(pack, e, "its header tells of more bytes than it has");
        b->offset = (uint32_t)offset;
        offset += b->length;
        at += size;
        count++;
    }
    if (offset != body)
        return damaged(pack, e, "its header does not account for all of its bytes");
    *blobs = take(list);
    *n = count;
    return 0;
}

/* The sealed header's length without its field; 0 if that cannot be. */
static size_t header_length(const uint8_t *tail, size_t tail_len, uint64_t pack_size)
{
    if (tail_len < LENGTH_FIELD)
        return 0;
    size_t len = get_u32(tail + tail_len - LENGTH_FIELD);
    if (len < SEAL_OVERHEAD + ENTRY_PLAIN || len > HEADER_MOST || len + LENGTH_FIELD > pack_size)
        return 0;
    return len;
}

int pack_header_parse(struct repo *r, const struct id *pack, const uint8_t *tail, size_t tail_len,
                      uint64_t pack_size, struct index_blob **blobs, size_t *n, struct err *e)
{
    if (pack_size > UINT32_MAX)
        return damaged(pack, e, "it is larger than a pack can be");
    size_t len = header_length(tail, tail_len, pack_size);
    if (len == 0 || len + LENGTH_FIELD > tail_len)
        return damaged(pack, e, "the length of its header is impossible");
    _cleanup_(buf_release) struct buf plain = BUF_INIT(HEADER_MOST);
    int rc = buf_reserve(&plain, len, e);
    if (rc < 0)
        return rc;
    rc = unseal(&r->key, tail + tail_len - LENGTH_FIELD - len, len, plain.data, e);
    if (rc == ERR_CORRUPT)
        return damaged(pack, e, "its header does not match its checksum");
    if (rc < 0)
        return rc;
    plain.len = len - SEAL_OVERHEAD;
    return entries_parse(r, pack, &plain, pack_size - LENGTH_FIELD - len, blobs, n, e);
}

int pack_header_load(struct repo *r, const struct id *pack, uint64_t pack_size,
                     struct index_blob **blobs, size_t *n, struct err *e)
{
    char name[REPO_NAME_MAX];
    (void)repo_file_name("data", pack, name);
    _cleanup_(buf_release) struct buf tail = BUF_INIT(HEADER_MOST + LENGTH_FIELD);
    uint64_t first = pack_size < HEADER_FIRST ? pack_size : HEADER_FIRST;
    int rc = store_get(r->store, name, pack_size - first, first, &tail, e);
    if (rc < 0)
        return rc;
    size_t len = header_length(tail.data, tail.len, pack_size);
    if (len + LENGTH_FIELD > tail.len) {
        uint64_t whole = len + LENGTH_FIELD;
        buf_clear(&tail);
        rc = store_get(r->store, name, pack_size - whole, whole, &tail, e);
        if (rc < 0)
            return rc;
    }
    return pack_header_parse(r, pack, tail.data, tail.len, pack_size, blobs, n, e);
}

size_t pack_header_size(size_t n)
{
    return n * ENTRY_COMPRESSED + SEAL_OVERHEAD + LENGTH_FIELD;
}

uint64_t pack_size_expected(const struct index_blob *blobs, size_t n)
{
    uint64_t size = SEAL_OVERHEAD + LENGTH_FIELD;
    for (size_t i = 0; i < n; i++)
        size += (uint64_t)blobs[i].length + (blobs[i].compressed ? ENTRY_COMPRESSED : ENTRY_PLAIN);
    return size;
}

int pack_header_build(struct repo *r, const struct index_blob *blobs, size_t n, struct buf *out,
                      struct err *e)
{
    _cleanup_(buf_release) struct buf plain = BUF_INIT(HEADER_MOST);
    int rc = buf_reserve(&plain, n * ENTRY_COMPRESSED, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const struct index_blob *b = &blobs[i];
        uint8_t type = (uint8_t)((b->type == BLOB_TREE ? 1 : 0) | (b->compressed ? 2 : 0));
        buf_add(&plain, &type, 1);
        put_u32(&plain, b->length);
        if (b->compressed)
            put_u32(&plain, b->plain_length);
        buf_add(&plain, b->id.byte, ID_SIZE);
    }
    size_t sealed = plain.len + SEAL_OVERHEAD;
    rc = buf_reserve(out, sealed + LENGTH_FIELD, e);
    if (rc < 0)
        return rc;
    rc = seal(&r->key, plain.data, plain.len, out->data + out->len, e);
    if (rc < 0)
        return rc;
    out->len += sealed;
    put_u32(out, (uint32_t)sealed);
    return 0;
}
