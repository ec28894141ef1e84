/* The source of SQLite databases. The source of files finds them and lays them out; each one's
 * bytes are replaced by those of a copy that is one state of it. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/files_int.h"
#include "source/sqlite_int.h"
#include <errno.h>
#include <string.h>

enum { BUSY_MS = 30000, KIB = 1024, MIB = 1024 * 1024 };

struct sqlite_source {
    struct source source;
    struct source *files;
    char *temp_dir;
    int busy_ms;
    bool count_rows;
    size_t nfiles;
    struct database {
        char *path; /* relative to content/ */
        struct sqlite_copy facts;
    } * done;
    size_t ndone, cap;
};

struct handle {
    int fd;
};

struct copy_stream {
    struct stream stream;
    int fd;
    int64_t at;
};

static struct sqlite_source *sqlite_of(struct source *s)
{
    return (struct sqlite_source *)s;
}

/* Pieces that stay in place when a page changes; multiples of every page size. */
static uint32_t piece_for(uint64_t bytes)
{
    if (bytes < (uint64_t)256 * MIB)
        return 256 * KIB;
    return bytes < (uint64_t)4096 * MIB ? 512 * KIB : MIB;
}

/* Replaces the file that the source of files told by a copy of the database. */
static int take_copy(struct sqlite_source *s, struct source_item *out, struct err *e)
{
    _cleanup_free_ char *path = path_join(files_of(s->files)->base, out->path);
    struct sqlite_copy c;
    int rc = sqlite_copy_make(&c, path, s->temp_dir, s->busy_ms, s->count_rows, e);
    if (rc != 0)
        return rc;
    if (c.unchecked != NULL)
        log_warning("%s was backed up, but its integrity could not be checked: %s", path,
                    c.unchecked);
    struct handle *h = mem_zero(sizeof(*h));
    h->fd = take_fd(&c.fd);
    out->handle = h;
    attributes_from_stat(&out->node, &c.st, &files_of(s->files)->owners);
    out->node.size = c.bytes;
    out->has_bytes = c.bytes > 0;
    out->cut.piece = piece_for(c.bytes);

    mem_grow(&s->done, s->ndone, &s->cap, sizeof(*s->done));
    s->done[s->ndone++] = (struct database){str_dup(out->path), c};
    return 0;
}

static int sqlite_next(struct source *source, struct source_item *out, struct err *e)
{
    struct sqlite_source *s = sqlite_of(source);
    int rc = s->files->ops->next(s->files, out, e);
    out->source = source;
    if (rc != 0 || out->step != SOURCE_LEAF)
        return rc;
    if ((rc = take_copy(s, out, e)) == 0 || s->nfiles == 1 || rc == ERR_CANCELLED)
        return rc;
    out->step = SOURCE_PROBLEM;
    out->problem = *e;
    return 0;
}

static void sqlite_item_release(struct source_item *i)
{
    struct handle *h = i->handle;
    (void)close(h->fd);
    free(h);
}

/* The file's times do not tell what is in a journal beside it. */
static bool sqlite_unchanged(const struct source_item *i, const struct node *before)
{
    (void)i;
    (void)before;
    return false;
}

static int copy_read(struct stream *stream, void *data, size_t len, size_t *got, struct err *e)
{
    struct copy_stream *s = (struct copy_stream *)stream;
    int rc = fd_pread_all(s->fd, data, len, s->at, got, "the copy of a database", e);
    s->at += (int64_t)*got;
    return rc;
}

static void copy_close(struct stream *stream)
{
    free(stream);
}

static int sqlite_open(const struct source_item *i, struct stream **out, struct err *e)
{
    (void)e;
    const struct handle *h = i->handle;
    struct copy_stream *s = mem_zero(sizeof(*s));
    s->stream.read = copy_read;
    s->stream.close = copy_close;
    s->fd = h->fd;
    *out = &s->stream;
    return 0;
}

static int sqlite_verdict(struct source_item *i, struct stream *stream, uint64_t bytes_read,
                          struct err *e)
{
    (void)stream;
    if (bytes_read != i->node.size)
        return err_set(e, ERR_IO, "the copy of %s has %llu bytes instead of %llu", i->path,
                       (unsigned long long)bytes_read, (unsigned long long)i->node.size);
    return 0;
}

