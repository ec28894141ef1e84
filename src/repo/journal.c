/* Journals of writers in the cache directory: records with a checksum, appended by one write each.
 * A living writer holds a lock on its file; whoever gets the lock has found a dead one's. A torn
 * last record ends the reading. Nothing is synced: what a power cut takes from a journal is
 * uploaded again. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "repo/journal_int.h"
#include "repo/layer_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static const char PREFIX[] = "journal-";

struct record {
    uint32_t magic, nblob;
    uint64_t size;
    struct id pack;
    uint64_t sum; /* of the record with this field zero, and of its blobs */
};
enum { RECORD_MAGIC = 0x6a524e4c, RECORD_BLOBS = 1 << 20 };

struct taken {
    int fd;
    char *path;
};

struct journal {
    struct repo *repo;
    char *path;
    int fd;
    pthread_mutex_t lock; /* guards the file and `broken` */
    bool broken;          /* a record could not be written: told once */
    struct taken *taken;  /* of dead writers */
    size_t ntaken, taken_cap;
};

struct journal *journal_new(struct repo *r)
{
    if (r->cache_dir == NULL)
        return NULL;
    uint32_t salt;
    struct err e = ERR_INIT;
    if (random_bytes(&salt, sizeof salt, &e) < 0)
        salt = 0;
    struct journal *j = mem_zero(sizeof *j);
    j->repo = r;
    j->path = str_fmt("%s/%s%ld-%08x", r->cache_dir, PREFIX, (long)getpid(), salt);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (j->fd < 0 || flock(j->fd, LOCK_EX | LOCK_NB) != 0) {
        log_warning("cannot write the journal %s: %s; should this run be interrupted, its uploads "
                    "are made again",
                    j->path, strerror(errno));
        if (j->fd >= 0)
            (void)close(j->fd);
        free(j->path);
        free(j);
        return NULL;
    }
    (void)pthread_mutex_init(&j->lock, NULL);
    return j;
}

static uint64_t record_sum(const struct record *head, const struct index_entry *entry)
{
    struct record bare = *head;
    bare.sum = 0;
    return index_cache_sum(&bare, sizeof bare) * 31 +
           index_cache_sum(entry, head->nblob * sizeof *entry);
}

void journal_note(struct journal *j, const struct id *pack, uint64_t size,
                  const struct index_blob *blobs, size_t n)
{
    if (j == NULL || n > RECORD_BLOBS)
        return;
    struct record head = {.magic = RECORD_MAGIC, .nblob = (uint32_t)n, .size = size, .pack = *pack};
    size_t len = sizeof head + n * sizeof(struct index_entry);
    _cleanup_free_ uint8_t *text = mem_zero(len);
    /* The record is a multiple of eight bytes, so the entries behind it are aligned. */
    struct index_entry *entry = (void *)(text + sizeof head);
    for (size_t i = 0; i < n; i++)
        entry_fill(&entry[i], &blobs[i], 0);
    head.sum = record_sum(&head, entry);
    memcpy(text, &head, sizeof head);

    struct err e = ERR_INIT;
    (void)pthread_mutex_lock(&j->lock);
    if (!j->broken && fd_write_all(j->fd, text, len, j->path, &e) < 0) {
        j->broken = true;
        log_warning("%s; should this run be interrupted, its later uploads are made again", e.msg);
    }
    (void)pthread_mutex_unlock(&j->lock);
}

/* ---- those of dead writers ---- */

/* Opens and locks a journal that nobody holds; -1 if it is held or gone. */
static int open_dead(const char *path)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
        return -1;
    if (fstat(fd, &st) != 0 || st.st_nlink == 0)
        return -1;
    return take_fd(&fd);
}

