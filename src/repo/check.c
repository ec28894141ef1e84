/* The repository against itself. The order matters while others write: what is listed first needs
 * only what is listed later (snapshots, then the index, then packs). What is found is told at the
 * end, when it is known who is affected. */
#include "repo/check.h"
#include "base/mem.h"
#include "base/work.h"
#include "repo/check_int.h"
#include "repo/pack_int.h"
#include "repo/uses_int.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- notes ---- */

size_t check_note(struct check *c, enum finding_kind kind, const char *object, const char *affects,
                  const char *fmt, ...)
{
    char detail[ERR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    (void)pthread_mutex_lock(&c->lock);
    uint64_t *count[] = {[FOUND_DAMAGED] = &c->result->damaged,
                         [FOUND_MISSING] = &c->result->missing,
                         [FOUND_WASTE] = &c->result->waste};
    ++*count[kind];
    mem_grow(&c->issue, c->nissue, &c->issue_cap, sizeof *c->issue);
    size_t number = c->nissue++;
    c->issue[number] = (struct issue){kind, str_dup(object), str_dup(detail), str_dup(affects)};
    (void)pthread_mutex_unlock(&c->lock);
    return number;
}

void check_hurt(struct check *c, size_t issue, const struct id *pack, const struct index_blob *b)
{
    (void)pthread_mutex_lock(&c->lock);
    mem_grow(&c->hurt, c->nhurt, &c->hurt_cap, sizeof *c->hurt);
    c->hurt[c->nhurt++] = (struct hurt){b->id, *pack, b->type, issue};
    (void)pthread_mutex_unlock(&c->lock);
}

bool check_is_damage(const struct err *why)
{
    return why->code == ERR_CORRUPT || why->code == ERR_LIMIT || why->code == ERR_UNSUPPORTED ||
           (why->code == ERR_IO && why->sys == EIO); /* a bad sector */
}

static void release(struct check *c)
{
    for (size_t i = 0; i < c->nissue; i++) {
        free(c->issue[i].object);
        free(c->issue[i].detail);
        free(c->issue[i].affects);
    }
    free(c->issue);
    free(c->hurt);
    pack_files_release(&c->packs);
    (void)pthread_mutex_destroy(&c->lock);
}

/* ---- whole files ---- */

/* Notes a file that could not be read as it should; a result below 0 ends the check. */
static int judge(struct check *c, const char *name, const struct err *why, struct err *e)
{
    if (why->code == ERR_NOT_FOUND)
        return 0; /* removed since it was listed */
    if (check_is_damage(why)) {
        (void)check_note(c, FOUND_DAMAGED, name, NULL, "%s", why->msg);
        return 0;
    }
    *e = *why;
    return e->code;
}

/* Files of keys and locks are not sealed as the others are; all are named after their bytes. */
static int check_names(struct check *c, const char *dir, struct err *e)
{
    _cleanup_(id_list_release) struct id_list files = {0};
    _cleanup_(buf_release) struct buf raw = BUF_INIT(BUF_TEXT);
    int rc = repo_list_files(c->repo, dir, &files, e);
    for (size_t i = 0; i < files.n && rc == 0; i++) {
        char name[REPO_NAME_MAX];
        struct err why = ERR_INIT;
        struct id is;
        buf_clear(&raw);
        (void)repo_file_name(dir, &files.id[i], name);
        if (store_get(c->repo->store, name, 0, STORE_TO_END, &raw, &why) < 0) {
            rc = judge(c, name, &why, e);
            continue;
        }
        sha256(raw.data, raw.len, &is);
        if (!id_equal(&is, &files.id[i]))
            (void)check_note(c, FOUND_DAMAGED, name, NULL,
                             "its %zu bytes do not have the SHA-256 that it is named after",
                             raw.len);
    }
    return rc;
}

static int check_config(struct check *c, struct err *e)
{
    _cleanup_(buf_release) struct buf raw = BUF_INIT(BUF_TEXT);
    struct err why = ERR_INIT;
    int rc = store_get(c->repo->store, "config", 0, STORE_TO_END, &raw, &why);
    if (rc == 0)
        rc = unseal(&c->repo->key, raw.data, raw.len, raw.data, &why);
    if (rc == ERR_NOT_FOUND)
        (void)check_note(c, FOUND_MISSING, "config", "all snapshots", "it is not there");
    else if (rc < 0)
        return judge(c, "config", &why, e);
    return 0;
}

static void bad_snapshot(const struct id *id, const struct err *why, void *arg)
{
    char name[REPO_NAME_MAX], affects[ID_SHORT + 16], short_id[ID_SHORT + 1];
    (void)snprintf(affects, sizeof affects, "snapshot %s", id_short(id, short_id));
    (void)check_note(arg, FOUND_DAMAGED, repo_file_name("snapshots", id, name), affects, "%s",
                     why->msg);
}

static void bad_index(const struct id *file, const struct err *why, void *arg)
{
    char name[REPO_NAME_MAX];
    if (why->code == ERR_NOT_FOUND) /* a prune took it away; what replaced it is read instead */
        return;
    (void)check_note(arg, FOUND_DAMAGED, repo_file_name("index", file, name), NULL, "%s", why->msg);
}

/* ---- the index against the packs ---- */

/* What is wrong with a pack as far as its size and index tell; NULL if nothing. */
static const char *wrong_layout(const struct index_blob *blobs, size_t n, uint64_t size,
                                enum finding_kind *kind)
{
    *kind = FOUND_DAMAGED;
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (blobs[i].offset != at)
            return "the index tells of blobs in it that overlap or leave a gap";
        at += blobs[i].length;
    }
    if (size != pack_size_expected(blobs, n))
        return "its size is not what the index says";
    return NULL;
}

