/* Bringing the index up to the store: the cache for what it covers, the index files themselves for
 * the rest, read and decoded on all processors. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "repo/layer_int.h"
#include "repo/repo_int.h"
#include <string.h>

enum {
    /* The cache is written anew when so many files, or an eighth and so many blobs, are not in it:
     * reading them costs more than that by then. */
    BEHIND_FILES = 8,
    BEHIND_BLOBS = 20000,
};

/* ---- reading index files ---- */

struct load {
    struct repo *repo;
    index_bad_fn *bad;
    void *bad_arg;
    pthread_mutex_t lock; /* guards what follows */
    struct layer_builder builder;
    size_t nbad;
};

static int take_pack(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                     struct err *e)
{
    struct load *l = arg;
    (void)pthread_mutex_lock(&l->lock);
    bool room = l->builder.packs.n < ENTRY_PACK && l->builder.n + n <= UINT32_MAX;
    if (room)
        layer_builder_add(&l->builder, pack, blobs, n);
    (void)pthread_mutex_unlock(&l->lock);
    return room ? 0 : err_set(e, ERR_LIMIT, "the index has more than 2^32 entries");
}

static int nothing(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                   struct err *e)
{
    (void)pack, (void)blobs, (void)n, (void)arg, (void)e;
    return 0;
}

static int load_file(void *item, void *arg, struct err *e)
{
    const struct id *file = item;
    struct load *l = arg;
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_JSON);
    int rc = repo_load_file(l->repo, "index", file, &json, e);
    /* Where damage may be left out, a file counts whole or not at all. */
    if (rc == 0 && l->bad != NULL)
        rc = index_parse(json.data, json.len, nothing, NULL, e);
    if (rc == 0)
        rc = index_parse(json.data, json.len, take_pack, l, e);
    if (rc == 0)
        return 0;
    char name[REPO_NAME_MAX];
    if (strstr(e->msg, repo_file_name("index", file, name)) == NULL)
        (void)err_prefix(e, "%s", name);
    if (rc == ERR_CORRUPT)
        (void)err_hint(e, "run `salvor repair index` to make the index anew from the packs");
    if (l->bad == NULL || (rc != ERR_CORRUPT && rc != ERR_NOT_FOUND && rc != ERR_LIMIT))
        return rc;
    (void)pthread_mutex_lock(&l->lock);
    l->nbad++;
    l->bad(file, e, l->bad_arg);
    (void)pthread_mutex_unlock(&l->lock);
    return 0;
}

static int load_files(struct load *l, struct id_list *files, struct err *e)
{
    if (files->n == 0)
        return 0;
    size_t threads = files->n < cpu_count() ? files->n : cpu_count();
    struct pool *pool = pool_new(threads, 2 * threads, load_file, NULL, l);
    int rc = 0;
    for (size_t i = 0; i < files->n && rc == 0; i++)
        rc = pool_submit(pool, &files->id[i], e);
    if (rc == 0)
        rc = pool_wait(pool, e);
    pool_free(pool);
    return rc;
}

/* ---- the cache ---- */

/* Opens the cache if all that it covers is still in the store; else `base` stays empty. */
static void open_cache(const char *path, struct repo *r, const struct id_list *present,
                       struct layer *base, struct id_list *covered)
{
    struct err e = ERR_INIT;
    int rc = index_cache_open(path, &r->id, base, covered, &e);
    if (rc < 0 && rc != ERR_NOT_FOUND)
        log_debug("%s; it is made anew", e.msg);
    bool stale = rc < 0;
    for (size_t i = 0; i < covered->n && !stale; i++)
        stale = !id_list_has(present, &covered->id[i]);
    if (stale) {
        layer_release(base);
        id_list_release(covered);
        memset(covered, 0, sizeof *covered);
    }
}

/* Makes the sorted layer of what was collected and of the cache's present content, and keeps it in
 * the cache file, from which it is mapped again so that its memory is the system's. */
static int make_layer(struct load *l, const char *cache, const struct id_list *present,
                      struct layer *base)
{
    if (base->n > 0 && !layer_builder_add_layer(&l->builder, base))
        return -1; /* damaged: the caller starts over */
    layer_release(base);
    layer_builder_finish(&l->builder, base);
    if (cache == NULL || l->nbad > 0)
        return 0;
    struct err e = ERR_INIT;
    struct layer mapped;
    _cleanup_(id_list_release) struct id_list files = {0};
    if (index_cache_write(cache, &l->repo->id, base, present, &e) < 0) {
        log_warning("%s; going on without the cache", e.msg);
        return 0;
    }
    if (index_cache_open(cache, &l->repo->id, &mapped, &files, &e) == 0) {
        layer_release(base);
        *base = mapped;
    }
    return 0;
}

