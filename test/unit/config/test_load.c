/* Reading salvor.yaml: all that it may say, and every kind of slip with its place. */
#include "fixture.h"

#include "base/clock.h"

static const char whole[] =
    "name: moltbeat\n"
    "repository: { url: /var/backups/moltbeat, password_file: secrets/password }\n"
    "signing: { key: \"${TEST_SECRET}\", trust: [AAAA, BBBB] }\n"
    "keep: { daily: 30 }\n"
    "jobs: # before the resources that it names\n"
    "  daily: { at: \"0 2 * * *\", backup: all, verify: true }\n"
    "  some: { at: \"*/15 0-6/2,8 1,15 * 0\", backup: [env, appdb], forget: yes, prune: on }\n"
    "  one: { backup: env }\n"
    "resources:\n"
    "  appdb:\n"
    "    type: sqlite\n"
    "    path: data/app.db\n"
    "    objectives: { rpo: 24h, rto: 15m, grace: 1h30m }\n"
    "    keep: { last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: 6, within: 180d,\n"
    "            delete_after: 365d, tags: [hold, legal] }\n"
    "    size: { min: 1KiB, expect: [10MiB, 1GiB], drift: [50%, 2.5] }\n"
    "    allow_partial: true\n"
    "  env:\n"
    "    type: files\n"
    "    paths: [.env, ~/keys/*.key, /etc/app/../x, '${TEST_DIR}/y', cost$$]\n"
    "    exclude: [node_modules, cache/, \"*.log\", data/tmp/*, /srv/x, ./own/, ~/y]\n"
    "    one_file_system: true\n"
    "    exclude_caches: true\n";

static const int64_t HOUR = 3600 * NSEC_PER_SEC;

static void assert_below(const char *path, const char *below)
{
    _cleanup_free_ char *expected = path_join(fixture_dir, below);
    assert_string_equal(path, expected);
}

static void reads_all(void **state)
{
    (void)state;
    (void)setenv("TEST_SECRET", "c2VjcmV0", 1);
    (void)setenv("TEST_DIR", "/opt", 1);
    _cleanup_(config_freep) struct config *c = load_text(whole);
    assert_string_equal(c->path, fixture_file);
    assert_string_equal(c->name, "moltbeat");
    assert_string_equal(c->text, whole);
    assert_string_equal(c->repository.url, "/var/backups/moltbeat");
    assert_below(c->repository.password.file, "secrets/password");
    assert_string_equal(c->signing.key.value, "c2VjcmV0");
    assert_int_equal(c->signing.trust.n, 2);
    assert_true(c->keep.set && c->keep.daily == 30);

    assert_int_equal(c->nresource, 2);
    const struct config_resource *r = config_resource_find(c, "appdb");
    assert_non_null(r);
    assert_int_equal(r->type, RESOURCE_SQLITE);
    assert_int_equal(r->line, 10);
    assert_int_equal(r->paths.n, 1);
    assert_below(r->paths.s[0], "data/app.db");
    assert_true(r->rpo == 24 * HOUR && r->rto == HOUR / 4 && r->rpo_grace == HOUR * 3 / 2);
    const struct config_keep *k = &r->keep;
    assert_true(k->set && k->last == 1 && k->hourly == 2 && k->daily == 3 && k->weekly == 4);
    assert_true(k->monthly == 5 && k->yearly == 6 && k->within == 180 * 24 * HOUR);
    assert_true(k->delete_after == 365 * 24 * HOUR && str_list_has(&k->tags, "legal"));
    assert_true(r->size.min == 1024 && r->size.expect_least == 10 << 20);
    assert_true(r->size.expect_most == 1 << 30);
    assert_true(r->size.drift_least > 0.49 && r->size.drift_least < 0.51);
    assert_true(r->size.drift_most > 2.49 && r->size.drift_most < 2.51);
    assert_true(r->allow_partial && !r->one_file_system);

    r = config_resource_find(c, "env");
    assert_non_null(r);
    assert_true(r->type == RESOURCE_FILES && r->one_file_system && r->exclude_caches);
    assert_true(r->rpo == 0 && r->rpo_grace == -1 && !r->keep.set);
    assert_int_equal(r->paths.n, 5);
    assert_below(r->paths.s[0], ".env");
    assert_below(r->paths.s[1], "keys/*.key");
    assert_string_equal(r->paths.s[2], "/etc/x");
    assert_string_equal(r->paths.s[3], "/opt/y");
    assert_below(r->paths.s[4], "cost$");
    assert_string_equal(r->excludes.s[0], "node_modules");
    assert_string_equal(r->excludes.s[1], "cache/");
    assert_string_equal(r->excludes.s[2], "*.log");
    assert_string_equal(r->excludes.s[3], "data/tmp/*");
    assert_string_equal(r->excludes.s[4], "/srv/x");
    assert_below(r->excludes.s[5], "own/");
    assert_below(r->excludes.s[6], "y");
    assert_null(config_resource_find(c, "nobody"));

    assert_int_equal(c->njob, 3);
    assert_true(c->job[0].backup_all && c->job[0].verify && !c->job[0].forget);
    assert_string_equal(c->job[0].at, "0 2 * * *");
    assert_true(!c->job[1].backup_all && c->job[1].backup.n == 2 && c->job[1].prune);
    assert_null(c->job[2].at);
    assert_string_equal(c->job[2].backup.s[0], "env");
}

