/* The river back: trees are walked in order, the blobs that their files want are collected in a
 * window, sorted by pack, and fetched in ranges that several threads open and write. A file is
 * committed by whoever writes its last blob; one that cannot be brought back is aborted and named,
 * the others go on. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "crypt/crypt.h"
#include "job/job_int.h"
#include "repo/tree.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    WINDOW_WANTS = 16384,     /* blobs that are sorted together */
    WINDOW_BYTES = 256 << 20, /* plaintext in them */
    RANGE_MOST = 4 << 20,     /* bytes asked of the store at once, unless one blob is larger */
    FILES_OPEN = 400,
    CONNECTIONS_MOST = 8,
    FAILURES_MOST = 8, /* reads that fail in a row before the store is asked whether it is there */
};

/* A file on its way. */
struct file_out {
    struct target_file *file;
    char *path;
    bool old;              /* the destination has bytes that may be the same */
    atomic_size_t pending; /* wants not written, and one while it is being announced */
    atomic_bool bad;
};

/* A blob at a place of a file. */
struct want {
    struct blob_place place;
    struct id blob;
    struct file_out *file;
    uint64_t at;
};

/* Wants of one pack that are near to each other, sorted by offset. */
struct fetch {
    struct want *want;
    size_t n;
};

/* The buffers of one fetch, used again. */
struct hands {
    struct buf sealed, plain;
    struct hands *next;
};

