/* Snapshots for tests: directories of files whose content follows from numbers. */
#ifndef SALVOR_TEST_REPO_SNAPSHOTS_H
#define SALVOR_TEST_REPO_SNAPSHOTS_H

#include "fixture.h"
#include "repo/snapshot.h"
#include "repo/tree.h"
#include <sys/stat.h>

enum { FIXTURE_BLOBS = 3, FIXTURE_BLOB = 8000 }; /* blobs of a file, most bytes of each */

static inline size_t fixture_blob(uint64_t file, int i, uint8_t out[FIXTURE_BLOB])
{
    size_t len = 1 + (file * 7919 + (uint64_t)i * 104729) % (FIXTURE_BLOB - 1);
    fixture_fill(out, len, file * 16 + (uint64_t)i, i % 2 == 0);
    return len;
}

static inline int fixture_file(struct writer *w, struct tree_writer *t, const char *name,
                               uint64_t file, struct err *e)
{
    static _Thread_local uint8_t data[FIXTURE_BLOB];
    struct id content[FIXTURE_BLOBS];
    char copy[32];
    (void)snprintf(copy, sizeof copy, "%s", name);
    struct node n = {.name = copy,
                     .type = NODE_FILE,
                     .mode = 0644,
                     .content = content,
                     .ncontent = FIXTURE_BLOBS,
                     .has_content = true,
                     .links = 1};
    for (int i = 0; i < FIXTURE_BLOBS; i++) {
        size_t len = fixture_blob(file, i, data);
        int rc = writer_save(w, BLOB_DATA, data, len, &content[i], NULL, e);
        if (rc < 0)
            return rc;
        n.size += len;
    }
    return tree_writer_add(t, &n, e);
}

/* Saves a snapshot /dir/f<number> with the files [from, to). */
static inline int fixture_snapshot(struct repo *r, struct writer *w, uint64_t from, uint64_t to,
                                   struct id *id, struct err *e)
{
    struct tree_writer dir, root;
    struct snapshot s = {.time = {1700000000 + (time_t)to, 0}};
    char name[32], dir_name[] = "dir";
    int rc = 0;
    tree_writer_init(&dir);
    tree_writer_init(&root);
    for (uint64_t f = from; f < to && rc == 0; f++) {
        (void)snprintf(name, sizeof name, "f%06llu", (unsigned long long)f);
        rc = fixture_file(w, &dir, name, f, e);
    }
    struct node d = {.name = dir_name, .type = NODE_DIR, .mode = 0755, .has_subtree = true};
    if (rc == 0)
        rc = tree_writer_save(&dir, w, &d.subtree, e);
    if (rc == 0)
        rc = tree_writer_add(&root, &d, e);
    if (rc == 0)
        rc = tree_writer_save(&root, w, &s.tree, e);
    if (rc == 0)
        rc = writer_commit(w, e);
    str_list_add(&s.paths, "/dir");
    s.hostname = str_dup("host");
    s.username = str_dup("user");
    if (rc == 0)
        rc = snapshot_save(r, &s, e);
    if (rc == 0 && id != NULL)
        *id = s.id;
    snapshot_release(&s);
    tree_writer_release(&dir);
    tree_writer_release(&root);
    return rc;
}

/* Every snapshot's every blob can be read. */
static inline void fixture_assert_whole(struct store *s)
{
    struct err e = ERR_INIT;
    struct repo r = fixture_open(s, NULL);
    struct snapshot_list l = {0};
    assert_ok(snapshot_load_all(&r, &l, NULL, NULL, &e));
    assert_ok(repo_load_index(&r, &e));
    _cleanup_(buf_release) struct buf out = BUF_INIT(BLOB_MAX);
    for (size_t i = 0; i < l.n; i++) {
        struct tree root = {0}, dir = {0};
        assert_ok(tree_load(&r, &l.s[i].tree, &root, &e));
        assert_ok(tree_load(&r, &root.node[0].subtree, &dir, &e));
        for (size_t k = 0; k < dir.n; k++)
            for (size_t b = 0; b < dir.node[k].ncontent; b++) {
                buf_clear(&out);
                assert_ok(repo_load_blob(&r, BLOB_DATA, &dir.node[k].content[b], &out, &e));
            }
        tree_release(&dir);
        tree_release(&root);
    }
    snapshot_list_release(&l);
    fixture_close(&r);
}

#endif
