/* Blobs that lie in several packs: which copy counts. The others are given up, so the one that
 * stays is read first: it may be the damaged one, and nobody would know until a restore. A pack in
 * which damage was met is not kept. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "repo/prune_int.h"
#include <pthread.h>
#include <stdlib.h>

static int compare_spares(const void *va, const void *vb)
{
    const struct prune_spare *a = va, *b = vb;
    if (a->ordinal != b->ordinal)
        return a->ordinal < b->ordinal ? -1 : 1;
    return a->pack < b->pack ? -1 : a->pack > b->pack;
}

bool prune_takes(const struct prune *p, const struct index_blob *b, uint32_t pack)
{
    uint64_t ordinal;
    if (!index_ordinal(p->repo->index, b->type, &b->id, &ordinal) ||
        (p->state[ordinal] & PRUNE_USED) == 0)
        return false;
    struct prune_spare key = {ordinal, pack};
    return p->nspare == 0 || bsearch(&key, p->spare, p->nspare, sizeof key, compare_spares) == NULL;
}

/* ---- reading a copy ---- */

int prune_check_copy(struct repo *r, const struct id *id, const struct blob_place *place,
                     const uint8_t *sealed, struct prune_hands *h, struct err *e)
{
    buf_clear(&h->sealed);
    int rc = buf_append(&h->sealed, sealed, place->length, e);
    return rc == 0 ? repo_open_blob(r, id, place, h->sealed.data, &h->plain, e) : rc;
}

int prune_load_copy(struct repo *r, const struct id *id, const struct blob_place *place,
                    struct prune_hands *h, struct err *e)
{
    char name[REPO_NAME_MAX];
    buf_clear(&h->copy);
    int rc = store_get(r->store, repo_file_name("data", &place->pack, name), place->offset,
                       place->length, &h->copy, e);
    return rc == 0 ? prune_check_copy(r, id, place, h->copy.data, h, e) : rc;
}

void prune_hands_release(struct prune_hands *h)
{
    buf_release(&h->copy);
    buf_release(&h->sealed);
    buf_release(&h->plain);
}

/* ---- choosing ---- */

struct copies {
    struct prune *p;
    uint32_t at;
};

/* Lists every copy of the blobs that lie in several packs. */
static int list_copies(const struct id *id, const struct index_blob *blobs, size_t n, void *arg,
                       struct err *e)
{
    (void)id, (void)e;
    struct copies *c = arg;
    struct prune *p = c->p;
    for (size_t i = 0; i < n; i++) {
        uint64_t o = 0;
        if (!index_ordinal(p->repo->index, blobs[i].type, &blobs[i].id, &o) ||
            (p->state[o] & PRUNE_USED) == 0 || (p->state[o] & PRUNE_SEEN_MOST) < 2)
            continue;
        mem_grow(&p->spare, p->nspare, &p->spare_cap, sizeof *p->spare);
        p->spare[p->nspare++] = (struct prune_spare){o, c->at};
    }
    c->at++;
    return 0;
}

/* The better home of a blob: a pack that is there and whole, and of those the one with more in use.
 * After a crash between the new packs and the removal of the old ones, that is always the new one.
 */
static bool better(const struct prune *p, uint32_t a, uint32_t b)
{
    const struct prune_pack *x = &p->pack[a], *y = &p->pack[b];
    bool x_whole = prune_pack_whole(x), y_whole = prune_pack_whole(y);
    if (x_whole != y_whole)
        return x_whole;
    double share_x = x->sealed > 0 ? (double)x->used / (double)x->sealed : 0;
    double share_y = y->sealed > 0 ? (double)y->used / (double)y->sealed : 0;
    return share_x > share_y;
}

/* The copies of one blob in p->spare, [from, to). */
struct group {
    struct prune *p;
    size_t from, to, best;
};

/* Puts the best one of the copies that were not tried yet next. */
static void sort_best(struct group *g)
{
    struct prune_spare *spare = g->p->spare;
    for (size_t i = g->best + 1; i < g->to; i++)
        if (better(g->p, spare[i].pack, spare[g->best].pack)) {
            struct prune_spare better_one = spare[i];
            spare[i] = spare[g->best];
            spare[g->best] = better_one;
        }
}

