/* Reads what the manifest says of a PostgreSQL database. It was signed, but may come from a program
 * that knew less or more: unknown keys are passed over, and what is used as a path or a count is
 * checked. */
#include "base/json.h"
#include "base/mem.h"
#include "target/postgres.h"

#include <stdlib.h>
#include <string.h>

enum { SPLIT_MOST = 1000000 };

void postgres_manifest_release(struct postgres_manifest *m)
{
    char *text[] = {m->server,
                    m->database,
                    m->owner,
                    m->encoding,
                    m->collate,
                    m->ctype,
                    m->locale_provider,
                    m->icu_locale,
                    m->collation_version,
                    m->lsn,
                    m->globals,
                    m->dump};
    for (size_t i = 0; i < array_len(text); i++)
        free(text[i]);
    str_list_release(&m->roles);
    str_list_release(&m->tablespaces);
    str_list_release(&m->settings);
    for (size_t i = 0; i < m->nextension; i++) {
        free(m->extension[i].name);
        free(m->extension[i].version);
        free(m->extension[i].schema);
    }
    free(m->extension);
    for (size_t i = 0; i < m->ntable; i++) {
        free(m->table[i].schema);
        free(m->table[i].name);
        str_list_release(&m->table[i].columns);
        str_list_release(&m->table[i].key);
    }
    free(m->table);
    *m = (struct postgres_manifest){0};
}

static unsigned get_count(struct json_in *in)
{
    uint64_t v = json_get_u64(in);
    if (v > SPLIT_MOST)
        json_in_fail(in, "a number of files that cannot be");
    return v > SPLIT_MOST ? 0 : (unsigned)v;
}

static void get_extensions(struct json_in *in, struct postgres_manifest *m)
{
    size_t cap = m->nextension;
    json_array(in);
    while (json_next_item(in)) {
        mem_grow(&m->extension, m->nextension, &cap, sizeof *m->extension);
        struct postgres_extension *x = &m->extension[m->nextension++];
        *x = (struct postgres_extension){0};
        json_object(in);
        for (const char *key; (key = json_next_key(in)) != NULL;) {
            if (strcmp(key, "name") == 0)
                json_replace_text(in, &x->name);
            else if (strcmp(key, "version") == 0)
                json_replace_text(in, &x->version);
            else if (strcmp(key, "schema") == 0)
                json_replace_text(in, &x->schema);
            else
                json_skip(in);
        }
        if (x->name == NULL)
            json_in_fail(in, "an extension without a name");
    }
}

static void get_table(struct json_in *in, struct postgres_table *t)
{
    json_object(in);
    for (const char *key; (key = json_next_key(in)) != NULL;) {
        if (strcmp(key, "schema") == 0) {
            json_replace_text(in, &t->schema);
        } else if (strcmp(key, "name") == 0) {
            json_replace_text(in, &t->name);
        } else if (strcmp(key, "kind") == 0) {
            t->kind = json_get_string(in, NULL)[0];
        } else if (strcmp(key, "rows") == 0) {
            t->has_rows = !json_is_null(in);
            t->rows = t->has_rows ? json_get_u64(in) : 0;
        } else if (strcmp(key, "bytes") == 0) {
            t->bytes = json_get_u64(in);
        } else if (strcmp(key, "split") == 0) {
            t->split = get_count(in);
        } else if (strcmp(key, "parts") == 0) {
            t->parts = get_count(in);
        } else if (strcmp(key, "columns") == 0) {
            json_get_list(in, &t->columns);
        } else if (strcmp(key, "key") == 0) {
            json_get_list(in, &t->key);
        } else {
            json_skip(in);
        }
    }
    if (t->schema == NULL || t->name == NULL)
        json_in_fail(in, "a table without a name");
}

static void get_tables(struct json_in *in, struct postgres_manifest *m)
{
    size_t cap = m->ntable;
    json_array(in);
    while (json_next_item(in)) {
        mem_grow(&m->table, m->ntable, &cap, sizeof *m->table);
        m->table[m->ntable] = (struct postgres_table){0};
        get_table(in, &m->table[m->ntable++]);
    }
}

/* Whether it was one of the plain texts. */
static bool get_known_text(struct json_in *in, const char *key, struct postgres_manifest *m)
{
    const struct {
        const char *key;
        char **to;
    } text[] = {
        {"server", &m->server},
        {"database", &m->database},
        {"owner", &m->owner},
        {"encoding", &m->encoding},
        {"collate", &m->collate},
        {"ctype", &m->ctype},
        {"locale_provider", &m->locale_provider},
        {"icu_locale", &m->icu_locale},
        {"collation_version", &m->collation_version},
        {"lsn", &m->lsn},
        {"globals", &m->globals},
        {"dump", &m->dump},
    };
    for (size_t i = 0; i < array_len(text); i++)
        if (strcmp(key, text[i].key) == 0) {
            json_replace_text(in, text[i].to);
            return true;
        }
    return false;
}

static void get_manifest(struct json_in *in, struct postgres_manifest *m)
{
    json_object(in);
    for (const char *key; (key = json_next_key(in)) != NULL;) {
        if (get_known_text(in, key, m))
            continue;
        if (strcmp(key, "server_version") == 0)
            m->server_version = (int)(json_get_u64(in) & 0x7fffffff);
        else if (strcmp(key, "bytes") == 0)
            m->bytes = json_get_u64(in);
        else if (strcmp(key, "large_objects") == 0)
            m->large_objects = json_get_u64(in);
        else if (strcmp(key, "publications") == 0)
            m->publications = json_get_u64(in);
        else if (strcmp(key, "subscriptions") == 0)
            m->subscriptions = json_get_u64(in);
        else if (strcmp(key, "roles") == 0)
            json_get_list(in, &m->roles);
        else if (strcmp(key, "tablespaces") == 0)
            json_get_list(in, &m->tablespaces);
        else if (strcmp(key, "settings") == 0)
            json_get_list(in, &m->settings);
        else if (strcmp(key, "extensions") == 0)
            get_extensions(in, m);
        else if (strcmp(key, "tables") == 0)
            get_tables(in, m);
        else
            json_skip(in);
    }
}

int postgres_manifest_parse(const char *json, struct postgres_manifest *out, struct err *e)
{
    *out = (struct postgres_manifest){0};
    struct json_in in;
    json_in_init(&in, json, strlen(json));
    get_manifest(&in, out);
    int rc = json_in_finish(&in, "manifest.json, what it says of the database", e);
    if (rc == 0 && (out->database == NULL || out->dump == NULL))
        rc = err_set(e, ERR_CORRUPT, "manifest.json does not say which database this is");
    if (rc < 0)
        postgres_manifest_release(out);
    return rc;
}

const struct postgres_table *postgres_manifest_table(const struct postgres_manifest *m,
                                                     const char *schema, const char *name)
{
    for (size_t i = 0; i < m->ntable; i++)
        if (strcmp(m->table[i].name, name) == 0 && strcmp(m->table[i].schema, schema) == 0)
            return &m->table[i];
    return NULL;
}

char *postgres_part_path(unsigned split, unsigned part)
{
    return str_fmt("data/%04u/%04u.copy", split, part);
}

void postgres_copy_sql(const struct postgres_table *t, const char *schema, struct buf *out)
{
    pg_format(out, "COPY %I.%I", schema != NULL ? schema : t->schema, t->name);
    for (size_t i = 0; i < t->columns.n; i++)
        pg_format(out, i == 0 ? " (%I" : ", %I", t->columns.s[i]);
    buf_adds(out, t->columns.n > 0 ? ") FROM STDIN" : " FROM STDIN");
}
