/* How many rows the tables of a dump have: counted in its snapshot while its data flow. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "source/postgres_int.h"

struct pg_counter {
    const struct pg_server *server;
    struct pg *p;
    struct pg_catalog *catalog;
    char *pid; /* of its session */
    pthread_t thread;
    bool started;
    atomic_bool stop, done;
    struct err err;
};

static int count_table(struct pg_counter *k, struct pg_table *t)
{
    _cleanup_(buf_release) struct buf sql = BUF_INIT(BUF_TEXT);
    _cleanup_free_ char *rows = NULL;
    pg_format(&sql, "SELECT count(*) FROM ONLY %I.%I", t->schema, t->name);
    int rc = pg_value(k->p, buf_str(&sql), NULL, 0, &rows, &k->err);
    if (rc == 0 && rows != NULL)
        atomic_store(&t->rows, strtoll(rows, NULL, 10));
    return rc;
}

static void *count_all(void *arg)
{
    struct pg_counter *k = arg;
    for (size_t i = 0; i < k->catalog->n && !atomic_load(&k->stop); i++) {
        struct pg_table *t = &k->catalog->table[i];
        bool counts = t->split == 0 && !t->extension && (t->kind == 'r' || t->kind == 'u');
        if (counts && count_table(k, t) < 0)
            break;
    }
    atomic_store(&k->done, true);
    return NULL;
}

struct pg_counter *counter_start(const struct pg_server *s, struct pg *p, struct pg_catalog *c)
{
    struct pg_counter *k = mem_zero(sizeof *k);
    struct err ignored = ERR_INIT;
    k->server = s;
    k->p = p;
    k->catalog = c;
    if (pg_value(p, "SELECT pg_backend_pid()", NULL, 0, &k->pid, &ignored) < 0)
        k->pid = NULL;
    k->started = pthread_create(&k->thread, NULL, count_all, k) == 0;
    if (!k->started)
        (void)count_all(k);
    return k;
}

/* Ends the statement that it waits for, from another session. */
static void cancel(struct pg_counter *k)
{
    struct pg *other = NULL;
    struct err ignored = ERR_INIT;
    atomic_store(&k->stop, true);
    if (atomic_load(&k->done) || k->pid == NULL || pg_connect(k->server, &other, &ignored) < 0)
        return;
    if (pg_execf(other, &ignored, "SELECT pg_cancel_backend(%s)", k->pid) < 0)
        log_debug("%s", ignored.msg);
    pg_free(other);
}

int counter_join(struct pg_counter *k, bool stop, struct err *e)
{
    if (k == NULL)
        return 0;
    if (stop)
        cancel(k);
    if (k->started)
        (void)pthread_join(k->thread, NULL);
    int rc = stop ? 0 : k->err.code;
    if (rc != 0)
        *e = k->err;
    free(k->pid);
    free(k);
    return rc != 0 ? err_prefix(e, "cannot count rows") : 0;
}
