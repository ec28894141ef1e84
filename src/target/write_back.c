/* Getting what was written to the disk while more is being written. The kernel would let gigabytes
 * of a large file lie in memory until the final sync, and push out for them what the servers of
 * this machine have cached. Each range is handed to the disk at once; of a large file only the last
 * few ranges stay cached, and the same memory serves for the next ones, which is faster too. */
#include "base/mem.h"
#include "target/files_int.h"
#include <fcntl.h>

#ifdef SYNC_FILE_RANGE_WRITE

enum {
    LEAST = 256 << 10,      /* small files are many, and a call each would cost more */
    LARGE_FILE = 256 << 20, /* whoever reads a smaller one soon finds it cached */
    RANGES = 32,            /* of about a MiB each: what the disk is given time for */
};

struct write_back {
    pthread_mutex_t lock;
    struct range {
        off_t offset, len;
    } range[RANGES]; /* the last ones that were written; len 0: none */
    size_t next;
};

struct write_back *write_back_new(uint64_t file_size)
{
    if (file_size < LARGE_FILE)
        return NULL;
    struct write_back *w = mem_zero(sizeof *w);
    (void)pthread_mutex_init(&w->lock, NULL);
    return w;
}

void write_back_free(struct write_back *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Errors of the disk are the final sync's to tell. */
void write_back(struct write_back *w, int fd, size_t len, uint64_t offset)
{
    if (len < LEAST)
        return;
    struct range new = {(off_t)offset, (off_t)len};
    (void)sync_file_range(fd, new.offset, new.len, SYNC_FILE_RANGE_WRITE);
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    struct range *slot = &w->range[w->next++ % RANGES], old = *slot;
    *slot = new;
    (void)pthread_mutex_unlock(&w->lock);
    if (old.len > 0) {
        (void)sync_file_range(fd, old.offset, old.len,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
        (void)posix_fadvise(fd, old.offset, old.len, POSIX_FADV_DONTNEED);
    }
}

#else /* the final sync does it all */

struct write_back *write_back_new(uint64_t file_size)
{
    (void)file_size;
    return NULL;
}

void write_back_free(struct write_back *w)
{
    (void)w;
}

void write_back(struct write_back *w, int fd, size_t len, uint64_t offset)
{
    (void)w, (void)fd, (void)len, (void)offset;
}

#endif
