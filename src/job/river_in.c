/* The river towards the repository: the walker takes entries from the source, readers cut their
 * streams, savers hash, compress, seal and pack the pieces; a directory becomes a tree when its
 * last entry is done. Memory is bounded by the slabs, not by the data. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "repo/chunker.h"
#include "repo/tree.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLAB_SIZE = CHUNK_MOST, /* so that any one piece fits into one */
    READ_SIZE = 2 << 20,    /* at once: a slab is seldom filled further, nor its memory touched */
    READ_ATTEMPTS = 2,      /* a file that changes while it is read is read so often */
};

/* A buffer that a reader fills and savers empty; it goes back to the pile with its last piece. */
struct slab {
    uint8_t *data;
    atomic_int users;
    struct slab *next;
};

/* A run of bytes of one entry on its way to becoming a blob. */
struct slice {
    struct entry *entry;
    struct slab *slab;
    size_t offset, len;
    struct id id;
};

/* One entry of a directory, from the walk until its tree is written. */
struct entry {
    struct frame *in;
    struct node node;
    struct source_item *item; /* while its bytes are read, and with it `node`; else NULL */
    bool dropped;             /* vanished or unreadable: not in the tree */
    struct slice **slice;
    size_t nslice, slice_cap;
    size_t first;          /* pieces before it were read before the file changed */
    atomic_size_t pending; /* pieces not saved yet, and one while it is being read */
};

/* A directory whose entries are not all done. */
struct frame {
    struct frame *up;     /* NULL for content/ itself */
    struct entry *self;   /* its entry in `up` */
    struct entry **entry; /* ascending by name; only the walker appends */
    size_t n, cap;
    atomic_size_t pending; /* entries not done, and one while the walker is in it */
    struct tree before;    /* the earlier snapshot's entries, for the walker */
    size_t cursor;
};

struct river {
    struct river_in *r;
    struct chunker chunker;
    struct pool *readers, *savers;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t slab_back;
    struct slab *idle;
    size_t slabs, slabs_most;
    struct err err; /* the first failure; code 0 while there is none */
    atomic_bool failed;
};

static void river_fail(struct river *v, const struct err *e)
{
    (void)pthread_mutex_lock(&v->mutex);
    if (v->err.code == 0)
        v->err = *e;
    (void)pthread_mutex_unlock(&v->mutex);
    atomic_store(&v->failed, true);
}

static void remark(struct river *v, struct str_list *to, const char *path, const char *what)
{
    (void)pthread_mutex_lock(&v->mutex);
    str_list_add_take(to, str_fmt("%s: %s", path, what));
    (void)pthread_mutex_unlock(&v->mutex);
}

/* ---- slabs ---- */

static struct slab *slab_get(struct river *v)
{
    (void)pthread_mutex_lock(&v->mutex);
    while (v->idle == NULL && v->slabs == v->slabs_most)
        (void)pthread_cond_wait(&v->slab_back, &v->mutex);
    struct slab *s = v->idle;
    if (s != NULL)
        v->idle = s->next;
    else
        v->slabs++;
    (void)pthread_mutex_unlock(&v->mutex);
    if (s == NULL) {
        s = mem_zero(sizeof *s);
        s->data = mem_alloc(SLAB_SIZE);
    }
    atomic_store(&s->users, 1);
    return s;
}

static void slab_put(struct river *v, struct slab *s)
{
    if (atomic_fetch_sub(&s->users, 1) != 1)
        return;
    (void)pthread_mutex_lock(&v->mutex);
    s->next = v->idle;
    v->idle = s;
    (void)pthread_cond_signal(&v->slab_back);
    (void)pthread_mutex_unlock(&v->mutex);
}

/* ---- directories ---- */

static void entry_free(struct entry *n)
{
    for (size_t i = 0; i < n->nslice; i++)
        free(n->slice[i]);
    free(n->slice);
    node_release(&n->node);
    free(n);
}

static int frame_save(struct river *v, struct frame *f, struct id *out, struct err *e)
{
    _cleanup_(tree_writer_release) struct tree_writer w;
    tree_writer_init(&w);
    for (size_t i = 0; i < f->n; i++) {
        if (f->entry[i]->dropped)
            continue;
        int rc = tree_writer_add(&w, &f->entry[i]->node, e);
        if (rc < 0)
            return rc;
    }
    return tree_writer_save(&w, v->r->writer, out, e);
}

/* Counts one entry of `f` as done, and with the last one writes the tree; then the same for the
 * directory above, as far as that goes. */
