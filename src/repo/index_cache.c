/* The sorted layer in a file of the cache directory, mapped when it is read. The header, the list
 * of index files that it covers and the checksums of all blocks are under one SHA-256 that is
 * checked at opening; the blocks are checked when they are first used, so that opening costs the
 * same at any size. */
#include "base/file.h"
#include "base/mem.h"
#include "crypt/crypt.h"
#include "repo/layer_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* header | ids of index files | block checksums | padding to 4096 | entries | pack ids */
struct cache_header {
    char magic[8];
    uint32_t version, order; /* `order` tells a file of another byte order */
    uint64_t size;           /* of the whole file */
    uint64_t nfile, nentry, npack;
    struct id repo;
    struct id digest; /* of everything before the padding, with this field zero */
};

static const char MAGIC[8] = "salvorix";
enum { VERSION = 1, ORDER = 0x01020304, PAGE = 4096 };

/* A few GB/s and good against damage; nobody is kept out by it. */
uint64_t index_cache_sum(const void *data, size_t len)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lane[4] = {len, 1, 2, 3};
    const uint8_t *p = data;
    for (; len >= 32; len -= 32, p += 32) {
        uint64_t word[4];
        memcpy(word, p, sizeof word);
        for (int i = 0; i < 4; i++) {
            lane[i] = (lane[i] ^ word[i]) * odd;
            lane[i] ^= lane[i] >> 29;
        }
    }
    uint64_t last[4] = {0};
    memcpy(last, p, len);
    uint64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        lane[i] = (lane[i] ^ last[i]) * odd;
        sum = (sum ^ lane[i] ^ (lane[i] >> 31)) * odd;
    }
    return sum ^ (sum >> 32);
}

struct cache_layout {
    uint64_t sums, nsum; /* offset of the checksums, and how many */
    uint64_t front;      /* bytes under the digest */
    uint64_t entries, packs, size;
};

static uint64_t blocks_of(uint64_t n, size_t item)
{
    uint64_t a_block = CACHE_BLOCK / item;
    return (n + a_block - 1) / a_block;
}

/* False if the counts cannot be true. */
static bool layout(const struct cache_header *h, struct cache_layout *out)
{
    if (h->nfile > UINT32_MAX || h->nentry > UINT32_MAX || h->npack > ENTRY_PACK)
        return false;
    out->sums = sizeof *h + h->nfile * sizeof(struct id);
    out->nsum =
        blocks_of(h->nentry, sizeof(struct index_entry)) + blocks_of(h->npack, sizeof(struct id));
    out->front = out->sums + out->nsum * sizeof(uint64_t);
    out->entries = (out->front + PAGE - 1) / PAGE * PAGE;
    out->packs = out->entries + h->nentry * sizeof(struct index_entry);
    out->size = out->packs + h->npack * sizeof(struct id);
    return true;
}

static void front_digest(const struct cache_header *h, const void *rest, size_t len, struct id *out)
{
    struct cache_header bare = *h;
    memset(&bare.digest, 0, sizeof bare.digest);
    struct sha256 *s = sha256_new();
    sha256_update(s, &bare, sizeof bare);
    sha256_update(s, rest, len);
    sha256_finish(s, out);
    sha256_free(s);
}

static bool header_valid(const struct cache_header *h, const struct id *repo, uint64_t size,
                         struct cache_layout *lay)
{
    return memcmp(h->magic, MAGIC, sizeof MAGIC) == 0 && h->version == VERSION &&
           h->order == ORDER && id_equal(&h->repo, repo) && h->size == size && layout(h, lay) &&
           lay->size == size;
}

int index_cache_open(const char *path, const struct id *repo, struct layer *out,
                     struct id_list *files, struct err *e)
{
    memset(out, 0, sizeof *out);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot open index cache %s", path);
    if (st.st_size < (off_t)sizeof(struct cache_header))
        return err_set(e, ERR_CORRUPT, "index cache %s is too short", path);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_sys(e, errno, "cannot map index cache %s", path);
    out->map = map;
    out->map_len = (size_t)st.st_size;