static void reads_little(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c = load_text("resources:\n");
    assert_string_equal(c->repository.url, "");
    assert_string_equal(c->name, path_base(fixture_dir));
    assert_true(c->nresource == 0 && c->njob == 0 && !c->keep.set);
}

static void repository_addresses(void **state)
{
    (void)state;
    static const char *const left[] = {"s3:https://s3.eu-west-1.amazonaws.com/b/p", "sftp:u@h:/x",
                                       "azure:c:/", "rest:https://h/"};
    for (size_t i = 0; i < array_len(left); i++) {
        _cleanup_free_ char *text = str_fmt("repository: { url: \"%s\" }\n", left[i]);
        _cleanup_(config_freep) struct config *c = load_text(text);
        assert_string_equal(c->repository.url, left[i]);
    }
    _cleanup_(config_freep) struct config *rel = load_text("repository: { url: backups/a:b }\n");
    assert_below(rel->repository.url, "backups/a:b");
    _cleanup_(config_freep) struct config *local = load_text("repository: { url: local:r }\n");
    assert_below(local->repository.url, "r");
}

static void aliases_are_the_value(void **state)
{
    (void)state;
    _cleanup_(config_freep) struct config *c =
        load_text("resources:\n  a: { type: files, path: x, keep: &k { daily: 7 } }\n"
                  "  b: { type: files, path: y, keep: *k }\n");
    assert_int_equal(c->resource[1].keep.daily, 7);
}

static void directory_with_glob_characters(void **state)
{
    (void)state;
    put_text_file("[app]*/salvor.yaml", "resources: { a: { type: files, path: \"*.key\" } }\n");
    struct config *c = NULL;
    assert_int_equal(config_load("[app]*/salvor.yaml", &c, &e), 0);
    assert_below(c->resource[0].paths.s[0], "\\[app]\\*/*.key");
    config_free(c);
}

#define RES "resources:\n  a:\n    type: files\n    path: x\n"