static void frame_done(struct river *v, struct frame *f)
{
    while (f != NULL && atomic_fetch_sub(&f->pending, 1) == 1) {
        struct err e = ERR_INIT;
        struct id id = {{0}};
        if (!atomic_load(&v->failed) && frame_save(v, f, &id, &e) < 0)
            river_fail(v, &e);
        struct frame *up = f->up;
        if (up != NULL) {
            f->self->node.subtree = id;
            f->self->node.has_subtree = true;
        } else {
            v->r->content = id;
        }
        for (size_t i = 0; i < f->n; i++)
            entry_free(f->entry[i]);
        free(f->entry);
        tree_release(&f->before);
        free(f);
        f = up;
    }
}

static struct frame *frame_new(struct frame *up, struct entry *self)
{
    struct frame *f = mem_zero(sizeof *f);
    f->up = up;
    f->self = self;
    atomic_init(&f->pending, 1);
    return f;
}

/* ---- entries ---- */

static void entry_set_content(struct entry *n)
{
    struct node *node = &n->node;
    size_t count = n->nslice - n->first;
    free(node->content);
    node->content = count > 0 ? mem_array(count, sizeof *node->content) : NULL;
    node->ncontent = count;
    node->has_content = true;
    for (size_t i = 0; i < count; i++)
        node->content[i] = n->slice[n->first + i]->id;
}

static void entry_done(struct river *v, struct entry *n)
{
    if (atomic_fetch_sub(&n->pending, 1) != 1)
        return;
    entry_set_content(n);
    (void)atomic_fetch_add(&v->r->job->progress.items, 1);
    frame_done(v, n->in);
}

static int slice_save(void *item, void *arg, struct err *unused)
{
    (void)unused;
    struct river *v = arg;
    struct slice *p = item;
    struct err e = ERR_INIT;
    if (!atomic_load(&v->failed) && writer_save(v->r->writer, BLOB_DATA, p->slab->data + p->offset,
                                                p->len, &p->id, NULL, &e) < 0)
        river_fail(v, &e);
    slab_put(v, p->slab);
    entry_done(v, p->entry);
    return 0;
}

static void slice_drop(void *item, void *arg)
{
    struct err e = ERR_INIT;
    (void)slice_save(item, arg, &e);
}

static void slice_hand_on(struct river *v, struct entry *n, struct slab *s, size_t offset,
                          size_t len, bool alone)
{
    struct slice *p = mem_zero(sizeof *p);
    *p = (struct slice){.entry = n, .slab = s, .offset = offset, .len = len};
    mem_grow(&n->slice, n->nslice, &n->slice_cap, sizeof *n->slice);
    n->slice[n->nslice++] = p;
    (void)atomic_fetch_add(&n->pending, 1);
    (void)atomic_fetch_add(&s->users, 1);
    struct err e = ERR_INIT;
    if (alone) /* a small file: faster here than through another thread */
        (void)slice_save(p, v, &e);
    else if (pool_submit(v->savers, p, &e) < 0)
        river_fail(v, &e);
}

/* The length of the next piece; 0 when more bytes are needed to tell. */
static size_t cut(const struct river *v, const struct entry *n, const uint8_t *data, size_t len,
                  bool end)
{
    size_t piece = n->item->cut.piece;
    if (piece > 0)
        return len >= piece ? piece : end ? len : 0;
    size_t at = chunker_cut(&v->chunker, data, len);
    return at == len && len < CHUNK_MOST && !end ? 0 : at;
}

/* Reads a stream to its end and hands its pieces on. */
static int read_stream(struct river *v, struct entry *n, struct stream *s, uint64_t *total,
                       struct err *e)
{
    struct slab *slab = slab_get(v);
    size_t fill = 0;
    int rc = 0;
    for (bool end = false; !end;) {
        size_t got = 0, room = SLAB_SIZE - fill, want = room < READ_SIZE ? room : READ_SIZE;
        rc = cancel_check(e);
        if (rc == 0)
            rc = stream_read_full(s, slab->data + fill, want, &got, e);
        if (rc < 0 || atomic_load(&v->failed))
            break;
        end = got < want;
        fill += got;
        *total += got;
        (void)atomic_fetch_add(&v->r->job->progress.bytes, got);

        size_t at = 0, len;
        while (at < fill && (len = cut(v, n, slab->data + at, fill - at, end)) > 0) {
            bool alone = end && len == fill && n->nslice == n->first;
            slice_hand_on(v, n, slab, at, len, alone);
            at += len;
        }
        fill -= at;
        if (!end && at > 0) {
            struct slab *next = slab_get(v);
            memcpy(next->data, slab->data + at, fill);
            slab_put(v, slab);
            slab = next;
        }
    }
    slab_put(v, slab);
    return rc;
}

