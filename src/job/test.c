/* Testing a snapshot: restored into something throwaway, counted, compared with its manifest. */
#include "base/file.h"
#include "base/mem.h"
#include "job/test_int.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct test {
    struct job *job;
    const char *dir;
    const struct snapshot *snapshot;
    struct manifest manifest;
    struct test_result *out;
};

/* ---- PostgreSQL ---- */

static int compare_postgres(const struct test *t, const struct postgres_manifest *m, struct err *e)
{
    (void)e;
    for (size_t i = 0; i < m->ntable; i++) {
        const struct postgres_table *table = &m->table[i];
        /* What is foreign lives elsewhere; unlogged ones are as empty as after a crash. */
        if (table->has_rows && strchr("rm", table->kind) != NULL)
            test_expect(t->out, m->database, table->schema, table->name, table->rows);
    }
    return 0;
}

static int start_server(const struct test *t, const struct postgres_manifest *m,
                        struct sandbox **out, struct err *e)
{
    struct sandbox_extension *x = mem_array(m->nextension + 1, sizeof *x);
    for (size_t i = 0; i < m->nextension; i++)
        x[i] = (struct sandbox_extension){m->extension[i].name, m->extension[i].version};
    struct sandbox_postgres s = {.major = m->server_version / 10000,
                                 .dir = t->dir,
                                 .extensions = x,
                                 .nextensions = m->nextension};
    int rc = sandbox_postgres_start(&s, out, e);
    free(x);
    return rc;
}

static int test_postgres(struct test *t, struct err *e)
{
    struct postgres_manifest m = {0};
    struct id tree;
    _cleanup_(content_files_release) struct content_files files = {.job = NULL};
    _cleanup_(sandbox_freep) struct sandbox *s = NULL;
    if (t->manifest.source == NULL)
        return err_set(e, ERR_CORRUPT, "the manifest does not say what was backed up");
    int rc = postgres_manifest_parse(t->manifest.source, &m, e);
    if (rc == 0)
        rc = snapshot_content(t->job, t->snapshot, &tree, e);
    if (rc == 0)
        rc = content_files_init(&files, t->job, &tree, e);
    if (rc == 0)
        rc = start_server(t, &m, &s, e);
    if (rc == 0) {
        t->out->from = str_dup(m.server);
        t->out->server = str_fmt("%d", sandbox_major(s));
        struct postgres_restore r = {.server = sandbox_server(s),
                                     .database = m.database,
                                     .manifest = &m,
                                     .content = &files.content,
                                     .create_roles = true,
                                     .without_tablespaces = true};
        struct timespec begun = clock_wall(t->job->clock);
        rc = target_postgres_new(&r, e);
        t->out->restoring = timespec_diff(clock_wall(t->job->clock), begun);
        if (rc == 0)
            rc = test_count_server(sandbox_server(s), t->out, e);
        if (rc == 0)
            rc = compare_postgres(t, &m, e);
        if (rc < 0)
            rc = sandbox_explain(s, e);
    }
    postgres_manifest_release(&m);
    return rc;
}

/* ---- all else: below a directory ---- */

static void measure(const char *dir, struct test_result *out)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        _cleanup_free_ char *path = path_join(dir, entry->d_name);
        if (S_ISDIR(st.st_mode))
            measure(path, out);
        else
            out->files++;
        if (S_ISREG(st.st_mode))
            out->bytes_now += (uint64_t)st.st_size;
    }
    if (d != NULL)
        (void)closedir(d);
}

/* Calls `database` for each one that the manifest of a SQLite resource names, and `table` for each
 * of its tables that was counted. */
static void expect_tables(struct test *t, struct json_in *in, const char *path)
{
    json_array(in);
    while (json_next_item(in)) {
        _cleanup_free_ char *name = NULL;
        bool counted = false;
        uint64_t rows = 0;
        const char *key;
        json_object(in);
        while ((key = json_next_key(in)) != NULL) {
            if (strcmp(key, "name") == 0) {
                free(name);
                name = json_get_text(in);
            } else if (strcmp(key, "rows") == 0 && !json_is_null(in)) {
                rows = json_get_u64(in);
                counted = true;
            } else {
                json_skip(in);
            }
        }
        if (name != NULL && counted)
            test_expect(t->out, path, NULL, name, rows);
    }
}

static int test_database(struct test *t, const char *root, struct json_in *in, struct err *e)
{
    _cleanup_free_ char *path = NULL, *tables = NULL;
    const char *key;
    json_object(in);
    while ((key = json_next_key(in)) != NULL) {
        if (strcmp(key, "path") == 0) {
            free(path);
            path = json_get_text(in);
        } else if (strcmp(key, "tables") == 0) {
            free(tables);
            tables = json_get_raw(in);
        } else {
            json_skip(in);
        }
    }
    if (path == NULL || path[0] == '/' || strstr(path, "..") != NULL)
        return 0;
    _cleanup_free_ char *file = path_join(root, path);
    int rc = test_count_sqlite(file, path, t->out, e);
    if (rc < 0 || tables == NULL)
        return rc;
    struct json_in in_tables;
    json_in_init(&in_tables, tables, strlen(tables));
    expect_tables(t, &in_tables, path);
    return json_in_finish(&in_tables, "the tables in the manifest", e);
}

