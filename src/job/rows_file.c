/* Files with rows in them: private, and under their name only when they are whole. */
#include "base/file.h"
#include "base/mem.h"
#include "base/work.h"
#include "job/rows_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING = 1 << 16 }; /* bytes that are written at once */

int rows_file_open(struct rows_file *f, const char *path, struct err *e)
{
    *f = (struct rows_file){.fd = -1, .path = str_dup(path), .pending = BUF_INIT(BUF_PACK)};
    if (strcmp(path, "-") == 0) {
        f->fd = STDOUT_FILENO;
        return 0;
    }
    _cleanup_free_ char *dir = path_dir(path);
    _cleanup_free_ char *name = str_fmt("%s/" FILE_TEMP_PREFIX "XXXXXX", dir);
    f->fd = mkostemp(name, O_CLOEXEC);
    if (f->fd < 0)
        return err_sys(e, errno, "cannot write %s", path);
    f->temp = take(name);
    return fchmod(f->fd, 0600) < 0 ? err_sys(e, errno, "cannot write %s", path) : 0;
}

static int flush(struct rows_file *f, struct err *e)
{
    int rc = fd_write_all(f->fd, f->pending.data, f->pending.len,
                          f->temp != NULL ? f->path : "standard output", e);
    buf_clear(&f->pending);
    return rc;
}

int rows_file_put(struct rows_file *f, const void *data, size_t len, struct err *e)
{
    int rc = buf_append(&f->pending, data, len, e);
    return rc == 0 && f->pending.len >= PENDING ? flush(f, e) : rc;
}

int rows_file_put_stream(struct rows_file *f, struct stream *from, struct err *e)
{
    enum { PIECE = 1 << 16 };
    _cleanup_free_ char *piece = mem_alloc(PIECE);
    for (;;) {
        size_t got = 0;
        int rc = stream_read_full(from, piece, PIECE, &got, e);
        if (rc < 0 || got == 0)
            return rc;
        rc = rows_file_put(f, piece, got, e);
        if (rc == 0)
            rc = cancel_check(e);
        if (rc < 0)
            return rc;
    }
}

int rows_file_commit(struct rows_file *f, struct err *e)
{
    int rc = flush(f, e);
    if (rc < 0 || f->temp == NULL)
        return rc;
    _cleanup_free_ char *dir = path_dir(f->path);
    if (fsync(f->fd) < 0 || close(take_fd(&f->fd)) < 0 || rename(f->temp, f->path) < 0)
        return err_sys(e, errno, "cannot write %s", f->path);
    free(take(f->temp));
    return dir_sync(dir, e);
}

void rows_file_release(struct rows_file *f)
{
    if (f->fd > STDOUT_FILENO)
        (void)close(f->fd);
    if (f->temp != NULL)
        (void)unlink(f->temp);
    buf_release(&f->pending);
    free(f->path);
    free(f->temp);
    *f = (struct rows_file){.fd = -1};
}