static int check_pack_entry(const struct id *pack, const struct index_blob *blobs, size_t n,
                            void *arg, struct err *e)
{
    (void)e;
    struct check *c = arg;
    char name[REPO_NAME_MAX];
    enum finding_kind kind = FOUND_MISSING;
    const struct pack_file *f = pack_files_find(&c->packs, pack);
    const char *wrong = f == NULL ? "it is not there, but the index needs it"
                                  : wrong_layout(blobs, n, f->size, &kind);
    if (wrong == NULL || n == 0)
        return 0;
    size_t issue =
        check_note(c, kind, repo_file_name("data", pack, name), NULL, "%s (%zu blobs)", wrong, n);
    for (size_t i = 0; i < n; i++)
        check_hurt(c, issue, pack, &blobs[i]);
    return 0;
}

/* ---- the snapshots against the index ---- */

static int missing_blob(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                        struct err *e)
{
    (void)e;
    char name[REPO_NAME_MAX], hex[ID_HEX + 1];
    _cleanup_free_ char *affects = use_text(u);
    (void)check_note(arg, FOUND_MISSING, repo_file_name("snapshots", &u->snapshot->id, name),
                     affects, "%s blob %s is in no index", type == BLOB_TREE ? "tree" : "data",
                     id_hex(id, hex));
    return 0;
}

static int broken_tree(const struct id *tree, const struct use *u, const struct err *why, void *arg,
                       struct err *e)
{
    struct check *c = arg;
    char name[REPO_NAME_MAX];
    struct blob_place place;
    if (!check_is_damage(why) && why->code != ERR_NOT_FOUND) {
        *e = *why;
        return e->code;
    }
    _cleanup_free_ char *affects = use_text(u);
    if (index_find(c->repo->index, BLOB_TREE, tree, 0, &place))
        (void)repo_file_name("data", &place.pack, name);
    else
        (void)repo_file_name("snapshots", &u->snapshot->id, name);
    (void)check_note(c, why->code == ERR_NOT_FOUND ? FOUND_MISSING : FOUND_DAMAGED, name, affects,
                     "%s", why->msg);
    return 0;
}

static int count_tree(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                      struct err *e)
{
    (void)id, (void)u, (void)e;
    struct check *c = arg;
    if (type != BLOB_TREE)
        return 0;
    (void)pthread_mutex_lock(&c->lock);
    c->result->trees++;
    (void)pthread_mutex_unlock(&c->lock);
    return 0;
}

static int check_uses(struct check *c, const struct snapshot_list *snapshots, struct bits *used,
                      struct err *e)
{
    const struct uses_visitor v = {count_tree, missing_blob, broken_tree, c};
    return uses_walk(c->repo, snapshots, c->threads, &v, used, e);
}

/* ---- waste ---- */

struct waste {
    struct check *check;
    const struct bits *used;
    bool *indexed; /* per pack file */
};

static int note_unused(const struct id *pack, const struct index_blob *blobs, size_t n, void *arg,
                       struct err *e)
{
    (void)e;
    struct waste *w = arg;
    struct check *c = w->check;
    const struct pack_file *f = pack_files_find(&c->packs, pack);
    if (f == NULL)
        return 0;
    w->indexed[f - c->packs.file] = true;
    for (size_t i = 0; i < n; i++) {
        uint64_t k;
        if (index_ordinal(c->repo->index, blobs[i].type, &blobs[i].id, &k) && bits_get(w->used, k))
            return 0;
    }
    char name[REPO_NAME_MAX];
    (void)check_note(c, FOUND_WASTE, repo_file_name("data", pack, name), NULL,
                     "no snapshot needs it; prune removes it");
    return 0;
}

static int check_waste(struct check *c, const struct bits *used, struct err *e)
{
    _cleanup_free_ bool *indexed = mem_array(c->packs.n, sizeof *indexed);
    struct waste w = {c, used, indexed};
    int rc = index_each_pack(c->repo->index, note_unused, &w, e);
    for (size_t i = 0; i < c->packs.n && rc == 0; i++) {
        char name[REPO_NAME_MAX];
        if (!indexed[i])
            (void)check_note(c, FOUND_WASTE, repo_file_name("data", &c->packs.file[i].id, name),
                             NULL,
                             "no index knows it: an interrupted backup left it, or one is running; "
                             "prune removes it");
    }
    return rc;
}

