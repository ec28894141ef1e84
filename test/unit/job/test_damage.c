/* What is damaged, missing or not permitted: the rest comes back, what does not is named, and
 * nothing claims to be whole. */
#include "fixture.h"
#include "repo/tree.h"

/* Removes the pack of a file's first blob, or of a directory's tree. */
static void lose(struct world *w, const char *path)
{
    struct err e = ERR_INIT;
    struct node n = {0};
    struct blob_place place;
    char name[REPO_NAME_MAX];
    assert_ok(job_load(w->job, &e));
    const struct snapshot *s = &w->job->snapshots.s[w->job->snapshots.n - 1];
    assert_ok(tree_lookup(w->job->repo, &s->tree, path, &n, &e));
    bool dir = n.type == NODE_DIR;
    assert_true(repo_find_blob(w->job->repo, dir ? BLOB_TREE : BLOB_DATA,
                               dir ? &n.subtree : &n.content[0], &place));
    assert_int_equal(sh(w, "rm repo/%s", repo_file_name("data", &place.pack, name)), 0);
    node_release(&n);
    world_open(w);
}

static void test_lost_pack(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    world_backup(w); /* each backup has packs of its own */
    assert_int_equal(sh(w, "echo first > data/first && head -c 3000000 /dev/urandom > data/again"),
                     0);
    world_backup(w);
    assert_int_equal(sh(w, "echo second > data/second"), 0);
    world_backup(w);
    lose(w, "data/content/data/first");
    struct restore_result r;
    assert_rc(ERR_PARTIAL, world_try_restore(w, "out", (struct restore_options){0}, &r, &e));
    assert_int_equal(r.missing.n, 2); /* both were in that pack */
    assert_true(list_names(&r.missing, "data/first"));
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat out/data/second)\" = second && test ! -e out/data/first"),
                     0);
    /* In place nothing is touched that cannot be brought back. */
    assert_int_equal(sh(w, "echo now > data/first"), 0);
    assert_rc(ERR_PARTIAL, world_try_restore(w, NULL, (struct restore_options){0}, &r, &e));
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat data/first)\" = now"), 0);
}

static void test_lost_tree(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "mkdir -p data/old/deep && echo 1 > data/old/deep/a && echo 2 > "
                           "data/old/b"),
                     0);
    world_backup(w);
    assert_int_equal(sh(w, "mkdir data/new && echo 3 > data/new/c"), 0);
    world_backup(w);
    lose(w, "data/content/data/old/deep");
    struct restore_result r;
    assert_rc(ERR_PARTIAL, world_try_restore(w, "out", (struct restore_options){0}, &r, &e));
    assert_int_equal(r.missing.n, 1);
    assert_true(list_names(&r.missing, "data/old: "));
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat out/data/new/c)\" = 3"), 0);
    /* A backup that relies on what is lost does not pass for a good one. */
    struct backup_result b;
    assert_rc(ERR_PARTIAL, world_try_backup(w, &b, &e));
    assert_true(list_names(&b.missing, "repair index"));
    backup_result_release(&b);
}

/* A tree that somebody made: the size is not that of the blobs, names lead outside. */
static void test_forged(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_ok(job_load(w->job, &e));
    assert_ok(repo_lock(w->job->repo, LOCK_SHARED, &e));
    struct writer *to = NULL;
    assert_ok(writer_new(w->job->repo, &to, &e));
    struct id blob;
    assert_ok(writer_save(to, BLOB_DATA, "12345", 5, &blob, NULL, &e));
    struct snapshot s = {.time = w->now};
    struct tree_writer t;
    tree_writer_init(&t);
    struct node n = {.name = str_dup("good"), .type = NODE_FILE, .mode = 0644, .size = 5};
    n.content = mem_dup(&blob, sizeof blob);
    n.ncontent = 1;
    n.has_content = true;
    assert_ok(tree_writer_add(&t, &n, &e));
    free(n.name);
    n.name = str_dup("long");
    n.size = 9;
    assert_ok(tree_writer_add(&t, &n, &e));
    free(n.name);
    n.name = str_dup("none");
    n.ncontent = 0;
    assert_ok(tree_writer_add(&t, &n, &e));
    free(n.name);
    n.name = str_dup("short");
    n.size = 2;
    n.ncontent = 1;
    assert_ok(tree_writer_add(&t, &n, &e));
    free(n.name);
    n = (struct node){.name = str_dup("socket"),
                      .type = NODE_SOCKET,
                      .mode = 0755,
                      .content = n.content};
    assert_ok(tree_writer_add(&t, &n, &e));
    node_release(&n);
    assert_ok(tree_writer_save(&t, to, &s.tree, &e));
    tree_writer_release(&t);
    assert_ok(writer_commit(to, &e));
    writer_free(to);
    str_list_add(&s.paths, "/anywhere");
    assert_ok(snapshot_save(w->job->repo, &s, &e));
    repo_unlock(w->job->repo);

    char hex[ID_HEX + 1];
    struct restore_options o = {.query = {.which = id_hex(&s.id, hex)}};
    struct restore_result r;
    snapshot_release(&s);
    assert_rc(ERR_USAGE, world_try_restore(w, NULL, o, NULL, &e)); /* it belongs nowhere */
    assert_rc(ERR_PARTIAL, world_try_restore(w, "out", o, &r, &e));
    assert_int_equal(r.missing.n, 3);
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat out/good)\" = 12345 && test $(ls -A out | wc -l) = 1"), 0);
}

