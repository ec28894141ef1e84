/* A file of a snapshot as a stream. Its blobs come in order; a few workers fetch ahead of the
 * reader, several neighbours of one pack at a time, and never more than a small window, so that
 * memory does not depend on the file. */
#include "base/mem.h"
#include "base/work.h"
#include "job/job_int.h"
#include "repo/tree.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_BYTES = 8 << 20, /* plaintext that is on its way or waits; one blob is always allowed */
    WINDOW_BLOBS = 64,
    RANGE_MOST = 2 << 20, /* bytes asked of the store at once, unless one blob is larger */
    WORKERS_LEAST = 2,
    WORKERS_MOST = 4,
};

struct slot {
    struct id blob;
    struct blob_place place;
    struct buf *plain; /* once it is done */
    bool done;
};

/* Pieces of one pack that are near to each other, by offset. */
struct fetch {
    struct slot *piece[WINDOW_BLOBS];
    size_t n;
};

struct spare {
    struct buf buf; /* first: a struct buf * is one of these */
    struct spare *next;
};

struct content_stream {
    struct stream stream; /* first: a struct stream * is one of these */
    struct job *job;
    char *path; /* for messages */
    struct id *blob;
    size_t nblob;
    uint64_t size, given; /* bytes that it should have, and that were read */
    size_t next, planned; /* blobs: the one that is read, and the first that is not asked for */
    size_t at;            /* bytes of `next` that were read */
    struct slot window[WINDOW_BLOBS];
    uint64_t ahead; /* bytes of plaintext in it */
    struct pool *pool;
    pthread_mutex_t mutex; /* guards what follows, and the pieces that were asked for */
    pthread_cond_t arrived;
    struct spare *spare;
    struct err err;
    bool failed;
};

/* ---- the workers ---- */

static struct buf *spare_get(struct content_stream *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    struct spare *b = s->spare;
    if (b != NULL)
        s->spare = b->next;
    (void)pthread_mutex_unlock(&s->mutex);
    if (b == NULL) {
        b = mem_zero(sizeof *b);
        buf_init(&b->buf, BUF_PACK);
    }
    buf_clear(&b->buf);
    return &b->buf;
}

static void spare_put(struct content_stream *s, struct buf *buf)
{
    struct spare *b = (struct spare *)buf;
    (void)pthread_mutex_lock(&s->mutex);
    b->next = s->spare;
    s->spare = b;
    (void)pthread_mutex_unlock(&s->mutex);
}

static void arrived(struct content_stream *s, struct slot *p, struct buf *plain)
{
    (void)pthread_mutex_lock(&s->mutex);
    p->plain = plain;
    p->done = true;
    (void)pthread_cond_signal(&s->arrived);
    (void)pthread_mutex_unlock(&s->mutex);
}

static void fail(struct content_stream *s, const struct err *e)
{
    (void)pthread_mutex_lock(&s->mutex);
    if (!s->failed)
        s->err = *e;
    s->failed = true;
    (void)pthread_cond_signal(&s->arrived);
    (void)pthread_mutex_unlock(&s->mutex);
}

static bool failed(struct content_stream *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    bool yes = s->failed;
    (void)pthread_mutex_unlock(&s->mutex);
    return yes;
}

/* Opens one blob out of the range, or when that fails, out of any copy that the repository has. */
static int open_piece(struct content_stream *s, const struct slot *p, uint8_t *sealed,
                      struct buf *out, struct err *e)
{
    struct err first = ERR_INIT;
    if (sealed != NULL &&
        repo_open_blob(s->job->repo, &p->blob, &p->place, sealed, out, &first) == 0)
        return 0;
    buf_clear(out);
    return repo_load_blob(s->job->repo, BLOB_DATA, &p->blob, out, e);
}

static void fetch_pieces(struct content_stream *s, const struct fetch *f, struct buf *sealed)
{
    const struct blob_place *first = &f->piece[0]->place, *last = &f->piece[f->n - 1]->place;
    uint64_t len = (uint64_t)last->offset + last->length - first->offset;
    char name[REPO_NAME_MAX];
    struct err e = ERR_INIT;
    bool have = store_get(repo_store(s->job->repo), repo_file_name("data", &first->pack, name),
                          first->offset, len, sealed, &e) == 0;
    for (size_t i = 0; i < f->n && !failed(s); i++) {
        const struct slot *p = f->piece[i];
        /* Opening works in place: the bytes of a blob that comes twice are opened no more. */
        bool again = i > 0 && p->place.offset == f->piece[i - 1]->place.offset;
        struct buf *plain = spare_get(s);
        uint8_t *at = have && !again ? sealed->data + (p->place.offset - first->offset) : NULL;
        e = (struct err)ERR_INIT;
        if (open_piece(s, p, at, plain, &e) < 0) {
            spare_put(s, plain);
            fail(s, &e);
            return;
        }
        arrived(s, f->piece[i], plain);
    }
}

