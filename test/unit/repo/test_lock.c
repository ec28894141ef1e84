/* Locks: who may hold one beside whom, when one is stale, when ours is lost. */
#include "base/file.h"
#include "base/host.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/lock_int.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct err e;

/* A clock that tests set. The locks' threads read it too. */
static _Atomic int64_t boot_ns, wall_s;

static int64_t test_since_boot(struct clock *c)
{
    (void)c;
    return boot_ns;
}

static struct timespec test_wall(struct clock *c)
{
    (void)c;
    return (struct timespec){wall_s, 0};
}

static struct clock test_clock = {test_wall, test_since_boot};

static void pass_minutes(int n)
{
    boot_ns += n * 60 * NSEC_PER_SEC;
    wall_s += n * 60;
}

struct fixture {
    struct store *store;
    struct fault_plan plan;
    char cache[64];
};

static struct repo *open_cached(const struct fixture *f, bool cache)
{
    struct repo *r = NULL;
    struct repo_options o = {.clock = &test_clock, .cache_dir = cache ? f->cache : NULL};
    assert_int_equal(0, repo_open(f->store, "x", &o, &r, &e));
    return r;
}

static struct repo *open_repo(const struct fixture *f)
{
    return open_cached(f, true);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    (void)setenv("SALVOR_TEST_KDF", "fast", 1);
    log_set_level(LOG_ERROR);
    boot_ns = 1000 * 60 * NSEC_PER_SEC;
    wall_s = 1800000000;
    (void)strcpy(f->cache, "/tmp/salvor-test-lock-XXXXXX");
    assert_non_null(mkdtemp(f->cache));
    f->store = store_fault_new(store_memory_new(), &f->plan);
    assert_int_equal(0, repo_init(f->store, "x", 2, &e));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(0, dir_remove_all(f->cache, &e));
    store_free(f->store);
    free(f);
    return 0;
}

static size_t count_locks(struct repo *r)
{
    _cleanup_(id_list_release) struct id_list ids = {0};
    assert_int_equal(0, repo_list_files(r, "locks", &ids, &e));
    return ids.n;
}

/* A lock as another program would have written it. */
struct other {
    bool exclusive;
    const char *host;
    int64_t pid;
    const char *boot, *pid_space;
    uint64_t started;
    int age_minutes;
};

static struct id plant(struct repo *r, const struct other *o)
{
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_TEXT);
    struct json_out j;
    struct timespec t = {wall_s - o->age_minutes * 60, 0};
    struct id id;
    json_out_init(&j, &json);
    json_begin_object(&j);
    json_time(&j, "time", t);
    json_bool(&j, "exclusive", o->exclusive);
    json_text(&j, "hostname", o->host);
    json_text(&j, "username", "ann");
    json_i64(&j, "pid", o->pid);
    if (o->boot != NULL) {
        json_text(&j, "boot", o->boot);
        json_text(&j, "pid_space", o->pid_space);
        json_u64(&j, "started", o->started);
    }
    json_end_object(&j);
    assert_int_equal(0, json_out_finish(&j, &e));
    assert_int_equal(0, repo_save_file(r, "locks", json.data, json.len, &id, &e));
    return id;
}

/* ---- taking ---- */

static void shared_beside_shared_only(void **state)
{
    struct repo *a = open_repo(*state), *b = open_repo(*state);
    assert_int_equal(0, repo_lock(a, LOCK_SHARED, &e));
    assert_int_equal(ERR_INTERNAL, repo_lock(a, LOCK_SHARED, &e));
    assert_int_equal(0, repo_lock(b, LOCK_SHARED, &e));
    assert_int_equal(count_locks(a), 2);
    assert_int_equal(0, repo_lock_check(a, true, &e));
    repo_unlock(b);
    assert_int_equal(ERR_INTERNAL, repo_lock_check(b, false, &e));
    assert_int_equal(ERR_LOCKED, repo_lock(b, LOCK_EXCLUSIVE, &e));
    assert_non_null(strstr(e.msg, "process"));
    assert_int_equal(count_locks(a), 1);
    repo_unlock(a);
    assert_int_equal(0, repo_lock(b, LOCK_EXCLUSIVE, &e));
    assert_int_equal(ERR_LOCKED, repo_lock(a, LOCK_SHARED, &e));
    assert_non_null(strstr(e.msg, "exclusively"));
    repo_free(b); /* releases it */
    assert_int_equal(count_locks(a), 0);
    repo_free(a);
}

/* ---- stale or not ---- */

static pid_t dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

/* What an exclusive lock of ours finds: 0 if it could clear the other away. */
static int try_over(const struct fixture *f, const struct other *o)
{
    struct repo *r = open_repo(f);
    (void)plant(r, o);
    int rc = repo_lock(r, LOCK_EXCLUSIVE, &e);
    repo_unlock(r);
    size_t n;
    assert_int_equal(0, repo_lock_clear(r, true, &n, &e));
    assert_int_equal(n, rc != 0);
    repo_free(r);
    return rc;
}

