/* Snapshots as files of the repository: restic's JSON in and out, and all of them at once. */
#include "repo/snapshot.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/work.h"
#include "repo/repo_int.h"
#include "salvor_version.h"

enum { LOAD_THREADS_MOST = 16 };

/* ---- memory ---- */

void snapshot_release(struct snapshot *s)
{
    str_list_release(&s->paths);
    str_list_release(&s->tags);
    str_list_release(&s->excludes);
    free(s->hostname);
    free(s->username);
    free(s->program_version);
    free(s->summary);
    *s = (struct snapshot){0};
}

static struct str_list list_copy(const struct str_list *from)
{
    struct str_list to = {0};
    for (size_t i = 0; i < from->n; i++)
        str_list_add(&to, from->s[i]);
    return to;
}

void snapshot_copy(struct snapshot *to, const struct snapshot *from)
{
    struct snapshot s = *from;
    s.paths = list_copy(&from->paths);
    s.tags = list_copy(&from->tags);
    s.excludes = list_copy(&from->excludes);
    s.hostname = str_dup(from->hostname);
    s.username = str_dup(from->username);
    s.program_version = str_dup(from->program_version);
    s.summary = str_dup(from->summary);
    *to = s;
}

void snapshot_list_release(struct snapshot_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        snapshot_release(&l->s[i]);
    free(l->s);
    *l = (struct snapshot_list){0};
}

/* ---- writing ---- */

static void put_list_if(struct json_out *j, const char *key, const struct str_list *l)
{
    if (l->n > 0)
        json_list(j, key, l);
}

static void put_text_if(struct json_out *j, const char *key, const char *s)
{
    if (s != NULL && s[0] != '\0')
        json_text(j, key, s);
}

static int snapshot_build(const struct snapshot *s, struct buf *out, struct err *e)
{
    struct json_out j;
    json_out_init(&j, out);
    json_begin_object(&j);
    json_time(&j, "time", s->time);
    if (s->has_parent)
        json_id(&j, "parent", &s->parent);
    json_id(&j, "tree", &s->tree);
    json_list(&j, "paths", &s->paths);
    put_text_if(&j, "hostname", s->hostname);
    put_text_if(&j, "username", s->username);
    if (s->uid != 0)
        json_u64(&j, "uid", s->uid);
    if (s->gid != 0)
        json_u64(&j, "gid", s->gid);
    put_list_if(&j, "excludes", &s->excludes);
    put_list_if(&j, "tags", &s->tags);
    if (s->has_original)
        json_id(&j, "original", &s->original);
    put_text_if(&j, "program_version", s->program_version);
    if (s->summary != NULL) {
        json_key(&j, "summary");
        json_put_raw(&j, s->summary, strlen(s->summary));
    }
    json_end_object(&j);
    return json_out_finish(&j, e);
}

int snapshot_save(struct repo *r, struct snapshot *s, struct err *e)
{
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_JSON);
    if (s->program_version == NULL)
        s->program_version = str_dup("salvor " SALVOR_VERSION);
    int rc = snapshot_build(s, &json, e);
    if (rc == 0 && r->lock != NULL)
        rc = repo_lock_check(r, true, e);
    return rc != 0 ? rc : repo_save_file(r, "snapshots", json.data, json.len, &s->id, e);
}

int snapshot_remove(struct repo *r, const struct id *id, struct err *e)
{
    return repo_remove_file(r, "snapshots", id, e);
}

/* ---- reading ---- */

static bool get_optional_id(struct json_in *in, struct id *out)
{
    if (json_is_null(in))
        return false;
    *out = json_get_id(in);
    return true;
}

static uint32_t get_u32(struct json_in *in)
{
    uint64_t v = json_get_u64(in);
    if (v > UINT32_MAX)
        json_in_fail(in, "a user or group is larger than 32 bits");
    return (uint32_t)v;
}