static void describe_database(const struct database *d, struct json_out *j)
{
    const struct sqlite_copy *c = &d->facts;
    char hex[17];
    json_begin_object(j);
    json_text(j, "path", d->path);
    json_u64(j, "bytes", c->bytes);
    json_u64(j, "page_size", c->page_size);
    json_text(j, "journal_mode", c->wal ? "wal" : "rollback");
    json_u64(j, "user_version", c->user_version);
    json_u64(j, "application_id", c->application_id);
    (void)snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)c->schema_digest);
    json_text(j, "schema_digest", hex);
    json_text(j, "integrity_check", c->unchecked != NULL ? c->unchecked : "ok");
    json_key(j, "tables");
    json_begin_array(j);
    for (size_t i = 0; i < c->ntables; i++) {
        json_begin_object(j);
        json_text(j, "name", c->table[i].name);
        if (c->table[i].rows >= 0)
            json_i64(j, "rows", c->table[i].rows);
        json_end_object(j);
    }
    json_end_array(j);
    json_end_object(j);
}

static int sqlite_describe(struct source *source, struct json_out *j, struct err *e)
{
    const struct sqlite_source *s = sqlite_of(source);
    int rc = s->files->ops->describe(s->files, j, e);
    json_text(j, "sqlite_version", sqlite3_libversion());
    json_key(j, "databases");
    json_begin_array(j);
    for (size_t i = 0; i < s->ndone; i++)
        describe_database(&s->done[i], j);
    json_end_array(j);
    return rc;
}

static void sqlite_estimate(struct source *source, uint64_t *bytes, uint64_t *entries)
{
    const struct sqlite_source *s = sqlite_of(source);
    const struct str_list *paths = &files_of(s->files)->paths;
    struct stat st;
    for (size_t i = 0; i < paths->n; i++)
        if (stat(paths->s[i], &st) == 0)
            *bytes += (uint64_t)st.st_size;
    *entries = paths->n;
}

static void sqlite_free(struct source *source)
{
    struct sqlite_source *s = sqlite_of(source);
    source_free(s->files);
    for (size_t i = 0; i < s->ndone; i++) {
        free(s->done[i].path);
        sqlite_copy_release(&s->done[i].facts);
    }
    free(s->done);
    free(s->temp_dir);
    free(s);
}

static const struct source_ops sqlite_ops = {
    .next = sqlite_next,
    .item_release = sqlite_item_release,
    .unchanged = sqlite_unchanged,
    .open = sqlite_open,
    .verdict = sqlite_verdict,
    .describe = sqlite_describe,
    .estimate = sqlite_estimate,
    .free = sqlite_free,
};

/* Journals belong to their database and are never one themselves. */
static bool is_journal(const char *path)
{
    return str_ends(path, "-wal") || str_ends(path, "-shm") || str_ends(path, "-journal");
}

/* The files that were chosen, links followed: a journal lies beside what a link leads to. */
static int choose_databases(const struct source_sqlite_options *o, struct str_list *out,
                            struct err *e)
{
    _cleanup_(str_list_release) struct str_list found = {0};
    for (size_t i = 0; i < o->npaths; i++) {
        int rc = choose_paths(o->paths[i], NULL, &found, e);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < found.n; i++) {
        char *real = realpath(found.s[i], NULL);
        struct stat st;
        if (real == NULL || stat(real, &st) < 0) {
            int sys = errno;
            free(real);
            return err_sys(e, sys, "cannot open %s", found.s[i]);
        }
        if (S_ISDIR(st.st_mode)) {
            free(real);
            return err_set(e, ERR_USAGE,
                           "cannot back up %s as a SQLite database: it is a directory; name the "
                           "file, or %s/*.db",
                           found.s[i], found.s[i]);
        }
        if (is_journal(real))
            free(real);
        else
            str_list_add_take(out, real);
    }
    return out->n > 0 ? 0 : err_set(e, ERR_NOT_FOUND, "no SQLite database was found");
}

int source_sqlite_new(const struct source_sqlite_options *o, struct source **out, struct err *e)
{
    _cleanup_(str_list_release) struct str_list paths = {0};
    int rc = choose_databases(o, &paths, e);
    if (rc != 0)
        return rc;
    struct sqlite_source *s = mem_zero(sizeof(*s));
    s->source.ops = &sqlite_ops;
    s->busy_ms = o->busy_ms > 0 ? o->busy_ms : BUSY_MS;
    s->count_rows = !o->skip_row_counts;
    const char *temp = o->temp_dir != NULL ? o->temp_dir : getenv("TMPDIR");
    s->temp_dir = str_dup(temp != NULL && *temp != 0 ? temp : "/var/tmp");
    struct source_files_options files = {.paths = (const char *const *)paths.s, .npaths = paths.n};
    rc = source_files_new(&files, &s->files, e);
    if (rc != 0) {
        sqlite_free(&s->source);
        return rc;
    }
    s->nfiles = files_of(s->files)->paths.n;
    sqlite_copy_sweep(s->temp_dir);
    *out = &s->source;
    return 0;
}
