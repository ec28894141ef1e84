/* What a comparison shows: counts and a few rows of each kind, long values cut. */
#include "base/mem.h"
#include "job/rows_int.h"

#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 200 }; /* bytes of a value that are shown */

static void sample_release(struct rows_sample *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->name[i]);
        free(s->backup[i]);
        if (s->production != NULL)
            free(s->production[i]);
    }
    free(s->name);
    free(s->backup);
    free(s->production);
}

static void found_release(struct rows_found *f)
{
    free(f->schema);
    free(f->table);
    str_list_release(&f->key);
    str_list_release(&f->triggers);
    for (size_t i = 0; i < f->nsample; i++)
        sample_release(&f->sample[i]);
    for (size_t i = 0; i < f->nchange; i++)
        sample_release(&f->change[i]);
    free(f->sample);
    free(f->change);
}

void rows_report_clear(struct rows_report *p)
{
    for (size_t i = 0; i < p->n; i++)
        found_release(&p->table[i]);
    free(take(p->table));
    p->n = 0;
    str_list_release(&p->notes);
    p->notes = (struct str_list){0};
}

static char *cut(const struct pg_rows *r, size_t row, int column)
{
    if (pg_is_null(r, row, column))
        return NULL;
    const char *text = pg_text(r, row, column);
    size_t len = strlen(text);
    if (len <= VALUE_MAX)
        return str_dup(text);
    len = VALUE_MAX;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--; /* not within a character */
    return str_fmt("%.*s...", (int)len, text);
}

/* The columns in the order of showing: the key, then the others; their names and their texts. */
static void shown_columns(const struct rows_table *t, struct str_list *names, struct buf *sql)
{
    for (size_t i = 0; i < t->nkey; i++)
        str_list_add(names, t->column[t->key[i]].name);
    for (size_t i = 0; i < t->ncolumn; i++)
        if (t->column[i].common && !str_list_has(names, t->column[i].name))
            str_list_add(names, t->column[i].name);
    for (size_t i = 0; i < names->n; i++)
        pg_format(sql, i > 0 ? ", b.%I::text" : "b.%I::text", names->s[i]);
}

static struct rows_sample sample_of(const struct str_list *names)
{
    return (struct rows_sample){.name = mem_array(names->n, sizeof(char *)),
                                .backup = mem_array(names->n, sizeof(char *))};
}

/* ---- missing rows ---- */

static int sample_missing(struct rows *r, const struct rows_set *s, struct rows_found *f,
                          struct err *e)
{
    _cleanup_(str_list_release) struct str_list names = {0};
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    if (r->options->samples == 0 || s->missing == 0)
        return 0;
    buf_adds(&sql, "SELECT ");
    shown_columns(&s->table, &names, &sql);
    buf_adds(&sql, " FROM ");
    rows_set_sql(&sql, s);
    buf_addf(&sql, " LIMIT %u", r->options->samples);
    int rc = pg_query(r->work, buf_str(&sql), NULL, 0, &rows, e);
    if (rc < 0)
        return rc;
    f->sample = mem_array(pg_rows_count(rows) + 1, sizeof *f->sample);
    for (; f->nsample < pg_rows_count(rows); f->nsample++) {
        struct rows_sample *one = &f->sample[f->nsample];
        *one = sample_of(&names);
        for (; one->n < names.n; one->n++) {
            one->name[one->n] = str_dup(names.s[one->n]);
            one->backup[one->n] = cut(rows, f->nsample, (int)one->n);
        }
    }
    return 0;
}

/* ---- changed rows ---- */

static bool same_value(const struct pg_rows *a, const struct pg_rows *b, int column)
{
    return pg_is_null(a, 0, column) == pg_is_null(b, 0, column) &&
           strcmp(pg_text(a, 0, column), pg_text(b, 0, column)) == 0;
}

static void add_change(struct rows_found *f, const struct rows_table *t,
                       const struct str_list *names, const struct pg_rows *old,
                       const struct pg_rows *now)
{
    struct rows_sample *one = &f->change[f->nchange++];
    *one = sample_of(names);
    one->production = mem_array(names->n, sizeof(char *));
    for (size_t i = 0; i < names->n; i++) {
        const struct rows_column *c = rows_table_column(t, names->s[i]);
        if (i >= t->nkey && (!c->same_type || same_value(old, now, (int)i)))
            continue;
        one->name[one->n] = str_dup(names->s[i]);
        one->backup[one->n] = cut(old, 0, (int)i);
        one->production[one->n++] = cut(now, 0, (int)i);
    }
}

static int sample_change(struct rows *r, const char *rel, const char *tid, struct err *e)
{
    const struct rows_set *s = &r->set[0];
    const struct rows_table *t = &s->table;
    _cleanup_(str_list_release) struct str_list names = {0};
    _cleanup_(buf_release) struct buf columns = BUF_INIT(BUF_TEXT);
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_(pg_rows_freep) struct pg_rows *old = NULL, *now = NULL;
    const char *place[] = {rel, tid}, *key[array_len(t->key)];
    shown_columns(t, &names, &columns);
    buf_addf(&sql, "SELECT %s FROM %s AS b WHERE b.tableoid = $1::oid AND b.ctid = $2::tid",
             buf_str(&columns), s->source);
    int rc = pg_query(r->work, buf_str(&sql), place, 2, &old, e);
    if (rc < 0 || pg_rows_count(old) != 1)
        return rc;
    buf_clear(&sql);
    buf_addf(&sql, "SELECT %s FROM %s AS b WHERE ", buf_str(&columns), t->only);
    for (size_t i = 0; i < t->nkey; i++) {
        const struct rows_column *c = &t->column[t->key[i]];
        pg_format(&sql, i > 0 ? " AND b.%I = $%d::%s" : "b.%I = $%d::%s", c->name, (int)i + 1,
                  c->type);
        key[i] = pg_text(old, 0, (int)i);
    }
    rc = pg_query(r->production, buf_str(&sql), key, t->nkey, &now, e);
    if (rc == 0 && pg_rows_count(now) == 1)
        add_change(&r->report.table[0], t, &names, old, now);
    return rc;
}

int rows_sample_changes(struct rows *r, const struct str_list *place, struct err *e)
{
    r->report.table[0].change = mem_array(place->n / 2 + 1, sizeof(struct rows_sample));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i + 1 < place->n; i += 2)
        rc = sample_change(r, place->s[i], place->s[i + 1], e);
    return rc;
}

/* ---- all of it ---- */

int rows_report_fill(struct rows *r, struct err *e)
{
    struct rows_report *p = &r->report;
    p->table = mem_resize(p->table, r->nset, sizeof *p->table);
    memset(p->table + 1, 0, (r->nset - 1) * sizeof *p->table);
    p->n = 1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->nset; i++) {
        const struct rows_set *s = &r->set[i];
        if (i > 0 && (s->skipped || s->missing + s->there == 0))
            continue;
        struct rows_found *f = &p->table[i == 0 ? 0 : p->n++];
        f->schema = str_dup(s->table.schema);
        f->table = str_dup(s->table.name);
        for (size_t k = 0; k < s->table.nkey; k++)
            str_list_add(&f->key, s->table.column[s->table.key[k]].name);
        for (size_t k = 0; k < s->table.triggers.n; k++)
            str_list_add(&f->triggers, s->table.triggers.s[k]);
        f->missing = s->missing;
        f->there = s->there;
        rc = sample_missing(r, s, f, e);
    }
    return rc;
}
