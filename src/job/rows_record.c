/* The record of rows that were put back: written before they are committed, read by undo. */
#include "base/json.h"
#include "base/mem.h"
#include "job/rows_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_VERSION = 1 };

/* ---- writing ---- */

/* How to connect again; the password is not kept. */
static void connection_text(const struct pg *p, struct buf *out)
{
    static const char *const name[][2] = {
        {"PGHOST=", "host"},
        {"PGHOSTADDR=", "hostaddr"},
        {"PGPORT=", "port"},
        {"PGUSER=", "user"},
        {"PGDATABASE=", "dbname"},
        {"PGSSLMODE=", "sslmode"},
        {"PGSSLROOTCERT=", "sslrootcert"},
    };
    _cleanup_(pg_environment_release) struct str_list all = {0};
    pg_environment(p, &all);
    for (size_t i = 0; i < all.n; i++) {
        for (size_t k = 0; k < array_len(name); k++) {
            if (!str_starts(all.s[i], name[k][0]))
                continue;
            buf_addf(out, "%s%s='", out->len > 0 ? " " : "", name[k][1]);
            for (const char *c = all.s[i] + strlen(name[k][0]); *c != '\0'; c++) {
                if (*c == '\'' || *c == '\\')
                    buf_adds(out, "\\");
                buf_add(out, c, 1);
            }
            buf_adds(out, "'");
        }
    }
}

static void names_json(struct json_out *j, const char *key, const struct rows_table *t,
                       enum rows_which which)
{
    json_key(j, key);
    json_begin_array(j);
    for (size_t i = 0; which == ROWS_KEY && i < t->nkey; i++)
        json_put_text(j, t->column[t->key[i]].name);
    for (size_t i = 0; which != ROWS_KEY && i < t->ncolumn; i++)
        if (!t->column[i].generated)
            json_put_text(j, t->column[i].name);
    json_end_array(j);
}

static int put_head(const struct rows *r, enum rows_digest digest, struct rows_file *f,
                    struct err *e)
{
    _cleanup_(buf_release) struct buf line = BUF_INIT(BUF_JSON), server = BUF_INIT(BUF_TEXT);
    struct json_out j;
    connection_text(r->production, &server);
    json_out_init(&j, &line);
    json_begin_object(&j);
    json_u64(&j, "version", RECORD_VERSION);
    json_bool(&j, "configured", r->options->configured);
    json_text(&j, "server", buf_str(&server));
    json_text(&j, "database", pg_database(r->production));
    json_text(&j, "digest", digest == ROWS_HASH ? "hash" : "md5");
    json_key(&j, "tables");
    json_begin_array(&j);
    for (size_t i = 0; i < r->nset; i++) {
        if (r->set[i].missing == 0)
            continue;
        json_begin_object(&j);
        json_text(&j, "schema", r->set[i].table.schema);
        json_text(&j, "table", r->set[i].table.name);
        names_json(&j, "key", &r->set[i].table, ROWS_KEY);
        names_json(&j, "columns", &r->set[i].table, ROWS_STORED);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_end_object(&j);
    int rc = json_out_finish(&j, e);
    if (rc == 0)
        rc = buf_append(&line, "\n", 1, e);
    return rc == 0 ? rows_file_put(f, line.data, line.len, e) : rc;
}

static int put_rows(struct rows *r, size_t i, size_t number, enum rows_digest digest,
                    struct rows_file *f, struct err *e)
{
    const struct rows_table *t = &r->set[i].table;
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(stream_closep) struct stream *rows = NULL;
    buf_addf(&sql, "COPY (SELECT %zu, ", number);
    (void)rows_columns_sql(&sql, t, ROWS_KEY, "b");
    buf_adds(&sql, ", ");
    rows_digest_sql(&sql, digest, t, ROWS_STORED, "b");
    buf_addf(&sql, " FROM " ROWS_DONE " AS d JOIN %s AS b ON ", i, t->only);
    rows_same_key_sql(&sql, t, "b", "d");
    buf_adds(&sql, ") TO STDOUT");
    int rc = pg_copy_out(r->production, buf_str(&sql), &rows, e);
    return rc == 0 ? rows_file_put_stream(f, rows, e) : rc;
}

int rows_record_write(struct rows *r, const char *path, struct err *e)
{
    _cleanup_(rows_file_release) struct rows_file f = {.fd = -1};
    enum rows_digest digest = rows_own_digest(r->production);
    int rc = rows_file_open(&f, path, e);
    if (rc == 0)
        rc = put_head(r, digest, &f, e);
    for (size_t i = 0, number = 0; rc == 0 && i < r->nset; i++)
        if (r->set[i].missing > 0)
            rc = put_rows(r, i, number++, digest, &f, e);
    return rc == 0 ? rows_file_commit(&f, e) : rc;
}

/* ---- reading ---- */

void rows_record_release(struct rows_record *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->table[i].schema);
        free(r->table[i].name);
        str_list_release(&r->table[i].key);
        str_list_release(&r->table[i].column);
    }
    free(r->table);
    free(r->server);
    free(r->database);
    *r = (struct rows_record){0};
}

