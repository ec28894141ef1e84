/* Reading trees: parsing, finding, walking. What comes from a repository is not trusted: a name
 * must be one that is safe below a directory, and none may come twice. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/tree.h"
#include "repo/tree_int.h"
#include <sys/stat.h>

/* ---- nodes ---- */

static mode_t mode_from_go(uint64_t mode)
{
    mode_t out = mode & 0777;
    if (mode & GO_MODE_SETUID)
        out |= S_ISUID;
    if (mode & GO_MODE_SETGID)
        out |= S_ISGID;
    if (mode & GO_MODE_STICKY)
        out |= S_ISVTX;
    return out;
}

static uint32_t get_u32(struct json_in *in)
{
    uint64_t v = json_get_u64(in);
    if (v > UINT32_MAX)
        json_in_fail(in, "an owner is larger than 32 bits");
    return (uint32_t)v;
}

static void get_name(struct json_in *in, struct node *n)
{
    size_t len;
    struct err e = ERR_INIT;
    const char *s = json_get_string(in, &len);
    _cleanup_(buf_release) struct buf name = BUF_INIT(4 * len + 1);
    if (unquote(s, len, &name, &e) != 0) {
        json_in_fail(in, "a name is not quoted as it should be");
    } else if (!path_component_safe(buf_str(&name), name.len)) {
        json_in_fail(in, "a name is empty, \".\", \"..\", or has a slash or NUL");
    } else {
        free(n->name);
        n->name = buf_take(&name);
    }
}

static void get_linktarget_raw(struct json_in *in, struct node *n)
{
    _cleanup_(buf_release) struct buf raw = BUF_INIT(1 << 16);
    if (json_is_null(in))
        return;
    json_get_base64(in, &raw);
    if (memchr(buf_str(&raw), '\0', raw.len) != NULL) {
        json_in_fail(in, "a link target has a NUL");
        return;
    }
    free(n->linktarget);
    n->linktarget = buf_take(&raw);
}

static void get_xattr(struct json_in *in, struct node_xattr *x)
{
    const char *key;
    json_object(in);
    while ((key = json_next_key(in)) != NULL) {
        if (strcmp(key, "name") == 0) {
            json_replace_text(in, &x->name);
        } else if (strcmp(key, "value") == 0 && !json_is_null(in)) {
            _cleanup_(buf_release) struct buf value = BUF_INIT(BUF_TEXT);
            json_get_base64(in, &value);
            free(x->value);
            x->len = value.len;
            x->value = (uint8_t *)buf_take(&value);
        } else if (strcmp(key, "value") != 0) {
            json_skip(in);
        }
    }
    if (x->name == NULL)
        json_in_fail(in, "an extended attribute has no name");
}

static void get_xattrs(struct json_in *in, struct node *n)
{
    size_t cap = n->nxattr;
    if (json_is_null(in))
        return;
    json_array(in);
    while (json_next_item(in)) {
        mem_grow(&n->xattr, n->nxattr, &cap, sizeof *n->xattr);
        n->xattr[n->nxattr] = (struct node_xattr){0};
        get_xattr(in, &n->xattr[n->nxattr++]);
    }
}

static void get_content(struct json_in *in, struct node *n)
{
    size_t cap = n->ncontent;
    if (json_is_null(in))
        return;
    n->has_content = true;
    json_array(in);
    while (json_next_item(in)) {
        mem_grow(&n->content, n->ncontent, &cap, sizeof *n->content);
        n->content[n->ncontent++] = json_get_id(in);
    }
}

static void get_subtree(struct json_in *in, struct node *n)
{
    if (json_is_null(in))
        return;
    n->subtree = json_get_id(in);
    n->has_subtree = true;
}

/* The fields that are text, lists or ids; false if `key` is none of them. */
static bool get_large_field(struct json_in *in, const char *key, struct node *n)
{
    if (strcmp(key, "name") == 0)
        get_name(in, n);
    else if (strcmp(key, "type") == 0)
        n->type = node_type_parse(json_get_string(in, NULL));
    else if (strcmp(key, "user") == 0)
        json_replace_text(in, &n->user);
    else if (strcmp(key, "group") == 0)
        json_replace_text(in, &n->group);
    else if (strcmp(key, "error") == 0)
        json_replace_text(in, &n->error);
    else if (strcmp(key, "content") == 0)
        get_content(in, n);
    else if (strcmp(key, "subtree") == 0)
        get_subtree(in, n);
    else if (strcmp(key, "extended_attributes") == 0)
        get_xattrs(in, n);
    else
        return false;
    return true;
}

