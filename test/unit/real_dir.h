/* A directory on a real file system (not in memory, which may lack attributes and devices), that
 * the test works in: for the tests of sources and targets. */
#ifndef SALVOR_UNIT_REAL_DIR_H
#define SALVOR_UNIT_REAL_DIR_H

#include "base/file.h"
#include "unit.h"
#include <limits.h>

static char dir[PATH_MAX]; /* absolute, without links */

static inline void enter_dir(void)
{
    char name[] = "/tmp/salvor-test-XXXXXX";
    assert_non_null(mkdtemp(name));
    assert_non_null(realpath(name, dir));
    assert_int_equal(chdir(dir), 0);
}

static inline void leave_dir(void)
{
    struct err e = ERR_INIT;
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(dir_remove_all(dir, &e), 0);
}

static inline void put(const char *path, const char *text)
{
    struct err e = ERR_INIT;
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, &e), 0);
}

#endif
