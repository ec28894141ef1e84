/* A store in memory, for tests; also the example of a driver: every operation in its simplest
 * correct form. Objects are kept sorted by name. */
#include "base/mem.h"
#include "store/store_int.h"
#include <pthread.h>
#include <string.h>

struct object {
    char *name;
    uint8_t *data;
    size_t len;
};

struct memory {
    struct store base;
    pthread_mutex_t lock; /* guards all below */
    struct object *object;
    size_t n, cap;
};

static struct memory *memory_of(struct store *s)
{
    return (struct memory *)s;
}

/* The index of the first object whose name is not less than `name`. */
static size_t place(const struct memory *m, const char *name)
{
    size_t low = 0, high = m->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(m->object[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL if there is none of that name. */
static struct object *find(const struct memory *m, const char *name)
{
    size_t i = place(m, name);
    return i < m->n && strcmp(m->object[i].name, name) == 0 ? &m->object[i] : NULL;
}

static uint8_t *join(const struct piece *pieces, size_t npieces, size_t size)
{
    uint8_t *data = mem_alloc(size), *to = data;
    for (size_t i = 0; i < npieces; i++) {
        if (pieces[i].len > 0)
            memcpy(to, pieces[i].data, pieces[i].len);
        to += pieces[i].len;
    }
    return data;
}

static int memory_put(struct store *s, const char *name, enum store_put_mode mode,
                      const struct piece *pieces, size_t npieces, struct err *e)
{
    struct memory *m = memory_of(s);
    size_t size = store_pieces_size(pieces, npieces);
    _cleanup_free_ uint8_t *data = join(pieces, npieces, size);
    int rc = 0;

    (void)pthread_mutex_lock(&m->lock);
    struct object *o = find(m, name);
    if (o != NULL && mode == PUT_NEW) {
        rc = store_exists(s, name, e);
    } else if (o != NULL) {
        free(o->data);
        o->data = take(data);
        o->len = size;
    } else {
        size_t i = place(m, name);
        mem_grow(&m->object, m->n, &m->cap, sizeof *m->object);
        memmove(&m->object[i + 1], &m->object[i], (m->n - i) * sizeof *m->object);
        m->object[i] = (struct object){str_dup(name), take(data), size};
        m->n++;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

static int memory_get(struct store *s, const char *name, uint64_t offset, uint64_t len,
                      struct buf *out, struct err *e)
{
    struct memory *m = memory_of(s);
    (void)pthread_mutex_lock(&m->lock);
    struct object *o = find(m, name);
    int rc = o == NULL ? store_not_found(s, name, e)
                       : store_check_range(s, name, o->len, offset, &len, e);
    if (rc == 0)
        rc = buf_append(out, o->data + offset, len, e);
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

static int memory_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    struct memory *m = memory_of(s);
    (void)pthread_mutex_lock(&m->lock);
    struct object *o = find(m, name);
    int rc = o == NULL ? store_not_found(s, name, e) : 0;
    if (rc == 0)
        *size = o->len;
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

/* Finds the first object after `name` that starts with `prefix`; replaces `name` by its. */
static bool next(struct memory *m, const char *prefix, char name[STORE_NAME_MAX + 1],
                 uint64_t *size)
{
    (void)pthread_mutex_lock(&m->lock);
    size_t i = place(m, name);
    if (i < m->n && strcmp(m->object[i].name, name) == 0)
        i++;
    bool found = i < m->n && strncmp(m->object[i].name, prefix, strlen(prefix)) == 0;
    if (found) {
        memcpy(name, m->object[i].name, strlen(m->object[i].name) + 1);
        *size = m->object[i].len;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

/* The callback may use the store, so it is called without the lock. */
static int memory_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg,
                       struct err *e)
{
    char name[STORE_NAME_MAX + 1];
    struct store_object o = {.name = name};
    int rc = 0;
    memcpy(name, prefix, strlen(prefix) + 1); /* checked to be short: no object has this name */
    while (rc == 0 && next(memory_of(s), prefix, name, &o.size))
        rc = fn(&o, arg, e);
    return rc;
}

static int memory_remove(struct store *s, const char *name, struct err *e)
{
    struct memory *m = memory_of(s);
    int rc = 0;
    (void)pthread_mutex_lock(&m->lock);
    struct object *o = find(m, name);
    if (o == NULL) {
        rc = store_not_found(s, name, e);
    } else {
        size_t i = (size_t)(o - m->object);
        free(o->name);
        free(o->data);
        m->n--;
        memmove(o, o + 1, (m->n - i) * sizeof *o);
    }
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

/* Nothing is ever unfinished here. */
static int memory_clean(struct store *s, int64_t age_s, size_t *n, struct err *e)
{
    (void)s;
    (void)age_s;
    (void)n;
    (void)e;
    return 0;
}

static void memory_free(struct store *s)
{
    struct memory *m = memory_of(s);
    for (size_t i = 0; i < m->n; i++) {
        free(m->object[i].name);
        free(m->object[i].data);
    }
    free(m->object);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct store_ops memory_ops = {
    .put = memory_put,
    .get = memory_get,
    .stat = memory_stat,
    .list = memory_list,
    .remove = memory_remove,
    .clean = memory_clean,
    .free = memory_free,
};

struct store *store_memory_new(void)
{
    struct memory *m = mem_zero(sizeof *m);
    m->base.ops = &memory_ops;
    m->base.address = str_dup("memory:");
    m->base.properties = (struct store_properties){
        .kind = "memory",
        .conditional_put = true,
        .immediate_listing = true,
        .connections = 2,
    };
    (void)pthread_mutex_init(&m->lock, NULL);
    return &m->base;
}
