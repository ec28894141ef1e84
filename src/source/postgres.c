/* The source of one PostgreSQL database: its dump by pg_dump, large tables in parts beside it, and
 * the roles of the server, all of one snapshot and without a copy in between. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/work.h"
#include "source/postgres_int.h"
#include <string.h>

enum {
    LOCK_MS = 30000,
    DUMP_LOCK_MS = 500, /* pg_dump comes after the leader: it waits only behind somebody queued */
    FIRST_VERSION = 100000,
    FIRST_BYTES = 64 << 10,
};

enum what { DUMP, GLOBALS, LOAD_SQL, PART, DIRECTORY };

struct postgres_item {
    enum source_step step;
    enum what what;
    char *path;
    struct pg_table *table;
    unsigned part;
};

/* A stream of which the beginning was read already. */
struct begun_stream {
    struct stream stream;
    struct stream *rest;
    struct buf head;
    size_t at;
};

struct postgres_source {
    struct source source;
    struct str_list strings; /* what server and others point to */
    char *file;              /* <database>.dump */
    enum source_globals globals;
    uint64_t split;
    int version;
    char *pg_dump, *pg_dumpall;
    struct pg_snapshot snapshot;
    struct pg_catalog catalog;
    struct pg_counter *counter;
    struct err count;    /* how the counting ended */
    struct stream *dump; /* begun; until it is opened */
    struct buf load_sql;
    struct queue *idle; /* workers */
    bool begun;
    struct postgres_item *item;
    size_t nitems, cap, at;
};

static struct postgres_source *postgres_of(struct source *s)
{
    return (struct postgres_source *)s;
}

/* ---- pg_dump ---- */

static int begun_read(struct stream *stream, void *data, size_t len, size_t *got, struct err *e)
{
    struct begun_stream *s = (struct begun_stream *)stream;
    size_t left = s->head.len - s->at;
    if (left == 0)
        return stream_read(s->rest, data, len, got, e);
    *got = len < left ? len : left;
    memcpy(data, s->head.data + s->at, *got);
    s->at += *got;
    return 0;
}

static void begun_close(struct stream *stream)
{
    struct begun_stream *s = (struct begun_stream *)stream;
    stream_close(s->rest);
    buf_release(&s->head);
    free(s);
}

/* A program of the server's with the leader's connection in its environment, as a stream. */
static int run_program(struct postgres_source *s, const struct str_list *words, struct stream **out,
                       struct err *e)
{
    struct str_list env = {0};
    struct proc *p = NULL;
    pg_environment(s->snapshot.leader, &env);
    str_list_add_take(&env, NULL);
    struct proc_options o = {
        .argv = (const char *const *)words->s,
        .env = (const char *const *)env.s,
        .grace_ms = 2000, /* so that it tells the server */
    };
    int rc = proc_start(&o, &p, e);
    for (size_t i = 0; i < env.n; i++)
        if (env.s[i] != NULL)
            mem_wipe(env.s[i], strlen(env.s[i]));
    str_list_release(&env);
    if (rc == 0)
        *out = proc_stream(p, true);
    return rc;
}

