/* What there is in a PostgreSQL database: its tables, and what a restore needs to know. */
#include "base/mem.h"
#include "source/postgres_int.h"
#include <string.h>

enum { NAMED_MOST = 5 }; /* tables in one message */

static void tables_release(struct pg_catalog *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct pg_table *t = &c->table[i];
        free(t->schema);
        free(t->name);
        str_list_release(&t->columns);
        str_list_release(&t->key);
    }
    free(take(c->table));
    c->n = c->nsplit = 0;
}

void catalog_release(struct pg_catalog *c)
{
    char *text[] = {
        c->server,          c->database,   c->owner,     c->encoding, c->collate,          c->ctype,
        c->locale_provider, c->icu_locale, c->icu_rules, c->lsn,      c->collation_version};
    tables_release(c);
    for (size_t i = 0; i < array_len(text); i++)
        free(text[i]);
    str_list_release(&c->roles);
    str_list_release(&c->tablespaces);
    str_list_release(&c->settings);
    str_list_release(&c->collations);
    pg_rows_free(c->extensions);
    *c = (struct pg_catalog){0};
}

int catalog_tables(struct pg_catalog *c, struct pg *p, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p, sql_pg_tables, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    tables_release(c);
    size_t n = pg_rows_count(r);
    c->table = mem_array(n + 1, sizeof *c->table);
    for (size_t i = 0; i < n; i++) {
        struct pg_table *t = &c->table[c->n++];
        t->oid = pg_int(r, i, 0);
        t->schema = str_dup(pg_text(r, i, 1));
        t->name = str_dup(pg_text(r, i, 2));
        t->kind = *pg_text(r, i, 3);
        t->bytes = (uint64_t)pg_int(r, i, 4);
        t->readable = pg_bool(r, i, 5);
        t->hidden = pg_bool(r, i, 6);
        t->extension = pg_bool(r, i, 7);
        atomic_init(&t->rows, -1);
    }
    return 0;
}

static void name_tables(const struct pg_catalog *c, bool hidden, struct buf *out)
{
    size_t named = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct pg_table *t = &c->table[i];
        if (hidden ? !t->hidden : t->readable || t->kind == 'f' || t->kind == 'm')
            continue;
        if (named++ < NAMED_MOST)
            buf_addf(out, "%s%s.%s", named > 1 ? ", " : "", t->schema, t->name);
    }
    if (named > NAMED_MOST)
        buf_addf(out, " and %zu more", named - NAMED_MOST);
}

int catalog_check_rights(const struct pg_catalog *c, const struct pg *p, struct err *e)
{
    _cleanup_(buf_release) struct buf unreadable = BUF_INIT(BUF_TEXT), hidden = BUF_INIT(BUF_TEXT);
    name_tables(c, false, &unreadable);
    name_tables(c, true, &hidden);
    if (unreadable.len > 0)
        return err_set(e, ERR_DENIED,
                       "%s: the role %s may not read %s; a part of a database is no backup of it: "
                       "GRANT pg_read_all_data TO the role, or use another",
                       pg_where(p), pg_user(p), buf_str(&unreadable));
    if (hidden.len > 0)
        return err_set(e, ERR_REFUSED,
                       "%s: row-level security would hide rows of %s from the role %s; a part of a "
                       "table is no backup of it: ALTER ROLE ... BYPASSRLS, or use another role",
                       pg_where(p), buf_str(&hidden), pg_user(p));
    return 0;
}

/* ---- facts ---- */

static char *text_or_null(const struct pg_rows *r, int column)
{
    return pg_is_null(r, 0, column) ? NULL : str_dup(pg_text(r, 0, column));
}

static int read_database(struct pg_catalog *c, struct pg *p, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p, sql_pg_facts, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    if (pg_rows_count(r) != 1)
        return err_set(e, ERR_CHANGED, "%s: the database is gone", pg_where(p));
    char **text[] = {
        &c->server, &c->database,        &c->owner,      &c->encoding,  &c->collate,
        &c->ctype,  &c->locale_provider, &c->icu_locale, &c->icu_rules, &c->collation_version,
        &c->lsn};
    int column = 0;
    for (size_t i = 0; i < array_len(text); i++) {
        free(*text[i]);
        *text[i] = text_or_null(r, column++);
    }
    c->bytes = (uint64_t)pg_int(r, 0, column++);
    c->publications = pg_int(r, 0, column++);
    c->subscriptions = pg_int(r, 0, column++);
    c->large_objects = pg_int(r, 0, column);
    return 0;
}

static int read_lists(struct pg_catalog *c, struct pg *p, struct err *e)
{
    const struct {
        const char *kind;
        struct str_list *list;
    } known[] = {{"role", &c->roles},
                 {"tablespace", &c->tablespaces},
                 {"setting", &c->settings},
                 {"collation", &c->collations}};
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p, sql_pg_lists, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    for (size_t k = 0; k < array_len(known); k++) {
        str_list_release(known[k].list);
        for (size_t i = 0; i < pg_rows_count(r); i++)
            if (str_eq(pg_text(r, i, 0), known[k].kind))
                str_list_add(known[k].list, pg_text(r, i, 1));
    }
    pg_rows_free(take(c->extensions));
    return pg_query(p, sql_pg_extensions, NULL, 0, &c->extensions, e);
}

