/* Threads that take work from a bounded queue. The queue is the only thing that they share. */
#ifndef SALVOR_BASE_WORK_H
#define SALVOR_BASE_WORK_H

#include "base/err.h"
#include <stdatomic.h>
#include <stddef.h>

/* A bounded queue of pointers, none of them NULL, between threads. */
struct queue;
struct queue *queue_new(size_t capacity);
void queue_free(struct queue *q); /* items still in it are the caller's business */
/* Blocks while it is full; false if the queue was closed (the item stays the caller's). */
_warn_unused_ bool queue_put(struct queue *q, void *item);
/* Blocks while it is empty; NULL once it is closed and empty. */
void *queue_take(struct queue *q);
void *queue_try_take(struct queue *q); /* NULL at once when there is none */
void queue_close(struct queue *q);     /* no more puts; takers drain what is there */

/* Workers on one queue. Each item is handed to `fn` on one of `threads` threads. When an fn
 * fails, its error is kept (the first one), later items are handed to `drop` instead, and
 * pool_submit reports it, so that the producer stops early. */
struct pool;
typedef int pool_fn(void *item, void *arg, struct err *e);
typedef void pool_drop(void *item, void *arg);
struct pool *pool_new(size_t threads, size_t queue_capacity, pool_fn *fn, pool_drop *drop,
                      void *arg);
/* Takes the item over in any case. */
_warn_unused_ int pool_submit(struct pool *p, void *item, struct err *e);
/* Waits until all submitted items are done; the first error, if any. The pool stays usable, but an
 * error stays too: once it has failed it only drops. Neither call may be made from a pool_fn. */
_warn_unused_ int pool_wait(struct pool *p, struct err *e);
void pool_free(struct pool *p); /* finishes what is queued first; NULL is allowed */

/* The processors that this process may use, at least 1. */
size_t cpu_count(void);

/* Set by a signal handler or another thread; long loops ask it. */
extern atomic_int cancel_requested;
/* 0, or ERR_CANCELLED "interrupted". */
_warn_unused_ int cancel_check(struct err *e);

#endif