/* Runs `fn` in a process of its own, as nobody where we are root. */
static int as_nobody(struct world *w, int (*fn)(struct world *w))
{
    (void)fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(99);
        _exit(fn(w));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

/* One that may read the repository and nothing else restores, without lock, cache or ledger. */
static int restore_as_reader(struct world *w)
{
    struct err e = ERR_INIT;
    w->job = NULL; /* the parent's */
    int rc = world_try_open(w, &e);
    if (rc == 0)
        rc = world_try_restore(w, "public/out", (struct restore_options){0}, NULL, &e);
    if (rc < 0)
        (void)fprintf(stderr, "%s\n", e.msg);
    return rc < 0;
}

static void test_reader(void **state)
{
    struct world *w = *state;
    assert_int_equal(sh(w, "mkdir data/d && echo 1 > data/d/f && ln -s f data/d/l"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "chmod 755 . && chmod -R a+rX repo && chmod -R a-w repo && mkdir public "
                           "&& chmod 777 public && rm -r cache state"),
                     0);
    assert_int_equal(as_nobody(w, restore_as_reader), 0);
    assert_int_equal(sh(w, "diff -r data public/out/data && test -z \"$(ls repo/locks)\""), 0);
}

static int backup_as_reader(struct world *w)
{
    struct err e = ERR_INIT;
    struct backup_result r;
    w->job = NULL;
    if (world_try_open(w, &e) < 0)
        return 2;
    int rc = world_try_backup(w, &r, &e);
    bool named = r.missing.n == 2 && list_names(&r.missing, "data/dir") &&
                 list_names(&r.missing, "data/secret");
    backup_result_release(&r);
    if (rc != ERR_PARTIAL || !named)
        return 3;
    rc = world_try_restore(w, "public/out", (struct restore_options){0}, NULL, &e);
    if (rc != ERR_NOT_FOUND) /* "latest" is never a partial one */
        return 4;
    struct restore_options o = {.query = {.partial_too = true}};
    return world_try_restore(w, "public/out", o, NULL, &e) < 0 ? 5 : 0;
}

static void test_unreadable(void **state)
{
    struct world *w = *state;
    assert_int_equal(sh(w,
                        "mkdir data/dir && echo 1 > data/dir/in && echo 2 > data/secret && "
                        "chmod 0 data/dir data/secret && echo 3 > data/open && chmod 755 . data && "
                        "mkdir -m 777 public && chmod -R a+rwX repo && rm -rf cache state && "
                        "mkdir -m 777 cache state"),
                     0);
    assert_int_equal(as_nobody(w, backup_as_reader), 0);
    assert_int_equal(sh(w, "test \"$(cat public/out/data/open)\" = 3"), 0);
}

/* The state directory cannot be made: a backup and a restore in place go on, loudly. */
static void test_no_state(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "echo 1 > data/f && rm -rf state cache && echo > state && echo > cache"),
                     0);
    world_open(w);
    assert_null(w->job->ledger);
    world_backup(w);
    assert_int_equal(sh(w, "echo 2 > data/f"), 0);
    assert_ok(world_try_restore(w, NULL, (struct restore_options){0}, NULL, &e));
    assert_int_equal(sh(w, "test \"$(cat data/f data/f.pre-restore)\" = \"$(printf '1\\n2')\""), 0);
}