static void entry_missing(struct river *v, struct entry *n, const struct err *why)
{
    n->dropped = true;
    if (why->code == ERR_CANCELLED || source_is_whole(v->r->source))
        river_fail(v, why);
    else if (why->code == ERR_NOT_FOUND)
        remark(v, &v->r->notes, n->item->path, "vanished between listing and reading");
    else
        remark(v, &v->r->missing, n->item->path, why->msg);
}

static void read_bytes(struct river *v, struct entry *n)
{
    uint64_t total = 0;
    for (int attempt = 1;; attempt++) {
        _cleanup_(stream_closep) struct stream *s = NULL;
        struct err e = ERR_INIT;
        int rc = source_open(n->item, &s, &e);
        if (rc == 0) {
            total = 0;
            n->first = n->nslice;
            rc = read_stream(v, n, s, &total, &e);
        }
        if (rc == 0 && !atomic_load(&v->failed))
            rc = source_verdict(n->item, s, total, &e);
        if (rc == ERR_CHANGED && attempt < READ_ATTEMPTS)
            continue;
        if (rc == ERR_CHANGED)
            remark(
                v, &v->r->missing, n->item->path,
                "changed each time while it was read; what was read is kept, but it may mix states");
        else if (rc < 0)
            entry_missing(v, n, &e);
        break;
    }
    n->node = n->item->node;
    n->item->node = (struct node){0};
    n->node.size = total;
    (void)pthread_mutex_lock(&v->mutex);
    v->r->bytes += n->dropped ? 0 : total;
    v->r->files += !n->dropped;
    (void)pthread_mutex_unlock(&v->mutex);
}

static int entry_read(void *item, void *arg, struct err *unused)
{
    (void)unused;
    struct river *v = arg;
    struct entry *n = item;
    if (!atomic_load(&v->failed))
        read_bytes(v, n);
    source_item_release(n->item);
    free(take(n->item));
    entry_done(v, n);
    return 0;
}

static void entry_drop(void *item, void *arg)
{
    struct err e = ERR_INIT;
    (void)entry_read(item, arg, &e);
}

/* ---- the walker ---- */

/* The earlier snapshot's entry of the same name; both lists ascend. */
static const struct node *before(struct frame *f, const char *name)
{
    while (f->cursor < f->before.n && strcmp(f->before.node[f->cursor].name, name) < 0)
        f->cursor++;
    if (f->cursor < f->before.n && strcmp(f->before.node[f->cursor].name, name) == 0)
        return &f->before.node[f->cursor];
    return NULL;
}

/* Whether the earlier entry's blobs are all there and make up its size. */
static bool content_is_whole(const struct river *v, const struct node *old)
{
    uint64_t size = 0;
    struct blob_place place;
    for (size_t i = 0; i < old->ncontent; i++) {
        if (!repo_find_blob(v->r->job->repo, BLOB_DATA, &old->content[i], &place))
            return false;
        size += place.plain_length;
    }
    return size == old->size;
}

static bool take_content_from(struct river *v, struct source_item *i, const struct node *old)
{
    if (old == NULL || old->type != NODE_FILE || !source_unchanged(i, old) ||
        !content_is_whole(v, old))
        return false;
    struct node *node = &i->node;
    free(node->content);
    node->content = mem_dup(old->content, old->ncontent * sizeof *old->content);
    node->ncontent = old->ncontent;
    return true;
}

/* A tree that cannot be read only costs reading the files again; but where the index still holds it
 * to be there, it would pass for known when it comes up again, and the new snapshot lacked it too.
 */
static void load_before(struct river *v, struct frame *f, const struct id *tree)
{
    struct err e = ERR_INIT;
    if (tree_load(v->r->job->repo, tree, &f->before, &e) < 0) {
        if (repo_has_blob(v->r->job->repo, BLOB_TREE, tree))
            remark(v, &v->r->missing, f->self != NULL ? f->self->node.name : "content",
                   "the repository is damaged here; run `salvor repair index`, then this backup "
                   "again");
        log_warning("an earlier snapshot's tree cannot be read, so its files are read again: %s",
                    e.msg);
        f->before = (struct tree){0};
    }
}

/* A new entry of the directory that the walker is in. It takes the node over. */
static struct entry *entry_new(struct frame *f, struct node *node)
{
    struct entry *n = mem_zero(sizeof *n);
    n->in = f;
    n->node = *node;
    *node = (struct node){0};
    mem_grow(&f->entry, f->n, &f->cap, sizeof *f->entry);
    f->entry[f->n++] = n;
    (void)atomic_fetch_add(&f->pending, 1);
    return n;
}

