/* Large tables in parts: ranges of blocks of one snapshot, each a COPY of its own. The ranges are
 * fixed multiples of blocks, so that rows that stay where they are stay in the same part from one
 * backup to the next. */
#include "base/mem.h"
#include "source/postgres_int.h"
#include <string.h>

enum {
    FIRST_VERSION = 140000, /* ranges of ctid are read without reading the whole table */
    PART_BYTES = 64 << 20,  /* of table that one part is about */
    BLOCK_BYTES = 8192,
    LEAST_BLOCKS = 16,
    MOST = 9999, /* tables, and parts of one: what four digits can number */
};

static const struct pg_table *find(const struct pg_catalog *c, int64_t oid)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->table[i].oid == oid)
            return &c->table[i];
    return NULL;
}

/* Parts as large as said, or smaller where a row has most of its bytes outside of the blocks
 * (TOAST): a power of two, so that it seldom changes as the table grows. */
static void plan_table(struct pg_table *t, uint64_t heap, uint64_t split)
{
    uint64_t goal = split < PART_BYTES ? split : PART_BYTES;
    uint64_t blocks = heap / BLOCK_BYTES + 1, part = LEAST_BLOCKS;
    while (part < blocks && (double)(2 * part) / (double)blocks * (double)t->bytes <= (double)goal)
        part *= 2;
    while ((blocks + part - 1) / part > MOST)
        part *= 2;
    t->part_blocks = part;
    t->parts = (unsigned)((blocks + part - 1) / part);
    t->split = 1;
}

int parts_plan(struct pg_catalog *c, struct pg *p, uint64_t split, struct err *e)
{
    if (pg_version(p) < FIRST_VERSION)
        return 0;
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    _cleanup_free_ char *least = str_fmt("%llu", (unsigned long long)split);
    const char *const params[] = {least};
    int rc = pg_query(p, sql_pg_splits, params, 1, &r, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(r); i++) {
        const struct pg_table *found = find(c, pg_int(r, i, 0));
        if (found != NULL)
            plan_table(&c->table[found - c->table], (uint64_t)pg_int(r, i, 1), split);
        c->nsplit += found != NULL;
    }
    return rc;
}

/* Names go into the words of pg_dump, which are in the server's encoding, and into lines of a psql
 * script: only what is the same in both is split. */
static bool is_plain(const char *name, bool utf8)
{
    for (const char *p = name; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            return false;
    }
    return true;
}

static bool can_be_named(const struct pg_table *t, bool utf8)
{
    bool plain = is_plain(t->schema, utf8) && is_plain(t->name, utf8) && t->columns.n > 0;
    for (size_t i = 0; i < t->columns.n; i++)
        plain = plain && is_plain(t->columns.s[i], utf8);
    return plain;
}

void parts_number(struct pg_catalog *c)
{
    bool utf8 = str_eq(c->encoding, "UTF8");
    c->nsplit = 0;
    for (size_t i = 0; i < c->n; i++) {
        struct pg_table *t = &c->table[i];
        if (t->split == 0)
            continue;
        t->split = can_be_named(t, utf8) && c->nsplit < MOST ? (unsigned)++c->nsplit : 0;
    }
}

static void add_column_list(const struct pg_table *t, struct buf *out)
{
    for (size_t i = 0; i < t->columns.n; i++) {
        buf_adds(out, i > 0 ? ", " : "");
        pg_format(out, "%I", t->columns.s[i]);
    }
}

void parts_copy_sql(const struct pg_table *t, unsigned part, struct buf *out)
{
    buf_adds(out, "COPY (SELECT ");
    add_column_list(t, out);
    pg_format(out, " FROM ONLY %I.%I", t->schema, t->name);
    unsigned long long from = part * t->part_blocks;
    if (part > 0)
        pg_format(out, " WHERE ctid >= '(%llu,0)'", from);
    if (part + 1 <
        t->parts) /* the last one is open: the table may have grown since it was measured */
        pg_format(out, " %s ctid < '(%llu,0)'", part > 0 ? "AND" : "WHERE",
                  from + (unsigned long long)t->part_blocks);
    buf_adds(out, ") TO STDOUT");
}

void parts_load_sql(const struct pg_catalog *c, struct buf *out)
{
    buf_adds(out,
             "-- Loads the tables that are not in the dump. Run it by psql in the directory that "
             "holds data/,\n-- between the sections \"data\" and \"post-data\" of the dump; see "
             "RESTORE.txt.\n\\set ON_ERROR_STOP on\n");
    pg_format(out, "SET client_encoding = %L;\n", c->encoding);
    buf_adds(out, "SET search_path = '';\nSET row_security = off;\nSET statement_timeout = 0;\n"
                  "SET lock_timeout = 0;\nSET xmloption = content;\nSET intervalstyle = postgres;\n"
                  "SET datestyle = iso;\n");
    for (size_t i = 0; i < c->n; i++) {
        const struct pg_table *t = &c->table[i];
        for (unsigned k = 0; t->split > 0 && k < t->parts; k++) {
            pg_format(out, "\\copy %I.%I (", t->schema, t->name);
            add_column_list(t, out);
            buf_addf(out, ") FROM 'data/%04u/%04u.copy'\n", t->split, k + 1);
        }
    }
}
