/* Reading packs: each is read whole, its bytes are hashed against its name, its header is compared
 * with the index, and every blob in it is opened. Threads take packs from a bounded queue and reuse
 * their buffers, so memory is two packs a thread, whatever is read. */
#include "base/mem.h"
#include "base/work.h"
#include "repo/check_int.h"
#include "repo/pack_int.h"
#include <stdlib.h>
#include <string.h>

/* A pack to read, with what the index says of it. */
struct job {
    struct pack_file file;
    struct index_blob *blob;
    size_t n;
};

struct scratch {
    struct buf pack, plain;
    struct scratch *next;
};

struct reading {
    struct check *check;
    struct pool *pool;
    bool *taken; /* per pack file */
    uint64_t total, done;
    struct scratch *scratch; /* these two under the lock of the check */
};

/* ---- one pack ---- */

static bool same_blob(const struct index_blob *a, const struct index_blob *b)
{
    return id_equal(&a->id, &b->id) && a->type == b->type && a->offset == b->offset &&
           a->length == b->length && a->plain_length == b->plain_length &&
           a->compressed == b->compressed;
}

/* What is wrong with the header, written to `why`; true if nothing is. */
static bool header_agrees(struct check *c, const struct job *j, const struct buf *pack,
                          struct err *why)
{
    _cleanup_free_ struct index_blob *header = NULL;
    size_t n;
    if (pack_header_parse(c->repo, &j->file.id, pack->data, pack->len, pack->len, &header, &n,
                          why) < 0)
        return false;
    bool same = j->n == 0 || n == j->n; /* no index knows it: nothing to compare with */
    for (size_t i = 0; i < j->n && same; i++)
        same = same_blob(&header[i], &j->blob[i]);
    if (!same)
        (void)err_set(why, ERR_CORRUPT, "its header and the index disagree");
    return same;
}

static bool blob_whole(struct check *c, const struct job *j, const struct index_blob *b,
                       struct scratch *s, struct err *why)
{
    if ((uint64_t)b->offset + b->length > s->pack.len)
        return false;
    struct blob_place place = {j->file.id, b->offset, b->length, b->plain_length, b->compressed};
    return repo_open_blob(c->repo, &b->id, &place, s->pack.data + b->offset, &s->plain, why) == 0;
}

static void check_pack(struct check *c, const struct job *j, struct scratch *s)
{
    char name[REPO_NAME_MAX], first[ID_HEX + 1] = "";
    struct err why = ERR_INIT;
    struct id is;
    (void)repo_file_name("data", &j->file.id, name);
    sha256(s->pack.data, s->pack.len, &is);
    bool whole = id_equal(&is, &j->file.id);
    bool header = header_agrees(c, j, &s->pack, &why);
    _cleanup_free_ bool *bad = mem_array(j->n, sizeof *bad);
    size_t nbad = 0;
    for (size_t i = 0; i < j->n; i++) {
        struct err ignored = ERR_INIT;
        bad[i] = !blob_whole(c, j, &j->blob[i], s, &ignored);
        if (bad[i] && nbad++ == 0)
            (void)id_hex(&j->blob[i].id, first);
    }
    if (whole && header && nbad == 0)
        return;
    size_t issue =
        check_note(c, FOUND_DAMAGED, name, NULL, "%s%s%s; %zu of its %zu blobs are damaged%s%s",
                   whole ? "" : "its bytes do not have the SHA-256 that it is named after",
                   whole || header ? "" : ", and ", header ? "" : why.msg, nbad, j->n,
                   nbad > 0 ? ", the first is " : "", first);
    for (size_t i = 0; i < j->n; i++)
        if (bad[i])
            check_hurt(c, issue, &j->file.id, &j->blob[i]);
}

/* ---- the queue ---- */

static void job_free(struct job *j)
{
    free(j->blob);
    free(j);
}

static struct scratch *scratch_take(struct reading *r)
{
    (void)pthread_mutex_lock(&r->check->lock);
    struct scratch *s = r->scratch;
    if (s != NULL)
        r->scratch = s->next;
    (void)pthread_mutex_unlock(&r->check->lock);
    if (s == NULL) {
        s = mem_zero(sizeof *s);
        buf_init(&s->pack, BUF_PACK);
        buf_init(&s->plain, BLOB_MAX);
    }
    buf_clear(&s->pack);
    return s;
}

static void scratch_give(struct reading *r, struct scratch *s, uint64_t bytes)
{
    struct check *c = r->check;
    (void)pthread_mutex_lock(&c->lock);
    s->next = r->scratch;
    r->scratch = s;
    r->done += bytes;
    c->result->packs_read++;
    c->result->bytes_read += bytes;
    if (c->options->progress != NULL)
        c->options->progress(r->done, r->total, c->options->progress_arg);
    (void)pthread_mutex_unlock(&c->lock);
}