static void walk_enter(struct river *v, struct frame **at, struct source_item *i)
{
    const struct node *old = before(*at, i->node.name);
    struct frame *f = frame_new(*at, entry_new(*at, &i->node));
    if (old != NULL && old->type == NODE_DIR && old->has_subtree)
        load_before(v, f, &old->subtree);
    v->r->dirs++;
    *at = f;
}

static void walk_leaf(struct river *v, struct frame *at, struct source_item *i)
{
    struct progress *p = &v->r->job->progress;
    bool file = i->node.type == NODE_FILE;
    i->node.has_content = file;
    if (i->has_bytes && !take_content_from(v, i, before(at, i->node.name))) {
        struct err e = ERR_INIT;
        struct node later = {0}; /* the reader moves the item's into the entry */
        struct entry *n = entry_new(at, &later);
        n->item = mem_dup(i, sizeof *i);
        *i = (struct source_item){0};
        atomic_init(&n->pending, 1);
        if (pool_submit(v->readers, n, &e) < 0)
            river_fail(v, &e);
        return;
    }
    uint64_t size = file ? i->node.size : 0;
    (void)pthread_mutex_lock(&v->mutex);
    v->r->files += file;
    v->r->bytes += size;
    v->r->unchanged += file && i->has_bytes;
    (void)pthread_mutex_unlock(&v->mutex);
    (void)atomic_fetch_add(&p->bytes, size);
    (void)atomic_fetch_add(&p->items, 1);
    (void)entry_new(at, &i->node);
    frame_done(v, at);
}

static void walk_problem(struct river *v, const struct source_item *i)
{
    bool gone = i->problem.code == ERR_NOT_FOUND;
    remark(v, gone ? &v->r->notes : &v->r->missing, i->path,
           gone ? "vanished while it was listed" : i->problem.msg);
}

static int walk_step(struct river *v, struct frame **at, struct source_item *i, struct err *e)
{
    struct frame *f = *at;
    switch (i->step) {
    case SOURCE_ENTER: walk_enter(v, at, i); break;
    case SOURCE_LEAF: walk_leaf(v, f, i); break;
    case SOURCE_PROBLEM: walk_problem(v, i); break;
    case SOURCE_END: break;
    case SOURCE_LEAVE:
        if (f->up == NULL)
            return err_set(e, ERR_INTERNAL, "the source leaves a directory that it did not enter");
        *at = f->up;
        frame_done(v, f);
        break;
    }
    return 0;
}

static int walk(struct river *v, struct frame **at, struct err *e)
{
    int rc = 0;
    for (bool end = false; rc == 0 && !end && !atomic_load(&v->failed);) {
        struct source_item i = {0};
        rc = cancel_check(e);
        if (rc == 0)
            rc = source_next(v->r->source, &i, e);
        if (rc == 0)
            rc = walk_step(v, at, &i, e);
        end = i.step == SOURCE_END;
        source_item_release(&i);
    }
    return rc;
}

static void slabs_free(struct river *v)
{
    while (v->idle != NULL) {
        struct slab *s = v->idle;
        v->idle = s->next;
        free(s->data);
        free(s);
    }
}

int river_in_run(struct river_in *r, struct err *e)
{
    size_t cpus = cpu_count();
    struct river v = {.r = r, .slabs_most = 2 * cpus + 1};
    chunker_init(&v.chunker, repo_chunker_polynomial(r->job->repo));
    (void)pthread_mutex_init(&v.mutex, NULL);
    (void)pthread_cond_init(&v.slab_back, NULL);
    v.savers = pool_new(cpus, 4 * cpus, slice_save, slice_drop, &v);
    v.readers = pool_new(cpus, 64, entry_read, entry_drop, &v);

    struct frame *at = frame_new(NULL, NULL);
    if (r->has_before)
        load_before(&v, at, &r->before);
    struct err why = ERR_INIT;
    if (walk(&v, &at, &why) < 0)
        river_fail(&v, &why);
    while (at != NULL) { /* after a failure directories are still open */
        struct frame *up = at->up;
        frame_done(&v, at);
        at = up;
    }
    pool_free(v.readers); /* these finish what is queued, and with it every frame */
    pool_free(v.savers);
    slabs_free(&v);
    (void)pthread_cond_destroy(&v.slab_back);
    (void)pthread_mutex_destroy(&v.mutex);
    if (v.err.code != 0) {
        *e = v.err;
        return e->code;
    }
    return 0;
}

void river_in_release(struct river_in *r)
{
    str_list_release(&r->missing);
    str_list_release(&r->notes);
}
