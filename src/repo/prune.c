/* Prune: carries the plan out. Each step leaves a whole repository: new packs are there before the
 * new index, that before the old index goes, that before the old packs go. What a crash leaves
 * behind is a blob in two packs or a pack in no index, and the next run takes that away. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "repo/prune_int.h"
#include <pthread.h>
#include <stdlib.h>

enum {
    DELETIONS = 64, /* between two looks at our lock */
    /* No living program leaves a file alone for so long. Only prune may rely on that: its lock
     * keeps all others from writing, but for who is just about to ask for a lock. */
    UNFINISHED_S = 30 * 60,
};

static void prune_release(struct prune *p)
{
    free(p->state);
    free(p->pack);
    free(p->spare);
    id_list_release(&p->unindexed);
    id_list_release(&p->old_files);
}

/* ---- repacking ---- */

struct repack {
    struct prune *prune;
    struct writer *writer;
    struct pool *pool;
    uint32_t at;          /* number of the pack in turn */
    pthread_mutex_t lock; /* guards done */
    uint64_t done;
};

/* One pack, and those of its blobs that move. */
struct parcel {
    struct id pack;
    uint64_t size;
    struct index_blob *blob;
    size_t n;
};

static int move_blob(struct repack *r, const struct parcel *k, const struct index_blob *b,
                     const struct buf *pack, struct prune_hands *h, struct err *e)
{
    struct blob_place place = {.pack = k->pack,
                               .offset = b->offset,
                               .length = b->length,
                               .plain_length = b->plain_length,
                               .compressed = b->compressed};
    if ((uint64_t)b->offset + b->length > pack->len)
        return err_set(e, ERR_CORRUPT, "a pack is shorter than its index says");
    int rc = prune_check_copy(r->prune->repo, &b->id, &place, pack->data + b->offset, h, e);
    return rc == 0 ? writer_save_sealed(r->writer, b, pack->data + b->offset, e) : rc;
}

static void parcel_free(void *item, void *arg)
{
    (void)arg;
    struct parcel *k = item;
    free(k->blob);
    free(k);
}

static int move_pack(void *item, void *arg, struct err *e)
{
    struct parcel *k = item;
    struct repack *r = arg;
    const struct prune_options *o = r->prune->options;
    char name[REPO_NAME_MAX];
    _cleanup_(buf_release) struct buf pack = BUF_INIT(BUF_PACK);
    _cleanup_(prune_hands_release) struct prune_hands h = PRUNE_HANDS_INIT;
    uint64_t bytes = 0;
    int rc = cancel_check(e);
    if (rc == 0)
        rc = store_get(r->prune->repo->store, repo_file_name("data", &k->pack, name), 0, k->size,
                       &pack, e);
    for (size_t i = 0; rc == 0 && i < k->n; i++) {
        rc = move_blob(r, k, &k->blob[i], &pack, &h, e);
        bytes += k->blob[i].length;
    }
    if (rc == ERR_CORRUPT)
        (void)err_hint(e, "nothing was removed; run `salvor verify --read-data`");
    if (rc == 0 && o->progress != NULL) {
        (void)pthread_mutex_lock(&r->lock);
        r->done += bytes;
        o->progress(r->done, r->prune->result->bytes_repacked, o->progress_arg);
        (void)pthread_mutex_unlock(&r->lock);
    }
    parcel_free(k, NULL);
    return rc;
}

static int hand_pack(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                     struct err *e)
{
    struct repack *r = arg;
    const struct prune_pack *k = &r->prune->pack[r->at++];
    if (k->fate != PACK_REPACK)
        return 0;
    struct parcel *parcel = mem_zero(sizeof *parcel);
    parcel->pack = *pack;
    parcel->size = k->size;
    parcel->blob = mem_array(k->nused, sizeof *parcel->blob);
    for (size_t i = 0; i < n && parcel->n < k->nused; i++)
        if (prune_takes(r->prune, &blobs[i], r->at - 1))
            parcel->blob[parcel->n++] = blobs[i];
    return pool_submit(r->pool, parcel, e);
}

static int repack(struct prune *p, struct err *e)
{
    if (p->result->packs_repacked == 0)
        return 0;
    struct repack r = {.prune = p};
    int rc = writer_new(p->repo, &r.writer, e);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_init(&r.lock, NULL);
    size_t threads = cpu_count();
    r.pool = pool_new(threads, threads, move_pack, parcel_free, &r);
    rc = index_each_pack(p->repo->index, hand_pack, &r, e);
    if (rc == 0)
        rc = pool_wait(r.pool, e);
    pool_free(r.pool);
    if (rc == 0)
        rc = writer_commit(r.writer, e);
    writer_free(r.writer);
    (void)pthread_mutex_destroy(&r.lock);
    return rc;
}

/* ---- the new index ---- */

struct rewrite {
    struct prune *prune;
    struct index_encoder encoder;
    size_t at;
};

static int write_kept(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                      struct err *e)
{
    struct rewrite *w = arg;
    const struct prune_pack *k = &w->prune->pack[w->at++];
    return k->fate == PACK_KEEP ? index_encoder_add(&w->encoder, pack, blobs, n, e) : 0;
}

static int remove_batch(struct repo *r, const char *dir, const struct id_list *ids, struct err *e)
{
    for (size_t i = 0; i < ids->n; i++) {
        int rc = cancel_check(e);
        if (rc == 0 && i % DELETIONS == 0)
            rc = repo_lock_check(r, true, e);
        if (rc == 0)
            rc = repo_remove_file(r, dir, &ids->id[i], e);
        if (rc < 0 && rc != ERR_NOT_FOUND) /* gone is what was wanted */
            return rc;
    }
    return 0;
}

