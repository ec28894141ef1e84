/* The PostgreSQL client against a real server, which test_client.py has started: one test a run,
 * named by the first word. PG_URL is the server's superuser on database "app"; what else a test
 * needs is in variables of its own. */
#include "base/proc.h"
#include "base/work.h"
#include "client/postgres.h"
#include "test/unit/unit.h"
#include <pthread.h>
#include <signal.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct pg_server ours(void)
{
    return (struct pg_server){.url = getenv("PG_URL"), .lock_ms = 500};
}

static struct pg *connect_to(const struct pg_server *s)
{
    struct err e = ERR_INIT;
    struct pg *p = NULL;
    if (pg_connect(s, &p, &e) != 0)
        fail_msg("%s", e.msg);
    return p;
}

static struct pg *connect_ours(void)
{
    struct pg_server s = ours();
    return connect_to(&s);
}

static void ok(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->msg);
}

static void fails(int rc, int code, const struct err *e, const char *words)
{
    print_message("%s\n", e->msg);
    assert_int_equal(rc, code);
    assert_int_equal(e->code, code);
    if (strstr(e->msg, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e->msg, words);
}

static void run(struct pg *p, const char *sql)
{
    struct err e = ERR_INIT;
    ok(pg_exec(p, sql, &e), &e);
}

static void assert_value(struct pg *p, const char *sql, const char *expected)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *value = NULL;
    ok(pg_value(p, sql, NULL, 0, &value, &e), &e);
    assert_string_equal(value, expected);
}

/* ---- interruptions ---- */

struct alarm {
    pthread_t thread;
    int after_ms;
};

static void *ring(void *arg)
{
    const struct alarm *a = arg;
    (void)usleep((unsigned)a->after_ms * 1000);
    cancel_requested = 1;
    return NULL;
}

static void interrupt_after(struct alarm *a, int ms)
{
    a->after_ms = ms;
    assert_int_equal(pthread_create(&a->thread, NULL, ring, a), 0);
}

static void interrupted(struct alarm *a)
{
    assert_int_equal(pthread_join(a->thread, NULL), 0);
    cancel_requested = 0;
}

/* No session but our own does anything. */
static void assert_quiet(void)
{
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    assert_value(p,
                 "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> "
                 "pg_backend_pid() AND backend_type = 'client backend'",
                 "0");
}

/* ---- tests ---- */

static void statements(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    assert_string_equal(pg_database(p), "app");
    assert_true(pg_version(p) >= 120000);
    ok(pg_refuse_pooler(p, &e), &e);
    print_message("%s\n", pg_where(p));
    run(p, "CREATE TABLE public.\"T \"\"x\\\" (a int PRIMARY KEY, b text); SELECT 1");
    const char *odd = "it's a \\ \"back\"\nslash \xc3\xa9";
    ok(pg_execf(p, &e, "INSERT INTO %I.%I VALUES (%d, %L), (2, %L)", "public", "T \"x\\", 1, odd,
                (char *)NULL),
       &e);
    const char *const params[] = {odd, NULL};
    _cleanup_(pg_rows_freep) struct pg_rows *r = NULL;
    ok(pg_query(p, "SELECT a, b, b = $1, $2::text IS NULL FROM public.\"T \"\"x\\\" ORDER BY a",
                params, 2, &r, &e),
       &e);
    assert_int_equal(pg_rows_count(r), 2);
    assert_string_equal(pg_text(r, 0, 1), odd);
    assert_int_equal(pg_int(r, 1, 0), 2);
    assert_true(pg_bool(r, 0, 2) && pg_bool(r, 0, 3));
    assert_true(pg_is_null(r, 1, 1) && !pg_is_null(r, 0, 1));
    assert_string_equal(pg_text(r, 1, 1), "");
    assert_true(pg_is_null(r, 7, 0) && pg_is_null(r, 0, 9));
    char *none = NULL;
    fails(pg_value(p, "SELECT 1 WHERE false", NULL, 0, &none, &e), ERR_NOT_FOUND, &e, "no such");
    assert_value(p, "SHOW TimeZone", "UTC");
    assert_value(p, "SHOW search_path", "\"\"");
    assert_value(p, "SHOW lock_timeout", "500ms");
    assert_value(p, "SHOW row_security", "off");
    assert_value(p, "SHOW application_name", "salvor");
    assert_value(p, "SELECT pg_typeof(1.0::float8 / 3) || (1.0::float8 / 3)::text",
                 "double precision0.3333333333333333");
}

