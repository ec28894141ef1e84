/* Backup and restore of trees: all kinds of entries come back, in place nothing is lost, and undo
 * brings back what was. */
#include "fixture.h"

static void make_tree(struct world *w)
{
    assert_int_equal(
        sh(w, "cd data && mkdir -p a/b/c empty 'with space' && printf hello > a/one && : > a/none "
              "&& ln a/one a/b/two && ln -s ../one a/b/link && ln -s /nowhere a/dangling && "
              "mkfifo pipe && truncate -s 3M sparse && printf x >> sparse && "
              "head -c 3000000 /dev/urandom > big && printf '#!/bin/sh\\n' > run && chmod 4755 run "
              "&& chmod 0500 a/b && touch -d '2001-02-03 04:05:06.123456789' a/one && "
              "touch -h -d '1999-01-01' a/dangling && printf odd > \"$(printf 'new\\nline')\" && "
              "printf latin > \"$(printf 'caf\\351')\" && printf q > 'glob[1]*?' && "
              "for i in $(seq 300); do echo $i > with\\ space/$i; done"),
        0);
}

static void test_everything(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_tree(w);
    struct backup_result r;
    assert_ok(world_try_backup(w, &r, &e));
    assert_false(r.partial);
    assert_int_equal(r.unchanged, 0);
    backup_result_release(&r);
    world_restore(w, "out");
    assert_true(world_same(w, "data", "out/data"));

    /* Again: nothing is read, the tree is the same one. */
    struct backup_result again;
    assert_ok(world_try_backup(w, &again, &e));
    assert_int_equal(again.unchanged, again.files - 1); /* one of them is empty */
    assert_true(again.bytes_new < 10000);               /* documents */
    backup_result_release(&again);

    /* On top of itself: nothing is written. */
    struct restore_result res;
    assert_ok(world_try_restore(w, "out", (struct restore_options){0}, &res, &e));
    assert_int_equal(res.created + res.replaced, 0);
    assert_int_equal(res.bytes_fetched, 0);
    restore_result_release(&res);
    assert_true(world_same(w, "data", "out/data"));
}

static void test_empty(void **state)
{
    struct world *w = *state;
    world_backup(w);
    world_restore(w, "out");
    assert_int_equal(sh(w, "test -d out/data || test -d out"), 0);
}

static void test_changed_kinds(void **state)
{
    struct world *w = *state;
    assert_int_equal(sh(w, "cd data && mkdir d && echo 1 > d/in && echo 2 > f && ln -s f l"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "cp -a data first && cd data && rm -rf d f l && echo 3 > d && mkdir f "
                           "&& echo 4 > f/in && mkdir l"),
                     0);
    world_backup(w);
    world_restore(w, "out");
    assert_true(world_same(w, "data", "out/data"));

    /* The older one over it: with keeping, so that the directories in the way go aside. */
    struct err e = ERR_INIT;
    w->now.tv_sec -= 1;
    struct restore_options o = {.query = {.has_at = true, .at = w->now}};
    struct restore_result r;
    assert_ok(world_try_restore(w, NULL, o, &r, &e));
    assert_int_equal(r.replaced, 3);
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat data/d/in data/f data/l)\" = \"$(printf '1\\n2\\n2')\""),
                     0);
    assert_int_equal(sh(w, "test \"$(cat data/d.pre-restore data/f.pre-restore/in)\" = "
                           "\"$(printf '3\\n4')\""),
                     0);

    struct undo_result u;
    assert_ok(job_undo(w->job->ledger, NULL, "data", false, &u, &e));
    undo_result_release(&u);
    assert_int_equal(sh(w, "test \"$(cat data/d data/f/in)\" = \"$(printf '3\\n4')\" && "
                           "test -d data/l && test ! -L data/l"),
                     0);
}

static int has_detail(const struct ledger_run *r, void *arg, struct err *e)
{
    (void)e;
    *(bool *)arg = str_eq(r->detail, RESTORE_KEPT_NOTHING);
    return 0;
}

