/* Retention and objectives over the days, by a clock that jumps. */
#include "fixture.h"
#include "policy/objective.h"

enum { HOUR = 3600, DAY = 86400 };

static size_t count(struct world *w)
{
    struct err e = ERR_INIT;
    assert_ok(job_load_snapshots(w->job, &e));
    return w->job->snapshots.n;
}

/* Tags the newest snapshot as partial, by leaving an unreadable path in the resource. */
static void partial_backup(struct world *w)
{
    struct err e = ERR_INIT;
    struct snapshot s;
    world_backup(w);
    assert_ok(job_load_snapshots(w->job, &e));
    snapshot_copy(&s, &w->job->snapshots.s[w->job->snapshots.n - 1]);
    assert_ok(repo_lock(w->job->repo, LOCK_EXCLUSIVE, &e));
    assert_ok(snapshot_remove(w->job->repo, &s.id, &e));
    str_list_add(&s.tags, "partial");
    assert_ok(snapshot_save(w->job->repo, &s, &e));
    repo_unlock(w->job->repo);
    snapshot_release(&s);
}

static int forget(struct world *w, struct forget_options o, struct forget_result *r, struct err *e)
{
    return job_forget(w->job, &o, r, e);
}

static void test_retention(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    struct forget_result r;
    for (int day = 0; day < 6; day++) {
        assert_int_equal(sh(w, "echo %d > data/f", day), 0);
        world_backup(w);
        world_backup(w); /* two a day */
        w->now.tv_sec += DAY - 2 * HOUR;
    }
    assert_rc(ERR_USAGE, forget(w,
                                (struct forget_options){.resources = (const char *[]){"data"},
                                                        .nresources = 1},
                                &r, &e));
    assert_rc(ERR_NOT_FOUND,
              forget(w,
                     (struct forget_options){.resources = (const char *[]){"no"}, .nresources = 1},
                     &r, &e));
    w->resource.keep = (struct config_keep){.set = true, .daily = 3};
    assert_ok(forget(w, (struct forget_options){.dry_run = true}, &r, &e));
    assert_int_equal(r.removed, 9);
    assert_int_equal(count(w), 12);
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(r.kept, 3);
    assert_int_equal(count(w), 3);
    /* Two weeks off lose nothing. */
    w->now.tv_sec += 14 * DAY;
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(count(w), 3);
    /* The newest good one outlives even the hard limit, and naming it does not help. */
    w->resource.keep.delete_after = DAY * NSEC_PER_SEC;
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(count(w), 1);
    char hex[ID_HEX + 1];
    const char *id = id_hex(&w->job->snapshots.s[0].id, hex);
    assert_rc(ERR_REFUSED,
              forget(w, (struct forget_options){.snapshots = &id, .nsnapshots = 1}, &r, &e));
    world_restore(w, "out");
    assert_int_equal(sh(w, "test \"$(cat out/data/f)\" = 5"), 0);
}

static void test_partial(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    struct forget_result r;
    world_backup(w);
    for (int i = 0; i < 3; i++)
        partial_backup(w);
    w->resource.keep = (struct config_keep){.set = true, .last = 1};
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(count(w), 4); /* newer than the newest good one */
    w->resource.allow_partial = true;
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(count(w),
                     2); /* the last one, and the complete one that it must not displace */
    assert_true(snapshot_complete(&w->job->snapshots.s[0]));
    assert_false(snapshot_complete(&w->job->snapshots.s[1]));
    world_backup(w);
    assert_ok(forget(w, (struct forget_options){0}, &r, &e));
    assert_int_equal(count(w), 1);
}

