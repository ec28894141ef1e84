/* Inside of the index: entries of fixed size, sorted, in memory or mapped from the cache file. */
#ifndef SALVOR_REPO_LAYER_INT_H
#define SALVOR_REPO_LAYER_INT_H

#include "repo/index_int.h"
#include <pthread.h>
#include <stdatomic.h>

/* `place` holds the number of the pack, and in its two highest bits type and compression. */
struct index_entry {
    struct id id;
    uint32_t place, offset, length, plain_length;
};
_Static_assert(sizeof(struct index_entry) == 48, "the cache file holds these");

#define ENTRY_TREE UINT32_C(0x80000000)
#define ENTRY_COMPRESSED UINT32_C(0x40000000)
#define ENTRY_PACK UINT32_C(0x3fffffff)

static inline enum blob_type entry_type(const struct index_entry *n)
{
    return (n->place & ENTRY_TREE) != 0 ? BLOB_TREE : BLOB_DATA;
}

static inline int entry_compare(const struct index_entry *n, enum blob_type type,
                                const struct id *id)
{
    int c = id_compare(&n->id, id);
    return c != 0 ? c : (int)entry_type(n) - (int)type;
}

static inline void entry_fill(struct index_entry *n, const struct index_blob *b, uint32_t pack)
{
    n->id = b->id;
    n->place =
        pack | (b->type == BLOB_TREE ? ENTRY_TREE : 0) | (b->compressed ? ENTRY_COMPRESSED : 0);
    n->offset = b->offset;
    n->length = b->length;
    n->plain_length = b->plain_length;
}

static inline void entry_blob(const struct index_entry *n, struct index_blob *b)
{
    b->id = n->id;
    b->type = entry_type(n);
    b->offset = n->offset;
    b->length = n->length;
    b->plain_length = n->plain_length;
    b->compressed = (n->place & ENTRY_COMPRESSED) != 0;
}

/* Packs by number and by id. */
struct pack_table {
    struct id *id;
    size_t n, cap;
    uint32_t *slot; /* open addressing; number + 1, 0 for empty */
    size_t nslot;
};
uint32_t pack_table_add(struct pack_table *t, const struct id *pack); /* its number, new or old */
bool pack_table_has(const struct pack_table *t, const struct id *pack, uint32_t *number);
void pack_table_release(struct pack_table *t);

/* The sorted layer. Entries and packs lie in memory of their own or in a mapped cache file. */
struct layer {
    const struct index_entry *entry;
    uint64_t n;
    const struct id *pack;
    uint64_t npack;
    struct index_entry *own_entry; /* freed; NULL when mapped */
    struct id *own_pack;
    void *map; /* unmapped; NULL when in memory */
    size_t map_len;
    const uint64_t *sum;   /* checksums of the blocks of a mapped layer, verified already */
    atomic_uchar *checked; /* per block: 1 once its bytes matched */
    atomic_bool damaged;
};
void layer_release(struct layer *l);
/* Number of the first entry of a blob. */
bool layer_first(struct layer *l, enum blob_type type, const struct id *id, uint64_t *out);
/* NULL if the block that holds it is damaged. */
const struct index_entry *layer_entry(struct layer *l, uint64_t i);
const struct id *layer_pack(struct layer *l, uint32_t number);

/* Collects entries in any order for a new layer; the memory is taken over by it, so that an index
 * is never in memory twice. */
struct layer_builder {
    struct index_entry *entry;
    size_t n, cap;
    struct pack_table packs;
};
void layer_builder_add(struct layer_builder *b, const struct id *pack,
                       const struct index_blob *blobs, size_t n);
/* False if a block of `from` is damaged. */
_warn_unused_ bool layer_builder_add_layer(struct layer_builder *b, struct layer *from);
/* Sorts in place, drops entries that are there twice, and empties the builder. */
void layer_builder_finish(struct layer_builder *b, struct layer *out);
void layer_builder_release(struct layer_builder *b);

/* index_cache.c: the layer in a file. Opening fails with ERR_NOT_FOUND, ERR_CORRUPT or ERR_IO; the
 * answer is to build it anew in every case. `files` gets the index files that it covers. */
_warn_unused_ int index_cache_open(const char *path, const struct id *repo, struct layer *out,
                                   struct id_list *files, struct err *e);
_warn_unused_ int index_cache_write(const char *path, const struct id *repo, const struct layer *l,
                                    const struct id_list *files, struct err *e);
/* Blocks of a cache file: entries first, then packs, each region cut into blocks that hold whole
 * items. */
enum { CACHE_BLOCK = 48 << 10 };
uint64_t index_cache_sum(const void *data, size_t len);

/* ---- the whole index ---- */

/* What came since: open addressing. Copies of a blob in several packs are several entries. */
struct live {
    struct index_entry *slot;
    size_t nslot, n;
    struct pack_table packs;
};

struct pending_pack {
    struct id pack;
    struct index_blob *blob;
    size_t n;
};

struct index {
    struct layer base;
    struct layer anew;    /* takes over when `base` turns out to be damaged while it is in use */
    atomic_bool mended;   /* `anew` has taken over; `base` stays for those who are reading it */
    struct repo *repo;    /* that it was loaded from */
    pthread_mutex_t mend; /* guards mend_tried */
    bool mend_tried;
    pthread_mutex_t lock; /* guards what follows */
    struct live live;
    struct pending_pack *pending;
    size_t npending, pending_cap;
    struct id_list files;
    bool loaded;
    char *cache; /* path of the cache file, NULL without */
    bool cache_damaged;
    pthread_mutex_t saving; /* one index_save_new at a time */
};

void live_add_pack(struct live *v, const struct id *pack, const struct index_blob *blobs, size_t n);
void live_release(struct live *v);
/* index_load.c: reads the index files in x->files into x->anew; for index.c, once. */
_warn_unused_ int index_read_anew(struct index *x, struct err *e);

#endif