static int by_oid(const void *a, const void *b)
{
    int64_t x = (*(struct pg_table *const *)a)->oid, y = (*(struct pg_table *const *)b)->oid;
    return x < y ? -1 : x > y;
}

/* Adds column 1 of rows that ascend by the oid in column 0 to each table's list at `offset`. */
static void add_columns(struct pg_catalog *c, const struct pg_rows *r, size_t offset)
{
    _cleanup_free_ struct pg_table **sorted = mem_array(c->n + 1, sizeof(struct pg_table *));
    for (size_t i = 0; i < c->n; i++)
        sorted[i] = &c->table[i];
    qsort(sorted, c->n, sizeof(struct pg_table *), by_oid);
    for (size_t i = 0, at = 0; i < pg_rows_count(r); i++) {
        while (at < c->n && sorted[at]->oid < pg_int(r, i, 0))
            at++;
        if (at < c->n && sorted[at]->oid == pg_int(r, i, 0))
            str_list_add((struct str_list *)(void *)((char *)sorted[at] + offset),
                         pg_text(r, i, 1));
    }
}

static int read_keys(struct pg_catalog *c, struct pg *p, struct err *e)
{
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_query(p, sql_pg_keys, NULL, 0, &r, e);
    if (rc == 0)
        add_columns(c, r, offsetof(struct pg_table, key));
    return rc;
}

static int read_columns(struct pg_catalog *c, struct pg *p, struct err *e)
{
    _cleanup_(buf_release) struct buf oids = BUF_INIT(BUF_JSON);
    buf_adds(&oids, "{");
    for (size_t i = 0; i < c->n; i++)
        if (c->table[i].split > 0)
            buf_addf(&oids, "%s%lld", oids.len > 1 ? "," : "", (long long)c->table[i].oid);
    buf_adds(&oids, "}");
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    const char *const params[] = {buf_str(&oids)};
    int rc = pg_query(p, sql_pg_columns, params, 1, &r, e);
    if (rc == 0)
        add_columns(c, r, offsetof(struct pg_table, columns));
    return rc;
}

int catalog_facts(struct pg_catalog *c, struct pg *p, uint64_t split, struct err *e)
{
    int rc = read_database(c, p, e);
    if (rc == 0)
        rc = read_lists(c, p, e);
    if (rc == 0)
        rc = read_keys(c, p, e);
    if (rc == 0)
        rc = parts_plan(c, p, split, e);
    if (rc == 0 && c->nsplit > 0)
        rc = read_columns(c, p, e);
    if (rc == 0)
        parts_number(c);
    return rc;
}

/* ---- the manifest ---- */

static void describe_table(const struct pg_table *t, struct json_out *j)
{
    const char kind[] = {t->kind, '\0'};
    int64_t rows = atomic_load(&t->rows);
    json_begin_object(j);
    json_text(j, "schema", t->schema);
    json_text(j, "name", t->name);
    json_text(j, "kind", kind);
    if (rows >= 0)
        json_i64(j, "rows", rows);
    json_u64(j, "bytes", t->bytes);
    if (t->split > 0) {
        json_u64(j, "split", t->split);
        json_u64(j, "parts", t->parts);
        json_list(j, "columns", &t->columns);
    }
    if (t->key.n > 0)
        json_list(j, "key", &t->key);
    json_end_object(j);
}

void catalog_describe(const struct pg_catalog *c, struct json_out *j)
{
    uint64_t parts = 0;
    for (size_t i = 0; i < c->n; i++)
        parts += c->table[i].split > 0 ? c->table[i].parts : 0;
    json_text(j, "server", c->server);
    json_text(j, "database", c->database);
    json_text(j, "owner", c->owner);
    json_text(j, "encoding", c->encoding);
    json_text(j, "collate", c->collate);
    json_text(j, "ctype", c->ctype);
    json_text(j, "locale_provider", c->locale_provider);
    json_text(j, "icu_locale", c->icu_locale);
    json_text(j, "icu_rules", c->icu_rules);
    json_text(j, "collation_version", c->collation_version);
    json_text(j, "lsn", c->lsn);
    json_u64(j, "bytes", c->bytes);
    json_key(j, "extensions");
    json_begin_array(j);
    for (size_t i = 0; i < pg_rows_count(c->extensions); i++) {
        json_begin_object(j);
        json_text(j, "name", pg_text(c->extensions, i, 0));
        json_text(j, "version", pg_text(c->extensions, i, 1));
        json_text(j, "schema", pg_text(c->extensions, i, 2));
        json_end_object(j);
    }
    json_end_array(j);
    json_u64(j, "parts", parts);
    json_list(j, "roles", &c->roles);
    json_list(j, "tablespaces", &c->tablespaces);
    json_list(j, "settings", &c->settings);
    json_list(j, "collations", &c->collations);
    json_i64(j, "publications", c->publications);
    json_i64(j, "subscriptions", c->subscriptions);
    json_i64(j, "large_objects", c->large_objects);
    json_key(j, "tables");
    json_begin_array(j);
    for (size_t i = 0; i < c->n; i++)
        describe_table(&c->table[i], j);
    json_end_array(j);
}