static int fetch_run(void *item, void *arg, struct err *e)
{
    (void)e;
    struct content_stream *s = arg;
    struct fetch *f = item;
    if (!failed(s)) {
        struct buf *sealed = spare_get(s);
        fetch_pieces(s, f, sealed);
        spare_put(s, sealed);
    }
    free(f);
    return 0;
}

/* ---- the reader ---- */

static int by_place(const void *a, const void *b)
{
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    int order = id_compare(&x->place.pack, &y->place.pack);
    if (order != 0)
        return order;
    return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

static bool near(const struct fetch *f, const struct slot *next, uint64_t gap)
{
    const struct blob_place *first = &f->piece[0]->place, *last = &f->piece[f->n - 1]->place;
    uint64_t end = (uint64_t)last->offset + last->length;
    return id_equal(&last->pack, &next->place.pack) && next->place.offset <= end + gap &&
           (uint64_t)next->place.offset + next->place.length - first->offset <= RANGE_MOST;
}

static void ask(struct content_stream *s, struct slot **piece, size_t n)
{
    uint64_t gap = store_properties(repo_store(s->job->repo))->min_range_gap;
    qsort(piece, n, sizeof(struct slot *), by_place);
    for (size_t i = 0; i < n;) {
        struct fetch *f = mem_zero(sizeof *f);
        do
            f->piece[f->n++] = piece[i++];
        while (i < n && near(f, piece[i], gap));
        struct err ignored = ERR_INIT; /* fetch_run keeps its errors to itself */
        (void)!pool_submit(s->pool, f, &ignored);
    }
}

/* Asks for what comes next. Not for every blob that was read, so that neighbours are asked for
 * together. */
static int plan(struct content_stream *s, struct err *e)
{
    if (s->planned > s->next && s->ahead > WINDOW_BYTES / 2)
        return 0;
    struct slot *wanted[WINDOW_BLOBS];
    size_t n = 0;
    while (s->planned < s->nblob && s->planned - s->next < WINDOW_BLOBS &&
           (s->ahead < WINDOW_BYTES || s->planned == s->next)) {
        struct slot *p = &s->window[s->planned % WINDOW_BLOBS];
        *p = (struct slot){.blob = s->blob[s->planned]};
        if (!repo_find_blob(s->job->repo, BLOB_DATA, &p->blob, &p->place)) {
            char hex[ID_HEX + 1];
            if (n > 0)
                ask(s, wanted, n);
            return err_set(e, ERR_CORRUPT,
                           "%s: blob %s is in no index; `salvor verify` names all that is damaged",
                           s->path, id_hex(&p->blob, hex));
        }
        wanted[n++] = p;
        s->ahead += p->place.plain_length;
        s->planned++;
    }
    if (n > 0)
        ask(s, wanted, n);
    return 0;
}

static int wait_for(struct content_stream *s, const struct slot *p, struct err *e)
{
    (void)pthread_mutex_lock(&s->mutex);
    while (!p->done && !s->failed)
        (void)pthread_cond_wait(&s->arrived, &s->mutex);
    bool done = p->done;
    if (!done)
        *e = s->err;
    (void)pthread_mutex_unlock(&s->mutex);
    return done ? 0 : err_prefix(e, "%s", s->path);
}

static int content_read(struct stream *stream, void *data, size_t len, size_t *got, struct err *e)
{
    struct content_stream *s = (struct content_stream *)stream;
    *got = 0;
    int rc = cancel_check(e);
    while (rc == 0 && *got == 0 && len > 0 && s->next < s->nblob) {
        rc = plan(s, e);
        struct slot *p = &s->window[s->next % WINDOW_BLOBS];
        if (rc == 0)
            rc = wait_for(s, p, e);
        if (rc < 0)
            return rc;
        *got = p->plain->len - s->at < len ? p->plain->len - s->at : len;
        if (*got > 0)
            memcpy(data, p->plain->data + s->at, *got);
        s->at += *got;
        if (s->at == p->plain->len) {
            spare_put(s, take(p->plain));
            s->ahead -= p->place.plain_length;
            s->next++;
            s->at = 0;
        }
    }
    s->given += *got;
    (void)atomic_fetch_add(&s->job->progress.bytes, *got);
    if (rc == 0 && *got == 0 && len > 0 && s->given != s->size)
        return err_set(e, ERR_CORRUPT, "%s: its blobs hold %llu bytes, but it is said to have %llu",
                       s->path, (unsigned long long)s->given, (unsigned long long)s->size);
    return rc;
}

static void content_close(struct stream *stream)
{
    struct content_stream *s = (struct content_stream *)stream;
    static const struct err unwanted = {.code = ERR_CANCELLED, .msg = "closed"};
    fail(s, &unwanted); /* what was asked for and not begun is not wanted any more */
    pool_free(s->pool);
    for (; s->next < s->planned; s->next++) {
        struct slot *p = &s->window[s->next % WINDOW_BLOBS];
        if (p->plain != NULL)
            spare_put(s, p->plain);
    }
    while (s->spare != NULL) {
        struct spare *b = s->spare;
        s->spare = b->next;
        buf_release(&b->buf);
        free(b);
    }
    (void)pthread_cond_destroy(&s->arrived);
    (void)pthread_mutex_destroy(&s->mutex);
    free(s->blob);
    free(s->path);
    free(s);
}

struct stream *content_stream_new(struct job *j, const struct node *n, const char *path)
{
    struct content_stream *s = mem_zero(sizeof *s);
    s->stream = (struct stream){.read = content_read, .close = content_close};
    s->job = j;
    s->path = str_dup(path);
    s->size = n->size;
    s->nblob = n->ncontent;
    s->blob = mem_array(n->ncontent, sizeof *s->blob);
    if (n->ncontent > 0)
        memcpy(s->blob, n->content, n->ncontent * sizeof *s->blob);
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_cond_init(&s->arrived, NULL);
    size_t workers = store_properties(repo_store(j->repo))->connections;
    workers = workers > WORKERS_MOST ? WORKERS_MOST : workers;
    workers = workers < WORKERS_LEAST ? WORKERS_LEAST : workers;
    workers = workers > n->ncontent ? n->ncontent : workers;
    s->pool = pool_new(workers, WINDOW_BLOBS, fetch_run, NULL, s);
    return &s->stream;
}

int content_stream_open(struct job *j, const struct id *tree, const char *path, struct stream **out,
                        struct err *e)
{
    _cleanup_(node_release) struct node n = {0};
    int rc = tree_lookup(j->repo, tree, path, &n, e);
    if (rc < 0)
        return rc;
    if (n.type != NODE_FILE)
        return err_set(e, ERR_USAGE, "%s is a %s, not a file; `salvor show` lists what is in it",
                       path, node_type_name(n.type));
    *out = content_stream_new(j, &n, path);
    return 0;
}

/* ---- all the files of a snapshot, for a target that pulls ---- */

static int files_open(void *arg, const char *path, struct stream **out, struct err *e)
{
    struct content_files *f = arg;
    return content_stream_open(f->job, &f->tree, path, out, e);
}

static int add_file(const char *path, const struct node *n, bool *enter, void *arg, struct err *e)
{
    (void)enter;
    (void)e;
    struct content_files *f = arg;
    if (n->type != NODE_FILE)
        return 0;
    mem_grow(&f->file, f->content.nfile, &f->cap, sizeof *f->file);
    f->file[f->content.nfile++] =
        (struct target_content_file){.path = str_dup(path), .size = n->size};
    return 0;
}

int content_files_init(struct content_files *f, struct job *j, const struct id *tree, struct err *e)
{
    *f = (struct content_files){.job = j, .tree = *tree};
    f->content.open = files_open;
    f->content.arg = f;
    int rc = tree_walk(j->repo, tree, add_file, f, e);
    f->content.file = f->file;
    return rc;
}

void content_files_release(struct content_files *f)
{
    for (size_t i = 0; i < f->content.nfile; i++)
        free(f->file[i].path);
    free(f->file);
    *f = (struct content_files){0};
}
