/* Putting a finished file in its place so that its name always leads to the old or to the new one,
 * and keeping the old one under another name. */
#include "base/file.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { TRIES = 10000 };

int temp_make(int dir, char name[TEMP_NAME], int (*make)(int dir, const char *name, void *arg),
              void *arg, struct err *e)
{
    static const char digit[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (int tries = 0; tries < 100; tries++) {
        uint8_t random[6] = {0};
        if (getrandom(random, sizeof(random), 0) < 0)
            return err_sys(e, errno, "cannot make a temporary name");
        size_t n = sizeof(FILE_TEMP_PREFIX) - 1;
        memcpy(name, FILE_TEMP_PREFIX, n);
        for (size_t i = 0; i < sizeof(random); i++)
            name[n++] = digit[random[i] % (sizeof(digit) - 1)];
        name[n] = 0;
        if (make(dir, name, arg) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return err_sys(e, errno, "cannot make a temporary file");
}

static int open_new(int dir, const char *name, void *arg)
{
    int *fd = arg;
    *fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *fd >= 0 ? 0 : -1;
}

int temp_open(int dir, char name[TEMP_NAME], int *fd, struct err *e)
{
    return temp_make(dir, name, open_new, fd, e);
}

int rename_unused(int dir, const char *from, const char *to)
{
    if (renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    struct stat st; /* a file system that cannot do it in one step */
    if (fstatat(dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(dir, from, dir, to);
}

char *aside_name(const char *name, const char *suffix, unsigned n)
{
    char number[16] = "";
    if (n > 1)
        (void)snprintf(number, sizeof(number), "-%u", n);
    size_t tail = strlen(suffix) + strlen(number);
    size_t room = tail < NAME_MAX ? NAME_MAX - tail : 1; /* a name that is too long is cut */
    return str_fmt("%.*s%s%s", (int)room, name, suffix, number);
}

static bool is_there(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int aside(int dir, const char *name, const char *suffix, bool may_link, about_fn *about,
                 void *arg, char **kept, struct err *e)
{
    for (unsigned n = 1; n <= TRIES; n++) {
        _cleanup_free_ char *to = aside_name(name, suffix, n);
        if (is_there(dir, to))
            continue;
        if (about != NULL)
            about(to, arg);
        int rc = -1;
        if (may_link) {
            rc = linkat(dir, name, dir, to, 0);
            /* Not on this file system, not of somebody else's file. */
            if (rc < 0 && errno != EEXIST && errno != ENOENT && errno != ENOSPC && errno != EROFS)
                may_link = false;
        }
        if (rc < 0 && !may_link)
            rc = rename_unused(dir, name, to);
        if (rc == 0) {
            *kept = take(to);
            return 0;
        }
        if (errno != EEXIST)
            return err_sys(e, errno, "cannot keep %s as %s", name, to);
    }
    return err_set(e, ERR_EXISTS, "cannot keep %s: there are %d of %s%s; remove some", name, TRIES,
                   name, suffix);
}

int keep_aside(int dir, const char *name, const char *suffix, about_fn *about, void *arg,
               char **kept, struct err *e)
{
    return aside(dir, name, suffix, true, about, arg, kept, e);
}

int move_aside(int dir, const char *name, const char *suffix, about_fn *about, void *arg,
               char **kept, struct err *e)
{
    return aside(dir, name, suffix, false, about, arg, kept, e);
}

/* Makes room for something new under `name`, where `st` is now. */
static int make_room(int dir, const char *name, const struct stat *st, const char *suffix,
                     about_fn *about, void *arg, char **kept, struct err *e)
{
    if (suffix != NULL)
        return S_ISDIR(st->st_mode) ? move_aside(dir, name, suffix, about, arg, kept, e)
                                    : keep_aside(dir, name, suffix, about, arg, kept, e);
    if (about != NULL)
        about(NULL, arg);
    if (!S_ISDIR(st->st_mode) || unlinkat(dir, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return err_set(e, ERR_EXISTS,
                       "a directory that is not empty is where %s belongs; move it away", name);
    return err_sys(e, errno, "cannot remove the directory %s", name);
}

int put_in_place(int dir, const char *temp, const char *name, const char *suffix, about_fn *about,
                 void *arg, bool *replaced, char **kept, struct err *e)
{
    struct stat st;
    *kept = NULL;
    *replaced = false;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return err_sys(e, errno, "cannot look at %s", name);
        if (about != NULL)
            about(NULL, arg);
        if (rename_unused(dir, temp, name) == 0)
            return 0;
        if (errno != EEXIST)
            return err_sys(e, errno, "cannot rename %s to %s", temp, name);
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(e, errno, "cannot look at %s", name);
    }
    *replaced = true;
    int rc = make_room(dir, name, &st, suffix, about, arg, kept, e);
    if (rc != 0)
        return rc;
    return renameat(dir, temp, dir, name) == 0
               ? 0
               : err_sys(e, errno, "cannot rename %s to %s", temp, name);
}
