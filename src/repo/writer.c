/* The writing side of the river: known? -> compress -> seal -> pack -> store. Hashing, compressing
 * and sealing run on the threads of the callers; packs that are full are hashed and uploaded by
 * threads of the writer's own. A blob is sealed straight into its place in the open pack: the place
 * is reserved under the lock, the work is done outside of it, and the last one to finish hands a
 * closed pack on. The number of packs in memory is fixed, so whoever is faster than the store waits
 * for a pack to come free. */
#include "base/mem.h"
#include "base/work.h"
#include "repo/journal_int.h"
#include "repo/pack_int.h"
#include <pthread.h>
#include <string.h>

enum {
    PACK_BLOBS = 1 << 16, /* keeps the header far below restic's limit of 16 MiB */
    /* Of zstd, while the store keeps up with us. On a dump of text, 2 takes 17 % more time than 1
     * and 6 % less space, which is the size of restic; 3 takes 40 % more time than 2 for 1.5 %. */
    LEVEL_LEAST = 2,
    LEVEL_MOST = 7, /* while we wait for the store anyway */
    LEVEL_MAX = 11, /* for COMPRESSION_MAX */
    SAMPLE = 16 << 10,
    SAVE_PACKS = 2000, /* the index is saved after so many packs, or after this time */
};
static const int64_t SAVE_AFTER = 15 * 60 * NSEC_PER_SEC;

struct open_pack {
    uint8_t *data;
    size_t cap, used; /* used: reserved so far */
    struct index_blob *blob;
    size_t nblob, blob_cap;
    size_t sealing; /* reserved and not yet sealed */
    bool closed;
    bool spare; /* in nobody's hands */
};

struct scratch {
    struct buf buf;
    struct scratch *next;
};

struct writer {
    struct repo *repo;
    struct journal *journal;
    struct pool *upload;
    size_t pack_size, most; /* most: packs that may exist at once */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t room;  /* a pack came free, or the writer failed */
    struct open_pack *open[2];
    struct open_pack **pack; /* all that exist: open, closed, in upload, spare */
    size_t npack;
    struct scratch *scratch;
    int level;
    struct writer_stats stats;
    int64_t saved_at; /* when the index was last saved, since boot */
    bool saving;
    struct err failure; /* the first; code 0 while there is none */
};

/* ---- packs ---- */

/* Frees one of the packs; the lock is held. */
static void pack_free(struct writer *w, struct open_pack *p)
{
    for (size_t i = 0; i < w->npack; i++)
        if (w->pack[i] == p) {
            w->pack[i] = w->pack[--w->npack];
            break;
        }
    free(p->data);
    free(p->blob);
    free(p);
}

/* All further calls fail with the first failure: what was claimed by then is nowhere. */
static int fail(struct writer *w, const struct err *why)
{
    (void)pthread_mutex_lock(&w->lock);
    if (w->failure.code == 0)
        w->failure = *why;
    (void)pthread_cond_broadcast(&w->room);
    (void)pthread_mutex_unlock(&w->lock);
    return why->code;
}

static void recycle(struct writer *w, struct open_pack *p)
{
    (void)pthread_mutex_lock(&w->lock);
    if (p->cap != w->pack_size) { /* made for one large blob */
        pack_free(w, p);
    } else {
        p->used = p->nblob = p->sealing = 0;
        p->closed = false;
        p->spare = true;
    }
    (void)pthread_cond_broadcast(&w->room);
    (void)pthread_mutex_unlock(&w->lock);
}

/* A pack with room for `len`, or NULL if too many exist; the lock is held. */
static struct open_pack *pack_take(struct writer *w, size_t len)
{
    struct open_pack *p = NULL;
    for (size_t i = 0; i < w->npack && p == NULL; i++)
        if (w->pack[i]->spare)
            p = w->pack[i];
    if (p != NULL && len <= w->pack_size) {
        p->spare = false;
        return p;
    }
    if (w->npack == w->most) {
        if (p == NULL)
            return NULL;
        pack_free(w, p); /* a spare one gives way to a large one */
    }
    p = mem_zero(sizeof *p);
    p->cap = len > w->pack_size ? len : w->pack_size;
    p->data = mem_alloc(p->cap);
    w->pack[w->npack++] = p;
    return p;
}

