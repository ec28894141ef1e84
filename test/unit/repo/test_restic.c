/* One repository, two programs: what stock restic makes, and what it thinks of what we make. */
#include "base/file.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "repo/lock_int.h"
#include "repo/snapshot.h"
#include "repo/tree.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct err e;
static char top[] = "/tmp/salvor-test-restic-XXXXXX";

/* Runs restic on the repository <top>/<repo>; its output, or NULL if it failed. */
static char *restic(const char *repo, const char *words)
{
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_JSON);
    _cleanup_free_ char *command =
        str_fmt("RESTIC_PASSWORD='pass word' restic --no-cache -r %s/%s %s 2>&1", top, repo, words);
    if (proc_capture_shell(command, 60000, &out, &e) != 0)
        return NULL;
    return buf_take(&out);
}

static void restic_must(const char *repo, const char *words)
{
    _cleanup_free_ char *out = restic(repo, words);
    if (out == NULL)
        fail_msg("restic %s: %s", words, e.msg);
}

static struct store *open_store(const char *repo)
{
    _cleanup_free_ char *path = path_join(top, repo);
    struct store *s = NULL;
    assert_int_equal(0, store_local_new(path, true, &s, &e));
    return s;
}

static struct repo *open_repo(struct store *s)
{
    struct repo *r = NULL;
    if (repo_open(s, "pass word", NULL, &r, &e) != 0)
        fail_msg("%s", e.msg);
    return r;
}

static int count(const char *path, const struct node *n, bool *enter, void *arg, struct err *err)
{
    (void)n;
    (void)enter;
    (void)err;
    *(int *)arg += str_ends(path, "/src/caf\xc3\xa9 \xff\n") ? 1000 : 1;
    return 0;
}

static void we_read_what_restic_made(void **state)
{
    (void)state;
    static const char *const repos[] = {"made-1", "made-2"};
    for (int version = 1; version <= 2; version++) {
        const char *name = repos[version - 1];
        _cleanup_free_ char *init = str_fmt("init --repository-version %d", version);
        _cleanup_free_ char *backup = str_fmt("backup %s/src --tag resource=src,salvor", top);
        restic_must(name, init);
        restic_must(name, backup);
        _cleanup_(store_freep) struct store *s = open_store(name);
        _cleanup_(repo_freep) struct repo *r = open_repo(s);
        assert_int_equal(repo_version(r), version);
        _cleanup_(snapshot_list_release) struct snapshot_list l = {0};
        assert_int_equal(0, snapshot_load_all(r, &l, NULL, NULL, &e));
        assert_int_equal(l.n, 1);
        assert_string_equal(snapshot_tag(&l.s[0], "resource"), "src");
        int nodes = 0;
        assert_int_equal(0, repo_load_index(r, &e));
        assert_int_equal(0, tree_walk(r, &l.s[0].tree, count, &nodes, &e));
        assert_in_range(nodes, 1000, 1010);

        /* The new passphrase is ours; restic opens it. */
        struct id key;
        assert_int_equal(0, repo_key_add(r, "second", &key, &e));
        assert_int_equal(0, repo_key_change(r, "third", &e));
        assert_null(restic(name, "snapshots"));
        restic_must(name, "--password-command 'echo third' check --read-data");
        restic_must(name, "--password-command 'echo second' key list");
    }
}

static void restic_reads_what_we_made(void **state)
{
    (void)state;
    static const char *const repos[] = {"ours-1", "ours-2"};
    for (int version = 1; version <= 2; version++) {
        const char *name = repos[version - 1];
        _cleanup_(store_freep) struct store *s = open_store(name);
        assert_int_equal(0, repo_init(s, "pass word", version, &e));
        _cleanup_(repo_freep) struct repo *r = open_repo(s);
        restic_must(name, "check --read-data");
        _cleanup_free_ char *keys = restic(name, "key list");
        char hex[ID_SHORT + 1];
        assert_non_null(keys);
        assert_non_null(strstr(keys, id_short(&r->key_id, hex)));
        _cleanup_free_ char *config = restic(name, "cat config");
        char id[ID_HEX + 1];
        assert_non_null(config);
        assert_non_null(strstr(config, id_hex(repo_id(r), id)));

        struct writer *w = NULL;
        struct tree_writer t;
        struct snapshot snap = {.time = {1800000000, 5}, .hostname = str_dup("h")};
        str_list_add(&snap.paths, "/appdb");
        str_list_add(&snap.tags, "salvor");
        assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
        assert_int_equal(0, repo_load_index(r, &e));
        assert_int_equal(0, writer_new(r, &w, &e));
        tree_writer_init(&t);
        assert_int_equal(0, tree_writer_save(&t, w, &snap.tree, &e));
        tree_writer_release(&t);
        assert_int_equal(0, writer_commit(w, &e));
        writer_free(w);
        assert_int_equal(0, snapshot_save(r, &snap, &e));
        repo_unlock(r);
        restic_must(name, "check --read-data");
        _cleanup_free_ char *list = restic(name, "snapshots --json --tag salvor");
        assert_non_null(list);
        assert_non_null(strstr(list, id_hex(&snap.id, id)));
        snapshot_release(&snap);
    }
}