static void complaints(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    run(p, "CREATE TABLE public.k (id int PRIMARY KEY); INSERT INTO public.k VALUES (1)");
    fails(pg_exec(p, "SELECT * FROM public.nix", &e), ERR_NOT_FOUND, &e, "[42P01]");
    assert_string_equal(pg_sqlstate(p), "42P01");
    fails(pg_exec(p, "INSERT INTO public.k VALUES (1)", &e), ERR_EXISTS, &e, "(id)=(1)");
    fails(pg_exec(p, "SELEC 1", &e), ERR_IO, &e, "[42601]");
    fails(pg_exec(p, "CREATE DATABASE app", &e), ERR_EXISTS, &e, "[42P04]");
    fails(pg_exec(p, "DROP DATABASE app", &e), ERR_LOCKED, &e, "");
    fails(pg_exec(p, "COPY public.k TO STDOUT", &e), ERR_INTERNAL, &e, "COPY");
    fails(pg_exec(p, "COPY public.k FROM STDIN", &e), ERR_INTERNAL, &e, "COPY");
    struct pg_rows *rows;
    fails(pg_query(p, "COPY public.k TO STDOUT", NULL, 0, &rows, &e), ERR_INTERNAL, &e, "COPY");
    fails(pg_rows_begin(p, "CREATE TABLE public.z ()", &e), ERR_INTERNAL, &e, "no rows");
    struct stream *s;
    fails(pg_copy_out(p, "SELECT 1", &s, &e), ERR_INTERNAL, &e, "no COPY");
    fails(pg_copy_out(p, "COPY public.nix TO STDOUT", &s, &e), ERR_NOT_FOUND, &e, "nix");
    fails(pg_copy_in(p, "COPY public.k TO STDOUT", &e), ERR_INTERNAL, &e, "no COPY");
    run(p, "CREATE ROLE weak LOGIN; CREATE TABLE public.rls (a int);"
           "ALTER TABLE public.rls ENABLE ROW LEVEL SECURITY; GRANT SELECT ON public.rls TO weak;"
           "CREATE POLICY pol ON public.rls USING (a > 1); SET ROLE weak");
    fails(pg_exec(p, "SELECT * FROM public.k", &e), ERR_DENIED, &e, "[42501]");
    fails(pg_exec(p, "SELECT * FROM public.rls", &e), ERR_DENIED, &e, "row-level security");
    /* After all that, it is a session as good as new. */
    assert_value(p, "SELECT 1 + 1", "2");
    assert_string_equal(pg_sqlstate(p), "");
}

static int count_row(const struct pg_row *row, void *arg, struct err *e)
{
    int64_t *sum = arg;
    if (row->n != 2 || row->text[1] != NULL || row->len[0] != strlen(row->text[0]))
        return err_set(e, ERR_INTERNAL, "row");
    *sum += strtoll(row->text[0], NULL, 10);
    return *sum > 20000000000LL ? err_set(e, ERR_LIMIT, "enough") : 0;
}

static void rows_one_by_one(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    int64_t sum = 0;
    ok(pg_each(p, "SELECT g, NULL FROM generate_series(1, 100000) g", count_row, &sum, &e), &e);
    assert_int_equal(sum, 5000050000LL);
    ok(pg_each(p, "SELECT 1, 2 WHERE false", count_row, &sum, &e), &e);
    fails(pg_each(p, "SELECT generate_series(1, 100000000), NULL", count_row, &sum, &e), ERR_LIMIT,
          &e, "enough");
    sum = 0;
    fails(pg_each(p, "SELECT 1 / (g - 5), NULL FROM generate_series(1, 10) g", count_row, &sum, &e),
          ERR_IO, &e, "[22012]");
    _cleanup_(pg_freep) struct pg *q = connect_ours();
    ok(pg_rows_begin(p, "SELECT generate_series(1, 50000000)", &e), &e);
    ok(pg_rows_begin(q, "SELECT generate_series(1, 3)", &e), &e);
    struct pg_row a, b;
    int n = 0;
    for (;;) {
        ok(pg_rows_next(q, &b, &e), &e);
        if (b.n == 0)
            break;
        ok(pg_rows_next(p, &a, &e), &e);
        assert_string_equal(a.text[0], b.text[0]);
        n++;
    }
    assert_int_equal(n, 3);
    ok(pg_rows_next(q, &b, &e), &e);
    assert_int_equal(b.n, 0);
    int64_t begun = now_ms();
    fails(pg_exec(p, "SELECT 1", &e), ERR_INTERNAL, &e, "while it answers");
    pg_rows_end(p);
    assert_true(now_ms() - begun < 3000);
    pg_rows_end(q);
    assert_value(p, "SELECT 1", "1");
    assert_value(q, "SELECT 1", "1");
}

