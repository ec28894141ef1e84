/* Trees: the nodes of one directory as a JSON blob, byte for byte as restic writes them (names by
 * strconv.Quote, then encoding/json, a newline at the end), because the bytes name the tree. */
#ifndef SALVOR_REPO_TREE_H
#define SALVOR_REPO_TREE_H

#include "base/buf.h"
#include "base/node.h"
#include "repo/repo.h"

/* Builds one tree; nodes must come in ascending order of their names' bytes, each name once:
 * ERR_INTERNAL otherwise. */
struct tree_writer {
    struct buf json;
    char *last; /* name of the node before */
    size_t n;
};
void tree_writer_init(struct tree_writer *w);
void tree_writer_release(struct tree_writer *w);
_warn_unused_ int tree_writer_add(struct tree_writer *w, const struct node *n, struct err *e);
/* Ends the document in w->json; nothing can be added then. */
_warn_unused_ int tree_writer_end(struct tree_writer *w, struct err *e);
/* Ends the document and saves it. */
_warn_unused_ int tree_writer_save(struct tree_writer *w, struct writer *to, struct id *out,
                                   struct err *e);

struct tree {
    struct node *node; /* in the order of the document */
    size_t n;
    bool sorted; /* by name, as restic writes them */
};
/* ERR_CORRUPT for what is not a tree, for unsafe names ("..", slashes, NUL), and for a name twice.
 */
_warn_unused_ int tree_parse(const void *json, size_t len, struct tree *out, struct err *e);
_warn_unused_ int tree_load(struct repo *r, const struct id *id, struct tree *out, struct err *e);
void tree_release(struct tree *t);
const struct node *tree_find(const struct tree *t, const char *name); /* NULL if there is none */
/* Follows "a/b/c" from a tree; the node is copied (node_release). ERR_NOT_FOUND names the part. */
_warn_unused_ int tree_lookup(struct repo *r, const struct id *root, const char *path,
                              struct node *out, struct err *e);

/* Walks depth first. `fn` sees every node with its path (no leading slash), directories before what
 * is in them; for a directory it may set *enter to false. */
typedef int tree_fn(const char *path, const struct node *n, bool *enter, void *arg, struct err *e);
_warn_unused_ int tree_walk(struct repo *r, const struct id *root, tree_fn *fn, void *arg,
                            struct err *e);
/* The same, but of a directory below the root whose tree cannot be read only `bad` is told, and the
 * walk goes on behind it. When `bad` fails, so does this. */
typedef int tree_bad_fn(const char *path, const struct err *why, void *arg, struct err *e);
_warn_unused_ int tree_walk_past(struct repo *r, const struct id *root, tree_fn *fn,
                                 tree_bad_fn *bad, void *arg, struct err *e);

/* What `fn` is asked about each blob that is used, once per blob for trees, each time for data. */
typedef int blob_use_fn(enum blob_type type, const struct id *id, void *arg, struct err *e);

#endif