static void our_dead_ones_go_at_once(void **state)
{
    _cleanup_free_ char *host = host_name(), *boot = host_boot_id(), *space = host_pid_space();
    char system[256] = "";
    (void)gethostname(system, sizeof system - 1);
    int64_t dead = dead_pid(), live = getppid();
    uint64_t started = host_process_start(getppid());

    pid_t zombie = fork();
    if (zombie == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(0, waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT));

    const struct {
        const char *what;
        struct other lock;
        bool stale;
    } cases[] = {
        {"dead", {true, host, dead, boot, space, 1, 0}, true},
        {"zombie", {true, host, zombie, boot, space, 0, 0}, true},
        {"another process of that number", {true, host, live, boot, space, started + 1, 0}, true},
        {"alive", {true, host, live, boot, space, started, 0}, false},
        {"alive and long not refreshed", {true, host, live, boot, space, started, 600}, false},
        {"ours, but let go of", {true, host, getpid(), boot, space, 0, 0}, true},
        {"before the last boot", {true, host, dead, "other", space, 1, 1001}, true},
        {"a machine of the same name", {true, host, dead, "other", space, 1, 1}, false},
        {"another process space", {true, host, dead, boot, "pid:[1]", 1, 0}, false},
        {"another host", {true, "elsewhere", dead, boot, space, 1, 600}, false},
        {"stock restic, dead", {false, system, dead, NULL, NULL, 0, 0}, true},
        {"stock restic, alive", {false, system, live, NULL, NULL, 0, 600}, false},
        {"stock restic elsewhere", {false, "elsewhere", dead, NULL, NULL, 0, 600}, false},
        {"absurd pid", {false, system, INT64_MAX, NULL, NULL, 0, 0}, false},
        {"negative pid", {false, system, -1, NULL, NULL, 0, 0}, false},
    };
    for (size_t i = 0; i < array_len(cases); i++) {
        int rc = try_over(*state, &cases[i].lock);
        if (rc != (cases[i].stale ? 0 : ERR_LOCKED))
            fail_msg("%s: %d %s", cases[i].what, rc, e.msg);
    }
    assert_int_equal(waitpid(zombie, NULL, 0), zombie);
}

static const struct other foreign = {true, "elsewhere", 1, NULL, NULL, 0, 6000};

static int try_exclusive(const struct fixture *f, bool cache)
{
    struct repo *r = open_cached(f, cache);
    int rc = repo_lock(r, LOCK_EXCLUSIVE, &e);
    repo_free(r);
    return rc;
}

static void foreign_ones_are_watched(void **state)
{
    struct repo *r = open_repo(*state);
    (void)plant(r, &foreign);
    for (int minutes = 0; minutes < 30; minutes += 6) {
        assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
        pass_minutes(6);
    }
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, false)); /* knows nothing of it */
    assert_int_equal(0, try_exclusive(*state, true));
    assert_int_equal(count_locks(r), 0);
    repo_free(r);
}

static void a_refresh_starts_the_watch_anew(void **state)
{
    struct repo *r = open_repo(*state);
    struct id id = plant(r, &foreign);
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
    pass_minutes(29);
    struct id next = plant(r, &foreign);
    assert_int_equal(0, repo_remove_file(r, "locks", &id, &e));
    pass_minutes(2);
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
    pass_minutes(29);
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
    pass_minutes(1);
    assert_int_equal(0, try_exclusive(*state, true));
    assert_false(id_equal(&id, &next));
    repo_free(r);
}

/* The wall clock may jump: it does not count within one boot. */
static void the_wall_clock_is_not_trusted(void **state)
{
    struct repo *r = open_repo(*state);
    (void)plant(r, &foreign);
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
    wall_s += 1000000;
    assert_int_equal(ERR_LOCKED, try_exclusive(*state, true));
    wall_s -= 2000000;
    pass_minutes(30);
    assert_int_equal(0, try_exclusive(*state, true));
    repo_free(r);
}