static uint64_t read_all(struct stream *s, size_t piece, struct err *e)
{
    char *data = malloc(piece);
    uint64_t total = 0;
    size_t got = 1;
    while (got > 0) {
        if (stream_read(s, data, piece, &got, e) != 0)
            fail_msg("%s", e->msg);
        total += got;
    }
    free(data);
    return total;
}

static void copy_both_ways(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    _cleanup_(pg_freep) struct pg *q = connect_ours();
    run(p, "CREATE TABLE public.c AS SELECT g AS id, repeat('x', g % 200) AS t, NULL::int AS n "
           "FROM generate_series(1, 200000) g; CREATE TABLE public.d (LIKE public.c)");
    struct stream *s;
    ok(pg_copy_out(p, "COPY public.c TO STDOUT", &s, &e), &e);
    ok(pg_copy_in_stream(q, "COPY public.d FROM STDIN", s, &e), &e);
    stream_close(s);
    assert_int_equal(pg_copy_rows(p), 200000);
    assert_int_equal(pg_copy_rows(q), 200000);
    assert_value(p, "SELECT count(*) FROM (SELECT * FROM public.c EXCEPT SELECT * FROM public.d) x",
                 "0");
    ok(pg_copy_out(p, "COPY public.c TO STDOUT", &s, &e), &e); /* in odd pieces */
    uint64_t a = read_all(s, 7, &e);
    stream_close(s);
    ok(pg_copy_out(p, "COPY public.c TO STDOUT", &s, &e), &e);
    assert_int_equal(read_all(s, 1 << 20, &e), a);
    stream_close(s);
    ok(pg_copy_out(p, "COPY (SELECT generate_series(1, 50000000)) TO STDOUT", &s, &e), &e);
    char byte;
    size_t got;
    ok(stream_read(s, &byte, 1, &got, &e), &e);
    fails(pg_exec(p, "SELECT 1", &e), ERR_INTERNAL, &e, "while it answers");
    stream_close(s); /* early */
    ok(pg_copy_out(p, "COPY public.c TO STDOUT WHERE", &s, &e) == ERR_IO ? 0 : -1, &e);
    ok(pg_copy_out(p, "COPY (SELECT 1 WHERE false) TO STDOUT", &s, &e), &e);
    ok(stream_read(s, &byte, 1, &got, &e), &e);
    assert_int_equal(got, 0);
    stream_close(s);
    assert_int_equal(pg_copy_rows(p), 0);
    ok(pg_copy_in(p, "COPY public.d FROM STDIN", &e), &e);
    ok(pg_copy_put(p, "5\t\n", 2, &e), &e);
    pg_copy_abort(p, "changed our mind");
    pg_copy_abort(p, "twice does no harm");
    assert_value(p, "SELECT count(*) FROM public.d", "200000");
    /* A failure half-way through the rows. */
    ok(pg_copy_out(p, "COPY (SELECT 1 / (g - 100000) FROM generate_series(1, 200000) g) TO STDOUT",
                   &s, &e),
       &e);
    static char data[1 << 20];
    int rc = 0;
    do {
        rc = stream_read(s, data, sizeof(data), &got, &e);
    } while (rc == 0 && got > 0);
    fails(rc, ERR_IO, &e, "[22012]");
    stream_close(s);
    assert_value(p, "SELECT 1", "1");
}

static int broken_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    (void)s;
    memset(data, '\n', len);
    *got = 0;
    return err_set(e, ERR_CORRUPT, "the pack is damaged");
}