/* By id: each once, and nothing where one of them must stay. */
static void test_by_id(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    struct forget_result r;
    world_backup(w);
    world_backup(w);
    world_backup(w);
    assert_int_equal(count(w), 3);
    char hex[3][ID_HEX + 1];
    const char *id[3];
    for (size_t i = 0; i < 3; i++)
        id[i] = id_hex(&w->job->snapshots.s[i].id, hex[i]);
    assert_rc(ERR_REFUSED,
              forget(w, (struct forget_options){.snapshots = id, .nsnapshots = 3}, &r, &e));
    assert_int_equal(count(w), 3);
    id[1] = id[0];
    assert_ok(forget(w, (struct forget_options){.snapshots = id, .nsnapshots = 2}, &r, &e));
    assert_int_equal(r.removed, 1);
    assert_int_equal(count(w), 2);
}

static struct resource_status seen;
static char seen_name[32];

static int see(const struct resource_status *s, void *arg, struct err *e)
{
    (void)arg;
    (void)e;
    seen = *s;
    (void)snprintf(seen_name, sizeof seen_name, "%s", s->resource);
    return 0;
}

static void test_status(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    w->resource.rpo = DAY * NSEC_PER_SEC;
    w->resource.rpo_grace = 2 * HOUR * NSEC_PER_SEC;
    w->resource.rto = HOUR * NSEC_PER_SEC;
    assert_rc(ERR_MISSED, job_status(w->job, see, NULL, &e)); /* no backup at all */
    assert_false(seen.has_good);
    assert_string_equal(seen_name, "data");

    world_backup(w);
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.rpo, OBJECTIVE_KEPT);
    assert_int_equal(seen.rto, OBJECTIVE_NONE);
    w->now.tv_sec += 23 * HOUR;
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.rpo, OBJECTIVE_KEPT);
    assert_true(seen.age == 23 * HOUR * NSEC_PER_SEC);
    w->now.tv_sec += 2 * HOUR;
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.rpo, OBJECTIVE_LATE);
    w->now.tv_sec += 2 * HOUR;
    assert_rc(ERR_MISSED, job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.rpo, OBJECTIVE_MISSED);

    /* A partial one helps only where that is allowed. */
    partial_backup(w);
    assert_rc(ERR_MISSED, job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.snapshots, 2);
    assert_false(id_equal(&seen.newest.id, &seen.good.id));
    w->resource.allow_partial = true;
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_true(id_equal(&seen.newest.id, &seen.good.id));

    world_restore(w, "out");
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_int_equal(seen.rto, OBJECTIVE_NONE); /* by this clock it took no time at all */

    /* A backup that fails is told of. */
    assert_int_equal(sh(w, "mv data gone"), 0);
    assert_int_not_equal(world_try_backup(w, NULL, &e), 0);
    assert_ok(job_status(w->job, see, NULL, &e));
    assert_non_null(strstr(seen.last_problem, "data"));
}

static unsigned findings;

static void found(const char *object, const char *detail, const char *affects, bool damage,
                  void *arg)
{
    (void)object, (void)detail, (void)affects, (void)arg;
    findings += damage;
}

static void test_verify(void **state)
{
    struct world *w = *state;
    struct err e = ERR_INIT;
    struct verify_result r;
    world_backup(w);
    struct verify_options o = {.read_share = 1, .found = found};
    assert_ok(job_verify(w->job, &o, &r, &e));
    assert_int_equal(r.signatures_good, 1);
    const char *no = "nobody";
    o.resources = &no;
    o.nresources = 1;
    assert_rc(ERR_NOT_FOUND, job_verify(w->job, &o, &r, &e));
    o.nresources = 0;

    /* Without our key, nobody vouches for it; with the tag gone, it claims too much. */
    assert_int_equal(sh(w, "rm -r state"), 0);
    world_open(w);
    findings = 0;
    assert_rc(ERR_CORRUPT, job_verify(w->job, &o, &r, &e));
    assert_int_equal(findings, 1);
    assert_int_equal(r.signatures_good, 0);

    assert_int_equal(sh(w, "find repo/data -type f -exec truncate -s -1 {} +"), 0);
    findings = 0;
    assert_rc(ERR_CORRUPT, job_verify(w->job, &o, &r, &e));
    assert_true(findings > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        world_test(test_retention), world_test(test_partial), world_test(test_by_id),
        world_test(test_status),    world_test(test_verify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