/* Writes the kept packs into new index files (the new packs are in files of their own by now), then
 * lets the old files go. */
static int rewrite_index(struct prune *p, struct err *e)
{
    struct rewrite w = {.prune = p};
    index_encoder_init(&w.encoder, p->repo);
    int rc = repo_lock_check(p->repo, true, e);
    if (rc == 0)
        rc = index_each_pack(p->repo->index, write_kept, &w, e);
    if (rc == 0)
        rc = index_encoder_finish(&w.encoder, e);
    index_encoder_release(&w.encoder);
    if (rc == 0)
        rc = remove_batch(p->repo, "index", &p->old_files, e);
    return rc;
}

/* ---- the whole ---- */

static int remove_packs(struct prune *p, struct err *e)
{
    _cleanup_(id_list_release) struct id_list gone = {0};
    for (size_t i = 0; i < p->npack; i++)
        if (p->pack[i].fate != PACK_KEEP && p->pack[i].size > 0)
            id_list_add(&gone, &p->pack[i].id);
    for (size_t i = 0; i < p->unindexed.n; i++)
        id_list_add(&gone, &p->unindexed.id[i]);
    return remove_batch(p->repo, "data", &gone, e);
}

/* Also many small index files are worth writing anew. */
static bool index_changes(const struct prune *p)
{
    enum { MANY_FILES = 16 };
    for (size_t i = 0; i < p->npack; i++)
        if (p->pack[i].fate != PACK_KEEP)
            return true;
    return p->old_files.n > MANY_FILES;
}

/* Packs that an interrupted backup of this machine uploaded get into the index first: otherwise the
 * writer of the repacking would take them over while the plan removes them. */
static int settle_journals(struct repo *r, struct err *e)
{
    _cleanup_(writer_freep) struct writer *w = NULL;
    int rc = repo_load_index(r, e);
    if (rc == 0)
        rc = writer_new(r, &w, e);
    return rc == 0 ? writer_commit(w, e) : rc;
}

/* Files that were never finished, since their writer was killed. They do no harm but take up space,
 * perhaps all that repacking needs. */
static void clean(struct repo *r)
{
    struct err e = ERR_INIT;
    size_t n = 0;
    if (store_clean(r->store, UNFINISHED_S, &n, &e) < 0)
        log_warning("what killed programs left unfinished could not be removed: %s", e.msg);
    if (n > 0)
        log_notice("removed %zu file%s that killed programs had left unfinished", n,
                   n == 1 ? "" : "s");
}

static int carry_out(struct prune *p, struct err *e)
{
    int rc = p->options->dry_run ? 0 : settle_journals(p->repo, e);
    if (rc == 0)
        rc = index_load(p->repo->index, p->repo, INDEX_EXACT, NULL, NULL, e);
    if (rc < 0)
        return err_prefix(e, "nothing was removed");
    const struct id_list *files = index_files(p->repo->index);
    for (size_t i = 0; i < files->n; i++)
        id_list_add(&p->old_files, &files->id[i]);
    p->state = mem_zero(index_blob_count(p->repo->index));
    rc = prune_mark(p, e);
    if (rc == 0)
        rc = prune_plan(p, e);
    if (rc < 0 || p->options->dry_run)
        return rc;
    clean(p->repo);
    rc = repack(p, e);
    if (rc == 0 && index_changes(p))
        rc = rewrite_index(p, e);
    if (rc == 0)
        rc = remove_packs(p, e);
    return rc;
}

int repo_prune(struct repo *r, const struct prune_options *o, struct prune_result *out,
               struct err *e)
{
    *out = (struct prune_result){0};
    _cleanup_(prune_release) struct prune p = {.repo = r, .options = o, .result = out};
    int rc = repo_lock_check(r, true, e);
    return rc < 0 ? rc : carry_out(&p, e);
}

/* ---- the index anew ---- */

struct rebuild {
    struct repo *repo;
    struct index_encoder encoder;
    size_t unreadable;
};

static int index_pack(const struct store_object *o, void *arg, struct err *e)
{
    struct rebuild *b = arg;
    const char *name = strrchr(o->name, '/');
    struct id id;
    if (name == NULL || !id_parse(name + 1, strlen(name + 1), &id))
        return 0;
    _cleanup_free_ struct index_blob *blobs = NULL;
    size_t n = 0;
    int rc = cancel_check(e);
    if (rc == 0)
        rc = pack_header_load(b->repo, &id, o->size, &blobs, &n, e);
    if (rc == ERR_CORRUPT) {
        log_warning("%s is left out of the index: %s", o->name, e->msg);
        b->unreadable++;
        return 0;
    }
    return rc < 0 ? rc : index_encoder_add(&b->encoder, &id, blobs, n, e);
}

int repo_rebuild_index(struct repo *r, struct err *e)
{
    struct rebuild b = {.repo = r};
    _cleanup_(id_list_release) struct id_list old = {0};
    index_encoder_init(&b.encoder, r);
    int rc = repo_lock_check(r, true, e);
    if (rc == 0)
        rc = repo_list_files(r, "index", &old, e);
    if (rc == 0)
        rc = store_list(r->store, "data/", index_pack, &b, e);
    if (rc == 0)
        rc = index_encoder_finish(&b.encoder, e);
    index_encoder_release(&b.encoder);
    if (rc == 0)
        rc = remove_batch(r, "index", &old, e);
    if (rc == 0 && b.unreadable > 0)
        rc = err_set(e, ERR_PARTIAL,
                     "the index is made anew, but %zu pack%s (named above) could not be read and "
                     "%s not in it; run `salvor verify` to see what is affected",
                     b.unreadable, b.unreadable == 1 ? "" : "s", b.unreadable == 1 ? "is" : "are");
    return rc;
}