static void bad_data(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    run(p, "CREATE TABLE public.b (id int PRIMARY KEY, t text)");
    const char *sql = "COPY public.b FROM STDIN";
    struct stream *s = stream_from_memory("1\ta\n2\tb\n1\tc\n", 12);
    fails(pg_copy_in_stream(p, sql, s, &e), ERR_EXISTS, &e, "[23505]");
    stream_close(s);
    s = stream_from_memory("1\tx\xff\n", 5);
    fails(pg_copy_in_stream(p, sql, s, &e), ERR_IO, &e, "[22021]");
    stream_close(s);
    s = stream_from_memory("1\tx\0y\n", 6);
    fails(pg_copy_in_stream(p, sql, s, &e), ERR_IO, &e, "[22021]");
    stream_close(s);
    s = stream_from_memory("1\tx\ty\n", 6);
    fails(pg_copy_in_stream(p, sql, s, &e), ERR_IO, &e, "COPY b, line 1");
    stream_close(s);
    struct stream broken = {.read = broken_read};
    fails(pg_copy_in_stream(p, sql, &broken, &e), ERR_CORRUPT, &e, "the pack is damaged");
    /* Much more than any buffer holds, after the row that is wrong. */
    ok(pg_copy_in(p, sql, &e), &e);
    int rc = pg_copy_put(p, "nonsense\n", 9, &e);
    static char zeros[1 << 20];
    memset(zeros, '0', sizeof(zeros));
    for (int i = 0; i < 400 && rc == 0; i++)
        rc = pg_copy_put(p, zeros, sizeof(zeros), &e);
    fails(rc, ERR_IO, &e, "nonsense");
    assert_value(p, "SELECT count(*) FROM public.b", "0");
}

static void interruption(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct alarm a;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    run(p, "CREATE TABLE public.i (t text)");
    int64_t begun = now_ms();
    interrupt_after(&a, 100);
    int rc = pg_exec(p, "SELECT pg_sleep(60)", &e);
    assert_int_equal(pg_exec(p, "SELECT 1", &e), ERR_CANCELLED);
    interrupted(&a);
    fails(rc, ERR_CANCELLED, &e, "interrupted");
    assert_true(now_ms() - begun < 2000);
    assert_quiet();

    struct stream *s;
    ok(pg_copy_out(p, "COPY (SELECT pg_sleep(0.01), generate_series(1, 100000)) TO STDOUT", &s, &e),
       &e);
    interrupt_after(&a, 100);
    static char data[1 << 20];
    size_t got;
    do {
        rc = stream_read(s, data, sizeof(data), &got, &e);
    } while (rc == 0 && got > 0);
    interrupted(&a);
    assert_int_equal(rc, ERR_CANCELLED);
    stream_close(s);
    assert_quiet();

    /* The server is stuck sending while we do not read, and then receiving what does not come. */
    ok(pg_copy_out(p, "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT",
                   &s, &e),
       &e);
    (void)usleep(100000);
    cancel_requested = 1;
    assert_int_equal(stream_read(s, data, 1, &got, &e), ERR_CANCELLED);
    cancel_requested = 0;
    stream_close(s);
    assert_quiet();
    ok(pg_copy_in(p, "COPY public.i FROM STDIN", &e), &e);
    ok(pg_copy_put(p, "half a row", 10, &e), &e);
    cancel_requested = 1;
    rc = pg_copy_put(p, data, sizeof(data), &e);
    if (rc == 0)
        rc = pg_copy_end(p, &e);
    assert_int_equal(rc, ERR_CANCELLED);
    cancel_requested = 0;
    assert_quiet();
    assert_value(p, "SELECT count(*) FROM public.i", "0");

    ok(pg_rows_begin(p, "SELECT generate_series(1, 100000000)", &e), &e);
    struct pg_row row;
    interrupt_after(&a, 100);
    while ((rc = pg_rows_next(p, &row, &e)) == 0 && row.n > 0) {
    }
    interrupted(&a);
    assert_int_equal(rc, ERR_CANCELLED);
    pg_rows_end(p);
    assert_quiet();

    /* Cleaning up goes on nevertheless. */
    cancel_requested = 1;
    pg_shield(p, true);
    run(p, "DROP TABLE public.i");
    struct pg_server shielded = ours();
    shielded.shielded = true;
    struct pg *q = connect_to(&shielded);
    pg_free(q);
    shielded.shielded = false;
    fails(pg_connect(&shielded, &q, &e), ERR_CANCELLED, &e, "interrupted");
    cancel_requested = 0;
    pg_shield(p, false);
    assert_value(p, "SELECT 1", "1");
}

