/* Writing trees. The order of the fields, and which are left out when empty, is that of restic's
 * Node (internal/restic/node.go), since the bytes name the tree. */
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/tree.h"
#include "repo/tree_int.h"
#include <sys/stat.h>

static uint32_t go_mode(const struct node *n)
{
    static const uint32_t types[] = {
        [NODE_INVALID] = 0,
        [NODE_FILE] = 0,
        [NODE_DIR] = GO_MODE_DIR,
        [NODE_SYMLINK] = GO_MODE_SYMLINK,
        [NODE_BLOCK] = GO_MODE_DEVICE,
        [NODE_CHAR] = GO_MODE_DEVICE | GO_MODE_CHAR_DEVICE,
        [NODE_FIFO] = GO_MODE_PIPE,
        [NODE_SOCKET] = GO_MODE_SOCKET,
        [NODE_IRREGULAR] = GO_MODE_IRREGULAR,
    };
    uint32_t mode = types[n->type] | (n->mode & 0777);
    if (n->mode & S_ISUID)
        mode |= GO_MODE_SETUID;
    if (n->mode & S_ISGID)
        mode |= GO_MODE_SETGID;
    if (n->mode & S_ISVTX)
        mode |= GO_MODE_STICKY;
    return mode;
}

static void text_if(struct json_out *j, const char *key, const char *s)
{
    if (s != NULL && s[0] != '\0')
        json_text(j, key, s);
}

static void u64_if(struct json_out *j, const char *key, uint64_t v)
{
    if (v != 0)
        json_u64(j, key, v);
}

static void put_linktarget(struct json_out *j, const char *target)
{
    if (target == NULL || target[0] == '\0')
        return;
    json_text(j, "linktarget", target);
    /* JSON cannot hold other bytes than UTF-8: programs since restic 0.16 take them from here. */
    size_t len = strlen(target);
    if (!utf8_valid(target, len)) {
        json_key(j, "linktarget_raw");
        json_put_base64(j, target, len);
    }
}

static void put_xattrs(struct json_out *j, const struct node *n)
{
    if (n->nxattr == 0)
        return;
    json_key(j, "extended_attributes");
    json_begin_array(j);
    for (size_t i = 0; i < n->nxattr; i++) {
        json_begin_object(j);
        json_text(j, "name", n->xattr[i].name);
        json_key(j, "value");
        json_put_base64(j, n->xattr[i].value, n->xattr[i].len);
        json_end_object(j);
    }
    json_end_array(j);
}

static void put_content(struct json_out *j, const struct node *n)
{
    json_key(j, "content");
    if (!n->has_content) {
        json_put_null(j);
        return;
    }
    json_begin_array(j);
    for (size_t i = 0; i < n->ncontent; i++)
        json_put_id(j, &n->content[i]);
    json_end_array(j);
}

static int put_node(struct buf *out, const struct node *n, struct err *e)
{
    _cleanup_(buf_release) struct buf name = BUF_INIT(BUF_JSON);
    int rc = quote(n->name, strlen(n->name), &name, e);
    if (rc != 0)
        return rc;
    struct json_out j;
    json_out_init(&j, out);
    json_begin_object(&j);
    json_key(&j, "name");
    json_put_string(&j, buf_str(&name), name.len);
    json_text(&j, "type", node_type_name(n->type));
    u64_if(&j, "mode", go_mode(n));
    json_time(&j, "mtime", n->mtime);
    json_time(&j, "atime", n->atime);
    json_time(&j, "ctime", n->ctime);
    json_u64(&j, "uid", n->uid);
    json_u64(&j, "gid", n->gid);
    text_if(&j, "user", n->user);
    text_if(&j, "group", n->group);
    u64_if(&j, "inode", n->inode);
    u64_if(&j, "device_id", n->device_id);
    u64_if(&j, "size", n->size);
    u64_if(&j, "links", n->links);
    put_linktarget(&j, n->linktarget);
    put_xattrs(&j, n);
    if (n->extra != NULL) {
        json_key(&j, "generic_attributes");
        json_put_raw(&j, n->extra, strlen(n->extra));
    }
    u64_if(&j, "device", n->rdev);
    put_content(&j, n);
    if (n->has_subtree)
        json_id(&j, "subtree", &n->subtree);
    text_if(&j, "error", n->error);
    json_end_object(&j);
    return json_out_finish(&j, e);
}

void tree_writer_init(struct tree_writer *w)
{
    *w = (struct tree_writer){.json = BUF_INIT(BLOB_MAX)};
    buf_adds(&w->json, "{\"nodes\":[");
}

void tree_writer_release(struct tree_writer *w)
{
    buf_release(&w->json);
    free(w->last);
    w->last = NULL;
}

int tree_writer_add(struct tree_writer *w, const struct node *n, struct err *e)
{
    if (w->last != NULL && strcmp(w->last, n->name) >= 0)
        return err_set(e, ERR_INTERNAL, "tree: %s comes after %s", n->name, w->last);
    size_t before = w->json.len;
    int rc = w->n > 0 ? buf_append(&w->json, ",", 1, e) : 0;
    if (rc == 0)
        rc = put_node(&w->json, n, e);
    if (rc != 0) {
        w->json.len = before;
        return err_prefix(e, "cannot add %s to its directory of %zu entries", n->name, w->n);
    }
    free(w->last);
    w->last = str_dup(n->name);
    w->n++;
    return 0;
}

int tree_writer_end(struct tree_writer *w, struct err *e)
{
    return buf_append(&w->json, "]}\n", 3, e);
}

int tree_writer_save(struct tree_writer *w, struct writer *to, struct id *out, struct err *e)
{
    int rc = tree_writer_end(w, e);
    return rc != 0 ? rc : writer_save(to, BLOB_TREE, w->json.data, w->json.len, out, NULL, e);
}
