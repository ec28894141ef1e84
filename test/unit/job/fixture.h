/* A world for jobs: a repository, cache and state in an empty directory, one resource in it, and a
 * clock that goes when it is told to. */
#ifndef SALVOR_TEST_JOB_FIXTURE_H
#define SALVOR_TEST_JOB_FIXTURE_H

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"

struct world {
    char *dir;  /* absolute; the resource is <dir>/data, the repository <dir>/repo */
    char *data; /* path of the resource */
    struct config config;
    struct config_resource resource;
    struct clock clock;
    struct timespec now;
    struct job *job;
};

#define assert_ok(call) assert_ok_(call, &e, __FILE__, __LINE__)
static inline void assert_ok_(int rc, const struct err *e, const char *file, int line)
{
    if (rc != 0) {
        print_error("error %d: %s\n", rc, e->msg);
        _fail(file, line);
    }
}

#define assert_rc(want, call) assert_rc_(want, call, &e, __FILE__, __LINE__)
static inline void assert_rc_(int want, int rc, const struct err *e, const char *file, int line)
{
    if (rc != want) {
        print_error("error %d, expected %d: %s\n", rc, want, e->msg);
        _fail(file, line);
    }
}

/* Runs a line of shell in the world's directory; returns its exit status. */
static inline int _printf_(2, 3) sh(const struct world *w, const char *fmt, ...)
{
    char *line = NULL, *whole = NULL;
    va_list ap;
    va_start(ap, fmt);
    assert_true(vasprintf(&line, fmt, ap) >= 0);
    va_end(ap);
    whole = str_fmt("cd '%s' && { %s\n}", w->dir, line);
    int rc = system(whole);
    free(line);
    free(whole);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static inline struct timespec world_wall(struct clock *c)
{
    return ((struct world *)((char *)c - offsetof(struct world, clock)))->now;
}

static inline int64_t world_since_boot(struct clock *c)
{
    (void)c;
    return clock_since_boot(&clock_system);
}

static inline int world_try_open(struct world *w, struct err *e)
{
    job_free(take(w->job));
    _cleanup_free_ char *cache = str_fmt("%s/cache", w->dir);
    _cleanup_free_ char *state = str_fmt("%s/state", w->dir);
    struct job_options o = {.passphrase = "pw",
                            .cache_dir = cache,
                            .state_dir = state,
                            .clock = &w->clock};
    return job_open(&w->config, &o, &w->job, e);
}

static inline void world_open(struct world *w)
{
    struct err e = ERR_INIT;
    assert_ok(world_try_open(w, &e));
}

static inline int world_setup(void **state)
{
    struct err e = ERR_INIT;
    void *dir = NULL;
    (void)setenv("SALVOR_TEST_KDF", "fast", 1);
    (void)unsetenv("SALVOR_STORE_FAULT");
    log_set_level(LOG_ERROR);
    if (unit_dir_setup(&dir) < 0)
        return -1;
    struct world *w = mem_zero(sizeof *w);
    w->dir = realpath(dir, NULL);
    free(dir);
    w->data = str_fmt("%s/data", w->dir);
    w->now = (struct timespec){1700000000, 0};
    w->clock = (struct clock){world_wall, world_since_boot};
    w->resource = (struct config_resource){.name = str_dup("data"), .rpo_grace = -1};
    str_list_add(&w->resource.paths, w->data);
    w->config.name = str_dup("test");
    w->config.repository.url = str_fmt("%s/repo", w->dir);
    w->config.text = str_dup("name: test\n");
    w->config.resource = &w->resource;
    w->config.nresource = 1;
    struct store *s = NULL;
    assert_ok(job_open_store(w->config.repository.url, true, &s, &e));
    assert_ok(repo_init(s, "pw", 2, &e));
    store_free(s);
    assert_int_equal(mkdir(w->data, 0755), 0);
    world_open(w);
    *state = w;
    return 0;
}

static inline int world_teardown(void **state)
{
    struct world *w = *state;
    job_free(w->job);
    int rc = sh(w, "chmod -R u+rwX . ; cd / && rm -rf '%s'", w->dir);
    config_resource_release(&w->resource);
    str_list_release(&w->config.signing.trust);
    free(w->config.name);
    free(w->config.text);
    free(w->config.repository.url);
    free(w->data);
    free(w->dir);
    free(w);
    return rc;
}

#define world_test(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

/* One backup, an hour after the last; *out may be NULL. */
static inline int world_try_backup(struct world *w, struct backup_result *out, struct err *e)
{
    struct backup_result local;
    struct backup_result *r = out != NULL ? out : &local;
    w->now.tv_sec += 3600;
    int rc = job_backup(w->job, &w->resource, &(struct backup_options){0}, r, e);
    if (out == NULL)
        backup_result_release(r);
    return rc;
}

static inline void world_backup(struct world *w)
{
    struct err e = ERR_INIT;
    assert_ok(world_try_backup(w, NULL, &e));
}

/* Plans and restores; `to` is relative to the world, NULL is in place. *out may be NULL. */
static inline int world_try_restore(struct world *w, const char *to, struct restore_options o,
                                    struct restore_result *out, struct err *e)
{
    struct restore_plan p;
    struct restore_result local = {0};
    struct restore_result *r = out != NULL ? out : &local;
    _cleanup_free_ char *path = to != NULL ? str_fmt("%s/%s", w->dir, to) : NULL;
    *r = local;
    o.to = path;
    int rc = job_restore_plan(w->job, o.query.which != NULL ? NULL : "data", &o, &p, e);
    if (rc == 0) {
        rc = job_restore(w->job, &p, &o, r, e);
        restore_plan_release(&p);
    } else {
        repo_unlock(w->job->repo);
    }
    if (out == NULL)
        restore_result_release(r);
    return rc;
}

static inline void world_restore(struct world *w, const char *to)
{
    struct err e = ERR_INIT;
    assert_ok(world_try_restore(w, to, (struct restore_options){0}, NULL, &e));
}

/* Whether two trees are the same in names, kinds, modes, sizes, times, links and bytes. */
static inline bool world_same(struct world *w, const char *a, const char *b)
{
    const char *list = "LC_ALL=C find . -mindepth 1 -printf '%p %y %m %s %l %n %T@\\n' | "
                       "sed '/ d [0-7]* /s/ [0-9]* *[0-9]* / /' | LC_ALL=C sort; "
                       "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum";
    _cleanup_free_ char *line =
        str_fmt("(cd '%s' && %s) >one; (cd '%s' && %s) >two; cmp -s one two || { diff one two "
                ">&2; false; }",
                a, list, b, list);
    return sh(w, "%s", line) == 0;
}

static inline bool list_names(const struct str_list *l, const char *word)
{
    for (size_t i = 0; i < l->n; i++)
        if (strstr(l->s[i], word) != NULL)
            return true;
    return false;
}

#endif