/* The first bytes come when pg_dump has all its locks and has read the catalogue. */
static int begin_dump(void *arg, struct err *e)
{
    struct postgres_source *s = arg;
    _cleanup_(str_list_release) struct str_list words = {0};
    stream_close(take(s->dump));
    str_list_add(&words, s->pg_dump);
    str_list_add(&words, "--format=custom");
    str_list_add(&words, "--compress=0");
    str_list_add(&words, "--no-password");
    str_list_add_take(&words, str_fmt("--snapshot=%s", s->snapshot.id));
    str_list_add_take(&words, str_fmt("--encoding=%s", s->catalog.encoding));
    str_list_add_take(&words, str_fmt("--lock-wait-timeout=%d", DUMP_LOCK_MS));
    for (size_t i = 0; i < s->catalog.n; i++) {
        const struct pg_table *t = &s->catalog.table[i];
        struct buf name = BUF_INIT(BUF_TEXT);
        pg_format(&name, "--exclude-table-data=%I.%I", t->schema, t->name);
        if (t->split > 0)
            str_list_add_take(&words, buf_take(&name));
        buf_release(&name);
    }
    str_list_add_take(&words, NULL);

    struct begun_stream *b = mem_zero(sizeof *b);
    b->stream = (struct stream){.read = begun_read, .close = begun_close};
    buf_init(&b->head, FIRST_BYTES);
    s->dump = &b->stream;
    int rc = run_program(s, &words, &b->rest, e);
    if (rc == 0)
        rc = buf_reserve(&b->head, FIRST_BYTES, e);
    if (rc == 0)
        rc = stream_read(b->rest, b->head.data, FIRST_BYTES, &b->head.len, e);
    if (rc < 0) /* its locks must go before others are waited for */
        stream_close(take(s->dump));
    return rc;
}

static int open_globals(struct postgres_source *s, struct stream **out, struct err *e)
{
    _cleanup_(str_list_release) struct str_list words = {0};
    str_list_add(&words, s->pg_dumpall);
    str_list_add(&words, "--globals-only");
    str_list_add(&words, "--no-password");
    _cleanup_(buf_release) struct buf where = BUF_INIT(BUF_TEXT);
    buf_adds(&where, "--database=dbname='"); /* as it is, a name with = would mean more */
    for (const char *p = pg_database(s->snapshot.leader); *p != '\0'; p++)
        buf_addf(&where, "%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    buf_adds(&where, "'");
    str_list_add(&words, buf_str(&where));
    if (s->globals == SOURCE_GLOBALS_WITHOUT_PASSWORDS)
        str_list_add(&words, "--no-role-passwords");
    str_list_add_take(&words, NULL);
    return run_program(s, &words, out, e);
}

/* ---- parts ---- */

struct part_stream {
    struct stream stream, *copy;
    struct postgres_source *source;
    struct pg *worker;
    struct pg_table *table;
    bool counted;
};

static int part_read(struct stream *stream, void *data, size_t len, size_t *got, struct err *e)
{
    struct part_stream *s = (struct part_stream *)stream;
    int rc = stream_read(s->copy, data, len, got, e);
    if (rc == 0 && *got == 0 && len > 0 && !s->counted) {
        s->counted = true;
        (void)atomic_fetch_add(&s->table->rows, (int64_t)pg_copy_rows(s->worker));
    }
    return rc;
}

static void part_close(struct stream *stream)
{
    struct part_stream *s = (struct part_stream *)stream;
    stream_close(s->copy);
    if (!queue_put(s->source->idle, s->worker))
        log_debug("a worker comes back when nobody waits");
    free(s);
}

static int open_part(struct postgres_source *s, const struct postgres_item *k, struct stream **out,
                     struct err *e)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    struct part_stream *p = mem_zero(sizeof *p);
    p->stream = (struct stream){.read = part_read, .close = part_close};
    p->source = s;
    p->table = k->table;
    p->worker = queue_take(s->idle);
    parts_copy_sql(k->table, k->part, &sql);
    int rc = pg_copy_out(p->worker, buf_str(&sql), &p->copy, e);
    if (rc < 0)
        part_close(&p->stream);
    else
        *out = &p->stream;
    return rc;
}

/* ---- the walk ---- */

static void add_item(struct postgres_source *s, enum source_step step, enum what what, char *path)
{
    mem_grow(&s->item, s->nitems, &s->cap, sizeof *s->item);
    s->item[s->nitems++] = (struct postgres_item){.step = step, .what = what, .path = path};
}