static int read_pack(struct reading *r, const struct job *j, struct scratch *s, struct err *e)
{
    struct check *c = r->check;
    char name[REPO_NAME_MAX];
    struct err why = ERR_INIT;
    int rc = cancel_check(e);
    if (rc < 0)
        return rc;
    rc = store_get(c->repo->store, repo_file_name("data", &j->file.id, name), 0, STORE_TO_END,
                   &s->pack, &why);
    if (rc == 0) {
        check_pack(c, j, s);
        return 0;
    }
    if (rc != ERR_NOT_FOUND && !check_is_damage(&why)) {
        *e = why;
        return rc;
    }
    size_t issue = check_note(c, rc == ERR_NOT_FOUND ? FOUND_MISSING : FOUND_DAMAGED, name, NULL,
                              "%s", why.msg);
    for (size_t i = 0; i < j->n; i++)
        check_hurt(c, issue, &j->file.id, &j->blob[i]);
    return 0;
}

static int run_job(void *item, void *arg, struct err *e)
{
    struct reading *r = arg;
    struct job *j = item;
    struct scratch *s = scratch_take(r);
    int rc = read_pack(r, j, s, e);
    scratch_give(r, s, j->file.size);
    job_free(j);
    return rc;
}

static void drop_job(void *item, void *arg)
{
    (void)arg;
    job_free(item);
}

/* ---- which packs ---- */

/* Where a pack stands among all, 0 to 1: it follows from its id and the seed, so that a pack of the
 * share stays in it while others come and go. */
static double standing(const struct check_options *o, const struct id *pack)
{
    struct {
        struct id pack;
        uint64_t seed;
    } text = {*pack, o->seed};
    struct id digest;
    uint32_t number;
    sha256(&text, sizeof text, &digest);
    memcpy(&number, digest.byte, sizeof number);
    return (double)number / 4294967296.0;
}

static int ascending(const void *va, const void *vb)
{
    double a = *(const double *)va, b = *(const double *)vb;
    return a < b ? -1 : a > b;
}

/* The standing up to which packs are read: as many as the share says, rounded up, so that however
 * small it is one pack is read: else nothing would pass for something. */
static double last_standing(const struct check *c)
{
    size_t n = c->packs.n;
    double wanted = c->options->read_share * (double)n;
    size_t count = (size_t)wanted + ((double)(size_t)wanted < wanted);
    if (count >= n)
        return 1;
    double *at = mem_array(n, sizeof *at);
    for (size_t i = 0; i < n; i++)
        at[i] = standing(c->options, &c->packs.file[i].id);
    qsort(at, n, sizeof *at, ascending);
    double last = at[count > 0 ? count - 1 : 0];
    free(at);
    return last;
}

/* Takes those that do not belong to the share off the list, as if they were read already. */
static void choose_share(struct reading *r)
{
    const struct check *c = r->check;
    double last = last_standing(c);
    for (size_t i = 0; i < c->packs.n; i++) {
        r->taken[i] = standing(c->options, &c->packs.file[i].id) > last;
        r->total += r->taken[i] ? 0 : c->packs.file[i].size;
    }
}

static int submit(struct reading *r, size_t file, const struct index_blob *blobs, size_t n,
                  struct err *e)
{
    const struct pack_file *f = &r->check->packs.file[file];
    if (r->taken[file])
        return 0;
    r->taken[file] = true;
    struct job *j = mem_zero(sizeof *j);
    j->file = *f;
    j->blob = n > 0 ? mem_dup(blobs, n * sizeof *blobs) : NULL;
    j->n = n;
    return pool_submit(r->pool, j, e);
}

static int submit_indexed(const struct id *pack, const struct index_blob *blobs, size_t n,
                          void *arg, struct err *e)
{
    struct reading *r = arg;
    const struct pack_files *l = &r->check->packs;
    const struct pack_file *f = pack_files_find(l, pack);
    return f != NULL ? submit(r, (size_t)(f - l->file), blobs, n, e) : 0;
}

/* Those that no index knows are read as well: the next backup may take them over. */
static int submit_all(struct reading *r, struct err *e)
{
    struct check *c = r->check;
    int rc = index_each_pack(c->repo->index, submit_indexed, r, e);
    for (size_t i = 0; i < c->packs.n && rc == 0; i++)
        rc = submit(r, i, NULL, 0, e);
    return rc;
}

int check_data(struct check *c, struct err *e)
{
    _cleanup_free_ bool *taken = mem_array(c->packs.n, sizeof *taken);
    struct reading r = {.check = c, .taken = taken};
    choose_share(&r);
    r.pool = pool_new(c->threads, c->threads, run_job, drop_job, &r);
    int rc = submit_all(&r, e);
    if (rc == 0)
        rc = pool_wait(r.pool, e);
    pool_free(r.pool);
    while (r.scratch != NULL) {
        struct scratch *s = r.scratch;
        r.scratch = s->next;
        buf_release(&s->pack);
        buf_release(&s->plain);
        free(s);
    }
    return rc;
}