struct river {
    struct river_out *r;
    struct pool *pool;
    size_t files_most;
    struct want *want; /* the window */
    size_t n, cap;
    uint64_t window_bytes;
    uint64_t gap;          /* unneeded bytes that are read rather than asked around */
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t file_closed;
    size_t files_open;
    unsigned failed_reads; /* of the store, in a row */
    struct hands *idle;
    struct err err;
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

/* What ends the whole restore, as against one entry of it. */
static bool fatal(int code)
{
    return code == ERR_FULL || code == ERR_CANCELLED || code == ERR_INTERNAL;
}

static void missing(struct river *v, const char *path, const struct err *why)
{
    if (fatal(why->code)) {
        river_fail(v, why);
        return;
    }
    (void)pthread_mutex_lock(&v->mutex);
    str_list_add_take(&v->r->missing, str_fmt("%s: %s", path, why->msg));
    (void)pthread_mutex_unlock(&v->mutex);
}

static struct hands *hands_get(struct river *v)
{
    (void)pthread_mutex_lock(&v->mutex);
    struct hands *h = v->idle;
    if (h != NULL)
        v->idle = h->next;
    (void)pthread_mutex_unlock(&v->mutex);
    if (h == NULL) {
        h = mem_zero(sizeof *h);
        buf_init(&h->sealed, BUF_PACK);
        buf_init(&h->plain, BLOB_MAX);
    }
    buf_clear(&h->sealed);
    buf_clear(&h->plain);
    return h;
}

static void hands_put(struct river *v, struct hands *h)
{
    (void)pthread_mutex_lock(&v->mutex);
    h->next = v->idle;
    v->idle = h;
    (void)pthread_mutex_unlock(&v->mutex);
}

/* ---- files ---- */

static void file_close(struct river *v, struct file_out *f)
{
    (void)pthread_mutex_lock(&v->mutex);
    v->files_open--;
    (void)pthread_cond_broadcast(&v->file_closed);
    (void)pthread_mutex_unlock(&v->mutex);
    free(f->path);
    free(f);
}

/* Counts one want of a file as done; the last one decides. */
static void file_done(struct river *v, struct file_out *f)
{
    if (atomic_fetch_sub(&f->pending, 1) != 1)
        return;
    struct err e = ERR_INIT;
    if (atomic_load(&f->bad) || atomic_load(&v->failed))
        target_abort(f->file);
    else if (target_commit(f->file, &e) < 0)
        missing(v, f->path, &e);
    (void)atomic_fetch_add(&v->r->job->progress.items, 1);
    file_close(v, f);
}

static void file_bad(struct river *v, struct file_out *f, const struct err *why)
{
    if (!atomic_exchange(&f->bad, true))
        missing(v, f->path, why);
}

/* ---- fetching ---- */

static void want_write(struct river *v, const struct want *w, const struct buf *plain)
{
    struct err e = ERR_INIT;
    if (!atomic_load(&w->file->bad) && !atomic_load(&v->failed) &&
        target_write(w->file->file, plain->data, plain->len, w->at, &e) < 0)
        file_bad(v, w->file, &e);
    (void)atomic_fetch_add(&v->r->job->progress.bytes, plain->len);
}

/* Whether the destination has these bytes already; they are left in `plain` then. */
static bool want_is_there(const struct want *w, struct buf *plain)
{
    struct err e = ERR_INIT;
    size_t len = w->place.plain_length, got = 0;
    buf_clear(plain);
    if (!w->file->old || buf_reserve(plain, len, &e) < 0)
        return false;
    if (target_old_bytes(w->file->file, plain->data, len, w->at, &got, &e) < 0 || got != len)
        return false;
    plain->len = len;
    struct id id;
    sha256(plain->data, len, &id);
    return id_equal(&id, &w->blob);
}

/* Opens one blob out of the range, or when that fails, out of any copy that the repository has. */
static int blob_open(struct river *v, const struct want *w, struct hands *h, uint32_t range_from,
                     bool have_range, struct err *e)
{
    struct repo *repo = v->r->job->repo;
    if (have_range) {
        struct err first = ERR_INIT;
        uint8_t *sealed = h->sealed.data + (w->place.offset - range_from);
        if (repo_open_blob(repo, &w->blob, &w->place, sealed, &h->plain, &first) == 0)
            return 0;
    }
    buf_clear(&h->plain);
    return repo_load_blob(repo, BLOB_DATA, &w->blob, &h->plain, e);
}

/* One pack that cannot be read costs the files in it; a store that is away would cost hours of
 * retries for each of all the others. */
static void count_read(struct river *v, int rc, const struct err *why)
{
    bool away = rc < 0 && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT;
    (void)pthread_mutex_lock(&v->mutex);
    v->failed_reads = away ? v->failed_reads + 1 : 0;
    bool ask = v->failed_reads > 0 && v->failed_reads % FAILURES_MOST == 0;
    (void)pthread_mutex_unlock(&v->mutex);
    uint64_t size;
    struct err e = ERR_INIT;
    if (ask && store_stat(repo_store(v->r->job->repo), "config", &size, &e) < 0)
        river_fail(v, why);
}

static void fetch_range(struct river *v, struct fetch *f, struct hands *h)
{
    uint32_t from = f->want[0].place.offset;
    const struct blob_place *last = &f->want[f->n - 1].place;
    uint64_t len = (uint64_t)last->offset + last->length - from;
    char name[REPO_NAME_MAX];
    struct err range = ERR_INIT, e = ERR_INIT;
    buf_clear(&h->sealed);
    int rc = store_get(repo_store(v->r->job->repo), repo_file_name("data", &last->pack, name), from,
                       len, &h->sealed, &range);
    bool have = rc == 0;
    count_read(v, rc, &range);
    for (size_t i = 0; i < f->n; i++) {
        struct want *w = &f->want[i];
        bool again = i > 0 && id_equal(&w->blob, &w[-1].blob);
        if (!again && !atomic_load(&v->failed)) {
            rc = blob_open(v, w, h, from, have, &e);
            if (!have)
                count_read(v, rc, &e);
            if (rc == 0) {
                (void)pthread_mutex_lock(&v->mutex);
                v->r->bytes_fetched += h->plain.len;
                (void)pthread_mutex_unlock(&v->mutex);
            }
        }
        if (rc == 0)
            want_write(v, w, &h->plain);
        else
            file_bad(v, w->file, &e);
        file_done(v, w->file);
    }
}

/* Takes out the wants whose bytes the destination has already. */
static void fetch_reduce(struct river *v, struct fetch *f, struct hands *h)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        struct want *w = &f->want[i];
        if (want_is_there(w, &h->plain)) {
            want_write(v, w, &h->plain);
            file_done(v, w->file);
        } else {
            f->want[kept++] = *w;
        }
    }
    f->n = kept;
}

static int fetch_run(void *item, void *arg, struct err *unused)
{
    (void)unused;
    struct river *v = arg;
    struct fetch *f = item;
    struct err e = ERR_INIT;
    if (cancel_check(&e) < 0)
        river_fail(v, &e);
    if (atomic_load(&v->failed)) {
        for (size_t i = 0; i < f->n; i++)
            file_done(v, f->want[i].file);
    } else {
        struct hands *h = hands_get(v);
        fetch_reduce(v, f, h);
        if (f->n > 0)
            fetch_range(v, f, h);
        hands_put(v, h);
    }
    free(f->want);
    free(f);
    return 0;
}