static void add_data(struct postgres_source *s)
{
    if (s->catalog.nsplit == 0)
        return;
    add_item(s, SOURCE_ENTER, DIRECTORY, str_dup("data"));
    for (size_t i = 0; i < s->catalog.n; i++) {
        struct pg_table *t = &s->catalog.table[i];
        if (t->split == 0)
            continue;
        atomic_store(&t->rows, 0);
        add_item(s, SOURCE_ENTER, DIRECTORY, str_fmt("data/%04u", t->split));
        for (unsigned k = 0; k < t->parts; k++) {
            add_item(s, SOURCE_LEAF, PART, str_fmt("data/%04u/%04u.copy", t->split, k + 1));
            s->item[s->nitems - 1].table = t;
            s->item[s->nitems - 1].part = k;
        }
        add_item(s, SOURCE_LEAVE, DIRECTORY, NULL);
    }
    add_item(s, SOURCE_LEAF, LOAD_SQL, str_dup("data/load.sql"));
    add_item(s, SOURCE_LEAVE, DIRECTORY, NULL);
    parts_load_sql(&s->catalog, &s->load_sql);
}

static void list_items(struct postgres_source *s)
{
    bool dump_first = strcmp(s->file, "data") < 0, dump_second = strcmp(s->file, "globals.sql") < 0;
    if (dump_first)
        add_item(s, SOURCE_LEAF, DUMP, str_dup(s->file));
    add_data(s);
    if (!dump_first && dump_second)
        add_item(s, SOURCE_LEAF, DUMP, str_dup(s->file));
    if (s->globals != SOURCE_GLOBALS_NONE)
        add_item(s, SOURCE_LEAF, GLOBALS, str_dup("globals.sql"));
    if (!dump_second)
        add_item(s, SOURCE_LEAF, DUMP, str_dup(s->file));
}

static int begin(struct postgres_source *s, struct err *e)
{
    int rc = snapshot_begin(&s->snapshot, &s->catalog, s->split, begin_dump, s, e);
    if (rc < 0)
        return rc;
    if (str_list_has(&s->catalog.settings, "default_transaction_read_only=on"))
        log_notice("%s is read-only by default, and will be so when it is restored; if a restore "
                   "with --freeze was killed: ALTER DATABASE ... RESET "
                   "default_transaction_read_only",
                   pg_where(s->snapshot.leader));
    s->idle = queue_new(PG_WORKERS_MOST);
    for (size_t i = 0; i < s->snapshot.nworkers; i++)
        if (!queue_put(s->idle, s->snapshot.worker[i]))
            return err_set(e, ERR_INTERNAL, "a new queue is closed");
    s->counter = counter_start(&s->snapshot.server, s->snapshot.leader, &s->catalog);
    list_items(s);
    s->begun = true;
    return 0;
}

static void fill_node(struct node *n, const char *path, bool dir)
{
    const char *slash = strrchr(path, '/');
    n->name = str_dup(slash != NULL ? slash + 1 : path);
    n->type = dir ? NODE_DIR : NODE_FILE;
    n->mode = dir ? 0700 : 0600;
    n->mtime = n->atime = n->ctime = clock_wall(&clock_system);
    n->uid = (uint32_t)getuid();
    n->gid = (uint32_t)getgid();
    n->links = dir ? 0 : 1;
}

static int postgres_next(struct source *source, struct source_item *out, struct err *e)
{
    struct postgres_source *s = postgres_of(source);
    int rc = s->begun ? 0 : begin(s, e);
    out->step = SOURCE_END;
    if (rc < 0 || s->at == s->nitems)
        return rc;
    struct postgres_item *k = &s->item[s->at++];
    out->step = k->step;
    if (k->path == NULL)
        return 0;
    fill_node(&out->node, k->path, k->what == DIRECTORY);
    out->path = str_dup(k->path);
    out->has_bytes = k->what != DIRECTORY;
    out->handle = k;
    return 0;
}

static bool postgres_unchanged(const struct source_item *i, const struct node *before)
{
    (void)i;
    (void)before;
    return false;
}

