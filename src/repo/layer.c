/* The sorted layer of the index: building it in place, finding in it. */
#include "base/mem.h"
#include "repo/layer_int.h"
#include <endian.h>
#include <string.h>
#include <sys/mman.h>

/* ---- packs ---- */

static uint64_t id_prefix(const struct id *id)
{
    uint64_t v;
    memcpy(&v, id->byte, sizeof v);
    return be64toh(v);
}

/* The slot of a pack, or the empty one where it belongs. */
static size_t pack_slot(const struct pack_table *t, const struct id *pack)
{
    size_t i = (size_t)id_prefix(pack) & (t->nslot - 1);
    while (t->slot[i] != 0 && !id_equal(&t->id[t->slot[i] - 1], pack))
        i = (i + 1) & (t->nslot - 1);
    return i;
}

static void pack_table_grow(struct pack_table *t)
{
    free(t->slot);
    t->nslot = t->nslot == 0 ? 64 : t->nslot * 2;
    t->slot = mem_array(t->nslot, sizeof *t->slot);
    for (size_t k = 0; k < t->n; k++)
        t->slot[pack_slot(t, &t->id[k])] = (uint32_t)k + 1;
}

uint32_t pack_table_add(struct pack_table *t, const struct id *pack)
{
    uint32_t number;
    if (pack_table_has(t, pack, &number))
        return number;
    if ((t->n + 1) * 2 > t->nslot)
        pack_table_grow(t);
    mem_grow(&t->id, t->n, &t->cap, sizeof *t->id);
    t->id[t->n] = *pack;
    t->slot[pack_slot(t, pack)] = (uint32_t)t->n + 1;
    return (uint32_t)t->n++;
}

bool pack_table_has(const struct pack_table *t, const struct id *pack, uint32_t *number)
{
    if (t->nslot == 0)
        return false;
    uint32_t found = t->slot[pack_slot(t, pack)];
    if (found == 0)
        return false;
    *number = found - 1;
    return true;
}

void pack_table_release(struct pack_table *t)
{
    free(t->id);
    free(t->slot);
    memset(t, 0, sizeof *t);
}

/* ---- building ---- */

void layer_builder_add(struct layer_builder *b, const struct id *pack,
                       const struct index_blob *blobs, size_t n)
{
    uint32_t number = pack_table_add(&b->packs, pack);
    for (size_t i = 0; i < n; i++) {
        mem_grow(&b->entry, b->n, &b->cap, sizeof *b->entry);
        entry_fill(&b->entry[b->n++], &blobs[i], number);
    }
}

bool layer_builder_add_layer(struct layer_builder *b, struct layer *from)
{
    for (uint64_t i = 0; i < from->n; i++) {
        const struct index_entry *n = layer_entry(from, i);
        const struct id *pack = n != NULL ? layer_pack(from, n->place & ENTRY_PACK) : NULL;
        if (pack == NULL)
            return false;
        struct index_blob blob;
        entry_blob(n, &blob);
        layer_builder_add(b, pack, &blob, 1);
    }
    return true;
}

void layer_builder_release(struct layer_builder *b)
{
    free(b->entry);
    pack_table_release(&b->packs);
    memset(b, 0, sizeof *b);
}

static int compare(const void *va, const void *vb)
{
    const struct index_entry *a = va, *b = vb;
    int c = entry_compare(a, entry_type(b), &b->id);
    if (c != 0)
        return c;
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static unsigned bucket_of(const struct index_entry *n)
{
    return (unsigned)n->id.byte[0] << 8 | n->id.byte[1];
}

enum { BUCKETS = 1 << 16 };

/* Moves every entry into its bucket by the first two bytes, swapping in place ("American flag
 * sort"); ids are digests, so that the buckets come out even. qsort would take a second copy of
 * everything; on one bucket it takes next to nothing. */
static void sort_in_place(struct index_entry *entry, size_t n)
{
    if (n < BUCKETS) {
        if (n > 1)
            qsort(entry, n, sizeof *entry, compare);
        return;
    }
    _cleanup_free_ size_t *end = mem_array(BUCKETS, sizeof *end);
    _cleanup_free_ size_t *next = mem_array(BUCKETS, sizeof *next);
    for (size_t i = 0; i < n; i++)
        end[bucket_of(&entry[i])]++;
    for (size_t k = 0, at = 0; k < BUCKETS; k++) {
        next[k] = at;
        at += end[k];
        end[k] = at;
    }
    for (size_t k = 0; k < BUCKETS; k++) {
        while (next[k] < end[k]) {
            unsigned home = bucket_of(&entry[next[k]]);
            if (home == k) {
                next[k]++;
                continue;
            }
            struct index_entry moved = entry[next[home]];
            entry[next[home]++] = entry[next[k]];
            entry[next[k]] = moved;
        }
    }
    for (size_t k = 0, at = 0; k < BUCKETS; at = end[k++])
        if (end[k] - at > 1)
            qsort(entry + at, end[k] - at, sizeof *entry, compare);
}

void layer_builder_finish(struct layer_builder *b, struct layer *out)
{
    sort_in_place(b->entry, b->n);
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++)
        if (kept == 0 || memcmp(&b->entry[kept - 1], &b->entry[i], sizeof *b->entry) != 0)
            b->entry[kept++] = b->entry[i];
    memset(out, 0, sizeof *out);
    out->own_entry = take(b->entry);
    out->entry = out->own_entry;
    out->n = kept;
    out->own_pack = take(b->packs.id);
    out->pack = out->own_pack;
    out->npack = b->packs.n;
    layer_builder_release(b);
}

