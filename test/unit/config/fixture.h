/* What the tests of the configuration share: a directory of their own with a salvor.yaml in it. */
#ifndef SALVOR_TEST_UNIT_CONFIG_FIXTURE_H
#define SALVOR_TEST_UNIT_CONFIG_FIXTURE_H

#include "base/file.h"
#include "base/mem.h"
#include "config/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char *fixture_dir, *fixture_file;
static struct err e;

/* Makes it the working directory and the home too. */
static inline int fixture_setup(void **state)
{
    (void)state;
    char template[] = "/tmp/salvor-config-XXXXXX";
    if (mkdtemp(template) == NULL || chdir(template) != 0)
        return -1;
    fixture_dir = str_dup(template);
    fixture_file = path_join(template, "salvor.yaml");
    (void)setenv("HOME", template, 1);
    (void)unsetenv("SALVOR_CONFIG");
    (void)unsetenv("DATABASE_URL");
    (void)unsetenv("REDIS_URL");
    return 0;
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    int rc = dir_remove_all(fixture_dir, &e);
    if (chdir("/") != 0)
        rc = -1;
    free(take(fixture_dir));
    free(take(fixture_file));
    return rc;
}

static inline void put_file(const char *name, const void *data, size_t len, mode_t mode)
{
    _cleanup_free_ char *path = path_join(fixture_dir, name);
    _cleanup_free_ char *dir = path_dir(path);
    assert_int_equal(dir_make_all(dir, 0700, &e), 0);
    assert_int_equal(file_write_atomic(path, data, len, mode, &e), 0);
}

static inline void put_text_file(const char *name, const char *text)
{
    put_file(name, text, strlen(text), 0600);
}

/* Loads this text as salvor.yaml; it must be right. The caller frees. */
static inline struct config *load_text(const char *text)
{
    struct config *c = NULL;
    put_text_file("salvor.yaml", text);
    if (config_load(fixture_file, &c, &e) != 0)
        fail_msg("%s", e.msg);
    return c;
}

/* Loads this text, which is wrong: the message is "<file>:<place>: ..." and has `part` in it. */
static inline void refuse_text(const char *text, const char *place, const char *part)
{
    struct config *c = NULL;
    put_text_file("salvor.yaml", text);
    _cleanup_free_ char *begin = str_fmt("salvor.yaml:%s: ", place);
    int rc = config_load("salvor.yaml", &c, &e);
    if (rc == 0)
        fail_msg("accepted: %s", text);
    assert_null(c);
    if (rc != ERR_USAGE || !str_starts(e.msg, begin) || strstr(e.msg, part) == NULL)
        fail_msg("%d %s\nexpected %s... %s\nfor: %s", rc, e.msg, begin, part, text);
}

#endif