static int postgres_open(const struct source_item *i, struct stream **out, struct err *e)
{
    struct postgres_source *s = postgres_of(i->source);
    const struct postgres_item *k = i->handle;
    switch (k->what) {
    case DUMP:
        *out = take(s->dump);
        return *out != NULL ? 0 : err_set(e, ERR_INTERNAL, "a dump is read once");
    case GLOBALS: return open_globals(s, out, e);
    case LOAD_SQL: *out = stream_from_memory(s->load_sql.data, s->load_sql.len); return 0;
    case PART: return open_part(s, k, out, e);
    case DIRECTORY: break;
    }
    return err_set(e, ERR_INTERNAL, "a directory has no bytes");
}

static int postgres_verdict(struct source_item *i, struct stream *s, uint64_t bytes, struct err *e)
{
    (void)i;
    (void)s;
    (void)bytes;
    (void)e;
    return 0; /* that it ended well was told by its last read */
}

static const char *globals_name(enum source_globals g)
{
    return g == SOURCE_GLOBALS_NONE             ? "none"
           : g == SOURCE_GLOBALS_WITH_PASSWORDS ? "with_passwords"
                                                : "without_passwords";
}

static int postgres_describe(struct source *source, struct json_out *j, struct err *e)
{
    struct postgres_source *s = postgres_of(source);
    if (s->counter != NULL && counter_join(take(s->counter), false, &s->count) < 0)
        log_debug("%s", s->count.msg);
    if (s->count.code != 0) {
        *e = s->count;
        return e->code;
    }
    json_i64(j, "server_version", s->version);
    json_text(j, "snapshot", s->snapshot.id);
    json_text(j, "globals", globals_name(s->globals));
    json_text(j, "dump", s->file);
    catalog_describe(&s->catalog, j);
    return 0;
}

static void postgres_estimate(struct source *source, uint64_t *bytes, uint64_t *entries)
{
    (void)source; /* about as much as the last time is nearer than what the server has on disk */
    *bytes = *entries = 0;
}

static void postgres_free(struct source *source)
{
    struct postgres_source *s = postgres_of(source);
    struct err ignored = ERR_INIT;
    stream_close(s->dump);
    if (counter_join(s->counter, true, &ignored) < 0)
        log_debug("%s", ignored.msg);
    snapshot_end(&s->snapshot);
    pg_free(s->snapshot.leader);
    catalog_release(&s->catalog);
    if (s->idle != NULL)
        queue_free(s->idle);
    for (size_t i = 0; i < s->nitems; i++)
        free(s->item[i].path);
    free(s->item);
    buf_release(&s->load_sql);
    free(s->file);
    free(s->pg_dump);
    free(s->pg_dumpall);
    for (size_t i = 0; i < s->strings.n; i++)
        mem_wipe(s->strings.s[i], strlen(s->strings.s[i]));
    str_list_release(&s->strings);
    free(s);
}

static const struct source_ops postgres_ops = {
    .next = postgres_next,
    .unchanged = postgres_unchanged,
    .open = postgres_open,
    .verdict = postgres_verdict,
    .describe = postgres_describe,
    .estimate = postgres_estimate,
    .free = postgres_free,
    .whole = true,
};

/* ---- opening ---- */

static const char *keep(struct postgres_source *s, const char *text)
{
    if (text == NULL)
        return NULL;
    str_list_add(&s->strings, text);
    return s->strings.s[s->strings.n - 1];
}

/* Verifiers are read where they may be, unless something else was asked for. */
static int choose_globals(struct postgres_source *s, enum source_globals asked, struct err *e)
{
    _cleanup_free_ char *may = NULL;
    s->globals = asked;
    if (asked == SOURCE_GLOBALS_NONE || asked == SOURCE_GLOBALS_WITHOUT_PASSWORDS)
        return 0;
    int rc =
        pg_value(s->snapshot.leader, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')",
                 NULL, 0, &may, e);
    if (rc < 0)
        return rc;
    bool denied = !str_eq(may, "t");
    if (denied && asked == SOURCE_GLOBALS_WITH_PASSWORDS)
        return err_set(e, ERR_DENIED,
                       "%s: the role %s may not read the password verifiers of roles; use a "
                       "superuser, or say `globals: without_passwords`",
                       pg_where(s->snapshot.leader), pg_user(s->snapshot.leader));
    s->globals = denied ? SOURCE_GLOBALS_WITHOUT_PASSWORDS : SOURCE_GLOBALS_WITH_PASSWORDS;
    if (denied)
        log_notice("roles are saved without their passwords, which %s may not read",
                   pg_user(s->snapshot.leader));
    return 0;
}