static int hand_on(struct writer *w, struct open_pack *p, struct err *e)
{
    return p != NULL ? pool_submit(w->upload, p, e) : 0;
}

/* Closes the open pack of a type. Returns it if it is ready for upload; the lock is held. */
static struct open_pack *pack_close(struct writer *w, enum blob_type type)
{
    struct open_pack *p = w->open[type];
    w->open[type] = NULL;
    if (p == NULL)
        return NULL;
    p->closed = true;
    return p->sealing == 0 ? p : NULL;
}

/* Sees to it that the open pack of `type` has room; with the lock held, which is let go of where a
 * full pack is handed on or it has to wait. */
static int make_room(struct writer *w, enum blob_type type, size_t len, struct err *e)
{
    bool waited = false;
    while (w->failure.code == 0) {
        struct open_pack *p = w->open[type];
        if (p != NULL && len <= p->cap - p->used && p->nblob < PACK_BLOBS)
            return 0;
        if (p != NULL) {
            struct open_pack *ready = pack_close(w, type);
            (void)pthread_mutex_unlock(&w->lock);
            int rc = hand_on(w, ready, e);
            (void)pthread_mutex_lock(&w->lock);
            if (rc < 0)
                return rc;
            continue;
        }
        w->open[type] = pack_take(w, len);
        if (w->open[type] == NULL) {
            waited = true;
            (void)pthread_cond_wait(&w->room, &w->lock);
        } else if (waited && w->level < LEVEL_MOST) {
            w->level++; /* the store is what holds us up: send it less */
        } else if (!waited && w->level > LEVEL_LEAST) {
            w->level--;
        }
    }
    *e = w->failure;
    return e->code;
}