/* What a manifest says, and who signed it. */
static int signature_of(struct world *w, struct err *why)
{
    struct err e = ERR_INIT;
    struct manifest m;
    int signature = 1;
    assert_ok(job_load(w->job, &e));
    const struct snapshot *s = &w->job->snapshots.s[w->job->snapshots.n - 1];
    assert_ok(manifest_load(w->job, s, &m, &signature, why, &e));
    assert_string_equal(m.base, w->dir);
    manifest_release(&m);
    return signature;
}

/* A snapshot that is like the newest, but for one document. */
static void forge(struct world *w, const char *document, const char *text)
{
    struct err e = ERR_INIT;
    assert_ok(job_load(w->job, &e));
    assert_ok(repo_lock(w->job->repo, LOCK_SHARED, &e));
    struct snapshot s;
    snapshot_copy(&s, &w->job->snapshots.s[w->job->snapshots.n - 1]);
    s.time.tv_sec++;
    struct writer *to = NULL;
    struct node n;
    struct tree t;
    struct tree_writer inner, outer;
    assert_ok(writer_new(w->job->repo, &to, &e));
    assert_ok(tree_lookup(w->job->repo, &s.tree, "data", &n, &e));
    assert_ok(tree_load(w->job->repo, &n.subtree, &t, &e));
    tree_writer_init(&inner);
    tree_writer_init(&outer);
    for (size_t i = 0; i < t.n; i++) {
        bool it = strcmp(t.node[i].name, document) == 0;
        if (it && text != NULL) {
            t.node[i].size = strlen(text);
            t.node[i].ncontent = 1;
            assert_ok(
                writer_save(to, BLOB_DATA, text, strlen(text), &t.node[i].content[0], NULL, &e));
        }
        if (!it || text != NULL)
            assert_ok(tree_writer_add(&inner, &t.node[i], &e));
    }
    assert_ok(tree_writer_save(&inner, to, &n.subtree, &e));
    assert_ok(tree_writer_add(&outer, &n, &e));
    assert_ok(tree_writer_save(&outer, to, &s.tree, &e));
    assert_ok(writer_commit(to, &e));
    writer_free(to);
    assert_ok(snapshot_save(w->job->repo, &s, &e));
    repo_unlock(w->job->repo);
    snapshot_release(&s);
    tree_release(&t);
    node_release(&n);
    tree_writer_release(&inner);
    tree_writer_release(&outer);
}

static void test_signature(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT, why = ERR_INIT;
    assert_int_equal(sh(w, "echo 1 > data/f"), 0);
    world_backup(w);
    assert_rc(0, signature_of(w, &why));

    /* Another machine, which does not know the key, and one that was told. */
    _cleanup_free_ char *key = str_dup(w->job->signing.trusted.s[0]);
    assert_int_equal(sh(w, "mv state elsewhere"), 0);
    world_open(w);
    assert_rc(ERR_REFUSED, signature_of(w, &why));
    str_list_add(&w->config.signing.trust, key);
    world_open(w);
    assert_rc(0, signature_of(w, &why));

    forge(w, "manifest.sig", NULL);
    assert_rc(ERR_NOT_FOUND, signature_of(w, &why));
    forge(w, "manifest.sig", "nonsense");
    assert_int_not_equal(signature_of(w, &why), 0);

    world_backup(w);
    _cleanup_free_ char *text =
        str_fmt("{\"manifest_version\":1,\"resource\":\"data\",\"type\":\"files\","
                "\"source\":{\"base\":\"%s\"}}",
                w->dir);
    forge(w, "manifest.json", text);
    assert_rc(ERR_CORRUPT, signature_of(w, &why));
    /* It is not believed where it says that the files belong. */
    assert_rc(ERR_REFUSED, world_try_restore(w, NULL, (struct restore_options){0}, NULL, &e));
    assert_ok(world_try_restore(w, "out", (struct restore_options){0}, NULL, &e));
}

/* A place whose name is not UTF-8 is found again. */
static void test_odd_base(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    free(w->resource.paths.s[0]);
    w->resource.paths.s[0] = str_fmt("%s/caf\351/data", w->dir);
    assert_int_equal(sh(w, "mkdir -p caf\351/data && echo 1 > caf\351/data/f"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "rm caf\351/data/f"), 0);
    assert_ok(world_try_restore(w, NULL, (struct restore_options){0}, NULL, &e));
    assert_int_equal(sh(w, "test \"$(cat caf\351/data/f)\" = 1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(test_lost_pack), world_test(test_lost_tree),  world_test(test_forged),
        world_test(test_reader),    world_test(test_unreadable), world_test(test_no_state),
        world_test(test_signature), world_test(test_odd_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