    const uint8_t *p = map;
    const struct cache_header *h = map;
    struct cache_layout lay;
    struct id digest;
    bool valid = header_valid(h, repo, (uint64_t)st.st_size, &lay);
    if (valid)
        front_digest(h, p + sizeof *h, (size_t)lay.front - sizeof *h, &digest);
    if (!valid || !id_equal(&digest, &h->digest)) {
        layer_release(out);
        return err_set(e, ERR_CORRUPT, "index cache %s is damaged or of another version", path);
    }
    for (uint64_t i = 0; i < h->nfile; i++)
        id_list_add(files, (const struct id *)(const void *)(p + sizeof *h) + i);
    id_list_sort(files);
    out->sum = (const uint64_t *)(const void *)(p + lay.sums);
    out->checked = mem_array((size_t)lay.nsum, 1);
    out->entry = (const struct index_entry *)(const void *)(p + lay.entries);
    out->n = h->nentry;
    out->pack = (const struct id *)(const void *)(p + lay.packs);
    out->npack = h->npack;
    (void)madvise(map, out->map_len, MADV_RANDOM);
    return 0;
}

static uint64_t *sum_region(uint64_t *sum, const void *region, uint64_t n, size_t item)
{
    const uint8_t *p = region;
    uint64_t a_block = CACHE_BLOCK / item;
    for (uint64_t at = 0; at < n; at += a_block) {
        uint64_t count = n - at < a_block ? n - at : a_block;
        *sum++ = index_cache_sum(p + at * item, (size_t)(count * item));
    }
    return sum;
}

static int write_parts(int fd, const char *path, const struct cache_header *h, const void *rest,
                       const struct cache_layout *lay, const struct layer *l, struct err *e)
{
    static const uint8_t zero[PAGE];
    const struct {
        const void *data;
        size_t len;
    } part[] = {
        {h, sizeof *h},
        {rest, (size_t)lay->front - sizeof *h},
        {zero, (size_t)(lay->entries - lay->front)},
        {l->entry, (size_t)l->n * sizeof *l->entry},
        {l->pack, (size_t)l->npack * sizeof *l->pack},
    };
    for (size_t i = 0; i < array_len(part); i++) {
        int rc = part[i].len > 0 ? fd_write_all(fd, part[i].data, part[i].len, path, e) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

int index_cache_write(const char *path, const struct id *repo, const struct layer *l,
                      const struct id_list *files, struct err *e)
{
    struct cache_header h = {.version = VERSION,
                             .order = ORDER,
                             .nfile = files->n,
                             .nentry = l->n,
                             .npack = l->npack,
                             .repo = *repo};
    struct cache_layout lay;
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    if (!layout(&h, &lay))
        return err_set(e, ERR_LIMIT, "the index has too many entries for the cache %s", path);
    h.size = lay.size;
    size_t rest_len = (size_t)lay.front - sizeof h;
    /* As u64 for alignment; ids are four of them. */
    _cleanup_free_ uint64_t *rest = mem_array(rest_len / sizeof(uint64_t), sizeof(uint64_t));
    if (files->n > 0)
        memcpy(rest, files->id, files->n * sizeof(struct id));
    uint64_t *sum = rest + files->n * (sizeof(struct id) / sizeof *rest);
    sum = sum_region(sum, l->entry, l->n, sizeof *l->entry);
    (void)sum_region(sum, l->pack, l->npack, sizeof *l->pack);
    front_digest(&h, rest, rest_len, &h.digest);

    _cleanup_free_ char *temporary = str_fmt("%s.%ld.tmp", path, (long)getpid());
    _cleanup_close_ int fd =
        open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return err_sys(e, errno, "cannot create index cache %s", temporary);
    int rc = write_parts(fd, temporary, &h, rest, &lay, l, e);
    /* Not synced: a crash that tears it is found by the checksums. */
    if (rc == 0 && rename(temporary, path) != 0)
        rc = err_sys(e, errno, "cannot rename %s to %s", temporary, path);
    if (rc < 0)
        (void)unlink(temporary);
    return rc;
}
