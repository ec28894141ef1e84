/* The walk over all trees of all snapshots: a stack of trees to read that the threads share. */
#include "base/mem.h"
#include "base/work.h"
#include "repo/tree.h"
#include "repo/uses_int.h"
#include <pthread.h>
#include <string.h>

/* ---- bits ---- */

void bits_init(struct bits *b, uint64_t n)
{
    b->n = n;
    b->byte = mem_array((size_t)(n / 8 + 1), 1);
}

void bits_release(struct bits *b)
{
    free(b->byte);
    b->byte = NULL;
}

bool bits_set(struct bits *b, uint64_t i)
{
    unsigned char bit = (unsigned char)(1u << (i % 8));
    return (atomic_fetch_or_explicit(&b->byte[i / 8], bit, memory_order_relaxed) & bit) != 0;
}

char *use_text(const struct use *u)
{
    char id[ID_SHORT + 1];
    return str_fmt("snapshot %s, %s/%s", id_short(&u->snapshot->id, id), u->dir,
                   u->name != NULL ? u->name : "");
}

/* ---- the walk ---- */

struct todo {
    struct id tree;
    const struct snapshot *snapshot;
    char *path; /* "" or "/a/b" */
};

struct walk {
    struct repo *repo;
    const struct uses_visitor *visitor;
    struct bits *used;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t change;
    struct todo *todo;
    size_t n, cap;
    size_t busy; /* threads that read a tree and may add more */
    int rc;      /* the first failure ends all */
    struct err why;
};

/* Marks a blob; `first` says whether nobody did before. */
static int meet(struct walk *w, enum blob_type type, const struct id *id, const struct use *u,
                bool *first, struct err *e)
{
    const struct uses_visitor *v = w->visitor;
    uint64_t i;
    *first = false;
    if (!index_ordinal(w->repo->index, type, id, &i))
        return v->missing(type, id, u, v->arg, e);
    *first = !bits_set(w->used, i);
    return *first && v->found != NULL ? v->found(type, id, u, v->arg, e) : 0;
}

/* Takes `path` over. */
static void push(struct walk *w, const struct id *tree, const struct snapshot *s, char *path)
{
    (void)pthread_mutex_lock(&w->lock);
    mem_grow(&w->todo, w->n, &w->cap, sizeof *w->todo);
    w->todo[w->n++] = (struct todo){*tree, s, path};
    (void)pthread_cond_signal(&w->change);
    (void)pthread_mutex_unlock(&w->lock);
}

static int visit_node(struct walk *w, const struct todo *t, const struct node *n, struct err *e)
{
    struct use u = {t->snapshot, t->path, n->name};
    bool first;
    for (size_t i = 0; i < n->ncontent; i++) {
        int rc = meet(w, BLOB_DATA, &n->content[i], &u, &first, e);
        if (rc < 0)
            return rc;
    }
    if (n->type != NODE_DIR)
        return 0;
    if (!n->has_subtree) {
        struct err why = ERR_INIT;
        (void)err_set(&why, ERR_CORRUPT, "directory %s has no tree", n->name);
        return w->visitor->broken(&t->tree, &u, &why, w->visitor->arg, e);
    }
    int rc = meet(w, BLOB_TREE, &n->subtree, &u, &first, e);
    if (rc == 0 && first)
        push(w, &n->subtree, t->snapshot, str_fmt("%s/%s", t->path, n->name));
    return rc;
}

static int visit_tree(struct walk *w, const struct todo *t, struct err *e)
{
    struct tree tree = {0};
    int rc = cancel_check(e);
    if (rc < 0)
        return rc;
    rc = tree_load(w->repo, &t->tree, &tree, e);
    if (rc < 0) {
        struct use u = {t->snapshot, t->path, NULL};
        struct err why = *e;
        return w->visitor->broken(&t->tree, &u, &why, w->visitor->arg, e);
    }
    for (size_t i = 0; i < tree.n && rc == 0; i++)
        rc = visit_node(w, t, &tree.node[i], e);
    tree_release(&tree);
    return rc;
}

/* The next tree; false when there is no more, and never will be. The lock is held. */
static bool next(struct walk *w, struct todo *out)
{
    while (w->rc == 0 && w->n == 0 && w->busy > 0)
        (void)pthread_cond_wait(&w->change, &w->lock);
    if (w->rc != 0 || w->n == 0)
        return false;
    *out = w->todo[--w->n];
    w->busy++;
    return true;
}

static void *work(void *arg)
{
    struct walk *w = arg;
    struct todo t;
    (void)pthread_mutex_lock(&w->lock);
    while (next(w, &t)) {
        (void)pthread_mutex_unlock(&w->lock);
        struct err e = ERR_INIT;
        int rc = visit_tree(w, &t, &e);
        free(t.path);
        (void)pthread_mutex_lock(&w->lock);
        w->busy--;
        if (rc < 0 && w->rc == 0) {
            w->rc = rc;
            w->why = e;
        }
        if (w->busy == 0 || w->rc != 0)
            (void)pthread_cond_broadcast(&w->change);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int push_roots(struct walk *w, const struct snapshot_list *l, struct err *e)
{
    int rc = 0;
    for (size_t i = l->n; i-- > 0 && rc == 0;) {
        struct use u = {&l->s[i], "", NULL};
        bool first;
        rc = meet(w, BLOB_TREE, &l->s[i].tree, &u, &first, e);
        if (rc == 0 && first)
            push(w, &l->s[i].tree, &l->s[i], str_dup(""));
    }
    return rc;
}

int uses_walk(struct repo *r, const struct snapshot_list *snapshots, size_t threads,
              const struct uses_visitor *v, struct bits *used, struct err *e)
{
    struct walk w = {.repo = r, .visitor = v, .used = used};
    (void)pthread_mutex_init(&w.lock, NULL);
    (void)pthread_cond_init(&w.change, NULL);
    w.rc = push_roots(&w, snapshots, &w.why);
    enum { THREADS_MOST = 64 };
    pthread_t thread[THREADS_MOST];
    size_t n = 0;
    threads = threads > THREADS_MOST ? THREADS_MOST : threads;
    while (n + 1 < threads && pthread_create(&thread[n], NULL, work, &w) == 0)
        n++;
    (void)work(&w); /* this thread too; alone, if need be */
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(thread[i], NULL);
    while (w.n > 0)
        free(w.todo[--w.n].path);
    free(w.todo);
    (void)pthread_mutex_destroy(&w.lock);
    (void)pthread_cond_destroy(&w.change);
    if (w.rc < 0)
        *e = w.why;
    return w.rc;
}