/* ---- who is affected ---- */

static int compare_hurt(const void *va, const void *vb)
{
    const struct hurt *a = va, *b = vb;
    int c = id_compare(&a->blob, &b->blob);
    if (c == 0)
        c = (int)a->type - (int)b->type;
    return c != 0 ? c : id_compare(&a->pack, &b->pack);
}

static bool is_hurt(const struct check *c, const struct hurt *h)
{
    return bsearch(h, c->hurt, c->nhurt, sizeof *h, compare_hurt) != NULL;
}

/* Whether some copy of the blob is good. */
static bool has_good_copy(const struct check *c, enum blob_type type, const struct id *id)
{
    struct blob_place place;
    for (unsigned nth = 0; index_find(c->repo->index, type, id, nth, &place); nth++) {
        struct hurt h = {.blob = *id, .pack = place.pack, .type = type};
        if (!is_hurt(c, &h))
            return true;
    }
    return false;
}

static int find_affected(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                         struct err *e)
{
    (void)e;
    struct check *c = arg;
    /* Only this phase's threads run now, and the array does not change any more. */
    size_t low = 0, high = c->nhurt;
    struct hurt first = {.blob = *id, .type = type};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_hurt(&c->hurt[middle], &first) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == c->nhurt || !id_equal(&c->hurt[low].blob, id) || c->hurt[low].type != type ||
        has_good_copy(c, type, id))
        return 0;
    for (; low < c->nhurt && id_equal(&c->hurt[low].blob, id) && c->hurt[low].type == type; low++) {
        struct issue *issue = &c->issue[c->hurt[low].issue];
        (void)pthread_mutex_lock(&c->lock);
        if (issue->affects == NULL)
            issue->affects = use_text(u);
        (void)pthread_mutex_unlock(&c->lock);
    }
    return 0;
}

static int ignore_missing(enum blob_type type, const struct id *id, const struct use *u, void *arg,
                          struct err *e)
{
    (void)type, (void)id, (void)u, (void)arg, (void)e;
    return 0;
}

static int ignore_broken(const struct id *tree, const struct use *u, const struct err *why,
                         void *arg, struct err *e)
{
    (void)tree, (void)u, (void)why, (void)arg, (void)e;
    return 0;
}

static int check_affected(struct check *c, const struct snapshot_list *snapshots, struct err *e)
{
    if (c->nhurt == 0)
        return 0;
    qsort(c->hurt, c->nhurt, sizeof *c->hurt, compare_hurt);
    _cleanup_(bits_release) struct bits seen;
    bits_init(&seen, index_blob_count(c->repo->index));
    const struct uses_visitor v = {find_affected, ignore_missing, ignore_broken, c};
    return uses_walk(c->repo, snapshots, c->threads, &v, &seen, e);
}

/* ---- all of it ---- */

static int check_structure(struct check *c, struct snapshot_list *snapshots, struct err *e)
{
    int rc = check_config(c, e);
    if (rc == 0)
        rc = check_names(c, "keys", e);
    if (rc == 0)
        rc = check_names(c, "locks", e);
    if (rc == 0)
        rc = snapshot_load_all(c->repo, snapshots, bad_snapshot, c, e);
    if (rc == 0)
        rc = index_load(c->repo->index, c->repo, INDEX_EXACT, bad_index, c, e);
    if (rc == 0)
        rc = pack_files_load(c->repo, &c->packs, e);
    if (rc == 0)
        rc = index_each_pack(c->repo->index, check_pack_entry, c, e);
    if (rc < 0)
        return rc;
    c->result->snapshots = snapshots->n;
    c->result->packs = c->packs.n;
    c->result->blobs = index_blob_count(c->repo->index);

    _cleanup_(bits_release) struct bits used;
    bits_init(&used, c->result->blobs);
    rc = check_uses(c, snapshots, &used, e);
    return rc == 0 ? check_waste(c, &used, e) : rc;
}

int repo_check(struct repo *r, const struct check_options *options, finding_fn *fn, void *arg,
               struct check_result *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    _cleanup_(release) struct check c = {.repo = r, .options = options, .result = out};
    _cleanup_(snapshot_list_release) struct snapshot_list snapshots = {0};
    c.threads = options->threads != 0 ? options->threads : cpu_count();
    (void)pthread_mutex_init(&c.lock, NULL);
    int rc = check_structure(&c, &snapshots, e);
    if (rc == 0 && options->read_share > 0)
        rc = check_data(&c, e);
    if (rc == 0)
        rc = check_affected(&c, &snapshots, e);
    for (size_t i = 0; i < c.nissue; i++) {
        const struct issue *s = &c.issue[i];
        struct finding f = {s->kind, s->object, s->detail, s->affects};
        fn(&f, arg);
    }
    return rc;
}