/* Reads the copy that g->best stands for. */
static int read_best(const struct group *g, struct prune_hands *h, struct err *e)
{
    const struct prune_spare *s = &g->p->spare[g->best];
    const struct id *pack = &g->p->pack[s->pack].id;
    struct index *x = g->p->repo->index;
    struct index_blob b;
    struct blob_place place;
    index_blob_at(x, s->ordinal, &b);
    for (unsigned nth = 0; index_find(x, b.type, &b.id, nth, &place); nth++)
        if (id_equal(&place.pack, pack))
            return prune_load_copy(g->p->repo, &b.id, &place, h, e);
    return err_set(e, ERR_INTERNAL, "a copy of a blob is not in the index any more");
}

/* Finds the best copy that is whole. Works on many blobs at a time; `arg` guards what they share.
 */
static int choose(void *item, void *arg, struct err *e)
{
    pthread_mutex_t *lock = arg;
    struct group *g = item;
    struct err first = ERR_INIT;
    _cleanup_(prune_hands_release) struct prune_hands h = PRUNE_HANDS_INIT;
    for (; g->best < g->to; g->best++) {
        sort_best(g);
        int rc = cancel_check(e);
        if (rc == 0 && !g->p->options->dry_run)
            rc = read_best(g, &h, e);
        if (rc == 0 || rc == ERR_CANCELLED || rc == ERR_INTERNAL)
            return rc;
        (void)pthread_mutex_lock(lock);
        g->p->pack[g->p->spare[g->best].pack].spoilt = true;
        (void)pthread_mutex_unlock(lock);
        if (first.code == 0)
            first = *e;
    }
    *e = first;
    if (e->code == ERR_CORRUPT || e->code == ERR_NOT_FOUND)
        (void)err_hint(e, "no other pack has it whole, and nothing was removed; run `salvor verify "
                          "--read-data`");
    return e->code;
}

static size_t group_copies(struct prune *p, struct group *g)
{
    size_t n = 0;
    for (size_t from = 0, to; from < p->nspare; from = to, n++) {
        for (to = from; to < p->nspare && p->spare[to].ordinal == p->spare[from].ordinal;)
            to++;
        if (g != NULL)
            g[n] = (struct group){p, from, to, from};
    }
    return n;
}

static void tell_spoilt(const struct prune *p)
{
    char name[REPO_NAME_MAX];
    for (size_t i = 0; i < p->npack; i++)
        if (p->pack[i].spoilt)
            log_notice("%s is damaged; what other packs have of its content, too, is taken from "
                       "them",
                       repo_file_name("data", &p->pack[i].id, name));
}

/* Leaves in p->spare the copies that are not taken. */
static void keep_spares(struct prune *p, const struct group *g, size_t n)
{
    size_t kept = 0;
    for (size_t k = 0; k < n; k++) {
        struct prune_spare best = p->spare[g[k].best];
        for (size_t i = g[k].from; i < g[k].to; i++)
            if (p->spare[i].pack != best.pack)
                p->spare[kept++] = p->spare[i];
    }
    p->nspare = kept;
    qsort(p->spare, p->nspare, sizeof *p->spare, compare_spares);
}

static int choose_copies(struct prune *p, struct err *e)
{
    qsort(p->spare, p->nspare, sizeof *p->spare, compare_spares);
    size_t n = group_copies(p, NULL);
    _cleanup_free_ struct group *g = mem_array(n, sizeof *g);
    (void)group_copies(p, g);
    size_t threads = store_properties(p->repo->store)->connections;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct pool *pool = pool_new(threads, 2 * threads, choose, NULL, &lock);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = pool_submit(pool, &g[i], e);
    if (rc == 0)
        rc = pool_wait(pool, e);
    pool_free(pool);
    tell_spoilt(p);
    if (rc == 0)
        keep_spares(p, g, n);
    return rc;
}

static int discount(const struct id *id, const struct index_blob *blobs, size_t n, void *arg,
                    struct err *e)
{
    (void)id, (void)e;
    struct copies *c = arg;
    struct prune_pack *k = &c->p->pack[c->at];
    k->used = 0;
    k->nused = 0;
    for (size_t i = 0; i < n; i++)
        if (prune_takes(c->p, &blobs[i], c->at)) {
            k->used += blobs[i].length;
            k->nused++;
        }
    c->at++;
    return 0;
}

int prune_copies(struct prune *p, struct err *e)
{
    struct copies c = {.p = p};
    int rc = index_each_pack(p->repo->index, list_copies, &c, e);
    if (rc < 0 || p->nspare == 0)
        return rc;
    rc = choose_copies(p, e);
    c.at = 0;
    return rc == 0 ? index_each_pack(p->repo->index, discount, &c, e) : rc;
}
