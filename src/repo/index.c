/* The index: a sorted layer that never changes while it is in use, and beside it a hash table of
 * what came since, under one mutex: it is asked once a blob, after that blob was hashed. */
#include "base/log.h"
#include "base/mem.h"
#include "repo/index_int.h"
#include "repo/layer_int.h"
#include <string.h>

/* An entry of length 0 is empty, of length 1 a claim. */
enum { SLOT_EMPTY = 0, SLOT_CLAIM = 1 };

/* ---- the hash table ---- */

static size_t live_home(const struct live *v, const struct id *id)
{
    size_t h;
    memcpy(&h, id->byte + 8, sizeof h);
    return h & (v->nslot - 1);
}

/* The nth entry of a blob that is no claim; with `claim` also claims. */
static struct index_entry *live_find(const struct live *v, enum blob_type type, const struct id *id,
                                     unsigned *nth, bool claim)
{
    if (v->nslot == 0)
        return NULL;
    for (size_t i = live_home(v, id); v->slot[i].length != SLOT_EMPTY;
         i = (i + 1) & (v->nslot - 1)) {
        if (entry_compare(&v->slot[i], type, id) != 0)
            continue;
        if (!claim && v->slot[i].length == SLOT_CLAIM)
            continue;
        if ((*nth)-- == 0)
            return &v->slot[i];
    }
    return NULL;
}

static void live_insert(struct live *v, const struct index_entry *n)
{
    size_t i = live_home(v, &n->id);
    while (v->slot[i].length != SLOT_EMPTY)
        i = (i + 1) & (v->nslot - 1);
    v->slot[i] = *n;
    v->n++;
}

/* Moves all entries into a table of `nslot`, without claims if so wanted. */
static void live_rebuild(struct live *v, size_t nslot, bool claims)
{
    struct index_entry *old = v->slot;
    size_t nold = v->nslot;
    v->slot = mem_array(nslot, sizeof *v->slot);
    v->nslot = nslot;
    v->n = 0;
    for (size_t i = 0; i < nold; i++)
        if (old[i].length != SLOT_EMPTY && (claims || old[i].length != SLOT_CLAIM))
            live_insert(v, &old[i]);
    free(old);
}

static void live_add(struct live *v, const struct index_entry *n)
{
    if ((v->n + 1) * 3 > v->nslot * 2)
        live_rebuild(v, v->nslot == 0 ? 1024 : v->nslot * 2, true);
    live_insert(v, n);
}

void live_add_pack(struct live *v, const struct id *pack, const struct index_blob *blobs, size_t n)
{
    uint32_t number = pack_table_add(&v->packs, pack);
    for (size_t i = 0; i < n; i++) {
        struct index_entry entry;
        unsigned first = 0;
        entry_fill(&entry, &blobs[i], number);
        struct index_entry *present = live_find(v, blobs[i].type, &blobs[i].id, &first, true);
        if (present != NULL && present->length == SLOT_CLAIM)
            *present = entry;
        else
            live_add(v, &entry);
    }
}

void live_release(struct live *v)
{
    free(v->slot);
    pack_table_release(&v->packs);
    memset(v, 0, sizeof *v);
}

/* ---- making and freeing ---- */

struct index *index_new(void)
{
    struct index *x = mem_zero(sizeof *x);
    (void)pthread_mutex_init(&x->mend, NULL);
    (void)pthread_mutex_init(&x->lock, NULL);
    (void)pthread_mutex_init(&x->saving, NULL);
    return x;
}

static void pending_release(struct pending_pack *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(p[i].blob);
    free(p);
}

void index_free(struct index *x)
{
    if (x == NULL)
        return;
    layer_release(&x->base);
    layer_release(&x->anew);
    live_release(&x->live);
    pending_release(x->pending, x->npending);
    id_list_release(&x->files);
    free(x->cache);
    (void)pthread_mutex_destroy(&x->mend);
    (void)pthread_mutex_destroy(&x->lock);
    (void)pthread_mutex_destroy(&x->saving);
    free(x);
}

/* ---- when the cache turns out to be damaged ---- */

static struct layer *base_of(struct index *x)
{
    return atomic_load(&x->mended) ? &x->anew : &x->base;
}