static void slips(void **state)
{
    (void)state;
    (void)unsetenv("TEST_UNSET");
    (void)setenv("TEST_EMPTY", "", 1);
    static const struct {
        const char *text, *place, *part;
    } slip[] = {
        {"", "1:1", "empty"},
        {"# nothing\n", "1:1", "empty"},
        {"hello\n", "1:1", "expected keys such as \"name:\", not \"hello\""},
        {"[]\n", "1:1", "not a list"},
        {"name: a\nname: b\n", "2:1", "\"name\" is there twice, first in line 1"},
        {"resorces:\n", "1:1", "unknown key \"resorces\"; did you mean \"resources\"?"},
        {"zzzzzz: 1\n", "1:1",
         "known here are name, env_file, repository, signing, keep, resources, jobs"},
        {"name: [a]\n", "1:7", "name: expected text, not a list"},
        {"name:\n", "1:6", "there is nothing"},
        {"name: \"a\\0b\"\n", "1:7", "NUL"},
        {"name: ${TEST_UNSET}\n", "1:7", "no variable TEST_UNSET; set it"},
        {"name: ${TEST_EMPTY}\n", "1:7", "the variable is empty"},
        {"name: ${\n", "1:7", "name of a variable"},
        {"name: ${}\n", "1:7", "name of a variable"},
        {"name: ${A:-b}\n", "1:7", "name of a variable"},
        {"name: ${1}\n", "1:7", "name of a variable"},
        {"name: $HOME/x\n", "1:7", "${NAME}"},
        {"? [a]\n: 1\n", "1:3", "expected a name"},
        {"name: a\n---\nname: b\n", "2:1", "second document"},
        {"<<: {}\n", "1:1", "merging"},
        /* secrets */
        {"repository: { password: hunter2 }\n", "1:25", "password: ${VARIABLE}"},
        {"repository: { password: \"x${HOME}\" }\n", "1:25", "not written into this file"},
        {"repository: { password: [a] }\n", "1:25", "not written into this file"},
        {"repository: { password: \"${TEST_UNSET}\" }\n", "1:25", "no variable TEST_UNSET"},
        {"signing: { key: c2VjcmV0 }\n", "1:17", "key_file or key_command"},
        {"repository: { url: \"s3:https://me:hunter2@h/b\" }\n", "1:20", "place of the password"},
        {"repository: { password_file: a, password_command: b }\n", "1:13", "only one of"},
        {"repository: { pasword_file: a }\n", "1:15", "did you mean \"password_file\"?"},
        /* of later releases */
        {"mirrors: { s3: {} }\n", "1:1", "\"mirrors\" is not supported by this version"},
        {"checks: {}\n", "1:1", "not supported by this version"},
        {"alerts: {}\n", "1:1", "not supported by this version"},
        {"runbooks: x/\n", "1:1", "not supported by this version"},
        {"resources: { a: { type: redis } }\n", "1:25", "not supported by this version"},
        {"resources: { a: { type: files, path: x, drill: {} } }\n", "1:41", "not supported"},
        {"jobs: { a: { mirror: [s3] } }\n", "1:14", "jobs.a: \"mirror\" is not supported"},
        {"jobs: { a: { drill: all } }\n", "1:14", "not supported by this version"},
        /* resources */
        {"resources: [a]\n", "1:12", "expected names"},
        {"resources: { a: x }\n", "1:17", "resources.a: expected keys"},
        {"resources: { a: }\n", "1:17", "no type"},
        {"resources: { a: { path: x } }\n", "1:17", "type: files"},
        {"resources: { a: { type: file, path: x } }\n", "1:25", "did you mean \"files\"?"},
        {"resources: { a: { type: stream, path: x } }\n", "1:25",
         "expected files, sqlite or postgres"},
        {"resources: { a: { type: files } }\n", "1:17", "no path"},
        {"resources: { a: { type: files, paths: [] } }\n", "1:17", "no path"},
        {"resources: { a: { type: files, paths: [x, [y]] } }\n", "1:43", "expected a path"},
        {"resources: { a: { type: files, path: ~joe/x } }\n", "1:38", "other users"},
        {"resources: { a: { type: sqlite, path: x, exclude: y } }\n", "1:17", "for files only"},
        {RES "    exclude: [/]\n", "5:15", "leave out everything"},
        {"resources: { A b: {} }\n", "1:14", "\"A b\" cannot be a name"},
        {"resources: { -a: {} }\n", "1:14", "cannot be a name"},
        {"resources: { all: {} }\n", "1:14", "stands for all"},
        {"resources: { a: {type: files, path: x}, a: {type: files, path: x} }\n", "1:41", "twice"},
        /* numbers */
        {RES "    allow_partial: maybe\n", "5:20", "expected true or false, not \"maybe\""},
        {RES "    objectives: { rpo: daily }\n", "5:24",
         "resources.a.objectives.rpo: expected a duration such as 15m, 24h or 30d, not \"daily\""},
        {RES "    objectives: { rpo: 24 }\n", "5:24", "expected a duration"},
        {RES "    objectives: { rpo: }\n", "5:24", "there is nothing"},
        {RES "    objectives: 24h\n", "5:17", "such as \"rpo:\""},
        {RES "    keep: { daily: -1 }\n", "5:20", "expected a number such as 30, not \"-1\""},
        {RES "    keep: { daily: 99999999999999999999 }\n", "5:20", "expected a number"},
        {RES "    keep: { daly: 1 }\n", "5:13", "did you mean \"daily\"?"},
        {RES "    keep: { within: 2y, delete_after: 1y }\n", "5:11", "longer than delete_after"},
        {RES "    size: { min: big }\n", "5:18", "size such as 10MiB, not \"big\""},
        {RES "    size: { expect: 10MiB }\n", "5:21", "such as [10MiB, 1GiB]"},
        {RES "    size: { expect: [2MiB, 1MiB] }\n", "5:21", "larger than the most"},
        {RES "    size: { expect: [2MiB] }\n", "5:21", "the least and the most"},
        {RES "    size: { drift: [50%, lots] }\n", "5:26", "share such as 50%"},
        {RES "    size: { drift: [50%, 1e9] }\n", "5:26", "share such as 50%"},
        {RES "    size: { drift: [0%, 5] }\n", "5:21", "share such as 50%"},
        /* jobs */
        {"jobs: { a: {} }\n", "1:12", "jobs.a: it does nothing"},
        {"jobs: { a: { backup: [] } }\n", "1:22", "empty"},
        {"jobs: { a: { backup: b } }\n", "1:22", "no resource is called \"b\""},
        {RES "  second: { type: files, path: y }\njobs: { j: { backup: [a, secnd] } }\n", "6:26",
         "no resource is called \"secnd\"; did you mean \"second\"?"},
        {"jobs: { a: { verify: true, at: daily } }\n", "1:32", "the minute in \"daily\" is wrong"},
        {"jobs: { a: { verify: true, at: \"0 24 * * *\" } }\n", "1:32", "the hour"},
        {"jobs: { a: { verify: true, at: \"0 2 * *\" } }\n", "1:32", "the day of the week"},
        {"jobs: { a: { verify: true, at: \"0 2 * * * *\" } }\n", "1:32", "more than five"},
        {"jobs: { a: { verify: true, at: \"*/0 2 * * *\" } }\n", "1:32", "the minute"},
        /* YAML itself */
        {"name: a\n\tb: c\n", "2:1", "spaces, not tabs"},
        {"name: a: b\n", "1:8", "needs quotes"},
        {"name: \"a\n", "2:1", "not valid YAML"},
        {"name: *a\n", "1:7", "undefined alias"},
        {"name: *\n", "1:8", "in quotes"},
        {"name: \xff\n", "1:7", "not UTF-8"},
        {"a: b\n x: \x01\n", "2:5", "not UTF-8 text"},
        {"name: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1\n", "1:67",
         "nested too deeply"},
    };
    for (size_t i = 0; i < array_len(slip); i++)
        refuse_text(slip[i].text, slip[i].place, slip[i].part);
}

