/* Taking a restore of files back: the kept file comes back under its name, and what the restore had
 * put there is kept in turn. */
#include "base/file.h"
#include "base/mem.h"
#include "target/files_int.h"
#include <errno.h>
#include <fcntl.h>

static int swap(int dir, const char *path, const char *kept, const char *suffix, char **aside_found,
                struct err *e)
{
    const char *name = path_base(path);
    struct stat st, old = {0};
    bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT)
        return err_sys(e, errno, "cannot look at %s", path);
    if (kept != NULL && fstatat(AT_FDCWD, kept, &old, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(e, errno, "cannot put %s back: the file that was kept, %s, cannot be used",
                       path, kept);
    int rc = 0;
    /* Only a file takes the place of a file. */
    if (there && kept != NULL && !S_ISDIR(st.st_mode) && !S_ISDIR(old.st_mode))
        rc = keep_aside(dir, name, suffix, NULL, NULL, aside_found, e);
    else if (there)
        rc = move_aside(dir, name, suffix, NULL, NULL, aside_found, e);
    if (rc != 0)
        return err_prefix(e, "cannot put %s back", path);
    if (kept != NULL && renameat(AT_FDCWD, kept, dir, name) < 0)
        return err_sys(e, errno, "cannot rename %s to %s", kept, path);
    return fsync(dir) == 0 || errno == EINVAL
               ? 0
               : err_sys(e, errno, "cannot sync the directory of %s", path);
}

int files_put_back(const char *path, const char *kept, const char *aside_suffix, char **aside,
                   struct err *e)
{
    _cleanup_free_ char *dir_name = path_dir(path);
    _cleanup_free_ char *found = NULL;
    *aside = NULL;
    _cleanup_close_ int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(e, errno, "cannot put %s back: cannot open its directory", path);
    mode_t closed = place_open_up(dir);
    int rc = swap(dir, path, kept, aside_suffix, &found, e);
    if (closed != 0)
        (void)fchmod(dir, closed);
    if (rc == 0 && found != NULL)
        *aside = path_join(dir_name, found);
    return rc;
}
