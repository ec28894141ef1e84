/* zstd with one context for each thread, since making one costs more than compressing a small blob.
 * Format: RFC 8878. */
#include "base/mem.h"
#include "repo/repo_int.h"
#include <pthread.h>
#include <zstd.h>

struct contexts {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static bool contexts_key_made;

static void contexts_free(void *p)
{
    struct contexts *c = p;
    (void)ZSTD_freeCCtx(c->pack);
    (void)ZSTD_freeDCtx(c->unpack);
    free(c);
}

/* Thread-specific data of the main thread are not released at exit by themselves. */
static void contexts_free_last(void)
{
    struct contexts *c = pthread_getspecific(contexts_key);
    if (c != NULL && pthread_setspecific(contexts_key, NULL) == 0)
        contexts_free(c);
}

static void contexts_make_key(void)
{
    contexts_key_made = pthread_key_create(&contexts_key, contexts_free) == 0;
    if (contexts_key_made)
        (void)atexit(contexts_free_last);
}

/* This thread's contexts; NULL when the system has no memory or no keys left. */
static struct contexts *contexts_get(void)
{
    if (pthread_once(&contexts_once, contexts_make_key) != 0 || !contexts_key_made)
        return NULL;
    struct contexts *c = pthread_getspecific(contexts_key);
    if (c == NULL) {
        c = mem_zero(sizeof *c);
        if (pthread_setspecific(contexts_key, c) != 0) {
            free(c);
            return NULL;
        }
    }
    return c;
}

int zstd_pack(const void *data, size_t len, int level, struct buf *out, struct err *e)
{
    struct contexts *c = contexts_get();
    if (c != NULL && c->pack == NULL)
        c->pack = ZSTD_createCCtx();
    if (c == NULL || c->pack == NULL)
        return err_set(e, ERR_FULL, "cannot compress %zu bytes: out of memory", len);
    size_t bound = ZSTD_compressBound(len);
    int rc = buf_reserve(out, bound, e);
    if (rc != 0)
        return rc;
    size_t n = ZSTD_compressCCtx(c->pack, out->data + out->len, bound, data, len, level);
    if (ZSTD_isError(n))
        return err_set(e, ERR_INTERNAL, "cannot compress %zu bytes: %s", len, ZSTD_getErrorName(n));
    out->len += n;
    out->data[out->len] = '\0';
    return 0;
}

/* How much room to begin with: what the frame declares, else a guess; never more than `most`. */
static size_t first_room(const void *data, size_t len, size_t most)
{
    unsigned long long declared = ZSTD_getFrameContentSize(data, len);
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == ZSTD_CONTENTSIZE_ERROR)
        declared = len < most / 4 ? 4ULL * len + 64 : most;
    return declared < most ? (size_t)declared : most;
}

/* Decompresses into `out` until the input ends; `most` fits below the cap of `out`. */
static int unpack_frames(ZSTD_DCtx *ctx, ZSTD_inBuffer *in, size_t most, struct buf *out,
                         struct err *e)
{
    size_t end = out->len + most;
    int rc = buf_reserve(out, first_room(in->src, in->size, most), e);
    while (rc == 0) {
        size_t room = (out->size - 1 < end ? out->size - 1 : end) - out->len;
        ZSTD_outBuffer to = {out->data + out->len, room, 0};
        size_t before = in->pos;
        size_t left = ZSTD_decompressStream(ctx, &to, in);
        if (ZSTD_isError(left))
            return err_set(e, ERR_CORRUPT, "compressed data are damaged: %s",
                           ZSTD_getErrorName(left));
        out->len += to.pos;
        if (left == 0 && in->pos == in->size)
            return 0;
        bool stuck = to.pos == 0 && in->pos == before;
        if (stuck && room > 0)
            return err_set(e, ERR_CORRUPT, "compressed data end too early");
        if (stuck && out->len == end)
            return err_set(e, ERR_CORRUPT, "decompresses to more than the %zu bytes allowed", most);
        if (to.pos == room && out->len < end) {
            size_t more = room < (1 << 16) ? (1 << 16) : out->size;
            rc = buf_reserve(out, more < end - out->len ? more : end - out->len, e);
        }
    }
    return rc;
}

int zstd_unpack(const void *data, size_t len, size_t most, struct buf *out, struct err *e)
{
    struct contexts *c = contexts_get();
    if (c != NULL && c->unpack == NULL)
        c->unpack = ZSTD_createDCtx();
    if (c == NULL || c->unpack == NULL)
        return err_set(e, ERR_FULL, "cannot decompress %zu bytes: out of memory", len);
    (void)ZSTD_DCtx_reset(c->unpack, ZSTD_reset_session_only);

    size_t start = out->len;
    if (most > out->max - start)
        most = out->max - start;
    ZSTD_inBuffer in = {data, len, 0};
    int rc = unpack_frames(c->unpack, &in, most, out, e);
    if (rc != 0)
        out->len = start;
    if (out->data != NULL)
        out->data[out->len] = '\0';
    return rc;
}
