/* Some tables only, under their own schema or another one. The server itself does the renaming: all
 * definitions go into a working database, where the tables are moved, and what pg_dump makes of
 * them there goes into the destination. Data of split tables comes straight from the snapshot. No
 * keys to other tables and no triggers: a copy to look at and to take rows from. */
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "target/postgres_int.h"

#include <string.h>

struct tables {
    const struct postgres_restore *restore;
    const char *schema; /* NULL: their own */
    bool *chosen;       /* by the manifest's tables */
    struct archive archive;
    struct archive part; /* the dump of the moved tables */
    struct postgres_built built;
    struct pg *to; /* the destination */
    bool made_schema, begun;
};

/* ---- choosing ---- */

static bool matches(const struct postgres_table *t, const char *pattern)
{
    _cleanup_free_ char *full = str_fmt("%s.%s", t->schema, t->name);
    return strcmp(t->name, pattern) == 0 || strcmp(full, pattern) == 0 ||
           glob_match(pattern, strchr(pattern, '.') != NULL ? full : t->name);
}

static int choose(struct tables *s, const struct str_list *patterns, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    s->chosen = mem_array(m->ntable, sizeof *s->chosen);
    for (size_t k = 0; k < patterns->n; k++) {
        size_t found = 0;
        for (size_t i = 0; i < m->ntable; i++)
            if (matches(&m->table[i], patterns->s[k]) && m->table[i].kind != 'm') {
                s->chosen[i] = true;
                found++;
            }
        if (found == 0)
            return err_set(e, ERR_NOT_FOUND,
                           "the backup has no table that matches %s; write SCHEMA.TABLE or a "
                           "pattern; `salvor show SNAPSHOT` and its manifest.json name them",
                           patterns->s[k]);
    }
    return 0;
}

/* Partitions and children of chosen tables are chosen too; those whose parent is not are cut off
 * from it. */
static int choose_family(struct tables *s, struct pg *p, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc = pg_query(p,
                      "WITH RECURSIVE line(parent, child) AS (SELECT inhparent, inhrelid FROM "
                      "pg_catalog.pg_inherits UNION SELECT l.parent, i.inhrelid FROM line l JOIN "
                      "pg_catalog.pg_inherits i ON i.inhparent = l.child) SELECT pn.nspname, "
                      "pc.relname, cn.nspname, cc.relname FROM line JOIN pg_catalog.pg_class pc ON "
                      "pc.oid = parent JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace "
                      "JOIN pg_catalog.pg_class cc ON cc.oid = child JOIN pg_catalog.pg_namespace "
                      "cn ON cn.oid = cc.relnamespace WHERE cc.relkind IN ('r', 'p', 'f')",
                      NULL, 0, &rows, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(rows); i++) {
        const struct postgres_table *parent =
            postgres_manifest_table(m, pg_text(rows, i, 0), pg_text(rows, i, 1));
        const struct postgres_table *child =
            postgres_manifest_table(m, pg_text(rows, i, 2), pg_text(rows, i, 3));
        if (parent != NULL && child != NULL && s->chosen[parent - m->table])
            s->chosen[child - m->table] = true;
    }
    return rc;
}

static int cut_off(struct tables *s, struct pg *p, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    _cleanup_(pg_rows_freep) struct pg_rows *rows = NULL;
    int rc =
        pg_query(p,
                 "SELECT pn.nspname, pc.relname, cn.nspname, cc.relname, pc.relkind = 'p' FROM "
                 "pg_catalog.pg_inherits JOIN pg_catalog.pg_class pc ON pc.oid = inhparent "
                 "JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace JOIN "
                 "pg_catalog.pg_class cc ON cc.oid = inhrelid JOIN pg_catalog.pg_namespace cn "
                 "ON cn.oid = cc.relnamespace WHERE cc.relkind IN ('r', 'p', 'f')",
                 NULL, 0, &rows, e);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(rows); i++) {
        const char *name[4];
        for (int k = 0; k < 4; k++)
            name[k] = pg_text(rows, i, k);
        const struct postgres_table *parent = postgres_manifest_table(m, name[0], name[1]);
        const struct postgres_table *child = postgres_manifest_table(m, name[2], name[3]);
        if (child == NULL || !s->chosen[child - m->table] ||
            (parent != NULL && s->chosen[parent - m->table]))
            continue;
        rc = pg_bool(rows, i, 4) ? pg_execf(p, e, "ALTER TABLE %I.%I DETACH PARTITION %I.%I",
                                            name[0], name[1], name[2], name[3])
                                 : pg_execf(p, e, "ALTER TABLE %I.%I NO INHERIT %I.%I", name[2],
                                            name[3], name[0], name[1]);
    }
    return rc;
}

/* ---- the working database ---- */

/* What comes behind the numbers: "3353; 0 16387 TABLE DATA public t postgres". */
static const char *after_numbers(const char *line)
{
    const char *p = strchr(line, ';');
    for (int i = 0; p != NULL && i < 3; i++)
        p = strchr(p + 1, ' ');
    return p != NULL ? p + 1 : "";
}

