/* Compares two tables by their keys: two cursors in the same order are merged, each row is seen
 * once, and no more than one row of each side is held. Knows nothing of servers; that both sides
 * really are in order is checked, since a wrong order would pass off every row as deleted. */
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <string.h>

/* ---- one column ---- */

static int sign_of(size_t a, size_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_bytes(const char *a, size_t alen, const char *b, size_t blen)
{
    int c = memcmp(a, b, alen < blen ? alen : blen);
    return c != 0 ? c : sign_of(alen, blen);
}

static bool is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s, word, len) == 0;
}

/* A decimal number as the server writes it: sign, digits without leading zeros, fraction. */
struct number {
    int rank; /* -2 -Infinity, 0 finite, 2 Infinity, 3 NaN */
    bool negative;
    const char *whole, *part;
    size_t nwhole, npart; /* of the fraction without zeros at its end */
};

static struct number number_of(const char *s, size_t len)
{
    struct number n = {.whole = s, .part = s};
    if (is(s, len, "NaN"))
        return (struct number){.rank = 3};
    if (is(s, len, "Infinity"))
        return (struct number){.rank = 2};
    if (is(s, len, "-Infinity"))
        return (struct number){.rank = -2};
    const char *end = s + len;
    if (s < end && *s == '-') {
        n.negative = true;
        s++;
    }
    while (s < end && *s == '0')
        s++;
    const char *dot = memchr(s, '.', (size_t)(end - s));
    n.whole = s;
    n.nwhole = (size_t)((dot != NULL ? dot : end) - s);
    if (dot != NULL) {
        n.part = dot + 1;
        while (end > n.part && end[-1] == '0')
            end--;
        n.npart = (size_t)(end - n.part);
    }
    if (n.nwhole == 0 && n.npart == 0)
        n.negative = false;
    return n;
}

static int compare_numbers(const char *a, size_t alen, const char *b, size_t blen)
{
    struct number x = number_of(a, alen), y = number_of(b, blen);
    if (x.rank != y.rank)
        return x.rank < y.rank ? -1 : 1;
    if (x.rank != 0)
        return 0;
    if (x.negative != y.negative)
        return x.negative ? -1 : 1;
    int c = sign_of(x.nwhole, y.nwhole);
    if (c == 0)
        c = memcmp(x.whole, y.whole, x.nwhole);
    if (c == 0)
        c = compare_bytes(x.part, x.npart, y.part, y.npart);
    return x.negative ? -c : c;
}

/* "2026-11-21 08:30:00.5+00", "12026-01-01", "0044-03-15 BC", "infinity". */
struct moment {
    int era; /* -2 -infinity, -1 BC, 0 AD, 2 infinity */
    const char *year, *rest;
    size_t nyear, nrest;
};

static struct moment moment_of(const char *s, size_t len)
{
    if (is(s, len, "infinity"))
        return (struct moment){.era = 2};
    if (is(s, len, "-infinity"))
        return (struct moment){.era = -2};
    struct moment m = {.era = 0};
    if (len > 3 && memcmp(s + len - 3, " BC", 3) == 0) {
        m.era = -1;
        len -= 3;
    }
    const char *dash = memchr(s, '-', len);
    m.year = s;
    m.nyear = dash != NULL ? (size_t)(dash - s) : len;
    m.rest = s + m.nyear;
    m.nrest = len - m.nyear;
    return m;
}

/* After the year, fields have fixed widths, and '+' of the zone comes before '.' of a fraction: the
 * bytes are in the order of time. */
static int compare_times(const char *a, size_t alen, const char *b, size_t blen)
{
    struct moment x = moment_of(a, alen), y = moment_of(b, blen);
    if (x.era != y.era)
        return x.era < y.era ? -1 : 1;
    if (x.year == NULL || y.year == NULL)
        return 0;
    int c = compare_numbers(x.year, x.nyear, y.year, y.nyear);
    if (c != 0)
        return x.era == -1 ? -c : c;
    return compare_bytes(x.rest, x.nrest, y.rest, y.nrest);
}

int key_compare(enum key_class c, const char *a, size_t alen, const char *b, size_t blen)
{
    switch (c) {
    case KEY_NUMBER: return compare_numbers(a, alen, b, blen);
    case KEY_TIME: return compare_times(a, alen, b, blen);
    case KEY_BYTES: break;
    }
    return compare_bytes(a, alen, b, blen);
}

/* ---- one side ---- */