/* Whether the pack is uploaded whole and in no index yet. */
static int wanted(struct repo *r, const struct record *head, const struct index_blob *first,
                  bool *out, struct err *e)
{
    char name[REPO_NAME_MAX];
    uint64_t size = 0;
    *out = false;
    if (index_has_pack(r->index, &head->pack, first))
        return 0;
    int rc = store_stat(r->store, repo_file_name("data", &head->pack, name), &size, e);
    if (rc == ERR_NOT_FOUND) {
        *e = (struct err)ERR_INIT;
        return 0;
    }
    *out = rc == 0 && size == head->size;
    return rc;
}

static int resume_record(struct journal *j, const struct record *head,
                         const struct index_entry *entry, journal_pack_fn *fn, void *arg,
                         struct err *e)
{
    _cleanup_free_ struct index_blob *blob = mem_array(head->nblob, sizeof *blob);
    for (uint32_t i = 0; i < head->nblob; i++)
        entry_blob(&entry[i], &blob[i]);
    bool take_it;
    int rc = wanted(j->repo, head, &blob[0], &take_it, e);
    if (rc == 0 && take_it)
        fn(&head->pack, head->size, blob, head->nblob, arg);
    return rc;
}

static int resume_file(struct journal *j, const char *path, journal_pack_fn *fn, void *arg,
                       struct err *e)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_JSON);
    struct err why = ERR_INIT;
    if (file_read(path, &text, &why) < 0) {
        log_warning("%s; what an interrupted run uploaded is uploaded again", why.msg);
        return 0;
    }
    for (size_t at = 0; text.len - at >= sizeof(struct record);) {
        struct record head;
        memcpy(&head, text.data + at, sizeof head);
        at += sizeof head;
        if (head.magic != RECORD_MAGIC || head.nblob == 0 || head.nblob > RECORD_BLOBS ||
            (text.len - at) / sizeof(struct index_entry) < head.nblob)
            break;
        size_t len = head.nblob * sizeof(struct index_entry);
        const struct index_entry *entry = (const void *)(text.data + at);
        if (record_sum(&head, entry) != head.sum)
            break;
        at += len;
        int rc = resume_record(j, &head, entry, fn, arg, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void close_dir(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

int journal_resume(struct journal *j, journal_pack_fn *fn, void *arg, struct err *e)
{
    if (j == NULL)
        return 0;
    _cleanup_(close_dir) DIR *dir = opendir(j->repo->cache_dir);
    if (dir == NULL)
        return 0;
    const struct dirent *d;
    while ((d = readdir(dir)) != NULL) {
        if (strncmp(d->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        _cleanup_free_ char *path = path_join(j->repo->cache_dir, d->d_name);
        int fd = strcmp(path, j->path) != 0 ? open_dead(path) : -1;
        if (fd < 0)
            continue;
        mem_grow(&j->taken, j->ntaken, &j->taken_cap, sizeof *j->taken);
        j->taken[j->ntaken++] = (struct taken){fd, take(path)};
        int rc = resume_file(j, j->taken[j->ntaken - 1].path, fn, arg, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void taken_release(struct journal *j, bool remove_them)
{
    for (size_t i = 0; i < j->ntaken; i++) {
        if (remove_them)
            (void)unlink(j->taken[i].path);
        (void)close(j->taken[i].fd);
        free(j->taken[i].path);
    }
    j->ntaken = 0;
}

void journal_done(struct journal *j)
{
    if (j == NULL)
        return;
    taken_release(j, true);
    (void)pthread_mutex_lock(&j->lock);
    if (ftruncate(j->fd, 0) == 0)
        j->broken = false;
    (void)pthread_mutex_unlock(&j->lock);
}

void journal_free(struct journal *j)
{
    if (j == NULL)
        return;
    struct stat st;
    taken_release(j, false);
    if (fstat(j->fd, &st) == 0 && st.st_size == 0)
        (void)unlink(j->path);
    (void)close(j->fd);
    (void)pthread_mutex_destroy(&j->lock);
    free(j->taken);
    free(j->path);
    free(j);
}