int index_read_anew(struct index *x, struct err *e)
{
    _cleanup_(id_list_release) struct id_list files = {0};
    (void)pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->files.n; i++)
        id_list_add(&files, &x->files.id[i]);
    (void)pthread_mutex_unlock(&x->lock);
    struct load l = {.repo = x->repo};
    (void)pthread_mutex_init(&l.lock, NULL);
    int rc = load_files(&l, &files, e);
    if (rc == 0)
        layer_builder_finish(&l.builder, &x->anew);
    layer_builder_release(&l.builder);
    (void)pthread_mutex_destroy(&l.lock);
    return rc;
}

/* ---- loading ---- */

static void subtract(const struct id_list *all, const struct id_list *known, struct id_list *out)
{
    for (size_t i = 0; i < all->n; i++)
        if (!id_list_has(known, &all->id[i]))
            id_list_add(out, &all->id[i]);
}

static void live_take(const struct layer_builder *b, struct live *v)
{
    for (size_t i = 0; i < b->n; i++) {
        struct index_blob blob;
        entry_blob(&b->entry[i], &blob);
        live_add_pack(v, &b->packs.id[b->entry[i].place & ENTRY_PACK], &blob, 1);
    }
}

/* Fills `base`, and `live` with what is not worth a new cache file yet. */
static int load_layers(struct load *l, const char *cache, const struct id_list *present,
                       struct layer *base, struct live *live, struct err *e)
{
    _cleanup_(id_list_release) struct id_list covered = {0}, missing = {0};
    if (cache != NULL)
        open_cache(cache, l->repo, present, base, &covered);
    subtract(present, &covered, &missing);
    int rc = load_files(l, &missing, e);
    if (rc < 0)
        return rc;
    bool behind =
        base->map == NULL || missing.n >= BEHIND_FILES || l->builder.n > base->n / 8 + BEHIND_BLOBS;
    if (!behind) {
        live_take(&l->builder, live);
        return 0;
    }
    if (make_layer(l, cache, present, base) == 0)
        return 0;
    log_warning("the local index cache %s is damaged; it is made anew", cache);
    layer_release(base);
    layer_builder_release(&l->builder);
    (void)unlink(cache);
    return load_layers(l, cache, present, base, live, e);
}

/* Puts the new content in the place of the old; packs not saved yet stay known. */
static void replace(struct index *x, struct layer *base, struct live *live, struct id_list *files)
{
    layer_release(&x->base);
    layer_release(&x->anew);
    atomic_store(&x->mended, false);
    x->mend_tried = false;
    /* A member at a time: atomics are not copied as a struct while anybody looks, and nobody does.
     */
    memcpy(&x->base, base, sizeof x->base);
    live_release(&x->live);
    x->live = *live;
    for (size_t i = 0; i < x->npending; i++)
        live_add_pack(&x->live, &x->pending[i].pack, x->pending[i].blob, x->pending[i].n);
    id_list_release(&x->files);
    x->files = *files;
    memset(files, 0, sizeof *files);
}

static bool same_ids(const struct id_list *a, const struct id_list *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->id, b->id, a->n * sizeof *a->id) == 0);
}

int index_load(struct index *x, struct repo *r, enum index_mode mode, index_bad_fn *bad, void *arg,
               struct err *e)
{
    _cleanup_(id_list_release) struct id_list present = {0};
    int rc = repo_list_files(r, "index", &present, e);
    if (rc < 0)
        return rc;
    id_list_sort(&present);
    if (mode == INDEX_CACHED && x->loaded && !x->cache_damaged && same_ids(&present, &x->files)) {
        index_drop_claims(x);
        return 0;
    }
    free(x->cache);
    x->cache =
        mode == INDEX_CACHED && r->cache_dir != NULL ? str_fmt("%s/index", r->cache_dir) : NULL;
    struct load l = {.repo = r, .bad = bad, .bad_arg = arg};
    struct layer base = {0};
    struct live live = {0};
    (void)pthread_mutex_init(&l.lock, NULL);
    rc = load_layers(&l, x->cache, &present, &base, &live, e);
    layer_builder_release(&l.builder);
    (void)pthread_mutex_destroy(&l.lock);
    if (rc < 0) {
        layer_release(&base);
        live_release(&live);
        return rc;
    }
    replace(x, &base, &live, &present);
    x->repo = r;
    x->loaded = l.nbad == 0;
    x->cache_damaged = false;
    return 0;
}