struct side {
    struct rows_cursor *cursor;
    const struct rows_merge *merge;
    struct pg_row row;
    uint64_t count;
    struct buf last; /* the key before, each column with its length in front */
};

static int compare_rows(const struct rows_merge *m, const struct pg_row *a, const struct pg_row *b)
{
    for (size_t i = 0; i < m->nkey; i++) {
        int c = key_compare(m->class[i], a -> text[i], a -> len[i], b -> text[i], b -> len[i]);
        if (c != 0)
            return c;
    }
    return 0;
}

/* Whether the present key comes after the one before. */
static bool ascends(const struct side *s)
{
    const uint8_t *p = s->last.data;
    for (size_t i = 0; i < s->merge->nkey; i++) {
        size_t len;
        memcpy(&len, p, sizeof len);
        p += sizeof len;
        int c =
            key_compare(s->merge->class[i], (const char *)p, len, s -> row.text[i], s->row.len[i]);
        if (c != 0)
            return c < 0;
        p += len;
    }
    return false;
}

static int remember(struct side *s, struct err *e)
{
    buf_clear(&s->last);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->merge->nkey; i++) {
        rc = buf_append(&s->last, &s->row.len[i], sizeof s->row.len[i], e);
        if (rc == 0)
            rc = buf_append(&s->last, s->row.text[i], s->row.len[i], e);
    }
    return rc;
}

static int advance(struct side *s, struct err *e)
{
    int rc = s->cursor->next(s->cursor->arg, &s->row, e);
    if (rc < 0)
        return rc;
    if (s->row.n == 0)
        return 0;
    if (s->row.n <= s->merge->nkey)
        return err_set(e, ERR_INTERNAL, "%s gives %zu columns", s->cursor->what, s->row.n);
    for (size_t i = 0; i < s->merge->nkey; i++)
        if (s->row.text[i] == NULL)
            return err_set(e, ERR_UNSUPPORTED, "a row of %s has no value in its key",
                           s->cursor->what);
    if (s->count > 0 && !ascends(s))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s does not give its rows in the order of their keys, after row %llu (key "
                       "%s): two rows have the same key there, or the server orders it in a way "
                       "that is not known here; comparing by it would call rows missing that are "
                       "there",
                       s->cursor->what, (unsigned long long)s->count, s->row.text[0]);
    s->count++;
    if ((s->count & 0xfff) == 0 && (rc = cancel_check(e)) < 0)
        return rc;
    return remember(s, e);
}

/* ---- both ---- */

static bool same_digest(const struct pg_row *a, const struct pg_row *b, size_t at)
{
    if (a->n <= at || b->n <= at)
        return true;
    if (a->text[at] == NULL || b->text[at] == NULL)
        return a->text[at] == b->text[at];
    return a->len[at] == b->len[at] && memcmp(a->text[at], b->text[at], a->len[at]) == 0;
}

static bool wanted(const struct pg_row *row, size_t at)
{
    return row->n <= at || (row->text[at] != NULL && row->text[at][0] == 't');
}

static int one_step(struct rows_merge *m, struct side *b, struct side *p, struct err *e)
{
    int c = b->row.n == 0 ? 1 : p->row.n == 0 ? -1 : compare_rows(m, &b->row, &p->row);
    int rc = 0;
    if (c < 0 && wanted(&b->row, m->nkey + 1)) {
        m->nmissing++;
        rc = m->missing(&b->row, m->arg, e);
    } else if (c == 0 && wanted(&b->row, m->nkey + 1) && !same_digest(&b->row, &p->row, m->nkey)) {
        m->nchanged++;
        rc = m->changed(&b->row, m->arg, e);
    } else if (c > 0) {
        m->nadded++;
    }
    if (rc == 0 && c <= 0)
        rc = advance(b, e);
    if (rc == 0 && c >= 0)
        rc = advance(p, e);
    return rc;
}

int rows_merge(struct rows_merge *m, struct rows_cursor *backup, struct rows_cursor *production,
               struct err *e)
{
    struct side b = {.cursor = backup, .merge = m, .last = BUF_INIT((size_t)1 << 26)};
    struct side p = {.cursor = production, .merge = m, .last = BUF_INIT((size_t)1 << 26)};
    int rc = advance(&b, e);
    if (rc == 0)
        rc = advance(&p, e);
    while (rc == 0 && (b.row.n > 0 || p.row.n > 0))
        rc = one_step(m, &b, &p, e);
    m->nbackup = b.count;
    m->nproduction = p.count;
    buf_release(&b.last);
    buf_release(&p.last);
    return rc;
}