static void secrets_are_not_shown(void **state)
{
    (void)state;
    struct config *c = NULL;
    static const char *const text[] = {"repository: { password: hunter2 }\n",
                                       "repository: { url: \"s3:https://me:hunter2@h/b\" }\n",
                                       "signing: { key: [hunter2] }\n"};
    for (size_t i = 0; i < array_len(text); i++) {
        put_text_file("salvor.yaml", text[i]);
        assert_int_equal(config_load(fixture_file, &c, &e), ERR_USAGE);
        assert_null(strstr(e.msg, "hunter2"));
    }
    (void)setenv("TEST_SECRET", "hunter2", 1);
    put_text_file("salvor.yaml", "keep: { daily: \"${TEST_SECRET}\" }\n");
    assert_int_equal(config_load(fixture_file, &c, &e), ERR_USAGE);
    assert_null(strstr(e.msg, "hunter2"));
}

static void hostile_sizes(void **state)
{
    (void)state;
    struct config *c = NULL;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < 200000; i++)
        buf_adds(&text, "[");
    put_file("salvor.yaml", text.data, text.len, 0600);
    assert_int_equal(config_load(fixture_file, &c, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "nested too deeply"));

    /* A small list that aliases would make into hundreds of thousands of values. */
    buf_clear(&text);
    buf_adds(&text, "resources:\n  r: { type: files, paths: &p [");
    for (size_t i = 0; i < 1000; i++)
        buf_adds(&text, "x,");
    buf_adds(&text, "x] }\n");
    for (size_t i = 0; i < 1000; i++)
        buf_addf(&text, "  r%zu: { type: files, paths: *p }\n", i);
    put_file("salvor.yaml", text.data, text.len, 0600);
    assert_int_equal(config_load(fixture_file, &c, &e), ERR_USAGE);
    assert_non_null(strstr(e.msg, "more than 20000 values"));

    /* An anchor inside of itself. */
    refuse_text("resources: &r { a: *r }\n", "1:12", "no type");
    refuse_text("name: &n [*n]\n", "1:7", "expected text");

    buf_clear(&text);
    for (size_t i = 0; i < 300 * 1024; i++)
        buf_adds(&text, "#");
    put_file("salvor.yaml", text.data, text.len, 0600);
    assert_int_equal(config_load(fixture_file, &c, &e), ERR_LIMIT);
}