static int test_sqlite(struct test *t, const char *root, struct err *e)
{
    struct json_in in;
    const char *key;
    int rc = 0;
    if (t->manifest.source == NULL)
        return 0;
    json_in_init(&in, t->manifest.source, strlen(t->manifest.source));
    json_object(&in);
    while (rc == 0 && (key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "databases") != 0) {
            json_skip(&in);
            continue;
        }
        json_array(&in);
        while (rc == 0 && json_next_item(&in))
            rc = test_database(t, root, &in, e);
    }
    if (rc == 0)
        return json_in_finish(&in, "the manifest's source", e);
    json_in_release(&in);
    return rc;
}

static int test_directory(struct test *t, const char *resource, const struct snapshot_query *q,
                          struct err *e)
{
    _cleanup_(sandbox_freep) struct sandbox *s = NULL;
    _cleanup_(restore_plan_release) struct restore_plan plan = {.resource = NULL};
    _cleanup_(restore_result_release) struct restore_result res = {.files = 0};
    int rc = sandbox_directory_start(t->dir, &s, e);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *root = path_join(sandbox_dir(s), "content");
    struct restore_options o = {.query = *q, .to = root};
    rc = job_restore_plan(t->job, resource, &o, &plan, e);
    if (rc == 0)
        rc = job_restore(t->job, &plan, &o, &res, e);
    t->out->restoring = res.duration;
    for (size_t i = 0; i < res.missing.n; i++)
        str_list_add(&t->out->problems, res.missing.s[i]);
    if (rc < 0 && rc != ERR_PARTIAL)
        return rc;
    *e = (struct err)ERR_INIT;
    measure(root, t->out);
    if (t->manifest.resource != NULL && t->out->bytes_now != t->manifest.bytes)
        str_list_add_take(&t->out->problems,
                          str_fmt("%llu bytes came back, and the manifest says %llu",
                                  (unsigned long long)t->out->bytes_now,
                                  (unsigned long long)t->manifest.bytes));
    return str_eq(plan.type, "sqlite") ? test_sqlite(t, root, e) : 0;
}

/* ---- either ---- */

static int test(struct test *t, const char *resource, const struct snapshot_query *asked,
                struct err *e)
{
    struct job *j = t->job;
    struct snapshot_query q = *asked;
    q.resource = resource;
    size_t i = 0;
    int rc = lock_for_reading(j, e);
    if (rc == 0)
        rc = job_load(j, e);
    if (rc == 0)
        rc = snapshot_find(&j->snapshots, &q, &i, e);
    if (rc < 0)
        return rc;
    _cleanup_(snapshot_release) struct snapshot s = {0};
    snapshot_copy(&s, &j->snapshots.s[i]);
    t->snapshot = &s;
    char hex[ID_HEX + 1];
    t->out->snapshot = str_dup(id_hex(&s.id, hex));
    t->out->time = s.time;
    /* Whichever one it was: a newer one may appear meanwhile. */
    q.which = t->out->snapshot;
    q.has_at = false;
    const char *type = snapshot_tag(&s, "type");
    t->out->format = str_dup(snapshot_is_ours(&s) && type != NULL ? type : "foreign");
    if (snapshot_is_ours(&s)) {
        int signature = 0;
        struct err why = ERR_INIT;
        rc = manifest_load(j, &s, &t->manifest, &signature, &why, e);
        if (rc == 0 && signature != 0)
            str_list_add(signature == ERR_CORRUPT ? &t->out->problems : &t->out->warnings, why.msg);
        if (rc < 0)
            return rc;
        t->out->bytes = t->manifest.bytes;
    }
    atomic_store(&j->progress.phase, "restoring");
    if (str_eq(t->out->format, "postgres"))
        return test_postgres(t, e);
    repo_unlock(j->repo); /* the restore takes its own lock */
    return test_directory(t, resource, &q, e);
}

int job_test(struct job *j, const char *resource, const struct snapshot_query *q, const char *dir,
             struct test_result *out, struct err *e)
{
    *out = (struct test_result){0};
    struct test t = {.job = j, .dir = dir, .out = out};
    struct ledger_run run;
    struct timespec begun = clock_wall(j->clock);
    record_begin(j, &run, "test", resource, NULL);
    int rc = test(&t, resource, q, e);
    const char *what = resource != NULL ? resource : "the snapshot";
    if (rc == 0)
        rc = test_verdict(out, what, e);
    else
        (void)err_prefix(e, "test of %s", what);
    out->duration = timespec_diff(clock_wall(j->clock), begun);
    run.bytes = out->bytes;
    record_end(j, &run, rc, e);
    repo_unlock(j->repo);
    manifest_release(&t.manifest);
    return rc;
}
