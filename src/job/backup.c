/* Backup: one resource into one snapshot.
 *
 *     source -> chunk -> hash -> (known?) -> compress -> seal -> pack -> store
 *
 * river_in.c is the river itself; here is what comes before it and after it. The order at the end
 * is what makes a crash harmless: packs, index, and only then the snapshot that needs them. */
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypt/crypt.h"
#include "job/job_int.h"
#include "policy/objective.h"
#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void backup_result_release(struct backup_result *r)
{
    str_list_release(&r->missing);
    str_list_release(&r->notes);
}

/* Everything that one backup works with. */
struct backup {
    struct job *job;
    const struct config_resource *resource;
    struct backup_options options;
    struct backup_result *result;
    char point[17];
    struct source *source;
    struct writer *writer;
    struct river_in in;
    const struct snapshot *parent; /* in job->snapshots; NULL for the first */
};

static void backup_release(struct backup *b)
{
    river_in_release(&b->in);
    writer_free(b->writer);
    source_free(b->source);
}

/* The newest snapshot of the same resource and type: unchanged files are taken from it. */
static const struct snapshot *find_parent(const struct backup *b)
{
    const struct snapshot_list *l = &b->job->snapshots;
    for (size_t i = l->n; i > 0; i--) {
        const struct snapshot *s = &l->s[i - 1];
        if (snapshot_is_ours(s) && !snapshot_pre_restore(s) &&
            str_eq(snapshot_tag(s, "resource"), b->resource->name) &&
            str_eq(snapshot_tag(s, "type"), resource_type_name(b->resource->type)))
            return s;
    }
    return NULL;
}

static int read_content(struct backup *b, struct err *e)
{
    struct job *j = b->job;
    b->parent = find_parent(b);
    b->in = (struct river_in){.job = j, .source = b->source, .writer = b->writer};
    struct err ignored = ERR_INIT;
    if (b->parent != NULL && !b->options.reread)
        b->in.has_before = snapshot_content(j, b->parent, &b->in.before, &ignored) == 0;

    uint64_t bytes = 0, entries = 0;
    source_estimate(b->source, &bytes, &entries);
    if (bytes == 0 && b->parent != NULL) /* about as much as the last time */
        (void)snapshot_size(b->parent, &bytes);
    atomic_store(&j->progress.bytes_total, bytes);
    atomic_store(&j->progress.items_total, entries);
    atomic_store(&j->progress.phase, "reading");
    return river_in_run(&b->in, e);
}

static void take_results(struct backup *b)
{
    struct backup_result *res = b->result;
    struct writer_stats w;
    writer_get_stats(b->writer, &w);
    res->files = b->in.files;
    res->dirs = b->in.dirs;
    res->unchanged = b->in.unchanged;
    res->bytes = b->in.bytes;
    res->bytes_new = w.bytes_new;
    res->bytes_stored = w.bytes_stored;
    res->bytes_resumed = w.bytes_resumed;
    str_list_sort(&b->in.missing);
    str_list_sort(&b->in.notes);
    for (size_t i = 0; i < b->in.missing.n; i++)
        str_list_add(&res->missing, b->in.missing.s[i]);
    for (size_t i = 0; i < b->in.notes.n; i++)
        str_list_add(&res->notes, b->in.notes.s[i]);
    res->partial = res->missing.n > 0;
    res->duration = timespec_diff(clock_wall(b->job->clock), res->begun);
}

/* ---- the size against what is expected (B6) ---- */

struct average {
    uint64_t sum, n;
};

static int add_size(const struct ledger_run *r, void *arg, struct err *e)
{
    (void)e;
    struct average *a = arg;
    a->sum += r->bytes;
    a->n++;
    return 0;
}

static void check_size(struct backup *b)
{
    enum { LAST_SUCCESSES = 10 };
    const struct config_size *size = &b->resource->size;
    struct average a = {0};
    struct err ignored = ERR_INIT;
    char repository[ID_HEX + 1];
    struct ledger_filter f = {.kind = "backup",
                              .repository = id_hex(repo_id(b->job->repo), repository),
                              .resource = b->resource->name,
                              .result = "done",
                              .most = LAST_SUCCESSES};
    if (b->job->ledger != NULL && ledger_runs(b->job->ledger, &f, add_size, &a, &ignored) < 0)
        a = (struct average){0};
    struct size_rule rule = {
        .min = size->min,
        .least = size->expect_least,
        .most = size->expect_most,
        .drift_least = size->drift_least,
        .drift_most = size->drift_most,
        .average = a.n > 0 ? a.sum / a.n : 0,
    };
    if (!size_within(&rule, b->result->bytes, b->result->size_warning))
        str_list_add(&b->result->notes, b->result->size_warning);
}

/* ---- the trees around content/ ---- */

static struct node wrapper(const char *name, enum node_type type, struct timespec time)
{
    struct node n = {
        .name = str_dup(name),
        .type = type,
        .mode = type == NODE_DIR ? 0700 : 0600,
        .mtime = time,
        .atime = time,
        .ctime = time,
        .uid = (uint32_t)getuid(),
        .gid = (uint32_t)getgid(),
    };
    return n;
}