static void fetch_drop(void *item, void *arg)
{
    struct err e = ERR_INIT;
    (void)fetch_run(item, arg, &e);
}

/* ---- the window ---- */

static int by_place(const void *a, const void *b)
{
    const struct want *x = a, *y = b;
    int order = id_compare(&x->place.pack, &y->place.pack);
    if (order != 0)
        return order;
    return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

static bool near(const struct river *v, const struct want *first, const struct want *last,
                 const struct want *next)
{
    uint64_t end = (uint64_t)last->place.offset + last->place.length;
    uint64_t next_end = (uint64_t)next->place.offset + next->place.length;
    return id_equal(&last->place.pack, &next->place.pack) && next->place.offset <= end + v->gap &&
           next_end - first->place.offset <= RANGE_MOST;
}

static void window_flush(struct river *v)
{
    if (v->n == 0)
        return;
    qsort(v->want, v->n, sizeof *v->want, by_place);
    for (size_t from = 0, to; from < v->n; from = to) {
        to = from + 1;
        while (to < v->n && near(v, &v->want[from], &v->want[to - 1], &v->want[to]))
            to++;
        struct fetch *f = mem_zero(sizeof *f);
        f->n = to - from;
        f->want = mem_dup(&v->want[from], f->n * sizeof *f->want);
        struct err e = ERR_INIT;
        if (pool_submit(v->pool, f, &e) < 0)
            river_fail(v, &e);
    }
    v->n = 0;
    v->window_bytes = 0;
}

/* Waits until fewer than `most` files are open. */
static void wait_files(struct river *v, size_t most)
{
    (void)pthread_mutex_lock(&v->mutex);
    bool wait = v->files_open >= most;
    (void)pthread_mutex_unlock(&v->mutex);
    if (!wait)
        return;
    window_flush(v);
    (void)pthread_mutex_lock(&v->mutex);
    while (v->files_open >= most)
        (void)pthread_cond_wait(&v->file_closed, &v->mutex);
    (void)pthread_mutex_unlock(&v->mutex);
}

static struct file_out *file_open(struct river *v, struct target_file *file, const char *path)
{
    struct file_out *f = mem_zero(sizeof *f);
    f->file = file;
    f->path = str_dup(path);
    f->old = target_old_size(file) > 0;
    atomic_init(&f->pending, 1);
    (void)pthread_mutex_lock(&v->mutex);
    v->files_open++;
    (void)pthread_mutex_unlock(&v->mutex);
    return f;
}

/* Collects what the file's blobs are; false when one of them is in no index, or when they do not
 * make up the file. */
static bool plan_file(struct river *v, struct file_out *f, const struct node *n, struct want *wants)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n->ncontent; i++) {
        struct want *w = &wants[i];
        *w = (struct want){.blob = n->content[i], .file = f, .at = at};
        if (!repo_find_blob(v->r->job->repo, BLOB_DATA, &w->blob, &w->place)) {
            char hex[ID_HEX + 1];
            struct err e = ERR_INIT;
            (void)err_set(&e, ERR_CORRUPT,
                          "blob %s is in no index; `salvor verify` names all that is damaged",
                          id_hex(&w->blob, hex));
            file_bad(v, f, &e);
            return false;
        }
        at += w->place.plain_length;
    }
    if (at == n->size)
        return true;
    struct err e = ERR_INIT;
    (void)err_set(&e, ERR_CORRUPT, "its blobs hold %llu bytes, but it is said to have %llu",
                  (unsigned long long)at, (unsigned long long)n->size);
    file_bad(v, f, &e);
    return false;
}

/* Whether the destination holds exactly these bytes. */
static bool all_there(struct river *v, struct file_out *f, const struct node *n,
                      const struct want *wants)
{
    if (!f->old || target_old_size(f->file) != n->size)
        return false;
    struct hands *h = hands_get(v);
    bool same = true;
    for (size_t i = 0; i < n->ncontent && same; i++)
        same = want_is_there(&wants[i], &h->plain);
    hands_put(v, h);
    return same;
}

