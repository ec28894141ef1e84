/* What every unit test starts with: cmocka and the headers that it wants before it, and a directory
 * for real files. */
#ifndef SALVOR_UNIT_H
#define SALVOR_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

/* Where tests make their directories: in memory where there is room, since there a sync is free.
 * What needs a real file system says so by using /tmp. */
static inline const char *unit_dir_base(void)
{
    const char *base = getenv("TMPDIR");
    struct statvfs fs;
    if (base != NULL)
        return base;
    bool room = statvfs("/dev/shm", &fs) == 0 && access("/dev/shm", W_OK | X_OK) == 0 &&
                (uint64_t)fs.f_bavail * fs.f_frsize >= (uint64_t)1 << 30;
    return room ? "/dev/shm" : "/tmp";
}

/* For cmocka_unit_test_setup_teardown, or a group: *state is the path of an empty directory with
 * mode 0700, removed with all in it afterwards. */
static inline int unit_dir_setup(void **state)
{
    char *path = NULL;
    if (asprintf(&path, "%s/salvor-unit-XXXXXX", unit_dir_base()) < 0)
        return -1;
    *state = mkdtemp(path);
    return *state != NULL ? 0 : -1;
}

static inline int unit_dir_teardown(void **state)
{
    char *command = NULL;
    if (asprintf(&command, "rm -rf '%s'", (char *)*state) < 0)
        return -1;
    int rc = system(command);
    free(command);
    free(*state);
    return rc;
}

#define unit_dir_test(fn) cmocka_unit_test_setup_teardown(fn, unit_dir_setup, unit_dir_teardown)

#endif