static void locks_are_respected_both_ways(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = open_store("locked");
    assert_int_equal(0, repo_init(s, "pass word", 2, &e));
    _cleanup_(repo_freep) struct repo *r = open_repo(s);
    assert_int_equal(0, repo_lock(r, LOCK_EXCLUSIVE, &e));
    assert_null(restic("locked", "check"));
    _cleanup_free_ char *list = restic("locked", "--no-lock list locks");
    assert_non_null(list);
    char *id = strstr(list, "\n") != NULL && strlen(list) > ID_HEX
                   ? list + strlen(list) - ID_HEX - 1
                   : list;
    _cleanup_free_ char *words = str_fmt("--no-lock cat lock %.64s", id);
    _cleanup_free_ char *lock = restic("locked", words);
    assert_non_null(lock);
    assert_non_null(strstr(lock, "\"exclusive\": true"));
    restic_must("locked", "unlock"); /* ours is alive: it stays */
    assert_int_equal(0, repo_lock_check(r, true, &e));
    repo_unlock(r);
    restic_must("locked", "check");
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    restic_must("locked", "snapshots");
    assert_null(restic("locked", "prune"));
    repo_unlock(r);
}

/* restic is killed in the middle of a backup; its lock is no obstacle afterwards. */
static void a_killed_restic_is_cleared(void **state)
{
    (void)state;
    _cleanup_(store_freep) struct store *s = open_store("killed");
    assert_int_equal(0, repo_init(s, "pass word", 2, &e));
    _cleanup_(repo_freep) struct repo *r = open_repo(s);
    _cleanup_free_ char *path = path_join(top, "killed");
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("RESTIC_PASSWORD", "pass word", 1);
        /* Reads a pipe that never ends. */
        int end[2];
        if (pipe(end) == 0 && dup2(end[0], 0) == 0)
            (void)execlp("restic", "restic", "-q", "--no-cache", "-r", path, "backup", "--stdin",
                         (char *)NULL);
        _exit(1);
    }
    _cleanup_(id_list_release) struct id_list ids = {0};
    for (int i = 0; i < 300 && ids.n == 0; i++) {
        struct timespec pause = {0, 100000000};
        (void)nanosleep(&pause, NULL);
        assert_int_equal(0, repo_list_files(r, "locks", &ids, &e));
    }
    assert_int_equal(ids.n, 1);
    assert_int_equal(ERR_LOCKED, repo_lock(r, LOCK_EXCLUSIVE, &e));
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    repo_unlock(r);
    assert_int_equal(0, kill(pid, SIGKILL));
    siginfo_t info;
    assert_int_equal(0, waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT)); /* a zombie now */
    assert_int_equal(0, repo_lock(r, LOCK_EXCLUSIVE, &e));
    repo_unlock(r);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int set_up(void **state)
{
    (void)state;
    (void)setenv("SALVOR_TEST_KDF", "fast", 1);
    if (mkdtemp(top) == NULL)
        return -1;
    _cleanup_free_ char *src = path_join(top, "src");
    _cleanup_free_ char *file = path_join(src, "caf\xc3\xa9 \xff\n");
    if (dir_make_all(src, 0700, &e) != 0)
        return -1;
    return file_write_atomic(file, "text", 4, 0600, &e);
}

static int tear_down(void **state)
{
    (void)state;
    return dir_remove_all(top, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_read_what_restic_made),
        cmocka_unit_test(restic_reads_what_we_made),
        cmocka_unit_test(locks_are_respected_both_ways),
        cmocka_unit_test(a_killed_restic_is_cleared),
    };
    if (system("command -v restic >/dev/null") != 0)
        return 77; /* meson's word for skipped */
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