static void locks(void **state)
{
    (void)state; /* test_client.py holds public.held */
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    int64_t begun = now_ms();
    fails(pg_exec(p, "SELECT count(*) FROM public.held", &e), ERR_LOCKED, &e, "holder");
    assert_true(e.retryable && now_ms() - begun < 5000);
    assert_non_null(strstr(e.msg, "idle in transaction"));
    assert_string_equal(pg_sqlstate(p), "55P03");
    run(p, "BEGIN");
    fails(pg_exec(p, "LOCK TABLE public.held IN ACCESS SHARE MODE NOWAIT", &e), ERR_LOCKED, &e,
          "holder");
    run(p, "ROLLBACK");
    fails(pg_rows_begin(p, "SELECT * FROM public.held", &e), ERR_LOCKED, &e, "holder");
    struct stream *s;
    fails(pg_copy_out(p, "COPY public.held TO STDOUT", &s, &e), ERR_LOCKED, &e, "holder");
    /* Interrupted while it waits. */
    struct pg_server patient = ours();
    patient.lock_ms = 30000;
    _cleanup_(pg_freep) struct pg *q = connect_to(&patient);
    struct alarm a;
    interrupt_after(&a, 100);
    begun = now_ms();
    int rc = pg_exec(q, "BEGIN; LOCK TABLE public.held", &e);
    interrupted(&a);
    fails(rc, ERR_CANCELLED, &e, "interrupted");
    assert_true(now_ms() - begun < 2000);
    assert_quiet();
}

/* Ends the session of `p` on the server. */
static void terminate(struct pg *p)
{
    struct err e = ERR_INIT;
    _cleanup_free_ char *pid = NULL;
    ok(pg_value(p, "SELECT pg_backend_pid()", NULL, 0, &pid, &e), &e);
    _cleanup_(pg_freep) struct pg *q = connect_ours();
    ok(pg_execf(q, &e, "SELECT pg_terminate_backend(%s, 5000)", pid), &e);
}

struct later {
    pthread_t thread;
    char *pid;
};

static void *terminate_later(void *arg)
{
    struct later *l = arg;
    (void)usleep(100000);
    struct err e = ERR_INIT;
    struct pg *q = connect_ours();
    ok(pg_execf(q, &e, "SELECT pg_terminate_backend(%s, 5000)", l->pid), &e);
    pg_free(q);
    free(l->pid);
    return NULL;
}

static struct pg *connect_doomed(struct later *l)
{
    struct err e = ERR_INIT;
    struct pg *p = connect_ours();
    ok(pg_value(p, "SELECT pg_backend_pid()", NULL, 0, &l->pid, &e), &e);
    assert_int_equal(pthread_create(&l->thread, NULL, terminate_later, l), 0);
    return p;
}

static void ended_sessions(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pg *p = connect_ours();
    run(p, "CREATE TABLE public.e (t text)");
    terminate(p);
    fails(pg_exec(p, "SELECT 1", &e), ERR_IO, &e, "app on ");
    assert_true(e.retryable);
    fails(pg_exec(p, "SELECT 1", &e), ERR_IO, &e, "lost");
    pg_free(p);

    struct later l;
    p = connect_doomed(&l);
    fails(pg_exec(p, "SELECT pg_sleep(60)", &e), ERR_IO, &e, "[57P01]");
    assert_int_equal(pthread_join(l.thread, NULL), 0);
    pg_free(p);

    p = connect_doomed(&l);
    struct stream *s;
    ok(pg_copy_out(p, "COPY (SELECT generate_series(1, 500000000)) TO STDOUT", &s, &e), &e);
    static char data[1 << 20];
    size_t got;
    int rc;
    do {
        rc = stream_read(s, data, sizeof(data), &got, &e);
    } while (rc == 0 && got > 0);
    fails(rc, ERR_IO, &e, "app on ");
    assert_int_equal(pthread_join(l.thread, NULL), 0);
    stream_close(s);
    pg_free(p);

    p = connect_doomed(&l);
    ok(pg_copy_in(p, "COPY public.e FROM STDIN", &e), &e);
    memset(data, 'x', sizeof(data));
    for (rc = 0; rc == 0;) {
        rc = pg_copy_put(p, data, 1000, &e);
        if (rc == 0)
            rc = pg_copy_put(p, "\n", 1, &e);
    }
    fails(rc, ERR_IO, &e, "app on ");
    assert_int_equal(pthread_join(l.thread, NULL), 0);
    pg_copy_abort(p, "too late");
    pg_free(p);

    p = connect_doomed(&l);
    ok(pg_rows_begin(p, "SELECT generate_series(1, 500000000)", &e), &e);
    struct pg_row row;
    while ((rc = pg_rows_next(p, &row, &e)) == 0 && row.n > 0) {
    }
    fails(rc, ERR_IO, &e, "app on ");
    assert_int_equal(pthread_join(l.thread, NULL), 0);
    pg_rows_end(p);
    pg_free(p);
}