static void test_undo(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "cd data && mkdir -p lost/deep && echo 1 > lost/deep/a && echo 2 > b && "
                           "echo same > c"),
                     0);
    world_backup(w);
    assert_int_equal(sh(w, "cd data && rm -r lost && echo later > b && echo new > d && cd .. && "
                           "cp -a data before"),
                     0);
    struct restore_result r;
    assert_ok(world_try_restore(w, NULL, (struct restore_options){0}, &r, &e));
    assert_int_equal(r.replaced, 1);
    assert_int_equal(r.same, 2);
    restore_result_release(&r);
    assert_int_equal(sh(w, "test \"$(cat data/lost/deep/a data/b data/d data/b.pre-restore)\" = "
                           "\"$(printf '1\\n2\\nnew\\nlater')\""),
                     0);
    /* What was replaced is in the repository too, but is never what "latest" means. */
    assert_ok(job_load_snapshots(w->job, &e));
    assert_int_equal(w->job->snapshots.n, 2);
    assert_true(snapshot_pre_restore(&w->job->snapshots.s[0]) ||
                snapshot_pre_restore(&w->job->snapshots.s[1]));

    struct undo_result u;
    assert_ok(job_undo(w->job->ledger, NULL, NULL, true, &u, &e));
    assert_int_equal(u.put_back, 1);
    assert_int_equal(u.removed, 1); /* the lost directory as a whole */
    undo_result_release(&u);
    assert_ok(job_undo(w->job->ledger, NULL, "data", false, &u, &e));
    undo_result_release(&u);
    assert_int_equal(sh(w, "test \"$(cat data/b data/b.undone data/lost.undone/deep/a)\" = "
                           "\"$(printf 'later\\n2\\n1')\" && rm -r data/*.undone"),
                     0);
    assert_true(world_same(w, "before", "data"));
    assert_rc(ERR_NOT_FOUND, job_undo(w->job->ledger, NULL, "data", false, &u, &e));
}

/* Without keeping there is nothing to take back, and the ledger says so. */
static void test_without_keeping(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "echo 1 > data/f"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "echo 2 > data/f"), 0);
    struct restore_options o = {.without_keeping = true};
    assert_ok(world_try_restore(w, NULL, o, NULL, &e));
    assert_int_equal(sh(w, "test \"$(cat data/*)\" = 1"), 0);
    struct undo_result u;
    assert_rc(ERR_NOT_FOUND, job_undo(w->job->ledger, NULL, "data", false, &u, &e));
    assert_int_equal(sh(w, "test \"$(cat data/*)\" = 1"), 0);
    struct ledger_filter f = {.kind = "restore", .most = 1};
    bool told = false;
    assert_ok(ledger_runs(w->job->ledger, &f, has_detail, &told, &e));
    assert_true(told);
}

/* The ledger tells of changes that a crash prevented; undo must see what was and what was not. */
static void test_undo_after_crash(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "cd data && echo old > linked && ln linked linked.pre-restore && echo "
                           "untouched > early"),
                     0);
    struct ledger_run run;
    record_begin(w->job, &run, "restore", "data", NULL);
    const char *const path[] = {"linked", "early", "never", "nowhere/never"};
    const char *const kept[] = {"linked.pre-restore", "early.pre-restore", NULL, NULL};
    for (size_t i = 0; i < 4; i++) {
        struct ledger_kept k = {.kind = (char *)(uintptr_t) "files",
                                .path = str_fmt("%s/%s", w->data, path[i]),
                                .kept =
                                    kept[i] != NULL ? str_fmt("%s/%s", w->data, kept[i]) : NULL};
        assert_ok(ledger_keep(w->job->ledger, run.id, &k, &e));
        free(k.path);
        free(k.kept);
    }
    ledger_run_release(&run);
    world_open(w);

    struct undo_result u;
    assert_rc(ERR_PARTIAL, job_undo(w->job->ledger, NULL, "data", false, &u, &e));
    assert_non_null(strstr(e.msg, "early"));
    undo_result_release(&u);
    assert_int_equal(sh(w, "cd data && test \"$(cat *)\" = \"$(printf 'untouched\\nold')\" && "
                           "test $(ls | wc -l) = 2"),
                     0);
    /* It was said; it does not bar the way to earlier restores. */
    assert_rc(ERR_NOT_FOUND, job_undo(w->job->ledger, NULL, "data", false, &u, &e));
}

/* The same for a database: it has a second name already, and is still the old one. */
static void test_undo_after_crash_sqlite(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w,
                        "echo stands for a database > data/db && ln data/db data/db.pre-restore"),
                     0);
    struct ledger_run run;
    record_begin(w->job, &run, "restore", "data", NULL);
    struct ledger_kept k = {.kind = (char *)(uintptr_t) "sqlite",
                            .path = str_fmt("%s/db", w->data),
                            .kept = str_fmt("%s/db.pre-restore", w->data)};
    assert_ok(ledger_keep(w->job->ledger, run.id, &k, &e));
    ledger_run_release(&run);
    free(k.path);
    free(k.kept);
    world_open(w);
    struct undo_result u;
    assert_ok(job_undo(w->job->ledger, NULL, "data", false, &u, &e));
    undo_result_release(&u);
    assert_int_equal(sh(w, "test \"$(ls data)\" = db && grep -q stands data/db"), 0);
}