static bool data_wanted(const char *line, void *arg)
{
    const struct tables *s = arg;
    const struct postgres_manifest *m = s->restore->manifest;
    line = after_numbers(line);
    if (str_starts(line, "SEQUENCE SET "))
        return true;
    for (size_t i = 0; i < m->ntable; i++) {
        if (!s->chosen[i] || m->table[i].split > 0)
            continue;
        _cleanup_free_ char *begin =
            str_fmt("TABLE DATA %s %s ", m->table[i].schema, m->table[i].name);
        for (char *p = begin; *p != '\0'; p++)
            if (*p == '\n' || *p == '\r')
                *p = ' '; /* as pg_restore shows them */
        if (str_starts(line, begin))
            return true;
    }
    return false;
}

static bool index_wanted(const char *line, void *arg)
{
    (void)arg;
    static const char *const begin[] = {"INDEX ",        "CONSTRAINT ", "INDEX ATTACH ",
                                        "ROW SECURITY ", "POLICY ",     "STATISTICS "};
    line = after_numbers(line);
    for (size_t i = 0; i < array_len(begin); i++)
        if (str_starts(line, begin[i]))
            return true;
    return false;
}

static int move(struct tables *s, struct pg *p, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    int rc = cut_off(s, p, e);
    if (rc < 0 || s->schema == NULL)
        return rc;
    rc = pg_execf(p, e, "CREATE SCHEMA IF NOT EXISTS %I", s->schema);
    for (size_t i = 0; rc == 0 && i < m->ntable; i++)
        if (s->chosen[i] && strcmp(m->table[i].schema, s->schema) != 0)
            rc = pg_execf(p, e, "ALTER TABLE %I.%I SET SCHEMA %I", m->table[i].schema,
                          m->table[i].name, s->schema);
    return rc;
}

/* pg_dump of the moved tables, into a file in the private directory. */
static int dump_moved(struct tables *s, struct pg *p, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    _cleanup_free_ char *program = NULL;
    _cleanup_(pg_environment_release) struct str_list env = {0};
    _cleanup_(str_list_release) struct str_list words = {0};
    s->part = (struct archive){.restore = s->restore, .program = str_dup(s->archive.program)};
    s->part.head = str_fmt("%s/tables", s->archive.dir);
    s->part.whole = true;
    int rc = pg_program("pg_dump", pg_version(p) / 10000, false, s->restore->server->bindir,
                        &program, e);
    if (rc < 0)
        return rc;
    pg_environment(p, &env);
    str_list_add_take(&env, str_dup("PGOPTIONS")); /* nothing of ours that would disturb it */
    const char *begin[] = {program, "-Fc", "-Z0", "-f", s->part.head};
    for (size_t i = 0; i < array_len(begin); i++)
        str_list_add(&words, begin[i]);
    for (size_t i = 0; i < m->ntable; i++) {
        if (!s->chosen[i])
            continue;
        struct buf name = BUF_INIT(BUF_TEXT);
        pg_format(&name, "--table=%I.%I", s->schema != NULL ? s->schema : m->table[i].schema,
                  m->table[i].name);
        str_list_add_take(&words, buf_take(&name));
    }
    _cleanup_free_ const char **argv = mem_array(words.n + 1, sizeof *argv);
    _cleanup_free_ const char **variables = mem_array(env.n + 1, sizeof *variables);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.s[i];
    for (size_t i = 0; i < env.n; i++)
        variables[i] = env.s[i];
    struct proc_options o = {.argv = argv, .env = variables, .out = PROC_OUT_NULL};
    _cleanup_(proc_freep) struct proc *child = NULL;
    rc = proc_start(&o, &child, e);
    return rc < 0 ? rc : proc_wait(child, -1, e);
}

static int work(struct tables *s, struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = NULL;
    _cleanup_free_ char *data = NULL, *indexes = NULL;
    int rc = target_connect(s->restore->server, s->built.name, &p, e);
    if (rc == 0)
        rc = archive_restore(&s->archive, ARCHIVE_PRE_DATA, p, NULL, e);
    if (rc == 0)
        rc = choose_family(s, p, e);
    if (rc == 0)
        rc = archive_choose(&s->archive, data_wanted, s, &data, e);
    struct load_choice dump = {.dump = true, .lines = data};
    if (rc == 0)
        rc = load_data(&s->archive, s->built.name, &dump, e);
    if (rc == 0)
        rc = archive_choose(&s->archive, index_wanted, s, &indexes, e);
    if (rc == 0)
        rc = archive_restore(&s->archive, ARCHIVE_POST_DATA, p, indexes, e);
    if (rc == 0)
        rc = move(s, p, e);
    return rc < 0 ? rc : dump_moved(s, p, e);
}

/* ---- the destination ---- */