/* The whole server crashes: PG_PID is its first process. */
static void crash(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    _cleanup_(pg_freep) struct pg *q = connect_ours();
    _cleanup_(stream_closep) struct stream *s = NULL;
    ok(pg_copy_out(p, "COPY (SELECT generate_series(1, 500000000)) TO STDOUT", &s, &e), &e);
    static char data[1 << 20];
    size_t got;
    ok(stream_read(s, data, sizeof(data), &got, &e), &e);
    assert_int_equal(kill((pid_t)atoi(getenv("PG_PID")), SIGQUIT), 0);
    int rc;
    do {
        rc = stream_read(s, data, sizeof(data), &got, &e);
    } while (rc == 0 && got > 0);
    fails(rc, ERR_IO, &e, "app on ");
    assert_true(e.retryable);
    rc = pg_exec(q, "SELECT pg_sleep(60)", &e);
    fails(rc, ERR_IO, &e, "app on ");
    struct pg *none;
    struct pg_server us = ours();
    fails(pg_connect(&us, &none, &e), ERR_IO, &e, "cannot connect to app");
    assert_true(e.retryable);
}

/* PG_URL cannot be connected to: PG_CODE is the error, PG_SAYS a word of it. */
static void refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pg_server s = ours();
    s.connect_s = 1;
    struct pg *p = NULL;
    int rc = pg_connect(&s, &p, &e);
    if (rc == 0)
        rc = pg_refuse_pooler(p, &e);
    pg_free(p);
    print_message("%s\n", e.msg);
    assert_string_equal(err_name(rc), getenv("PG_CODE"));
    assert_non_null(strstr(e.msg, getenv("PG_SAYS")));
    assert_null(strstr(e.msg, "geheim"));
}

/* PG_TEXT, as hex of UTF-8, arrives as what the database has in its own encoding: PG_STORED. */
static void encodings(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    assert_value(p, "SHOW client_encoding", getenv("PG_CLIENT"));
    run(p, "CREATE TABLE public.t (t text)");
    ok(pg_execf(p, &e, "INSERT INTO public.t VALUES (%L)", getenv("PG_TEXT")), &e);
    assert_value(p, "SELECT encode(t::bytea, 'hex') FROM public.t", getenv("PG_STORED"));
    assert_value(p, "SELECT t FROM public.t", getenv("PG_TEXT"));
}

/* A child finds the same server, whatever surrounds it. */
static void environment(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(pg_freep) struct pg *p = connect_ours();
    (void)setenv("PGSERVICE", "nowhere", 1);
    (void)setenv("PGHOST", "nowhere", 1);
    (void)setenv("PGCLIENTENCODING", "nonsense", 1);
    _cleanup_(pg_environment_release) struct str_list env = {0};
    pg_environment(p, &env);
    _cleanup_free_ char *psql = NULL;
    ok(pg_program("psql", pg_version(p) / 10000, false, NULL, &psql, &e), &e);
    const char *const argv[] = {psql, "-XAtc",
                                "SELECT current_database(), ssl, application_name FROM "
                                "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE pid = "
                                "pg_backend_pid()",
                                NULL};
    struct proc_options o = {.argv = argv, .env = (const char *const *)env.s};
    struct proc *child = NULL;
    ok(proc_start(&o, &child, &e), &e);
    _cleanup_(stream_closep) struct stream *s = proc_stream(child, true);
    char data[200] = "";
    size_t got;
    ok(stream_read_full(s, data, sizeof(data) - 1, &got, &e), &e);
    assert_string_equal(data, "app|t|salvor\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements),      cmocka_unit_test(complaints),
        cmocka_unit_test(rows_one_by_one), cmocka_unit_test(copy_both_ways),
        cmocka_unit_test(bad_data),        cmocka_unit_test(interruption),
        cmocka_unit_test(locks),           cmocka_unit_test(ended_sessions),
        cmocka_unit_test(crash),           cmocka_unit_test(refused),
        cmocka_unit_test(encodings),       cmocka_unit_test(environment),
    };
    if (argc != 2 || getenv("PG_URL") == NULL) {
        (void)fputs("usage: PG_URL=... client TEST\n", stderr);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
