/* The bounded queue of work.h: a ring under one mutex, with one condition for each side. */
#include "base/mem.h"
#include "base/work.h"
#include <pthread.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full, not_empty;
    void **ring;
    size_t capacity, first, n;
    bool closed;
};

struct queue *queue_new(size_t capacity)
{
    struct queue *q = mem_zero(sizeof(*q));
    q->capacity = capacity > 0 ? capacity : 1;
    q->ring = mem_array(q->capacity, sizeof(*q->ring));
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_cond_init(&q->not_full, NULL);
    (void)pthread_cond_init(&q->not_empty, NULL);
    return q;
}

void queue_free(struct queue *q)
{
    if (q == NULL)
        return;
    (void)pthread_cond_destroy(&q->not_empty);
    (void)pthread_cond_destroy(&q->not_full);
    (void)pthread_mutex_destroy(&q->lock);
    free(q->ring);
    free(q);
}

bool queue_put(struct queue *q, void *item)
{
    (void)pthread_mutex_lock(&q->lock);
    while (q->n == q->capacity && !q->closed)
        (void)pthread_cond_wait(&q->not_full, &q->lock);
    bool open = !q->closed;
    if (open) {
        q->ring[(q->first + q->n++) % q->capacity] = item;
        (void)pthread_cond_signal(&q->not_empty);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return open;
}

/* The next item; the lock is held. */
static void *pop(struct queue *q)
{
    if (q->n == 0)
        return NULL;
    void *item = q->ring[q->first];
    q->first = (q->first + 1) % q->capacity;
    q->n--;
    (void)pthread_cond_signal(&q->not_full);
    return item;
}

void *queue_take(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed)
        (void)pthread_cond_wait(&q->not_empty, &q->lock);
    void *item = pop(q);
    (void)pthread_mutex_unlock(&q->lock);
    return item;
}

void *queue_try_take(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    void *item = pop(q);
    (void)pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->closed = true;
    (void)pthread_cond_broadcast(&q->not_empty);
    (void)pthread_cond_broadcast(&q->not_full);
    (void)pthread_mutex_unlock(&q->lock);
}
