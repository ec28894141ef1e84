/* Index files as restic writes them: a JSON list of packs with their blobs. */
#include "base/json.h"
#include "base/mem.h"
#include "crypt/crypt.h"
#include "repo/index_int.h"
#include "repo/repo_int.h"
#include <string.h>

/* ---- reading ---- */

struct blob_array {
    struct index_blob *blob;
    size_t n, cap;
};

static void blob_array_release(struct blob_array *a)
{
    free(a->blob);
}

static uint32_t get_u32(struct json_in *j)
{
    uint64_t v = json_get_u64(j);
    if (v > UINT32_MAX)
        json_in_fail(j, "a length or offset past 4 GiB");
    return (uint32_t)v;
}

static void parse_blob(struct json_in *j, struct index_blob *b)
{
    bool has_id = false, has_type = false;
    memset(b, 0, sizeof *b);
    json_object(j);
    const char *key;
    while ((key = json_next_key(j)) != NULL) {
        if (strcmp(key, "id") == 0) {
            b->id = json_get_id(j);
            has_id = true;
        } else if (strcmp(key, "type") == 0) {
            const char *type = json_get_string(j, NULL);
            b->type = strcmp(type, "tree") == 0 ? BLOB_TREE : BLOB_DATA;
            has_type = b->type == BLOB_TREE || strcmp(type, "data") == 0;
        } else if (strcmp(key, "offset") == 0) {
            b->offset = get_u32(j);
        } else if (strcmp(key, "length") == 0) {
            b->length = get_u32(j);
        } else if (strcmp(key, "uncompressed_length") == 0) {
            b->plain_length = get_u32(j);
        } else {
            json_skip(j);
        }
    }
    if (!has_id || !has_type)
        json_in_fail(j, "a blob without id or type");
    if (b->length < SEAL_OVERHEAD || b->length > UINT32_MAX - b->offset)
        json_in_fail(j, "a blob whose place is impossible");
    b->compressed = b->plain_length != 0;
    if (!b->compressed)
        b->plain_length = b->length - SEAL_OVERHEAD;
}

static void parse_blobs(struct json_in *j, struct blob_array *a)
{
    a->n = 0;
    if (json_is_null(j))
        return;
    json_array(j);
    while (json_next_item(j)) {
        mem_grow(&a->blob, a->n, &a->cap, sizeof *a->blob);
        parse_blob(j, &a->blob[a->n++]);
    }
}

static int parse_packs(struct json_in *j, struct blob_array *blobs, index_pack_fn *fn, void *arg,
                       struct err *e)
{
    if (json_is_null(j))
        return 0;
    json_array(j);
    while (json_next_item(j)) {
        struct id pack;
        bool has_id = false;
        blobs->n = 0;
        json_object(j);
        const char *key;
        while ((key = json_next_key(j)) != NULL) {
            if (strcmp(key, "id") == 0) {
                pack = json_get_id(j);
                has_id = true;
            } else if (strcmp(key, "blobs") == 0) {
                parse_blobs(j, blobs);
            } else {
                json_skip(j);
            }
        }
        if (!has_id)
            json_in_fail(j, "a pack without id");
        int rc = j->why == NULL ? fn(&pack, blobs->blob, blobs->n, arg, e) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

int index_parse(const void *json, size_t len, index_pack_fn *fn, void *arg, struct err *e)
{
    _cleanup_(blob_array_release) struct blob_array blobs = {0};
    _cleanup_(json_in_release) struct json_in j;
    json_in_init(&j, json, len);
    /* Restic before 0.2 wrote the list of packs alone. */
    if (json_peek(&j) == '[') {
        int rc = parse_packs(&j, &blobs, fn, arg, e);
        return rc != 0 ? rc : json_in_finish(&j, "index", e);
    }
    json_object(&j);
    const char *key;
    while ((key = json_next_key(&j)) != NULL) {
        int rc = 0;
        if (strcmp(key, "packs") == 0)
            rc = parse_packs(&j, &blobs, fn, arg, e);
        else
            json_skip(&j); /* "supersedes": what it names is read as well while it is there */
        if (rc != 0)
            return rc;
    }
    return json_in_finish(&j, "index", e);
}

/* ---- writing ---- */

enum {
    FILE_FULL = 7 << 20, /* bytes of JSON; one more pack of ours leaves it below 8 MiB */
    FILE_BLOBS = 50000,  /* restic's own limit */
};

void index_encoder_init(struct index_encoder *w, struct repo *r)
{
    memset(w, 0, sizeof *w);
    w->repo = r;
    buf_init(&w->json, BUF_JSON);
}

void index_encoder_release(struct index_encoder *w)
{
    buf_release(&w->json);
    id_list_release(&w->files);
}

static void encoder_begin(struct index_encoder *w)
{
    buf_clear(&w->json);
    json_out_init(&w->out, &w->json);
    json_begin_object(&w->out);
    json_key(&w->out, "packs");
    json_begin_array(&w->out);
}

static int encoder_flush(struct index_encoder *w, struct err *e)
{
    json_end_array(&w->out);
    json_end_object(&w->out);
    w->blobs = 0;
    int rc = json_out_finish(&w->out, e);
    if (rc < 0)
        return rc;
    struct id file;
    rc = repo_save_file(w->repo, "index", w->json.data, w->json.len, &file, e);
    if (rc < 0)
        return rc;
    id_list_add(&w->files, &file);
    return 0;
}

int index_encoder_add(struct index_encoder *w, const struct id *pack,
                      const struct index_blob *blobs, size_t n, struct err *e)
{
    if (n == 0)
        return 0;
    if (w->blobs == 0)
        encoder_begin(w);
    json_begin_object(&w->out);
    json_id(&w->out, "id", pack);
    json_key(&w->out, "blobs");
    json_begin_array(&w->out);
    for (size_t i = 0; i < n; i++) {
        json_begin_object(&w->out);
        json_id(&w->out, "id", &blobs[i].id);
        json_text(&w->out, "type", blobs[i].type == BLOB_TREE ? "tree" : "data");
        json_u64(&w->out, "offset", blobs[i].offset);
        json_u64(&w->out, "length", blobs[i].length);
        if (blobs[i].compressed)
            json_u64(&w->out, "uncompressed_length", blobs[i].plain_length);
        json_end_object(&w->out);
    }
    json_end_array(&w->out);
    json_end_object(&w->out);
    w->blobs += n;
    if (w->json.len >= FILE_FULL || w->blobs >= FILE_BLOBS)
        return encoder_flush(w, e);
    return 0;
}

int index_encoder_finish(struct index_encoder *w, struct err *e)
{
    return w->blobs > 0 ? encoder_flush(w, e) : 0;
}