static void test_part(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_tree(w);
    world_backup(w);
    struct restore_options o = {.part = "/data/with space//"};
    struct restore_result r;
    assert_ok(world_try_restore(w, "o1", o, &r, &e));
    assert_int_equal(r.files, 300);
    restore_result_release(&r);
    assert_int_equal(sh(w, "diff -r 'data/with space' 'o1/data/with space' && test $(ls o1/data | "
                           "wc -l) = 1"),
                     0);
    o.part = "./data/a/b/two";
    assert_ok(world_try_restore(w, "o2", o, NULL, &e));
    assert_int_equal(sh(w, "test \"$(cat o2/data/a/b/two)\" = hello && test ! -e o2/data/a/one"),
                     0);
    o.part = "data/empty";
    assert_ok(world_try_restore(w, "o3", o, NULL, &e));
    assert_int_equal(sh(w, "test -d o3/data/empty"), 0);
    o.part = "data/nothing";
    assert_rc(ERR_NOT_FOUND, world_try_restore(w, "o4", o, NULL, &e));
    o.part = "data/big/below";
    assert_rc(ERR_NOT_FOUND, world_try_restore(w, "o4", o, NULL, &e));
    o.part = "../data";
    assert_rc(ERR_USAGE, world_try_restore(w, "o4", o, NULL, &e));
    assert_int_equal(sh(w, "test ! -e o4"), 0);
}

static void test_dry_run(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    make_tree(w);
    world_backup(w);
    assert_int_equal(sh(w, "rm data/big && echo other > data/run && cp -a data before"), 0);
    struct restore_options o = {.dry_run = true};
    struct restore_result r;
    assert_ok(world_try_restore(w, NULL, o, &r, &e));
    assert_int_equal(r.created, 1);
    assert_int_equal(r.replaced, 1);
    assert_int_equal(r.bytes_fetched, 0);
    restore_result_release(&r);
    assert_true(world_same(w, "before", "data"));
    assert_ok(world_try_restore(w, "nowhere", o, NULL, &e));
    assert_int_equal(sh(w, "test ! -e nowhere"), 0);
}

/* A link in place of a directory must not lead what is restored outside. */
static void test_link_in_the_way(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    assert_int_equal(sh(w, "mkdir -p data/d outside && echo 1 > data/d/in"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "rm -r data/d && ln -s ../outside data/d && mkdir -p out/data && "
                           "ln -s ../../outside out/data/d"),
                     0);
    world_restore(w, NULL);
    assert_int_equal(sh(w, "test ! -e outside/in && test -L data/d.pre-restore && test ! -L data/d "
                           "&& test -e data/d/in"),
                     0);
    assert_ok(world_try_restore(w, "out", (struct restore_options){0}, NULL, &e));
    assert_int_equal(sh(w, "test ! -e outside/in && test ! -L out/data/d && test -e out/data/d/in"),
                     0);
}

static void test_target_is_a_file(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    world_backup(w);
    assert_int_equal(sh(w, "echo precious > out"), 0);
    assert_rc(ERR_EXISTS, world_try_restore(w, "out", (struct restore_options){0}, NULL, &e));
    assert_int_equal(sh(w, "test \"$(cat out)\" = precious"), 0);
}

/* Few descriptors are allowed, and there is an old file for each new one. */
static void test_few_descriptors(void **state)
{
    struct world *w = *state;
    assert_int_equal(sh(w, "for i in $(seq 400); do mkdir data/$i; echo $i > data/$i/f; done"), 0);
    world_backup(w);
    assert_int_equal(sh(w, "for i in $(seq 400); do echo $i > data/$i/g; echo x$i > data/$i/f; "
                           "done"),
                     0);
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 160;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct err e = ERR_INIT;
    int rc = world_try_restore(w, NULL, (struct restore_options){0}, NULL, &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_ok(rc);
    assert_int_equal(sh(w, "for i in $(seq 400); do test \"$(cat data/$i/f)\" = $i || exit 1; "
                           "done"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(test_everything),       world_test(test_empty),
        world_test(test_changed_kinds),    world_test(test_undo),
        world_test(test_undo_after_crash), world_test(test_part),
        world_test(test_dry_run),          world_test(test_link_in_the_way),
        world_test(test_target_is_a_file), world_test(test_few_descriptors),
        world_test(test_without_keeping),  world_test(test_undo_after_crash_sqlite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