static int check_free(struct tables *s, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    _cleanup_(str_list_release) struct str_list there = {0};
    _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < m->ntable; i++) {
        if (!s->chosen[i])
            continue;
        const char *words[] = {s->schema != NULL ? s->schema : m->table[i].schema,
                               m->table[i].name};
        int rc =
            target_query_list(s->to,
                              "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c "
                              "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
                              "n.nspname = $1 AND c.relname = $2",
                              words, 2, &there, e);
        if (rc < 0)
            return rc;
    }
    if (there.n == 0)
        return 0;
    target_name_some(&there, &names);
    return err_set(e, ERR_EXISTS,
                   "%s %s there already; name a schema of their own with --schema, and compare",
                   buf_str(&names), there.n == 1 ? "is" : "are");
}

static int make_schemas(struct tables *s, struct err *e)
{
    const struct postgres_manifest *m = s->restore->manifest;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < m->ntable; i++) {
        if (!s->chosen[i])
            continue;
        const char *name = s->schema != NULL ? s->schema : m->table[i].schema;
        _cleanup_(str_list_release) struct str_list there = {0};
        rc = target_query_list(s->to, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
                               &name, 1, &there, e);
        if (rc == 0 && there.n == 0) {
            rc = pg_execf(s->to, e, "CREATE SCHEMA %I", name);
            s->made_schema = s->made_schema || (rc == 0 && s->schema != NULL);
        }
    }
    return rc;
}

/* None of them was there before. */
static void take_away(struct tables *s)
{
    const struct postgres_manifest *m = s->restore->manifest;
    struct pg_server server = *s->restore->server;
    _cleanup_(pg_freep) struct pg *p = NULL;
    struct err why = ERR_INIT;
    server.shielded = true;
    int rc = target_connect(&server, s->restore->database, &p, &why);
    for (size_t i = 0; rc == 0 && i < m->ntable; i++)
        if (s->chosen[i])
            rc = pg_execf(p, &why, "DROP TABLE IF EXISTS %I.%I CASCADE",
                          s->schema != NULL ? s->schema : m->table[i].schema, m->table[i].name);
    if (rc == 0 && s->made_schema)
        rc = pg_execf(p, &why, "DROP SCHEMA %I", s->schema);
    if (rc < 0)
        log_warning("what was restored in part could not be taken away again: %s", why.msg);
}

static int deliver(struct tables *s, struct err *e)
{
    const struct postgres_restore *r = s->restore;
    struct load_choice split = {.split = true, .table = s->chosen, .schema = s->schema};
    int rc = make_schemas(s, e);
    s->begun = true;
    if (rc == 0)
        rc = archive_restore(&s->part, ARCHIVE_PRE_DATA, s->to, NULL, e);
    if (rc == 0)
        rc = archive_restore(&s->part, ARCHIVE_DATA, s->to, NULL, e);
    if (rc == 0)
        rc = load_data(&s->part, r->database, &split, e);
    if (rc == 0)
        rc = archive_restore(&s->part, ARCHIVE_POST_DATA, s->to, NULL, e);
    for (size_t i = 0; rc == 0 && i < r->manifest->ntable; i++)
        if (s->chosen[i])
            rc = check_count(s->to, &r->manifest->table[i], s->schema, e);
    return rc;
}

/* ---- the whole ---- */

static int check_schema(const struct postgres_restore *r, bool *there, const char *schema,
                        struct err *e)
{
    _cleanup_(pg_freep) struct pg *p = NULL;
    _cleanup_(str_list_release) struct str_list found = {0};
    int rc = target_connect(r->server, r->database, &p, e);
    if (rc == 0 && schema != NULL)
        rc = target_query_list(p, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
                               &schema, 1, &found, e);
    *there = schema == NULL || found.n > 0;
    return rc;
}

int target_postgres_tables_look(const struct postgres_restore *r, const struct str_list *patterns,
                                const char *schema, struct str_list *names, bool *schema_there,
                                struct err *e)
{
    struct tables s = {.restore = r};
    int rc = choose(&s, patterns, e);
    for (size_t i = 0; rc == 0 && i < r->manifest->ntable; i++)
        if (s.chosen[i])
            str_list_add_take(names, str_fmt("%s.%s", r->manifest->table[i].schema,
                                             r->manifest->table[i].name));
    free(s.chosen);
    return rc < 0 ? rc : check_schema(r, schema_there, schema, e);
}

int target_postgres_tables(const struct postgres_restore *r, const struct str_list *patterns,
                           const char *schema, struct err *e)
{
    struct postgres_restore own;
    struct tables s = {.restore = &own, .schema = schema, .built = {.server = r->server}};
    int rc = target_connect_beside(r->server, r->database, &s.built.beside, e);
    if (rc == 0)
        rc = build_prepare(r, &own, s.built.beside, e);
    if (rc == 0)
        rc = choose(&s, patterns, e);
    if (rc == 0)
        rc = target_connect(r->server, r->database, &s.to, e);
    if (rc == 0)
        rc = build_begin(&own, &s.archive, &s.built, NULL, e);
    if (rc == 0)
        rc = work(&s, e);
    if (rc == 0)
        rc = check_free(&s, e);
    if (rc == 0)
        rc = deliver(&s, e);
    if (rc < 0 && s.begun)
        take_away(&s);
    postgres_built_release(&s.built);
    pg_free(s.to);
    archive_close(&s.part);
    archive_close(&s.archive);
    free(s.chosen);
    return rc;
}
