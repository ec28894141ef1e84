/* Finding one's way in a snapshot: its content, a file, how much there is. */
#include "base/file.h"
#include "base/mem.h"
#include "job/job_int.h"
#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>

bool snapshot_complete(const struct snapshot *s)
{
    return !str_list_has(&s->tags, "partial");
}

bool snapshot_pre_restore(const struct snapshot *s)
{
    return str_list_has(&s->tags, "pre-restore");
}

int snapshot_content(struct job *j, const struct snapshot *s, struct id *tree, struct err *e)
{
    const char *resource = snapshot_tag(s, "resource");
    if (!snapshot_is_ours(s) || resource == NULL) {
        *tree = s->tree;
        return 0;
    }
    _cleanup_free_ char *path = str_fmt("%s/content", resource);
    _cleanup_(node_release) struct node n = {0};
    int rc = tree_lookup(j->repo, &s->tree, path, &n, e);
    if (rc < 0)
        return rc;
    if (!n.has_subtree)
        return err_set(e, ERR_CORRUPT, "snapshot content %s is not a directory", path);
    *tree = n.subtree;
    return 0;
}

int snapshot_read_file(struct job *j, const struct snapshot *s, const char *path, struct buf *out,
                       struct err *e)
{
    _cleanup_(node_release) struct node n = {0};
    int rc = tree_lookup(j->repo, &s->tree, path, &n, e);
    if (rc < 0)
        return rc;
    if (n.type != NODE_FILE)
        return err_set(e, ERR_USAGE, "%s is a %s, not a file", path, node_type_name(n.type));
    for (size_t i = 0; i < n.ncontent; i++) {
        rc = repo_load_blob(j->repo, BLOB_DATA, &n.content[i], out, e);
        if (rc < 0)
            return err_prefix(e, "%s", path);
    }
    return 0;
}

int path_place(const char *path, const char *part)
{
    if (part == NULL)
        return 1;
    size_t len = strlen(part), have = strlen(path);
    if (strncmp(path, part, len) == 0 && (path[len] == '/' || path[len] == '\0'))
        return 1;
    return strncmp(path, part, have) == 0 && part[have] == '/' ? 0 : -1;
}

struct measure {
    const char *part;
    uint64_t files, bytes;
};

static int measure_node(const char *path, const struct node *n, bool *enter, void *arg,
                        struct err *e)
{
    (void)e;
    struct measure *m = arg;
    int place = path_place(path, m->part);
    *enter = *enter && place >= 0;
    if (place > 0 && n->type == NODE_FILE) {
        m->files++;
        m->bytes += n->size;
    }
    return 0;
}

/* The restore itself names what cannot be read. */
static int measure_past(const char *path, const struct err *why, void *arg, struct err *e)
{
    (void)path;
    (void)arg;
    if (why->code != ERR_CANCELLED)
        return 0;
    *e = *why;
    return e->code;
}

int content_measure(struct job *j, const struct id *tree, const char *part, uint64_t *files,
                    uint64_t *bytes, struct err *e)
{
    struct measure m = {.part = part};
    int rc = tree_walk_past(j->repo, tree, measure_node, measure_past, &m, e);
    *files = m.files;
    *bytes = m.bytes;
    return rc;
}

int job_dump(struct job *j, const struct snapshot *s, const char *path, int fd, struct err *e)
{
    enum { BITE = 1 << 20 };
    while (*path == '/')
        path++;
    _cleanup_(stream_closep) struct stream *in = NULL;
    _cleanup_free_ char *data = mem_alloc(BITE);
    int rc = content_stream_open(j, &s->tree, path, &in, e);
    for (size_t got = 1; rc == 0 && got > 0;) {
        rc = stream_read(in, data, BITE, &got, e);
        if (rc == 0 && fd_write_all(fd, data, got, "the output", e) < 0)
            rc = err_prefix(e, "%s", path);
    }
    return rc;
}
