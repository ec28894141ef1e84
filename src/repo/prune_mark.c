/* Marking: from the snapshots through their trees to every blob that is needed. A tree is read
 * once, however many snapshots share it. */
#include "base/mem.h"
#include "base/work.h"
#include "repo/prune_int.h"
#include "repo/snapshot.h"
#include "repo/tree.h"
#include <stdlib.h>

static int unknown(enum blob_type type, const struct id *id, const struct id *snapshot,
                   struct err *e)
{
    char blob[ID_HEX + 1], snap[ID_SHORT + 1];
    return err_set(
        e, ERR_CORRUPT,
        "snapshot %s needs %s blob %s, which is in no index; nothing was removed; run "
        "`salvor verify`, and `salvor repair index` if packs are there that the index lacks",
        id_short(snapshot, snap), type == BLOB_TREE ? "tree" : "data", id_hex(id, blob));
}

/* Marks a blob; *first tells whether it was not marked before. */
static int mark(struct prune *p, enum blob_type type, const struct id *id,
                const struct id *snapshot, bool *first, struct err *e)
{
    uint64_t ordinal;
    if (!index_ordinal(p->repo->index, type, id, &ordinal))
        return unknown(type, id, snapshot, e);
    *first = (p->state[ordinal] & PRUNE_USED) == 0;
    if (*first)
        p->result->blobs_used++;
    p->state[ordinal] |= PRUNE_USED;
    return 0;
}

static int mark_nodes(struct prune *p, const struct tree *t, const struct id *snapshot,
                      struct id_list *todo, struct err *e)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct node *n = &t->node[i];
        bool first = false;
        int rc = 0;
        for (size_t k = 0; k < n->ncontent && rc == 0; k++)
            rc = mark(p, BLOB_DATA, &n->content[k], snapshot, &first, e);
        if (rc == 0 && n->has_subtree) {
            rc = mark(p, BLOB_TREE, &n->subtree, snapshot, &first, e);
            if (rc == 0 && first)
                id_list_add(todo, &n->subtree);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int mark_snapshot(struct prune *p, const struct snapshot *s, struct err *e)
{
    char snap[ID_SHORT + 1];
    _cleanup_(id_list_release) struct id_list todo = {0};
    bool first = false;
    int rc = mark(p, BLOB_TREE, &s->tree, &s->id, &first, e);
    if (rc == 0 && first)
        id_list_add(&todo, &s->tree);
    while (rc == 0 && todo.n > 0) {
        struct id id = todo.id[--todo.n];
        struct tree t = {0};
        rc = cancel_check(e);
        if (rc == 0)
            rc = tree_load(p->repo, &id, &t, e);
        if (rc == 0)
            rc = mark_nodes(p, &t, &s->id, &todo, e);
        else if (rc != ERR_CANCELLED)
            (void)err_prefix(e, "snapshot %s cannot be followed, so nothing was removed",
                             id_short(&s->id, snap));
        tree_release(&t);
    }
    return rc;
}

int prune_mark(struct prune *p, struct err *e)
{
    struct snapshot_list all = {0};
    int rc = snapshot_load_all(p->repo, &all, NULL, NULL, e);
    if (rc < 0)
        (void)err_prefix(e, "nothing was removed");
    for (size_t i = 0; rc == 0 && i < all.n; i++)
        rc = mark_snapshot(p, &all.s[i], e);
    snapshot_list_release(&all);
    return rc;
}