/* ---- finding ---- */

/* Whether the block of a mapped layer holds what was written; looked at once. */
static bool block_whole(struct layer *l, uint64_t block, const void *data, size_t len)
{
    if (l->sum == NULL || atomic_load_explicit(&l->checked[block], memory_order_relaxed) != 0)
        return true;
    if (index_cache_sum(data, len) != l->sum[block]) {
        atomic_store(&l->damaged, true);
        return false;
    }
    atomic_store_explicit(&l->checked[block], 1, memory_order_relaxed);
    return true;
}

/* Item i of a region of n items of `size` bytes whose first block is `first`. */
static const void *region_item(struct layer *l, const void *region, uint64_t n, size_t size,
                               uint64_t first, uint64_t i)
{
    uint64_t a_block = CACHE_BLOCK / size, block = i / a_block, start = block * a_block;
    uint64_t count = n - start < a_block ? n - start : a_block;
    const uint8_t *base = region;
    if (!block_whole(l, first + block, base + start * size, (size_t)(count * size)))
        return NULL;
    return base + i * size;
}

const struct index_entry *layer_entry(struct layer *l, uint64_t i)
{
    return region_item(l, l->entry, l->n, sizeof *l->entry, 0, i);
}

const struct id *layer_pack(struct layer *l, uint32_t number)
{
    uint64_t a_block = CACHE_BLOCK / sizeof *l->entry;
    if (number >= l->npack)
        return NULL;
    return region_item(l, l->pack, l->npack, sizeof *l->pack, (l->n + a_block - 1) / a_block,
                       number);
}

/* Where an id should be among entries [low, high), whose ids are between a and b: ids are digests
 * and so spread evenly. */
static uint64_t guess(uint64_t low, uint64_t high, uint64_t a, uint64_t b, uint64_t wanted)
{
    if (wanted <= a || b <= a)
        return low;
    if (wanted >= b)
        return high - 1;
    __extension__ typedef unsigned __int128 wide;
    return low + (uint64_t)((wide)(wanted - a) * (high - low - 1) / (b - a));
}

bool layer_first(struct layer *l, enum blob_type type, const struct id *id, uint64_t *out)
{
    uint64_t low = 0, high = l->n, a = 0, b = UINT64_MAX, wanted = id_prefix(id);
    /* Interpolation ends within a few steps; halving guards against ids that are not even. */
    for (unsigned step = 0; low < high; step++) {
        uint64_t middle = step < 8 ? guess(low, high, a, b, wanted) : low + (high - low) / 2;
        const struct index_entry *n = layer_entry(l, middle);
        if (n == NULL)
            return false;
        if (entry_compare(n, type, id) < 0) {
            low = middle + 1;
            a = id_prefix(&n->id);
        } else {
            high = middle;
            b = id_prefix(&n->id);
        }
    }
    if (low >= l->n)
        return false;
    const struct index_entry *n = layer_entry(l, low);
    if (n == NULL || entry_compare(n, type, id) != 0)
        return false;
    *out = low;
    return true;
}

void layer_release(struct layer *l)
{
    free(l->own_entry);
    free(l->own_pack);
    free(l->checked);
    if (l->map != NULL)
        (void)munmap(l->map, l->map_len);
    memset(l, 0, sizeof *l);
}