/* Every beginning of the file, and the file with each byte replaced, is read or refused. */
static void truncated_and_altered(void **state)
{
    (void)state;
    (void)setenv("TEST_SECRET", "c2VjcmV0", 1);
    (void)setenv("TEST_DIR", "/opt", 1);
    static const char with[] = {'\0', '\t', '"', '{', ']', ':', '*', '\xc3', '$', '-'};
    for (size_t len = 0; len < sizeof whole; len++) {
        _cleanup_free_ char *text = str_dup(whole);
        for (size_t i = 0; i <= array_len(with); i++) {
            struct config *c = NULL;
            size_t n = sizeof whole - 1;
            if (i == array_len(with))
                n = len;
            else if (len < n)
                text[len] = with[i];
            FILE *f = fopen("salvor.yaml", "w"); /* not synced: there are thousands */
            assert_non_null(f);
            assert_int_equal(fwrite(text, 1, n, f), n);
            assert_int_equal(fclose(f), 0);
            if (config_load(fixture_file, &c, &e) != 0) {
                assert_null(c);
                assert_int_equal(e.code, ERR_USAGE);
                assert_true(str_starts(e.msg, fixture_file));
            }
            config_free(c);
            if (len < sizeof whole - 1)
                text[len] = whole[len];
        }
    }
}

static void missing_and_unreadable(void **state)
{
    (void)state;
    struct config *c = NULL;
    assert_int_equal(config_load("nowhere.yaml", &c, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "nowhere.yaml"));
    assert_true(config_load(fixture_dir, &c, &e) != 0);
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all),
        cmocka_unit_test(reads_little),
        cmocka_unit_test(repository_addresses),
        cmocka_unit_test(aliases_are_the_value),
        cmocka_unit_test(directory_with_glob_characters),
        cmocka_unit_test(slips),
        cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(hostile_sizes),
        cmocka_unit_test(truncated_and_altered),
        cmocka_unit_test(missing_and_unreadable),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
