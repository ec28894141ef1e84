/* The worker pool of work.h: threads that take items from one queue until it is closed. */
#include "base/mem.h"
#include "base/work.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

struct pool {
    struct queue *queue;
    pool_fn *fn;
    pool_drop *drop;
    void *arg;
    pthread_t *thread;
    size_t nthread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t idle;  /* pending became 0 */
    size_t pending;       /* submitted and not yet done */
    bool failed;
    struct err first; /* why, once it has failed */
};

/* Reports the first error; the lock is held. */
static int report(const struct pool *p, struct err *e)
{
    if (!p->failed)
        return 0;
    *e = p->first;
    return e->code;
}

static void drop(struct pool *p, void *item)
{
    if (p->drop != NULL)
        p->drop(item, p->arg);
}

static void run(struct pool *p, void *item)
{
    (void)pthread_mutex_lock(&p->lock);
    bool failed = p->failed;
    (void)pthread_mutex_unlock(&p->lock);

    struct err e = ERR_INIT;
    int rc = 0;
    if (failed)
        drop(p, item);
    else
        rc = p->fn(item, p->arg, &e);

    (void)pthread_mutex_lock(&p->lock);
    if (rc != 0 && !p->failed) {
        p->failed = true;
        p->first = e;
        p->first.code = rc;
    }
    if (--p->pending == 0)
        (void)pthread_cond_broadcast(&p->idle);
    (void)pthread_mutex_unlock(&p->lock);
}

static void *worker(void *arg)
{
    struct pool *p = arg;
    void *item;
    while ((item = queue_take(p->queue)) != NULL)
        run(p, item);
    return NULL;
}

/* Starts up to `threads` workers; returns the error of the one that could not be started. Workers
 * leave signals to the main thread, whose waiting calls they are meant to interrupt. */
static int start(struct pool *p, size_t threads)
{
    sigset_t block, before;
    (void)sigfillset(&block);
    static const int fault[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < array_len(fault); i++)
        (void)sigdelset(&block, fault[i]);

    (void)pthread_sigmask(SIG_SETMASK, &block, &before);
    int rc = 0;
    while (p->nthread < threads &&
           (rc = pthread_create(&p->thread[p->nthread], NULL, worker, p)) == 0)
        p->nthread++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct pool *pool_new(size_t threads, size_t queue_capacity, pool_fn *fn, pool_drop *drop_fn,
                      void *arg)
{
    if (threads == 0)
        threads = 1;
    struct pool *p = mem_zero(sizeof(*p));
    p->queue = queue_new(queue_capacity);
    p->fn = fn;
    p->drop = drop_fn;
    p->arg = arg;
    p->thread = mem_array(threads, sizeof(*p->thread));
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->idle, NULL);
    int rc = start(p, threads);
    /* Fewer threads do the same work. With none at all there is no going on, as without memory. */
    if (p->nthread == 0) {
        (void)fprintf(stderr, "salvor: cannot start a thread: %s; see ulimit -u\n", strerror(rc));
        exit(1);
    }
    return p;
}

int pool_submit(struct pool *p, void *item, struct err *e)
{
    (void)pthread_mutex_lock(&p->lock);
    int rc = report(p, e);
    if (rc == 0)
        p->pending++;
    (void)pthread_mutex_unlock(&p->lock);
    if (rc != 0) {
        drop(p, item);
        return rc;
    }
    if (!queue_put(p->queue, item)) /* closed by pool_free only */
        run(p, item);
    return 0;
}

int pool_wait(struct pool *p, struct err *e)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->pending > 0)
        (void)pthread_cond_wait(&p->idle, &p->lock);
    int rc = report(p, e);
    (void)pthread_mutex_unlock(&p->lock);
    return rc;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    queue_close(p->queue);
    for (size_t i = 0; i < p->nthread; i++)
        (void)pthread_join(p->thread[i], NULL);
    (void)pthread_cond_destroy(&p->idle);
    (void)pthread_mutex_destroy(&p->lock);
    queue_free(p->queue);
    free(p->thread);
    free(p);
}

size_t cpu_count(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return (size_t)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}