/* A document beside content/, such as manifest.json, saved in two blobs: [0, cut) and the rest. */
static int add_document(struct backup *b, struct tree_writer *w, const char *name, const void *data,
                        size_t len, size_t cut, struct err *e)
{
    _cleanup_(node_release) struct node n = wrapper(name, NODE_FILE, b->result->begun);
    n.size = len;
    n.links = 1;
    n.has_content = true;
    n.content = mem_array(2, sizeof *n.content);
    const struct piece piece[] = {{data, cut}, {(const char *)data + cut, len - cut}};
    for (size_t i = 0; i < array_len(piece); i++) {
        if (piece[i].len == 0)
            continue;
        int rc = writer_save(b->writer, BLOB_DATA, piece[i].data, piece[i].len,
                             &n.content[n.ncontent++], NULL, e);
        if (rc < 0)
            return rc;
    }
    return tree_writer_add(w, &n, e);
}

/* Where the part of the manifest begins that is the same in every backup of a host, so that it is
 * stored once. */
static size_t stable_part(const struct buf *manifest)
{
    const char *text = buf_str(manifest), *at = strstr(text, "\"packages\": [");
    return at != NULL ? (size_t)(at - text) : manifest->len;
}

static int add_directory(struct backup *b, struct tree_writer *w, const char *name,
                         const struct id *tree, struct err *e)
{
    _cleanup_(node_release) struct node n = wrapper(name, NODE_DIR, b->result->begun);
    n.subtree = *tree;
    n.has_subtree = true;
    return tree_writer_add(w, &n, e);
}

/* What the source says of itself. */
static int describe(struct backup *b, struct buf *out, struct err *e)
{
    struct json_out json;
    json_out_init(&json, out);
    json_begin_object(&json);
    int rc = source_describe(b->source, &json, e);
    json_end_object(&json);
    return rc < 0 ? rc : json_out_finish(&json, e);
}

/* RESTORE.txt, content/, manifest.json, manifest.sig, salvor.yaml: in the order of their names'
 * bytes. */
static int save_documents(struct backup *b, struct tree_writer *w, struct err *e)
{
    struct job *j = b->job;
    _cleanup_(buf_release) struct buf manifest = BUF_INIT(BUF_JSON);
    _cleanup_(buf_release) struct buf signature = BUF_INIT(4096);
    _cleanup_(buf_release) struct buf how = BUF_INIT(BUF_TEXT);
    _cleanup_(buf_release) struct buf description = BUF_INIT(BUF_JSON);
    int rc = describe(b, &description, e);
    if (rc < 0)
        return rc;
    restore_text(j, b->resource, &description, &how);
    rc = manifest_write(j, b->resource, &b->options, b->result, &b->in, &manifest, e);
    if (rc == 0)
        rc = add_document(b, w, "RESTORE.txt", how.data, how.len, how.len, e);
    if (rc == 0)
        rc = add_directory(b, w, "content", &b->in.content, e);
    if (rc == 0)
        rc = add_document(b, w, "manifest.json", manifest.data, manifest.len,
                          stable_part(&manifest), e);
    if (rc == 0 && j->signing.has_key) {
        rc = signing_sign(&j->signing, manifest.data, manifest.len, &signature, e);
        if (rc == 0)
            rc =
                add_document(b, w, "manifest.sig", signature.data, signature.len, signature.len, e);
    }
    if (rc == 0 && j->config->text != NULL)
        rc = add_document(b, w, "salvor.yaml", j->config->text, strlen(j->config->text),
                          strlen(j->config->text), e);
    return rc;
}

static int save_root(struct backup *b, struct id *out, struct err *e)
{
    _cleanup_(tree_writer_release) struct tree_writer inner, outer;
    tree_writer_init(&inner);
    tree_writer_init(&outer);
    struct id tree;
    int rc = save_documents(b, &inner, e);
    if (rc == 0)
        rc = tree_writer_save(&inner, b->writer, &tree, e);
    if (rc == 0)
        rc = add_directory(b, &outer, b->resource->name, &tree, e);
    if (rc == 0)
        rc = tree_writer_save(&outer, b->writer, out, e);
    return rc;
}

/* What restic puts into a snapshot since its version 0.17: programs list sizes by it. */
static char *summarize(const struct backup *b)
{
    const struct backup_result *res = b->result;
    struct buf text = BUF_INIT(BUF_TEXT);
    struct json_out j;
    json_out_init(&j, &text);
    json_begin_object(&j);
    json_time(&j, "backup_start", res->begun);
    json_time(&j, "backup_end", clock_wall(b->job->clock));
    json_u64(&j, "files_unmodified", res->unchanged);
    json_u64(&j, "data_added", res->bytes_new);
    json_u64(&j, "data_added_packed", res->bytes_stored);
    json_u64(&j, "total_files_processed", res->files);
    json_u64(&j, "total_bytes_processed", res->bytes);
    json_end_object(&j);
    return buf_take(&text);
}