static void unreadable_ones_count(void **state)
{
    const struct fixture *f = *state;
    struct repo *r = open_repo(f);
    struct piece p = {"", 0};
    size_t n;
    char name[REPO_NAME_MAX];
    struct id id = {{1}};
    assert_int_equal(0,
                     store_put(f->store, repo_file_name("locks", &id, name), PUT_NEW, &p, 1, &e));
    assert_int_equal(ERR_LOCKED, repo_lock(r, LOCK_SHARED, &e));
    assert_non_null(strstr(e.msg, "cannot be read"));
    assert_int_equal(0, repo_lock_clear(r, false, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(0, store_put(f->store, name, PUT_NEW, &p, 1, &e));
    assert_int_equal(ERR_LOCKED, repo_lock(r, LOCK_SHARED, &e));
    pass_minutes(30);
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    repo_free(r);
}

static int count_stale(const struct lock_info *l, void *arg, struct err *unused)
{
    (void)unused;
    *(int *)arg += l->stale ? 100 : 1;
    return 0;
}

static void lists_and_clears(void **state)
{
    _cleanup_free_ char *host = host_name(), *boot = host_boot_id(), *space = host_pid_space();
    struct repo *r = open_repo(*state), *other = open_repo(*state);
    struct other dead = {false, host, dead_pid(), boot, space, 1, 0};
    size_t n;
    int found = 0;
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    (void)plant(r, &dead);
    (void)plant(r, &foreign);
    assert_int_equal(0, repo_lock_list(r, count_stale, &found, &e));
    assert_int_equal(found, 102);
    assert_int_equal(0, repo_lock_clear(other, false, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(0, repo_lock_clear(r, true, &n, &e)); /* all but its own */
    assert_int_equal(n, 1);
    assert_int_equal(0, repo_lock_check(r, true, &e));
    assert_int_equal(0, repo_lock_clear(other, true, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(0, repo_lock_check(r, false, &e));
    assert_int_equal(ERR_LOCKED, repo_lock_check(r, true, &e));
    assert_non_null(strstr(e.msg, "removed"));
    assert_int_equal(ERR_LOCKED, repo_lock_check(r, false, &e));
    repo_free(other);
    repo_free(r);
}

/* ---- keeping ---- */

static void is_refreshed(void **state)
{
    struct repo *r = open_repo(*state);
    _cleanup_(id_list_release) struct id_list before = {0}, after = {0};
    assert_int_equal(0, repo_lock(r, LOCK_EXCLUSIVE, &e));
    assert_int_equal(0, repo_list_files(r, "locks", &before, &e));
    pass_minutes(4);
    lock_tend(r);
    assert_int_equal(0, repo_list_files(r, "locks", &after, &e));
    assert_true(after.n == 1 && id_equal(&before.id[0], &after.id[0]));
    for (int i = 0; i < 20; i++) {
        pass_minutes(5);
        lock_tend(r);
        assert_int_equal(0, repo_lock_check(r, true, &e));
        assert_int_equal(count_locks(r), 1);
    }
    id_list_release(&after);
    assert_int_equal(0, repo_list_files(r, "locks", &after, &e));
    assert_false(id_equal(&before.id[0], &after.id[0]));
    repo_unlock(r);
    assert_int_equal(count_locks(r), 0);
    repo_free(r);
}

static void is_lost_after_15_minutes(void **state)
{
    struct repo *r = open_repo(*state);
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    boot_ns += 15 * 60 * NSEC_PER_SEC - 1; /* asleep: the thread did not run */
    assert_int_equal(0, repo_lock_check(r, true, &e));
    boot_ns += 1;
    assert_int_equal(ERR_LOCKED, repo_lock_check(r, false, &e));
    lock_tend(r); /* too late */
    assert_int_equal(ERR_LOCKED, repo_lock_check(r, true, &e));
    repo_free(r);
}

static void is_lost_when_removed_before_a_refresh(void **state)
{
    struct repo *r = open_repo(*state), *other = open_repo(*state);
    size_t n;
    assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
    assert_int_equal(0, repo_lock_clear(other, true, &n, &e));
    pass_minutes(5);
    lock_tend(r);
    assert_int_equal(ERR_LOCKED, repo_lock_check(r, false, &e));
    assert_int_equal(count_locks(r), 0);
    repo_free(other);
    repo_free(r);
}

/* Every store call of a refresh fails once: the lock is kept, and in the end there is one file. */
static void a_refresh_that_fails_is_repeated(void **state)
{
    struct fixture *f = *state;
    for (uint64_t at = 1; at <= 3; at++) {
        struct repo *r = open_repo(f);
        assert_int_equal(0, repo_lock(r, LOCK_SHARED, &e));
        pass_minutes(5);
        f->plan.kind = FAULT_TRANSIENT;
        f->plan.fail_at = f->plan.calls + at;
        lock_tend(r);
        f->plan.fail_at = 0;
        assert_int_equal(0, repo_lock_check(r, true, &e));
        for (int i = 0; i < 2; i++) {
            pass_minutes(5);
            lock_tend(r);
        }
        assert_int_equal(0, repo_lock_check(r, true, &e));
        assert_int_equal(count_locks(r), 1);
        repo_unlock(r);
        assert_int_equal(count_locks(r), 0);
        repo_free(r);
    }
}

/* Every store call of taking a lock fails once: loudly, and no lock of ours stays in the way. */
static void taking_that_fails_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    int rc = -1;
    for (uint64_t at = 1; rc != 0; at++) {
        assert_true(at < 50);
        struct repo *r = open_repo(f);
        f->plan.kind = at % 2 ? FAULT_FINAL : FAULT_LOST_REPLY;
        f->plan.fail_at = f->plan.calls + at;
        rc = repo_lock(r, LOCK_EXCLUSIVE, &e);
        f->plan.fail_at = 0;
        repo_free(r);
        assert_int_equal(0, try_exclusive(f, true));
    }
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(shared_beside_shared_only),
        T(our_dead_ones_go_at_once),
        T(foreign_ones_are_watched),
        T(a_refresh_starts_the_watch_anew),
        T(the_wall_clock_is_not_trusted),
        T(unreadable_ones_count),
        T(lists_and_clears),
        T(is_refreshed),
        T(is_lost_after_15_minutes),
        T(is_lost_when_removed_before_a_refresh),
        T(a_refresh_that_fails_is_repeated),
        T(taking_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