static void get_node(struct json_in *in, struct node *n)
{
    const char *key;
    bool has_raw_target = false;
    json_object(in);
    while ((key = json_next_key(in)) != NULL) {
        if (get_large_field(in, key, n)) {
            continue;
        } else if (strcmp(key, "mode") == 0) {
            n->mode = mode_from_go(json_get_u64(in));
        } else if (strcmp(key, "mtime") == 0) {
            n->mtime = json_get_time(in);
        } else if (strcmp(key, "atime") == 0) {
            n->atime = json_get_time(in);
        } else if (strcmp(key, "ctime") == 0) {
            n->ctime = json_get_time(in);
        } else if (strcmp(key, "uid") == 0) {
            n->uid = get_u32(in);
        } else if (strcmp(key, "gid") == 0) {
            n->gid = get_u32(in);
        } else if (strcmp(key, "inode") == 0) {
            n->inode = json_get_u64(in);
        } else if (strcmp(key, "device_id") == 0) {
            n->device_id = json_get_u64(in);
        } else if (strcmp(key, "size") == 0) {
            n->size = json_get_u64(in);
        } else if (strcmp(key, "links") == 0) {
            n->links = json_get_u64(in);
        } else if (strcmp(key, "device") == 0) {
            n->rdev = json_get_u64(in);
        } else if (strcmp(key, "linktarget_raw") == 0) {
            get_linktarget_raw(in, n);
            has_raw_target = true;
        } else if (strcmp(key, "linktarget") == 0 && !has_raw_target) {
            json_replace_text(in, &n->linktarget);
        } else if (strcmp(key, "generic_attributes") == 0) {
            free(n->extra);
            n->extra = json_get_raw(in);
        } else {
            json_skip(in);
        }
    }
    if (n->name == NULL)
        json_in_fail(in, "an entry has no name");
}

/* ---- trees ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Trees are sorted by name; if a foreign one is not, duplicates are looked for in a sorted copy. */
static const char *find_duplicate(struct tree *t)
{
    t->sorted = true;
    for (size_t i = 1; i < t->n && t->sorted; i++)
        t->sorted = strcmp(t->node[i - 1].name, t->node[i].name) < 0;
    if (t->sorted)
        return NULL;
    _cleanup_free_ char **names = mem_array(t->n, sizeof *names);
    for (size_t i = 0; i < t->n; i++)
        names[i] = t->node[i].name;
    qsort(names, t->n, sizeof *names, by_name);
    for (size_t i = 1; i < t->n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return names[i];
    }
    return NULL;
}

static void get_nodes(struct json_in *in, struct tree *t)
{
    size_t cap = t->n;
    if (json_is_null(in)) /* Go's empty list */
        return;
    json_array(in);
    while (json_next_item(in)) {
        mem_grow(&t->node, t->n, &cap, sizeof *t->node);
        t->node[t->n] = (struct node){0};
        get_node(in, &t->node[t->n++]);
    }
}

int tree_parse(const void *json, size_t len, struct tree *out, struct err *e)
{
    struct json_in in;
    const char *key;
    bool has_nodes = false;
    *out = (struct tree){0};
    json_in_init(&in, json, len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "nodes") == 0 && !has_nodes) {
            get_nodes(&in, out);
            has_nodes = true;
        } else {
            json_skip(&in);
        }
    }
    int rc = json_in_finish(&in, "directory", e);
    if (rc == 0 && !has_nodes)
        rc = err_set(e, ERR_CORRUPT, "directory: it is JSON, but not of a directory");
    const char *twice = rc == 0 ? find_duplicate(out) : NULL;
    if (twice != NULL) {
        _cleanup_(buf_release) struct buf shown = BUF_INIT(BUF_JSON);
        text_printable(twice, strlen(twice), &shown);
        rc = err_set(e, ERR_CORRUPT, "directory: the name %s comes twice", buf_str(&shown));
    }
    if (rc != 0)
        tree_release(out);
    return rc;
}

int tree_load(struct repo *r, const struct id *id, struct tree *out, struct err *e)
{
    char hex[ID_SHORT + 1];
    _cleanup_(buf_release) struct buf json = BUF_INIT(BLOB_MAX);
    *out = (struct tree){0};
    int rc = repo_load_blob(r, BLOB_TREE, id, &json, e);
    if (rc != 0)
        return rc;
    rc = tree_parse(json.data, json.len, out, e);
    return rc != 0 ? err_prefix(e, "tree %s", id_short(id, hex)) : 0;
}

void tree_release(struct tree *t)
{
    for (size_t i = 0; i < t->n; i++)
        node_release(&t->node[i]);
    free(t->node);
    *t = (struct tree){0};
}

static int name_to_node(const void *name, const void *node)
{
    return strcmp(name, ((const struct node *)node)->name);
}

