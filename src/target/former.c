/* Former attributes: what an entry had before a restore changed its attributes alone, as text for
 * the ledger, so that undo can set them again. Names of extended attributes are any bytes, so they
 * are base64, as their values are. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { TEXT_MAX = 16 << 20 }; /* Linux: 64 KiB of names, 64 KiB a value */

int former_read(int fd, const char *path, struct node *out, struct err *e)
{
    struct stat st;
    if ((fd >= 0 ? fstat(fd, &st) : lstat(path, &st)) < 0)
        return err_sys(e, errno, "cannot look at %s", path);
    node_from_stat(out, &st);
    node_read_xattrs(out, fd, path, path);
    return 0;
}

static void put_time(struct json_out *j, const char *key, struct timespec t)
{
    json_key(j, key);
    json_begin_array(j);
    json_put_i64(j, t.tv_sec);
    json_put_i64(j, t.tv_nsec);
    json_end_array(j);
}

char *former_text(const struct node *n)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(TEXT_MAX);
    struct json_out j;
    json_out_init(&j, &text);
    json_begin_object(&j);
    json_text(&j, "type", node_type_name(n->type));
    json_u64(&j, "mode", n->mode);
    json_u64(&j, "uid", n->uid);
    json_u64(&j, "gid", n->gid);
    put_time(&j, "mtime", n->mtime);
    put_time(&j, "atime", n->atime);
    json_key(&j, "xattr");
    json_begin_array(&j);
    for (size_t i = 0; i < n->nxattr; i++) { /* name, value, name, value, ... */
        json_put_base64(&j, n->xattr[i].name, strlen(n->xattr[i].name));
        json_put_base64(&j, n->xattr[i].value, n->xattr[i].len);
    }
    json_end_array(&j);
    json_end_object(&j);
    return buf_take(&text);
}

static struct timespec get_time(struct json_in *in)
{
    struct timespec t = {0};
    json_array(in);
    for (int i = 0; json_next_item(in); i++) {
        int64_t v = json_get_i64(in);
        if (i == 0)
            t.tv_sec = v;
        else if (i == 1 && v >= 0 && v < 1000000000)
            t.tv_nsec = v;
        else
            json_in_fail(in, "a time is two numbers");
    }
    return t;
}

static void get_xattrs(struct json_in *in, struct node *n)
{
    size_t cap = 0;
    json_array(in);
    while (json_next_item(in)) {
        _cleanup_(buf_release) struct buf name = BUF_INIT(TEXT_MAX);
        _cleanup_(buf_release) struct buf value = BUF_INIT(TEXT_MAX);
        json_get_base64(in, &name);
        if (!json_next_item(in))
            json_in_fail(in, "an attribute has no value");
        json_get_base64(in, &value);
        mem_grow(&n->xattr, n->nxattr, &cap, sizeof(*n->xattr));
        struct node_xattr *x = &n->xattr[n->nxattr++];
        x->name = buf_take(&name);
        x->len = value.len;
        x->value = (uint8_t *)buf_take(&value);
    }
}

static int parse(const char *text, struct node *n, struct err *e)
{
    struct json_in in;
    const char *key;
    json_in_init(&in, text, strlen(text));
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "type") == 0)
            n->type = node_type_parse(json_get_string(&in, NULL));
        else if (strcmp(key, "mode") == 0)
            n->mode = (mode_t)json_get_u64(&in) & 07777;
        else if (strcmp(key, "uid") == 0)
            n->uid = (uint32_t)json_get_u64(&in);
        else if (strcmp(key, "gid") == 0)
            n->gid = (uint32_t)json_get_u64(&in);
        else if (strcmp(key, "mtime") == 0)
            n->mtime = get_time(&in);
        else if (strcmp(key, "atime") == 0)
            n->atime = get_time(&in);
        else if (strcmp(key, "xattr") == 0)
            get_xattrs(&in, n);
        else
            json_skip(&in);
    }
    return json_in_finish(&in, "the former attributes in the ledger", e);
}

int former_put_back(const char *path, const char *text, struct err *e)
{
    _cleanup_(node_release) struct node former = {0};
    int rc = parse(text, &former, e);
    if (rc != 0)
        return err_prefix(e, "cannot put the attributes of %s back", path);
    struct stat st;
    struct node now = {0};
    if (lstat(path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return err_sys(e, errno, "cannot look at %s", path);
        log_notice("%s is gone, so its former attributes are not set", path);
        return 0;
    }
    node_from_stat(&now, &st);
    if (now.type != former.type)
        return err_set(e, ERR_EXISTS,
                       "cannot put the attributes of %s back: something of another kind is there",
                       path);
    char why[WHY_MAX] = "";
    struct owner_ids owners;
    owner_ids_init(&owners, geteuid() == 0);
    rc = attributes_set_at(AT_FDCWD, path, &former, &owners, why, path, e);
    owner_ids_release(&owners);
    if (rc == 0 && *why != 0)
        rc = err_set(e, ERR_DENIED, "cannot put the attributes of %s back: %s", path, why);
    return rc;
}