/* The cache file goes, and the index is read anew from the store. */
static void mend(struct index *x)
{
    struct err e = ERR_INIT;
    (void)pthread_mutex_lock(&x->lock);
    x->cache_damaged = true;
    (void)pthread_mutex_unlock(&x->lock);
    (void)unlink(x->cache);
    if (index_read_anew(x, &e) == 0) {
        atomic_store(&x->mended, true);
        log_notice("the local index cache %s was damaged: it has been removed, and the index was "
                   "read anew from the repository, which is not affected",
                   x->cache);
        return;
    }
    log_warning("the local index cache %s was damaged and has been removed, but the index could "
                "not be read anew: %s; run this again if something is reported missing",
                x->cache, e.msg);
}

/* What was not found in `l` may be there: whether it is worth to look again. Threads that come
 * while another one mends wait for it. */
static bool look_again(struct index *x, struct layer *l)
{
    if (!atomic_load(&l->damaged))
        return false;
    (void)pthread_mutex_lock(&x->mend);
    if (!x->mend_tried)
        mend(x);
    x->mend_tried = true;
    (void)pthread_mutex_unlock(&x->mend);
    return base_of(x) != l;
}

bool index_cache_damaged(struct index *x)
{
    (void)pthread_mutex_lock(&x->lock);
    bool damaged = x->cache_damaged && !atomic_load(&x->mended);
    (void)pthread_mutex_unlock(&x->lock);
    return damaged;
}

/* ---- asking ---- */

static void place_fill(const struct index_entry *n, const struct id *pack, struct blob_place *out)
{
    out->pack = *pack;
    out->offset = n->offset;
    out->length = n->length;
    out->plain_length = n->plain_length;
    out->compressed = (n->place & ENTRY_COMPRESSED) != 0;
}

static bool layer_find(struct layer *l, enum blob_type type, const struct id *id, unsigned nth,
                       struct blob_place *out)
{
    uint64_t i;
    if (!layer_first(l, type, id, &i) || l->n - i <= nth)
        return false;
    const struct index_entry *n = layer_entry(l, i + nth);
    if (n == NULL || entry_compare(n, type, id) != 0)
        return false;
    const struct id *pack = layer_pack(l, n->place & ENTRY_PACK);
    if (pack == NULL)
        return false;
    place_fill(n, pack, out);
    return true;
}

bool index_find(struct index *x, enum blob_type type, const struct id *id, unsigned nth,
                struct blob_place *out)
{
    (void)pthread_mutex_lock(&x->lock);
    const struct index_entry *n = live_find(&x->live, type, id, &nth, false);
    if (n != NULL)
        place_fill(n, &x->live.packs.id[n->place & ENTRY_PACK], out);
    (void)pthread_mutex_unlock(&x->lock);
    if (n != NULL)
        return true;
    struct layer *l = base_of(x);
    return layer_find(l, type, id, nth, out) ||
           (look_again(x, l) && layer_find(base_of(x), type, id, nth, out));
}

static bool base_has(struct index *x, enum blob_type type, const struct id *id)
{
    uint64_t i;
    struct layer *l = base_of(x);
    return layer_first(l, type, id, &i) ||
           (look_again(x, l) && layer_first(base_of(x), type, id, &i));
}

bool index_claim(struct index *x, enum blob_type type, const struct id *id)
{
    if (base_has(x, type, id))
        return false;
    unsigned first = 0;
    (void)pthread_mutex_lock(&x->lock);
    bool claimed = live_find(&x->live, type, id, &first, true) == NULL;
    if (claimed) {
        struct index_blob b = {.id = *id, .type = type, .length = SLOT_CLAIM};
        struct index_entry entry;
        entry_fill(&entry, &b, 0);
        live_add(&x->live, &entry);
    }
    (void)pthread_mutex_unlock(&x->lock);
    return claimed;
}

void index_drop_claims(struct index *x)
{
    (void)pthread_mutex_lock(&x->lock);
    if (x->live.nslot > 0)
        live_rebuild(&x->live, x->live.nslot, false);
    (void)pthread_mutex_unlock(&x->lock);
}

bool index_has_pack(struct index *x, const struct id *pack, const struct index_blob *blob)
{
    struct blob_place place;
    for (unsigned nth = 0; index_find(x, blob->type, &blob->id, nth, &place); nth++)
        if (id_equal(&place.pack, pack))
            return true;
    return false;
}

void index_add_pack(struct index *x, const struct id *pack, const struct index_blob *blobs,
                    size_t n)
{
    (void)pthread_mutex_lock(&x->lock);
    live_add_pack(&x->live, pack, blobs, n);
    mem_grow(&x->pending, x->npending, &x->pending_cap, sizeof *x->pending);
    x->pending[x->npending++] = (struct pending_pack){*pack, mem_dup(blobs, n * sizeof *blobs), n};
    (void)pthread_mutex_unlock(&x->lock);
}