static int snapshot_parse(const struct buf *json, const char *what, struct snapshot *s,
                          struct err *e)
{
    struct json_in in;
    const char *key;
    bool has_tree = false, has_time = false;
    json_in_init(&in, json->data, json->len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "time") == 0) {
            s->time = json_get_time(&in);
            has_time = true;
        } else if (strcmp(key, "tree") == 0) {
            has_tree = get_optional_id(&in, &s->tree);
        } else if (strcmp(key, "parent") == 0) {
            s->has_parent = get_optional_id(&in, &s->parent);
        } else if (strcmp(key, "original") == 0) {
            s->has_original = get_optional_id(&in, &s->original);
        } else if (strcmp(key, "paths") == 0) {
            json_get_list(&in, &s->paths);
        } else if (strcmp(key, "tags") == 0) {
            json_get_list(&in, &s->tags);
        } else if (strcmp(key, "excludes") == 0) {
            json_get_list(&in, &s->excludes);
        } else if (strcmp(key, "hostname") == 0) {
            json_replace_text(&in, &s->hostname);
        } else if (strcmp(key, "username") == 0) {
            json_replace_text(&in, &s->username);
        } else if (strcmp(key, "program_version") == 0) {
            json_replace_text(&in, &s->program_version);
        } else if (strcmp(key, "uid") == 0) {
            s->uid = get_u32(&in);
        } else if (strcmp(key, "gid") == 0) {
            s->gid = get_u32(&in);
        } else if (strcmp(key, "summary") == 0) {
            free(s->summary);
            s->summary = json_get_raw(&in);
        } else {
            json_skip(&in);
        }
    }
    int rc = json_in_finish(&in, what, e);
    if (rc == 0 && (!has_tree || !has_time))
        rc = err_set(e, ERR_CORRUPT, "%s: it has no %s", what, has_tree ? "time" : "tree");
    return rc;
}

int snapshot_load(struct repo *r, const struct id *id, struct snapshot *out, struct err *e)
{
    char hex[ID_SHORT + 1];
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_JSON);
    *out = (struct snapshot){.id = *id};
    int rc = repo_load_file(r, "snapshots", id, &json, e);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *what =
        str_fmt("snapshot %s in %s", id_short(id, hex), store_address(r->store));
    rc = snapshot_parse(&json, what, out, e);
    if (rc != 0)
        snapshot_release(out);
    return rc;
}

/* ---- all of them ---- */

/* One to be loaded by the pool. */
struct loading {
    struct id id;
    struct snapshot s;
    struct err *why; /* NULL when it was loaded */
};

static int load_one(void *item, void *arg, struct err *e)
{
    struct loading *l = item;
    struct err why = ERR_INIT;
    int rc = snapshot_load(arg, &l->id, &l->s, &why);
    if (rc == 0)
        return 0;
    l->why = mem_dup(&why, sizeof why);
    if (rc == ERR_CORRUPT || rc == ERR_UNSUPPORTED || rc == ERR_NOT_FOUND || rc == ERR_LIMIT)
        return 0; /* concerns this one only */
    *e = why;
    return rc;
}

static void load_dropped(void *item, void *arg)
{
    (void)item;
    (void)arg;
}

static int load_parallel(struct repo *r, struct loading *l, size_t n, struct err *e)
{
    size_t threads = store_properties(r->store)->connections;
    threads = threads < 1 ? 1 : threads > LOAD_THREADS_MOST ? LOAD_THREADS_MOST : threads;
    if (threads > n)
        threads = n;
    struct pool *p = pool_new(threads, 2 * threads, load_one, load_dropped, r);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = pool_submit(p, &l[i], e);
    int waited = pool_wait(p, e);
    pool_free(p);
    return rc != 0 ? rc : waited;
}

static int by_time(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;
    int c = timespec_compare(x->time, y->time);
    return c != 0 ? c : id_compare(&x->id, &y->id);
}

int snapshot_load_all(struct repo *r, struct snapshot_list *out, snapshot_bad_fn *bad, void *arg,
                      struct err *e)
{
    _cleanup_(id_list_release) struct id_list ids = {0};
    int rc = repo_list_files(r, "snapshots", &ids, e);
    if (rc != 0 || ids.n == 0)
        return rc;
    _cleanup_free_ struct loading *l = mem_array(ids.n, sizeof *l);
    for (size_t i = 0; i < ids.n; i++)
        l[i].id = ids.id[i];
    rc = load_parallel(r, l, ids.n, e);
    for (size_t i = 0; i < ids.n; i++) {
        _cleanup_free_ struct err *why = l[i].why;
        if (rc != 0) {
            snapshot_release(&l[i].s);
        } else if (why == NULL) {
            mem_grow(&out->s, out->n, &out->cap, sizeof *out->s);
            out->s[out->n++] = l[i].s;
        } else if (why->code != ERR_NOT_FOUND) { /* one that vanished was forgotten meanwhile */
            if (bad != NULL) {
                bad(&l[i].id, why, arg);
            } else {
                *e = *why;
                rc = e->code;
            }
        }
    }
    if (rc != 0)
        snapshot_list_release(out);
    else if (out->n > 1)
        qsort(out->s, out->n, sizeof *out->s, by_time);
    return rc;
}
