/* Whole files and paths. */
#ifndef SALVOR_BASE_FILE_H
#define SALVOR_BASE_FILE_H

#include "base/buf.h"
#include <sys/types.h>

/* Appends the whole file; ERR_LIMIT if it is larger than the buffer's cap allows. */
_warn_unused_ int file_read(const char *path, struct buf *out, struct err *e);
/* What temporary files of file_write_atomic are called, with six random characters after it: a kill
 * may leave one behind. */
#define FILE_TEMP_PREFIX ".salvor-"
/* Writes a temporary file beside it with `mode` (whatever the umask), syncs it, renames it over
 * `path` and syncs the directory: afterwards the old or the new content is there, never a mixture.
 */
_warn_unused_ int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                                    struct err *e);
/* Makes a directory and its missing parents, each with `mode` less the umask; does not sync them.
 * It is no error if it exists; a file in its place is ERR_EXISTS. */
_warn_unused_ int dir_make_all(const char *path, mode_t mode, struct err *e);
/* Removes a directory and all in it, not following links; a missing one is no error. A file system
 * mounted below is ERR_REFUSED. */
_warn_unused_ int dir_remove_all(const char *path, struct err *e);
_warn_unused_ int dir_sync(const char *path, struct err *e);
/* Full transfers that go on after short counts and EINTR. `what` names the file in errors. */
_warn_unused_ int fd_write_all(int fd, const void *data, size_t len, const char *what,
                               struct err *e);
_warn_unused_ int fd_pwrite_all(int fd, const void *data, size_t len, int64_t offset,
                                const char *what, struct err *e);
/* Reads up to len bytes at offset; *got is less only at the end of the file. */
_warn_unused_ int fd_pread_all(int fd, void *data, size_t len, int64_t offset, size_t *got,
                               const char *what, struct err *e);

char *path_join(const char *a, const char *b); /* one slash between; the caller frees */
const char *path_base(const char *path);       /* after the last slash; "" if it ends in one */
char *path_dir(const char *path); /* before the last slash, "/" or "."; the caller frees */
/* Absolute, without "." and "..", without resolving links; ERR_IO if there is no working directory.
 */
_warn_unused_ int path_absolute(const char *path, char **out, struct err *e);
char *path_expand_home(const char *path); /* "~/x" with $HOME; the caller frees */
/* One component that is safe to create below a directory: not empty, ".", "..", no slash or NUL. */
bool path_component_safe(const char *name, size_t len);

/* Directories of salvor itself; the caller frees. $SALVOR_STATE_DIR (ledger, signing key), else
 * /var/lib/salvor for root, else $XDG_STATE_HOME/salvor or ~/.local/state/salvor. */
_warn_unused_ int dir_state(char **out, struct err *e);
/* $SALVOR_CACHE_DIR, else /var/cache/salvor for root, else $XDG_CACHE_HOME/salvor or
 * ~/.cache/salvor. */
_warn_unused_ int dir_cache(char **out, struct err *e);

#endif