size_t index_pending(struct index *x)
{
    (void)pthread_mutex_lock(&x->lock);
    size_t n = x->npending;
    (void)pthread_mutex_unlock(&x->lock);
    return n;
}

uint64_t index_blob_count(const struct index *x)
{
    return x->base.n;
}

bool index_ordinal(struct index *x, enum blob_type type, const struct id *id, uint64_t *out)
{
    return layer_first(&x->base, type, id, out);
}

void index_blob_at(const struct index *x, uint64_t ordinal, struct index_blob *out)
{
    entry_blob(&x->base.entry[ordinal], out);
}

const struct id_list *index_files(const struct index *x)
{
    return &x->files;
}

/* ---- pack by pack ---- */

static int by_offset(const void *va, const void *vb)
{
    const struct index_blob *a = va, *b = vb;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Numbers of entries grouped by pack: group k ends at end[k]. Eight bytes a pack and four an entry
 * instead of a second copy of the index. */
static void group_by_pack(const struct layer *l, uint32_t *order, uint64_t *end)
{
    for (uint64_t i = 0; i < l->n; i++)
        end[l->entry[i].place & ENTRY_PACK]++;
    for (uint64_t k = 0, at = 0; k < l->npack; k++) {
        uint64_t count = end[k];
        end[k] = at;
        at += count;
    }
    for (uint64_t i = 0; i < l->n; i++)
        order[end[l->entry[i].place & ENTRY_PACK]++] = (uint32_t)i;
}

int index_each_pack(struct index *x, index_pack_fn *fn, void *arg, struct err *e)
{
    const struct layer *l = &x->base;
    if (l->n > UINT32_MAX || l->sum != NULL)
        return err_set(e, ERR_INTERNAL, "the index was not loaded for walking its packs");
    _cleanup_free_ uint32_t *order = mem_array((size_t)l->n, sizeof *order);
    _cleanup_free_ uint64_t *end = mem_array((size_t)l->npack, sizeof *end);
    group_by_pack(l, order, end);
    _cleanup_free_ struct index_blob *blob = NULL;
    size_t cap = 0;
    for (uint64_t k = 0, at = 0; k < l->npack; k++) {
        size_t n = 0;
        for (; at < end[k]; at++) {
            mem_grow(&blob, n, &cap, sizeof *blob);
            entry_blob(&l->entry[order[at]], &blob[n++]);
        }
        if (n > 1)
            qsort(blob, n, sizeof *blob, by_offset);
        int rc = fn(&l->pack[k], blob, n, arg, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- saving ---- */

static int save_packs(struct index *x, struct repo *r, const struct pending_pack *p, size_t n,
                      struct err *e)
{
    _cleanup_(index_encoder_release) struct index_encoder w;
    index_encoder_init(&w, r);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = index_encoder_add(&w, &p[i].pack, p[i].blob, p[i].n, e);
    if (rc == 0)
        rc = index_encoder_finish(&w, e);
    /* Also after a failure: those files are there. */
    (void)pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < w.files.n; i++)
        id_list_add(&x->files, &w.files.id[i]);
    id_list_sort(&x->files);
    (void)pthread_mutex_unlock(&x->lock);
    return rc;
}

int index_save_new(struct index *x, struct repo *r, struct err *e)
{
    (void)pthread_mutex_lock(&x->saving);
    (void)pthread_mutex_lock(&x->lock);
    struct pending_pack *p = take(x->pending);
    size_t n = x->npending;
    x->npending = x->pending_cap = 0;
    (void)pthread_mutex_unlock(&x->lock);

    int rc = n > 0 ? save_packs(x, r, p, n, e) : 0;
    if (rc < 0) { /* they wait for the next try; those saved already are saved again, harmlessly */
        (void)pthread_mutex_lock(&x->lock);
        for (size_t i = 0; i < n; i++) {
            mem_grow(&x->pending, x->npending, &x->pending_cap, sizeof *x->pending);
            x->pending[x->npending++] = p[i];
        }
        (void)pthread_mutex_unlock(&x->lock);
        free(p);
    } else {
        pending_release(p, n);
    }
    (void)pthread_mutex_unlock(&x->saving);
    return rc;
}
