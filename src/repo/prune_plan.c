/* Planning: what each pack holds of use, and what is worth repacking. */
#include "base/log.h"
#include "base/mem.h"
#include "repo/prune_int.h"
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_PACK = 4 << 20, /* packs below this are put together, ... */
    SMALL_PACKS = 16,     /* ... once there are so many of a type */
};

/* ---- what the packs hold ---- */

static int count_pack(const struct id *id, const struct index_blob *blobs, size_t n, void *arg,
                      struct err *e)
{
    (void)e;
    struct prune *p = arg;
    struct prune_pack k = {.id = *id, .nblob = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        uint64_t o = 0;
        k.sealed += blobs[i].length;
        k.has_data |= blobs[i].type == BLOB_DATA;
        k.has_tree |= blobs[i].type == BLOB_TREE;
        if (!index_ordinal(p->repo->index, blobs[i].type, &blobs[i].id, &o) ||
            (p->state[o] & PRUNE_USED) == 0)
            continue;
        k.used += blobs[i].length;
        k.nused++;
        if ((p->state[o] & PRUNE_SEEN_MOST) < PRUNE_SEEN_MOST)
            p->state[o]++;
    }
    mem_grow(&p->pack, p->npack, &p->pack_cap, sizeof *p->pack);
    p->pack[p->npack++] = k;
    return 0;
}

/* ---- what the store holds ---- */

struct by_id {
    const struct id *id;
    struct prune_pack *pack;
};

static int compare_ids(const void *a, const void *b)
{
    return id_compare(((const struct by_id *)a)->id, ((const struct by_id *)b)->id);
}

struct listing {
    struct prune *p;
    struct by_id *sorted;
};

static int list_pack(const struct store_object *o, void *arg, struct err *e)
{
    (void)e;
    struct listing *l = arg;
    const char *name = strrchr(o->name, '/');
    struct id id;
    if (name == NULL || !id_parse(name + 1, strlen(name + 1), &id))
        return 0; /* not a pack; restic leaves such files alone too */
    struct by_id key = {.id = &id};
    struct by_id *found =
        l->p->npack == 0 ? NULL
                         : bsearch(&key, l->sorted, l->p->npack, sizeof *l->sorted, compare_ids);
    l->p->result->packs_before++;
    l->p->result->bytes_before += o->size;
    if (found != NULL)
        found->pack->size = o->size;
    else
        id_list_add(&l->p->unindexed, &id);
    return 0;
}

static int list_store(struct prune *p, struct err *e)
{
    struct listing l = {.p = p, .sorted = mem_array(p->npack, sizeof *l.sorted)};
    for (size_t i = 0; i < p->npack; i++)
        l.sorted[i] = (struct by_id){&p->pack[i].id, &p->pack[i]};
    qsort(l.sorted, p->npack, sizeof *l.sorted, compare_ids);
    int rc = store_list(p->repo->store, "data/", list_pack, &l, e);
    free(l.sorted);
    return rc;
}

/* A pack that is needed and not there, or shorter than its blobs, is damage: removing anything
 * could take away what a repair needs. */
static int require_packs(const struct prune *p, struct err *e)
{
    for (size_t i = 0; i < p->npack; i++) {
        const struct prune_pack *k = &p->pack[i];
        if (k->nused == 0 || prune_pack_whole(k))
            continue;
        char name[REPO_NAME_MAX];
        return err_set(e, ERR_CORRUPT,
                       "%s is needed and %s; nothing was removed; run `salvor verify`",
                       repo_file_name("data", &k->id, name),
                       k->size == 0 ? "not there" : "shorter than it was");
    }
    return 0;
}

/* ---- deciding ---- */

static uint64_t waste(const struct prune_pack *k)
{
    return k->sealed - k->used;
}

static int most_wasteful(const void *va, const void *vb)
{
    const struct prune_pack *a = *(const struct prune_pack *const *)va;
    const struct prune_pack *b = *(const struct prune_pack *const *)vb;
    double x = (double)waste(a) / (double)a->sealed, y = (double)waste(b) / (double)b->sealed;
    return x > y ? -1 : x < y;
}

static void repack_small(struct prune *p, bool tree)
{
    size_t limit = p->repo->pack_size != 0 && p->repo->pack_size / 4 < SMALL_PACK
                       ? p->repo->pack_size / 4
                       : SMALL_PACK;
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->npack; i++) {
            struct prune_pack *k = &p->pack[i];
            if (k->fate != PACK_KEEP || k->has_tree != tree || k->size >= limit)
                continue;
            if (pass == 0)
                n++;
            else if (n >= SMALL_PACKS)
                k->fate = PACK_REPACK;
        }
    }
}

static void decide(struct prune *p)
{
    _cleanup_free_ struct prune_pack **part = mem_array(p->npack, sizeof *part);
    size_t n = 0;
    uint64_t unused = 0, used = 0;
    for (size_t i = 0; i < p->npack; i++) {
        struct prune_pack *k = &p->pack[i];
        used += k->used;
        if (k->nused == 0) {
            k->fate = PACK_REMOVE;
        } else if ((k->has_data && k->has_tree) || k->spoilt) {
            k->fate = PACK_REPACK; /* the former is from the first versions of restic */
        } else if (waste(k) > 0) {
            part[n++] = k;
            unused += waste(k);
        }
    }
    repack_small(p, false);
    repack_small(p, true);
    qsort(part, n, sizeof(struct prune_pack *), most_wasteful);
    for (size_t i = 0; i < n; i++) {
        bool enough = (double)unused <= p->options->waste_limit * (double)(used + unused);
        if (!enough)
            part[i]->fate = PACK_REPACK;
        if (part[i]->fate == PACK_REPACK)
            unused -= waste(part[i]);
    }
    p->result->bytes_unused_left = unused;
}

static void report(struct prune *p)
{
    struct prune_result *r = p->result;
    for (size_t i = 0; i < p->npack; i++) {
        const struct prune_pack *k = &p->pack[i];
        r->blobs_unused += k->nblob - k->nused;
        if (k->fate == PACK_REMOVE) {
            r->packs_removed += k->size > 0;
            r->bytes_removed += k->size;
        } else if (k->fate == PACK_REPACK) {
            r->packs_repacked++;
            r->bytes_repacked += k->used;
            r->bytes_removed += k->size > k->used ? k->size - k->used : 0;
        }
    }
    r->packs_removed += p->unindexed.n;
}

int prune_plan(struct prune *p, struct err *e)
{
    int rc = index_each_pack(p->repo->index, count_pack, p, e);
    if (rc == 0)
        rc = list_store(p, e);
    if (rc == 0)
        rc = prune_copies(p, e);
    if (rc == 0)
        rc = require_packs(p, e);
    if (rc < 0)
        return rc;
    decide(p);
    report(p);
    return 0;
}