static int save_snapshot(struct backup *b, const struct id *tree, struct err *e)
{
    const struct backup_result *res = b->result;
    _cleanup_(snapshot_release) struct snapshot s = {
        .time = res->begun,
        .tree = *tree,
        .hostname = host_name(),
        .username = host_user(),
        .uid = (uint32_t)getuid(),
        .gid = (uint32_t)getgid(),
    };
    if (b->parent != NULL) {
        s.parent = b->parent->id;
        s.has_parent = true;
    }
    s.summary = summarize(b);
    str_list_add_take(&s.paths, str_fmt("/%s", b->resource->name));
    str_list_add(&s.tags, "salvor");
    str_list_add_take(&s.tags, str_fmt("resource=%s", b->resource->name));
    str_list_add_take(&s.tags, str_fmt("type=%s", resource_type_name(b->resource->type)));
    if (b->options.job != NULL)
        str_list_add_take(&s.tags, str_fmt("job=%s", b->options.job));
    str_list_add_take(&s.tags, str_fmt("point=%s", b->options.point));
    if (b->options.pre_restore)
        str_list_add(&s.tags, "pre-restore");
    if (res->partial)
        str_list_add(&s.tags, "partial");
    int rc = snapshot_save(b->job->repo, &s, e);
    if (rc < 0)
        return rc;
    b->result->snapshot = s.id;
    b->result->tree = s.tree;
    return 0;
}

static int prepare(struct backup *b, struct err *e)
{
    struct job *j = b->job;
    int rc = job_source_new(b->resource, take(b->options.input), &b->source, e);
    if (rc < 0)
        return rc;
    rc = repo_lock(j->repo, LOCK_SHARED, e);
    if (rc < 0)
        return rc;
    atomic_store(&j->progress.phase, "opening");
    rc = job_load(j, e);
    if (rc < 0)
        return rc;
    return writer_new(j->repo, &b->writer, e);
}

static int carry_out(struct backup *b, struct err *e)
{
    int rc = prepare(b, e);
    if (rc < 0)
        return rc;
    rc = read_content(b, e);
    if (rc < 0)
        return rc;
    take_results(b);
    struct backup_result *res = b->result;
    if (res->files == 0 && res->partial)
        return err_set(e, ERR_IO, "nothing of %s could be read: %s", b->resource->name,
                       res->missing.s[0]);
    if (!b->options.pre_restore)
        check_size(b);

    atomic_store(&b->job->progress.phase, "storing");
    struct id root;
    rc = save_root(b, &root, e);
    if (rc == 0)
        rc = writer_commit(b->writer, e);
    if (rc == 0)
        rc = save_snapshot(b, &root, e);
    if (rc < 0)
        return rc;
    struct writer_stats w;
    writer_get_stats(b->writer, &w);
    res->bytes_new = w.bytes_new;
    res->bytes_stored = w.bytes_stored;
    res->duration = timespec_diff(clock_wall(b->job->clock), res->begun);
    if (res->partial)
        return err_set(e, ERR_PARTIAL, "%zu %s of %s could not be saved as they were: %s%s",
                       res->missing.n, res->missing.n == 1 ? "entry" : "entries", b->resource->name,
                       res->missing.s[0], res->missing.n > 1 ? "; ..." : "");
    return 0;
}

void progress_reset(struct progress *p)
{
    atomic_store(&p->bytes, 0);
    atomic_store(&p->bytes_total, 0);
    atomic_store(&p->items, 0);
    atomic_store(&p->items_total, 0);
}

int job_backup(struct job *j, const struct config_resource *r, const struct backup_options *o,
               struct backup_result *out, struct err *e)
{
    *out = (struct backup_result){.begun = clock_wall(j->clock)};
    struct backup b = {.job = j, .resource = r, .options = *o, .result = out};
    if (o->point == NULL) {
        uint8_t random[8];
        int rc = random_bytes(random, sizeof random, e);
        if (rc < 0) {
            stream_close(o->input);
            return rc;
        }
        hex_encode(random, sizeof random, b.point);
        b.options.point = b.point;
    }
    progress_reset(&j->progress);
    struct ledger_run run;
    record_begin(j, &run, o->pre_restore ? "pre-restore" : "backup", r->name, o->job);
    int rc = carry_out(&b, e);
    if (rc < 0 && rc != ERR_PARTIAL)
        (void)err_prefix(e, "backup of %s failed, nothing was saved as a snapshot", r->name);
    run.bytes = out->bytes;
    run.bytes_new = out->bytes_new;
    run.bytes_stored = out->bytes_stored;
    run.files = out->files;
    run.tree = out->tree;
    run.has_tree = !id_is_zero(&out->tree);
    record_end(j, &run, rc, e);
    backup_release(&b);
    repo_unlock(j->repo);
    return rc;
}