static void restore_file(struct river *v, struct target_file *file, const char *path,
                         const struct node *n)
{
    struct file_out *f = file_open(v, file, path);
    _cleanup_free_ struct want *wants = mem_array(n->ncontent, sizeof *wants);
    bool planned = plan_file(v, f, n, wants);
    if (planned && all_there(v, f, n, wants)) {
        struct err e = ERR_INIT;
        if (target_same(f->file, &e) < 0)
            missing(v, path, &e);
        (void)atomic_fetch_add(&v->r->job->progress.bytes, n->size);
        (void)atomic_fetch_add(&v->r->job->progress.items, 1);
        file_close(v, f);
        return;
    }
    for (size_t i = 0; planned && !v->r->dry_run && i < n->ncontent; i++) {
        if (v->n == WINDOW_WANTS || v->window_bytes > WINDOW_BYTES)
            window_flush(v);
        (void)atomic_fetch_add(&f->pending, 1);
        mem_grow(&v->want, v->n, &v->cap, sizeof *v->want);
        v->want[v->n++] = wants[i];
        v->window_bytes += wants[i].place.plain_length;
    }
    file_done(v, f);
}

/* ---- the walk ---- */

static int visit(const char *path, const struct node *n, bool *enter, void *arg, struct err *e)
{
    struct river *v = arg;
    int rc = cancel_check(e);
    if (rc < 0)
        return rc;
    if (atomic_load(&v->failed)) {
        *enter = false;
        return 0;
    }
    struct err why = ERR_INIT;
    int place = path_place(path, v->r->part);
    if (place < 0 || (place == 0 && n->type != NODE_DIR)) {
        *enter = false;
        return 0;
    }
    if (n->type == NODE_DIR) {
        if (target_directory(v->r->target, path, n, &why) < 0) {
            missing(v, path, &why);
            *enter = false;
        }
        return 0;
    }
    if (n->type == NODE_FILE) {
        v->r->files++;
        v->r->bytes += n->size;
    }
    if (n->type == NODE_SOCKET) /* made anew by its program */
        return 0;
    wait_files(v, v->files_most);
    struct target_file *file = NULL;
    if (target_begin(v->r->target, path, n, &file, &why) < 0)
        missing(v, path, &why);
    else if (file != NULL)
        restore_file(v, file, path, n);
    return 0;
}

/* A directory that cannot be listed costs what is in it, not the rest. */
static int visit_bad(const char *path, const struct err *why, void *arg, struct err *e)
{
    (void)e;
    missing(arg, path, why);
    return 0;
}

static void hands_free(struct river *v)
{
    while (v->idle != NULL) {
        struct hands *h = v->idle;
        v->idle = h->next;
        buf_release(&h->sealed);
        buf_release(&h->plain);
        free(h);
    }
}

static size_t fetchers(const struct store_properties *p)
{
    size_t cpus = cpu_count();
    size_t most = p->connections < CONNECTIONS_MOST ? p->connections : CONNECTIONS_MOST;
    return most > cpus ? most : cpus;
}

/* A file may need three descriptors: what is there, what is written, and its directory. */
static size_t files_most(void)
{
    enum { OTHERS = 100, FEWEST = 8 };
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur > OTHERS + 3 * FILES_OPEN)
        return FILES_OPEN;
    return l.rlim_cur > OTHERS + 3 * FEWEST ? (size_t)(l.rlim_cur - OTHERS) / 3 : FEWEST;
}

int river_out_run(struct river_out *r, struct err *e)
{
    const struct store_properties *p = store_properties(repo_store(r->job->repo));
    struct river v = {.r = r, .gap = p->min_range_gap, .files_most = files_most()};
    (void)pthread_mutex_init(&v.mutex, NULL);
    (void)pthread_cond_init(&v.file_closed, NULL);
    size_t threads = fetchers(p);
    v.pool = pool_new(threads, 2 * threads, fetch_run, fetch_drop, &v);

    struct err why = ERR_INIT;
    if (tree_walk_past(r->job->repo, &r->tree, visit, visit_bad, &v, &why) < 0)
        river_fail(&v, &why);
    window_flush(&v);
    pool_free(v.pool);
    if (v.err.code == 0 && target_finish(r->target, &why) < 0)
        river_fail(&v, &why);

    free(v.want);
    hands_free(&v);
    (void)pthread_cond_destroy(&v.file_closed);
    (void)pthread_mutex_destroy(&v.mutex);
    if (v.err.code != 0) {
        *e = v.err;
        return e->code;
    }
    return 0;
}

void river_out_release(struct river_out *r)
{
    str_list_release(&r->missing);
}