const struct node *tree_find(const struct tree *t, const char *name)
{
    if (t->n == 0)
        return NULL;
    if (t->sorted)
        return bsearch(name, t->node, t->n, sizeof *t->node, name_to_node);
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->node[i].name, name) == 0)
            return &t->node[i];
    }
    return NULL;
}

/* ---- paths ---- */

/* The next part of a path that is not empty or "."; false at its end. */
static bool next_part(const char **path, const char **part, size_t *len)
{
    do {
        *part = *path + strspn(*path, "/");
        *len = strcspn(*part, "/");
        *path = *part + *len;
    } while (*len == 1 && **part == '.');
    return *len > 0;
}

int tree_lookup(struct repo *r, const struct id *root, const char *path, struct node *out,
                struct err *e)
{
    const char *rest = path, *part;
    size_t len;
    /* What the path has led to so far; at first the root, which is nobody's entry. */
    struct node at = {.name = str_dup(""), .type = NODE_DIR, .mode = 0755};
    at.subtree = *root;
    at.has_subtree = true;
    while (next_part(&rest, &part, &len)) {
        _cleanup_(tree_release) struct tree t = {0};
        _cleanup_free_ char *name = str_ndup(part, len);
        const struct node *n = NULL;
        int rc = 0;
        if (!at.has_subtree)
            rc = err_set(e, ERR_NOT_FOUND, "%.*s is not a directory", (int)(part - path), path);
        else if ((rc = tree_load(r, &at.subtree, &t, e)) == 0 && (n = tree_find(&t, name)) == NULL)
            rc = err_set(e, ERR_NOT_FOUND, "there is no %.*s in the snapshot",
                         (int)(part + len - path), path);
        node_release(&at);
        if (rc != 0)
            return rc;
        node_copy(&at, n);
    }
    *out = at;
    return 0;
}

/* ---- walking ---- */

struct level {
    struct tree tree;
    size_t next;     /* entry */
    size_t path_len; /* of the directory's own path */
};

struct walk {
    struct repo *repo;
    tree_fn *fn;
    tree_bad_fn *bad; /* NULL: what is bad ends the walk */
    void *arg;
    struct level *level;
    size_t depth, cap;
    struct buf path;
};

static void walk_release(struct walk *w)
{
    for (size_t i = 0; i < w->depth; i++)
        tree_release(&w->level[i].tree);
    free(w->level);
    buf_release(&w->path);
}

static int walk_enter(struct walk *w, const struct id *tree, struct err *e)
{
    mem_grow(&w->level, w->depth, &w->cap, sizeof *w->level);
    struct level *l = &w->level[w->depth];
    *l = (struct level){.path_len = w->path.len};
    int rc = tree_load(w->repo, tree, &l->tree, e);
    if (rc != 0)
        return rc;
    w->depth++;
    return 0;
}

static int walk_node(struct walk *w, const struct node *n, struct err *e)
{
    bool enter = n->type == NODE_DIR;
    int rc = w->path.len > 0 ? buf_append(&w->path, "/", 1, e) : 0;
    if (rc == 0)
        rc = buf_append(&w->path, n->name, strlen(n->name), e);
    if (rc == 0)
        rc = w->fn(buf_str(&w->path), n, &enter, w->arg, e);
    if (rc != 0 || !enter || n->type != NODE_DIR)
        return rc;
    struct err why = ERR_INIT;
    if (!n->has_subtree)
        rc = err_set(&why, ERR_CORRUPT, "a directory whose entries are not recorded");
    else
        rc = walk_enter(w, &n->subtree, &why);
    if (rc == 0)
        return 0;
    if (w->bad != NULL)
        return w->bad(buf_str(&w->path), &why, w->arg, e);
    *e = why;
    return err_prefix(e, "%s", buf_str(&w->path));
}

int tree_walk(struct repo *r, const struct id *root, tree_fn *fn, void *arg, struct err *e)
{
    return tree_walk_past(r, root, fn, NULL, arg, e);
}

int tree_walk_past(struct repo *r, const struct id *root, tree_fn *fn, tree_bad_fn *bad, void *arg,
                   struct err *e)
{
    _cleanup_(walk_release) struct walk w = {
        .repo = r, .fn = fn, .bad = bad, .arg = arg, .path = BUF_INIT(BUF_TEXT)};
    int rc = walk_enter(&w, root, e);
    while (rc == 0 && w.depth > 0) {
        struct level *l = &w.level[w.depth - 1];
        w.path.len = l->path_len;
        if (l->next == l->tree.n) {
            tree_release(&l->tree);
            w.depth--;
        } else {
            rc = walk_node(&w, &l->tree.node[l->next++], e);
        }
    }
    return rc;
}