/* Reserves the place of a blob, whose offset it sets. */
static int reserve(struct writer *w, struct index_blob *b, struct open_pack **out, struct err *e)
{
    (void)pthread_mutex_lock(&w->lock);
    int rc = make_room(w, b->type, b->length, e);
    if (rc == 0) {
        struct open_pack *p = w->open[b->type];
        b->offset = (uint32_t)p->used;
        p->used += b->length;
        mem_grow(&p->blob, p->nblob, &p->blob_cap, sizeof *p->blob);
        p->blob[p->nblob++] = *b;
        p->sealing++;
        *out = p;
    }
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

static int sealed(struct writer *w, struct open_pack *p, uint64_t plain, uint64_t stored,
                  struct err *e)
{
    (void)pthread_mutex_lock(&w->lock);
    bool ready = --p->sealing == 0 && p->closed;
    w->stats.blobs_new++;
    w->stats.bytes_new += plain;
    w->stats.bytes_stored += stored;
    (void)pthread_mutex_unlock(&w->lock);
    return ready ? hand_on(w, p, e) : 0;
}

/* ---- upload ---- */

/* Saves the index now and then, so that a long run that is lost with its machine was not for
 * nothing. */
static int save_sometimes(struct writer *w, struct err *e)
{
    struct repo *r = w->repo;
    int64_t now = clock_since_boot(r->clock);
    size_t pending = index_pending(r->index);
    (void)pthread_mutex_lock(&w->lock);
    bool due = !w->saving && (pending >= SAVE_PACKS || now - w->saved_at >= SAVE_AFTER);
    if (due)
        w->saving = true;
    (void)pthread_mutex_unlock(&w->lock);
    if (!due)
        return 0;
    int rc = index_save_new(r->index, r, e);
    (void)pthread_mutex_lock(&w->lock);
    w->saving = false;
    w->saved_at = now;
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

static int put_pack(struct writer *w, const struct open_pack *p, struct err *e)
{
    struct repo *r = w->repo;
    _cleanup_(buf_release) struct buf header = BUF_INIT(BUF_JSON);
    int rc = pack_header_build(r, p->blob, p->nblob, &header, e);
    if (rc < 0)
        return rc;
    struct id id;
    char name[REPO_NAME_MAX];
    _cleanup_(sha256_freep) struct sha256 *h = sha256_new();
    sha256_update(h, p->data, p->used);
    sha256_update(h, header.data, header.len);
    sha256_finish(h, &id);

    rc = r->lock != NULL ? repo_lock_check(r, false, e) : 0;
    if (rc < 0)
        return rc;
    journal_note(w->journal, &id, p->used + header.len, p->blob, p->nblob);
    const struct piece pieces[] = {{p->data, p->used}, {header.data, header.len}};
    rc = store_put(r->store, repo_file_name("data", &id, name), PUT_REPLACE, pieces,
                   array_len(pieces), e);
    if (rc < 0)
        return rc;
    index_add_pack(r->index, &id, p->blob, p->nblob);
    (void)pthread_mutex_lock(&w->lock);
    w->stats.packs++;
    (void)pthread_mutex_unlock(&w->lock);
    return save_sometimes(w, e);
}

static int upload(void *item, void *arg, struct err *e)
{
    struct writer *w = arg;
    int rc = put_pack(w, item, e);
    if (rc < 0)
        (void)fail(w, e);
    recycle(w, item);
    return rc;
}

static void drop(void *item, void *arg)
{
    recycle(arg, item);
}

/* ---- compressing ---- */

static struct scratch *scratch_take(struct writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    struct scratch *s = w->scratch;
    if (s != NULL)
        w->scratch = s->next;
    (void)pthread_mutex_unlock(&w->lock);
    if (s == NULL) {
        s = mem_zero(sizeof *s);
        buf_init(&s->buf, (size_t)BLOB_MAX * 2);
    }
    buf_clear(&s->buf);
    return s;
}

static void scratch_give(struct writer *w, struct scratch *s)
{
    (void)pthread_mutex_lock(&w->lock);
    s->next = w->scratch;
    w->scratch = s;
    (void)pthread_mutex_unlock(&w->lock);
}

/* Whether two samples out of a large blob tell that compressing it is wasted work. */
static int looks_random(const uint8_t *data, size_t len, struct buf *tmp, bool *out, struct err *e)
{
    *out = false;
    if (len < 8 * SAMPLE)
        return 0;
    for (int i = 1; i <= 2; i++) {
        buf_clear(tmp);
        int rc = zstd_pack(data + len / 3 * (size_t)i, SAMPLE, 1, tmp, e);
        if (rc < 0)
            return rc;
        if (tmp->len < SAMPLE - SAMPLE / 32)
            return 0;
    }
    *out = true;
    return 0;
}

/* Fills `out` with the compressed bytes; leaves it empty where they are better stored as they are.
 * As restic does it, "off" is for data only: trees are always compressed. */
static int compress(struct writer *w, enum blob_type type, const void *data, size_t len,
                    struct buf *out, struct err *e)
{
    const struct repo *r = w->repo;
    if (r->version < 2 || (r->compression == COMPRESSION_OFF && type == BLOB_DATA))
        return 0;
    bool random = false;
    int rc = looks_random(data, len, out, &random, e);
    buf_clear(out);
    if (rc < 0 || random)
        return rc;
    (void)pthread_mutex_lock(&w->lock);
    int level = r->compression == COMPRESSION_MAX ? LEVEL_MAX : w->level;
    (void)pthread_mutex_unlock(&w->lock);
    rc = zstd_pack(data, len, level, out, e);
    if (rc == 0 && out->len >= len)
        buf_clear(out);
    return rc;
}

/* ---- saving ---- */

static int seal_blob(struct writer *w, struct index_blob *b, const void *data, size_t len,
                     struct err *e)
{
    struct open_pack *p;
    b->length = (uint32_t)(len + SEAL_OVERHEAD);
    int rc = reserve(w, b, &p, e);
    if (rc < 0)
        return rc;
    rc = seal(&w->repo->key, data, len, p->data + b->offset, e);
    if (rc < 0)
        (void)fail(w, e); /* the pack has a hole: nothing of it may be uploaded any more */
    else
        rc = sealed(w, p, b->plain_length, b->length, e);
    return rc;
}

static int save_new(struct writer *w, enum blob_type type, const struct id *id, const void *data,
                    size_t len, struct err *e)
{
    struct index_blob b = {.id = *id, .type = type, .plain_length = (uint32_t)len};
    struct scratch *s = scratch_take(w);
    int rc = compress(w, type, data, len, &s->buf, e);
    if (rc == 0) {
        b.compressed = s->buf.len > 0;
        rc = b.compressed ? seal_blob(w, &b, s->buf.data, s->buf.len, e)
                          : seal_blob(w, &b, data, len, e);
    }
    scratch_give(w, s);
    return rc;
}

int writer_save(struct writer *w, enum blob_type type, const void *data, size_t len, struct id *out,
                bool *is_new, struct err *e)
{
    if (len > BLOB_MAX)
        return err_set(e, ERR_LIMIT, "a blob of %zu bytes is larger than %d", len, (int)BLOB_MAX);
    sha256(data, len, out);
    bool claimed = index_claim(w->repo->index, type, out);
    if (is_new != NULL)
        *is_new = claimed;
    if (claimed) {
        int rc = save_new(w, type, out, data, len, e);
        return rc < 0 ? fail(w, e) : 0;
    }
    /* Known, or claimed by a thread that may have failed meanwhile. */
    (void)pthread_mutex_lock(&w->lock);
    w->stats.blobs_known++;
    int rc = w->failure.code;
    if (rc < 0)
        *e = w->failure;
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

int writer_save_sealed(struct writer *w, const struct index_blob *b, const uint8_t *bytes,
                       struct err *e)
{
    struct open_pack *p;
    struct index_blob placed = *b;
    int rc = reserve(w, &placed, &p, e);
    if (rc < 0)
        return fail(w, e);
    memcpy(p->data + placed.offset, bytes, placed.length);
    rc = sealed(w, p, b->plain_length, b->length, e);
    return rc < 0 ? fail(w, e) : 0;
}

/* ---- beginning and ending ---- */

static void resumed(const struct id *pack, uint64_t size, const struct index_blob *blobs, size_t n,
                    void *arg)
{
    struct writer *w = arg;
    index_add_pack(w->repo->index, pack, blobs, n);
    w->stats.packs_resumed++;
    w->stats.bytes_resumed += size;
}

int writer_new(struct repo *r, struct writer **out, struct err *e)
{
    _cleanup_(writer_freep) struct writer *w = mem_zero(sizeof *w);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->room, NULL);
    w->repo = r;
    w->pack_size = r->pack_size;
    w->level = LEVEL_LEAST;
    /* One open for each type and one in every upload. */
    w->most = 2 + r->upload_threads;
    w->pack = mem_array(w->most, sizeof(struct open_pack *));
    w->saved_at = clock_since_boot(r->clock);
    w->upload = pool_new(r->upload_threads, w->most, upload, drop, w);
    w->journal = journal_new(r);
    int rc = journal_resume(w->journal, resumed, w, e);
    if (rc < 0)
        return rc;
    *out = take(w);
    return 0;
}

int writer_commit(struct writer *w, struct err *e)
{
    (void)pthread_mutex_lock(&w->lock);
    int rc = w->failure.code;
    if (rc < 0)
        *e = w->failure;
    struct open_pack *ready[2] = {NULL, NULL};
    for (int type = BLOB_DATA; rc == 0 && type <= BLOB_TREE; type++)
        ready[type] = pack_close(w, (enum blob_type)type);
    (void)pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < 2; i++) {
        struct err ignored = ERR_INIT;
        int one = hand_on(w, ready[i], rc == 0 ? e : &ignored);
        rc = rc < 0 ? rc : one;
    }
    if (rc == 0)
        rc = pool_wait(w->upload, e);
    if (rc == 0 && w->repo->lock != NULL)
        rc = repo_lock_check(w->repo, false, e);
    if (rc == 0)
        rc = index_save_new(w->repo->index, w->repo, e);
    if (rc < 0)
        return fail(w, e);
    journal_done(w->journal);
    return 0;
}

void writer_get_stats(struct writer *w, struct writer_stats *out)
{
    (void)pthread_mutex_lock(&w->lock);
    *out = w->stats;
    (void)pthread_mutex_unlock(&w->lock);
}

void writer_free(struct writer *w)
{
    if (w == NULL)
        return;
    pool_free(w->upload);
    journal_free(w->journal);
    index_drop_claims(w->repo->index);
    while (w->npack > 0)
        pack_free(w, w->pack[0]);
    free(w->pack);
    while (w->scratch != NULL) {
        struct scratch *s = w->scratch;
        w->scratch = s->next;
        buf_release(&s->buf);
        free(s);
    }
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->room);
    free(w);
}

void writer_freep(struct writer **w)
{
    writer_free(*w);
}