static int connect_leader(struct postgres_source *s, enum source_globals globals, struct err *e)
{
    struct pg_server *server = &s->snapshot.server;
    int rc = pg_connect(server, &s->snapshot.leader, e);
    if (rc == 0)
        rc = pg_refuse_pooler(s->snapshot.leader, e);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *part = text_encode_name(pg_database(s->snapshot.leader));
    s->file = str_fmt("%s.dump", part);
    s->version = pg_version(s->snapshot.leader);
    int major = s->version / 10000;
    if (s->version < FIRST_VERSION)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s runs PostgreSQL %d.%d; 10 is the oldest that salvor "
                       "backs up",
                       pg_where(s->snapshot.leader), major, s->version / 100 % 100);
    rc = pg_program("pg_dump", major, false, server->bindir, &s->pg_dump, e);
    if (rc == 0 && globals != SOURCE_GLOBALS_NONE)
        rc = pg_program("pg_dumpall", major, false, server->bindir, &s->pg_dumpall, e);
    if (rc == 0)
        rc = choose_globals(s, globals, e);
    if (rc == 0)
        rc = catalog_tables(&s->catalog, s->snapshot.leader, e);
    return rc == 0 ? catalog_check_rights(&s->catalog, s->snapshot.leader, e) : rc;
}

int source_postgres_new(const struct source_postgres_options *o, struct source **out, struct err *e)
{
    _cleanup_(source_freep) struct source *source = NULL;
    struct postgres_source *s = mem_zero(sizeof *s);
    source = &s->source;
    s->source.ops = &postgres_ops;
    s->split = o->split > 0 ? o->split : SOURCE_POSTGRES_SPLIT;
    buf_init(&s->load_sql, BUF_JSON);
    s->snapshot.server = (struct pg_server){
        .url = keep(s, o->url),
        .database = keep(s, o->database),
        .bindir = keep(s, o->bindir),
        .lock_ms = o->lock_ms > 0 ? o->lock_ms : LOCK_MS,
    };
    int rc = connect_leader(s, o->globals, e);
    if (rc == 0)
        *out = take(source);
    return rc;
}

int source_postgres_databases(const struct source_postgres_options *o, struct str_list *out,
                              struct err *e)
{
    struct pg *p = NULL;
    _cleanup_free_ char *named = NULL;
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    int rc = pg_parse_url(o->url != NULL ? o->url : "", &named, NULL, NULL, e);
    struct pg_server server = {
        .url = o->url,
        .database = o->database != NULL ? o->database
                    : named != NULL     ? NULL
                                        : "postgres",
        .lock_ms = o->lock_ms,
    };
    if (rc == 0)
        rc = pg_connect(&server, &p, e);
    if (rc == 0)
        rc = pg_query(p, sql_pg_databases, NULL, 0, &r, e);
    _cleanup_(buf_release) struct buf closed = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; rc == 0 && i < pg_rows_count(r); i++) {
        const char *name = pg_text(r, i, 0);
        if (pg_bool(r, i, 1)) {
            str_list_add(out, name);
            continue;
        }
        buf_adds(&closed, closed.len > 0 ? ", " : "");
        text_printable(name, strlen(name), &closed);
    }
    if (closed.len > 0)
        log_notice("%s: left out, since no connections are allowed to them: %s", pg_where(p),
                   buf_str(&closed));
    pg_free(p);
    return rc;
}