static void read_names(struct json_in *in, struct str_list *out)
{
    json_array(in);
    while (json_next_item(in)) {
        char *name = json_get_text(in);
        if (name != NULL)
            str_list_add_take(out, name);
        else
            json_in_fail(in, "a column without a name");
    }
}

static void read_table(struct json_in *in, struct rows_record_table *t)
{
    const char *key;
    json_object(in);
    while ((key = json_next_key(in)) != NULL) {
        if (strcmp(key, "schema") == 0)
            t->schema = json_get_text(in);
        else if (strcmp(key, "table") == 0)
            t->name = json_get_text(in);
        else if (strcmp(key, "key") == 0)
            read_names(in, &t->key);
        else if (strcmp(key, "columns") == 0)
            read_names(in, &t->column);
        else
            json_skip(in);
    }
    if (t->schema == NULL || t->name == NULL || t->key.n == 0)
        json_in_fail(in, "a table without a name or a key");
}

static int read_head(const char *line, size_t len, struct rows_record *out, struct err *e)
{
    struct json_in in;
    const char *key;
    size_t cap = 0;
    json_in_init(&in, line, len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "version") == 0) {
            if (json_get_u64(&in) != RECORD_VERSION)
                json_in_fail(&in, "a version that this salvor does not know");
        } else if (strcmp(key, "configured") == 0) {
            out->configured = json_get_bool(&in);
        } else if (strcmp(key, "server") == 0) {
            out->server = json_get_text(&in);
        } else if (strcmp(key, "database") == 0) {
            out->database = json_get_text(&in);
        } else if (strcmp(key, "digest") == 0) {
            out->digest = strcmp(json_get_string(&in, NULL), "hash") == 0 ? ROWS_HASH : ROWS_MD5;
        } else if (strcmp(key, "tables") == 0) {
            json_array(&in);
            while (json_next_item(&in)) {
                mem_grow(&out->table, out->n, &cap, sizeof *out->table);
                out->table[out->n] = (struct rows_record_table){0};
                read_table(&in, &out->table[out->n++]);
            }
        } else {
            json_skip(&in);
        }
    }
    if (out->server == NULL || out->database == NULL || out->n == 0)
        json_in_fail(&in, "it does not say where");
    return json_in_finish(&in, "the record of rows that were put back", e);
}

int rows_record_read(const char *path, struct rows_record *out, FILE **body, struct err *e)
{
    *out = (struct rows_record){0};
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    _cleanup_free_ char *line = NULL;
    size_t size = 0;
    if (f == NULL)
        return err_sys(e, errno, "cannot read %s, the record of the rows that were put back", path);
    ssize_t len = getline(&line, &size, f);
    if (len <= 0)
        return err_set(e, ERR_CORRUPT, "%s is empty", path);
    int rc = read_head(line, (size_t)len, out, e);
    if (rc < 0) {
        rows_record_release(out);
        return err_prefix(e, "%s", path);
    }
    *body = take(f);
    return 0;
}
